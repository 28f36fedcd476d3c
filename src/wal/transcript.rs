//! A log written anew from what others were found to hold: for another number of cores, or segments of
//! another size.
//!
//! ```text
//!   Recovered::groups of any logs ──▶ Transcript ──▶ create, write, write, … ──▶ Recovered::groups
//! ```
//! The new log has everything that the old ones have of the groups given to it, whether snapshots cover
//! it or not: what recovery made of a group before, it makes of it afterwards. Restarts are written as
//! *standing* ones, as a preamble repeats them: the entries behind a restart may begin later than it
//! says, where a snapshot covers what lay between.
//!
//! Nothing of it counts until the caller has synced every file and says durably that these are the
//! logs. So batches claim all before them to be durable, and the last one closes the window: in a
//! finished transcript any damage is told as such.

use std::collections::VecDeque;

use super::damage::Loss;
use super::record::{GroupRecord, Record};
use super::{BATCH_BYTES_MAX, DoubtRecord, Log, LogConfig, RecoveredGroup, SegmentId, Write};
use crate::base::{GroupId, Index};

/// What to do next for a [`Transcript`], in order.
#[derive(Debug, PartialEq, Eq)]
pub enum TranscriptStep {
    /// Create the segment's file, full of zeros.
    Create(SegmentId),
    /// Write to it; it need not be durable before all is done.
    Write(Write),
}

/// Makes a log of `groups`, step by step: see [`TranscriptStep`].
#[derive(Debug)]
pub struct Transcript<I> {
    log: Log,
    /// The groups that are not staged yet.
    groups: I,
    /// Records of the group that comes next.
    records: VecDeque<GroupRecord>,
    /// What was made and not given out yet.
    steps: VecDeque<TranscriptStep>,
    /// Reused: empty between steps.
    writes: Vec<Write>,
}

impl<I: Iterator<Item = (GroupId, RecoveredGroup)>> Transcript<I> {
    /// A log of `groups`, each of which comes once. It has no segment at all if there are none.
    ///
    /// # Panics
    /// If the configuration breaks the rules its fields state, or an entry fits no segment.
    pub fn new(config: LogConfig, groups: impl IntoIterator<IntoIter = I>) -> Self {
        Self {
            log: Log::new(config),
            groups: groups.into_iter(),
            records: VecDeque::new(),
            steps: VecDeque::new(),
            writes: Vec::new(),
        }
    }

    /// Stages a batch's worth of records; false if there are none left.
    fn stage(&mut self) -> bool {
        while self.log.staged_bytes() < BATCH_BYTES_MAX {
            if let Some(record) = self.records.pop_front() {
                self.log.stage(record.group, record.record);
            } else if let Some((group, found)) = self.groups.next() {
                self.records.extend(records(found).map(|record| GroupRecord { group, record }));
            } else {
                break;
            }
        }
        self.log.has_staged()
    }

    /// Makes a batch of what is staged, or asks for the segment it needs.
    fn seal(&mut self) {
        if self.log.seal(&mut self.writes).is_none() {
            let mut wanted = Vec::new();
            self.log.segments_wanted(&mut wanted);
            assert!(!wanted.is_empty(), "what is staged fits a segment, and none is there");
            for segment in wanted {
                self.steps.push_back(TranscriptStep::Create(segment));
                self.log.segment_ready(segment);
            }
        }
        self.give_out();
    }

    /// The caller performs what it is given in order, so it counts as done.
    fn give_out(&mut self) {
        for write in self.writes.drain(..) {
            self.log.written(write.write);
            self.steps.push_back(TranscriptStep::Write(write));
        }
    }
}

impl<I: Iterator<Item = (GroupId, RecoveredGroup)>> Iterator for Transcript<I> {
    type Item = TranscriptStep;

    fn next(&mut self) -> Option<TranscriptStep> {
        while self.steps.is_empty() {
            if self.stage() {
                self.seal();
            } else if self.log.seal_idle(&mut self.writes).is_some() {
                self.give_out();
            } else {
                return None;
            }
        }
        self.steps.pop_front()
    }
}

/// What replays to `found`.
fn records(found: RecoveredGroup) -> impl Iterator<Item = Record> {
    let kind = found.doubt_kind();
    let RecoveredGroup { hard_state, reset, retired, entries, .. } = found;
    let doubt = kind.map(|kind| DoubtRecord { kind, resume_after: Index(u64::MAX) });
    let doubt = doubt.map(|doubt| Record::Doubt(doubt, Loss::NONE));
    let state = hard_state.map(Record::HardState).into_iter();
    let standing = reset.map(Record::Standing).into_iter();
    let retired = retired.then_some(Record::Retired).into_iter();
    let entries = entries.into_iter().map(Record::Entry);
    state.chain(standing).chain(retired).chain(entries).chain(doubt)
}
