//! Bit rot: one bit of what a stopped node has on its disk, where it is likely to matter.

use sunstar::base::GroupId;
use sunstar::wal::{BatchView, LogView, SegmentId, SegmentView};

use super::cluster::Disk;

/// What a disk writes as a whole: the part of a segment's first block that its header takes.
const SECTOR: usize = 512;

/// One bit that is wrong.
#[derive(Debug)]
pub(crate) struct BitRot {
    place: Place,
    mask: u8,
    /// Whether a log with this damage may be refused: a segment's header, and the preamble that the log
    /// begins with, are not repaired (`schema/log.md`).
    pub(crate) refusable: bool,
}

#[derive(Debug)]
enum Place {
    Segment(SegmentId, usize),
    Snapshot(GroupId, usize),
}

impl BitRot {
    /// A bit of a snapshot, of a batch, or of anything in the log; nothing if the disk is blank.
    pub(crate) fn choose(disk: &Disk, random: &mut fastrand::Rng) -> Option<Self> {
        let mask = 1 << random.u32(0..8);
        if random.u32(0..4) == 0 && !disk.snapshots.is_empty() {
            let which = random.usize(0..disk.snapshots.len());
            let (&group, (_, file)) = disk.snapshots.iter().nth(which).expect("just counted");
            let place = Place::Snapshot(group, random.usize(0..file.len()));
            return Some(Self { place, mask, refusable: false });
        }
        let mut view = LogView::default();
        for (&segment, bytes) in &disk.segments {
            view.push(SegmentView::of(segment, bytes));
        }
        let mut batches: Vec<_> = view.batches().collect();
        batches.sort_by_key(|(_, batch)| batch.number);
        let (segment, at) = match random.u32(0..10) {
            0 => {
                let segment = random.choice(disk.segments.keys().copied().collect::<Vec<_>>())?;
                (segment, random.usize(0..disk.segments[&segment].len()))
            }
            // What was written last is the hardest to tell from what was never finished.
            1..5 => byte_of(&batches[batches.len().saturating_sub(6)..], random)?,
            _ => byte_of(&batches, random)?,
        };
        let first = batches.iter().any(|(of, batch)| {
            let begin = offset(batch);
            let there = *of == segment && (begin..begin + length(batch)).contains(&at);
            there && batch.number == view.start()
        });
        let refusable = at < SECTOR || first;
        Some(Self { place: Place::Segment(segment, at), mask, refusable })
    }

    /// Flips it.
    pub(crate) fn apply(&self, disk: &mut Disk) {
        let byte = match self.place {
            Place::Segment(segment, at) => {
                &mut disk.segments.get_mut(&segment).expect("chosen")[at]
            }
            Place::Snapshot(group, at) => {
                &mut disk.snapshots.get_mut(&group).expect("chosen").1[at]
            }
        };
        *byte ^= self.mask;
    }
}

/// A byte that means something, of one of these batches.
fn byte_of(
    batches: &[(SegmentId, &BatchView)],
    random: &mut fastrand::Rng,
) -> Option<(SegmentId, usize)> {
    let (segment, batch) = *random.choice(batches)?;
    Some((segment, offset(batch) + random.usize(0..length(batch))))
}

fn offset(batch: &BatchView) -> usize {
    usize::try_from(batch.offset).expect("within a segment")
}

/// Header, table and payloads: 64 bytes, 40 for each record, and what it holds.
fn length(batch: &BatchView) -> usize {
    let payloads: u64 = batch.records.iter().map(|record| record.bytes).sum();
    let length = 64 + 40 * batch.records.len() + usize::try_from(payloads).expect("in a batch");
    assert!(length as u64 <= batch.bytes, "{batch:?}");
    length
}
