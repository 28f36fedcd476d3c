//! What a disk has lost of a group, and what its replica must doubt therefore.
//!
//! Found once by recovery, noted in the log before anything else is written, and found there at every
//! start until the replica's peers have repaired it (`raft::Doubt`).
//!
//! A disk that knows nothing of a group to which its node has belonged since the first start is in doubt
//! too: this is the first start, or all was lost, and nothing here tells which.

use crate::base::{Index, Mistake, makes};
use crate::raft::Doubt;
use crate::wal::{DoubtRecord, RecoveredGroup};

/// What is lost of one group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    /// What the log says, noted at an earlier start or found at this one.
    log: Option<Doubt>,
    /// Whether some of it was found at this start.
    found: bool,
    /// The newest snapshot, which the log does not do without.
    snapshot: bool,
}

impl Losses {
    /// Nothing is known of the group. Only if others can tell what this replica has said: where it is
    /// the only voter, whatever is here is all there is.
    pub(super) fn of_a_blank_disk() -> Self {
        let log = Some(Doubt::Blank).filter(|_| !makes(Mistake::BlankDiskVotes));
        Self { log, found: log.is_some(), snapshot: false }
    }

    /// `snapshot`: the newest one is lost.
    pub(super) fn of(log: &RecoveredGroup, snapshot: bool) -> Self {
        // A group that left this node keeps its votes only.
        let snapshot = snapshot && !log.retired && !is_complete(log);
        let snapshot = snapshot && !makes(Mistake::LostSnapshotIgnored);
        let found = log.entries_lost || log.votes_lost || snapshot;
        Self { log: log.doubt_kind().map(doubt_of), found, snapshot }
    }

    /// What the replica may have forgotten.
    pub(super) fn doubt(self) -> Option<Doubt> {
        self.log.or(self.snapshot.then_some(Doubt::Entries))
    }

    /// What is to be noted, the group's log going on after `last`; nothing if it is.
    pub(super) fn record(self, last: Index) -> Option<DoubtRecord> {
        let kind = self.doubt().filter(|_| self.found).map(number_of)?;
        Some(DoubtRecord { kind, resume_after: last })
    }

    /// Whether the log is of no use behind the snapshot, or the beginning, at `after`: it has lost what
    /// comes right behind it, or what it goes on from is lost. The leader sends all of it.
    pub(super) fn begins_anew(self, after: Index, log: &RecoveredGroup) -> bool {
        let gap = log.entries.first().is_some_and(|first| first.index > after.next());
        let marked = log.reset.is_some_and(|reset| reset.index > after);
        self.snapshot || self.doubt().is_some() && (gap || marked)
    }
}

/// Whether the log holds everything from the first entry on, so that no snapshot is needed; or says
/// already that this is to be sent.
fn is_complete(log: &RecoveredGroup) -> bool {
    let begun = log.reset.is_none_or(|mark| mark.index == Index::ZERO);
    let noted = log.doubt.is_some() && log.entries.is_empty();
    begun && log.entries.first().map_or(noted, |first| first.index == Index::ZERO.next())
}

/// What a replica may have forgotten that left its group, if it is taken in again: what the log says of
/// it from then on.
pub(super) fn after_leaving(before: Option<Doubt>) -> Option<Doubt> {
    let noted = |doubt| DoubtRecord { kind: number_of(doubt), resume_after: Index(u64::MAX) };
    DoubtRecord::of_retired(before.map(noted)).map(|record| doubt_of(record.kind))
}

/// As the status says it.
pub(super) fn word(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::Entries => "entries",
        Doubt::Votes => "votes",
        Doubt::Blank => "everything",
    }
}

fn number_of(doubt: Doubt) -> u8 {
    match doubt {
        Doubt::Entries => DoubtRecord::ENTRIES,
        Doubt::Votes => DoubtRecord::VOTES,
        Doubt::Blank => DoubtRecord::EVERYTHING,
    }
}

/// A number not known here may mean anything: then votes are in doubt, too.
fn doubt_of(number: u8) -> Doubt {
    match number {
        DoubtRecord::ENTRIES => Doubt::Entries,
        DoubtRecord::EVERYTHING => Doubt::Blank,
        _ => Doubt::Votes,
    }
}
