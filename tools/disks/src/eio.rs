//! A disk whose writes or flushes fail: the node stops at once, and says so; the others go on; nothing
//! acknowledged is lost, and the node comes back on a disk that works. One whose reads fail at start:
//! the node does not begin, and says what it could not read.

use std::path::{Path, PathBuf};

use sunstar_disks::export::{Export, Failing};
use sunstar_disks::filesystem::{self, Mounted};
use sunstar_disks::loop_device::LoopDevice;
use sunstar_disks::{DiskError, create_image, require};

use crate::place;
use crate::support::{Cluster, Shape, append_during, assert_all_found};

const IMAGE_BYTES: u64 = 512 << 20;
const CLIENTS: usize = 8;

/// The node whose disk fails, by position.
const VICTIM: usize = 0;

/// # Errors
/// If the disk cannot be made.
///
/// # Panics
/// If a promise is broken.
pub(crate) fn check() -> Result<(), DiskError> {
    require(&["losetup", "mkfs.ext4", "mount", "qemu-storage-daemon", "setpriv", "umount"])?;
    for failing in [Failing::Writes, Failing::Flushes] {
        one_disk_fails(failing)?;
        println!("{failing:?} failed: the node stopped, the others went on, nothing was lost");
    }
    reads_fail_at_start()?;
    println!("reads failed: the node did not start, and did once they worked; nothing was lost");
    Ok(())
}

fn reads_fail_at_start() -> Result<(), DiskError> {
    let room = tempfile::Builder::new().prefix("eio-").tempdir().expect("room for an image");
    let disk = Disk::create(room.path())?;
    let mut cluster = Cluster::prepare(Shape { nodes: 3, smp: 1 });
    place(cluster.node(VICTIM), disk.mounted.directory());
    cluster.start_all();
    let targets = cluster.targets();
    let ledgers = append_during(&targets, CLIENTS, |progress| progress.await_more("at first", 20));
    cluster.node(VICTIM).kill();
    // Another mount: nothing of it is in the system's memory.
    let mut disk = disk.replace(room.path())?;
    disk.export.break_down(Failing::Reads)?;
    cluster.node(VICTIM).start();
    let status = cluster.node(VICTIM).await_exit();
    assert!(!status.success(), "the node ended as if nothing were wrong: {status}");
    let log = cluster.node(VICTIM).log();
    assert!(log.contains("Input/output error"), "the log does not say what was wrong:\n{log}");
    let disk = disk.replace(room.path())?;
    cluster.node(VICTIM).start();
    cluster.await_leaders();
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();
    drop(cluster);
    drop(disk);
    Ok(())
}

fn one_disk_fails(failing: Failing) -> Result<(), DiskError> {
    let room = tempfile::Builder::new().prefix("eio-").tempdir().expect("room for an image");
    let made = Disk::create(room.path())?;
    let mounted_at = made.mounted.directory().to_path_buf();
    let mut disk = Some(made);
    let mut cluster = Cluster::prepare(Shape { nodes: 3, smp: 1 });
    place(cluster.node(VICTIM), &mounted_at);
    cluster.start_all();
    let targets = cluster.targets();
    let ledgers = append_during(&targets, CLIENTS, |progress| {
        progress.await_more("at first", 10);
        let broken = disk.as_mut().expect("made above").export.break_down(failing);
        broken.expect("the daemon serves");
        let status = cluster.node(VICTIM).await_exit();
        assert!(!status.success(), "the node ended as if nothing were wrong: {status}");
        assert_says_why(&cluster.node(VICTIM).log());
        progress.await_more("with one node less", 20);
        let replaced = disk.take().expect("made above").replace(room.path());
        disk = Some(replaced.expect("the image is whole"));
        cluster.node(VICTIM).start();
        cluster.await_leaders();
        progress.await_more("with all back", 10);
    });
    assert!(ledgers.iter().all(|ledger| ledger.count() > 0));
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();
    drop(cluster);
    Ok(())
}

fn assert_says_why(log: &str) {
    let why = "failed: the process stops at once; restart it once the cause is removed";
    assert!(log.contains(why), "the log does not say why the node stopped:\n{log}");
}

/// A file system on a disk that can be broken.
struct Disk {
    /// Dropped first.
    mounted: Mounted,
    export: Export,
}

impl Disk {
    fn create(room: &Path) -> Result<Self, DiskError> {
        create_image(&image(room), IMAGE_BYTES)?;
        let export = Export::start(room, &image(room), None)?;
        let device = LoopDevice::attach(export.file())?;
        filesystem::format(&device)?;
        Ok(Self { mounted: Mounted::mount(device, &room.join("mounted"))?, export })
    }

    /// The same bytes on a disk that works.
    fn replace(self, room: &Path) -> Result<Self, DiskError> {
        let Self { mounted, export } = self;
        drop(mounted.unmount()?);
        drop(export);
        let export = Export::start(room, &image(room), None)?;
        let device = LoopDevice::attach(export.file())?;
        Ok(Self { mounted: Mounted::mount(device, &room.join("mounted"))?, export })
    }
}

fn image(room: &Path) -> PathBuf {
    room.join("image")
}
