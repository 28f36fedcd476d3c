//! Disks that fill up.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use sunstar_disks::filesystem::{self, Mounted};
use sunstar_disks::loop_device::LoopDevice;
use sunstar_disks::{DiskError, create_image, require};

use crate::place;
use crate::support::{Cluster, Shape, append_during, assert_all_found};

/// Some segments fit.
const IMAGE_BYTES: u64 = 256 << 20;
const CLIENTS: usize = 8;

/// # Errors
/// If a disk cannot be made.
///
/// # Panics
/// If a promise is broken.
pub(crate) fn check() -> Result<(), DiskError> {
    require(&["losetup", "mkfs.ext4", "mount", "umount"])?;
    one_disk_is_full()?;
    println!("one disk was full: the others went on, it healed, nothing was lost");
    Ok(())
}

fn one_disk_is_full() -> Result<(), DiskError> {
    let room = tempfile::Builder::new().prefix("enospc-").tempdir().expect("room for an image");
    let disk = small_disk(room.path())?;
    let mut cluster = Cluster::prepare(Shape { nodes: 3, smp: 1 });
    place(cluster.node(0), disk.directory());
    cluster.start_all();
    let targets = cluster.targets();
    let ledgers = append_during(&targets, CLIENTS, |progress| {
        progress.await_more("at first", 10);
        let ballast = Ballast::fill(disk.directory());
        progress.await_more("with one disk full", 100);
        ballast.remove();
        progress.await_more("with room again", 20);
    });
    assert!(ledgers.iter().all(|ledger| ledger.count() > 0));
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();
    drop(cluster);
    Ok(())
}

fn small_disk(room: &Path) -> Result<Mounted, DiskError> {
    let image = room.join("image");
    create_image(&image, IMAGE_BYTES)?;
    let device = LoopDevice::attach(&image)?;
    filesystem::format(&device)?;
    Mounted::mount(device, &room.join("mounted"))
}

/// A file that takes all the room there is.
struct Ballast {
    path: PathBuf,
}

impl Ballast {
    fn fill(directory: &Path) -> Self {
        let path = directory.join("ballast");
        let mut file = File::create(&path).expect("a name needs little room");
        let piece = vec![0; 1 << 16];
        let mut length = piece.len();
        while length > 0 {
            match file.write(&piece[..length]) {
                Ok(written) => length = length.min(written.max(1)),
                Err(_) => length /= 2,
            }
        }
        file.sync_all().expect("its blocks are allocated");
        Self { path }
    }

    fn remove(self) {
        std::fs::remove_file(self.path).expect("it is there");
    }
}
