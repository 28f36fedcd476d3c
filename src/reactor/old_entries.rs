//! Entries that have left memory, read back from the log's segments: for followers that are behind,
//! and for writing them again where a segment is to be freed.
//!
//! ```text
//! Raft: entries wanted ─┐                                     ┌─▶ Raft: entries read, or gone
//!                       ├─▶ waiting ─▶ Effects::log_reads ─▶ ─┤
//! rewriting ────────────┘              (few at a time)        └─▶ copies
//! ```
//!
//! A segment that is read stays as it is until the read is done (`wal::Log::begin_read`). What was read
//! is verified before anything is believed of it; damage is named in the log, and treated as if the
//! entries were gone: the follower gets a snapshot. So it does if that is far less than what would be
//! read: entries that change the same keys again and again are many, and their state is small.

use std::collections::{BTreeMap, VecDeque};

use super::effects::{Effects, LogRead};
use super::{Reactor, convert};
use crate::base::{GroupId, Index, NodeId, Time};
use crate::raft;
use crate::wal::{BatchNumber, Stretch};

/// Reads under way at once, at most: each holds its bytes in memory.
const READS_MAX: usize = 4;

/// Bytes of one read, at most, unless one batch alone is larger.
const READ_BYTES_MAX: usize = 1 << 20;

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// Entries of a group from one on, for a follower.
    Entries { group: GroupId, from: Index, to: NodeId },
    /// Entries to be written again, from this batch of the oldest segment on.
    Copies(BatchNumber),
}

/// What waits to be read and what is being read.
#[derive(Debug, Default)]
pub(super) struct OldEntries {
    waiting: VecDeque<Wanted>,
    /// By the number of the read.
    reading: BTreeMap<u64, (Wanted, Stretch)>,
    /// Reads begun since start: numbers them, and is shown in the status.
    pub count: u64,
}

impl OldEntries {
    pub(super) fn want(&mut self, wanted: Wanted) {
        self.waiting.push_back(wanted);
    }

    fn begin(&mut self, wanted: Wanted, stretch: Stretch) -> LogRead {
        self.count += 1;
        let Stretch { segment, offset, length, .. } = stretch;
        self.reading.insert(self.count, (wanted, stretch));
        LogRead { read: self.count, segment, offset, length }
    }

    fn end(&mut self, read: u64) -> (Wanted, Stretch) {
        self.reading.remove(&read).expect("a read ends once")
    }
}

impl Reactor {
    /// Begins reads that wait, a few at a time.
    pub(super) fn read_old_entries(&mut self, now: Time, effects: &mut Effects) {
        while self.core.old_entries.reading.len() < READS_MAX
            && let Some(wanted) = self.core.old_entries.waiting.pop_front()
        {
            let cheaper = self.is_snapshot_cheaper(wanted);
            let log = self.core.persistence.log_mut();
            let stretch = match wanted {
                Wanted::Entries { .. } if cheaper => None,
                Wanted::Entries { group, from, .. } => log.begin_read(group, from, READ_BYTES_MAX),
                Wanted::Copies(from) => log.begin_rewrite(from, READ_BYTES_MAX),
            };
            match (stretch, wanted) {
                (Some(stretch), _) => {
                    effects.log_reads.push(self.core.old_entries.begin(wanted, stretch));
                }
                (None, Wanted::Entries { group, from, to }) => {
                    self.entries_read(now, group, (to, from), Vec::new());
                }
                (None, Wanted::Copies(_)) => self.rewrite_read(None),
            }
        }
    }

    /// Whether a follower had better be sent a snapshot than the entries it lacks.
    fn is_snapshot_cheaper(&self, wanted: Wanted) -> bool {
        let Wanted::Entries { group, from, .. } = wanted else { return false };
        let Some(i) = self.position(group) else { return false };
        let span = self.core.persistence.log().span_from(group, from);
        let in_memory = self.core.config.entries_memory_max;
        span.is_some_and(|span| prefers_snapshot(span, self.replicas[i].machine.bytes(), in_memory))
    }

    /// A read is done.
    pub(super) fn log_read(&mut self, now: Time, read: u64, bytes: &[u8]) {
        let (wanted, stretch) = self.core.old_entries.end(read);
        self.core.persistence.log_mut().end_read(&stretch);
        let found = stretch.decode(bytes);
        match wanted {
            Wanted::Copies(_) => self.rewrite_read(Some((&stretch, found))),
            Wanted::Entries { group, from, to } => {
                let records = found.unwrap_or_else(|error| {
                    tracing::warn!(%group, follower = %to, %error, "entries read back are damaged");
                    Vec::new()
                });
                let records = records.into_iter().map(|(_, record)| record);
                let entries = records.map_while(convert::entry_of).collect();
                self.entries_read(now, group, (to, from), entries);
            }
        }
    }

    /// What a follower lacks was read; nothing if it is gone.
    fn entries_read(
        &mut self,
        now: Time,
        group: GroupId,
        (to, from): (NodeId, Index),
        entries: Vec<raft::Entry>,
    ) {
        if let Some(i) = self.position(group) {
            self.step_raft(now, i, raft::Input::EntriesRead { to, from, entries });
        }
    }
}

/// Whether a state of so many bytes is sent rather than `span` bytes of log read. A state is sent whole
/// and takes the place of another at the follower, so it must be less by far; and what is in memory
/// anyway is no reason.
fn prefers_snapshot(span: u64, state: u64, in_memory: u64) -> bool {
    span > SPAN_RATIO * state + in_memory
}

/// How many times as much log as state.
const SPAN_RATIO: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_sent_where_it_is_far_less() {
        const MIB: u64 = 1 << 20;
        for (span, state, expected) in [
            (95 * MIB, 5 * MIB, true),
            (95 * MIB, 40 * MIB, false),
            (42 * MIB, 5 * MIB, false),
            (40 * MIB, 0, true),
            (30 * MIB, 0, false),
        ] {
            assert_eq!(prefers_snapshot(span, state, 32 * MIB), expected, "{span} for {state}");
        }
    }
}
