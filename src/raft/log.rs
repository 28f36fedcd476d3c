//! A replica's log as far as it is in memory, and how far it is committed and applied.
//!
//! ```text
//!   forgotten      base  first      applied   handed out  commit            last
//!   ───────────────┤     ├──────────┬────┼────────┼───────┤                 │
//!                        └ entries in memory ───────────────────────────────┘
//!                             snapshot
//! ```
//!
//! `base ≤ applied ≤ handed out ≤ commit ≤ last`, and `snapshot ≤ applied`. Applied entries are kept
//! for followers that are a little behind, who would otherwise be sent a whole snapshot, or entries
//! that have to be read from the disk first (`old_entries`).
//! What lies between applied and handed out is with the host; it is bounded in bytes (`hand_out`).

use std::collections::VecDeque;

use super::entry::ENTRY_OVERHEAD_BYTES;
use super::progress::LogRange;
use super::{Entry, Output, SnapshotMeta};
use crate::base::{Index, Term, WallTime};

/// The log of one replica.
#[derive(Debug)]
pub(super) struct Log {
    /// The place before the first entry in memory. Moved by `compact`, `evict` and `restore` only;
    /// `base <= applied_index`.
    base: Place,
    /// The first entry that the host has on its disk, as far as is known here; none if it reads
    /// nothing back. Set by `evict`.
    stored_from: Option<Index>,
    /// The entries after `base`, without gaps; terms never fall.
    slots: VecDeque<Slot>,
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
}

/// An entry in memory.
#[derive(Debug)]
struct Slot {
    entry: Entry,
    /// See `Place`.
    payload_upto: u64,
}

/// One position, as much as is remembered of a forgotten entry.
#[derive(Clone, Copy, Debug)]
struct Place {
    index: Index,
    term: Term,
    timestamp: WallTime,
    /// Bytes of payload up to here, counted from some point: what lies between two places is a
    /// difference, and nobody needs to look at the entries between.
    payload_upto: u64,
}

impl Place {
    fn of_snapshot(snapshot: &SnapshotMeta, payload_upto: u64) -> Self {
        let SnapshotMeta { index, term, timestamp, .. } = *snapshot;
        Self { index, term, timestamp, payload_upto }
    }
}

impl From<&Slot> for Place {
    fn from(slot: &Slot) -> Self {
        let Entry { index, term, timestamp, .. } = slot.entry;
        Self { index, term, timestamp, payload_upto: slot.payload_upto }
    }
}

impl Log {
    /// The log found on disk. What of it is committed is not stored: a leader will tell.
    ///
    /// # Panics
    /// If the entries do not follow the snapshot and each other: recovery checks them.
    pub(super) fn new(snapshot: SnapshotMeta, entries: Vec<Entry>) -> Self {
        let mut log = Self {
            base: Place::of_snapshot(&snapshot, 0),
            stored_from: None,
            slots: VecDeque::with_capacity(entries.len()),
            commit_index: snapshot.index,
            handed_out_index: snapshot.index,
            applied_index: snapshot.index,
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

    /// The first place that a follower can be sent entries after, from memory or from the disk.
    pub(super) fn reach(&self) -> Index {
        self.stored_from.map_or(self.base.index, |from| from.min(self.base.index))
    }

    /// Whether the entry at `index` is not in memory, but on the disk.
    pub(super) fn is_stored(&self, index: Index) -> bool {
        index <= self.base.index && self.stored_from.is_some_and(|from| from <= index)
    }

    /// Bytes of the entries in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes_between(self.base.index, self.last_index())
    }

    /// The entry at `index`, if it is in memory.
    pub(super) fn entry(&self, index: Index) -> Option<&Entry> {
        self.slot(index).map(|slot| &slot.entry)
    }

    /// The time stamp of the entry at `index`, if that is in memory or directly before what is.
    pub(super) fn timestamp_at(&self, index: Index) -> Option<WallTime> {
        if index == self.base.index {
            return Some(self.base.timestamp);
        }
        self.entry(index).map(|entry| entry.timestamp)
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
        self.slot(index).map(|slot| slot.entry.term)
    }

    /// The term of the place before the first entry.
    pub(super) fn base_term(&self) -> Term {
        self.base.term
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
        let within = self.slots.partition_point(|slot| slot.entry.term <= term);
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
        let before = from.previous();
        let at_least = if entries.is_empty() { from } else { before };
        let count_max = entries_max.saturating_sub(entries.len()) as u64;
        let upto = Index(before.0.saturating_add(count_max)).max(at_least).min(self.last_index());
        let upto = self.last_within_bytes(before, bytes_max, at_least, upto);
        entries.extend(self.between(before, upto).cloned());
        self.bytes_between(before, upto)
    }

    /// The entries after `index` that are in memory.
    pub(super) fn after(&self, index: Index) -> impl Iterator<Item = &Entry> {
        self.between(index.max(self.base.index).min(self.last_index()), self.last_index())
    }

    /// Adds an entry at the end.
    ///
    /// # Panics
    /// If it does not follow the last one.
    pub(super) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert_eq!(entry.index, last.index.next(), "a gap in the log");
        assert!(entry.term >= last.term, "term {} after {}", entry.term, last.term);
        let payload_upto = last.payload_upto + entry.payload.len() as u64;
        self.slots.push_back(Slot { entry, payload_upto });
    }

    /// Removes the entries from `index` on.
    ///
    /// # Panics
    /// If one of them is committed.
    pub(super) fn truncate_from(&mut self, index: Index) {
        let commit = self.commit_index;
        assert!(index > commit, "cannot remove {index}: committed up to {commit}");
        if let Some(position) = self.position(index) {
            self.slots.truncate(position);
        }
    }

    /// Bytes of payload that are not committed.
    pub(super) fn uncommitted_bytes(&self) -> usize {
        self.payload_between(self.commit_index, self.last_index())
    }

    /// Commits up to `index`.
    ///
    /// # Panics
    /// If `index` lies beyond the log.
    pub(super) fn commit_to(&mut self, index: Index) {
        let last = self.last_index();
        assert!(index <= last, "cannot commit {index}: the log ends at {last}");
        self.commit_index = self.commit_index.max(index);
    }

    /// Hands out committed entries for applying, while the size of all that are not applied yet
    /// stays within `bytes_max`; but at least one, if none is being applied.
    pub(super) fn hand_out(&mut self, bytes_max: usize, output: &mut Output) {
        let (applied, before) = (self.applied_index, self.handed_out_index);
        let at_least = before.max(applied.next()).min(self.commit_index);
        let upto = self.last_within_bytes(applied, bytes_max, at_least, self.commit_index);
        output.committed.extend(self.between(before, upto).cloned());
        self.handed_out_index = upto;
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
        self.forget_before(keep_from);
    }

    /// Forgets the entries before `keep_from`; those from `stored_from` on are on the disk.
    ///
    /// # Panics
    /// If one of those forgotten is not applied yet.
    pub(super) fn evict(&mut self, keep_from: Index, stored_from: Index) {
        let applied = self.applied_index;
        assert!(keep_from <= applied.next(), "forgets up to {keep_from}, applied {applied}");
        self.stored_from = Some(stored_from);
        self.forget_before(keep_from);
    }

    /// The entries before `index` are not on the disk any more.
    pub(super) fn gone_before(&mut self, index: Index) {
        self.stored_from = self.stored_from.map(|from| from.max(index));
    }

    fn forget_before(&mut self, index: Index) {
        let forgotten = self.position(index).unwrap_or(0).min(self.slots.len());
        if let Some(last) = self.slots.drain(..forgotten).next_back() {
            self.base = Place::from(&last);
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
        let mut payload_upto = 0;
        if follows {
            let covered = self.slots.partition_point(|slot| slot.entry.index <= snapshot.index);
            payload_upto =
                self.slots.drain(..covered).next_back().map_or(0, |last| last.payload_upto);
        } else {
            self.slots.clear();
        }
        self.base = Place::of_snapshot(&snapshot, payload_upto);
        self.stored_from = None;
        self.commit_index = snapshot.index;
        self.handed_out_index = snapshot.index;
        self.applied_index = snapshot.index;
        self.snapshot = snapshot;
    }

    /// Asserts what always holds.
    pub(super) fn check_invariants(&self) {
        let (base, snapshot) = (self.base.index, self.snapshot.index);
        let (commit, last) = (self.commit_index, self.last_index());
        let (applied, handed_out) = (self.applied_index, self.handed_out_index);
        assert!(base <= applied, "base {base}, applied {applied}");
        assert!(snapshot <= applied, "snapshot {snapshot}, applied {applied}");
        assert!(applied <= handed_out, "applied {applied}, handed out {handed_out}");
        assert!(handed_out <= commit, "handed out {handed_out}, commit {commit}");
        assert!(commit <= last, "commit {commit}, last {last}");
        let mut previous = self.base;
        for slot in &self.slots {
            let Slot { entry, payload_upto } = slot;
            assert_eq!(entry.index, previous.index.next(), "a gap");
            assert!(entry.term >= previous.term, "terms fall at {}", entry.index);
            assert!(entry.timestamp >= previous.timestamp, "time stamps fall at {}", entry.index);
            let payload = payload_upto - previous.payload_upto;
            assert_eq!(payload, entry.payload.len() as u64, "bytes up to {}", entry.index);
            previous = Place::from(slot);
        }
    }

    /// The greatest index within `at_least..=upto` with at most `bytes_max` between `after` and it;
    /// `at_least` if even that is too much.
    fn last_within_bytes(
        &self,
        after: Index,
        bytes_max: usize,
        at_least: Index,
        upto: Index,
    ) -> Index {
        // Mostly everything fits: then the entries between are not looked at.
        if upto <= at_least || self.bytes_between(after, upto) <= bytes_max {
            return upto;
        }
        let fits = |index| index <= after || self.bytes_between(after, index) <= bytes_max;
        let count = self.slots.partition_point(|slot| fits(slot.entry.index));
        self.base.index.plus(count as u64).max(at_least).min(upto)
    }

    /// What the entries after `after` up to `upto` cost in a message, or to apply.
    fn bytes_between(&self, after: Index, upto: Index) -> usize {
        let count = usize::try_from(upto.0 - after.0).expect("they are in memory");
        self.payload_between(after, upto) + count * ENTRY_OVERHEAD_BYTES
    }

    fn payload_between(&self, after: Index, upto: Index) -> usize {
        let bytes = self.payload_upto(upto) - self.payload_upto(after);
        usize::try_from(bytes).expect("they are in memory")
    }

    fn payload_upto(&self, index: Index) -> u64 {
        if index == self.base.index {
            return self.base.payload_upto;
        }
        self.slot(index).expect("at the base or after it").payload_upto
    }

    /// The entries after `after` up to `upto`, all of which must be in memory.
    fn between(&self, after: Index, upto: Index) -> impl Iterator<Item = &Entry> {
        let position = |index: Index| self.position(index.next()).expect("is in memory");
        self.slots.range(position(after)..position(upto)).map(|slot| &slot.entry)
    }

    fn last(&self) -> Place {
        self.slots.back().map_or(self.base, Place::from)
    }

    fn slot(&self, index: Index) -> Option<&Slot> {
        self.position(index).and_then(|position| self.slots.get(position))
    }

    /// Where the entry at `index` stands in `slots`, or would stand.
    fn position(&self, index: Index) -> Option<usize> {
        let offset = index.0.checked_sub(self.base.index.0)?.checked_sub(1)?;
        usize::try_from(offset).ok()
    }
}

#[cfg(test)]
mod tests;
