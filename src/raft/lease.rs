//! Leases: reads that the leader answers without asking anybody, if clocks can be trusted to run
//! nearly alike. Off unless `RaftConfig::lease` says otherwise.
//!
//! ```text
//!   leader    ──round begins──┬───────── lease: T × (1 − drift) ────────┐
//!                             ╲                                         │ < by any clock
//!   voter                      ╲─heard─┬─ promise: no other vote for T ─┴──┐
//! ```
//!
//! Whoever follows a leader promises it not to help elect another for an election timeout T. Once
//! a quorum has answered a read's round, no other leader can be elected until the first of those
//! promises ends, and each was made after the round began. So the lease begins when the round
//! *began*, and every confirmed round renews it; a read without a lease begins one. No heartbeat
//! is sent for the lease's sake.
//!
//! What the promise costs and what would break it:
//! - It binds the voter itself, whatever its role, its term, or what it was told (`Campaign`, a
//!   failure detector): its own vote may be the one that a lease rests on. It outlives the
//!   follower's role, since a later term may come by another way than an election.
//! - A restarted voter does not know what it promised, so it keeps quiet for a whole T; even
//!   alone: its configuration may give it the only vote while another leads.
//! - The leader itself may free its voters: by asking for votes it shows that it leads no more.
//! - `TimeoutNow` lets the successor stand in spite of all promises. The lease ends with the
//!   transfer, and once `TimeoutNow` was sent it stays off for the rest of the term: it may arrive
//!   late (etcd#12704, openraft#1749).
//! - Not every voter need have leases on, nor the same election timeout: each says with its answer
//!   for how long it promises, and a lease rests only on promises as long as its holder's timeout.
//!   (A restart that shortens a voter's timeout shortens what it promised before: no leases then.)
//! - Another configuration counts other voters: the lease ends when one is appended, and the next
//!   round is confirmed by those.
//! - No read index before a commit in the term, as without a lease (`read_index`).
//!
//! The drift is a bound on how clocks run, not on what they show: while the leader's clock advances
//! by T × (1 − drift), no voter's may advance by more than T. Whether they keep it is watched (`pace`): the
//! promise of a voter whose clock was not just seen to is worth no lease. So it takes two rounds, a tenth of
//! T apart or more, before there is one.
//!
//! Source: thesis, section 6.4.1.

use super::planted::Bug;
use super::role::Role;
use super::{Message, MessageBody, Raft};
use crate::base::{Micros, NodeId, Time};

/// How clocks may differ for leases to be safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// By how many percent a voter's clock may run faster than the leader's; the lease is shorter
    /// than the promise by as much. At most 100, which is no lease at all.
    pub drift_percent: u64,
}

/// A leader's lease. Lives in its role: ends with it.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Until when no other leader can be elected, by this replica's clock. Moved on by confirmed
    /// rounds, given up when the configuration changes.
    until: Time,
    /// A successor was told to stand: no lease any more in this term.
    revoked: bool,
}

/// What a voter owes the leader it followed last; outlives the role.
#[derive(Debug)]
pub(super) struct Promise {
    /// To whom; not known after a restart.
    to: Option<NodeId>,
    /// Nobody else gets a vote before. Never falls.
    until: Time,
}

impl Lease {
    /// Whether a voter's clock may advance by so much while the leader's advances by so much.
    pub(super) fn allows(self, own: Micros, voters: Micros) -> bool {
        let slowed = u128::from(voters.0) * u128::from(100_u64.saturating_sub(self.drift_percent));
        slowed <= u128::from(own.0) * 100
    }

    /// How long a lease lasts where promises last for `timeout`.
    fn span(self, timeout: Micros) -> Micros {
        Micros(timeout.0 / 100 * 100_u64.saturating_sub(self.drift_percent))
    }
}

impl Hold {
    /// A successor is told to stand.
    pub(super) fn revoke(&mut self) {
        self.revoked = true;
    }

    /// Other voters count from now on.
    pub(super) fn end(&mut self) {
        self.until = Time(0);
    }
}

impl Promise {
    /// Of one who follows nobody yet: with leases, what it promised before its start still holds.
    pub(super) fn at_start(now: Time, lease: Option<Lease>, timeout: Micros) -> Self {
        Self { to: None, until: lease.map_or(Time(0), |_| now + timeout) }
    }
}

impl Raft {
    /// Leader only: whether a read is answered without asking anybody now.
    pub fn holds_lease(&self, now: Time) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let holds = now < leader.lease.until && self.has_committed_in_term();
        let transferred = leader.lease.revoked || leader.transfer.is_some();
        holds && (!transferred || self.config.has(Bug::LeaseKeptOnTransfer))
    }

    /// A quorum has answered a round that began then, with promises as long as the lease's own span.
    pub(super) fn renew_lease(&mut self, begun_at: Time) {
        let Some(lease) = self.config.lease else { return };
        let mut until = begun_at + lease.span(self.config.election_timeout);
        if self.config.has(Bug::LeaseAsLongAsPromise) {
            until = begun_at + self.config.election_timeout;
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.lease.until = leader.lease.until.max(until);
        }
    }

    /// For how long this replica's vote is promised to whom it hears as leader.
    pub(super) fn promised_span(&self) -> Micros {
        self.config.lease.map_or(Micros(0), |_| self.config.election_timeout)
    }

    /// Heard from a leader: for an election timeout nobody else gets this vote.
    pub(super) fn promise(&mut self, now: Time, to: NodeId) {
        if self.config.lease.is_some() {
            let until = (now + self.config.election_timeout).max(self.promise.until);
            self.promise = Promise { to: Some(to), until };
        }
    }

    /// Whether the sender wants a vote that is promised to another leader.
    pub(super) fn is_promised_to_another(&self, now: Time, message: &Message) -> bool {
        let request = match message.body {
            MessageBody::PreVote { .. } => true,
            MessageBody::Vote { transfer, .. } => !transfer,
            _ => false,
        };
        let free = self.config.has(Bug::LeaseNeedsNoPromise);
        request && !free && now < self.promise.until && self.promise.to != Some(message.from)
    }

    /// Until when this replica may not stand, if it may not: its own vote is promised too.
    pub(super) fn promised_until(&self, now: Time) -> Option<Time> {
        let free = self.config.has(Bug::LeaseNeedsNoPromise);
        Some(self.promise.until).filter(|&until| now < until && !free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_shorter_than_a_promise_by_the_drift() {
        let timeout = Micros::from_millis(1_000);
        let span = |drift_percent| Lease { drift_percent }.span(timeout).0 / 1_000;
        assert_eq!([0, 10, 99, 100, 200].map(span), [1_000, 900, 10, 0, 0]);
    }
}
