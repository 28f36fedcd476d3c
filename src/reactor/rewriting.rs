//! Segments of the log are freed, oldest first: by a snapshot of who needs the oldest for much, or by
//! writing again what is needed of it if that is little.
//!
//! A core has thousands of groups, and most of them are written rarely. Each needs the segment that its
//! last few entries lie in, until a snapshot covers them. To take a thousand snapshots whenever one busy
//! group has filled a segment would cost far more than the few entries do: they are written again, as
//! copies at the head of the log (`wal`), and the segment is free.
//!
//! ```text
//!   too many segments ─▶ who needs the oldest, for how many bytes?
//!        little, all together: read it from its beginning to its end, copy what is needed
//!        more: a snapshot of who needs it most, then look again
//! ```
//!
//! What is read is copied after all that the turn stages besides. An entry that is applied is copied as
//! read, for it stays as it is; any other only if Raft still has it, so that no copy takes the place of
//! what replaced the entry.

use super::Reactor;
use super::effects::Effects;
use super::old_entries::Wanted;
use crate::base::{GroupId, Time};
use crate::wal::{BatchNumber, EntryRecord, Holder, LogError, SegmentId, Stretch};

/// What part of a segment is written again at most to free it: as much is the log's work increased.
const REWRITTEN_PART: u64 = 8;

/// The segment being freed by copies.
#[derive(Debug)]
pub(super) struct Rewriting {
    segment: SegmentId,
    /// The batches before this one were read.
    next: BatchNumber,
    /// Whether a read waits or is under way.
    reads: bool,
    /// What was read and is not staged yet.
    found: Vec<(GroupId, EntryRecord)>,
}

impl Reactor {
    /// Goes on with the snapshot in the making. Frees the oldest segment where there are too many.
    pub(super) fn free_segments(&mut self, now: Time, effects: &mut Effects) {
        self.core.write_due_piece(effects);
        if self.core.can_make(now) {
            self.core.make_install(effects);
        }
        let can_make = self.core.can_make(now);
        let log = self.core.persistence.log();
        let enough = log.live_segments() <= self.core.config.live_segments_max;
        if self.core.rewriting.is_some() {
            self.go_on_rewriting();
        } else if let Some(oldest) = log.oldest_segment()
            && can_make
            && !(enough || log.has_staged_copies())
        {
            self.free_segment(oldest, effects);
        }
    }

    fn free_segment(&mut self, segment: SegmentId, effects: &mut Effects) {
        let mut holders = Vec::new();
        self.core.persistence.log().groups_holding_oldest(&mut holders);
        if holders.is_empty() {
            return;
        }
        let bytes: u64 = holders.iter().map(|holder| holder.bytes as u64).sum();
        let little = bytes <= self.core.config.segment_bytes / REWRITTEN_PART
            && !self.core.persistence.is_reserve_low();
        let readable = self.core.unreadable != Some(segment);
        let heaviest = || holders.iter().filter_map(|holder| self.weight(holder)).max();
        if little && readable {
            self.begin_rewriting(segment);
        } else if let Some((_, i)) = heaviest() {
            self.core.make_trim(&self.replicas[i], effects);
        } else if readable {
            self.begin_rewriting(segment);
        }
    }

    fn begin_rewriting(&mut self, segment: SegmentId) {
        let (next, found) = (BatchNumber::default(), Vec::new());
        self.core.rewriting = Some(Rewriting { segment, next, reads: false, found });
        self.go_on_rewriting();
    }

    /// What a snapshot of a group's replica would free, and where that is, if there is anything to
    /// take a snapshot of.
    fn weight(&self, holder: &Holder) -> Option<(usize, usize)> {
        let i = self.position(holder.group)?;
        let replica = &self.replicas[i];
        let behind = replica.snapshot_index < replica.applied_index();
        (behind && !replica.is_quarantined()).then_some((holder.bytes, i))
    }

    /// Copies what was read, or has the next part of the segment read.
    fn go_on_rewriting(&mut self) {
        // The rest of a full disk is for terms and votes.
        let low = self.core.persistence.is_reserve_low();
        let log = self.core.persistence.log();
        let (oldest, busy) = (log.oldest_segment(), log.has_staged_copies());
        let Some(rewriting) = &mut self.core.rewriting else { return };
        let found = std::mem::take(&mut rewriting.found);
        if low || oldest != Some(rewriting.segment) {
            self.core.rewriting = None;
        } else if !found.is_empty() {
            for (group, record) in found {
                self.copy(group, record);
            }
        } else if !rewriting.reads && !busy {
            rewriting.reads = true;
            self.core.old_entries.want(Wanted::Copies(rewriting.next));
        }
    }

    fn copy(&mut self, group: GroupId, record: EntryRecord) {
        let Some(i) = self.position(group) else { return };
        let (raft, index) = (&self.replicas[i].raft, record.index);
        if index <= raft.applied_index() || raft.term_at(index) == Some(record.term) {
            self.core.persistence.log_mut().stage_copy(group, record);
        }
    }

    /// A part of the segment was read; nothing of it is needed any more, or it cannot be read: then
    /// snapshots must free it.
    pub(super) fn rewrite_read(&mut self, read: Option<(&Stretch, Result<Found, LogError>)>) {
        let Some(rewriting) = &mut self.core.rewriting else { return };
        rewriting.reads = false;
        match read {
            Some((stretch, Ok(found))) if stretch.segment == rewriting.segment => {
                rewriting.next = stretch.last_batch().next();
                rewriting.found = found;
            }
            Some((stretch, Err(error))) => {
                let segment = stretch.segment;
                tracing::warn!(%segment, %error, "a segment cannot be written again: it is damaged");
                self.core.unreadable = Some(segment);
                self.core.rewriting = None;
            }
            _ => self.core.rewriting = None,
        }
    }
}

/// Entries with their groups.
pub(super) type Found = Vec<(GroupId, EntryRecord)>;
