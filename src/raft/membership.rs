//! Which configuration is in force, and which was: a replica uses the latest in its log from the
//! moment it is appended, committed or not, and returns to the one before if that entry is removed.
//!
//! ```text
//!   log     …  5   6   7   8   9  10           current: that of 9, while it is there
//!                  C₁          C₂              a snapshot at 8 holds C₁
//! ```
//!
//! The alternative, in force when applied, lets a leader be elected by a configuration that it does
//! not know of itself; this library does not have it.
//!
//! Source: thesis, section 4.1, "a server always uses the latest configuration in its log,
//! regardless of whether the entry is committed".

use super::planted::Bug;
use super::{Configuration, Entry, EntryKind, Raft};
use crate::base::{Index, Term};

/// The configurations of a replica's log.
#[derive(Debug)]
pub(super) struct Membership {
    /// Each with the index of its entry, ascending. The first was in force where the log in memory
    /// begins; at least that one is there. Grows and shrinks with the log.
    history: Vec<(Index, Configuration)>,
}

impl Membership {
    /// What a snapshot says.
    pub(super) fn new(index: Index, configuration: Configuration) -> Self {
        Self { history: vec![(index, configuration)] }
    }

    /// The configuration in force.
    pub(super) fn current(&self) -> &Configuration {
        &self.last().1
    }

    /// Where it stands in the log.
    pub(super) fn current_index(&self) -> Index {
        self.last().0
    }

    /// The one before, if it may still matter.
    pub(super) fn previous(&self) -> Option<&Configuration> {
        let before = self.history.len().checked_sub(2)?;
        self.history.get(before).map(|entry| &entry.1)
    }

    /// The configuration at `index`.
    pub(super) fn at(&self, index: Index) -> &Configuration {
        &self.entry_at(index).1
    }

    fn entry_at(&self, index: Index) -> &(Index, Configuration) {
        let later = self.history.partition_point(|entry| entry.0 <= index);
        &self.history[later.saturating_sub(1)]
    }

    /// An entry was appended.
    ///
    /// # Panics
    /// If its payload is no configuration: whoever takes entries in checks that first.
    pub(super) fn append(&mut self, entry: &Entry) {
        if entry.kind == EntryKind::Configuration {
            let configuration = Configuration::decode(&entry.payload);
            let configuration = configuration.expect("checked where it came in");
            self.history.push((entry.index, configuration));
        }
    }

    /// The entries from `index` on were removed.
    pub(super) fn truncate_from(&mut self, index: Index) {
        while self.history.len() > 1 && self.current_index() >= index {
            self.history.pop();
        }
    }

    /// What was in force before `index` is of no interest any more.
    pub(super) fn forget_before(&mut self, index: Index) {
        let later = self.history.partition_point(|entry| entry.0 <= index);
        self.history.drain(..later.saturating_sub(1));
    }

    fn last(&self) -> &(Index, Configuration) {
        self.history.last().expect("the first one stays")
    }
}

impl Raft {
    /// Who counts: the latest configuration in the log, committed or not.
    pub fn configuration(&self) -> &Configuration {
        self.membership.current()
    }

    /// Where the configuration in force stands in the log.
    pub fn configuration_index(&self) -> Index {
        self.membership.current_index()
    }

    /// Whether the configuration in force is known to be committed.
    pub fn is_configuration_committed(&self) -> bool {
        self.configuration_index() <= self.log.commit_index()
    }

    /// The latest configuration known to be committed, and where it stands in the log.
    pub fn committed_configuration(&self) -> (Index, &Configuration) {
        let (index, configuration) = self.membership.entry_at(self.log.commit_index());
        (*index, configuration)
    }

    /// Where the configuration in force stands in the log. Of one that is no longer in memory the term is
    /// that of the place before the first entry that is, and so no lower than its own.
    pub fn configuration_place(&self) -> (Term, Index) {
        let index = self.configuration_index();
        let term = self.log.term_at(index).unwrap_or_else(|| self.log.base_term());
        (term, index)
    }

    /// The last entry known to be committed.
    pub fn commit_place(&self) -> (Term, Index) {
        let index = self.log.commit_index();
        let term = self.log.term_at(index).expect("what is not in memory is committed");
        (term, index)
    }

    /// The configuration at `index`: what a snapshot there must hold. Not before the first entry
    /// in memory.
    pub fn configuration_at(&self, index: Index) -> &Configuration {
        self.membership.at(index)
    }

    /// Whether this replica may stand for election. One that is being removed may while that is
    /// not committed: perhaps nobody else has the entry, and nobody can win without its vote
    /// (scylla 7533c84). Nor may one that is in doubt of what it has.
    pub(super) fn may_stand(&self) -> bool {
        if self.is_provisional() || self.barred {
            return false;
        }
        let own = self.config.node;
        let forgets = self.config.has(Bug::RemovedVoterMayNotStand);
        let may_count = !self.is_configuration_committed() && !forgets;
        let before = self.membership.previous().filter(|_| may_count);
        self.membership.current().is_voter(own) || before.is_some_and(|c| c.is_voter(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{NodeId, Term, WallTime};

    fn configuration(voter: u64) -> Configuration {
        Configuration::new([NodeId(voter)])
    }

    fn entry(index: u64, voter: u64) -> Entry {
        Entry {
            term: Term(1),
            index: Index(index),
            timestamp: WallTime(0),
            kind: EntryKind::Configuration,
            payload: configuration(voter).encode(),
        }
    }

    #[test]
    fn the_latest_counts_until_it_is_removed() {
        let mut membership = Membership::new(Index(3), configuration(1));
        membership.append(&entry(5, 2));
        membership.append(&entry(8, 3));
        assert_eq!(membership.current(), &configuration(3));
        let voters = [3, 4, 5, 7, 8, 9].map(|index| membership.at(Index(index)).voters[0].0);
        assert_eq!(voters, [1, 1, 2, 2, 3, 3]);
        membership.truncate_from(Index(8));
        assert_eq!(
            (membership.current_index(), membership.previous()),
            (Index(5), Some(&configuration(1)))
        );
        membership.truncate_from(Index(1));
        assert_eq!(membership.current(), &configuration(1), "what the snapshot says stays");
    }

    #[test]
    fn what_is_in_force_at_the_base_is_kept() {
        let mut membership = Membership::new(Index(3), configuration(1));
        membership.append(&entry(5, 2));
        membership.append(&entry(8, 3));
        membership.forget_before(Index(6));
        assert_eq!(membership.at(Index(6)), &configuration(2));
        membership.forget_before(Index(20));
        assert_eq!((membership.current_index(), membership.previous()), (Index(8), None));
    }
}
