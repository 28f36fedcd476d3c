//! A whole cluster on one watched disk: what it wrote and flushed, and what it acknowledged meanwhile.
//!
//! All three nodes have their directories on the same disk, so that each crash image is a power
//! failure of the whole cluster: there is no other node that could help.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sunstar_disks::create_image;
use sunstar_disks::export::Export;
use sunstar_disks::filesystem::{self, Mounted};
use sunstar_disks::loop_device::LoopDevice;

use super::image;
use super::load::{APPENDERS, FILLERS, Ledger, write_until_stopped};
use super::room::Room;
use super::verdict::Expected;
use super::write_log::WriteLog;
use crate::support::appends::{Progress, work_during};
use crate::support::{Cluster, Node, Shape};

/// What is known of the disk and of the writes.
#[derive(Debug)]
pub(crate) struct Recording {
    /// Everything that happened to the disk since it was formatted.
    pub(crate) write_log: WriteLog,
    pub(crate) expected: Expected,
}

/// Nodes on a disk: they end before the disk goes, also if something panics.
pub(crate) struct Serving<'a> {
    pub(crate) cluster: &'a mut Cluster,
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let running =
            self.cluster.nodes().iter_mut().filter_map(|node| node.is_running().then_some(node));
        running.for_each(Node::kill);
    }
}

/// Lays out three nodes whose data lies under `mounted`; starts nothing.
pub(crate) fn prepare(mounted: &Path) -> Cluster {
    let mut cluster = Cluster::prepare(Shape { nodes: 3, smp: 1 });
    for node in cluster.nodes() {
        link_data(node, mounted);
        node.pass(&[GROUPS]);
    }
    cluster
}

/// Has a node find its data under `mounted`.
pub(crate) fn link_data(node: &Node, mounted: &Path) {
    let name = &node.plan().data_dir;
    std::os::unix::fs::symlink(directory_of(node, mounted), name).expect("a new directory");
}

/// Where a node's data really lies.
fn directory_of(node: &Node, mounted: &Path) -> PathBuf {
    mounted.join(format!("n{}", node.plan().id))
}

/// Runs the cluster under its load, with nodes killed and stopped meanwhile.
///
/// # Errors
/// If the disk cannot be made or its log cannot be read.
///
/// # Panics
/// If the cluster does not serve, or a write was not acknowledged.
pub(crate) fn record(cluster: &mut Cluster, room: &Room) -> Result<Recording, Box<dyn Error>> {
    let (formatted, watched) = (room.formatted(), room.path().join("watched"));
    let write_log = room.path().join("write-log");
    format(cluster, &formatted, &room.mounted())?;
    create_image(&watched, IMAGE_BYTES)?;
    image::restore(&image::open(&watched)?, &image::open(&formatted)?)?;
    create_image(&write_log, 0)?;
    let export = Export::start(room.path(), &watched, Some(&write_log))?;
    let disk = Mounted::mount(LoopDevice::attach(export.file())?, &room.mounted())?;
    let ledgers = run(&mut Serving { cluster }, &write_log);
    drop(disk.unmount()?);
    drop(export);
    std::fs::remove_file(&watched)?;
    let failures: Vec<_> = ledgers.iter().flat_map(|ledger| &ledger.failures).collect();
    assert!(failures.is_empty(), "writes rejected or in doubt: {failures:#?}");
    let expected = Expected::new(&ledgers);
    Ok(Recording { write_log: WriteLog::open(&write_log)?, expected })
}

/// A disk with an empty directory for each node.
fn format(cluster: &Cluster, image: &Path, mounted: &Path) -> Result<(), Box<dyn Error>> {
    create_image(image, IMAGE_BYTES)?;
    let device = LoopDevice::attach(image)?;
    filesystem::format(&device)?;
    let disk = Mounted::mount(device, mounted)?;
    for node in cluster.all() {
        std::fs::create_dir(directory_of(node, mounted))?;
    }
    drop(disk.unmount()?);
    Ok(())
}

fn run(serving: &mut Serving<'_>, write_log: &Path) -> Vec<Ledger> {
    let cluster = &mut *serving.cluster;
    cluster.start_all();
    let targets = cluster.targets();
    let write = |client, progress: &_| write_until_stopped(&targets, write_log, client, progress);
    work_during(APPENDERS + FILLERS, write, |progress| disturb(cluster, progress))
}

/// What happens meanwhile: nodes end in every way, logs go through their segments, snapshots are made
/// and segments given up are begun again.
fn disturb(cluster: &mut Cluster, progress: &Progress) {
    progress.await_more("at first", 20);
    cluster.node(0).kill();
    progress.await_more("with one node less", 10);
    cluster.node(0).start();
    cluster.await_leaders();
    progress.await_more("with all nodes", 20);
    cluster.node(1).terminate();
    cluster.node(1).start();
    cluster.await_leaders();
    progress.await_more("before all are killed", 20);
    cluster.nodes().iter_mut().for_each(Node::kill);
    cluster.nodes().iter_mut().for_each(Node::start);
    cluster.await_leaders();
    go_on_until("all have made snapshots", progress, || cluster.all().iter().all(has_snapshot));
    let is_begun_anew = || cluster.all().iter().all(writes_over_segments);
    go_on_until("all have written over a segment given up", progress, is_begun_anew);
    progress.await_more("with segments written over", 20);
}

/// Lets the load go on until something holds: as long as that takes on this machine, but not for ever.
fn go_on_until(what: &str, progress: &Progress, condition: impl Fn() -> bool) {
    let is_reached = || {
        progress.await_more(&format!("until {what}"), 10);
        condition()
    };
    assert!((0..STEPS_MAX).any(|_| is_reached()), "{what}: not after {STEPS_MAX} steps");
}

fn has_snapshot(node: &Node) -> bool {
    files(node, "snap").next().is_some()
}

/// Whether more segments were begun than there are files.
fn writes_over_segments(node: &Node) -> bool {
    let orders: Vec<_> = files(node, "log").map(|path| order_of(&path)).collect();
    orders.iter().flatten().any(|order| *order >= orders.len() as u64)
}

/// The place of a segment in the order of all, from 0, if it is in use: `schema/log.md`.
fn order_of(segment: &Path) -> Option<u64> {
    let mut header = [0; 56];
    File::open(segment).and_then(|mut file| file.read_exact(&mut header)).expect("a segment");
    let order = header[48..].try_into().expect("eight bytes");
    header.starts_with(b"SUNSTLOG").then_some(u64::from_le_bytes(order))
}

/// The files of a node's core.
fn files(node: &Node, extension: &str) -> impl Iterator<Item = PathBuf> {
    let files = std::fs::read_dir(node.plan().data_dir.join("core-0")).expect("its core's files");
    files
        .map(|file| file.expect("a readable directory").path())
        .filter(move |path| path.extension().is_some_and(|its| its == extension))
}

/// Of ten rounds of the load each: several times what the segments hold.
const STEPS_MAX: usize = 200;
/// Each node's log is several segments of 32 MiB.
pub(crate) const IMAGE_BYTES: u64 = 2 << 30;
const GROUPS: &str = "--groups=6";
