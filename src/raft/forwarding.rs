//! Proposals from any replica: a follower asks its leader to propose for it, and then waits on its
//! own log like anyone else (`waiters`).
//!
//! ```text
//!  follower                          leader
//!   submit ──Propose(request)──▶  Output::forwarded ──host: its clock──▶ accept: appends, or refuses
//!   waits for (term, index) ◀──ProposeResponse(request)── place, or refusal
//!        └── its own log commits, or another entry in that place: Done, Rejected
//! ```
//!
//! - *Sent once.* A repeat could be executed twice. When the answer is lost the outcome is Unknown:
//!   the link was reset, or nothing came for as long as a waiter hopes at all.
//! - *Taken once.* The network may deliver a copy, late. A leader remembers, for the life that each
//!   sender is in, which of its latest requests it has seen, and passes a copy over in silence. So
//!   it does with a request too old to tell, and with one sent in or before the term in which its
//!   own process began, which an earlier life may have accepted. Therefore a refusal is certain:
//!   whoever gives it has not accepted that request before, and never will.
//! - *True in any term.* Where an entry stands, and that there is none, stays true when the term
//!   moves on: an answer counts whenever it comes. A request of an earlier term is refused.
//! - A member's request only: what strangers ask is refused.
//!
//! What is remembered is bounded: `LIVES_MAX` lives of senders, the last `WINDOW` requests of each.
//! A copy that comes after its sender's process has given way to that many others could be taken
//! again; no transport keeps a message for so long.

use std::collections::VecDeque;

use super::planted::Bug;
use super::role::Role;
use super::waiters::{Outcome, WaitFor, Waiter};
use super::{Configuration, EntryKind, MessageBody, Output, Raft, Refusal};
use crate::base::{Bytes, Index, NodeId, Term, Time, WallTime};

/// What a member asks its leader to propose. The host hands it back by `Raft::accept`, once.
#[derive(Debug)]
pub struct Forwarded {
    pub(super) from: NodeId,
    pub(super) request: u64,
    pub(super) kind: EntryKind,
    pub(super) payload: Bytes,
}

/// Both ends of forwarding on one replica. Outlives its roles.
#[derive(Debug)]
pub(super) struct Forwarding {
    /// The number of the last request sent. Its upper part differs from life to life.
    requests: u64,
    /// Requests without an answer yet, by rising number and deadline.
    pending: VecDeque<Pending>,
    /// The term this life began in: a request sent in it, or before, may have been accepted by an
    /// earlier life.
    first_term: Term,
    /// What was asked of this replica, by sender and life; the most recent last.
    seen: VecDeque<Seen>,
}

#[derive(Debug)]
struct Pending {
    request: u64,
    leader: NodeId,
    waiter: Waiter,
    deadline: Time,
}

/// The requests seen from one life of one sender.
#[derive(Debug)]
struct Seen {
    sender: NodeId,
    life: u64,
    window: Window,
}

/// Which of the latest numbers were seen: a mark for `newest` and each of those before it.
#[derive(Debug)]
struct Window {
    newest: u64,
    /// Bit `n` stands for `newest - n`.
    marks: u128,
}

impl Forwarded {
    /// The member that asks.
    pub fn from(&self) -> NodeId {
        self.from
    }

    /// The bytes to be proposed.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }
}

impl Raft {
    /// Proposes a command, here or through the leader, and waits. Exactly one entry with `context`
    /// comes in `Output::outcomes`, perhaps at once; none if the process ends before.
    ///
    /// `wall`: as for `propose`; of no use where the command is forwarded, for the leader stamps it.
    pub fn submit(
        &mut self,
        now: Time,
        wall: WallTime,
        payload: Bytes,
        wait_for: WaitFor,
        context: u64,
        output: &mut Output,
    ) {
        let waiter = Waiter { context, wait_for };
        self.submit_entry(now, wall, (EntryKind::Command, payload), waiter, output);
    }

    /// Changes the members to `target`, as `change_members` does, here or through the leader, and
    /// waits for the first entry of the change: it goes on by itself, and how far it is shows in
    /// `configuration`. Outcomes come as from `submit`.
    pub fn submit_change(
        &mut self,
        now: Time,
        wall: WallTime,
        target: &Configuration,
        wait_for: WaitFor,
        context: u64,
        output: &mut Output,
    ) {
        let waiter = Waiter { context, wait_for };
        if target.check().is_err() {
            return waiter.tell(Outcome::Rejected(Refusal::Invalid), output);
        }
        let entry = (EntryKind::Configuration, target.encode());
        self.submit_entry(now, wall, entry, waiter, output);
    }

    /// Leader: proposes what a member forwarded, or refuses it, and says so.
    pub fn accept(&mut self, now: Time, wall: WallTime, forwarded: Forwarded, output: &mut Output) {
        let Forwarded { from, request, kind, payload } = forwarded;
        let result = self.propose_entry(now, wall, (kind, payload), output);
        self.answer(from, MessageBody::ProposeResponse { request, result }, output);
    }

    fn submit_entry(
        &mut self,
        now: Time,
        wall: WallTime,
        entry: (EntryKind, Bytes),
        waiter: Waiter,
        output: &mut Output,
    ) {
        if self.waiters.count() + self.forwarding.pending.len() >= self.config.waiters_max {
            return waiter.tell(Outcome::Rejected(Refusal::Overloaded), output);
        }
        if let (Role::Follower(_), Some(leader)) = (&self.role, self.leader()) {
            let deadline = now + self.patience();
            let request = self.forwarding.begin(leader, waiter, deadline);
            let (kind, payload) = entry;
            return self.answer(leader, MessageBody::Propose { request, kind, payload }, output);
        }
        self.look_for_leader(now, output);
        match self.propose_entry(now, wall, entry, output) {
            Ok(place) => self.wait_at(now, place, waiter, output),
            Err(refusal) => waiter.tell(Outcome::Rejected(refusal), output),
        }
    }

    fn propose_entry(
        &mut self,
        now: Time,
        wall: WallTime,
        (kind, payload): (EntryKind, Bytes),
        output: &mut Output,
    ) -> Result<(Term, Index), Refusal> {
        match kind {
            EntryKind::Command => Ok(self.propose(now, wall, payload, output)?),
            EntryKind::Configuration => {
                let target = Configuration::decode(&payload).map_err(|_| Refusal::Invalid)?;
                Ok(self.change_members(now, wall, &target, output)?)
            }
            EntryKind::Noop => Err(Refusal::Invalid),
        }
    }

    /// A member asks this replica to propose, as the leader of `term`.
    pub(super) fn handle_propose(&mut self, term: Term, forwarded: Forwarded, output: &mut Output) {
        let Forwarded { from, request, .. } = forwarded;
        let again = self.config.has(Bug::CopiesAreProposedAgain);
        let known = term <= self.forwarding.first_term || !self.forwarding.is_new(from, request);
        if known && !again {
            return;
        }
        let member = match &self.role {
            Role::Leader(leader) => leader.peer(from).is_some(),
            _ => false,
        };
        if member && term == self.hard_state.term {
            output.forwarded.push(forwarded);
        } else {
            let leader = self.leader().filter(|&leader| leader != self.config.node);
            let result = Err(Refusal::NotLeader { leader });
            self.answer(from, MessageBody::ProposeResponse { request, result }, output);
        }
    }

    /// What became of a request, as far as its leader can tell.
    pub(super) fn handle_propose_response(
        &mut self,
        now: Time,
        from: NodeId,
        request: u64,
        result: Result<(Term, Index), Refusal>,
        output: &mut Output,
    ) {
        let Some(waiter) = self.forwarding.take(from, request) else { return };
        match result {
            Ok(place) => self.wait_at(now, place, waiter, output),
            Err(refusal) => waiter.tell(Outcome::Rejected(refusal), output),
        }
    }
}

impl Forwarding {
    /// `first_request`: any number, unlike that of this node's other lives, below 2⁶³.
    pub(super) fn new(first_request: u64, first_term: Term) -> Self {
        let (pending, seen) = (VecDeque::new(), VecDeque::new());
        Self { requests: first_request, pending, first_term, seen }
    }

    /// When the oldest request is to be given up.
    pub(super) fn deadline(&self) -> Time {
        self.pending.front().map_or(Time(u64::MAX), |pending| pending.deadline)
    }

    /// Gives up requests whose time is over. Returns whether there were any.
    pub(super) fn expire(&mut self, now: Time, output: &mut Output) -> bool {
        let before = self.pending.len();
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.deadline <= now) {
            pending.waiter.tell(Outcome::Unknown, output);
        }
        self.pending.len() < before
    }

    /// The link to `leader` was reset: request or answer may be lost.
    pub(super) fn reset(&mut self, leader: NodeId, output: &mut Output) {
        self.pending.retain(|pending| {
            let lost = pending.leader == leader;
            if lost {
                pending.waiter.tell(Outcome::Unknown, output);
            }
            !lost
        });
    }

    fn begin(&mut self, leader: NodeId, waiter: Waiter, deadline: Time) -> u64 {
        self.requests += 1;
        let request = self.requests;
        self.pending.push_back(Pending { request, leader, waiter, deadline });
        request
    }

    /// Answers may come in any order, and twice.
    fn take(&mut self, from: NodeId, request: u64) -> Option<Waiter> {
        let at = self.pending.binary_search_by_key(&request, |pending| pending.request).ok()?;
        self.pending.get(at).filter(|pending| pending.leader == from)?;
        self.pending.remove(at).map(|pending| pending.waiter)
    }

    /// Whether a request is certainly seen for the first time; from now on it is seen.
    fn is_new(&mut self, sender: NodeId, request: u64) -> bool {
        let life = request >> LIFE_SHIFT;
        let known = |seen: &Seen| (seen.sender, seen.life) == (sender, life);
        let Some(at) = self.seen.iter().rposition(known) else {
            if self.seen.len() == LIVES_MAX {
                self.seen.pop_front();
            }
            let window = Window { newest: request, marks: 1 };
            self.seen.push_back(Seen { sender, life, window });
            return true;
        };
        let mut seen = self.seen.remove(at).expect("found just now");
        let new = seen.window.mark(request);
        self.seen.push_back(seen);
        new
    }
}

impl Window {
    /// Marks a number as seen. Returns whether it certainly was not before.
    fn mark(&mut self, number: u64) -> bool {
        if let Some(ahead) = number.checked_sub(self.newest).filter(|&ahead| ahead > 0) {
            let shift = u32::try_from(ahead).unwrap_or(WINDOW);
            self.marks = self.marks.checked_shl(shift).unwrap_or(0) | 1;
            self.newest = number;
            return true;
        }
        let back = u32::try_from(self.newest - number).unwrap_or(WINDOW);
        let Some(mark) = 1_u128.checked_shl(back) else { return false };
        let new = self.marks & mark == 0;
        self.marks |= mark;
        new
    }
}

/// How many requests of one sender a leader remembers. Requests that overtake each other by more
/// are not answered.
const WINDOW: u32 = u128::BITS;

/// How many lives of senders are remembered.
const LIVES_MAX: usize = 64;

/// Requests of one life have all bits from this one on in common.
const LIFE_SHIFT: u32 = 31;

#[cfg(test)]
mod tests;
