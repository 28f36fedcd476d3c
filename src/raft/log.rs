//! A replica's log as far as it is in memory, and how far it is committed and applied.
//!
//! ```text
//!   forgotten      base  first      applied   handed out  commit            last
//!   ───────────────┤     ├──────────┬────┼────────┼───────┤                 │
//!                        └ entries in memory ───────────────────────────────┘
//!                             snapshot
//! ```
//!
//! `base ≤ snapshot ≤ applied ≤ handed out ≤ commit ≤ last`. The entries between base and snapshot
//! are kept for followers that are a little behind, who would otherwise be sent a whole snapshot.
//! What lies between applied and handed out is with the host; it is bounded in bytes (`hand_out`).

use std::collections::VecDeque;

use super::progress::LogRange;
use super::{Entry, Output, SnapshotMeta};
use crate::base::{Index, Term, WallTime};

/// What one entry costs in a message or a batch to apply besides its payload, about: a log of empty
/// entries must not make either without end.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// The log of one replica.
#[derive(Debug)]
pub(super) struct Log {
    /// The place before the first entry in memory. Moved by `compact` and `restore` only.
    base: Place,
    /// The entries after `base`, without gaps; terms never fall.
    entries: VecDeque<Entry>,
    /// The newest snapshot: what a follower gets whose next entry is gone.
    snapshot: SnapshotMeta,
    /// Everything up to here is committed. Never falls; `commit_index <= last_index`.
    commit_index: Index,
    /// Everything up to here was handed out for applying. Advanced by `hand_out`; never falls;
    /// `handed_out_index <= commit_index`.
    handed_out_index: Index,
    /// Everything up to here is applied, as the host says. Never falls;
    /// `applied_index <= handed_out_index`.
    applied_index: Index,
    /// The size of what is handed out and not applied yet.
    applying_bytes: usize,
}

/// One position, as much as is remembered of a forgotten entry.
#[derive(Clone, Copy, Debug)]
struct Place {
    index: Index,
    term: Term,
    timestamp: WallTime,
}

impl From<&SnapshotMeta> for Place {
    fn from(snapshot: &SnapshotMeta) -> Self {
        Self { index: snapshot.index, term: snapshot.term, timestamp: snapshot.timestamp }
    }
}

impl From<&Entry> for Place {
    fn from(entry: &Entry) -> Self {
        Self { index: entry.index, term: entry.term, timestamp: entry.timestamp }
    }
}

impl Log {
    /// The log found on disk. What of it is committed is not stored: a leader will tell.
    ///
    /// # Panics
    /// If the entries do not follow the snapshot and each other: recovery checks them.
    pub(super) fn new(snapshot: SnapshotMeta, entries: Vec<Entry>) -> Self {
        let mut log = Self {
            base: Place::from(&snapshot),
            entries: VecDeque::with_capacity(entries.len()),
            commit_index: snapshot.index,
            handed_out_index: snapshot.index,
            applied_index: snapshot.index,
            applying_bytes: 0,
            snapshot,
        };
        for entry in entries {
            log.append(entry);
        }
        log
    }

    pub(super) fn base_index(&self) -> Index {
        self.base.index
    }

    pub(super) fn first_index(&self) -> Index {
        self.base.index.next()
    }

    pub(super) fn last_index(&self) -> Index {
        self.last().index
    }

    /// Which entries are in memory.
    pub(super) fn range(&self) -> LogRange {
        LogRange { base: self.base_index(), last: self.last_index() }
    }

    pub(super) fn last_term(&self) -> Term {
        self.last().term
    }

    /// The time stamp that the next entry must not fall below.
    pub(super) fn last_timestamp(&self) -> WallTime {
        self.last().timestamp
    }

    pub(super) fn commit_index(&self) -> Index {
        self.commit_index
    }

    /// How far the state machine is.
    pub(super) fn applied_index(&self) -> Index {
        self.applied_index
    }

    /// The term of the entry at `index`; of the place before the first entry too.
    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.position(index).and_then(|position| self.entries.get(position)).map(|e| e.term)
    }

    /// Whether the entry at `index` has `term`; then all before it are equal too (log matching).
    pub(super) fn matches(&self, index: Index, term: Term) -> bool {
        self.term_at(index) == Some(term)
    }

    /// Whether a log that ends so is at least as complete as this one. Source: Raft, section 5.4.1.
    pub(super) fn is_covered_by(&self, last_index: Index, last_term: Term) -> bool {
        (last_term, last_index) >= (self.last_term(), self.last_index())
    }

    /// The last place at or before `index` whose term is at most `term`: the next that could
    /// match, where the other side has `term` at `index`. Skips a whole term in one round trip.
    pub(super) fn last_place_within(&self, index: Index, term: Term) -> Index {
        if index <= self.base.index {
            return index;
        }
        let within = self.entries.partition_point(|entry| entry.term <= term);
        self.base.index.plus(within as u64).min(index)
    }

    /// Adds the entries from `from` on to `entries`, as many as fit into `bytes_max` and until there
    /// are `entries_max`; but at least one, if there is one and `entries` is empty. Returns the size
    /// of what was added.
    pub(super) fn read(
        &self,
        from: Index,
        bytes_max: usize,
        entries_max: usize,
        entries: &mut Vec<Entry>,
    ) -> usize {
        let start = self.position(from).expect("entries asked for are in memory");
        let at_least = if entries.is_empty() { start + 1 } else { start };
        let mut bytes = 0;
        let mut end = start;
        while let Some(entry) = self.entries.get(end) {
            let size = size(entry);
            let count = entries.len() + end - start;
            if end >= at_least && (bytes + size > bytes_max || count >= entries_max) {
                break;
            }
            bytes += size;
            end += 1;
        }
        entries.extend(self.entries.range(start..end).cloned());
        bytes
    }

    /// The entries after `index` that are in memory.
    pub(super) fn after(&self, index: Index) -> impl Iterator<Item = &Entry> {
        let start = self.position(index.next()).unwrap_or(0).min(self.entries.len());
        self.entries.range(start..)
    }

    /// Adds an entry at the end.
    ///
    /// # Panics
    /// If it does not follow the last one.
    pub(super) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert_eq!(entry.index, last.index.next(), "a gap in the log");
        assert!(entry.term >= last.term, "term {} after {}", entry.term, last.term);
        self.entries.push_back(entry);
    }

    /// Removes the entries from `index` on.
    ///
    /// # Panics
    /// If one of them is committed.
    pub(super) fn truncate_from(&mut self, index: Index) {
        let commit = self.commit_index;
        assert!(index > commit, "cannot remove {index}: committed up to {commit}");
        if let Some(position) = self.position(index) {
            self.entries.truncate(position);
        }
    }

    /// Commits up to `index`. Returns the bytes of payload that this adds to what is committed.
    ///
    /// # Panics
    /// If `index` lies beyond the log.
    pub(super) fn commit_to(&mut self, index: Index) -> usize {
        let last = self.last_index();
        assert!(index <= last, "cannot commit {index}: the log ends at {last}");
        if index <= self.commit_index {
            return 0;
        }
        let added = self.between(self.commit_index, index).map(|entry| entry.payload.len()).sum();
        self.commit_index = index;
        added
    }

    /// Hands out committed entries for applying, while the size of all that are not applied yet
    /// stays within `bytes_max`; but at least one, if none is being applied.
    pub(super) fn hand_out(&mut self, bytes_max: usize, output: &mut Output) {
        while self.handed_out_index < self.commit_index {
            let position = self.position(self.handed_out_index.next());
            let entry = &self.entries[position.expect("what is not applied is in memory")];
            let waiting = self.applying_bytes + size(entry);
            if waiting > bytes_max && self.handed_out_index > self.applied_index {
                return;
            }
            output.committed.push(entry.clone());
            self.applying_bytes = waiting;
            self.handed_out_index = self.handed_out_index.next();
        }
    }

    /// The state machine has applied everything up to `index`. Returns whether that is news.
    ///
    /// # Panics
    /// If that was not handed out: it would be state from nowhere.
    pub(super) fn applied(&mut self, index: Index) -> bool {
        let handed_out = self.handed_out_index;
        assert!(index <= handed_out, "applied {index}, but handed out only up to {handed_out}");
        if index <= self.applied_index {
            return false;
        }
        let applied: usize = self.between(self.applied_index, index).map(size).sum();
        self.applying_bytes -= applied;
        self.applied_index = index;
        true
    }

    /// Forgets the entries before `keep_from`, which `snapshot` covers.
    ///
    /// # Panics
    /// If the snapshot covers what is not applied yet, or would not cover what is forgotten.
    pub(super) fn compact(&mut self, snapshot: SnapshotMeta, keep_from: Index) {
        let applied = self.applied_index;
        assert!(snapshot.index <= applied, "snapshot at {}, applied {applied}", snapshot.index);
        assert!(keep_from <= snapshot.index.next(), "forgets {keep_from} beyond the snapshot");
        if snapshot.index > self.snapshot.index {
            self.snapshot = snapshot;
        }
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.index < keep_from) {
            self.base = Place::from(&entry);
        }
    }

    /// Begins anew after a snapshot that came from the leader. What follows it here is kept if the
    /// snapshot's last entry is here too: this replica may have vouched for those entries.
    ///
    /// # Panics
    /// If the snapshot covers nothing new.
    pub(super) fn restore(&mut self, snapshot: SnapshotMeta) {
        let follows = self.matches(snapshot.index, snapshot.term);
        self.begin_after(snapshot, follows);
    }

    /// Begins after a snapshot, with what comes after it here if that `follows` it.
    pub(super) fn begin_after(&mut self, snapshot: SnapshotMeta, follows: bool) {
        let commit = self.commit_index;
        assert!(snapshot.index > commit, "snapshot at {}, commit {commit}", snapshot.index);
        if follows {
            let kept = self.entries.partition_point(|entry| entry.index <= snapshot.index);
            self.entries.drain(..kept);
        } else {
            self.entries.clear();
        }
        self.base = Place::from(&snapshot);
        self.commit_index = snapshot.index;
        self.handed_out_index = snapshot.index;
        self.applied_index = snapshot.index;
        self.applying_bytes = 0;
        self.snapshot = snapshot;
    }

    /// Asserts what always holds.
    pub(super) fn check_invariants(&self) {
        let (base, snapshot) = (self.base.index, self.snapshot.index);
        let (commit, last) = (self.commit_index, self.last_index());
        assert!(base <= snapshot, "base {base}, snapshot {snapshot}");
        let (applied, handed_out) = (self.applied_index, self.handed_out_index);
        assert!(snapshot <= applied, "snapshot {snapshot}, applied {applied}");
        assert!(applied <= handed_out, "applied {applied}, handed out {handed_out}");
        assert!(handed_out <= commit, "handed out {handed_out}, commit {commit}");
        assert!(commit <= last, "commit {commit}, last {last}");
        let applying: usize = self.between(applied, handed_out).map(size).sum();
        assert_eq!(self.applying_bytes, applying, "bytes being applied");
        let mut previous = self.base;
        for entry in &self.entries {
            assert_eq!(entry.index, previous.index.next(), "a gap");
            assert!(entry.term >= previous.term, "terms fall at {}", entry.index);
            assert!(entry.timestamp >= previous.timestamp, "time stamps fall at {}", entry.index);
            previous = Place::from(entry);
        }
    }

    /// The entries after `after` up to `upto`, all of which must be in memory.
    fn between(&self, after: Index, upto: Index) -> impl Iterator<Item = &Entry> {
        let position = |index: Index| self.position(index.next()).expect("is in memory");
        self.entries.range(position(after)..position(upto))
    }

    fn last(&self) -> Place {
        self.entries.back().map_or(self.base, Place::from)
    }

    /// Where the entry at `index` stands in `entries`, or would stand.
    fn position(&self, index: Index) -> Option<usize> {
        let offset = index.0.checked_sub(self.base.index.0)?.checked_sub(1)?;
        usize::try_from(offset).ok()
    }
}

/// What an entry costs in a message, or to apply.
fn size(entry: &Entry) -> usize {
    entry.payload.len() + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests;
