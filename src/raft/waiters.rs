//! Who waits for what became of a proposal, and what they may be told.
//!
//! ```text
//!   submit ──▶ in this log, or the leader's ──committed──▶ ──applied here──▶ Done
//!        │             │    └── another entry committed in its place ──▶ Rejected
//!        └─ refused ─▶ Rejected    └── cannot be told any more ──▶ Unknown
//! ```
//!
//! A waiter holds the place of its entry: term and index name one entry for ever (Raft, section
//! 5.3). What it hears is certain, or *Unknown*:
//!
//! - *Done* when that entry is committed, or applied, on this replica, whoever leads by then.
//! - *Rejected* when an entry of another term is committed at that index, or one of a later term
//!   before it: terms never fall along a log, so the entry is in no log that can ever be committed.
//!   The first entry of the next leader decides so over everything its predecessor left behind.
//! - That this replica removes the entry from its log decides nothing: another may have it still,
//!   be elected, and bring it back.
//! - *Unknown* when a snapshot jumped over the index, when this replica has been removed from the
//!   group and will hear no more, or when it has not heard from a leader for `PATIENCE` election
//!   timeouts. No waiter hangs: a leader that reaches no quorum steps down (with check-quorum;
//!   without it, its waiters wait with it), and from then on the same patience counts.
//!
//! Waiters belong to the replica, not to its role: a deposed leader learns from its successor what
//! became of its proposals. A process that ends takes its waiters along.

use std::collections::VecDeque;

use super::planted::Bug;
use super::role::Role;
use super::{Output, Raft, Refusal, SnapshotMeta};
use crate::base::{Index, Micros, Term, Time};

/// Until when to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// The entry is committed: it will be applied everywhere.
    Committed,
    /// It is applied on this replica: what it did can be seen here.
    Applied,
}

/// What became of something submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log for good, at this place.
    Done {
        /// The entry's term.
        term: Term,
        /// The entry's index.
        index: Index,
    },
    /// It did not and will not happen.
    Rejected(Refusal),
    /// It may have happened, may happen later, or may never: this replica cannot tell.
    Unknown,
}

/// Whom to tell, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    /// As given to `submit`.
    pub(super) context: u64,
    pub(super) wait_for: WaitFor,
}

/// A waiter whose entry has a place.
#[derive(Clone, Copy, Debug)]
struct Placed {
    term: Term,
    index: Index,
    waiter: Waiter,
}

/// The waiters of one replica whose entries have a place.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Those whose entries are not known to be committed, by rising index.
    undecided: VecDeque<Placed>,
    /// None of the undecided is of an earlier term than this; `Term(0)` where nothing is known.
    oldest_term: Term,
    /// Those that wait for a committed entry to be applied, by rising index.
    committed: VecDeque<Placed>,
    /// When a replica that does not lead tells the undecided ones that it cannot tell. Put off
    /// whenever a leader is heard.
    give_up_at: Time,
}

impl Raft {
    /// How long a replica that hears of no leader lets its waiters hope.
    pub(super) fn patience(&self) -> Micros {
        Micros(self.config.election_timeout.0.saturating_mul(PATIENCE))
    }

    /// An entry has a place in some leader's log: from now on this log decides.
    pub(super) fn wait_at(
        &mut self,
        now: Time,
        (term, index): (Term, Index),
        waiter: Waiter,
        output: &mut Output,
    ) {
        self.waiters.push(Placed { term, index, waiter }, now + self.patience());
        self.settle_waiters(output);
    }

    /// The commit index or the applied index may have advanced: some waiters have their answer.
    pub(super) fn settle_waiters(&mut self, output: &mut Output) {
        if self.waiters.is_empty() {
            return;
        }
        let refusal = Refusal::NotLeader { leader: self.leader() };
        let index = self.log.commit_index();
        let term = self.log.term_at(index).expect("what is committed last is at the base or after");
        self.waiters.settle((term, index), |index| self.log.term_at(index), refusal, output);
        self.waiters.applied(self.log.applied_index(), output);
    }

    /// A snapshot is about to take the place of the log: it tells of the entries in it only where
    /// the log holds its last one, too.
    pub(super) fn settle_waiters_by_snapshot(
        &mut self,
        snapshot: &SnapshotMeta,
        output: &mut Output,
    ) {
        let refusal = Refusal::NotLeader { leader: self.leader() };
        let place = (snapshot.term, snapshot.index);
        let agrees = self.log.matches(snapshot.index, snapshot.term);
        let term_at = |index| match index {
            index if index == snapshot.index => Some(snapshot.term),
            index if agrees => self.log.term_at(index),
            _ => None,
        };
        self.waiters.settle(place, term_at, refusal, output);
        self.waiters.applied(snapshot.index, output);
    }

    /// This replica stops leading: its waiters have a successor to hope for, unless it is out of
    /// the group.
    pub(super) fn waiters_lose_their_leader(&mut self, now: Time, output: &mut Output) {
        self.waiters.postpone(now + self.patience());
        if self.is_removed() {
            self.waiters.abandon(output);
        }
    }

    /// The configuration in force was committed just now. One who is out hears no more of what
    /// comes after it; a leader does while it hands over.
    pub(super) fn abandon_waiters_if_removed(&mut self, output: &mut Output) {
        if self.is_removed() && !matches!(self.role, Role::Leader(_)) {
            self.waiters.abandon(output);
        }
    }

    /// Gives up what has waited too long.
    pub(super) fn expire_waiters(&mut self, now: Time, output: &mut Output) {
        if self.forwarding.expire(now, output) {
            self.doubt_leader(now, output);
        }
        if self.waiters_deadline() <= now {
            self.waiters.abandon(output);
        }
    }

    /// When waiters that hear nothing are to be told so.
    pub(super) fn waiters_deadline(&self) -> Time {
        match self.role {
            Role::Leader(_) => Time(u64::MAX),
            _ if self.config.has(Bug::WaiterHangs) => Time(u64::MAX),
            _ => self.waiters.deadline(),
        }
    }

    /// Whether it is final that this replica is not in the group.
    fn is_removed(&self) -> bool {
        self.is_configuration_committed() && !self.configuration().is_member(self.config.node)
    }
}

impl Waiters {
    pub(super) fn count(&self) -> usize {
        self.undecided.len() + self.committed.len()
    }

    fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// A leader was heard: the undecided may hope until `give_up_at`.
    pub(super) fn postpone(&mut self, give_up_at: Time) {
        self.give_up_at = self.give_up_at.max(give_up_at);
    }

    fn deadline(&self) -> Time {
        if self.undecided.is_empty() { Time(u64::MAX) } else { self.give_up_at }
    }

    fn push(&mut self, placed: Placed, give_up_at: Time) {
        if self.undecided.is_empty() {
            self.postpone(give_up_at);
            self.oldest_term = placed.term;
        }
        self.oldest_term = self.oldest_term.min(placed.term);
        insert(&mut self.undecided, placed);
    }

    /// The log is committed up to `place`; `term_at` knows the terms up to there, as far as anyone
    /// does.
    fn settle(
        &mut self,
        (commit_term, commit_index): (Term, Index),
        term_at: impl Fn(Index) -> Option<Term>,
        refusal: Refusal,
        output: &mut Output,
    ) {
        while let Some(placed) = self.undecided.pop_front_if(|p| p.index <= commit_index) {
            match term_at(placed.index) {
                Some(term) if term == placed.term => self.decided(placed, output),
                Some(_) => placed.tell(Outcome::Rejected(refusal), output),
                None => placed.tell(Outcome::Unknown, output),
            }
        }
        // Terms never fall along a log: what comes after `place` is of no earlier term.
        if self.oldest_term < commit_term {
            self.oldest_term = commit_term;
            self.undecided.retain(|placed| {
                let possible = placed.term >= commit_term;
                if !possible {
                    placed.tell(Outcome::Rejected(refusal), output);
                }
                possible
            });
        }
    }

    /// The state machine has applied everything up to `index`.
    fn applied(&mut self, index: Index, output: &mut Output) {
        while let Some(placed) = self.committed.pop_front_if(|placed| placed.index <= index) {
            placed.done(output);
        }
    }

    /// Nothing more will be heard. What is committed is certain all the same.
    fn abandon(&mut self, output: &mut Output) {
        for placed in self.undecided.drain(..) {
            placed.tell(Outcome::Unknown, output);
        }
    }

    fn decided(&mut self, placed: Placed, output: &mut Output) {
        match placed.waiter.wait_for {
            WaitFor::Committed => placed.done(output),
            WaitFor::Applied => insert(&mut self.committed, placed),
        }
    }
}

impl Placed {
    fn done(self, output: &mut Output) {
        let Self { term, index, .. } = self;
        self.tell(Outcome::Done { term, index }, output);
    }

    fn tell(self, outcome: Outcome, output: &mut Output) {
        self.waiter.tell(outcome, output);
    }
}

impl Waiter {
    pub(super) fn tell(self, outcome: Outcome, output: &mut Output) {
        output.outcomes.push((self.context, outcome));
    }
}

/// Mostly at the end: entries come in order, answers about forwarded ones nearly so.
fn insert(queue: &mut VecDeque<Placed>, placed: Placed) {
    let at = queue.partition_point(|other| other.index <= placed.index);
    queue.insert(at, placed);
}

/// Election timeouts without a leader after which a waiter is told that nothing can be told.
const PATIENCE: u64 = 4;

#[cfg(test)]
mod tests;
