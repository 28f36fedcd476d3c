//! Disks that fill up: one node's, then everybody's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use sunstar::client::blocking::Client;
use sunstar::client::{ClientError, Options, Rejection};
use sunstar_disks::filesystem::{self, Mounted};
use sunstar_disks::loop_device::LoopDevice;
use sunstar_disks::{DiskError, create_image, require};

use crate::place;
use crate::support::{Cluster, Shape, append_during, assert_all_found, server, wait_until};

/// Some segments fit.
const IMAGE_BYTES: u64 = 192 << 20;
/// So large that some hundred go beyond a segment, of which these nodes have the smallest there are.
const VALUE_BYTES: usize = 256 << 10;
const CLIENTS: usize = 8;
/// The node that is the only one with a full disk, by position.
const VICTIM: usize = 0;

/// # Errors
/// If a disk cannot be made.
///
/// # Panics
/// If a promise is broken.
pub(crate) fn check() -> Result<(), DiskError> {
    require(&["losetup", "mkfs.ext4", "mount", "umount"])?;
    one_disk_is_full()?;
    println!("one disk was full: the others went on, it healed, nothing was lost");
    a_node_is_replaced_beside_a_full_disk()?;
    println!("one disk was full: it let a node with a new disk in once it had room to note that");
    all_disks_are_full()?;
    println!(
        "all disks were full: writes were refused, reads went on, it healed, nothing was lost"
    );
    Ok(())
}

fn one_disk_is_full() -> Result<(), DiskError> {
    let room = room();
    let disk = small_disk(room.path(), "n1")?;
    let mut cluster = Cluster::prepare(Shape { nodes: 3, smp: 1 });
    place(cluster.node(VICTIM), disk.directory());
    cluster.start_all();
    let targets = cluster.targets();
    let ledgers = append_during(&targets, CLIENTS, |progress| {
        progress.await_more("at first", 10);
        let ballast = Ballast::fill(disk.directory());
        let mut writer = Writer::connect(&targets);
        wait_until("the node notices", || {
            assert_eq!(writer.write(), Ok(()), "there is room on the other disks");
            is_full(&mut cluster, VICTIM)
        });
        wait_until("it leads nothing", || {
            cluster.node(VICTIM).status(false).is_some_and(|status| status.led().is_empty())
        });
        progress.await_more("with one disk full", 50);
        writer.assert_all_found();
        assert!(cluster.node(VICTIM).is_running() && is_full(&mut cluster, VICTIM));
        ballast.remove();
        wait_until("the node notices that there is room", || !is_full(&mut cluster, VICTIM));
        progress.await_more("with room again", 20);
    });
    assert!(ledgers.iter().all(|ledger| ledger.count() > 0));
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();
    drop(cluster);
    Ok(())
}

/// Who another node is, must be noted on the disk before it is believed.
fn a_node_is_replaced_beside_a_full_disk() -> Result<(), DiskError> {
    const LOST: usize = 2;
    let room = room();
    let disk = small_disk(room.path(), "n1")?;
    let mut cluster = Cluster::prepare(Shape { nodes: 3, smp: 1 });
    place(cluster.node(VICTIM), disk.directory());
    cluster.start_all();
    let mut writer = Writer::connect(&cluster.targets());
    wait_until("a write before", || writer.write() == Ok(()));
    let ballast = Ballast::fill(disk.directory());
    wait_until("the node notices", || {
        assert_eq!(writer.write(), Ok(()), "there is room on the other disks");
        is_full(&mut cluster, VICTIM)
    });
    let peers = cluster.node(VICTIM).plan().data_dir.join("peers");
    let known = || std::fs::read_to_string(&peers).expect("a file");
    let before = known();
    let noted = || known() != before;
    let lost = cluster.node(LOST);
    lost.kill();
    std::fs::remove_dir_all(&lost.plan().data_dir).expect("it was there");
    lost.start();
    let asked = cluster.node(1).plan().admin.to_string();
    let replace = ["ctl", "member", "replace", "n3", "--admin-addr", &asked];
    let replaced = || Command::new(server()).args(replace).status().expect("the program runs");
    wait_until("another node lets it in", || replaced().success());
    wait_until("the full one says why it does not", || {
        cluster.node(VICTIM).log().contains("cannot be noted")
    });
    assert!(cluster.node(VICTIM).is_running() && !noted());
    writer.assert_all_found();
    ballast.remove();
    wait_until("it has taken note", noted);
    cluster.await_leaders();
    writer.assert_all_found();
    cluster.assert_replicas_agree();
    drop(cluster);
    Ok(())
}

fn all_disks_are_full() -> Result<(), DiskError> {
    let room = room();
    let disks = ["n1", "n2", "n3"].map(|name| small_disk(room.path(), name));
    let disks: Vec<_> = disks.into_iter().collect::<Result<_, _>>()?;
    let mut cluster = Cluster::prepare(Shape { nodes: 3, smp: 1 });
    for (node, disk) in cluster.nodes().iter_mut().zip(&disks) {
        place(node, disk.directory());
    }
    cluster.start_all();
    let mut writer = Writer::connect(&cluster.targets());
    wait_until("a write before", || writer.write() == Ok(()));
    let ballasts: Vec<_> = disks.iter().map(|disk| Ballast::fill(disk.directory())).collect();
    wait_until("writes are refused", || {
        let refused = writer.write() == Err(Rejection::DiskFull);
        refused && (0..3).all(|position| is_full(&mut cluster, position))
    });
    writer.assert_all_found();
    for position in 0..3 {
        cluster.node(position).kill();
        cluster.node(position).start();
        cluster.await_leaders();
    }
    // What the old client sends first goes into dead connections, and stays in doubt.
    writer.client = connect(&cluster.targets());
    wait_until("writes are refused after restarts", || writer.write() == Err(Rejection::DiskFull));
    writer.assert_all_found();
    ballasts.into_iter().for_each(Ballast::remove);
    wait_until("writes are taken again", || writer.write() == Ok(()));
    wait_until("all nodes have room", || !(0..3).any(|position| is_full(&mut cluster, position)));
    writer.assert_all_found();
    cluster.assert_replicas_agree();
    drop(cluster);
    Ok(())
}

fn is_full(cluster: &mut Cluster, position: usize) -> bool {
    let status = cluster.node(position).status(false);
    status.is_some_and(|status| status.cores.iter().any(|core| core.disk_full))
}

fn room() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("enospc-").tempdir().expect("room for images")
}

fn small_disk(room: &Path, name: &str) -> Result<Mounted, DiskError> {
    let image = room.join(format!("{name}.image"));
    create_image(&image, IMAGE_BYTES)?;
    let device = LoopDevice::attach(&image)?;
    filesystem::format(&device)?;
    Mounted::mount(device, &room.join(name))
}

/// Puts of large values, each under a key of its own.
struct Writer {
    client: Client,
    keys: usize,
    /// By key: what was acknowledged.
    written: BTreeMap<String, Vec<u8>>,
}

impl Writer {
    fn connect(targets: &[String]) -> Self {
        Self { client: connect(targets), keys: 0, written: BTreeMap::new() }
    }

    /// One write of a new key.
    fn write(&mut self) -> Result<(), Rejection> {
        self.keys += 1;
        let key = format!("key-{}", self.keys);
        let value = key.repeat(VALUE_BYTES / key.len()).into_bytes();
        match self.client.put(key.as_bytes(), &value) {
            Ok(_) => {
                self.written.insert(key, value);
                Ok(())
            }
            Err(ClientError::Rejected(rejection)) => Err(rejection),
            Err(error) => panic!("{key}: {error}"),
        }
    }

    /// Reads everything that was acknowledged.
    fn assert_all_found(&mut self) {
        for (key, value) in &self.written {
            let found = self.client.get(key.as_bytes()).expect("reads go on").value;
            assert!(found.as_ref() == Some(value), "{key} was acknowledged and is not there");
        }
    }
}

fn connect(targets: &[String]) -> Client {
    Client::connect(targets, Options::default()).expect("a cluster that serves")
}

/// A file that takes all the room there is.
struct Ballast {
    path: PathBuf,
}

impl Ballast {
    fn fill(directory: &Path) -> Self {
        let path = directory.join("ballast");
        let mut file = File::create(&path).expect("a name needs little room");
        let mut length = PIECE.len();
        while length > 0 {
            match file.write(&PIECE[..length]) {
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

static PIECE: [u8; 64 << 10] = [0; 64 << 10];
