//! Power failures of a whole cluster at any moment: nothing acknowledged is lost.
//!
//! A cluster runs on a disk whose every write and flush is noted (`recording`). Moments are chosen
//! (`crash_points`); for each, the disk is made as it may have been found after a power failure
//! (`power_loss`): everything up to the last flush, and of later writes any subset of sectors. On that
//! disk the file system is mounted, the nodes are started again, and every write acknowledged before
//! the moment is looked for (`verdict`), by clients of the running cluster. No part of it is a model: the
//! server, the file system's own recovery and the kernel are those of any other day.
//!
//! Whether this finds anything is shown by disks that lie: some images forget what their last flushes
//! promised, and the verdict must notice.

mod crash_points;
mod image;
mod lanes;
mod load;
mod power_loss;
mod recording;
mod room;
mod trial;
mod verdict;
mod write_log;

use std::collections::BTreeMap;
use std::error::Error;

use fastrand::Rng;
use sunstar_disks::require;

use crash_points::{CrashPoint, Moment, choose, choose_lies};
use power_loss::Damage;
use recording::{Recording, prepare, record};
use room::Room;
use trial::Found;

/// What to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Extent {
    /// Power failures
    #[arg(long, default_value_t = 200)]
    images: usize,
    /// Chooses moments and what is lost of the disk; the cluster is never the same
    #[arg(long)]
    seed: Option<u64>,
}

/// # Errors
/// If a disk cannot be made, or something acknowledged is lost.
///
/// # Panics
/// If the cluster does not serve.
pub(crate) fn check(extent: &Extent) -> Result<(), Box<dyn Error>> {
    require(&["ip", "losetup", "mkfs.ext4", "mount", "qemu-storage-daemon", "setpriv", "umount"])?;
    let seed = extent.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let room = Room::new()?;
    let mut cluster = prepare(&room.mounted());
    let recording = record(&mut cluster, &room)?;
    describe(&recording);
    let mut rng = Rng::with_seed(seed);
    let mut points = choose(&recording.write_log, extent.images, &mut rng);
    points.extend(choose_lies(&recording.write_log, LIES, &mut rng));
    points.sort_by_key(|point| point.happened);
    room.note(format!("seed {seed}"));
    let lanes = lanes::lay(&recording, &room, cluster, &points, &mut rng)?;
    let mut tally = Tally::default();
    for (point, found) in lanes::perform(lanes, judge)? {
        tally.add(&point, &found);
    }
    room.succeeded();
    tally.conclude()
}

/// # Errors
/// If something was lost by a disk that did not lie.
fn judge(point: &CrashPoint, found: &Found) -> Result<(), String> {
    match &found.complaint {
        Some(complaint) if !point.is_lie() => Err(complaint.clone()),
        _ => Ok(()),
    }
}

fn describe(recording: &Recording) {
    let Recording { write_log, expected, .. } = recording;
    let writes = write_log.entries().iter().filter(|entry| entry.is_write());
    let bytes: u64 = writes.clone().map(|entry| entry.sectors * write_log::SECTOR as u64).sum();
    println!(
        "three nodes made {} writes of {} MiB and {} flushes, and acknowledged {} writes",
        writes.count(),
        bytes >> 20,
        write_log.flushes(),
        expected.count(),
    );
}

/// What came of all images.
#[derive(Debug, Default)]
struct Tally {
    images: BTreeMap<Moment, usize>,
    damage: Damage,
    /// Acknowledged writes looked for and found, over all images.
    found: usize,
    /// Disks that lied, and those of them that were found out.
    lies: (usize, usize),
}

impl Tally {
    fn add(&mut self, point: &CrashPoint, found: &Found) {
        if point.is_lie() {
            self.lies.0 += 1;
            self.lies.1 += usize::from(found.complaint.is_some());
            return;
        }
        *self.images.entry(point.moment).or_default() += 1;
        self.damage.add(found.damage);
        self.found += found.acknowledged;
    }

    /// # Errors
    /// If a disk that lied was not found out.
    fn conclude(&self) -> Result<(), Box<dyn Error>> {
        let Self { images, damage, found, lies } = self;
        println!(
            "{} crash images {images:?}: of {} sectors not flushed {} lost, {} writes torn; \
             {found} acknowledged writes looked for, 0 lost",
            images.values().sum::<usize>(),
            damage.exposed,
            damage.lost,
            damage.torn,
        );
        println!(
            "planted: a disk that forgot its last {} flushes lost a write in {} of {} images",
            crash_points::LIE_FLUSHES,
            lies.1,
            lies.0
        );
        if lies.0 == lies.1 { Ok(()) } else { Err("a lost write was not noticed".into()) }
    }
}

/// Disks that lie, to see that it is noticed.
const LIES: usize = 5;
