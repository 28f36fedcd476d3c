//! What a lane makes of replies, refusals and lost connections.

use super::{Lane, Session, TRIES_PER_MEMBER};
use crate::base::{ConnectionId, GroupId, Mistake, NodeId, makes};
use crate::client::batch::{Batch, BatchState, strays_of};
use crate::client::outcome::{Doubt, Effect, Evidence, Outcome, Place, Rejection};
use crate::client::shared::{Misplaced, Shared};
use crate::wire::client::{Answer, Outcome as Fate, ReplyView, Status};

/// The reply does not match its request: the connection cannot be trusted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) struct Mismatch;

impl Lane {
    /// A reply came in on `link`.
    ///
    /// # Errors
    /// If it does not match its request.
    pub(in crate::client) fn on_reply(
        &mut self,
        link: ConnectionId,
        reply: &ReplyView<'_>,
        shared: &mut Shared,
    ) -> Result<(), Mismatch> {
        match self.session {
            Session::Opening { request, .. } if request == reply.head.request => {
                self.on_session_reply(link, reply, shared);
            }
            _ => self.on_batch_reply(link, reply, shared)?,
        }
        if self.link != Some(link) {
            self.retire(link, shared);
        }
        Ok(())
    }

    fn on_session_reply(&mut self, link: ConnectionId, reply: &ReplyView<'_>, shared: &mut Shared) {
        self.session = Session::Closed;
        match reply.head.outcome {
            Fate::Ok => {
                self.session = Session::Open(reply.head.session);
                self.failures = 0;
            }
            fate @ (Fate::NotLeader | Fate::WrongGroup) => {
                shared.map_stale |= fate == Fate::WrongGroup;
                self.redirect(link, reply.head.leader, shared);
            }
            fate => {
                self.refusal = rejection(fate);
                // Without room for a session there is none for what was to be written in it.
                if fate == Fate::DiskFull {
                    self.reject_staged_writes(shared);
                }
                self.fail(shared);
            }
        }
    }

    fn on_batch_reply(
        &mut self,
        link: ConnectionId,
        reply: &ReplyView<'_>,
        shared: &mut Shared,
    ) -> Result<(), Mismatch> {
        let request = reply.head.request;
        let alike =
            |batch: &Batch| makes(Mistake::ReplyToAnyFrame) && batch.callers.len() == reply.len();
        let ours = |batch: &Batch| batch.request == request || alike(batch);
        let Some(at) = self.in_flight.iter().position(ours) else {
            // Settled before: its caller lost patience.
            return Ok(());
        };
        if reply.head.outcome == Fate::Ok {
            return self.settle_answers(at, reply, shared);
        }
        let batch = &mut self.in_flight[at];
        if !batch.is_on(link) {
            // The refusal of an attempt that was given up says nothing about the present one.
            return Ok(());
        }
        match reply.head.outcome {
            fate @ (Fate::NotLeader | Fate::WrongGroup) => {
                batch.state = BatchState::Waiting;
                batch.in_doubt &= !makes(Mistake::RefusalEndsDoubt);
                shared.map_stale |= fate == Fate::WrongGroup;
                self.redirect(link, reply.head.leader, shared);
            }
            Fate::SessionExpired => self.on_session_expired(at, shared),
            fate @ (Fate::Malformed | Fate::MemoryFull | Fate::DiskFull) if !batch.in_doubt => {
                let batch = self.in_flight.remove(at).expect("found above");
                settle(batch, Outcome::Rejected(rejection(fate)), shared);
            }
            fate => {
                batch.state = BatchState::Waiting;
                batch.in_doubt |= !is_refusal(fate);
                self.refusal = rejection(fate);
                self.fail(shared);
            }
        }
        Ok(())
    }

    fn settle_answers(
        &mut self,
        at: usize,
        reply: &ReplyView<'_>,
        shared: &mut Shared,
    ) -> Result<(), Mismatch> {
        let batch = &self.in_flight[at];
        if reply.len() != batch.callers.len() || batch.atomic && splits(reply) {
            return Err(Mismatch);
        }
        let batch = self.in_flight.remove(at).expect("found by the caller");
        self.failures = 0;
        let mut again = false;
        let evidence = batch.evidence();
        for ((caller, evidence), (row, value)) in
            batch.callers.iter().zip(evidence).zip(reply.answers())
        {
            again |= is_to_repeat(row.status);
            let place = Place { group: self.group, index: row.index, position: row.position };
            settle_answer(caller.ticket, Evidence { place, ..evidence }, row, value, shared);
        }
        if again {
            self.send_back(&batch, reply, shared);
        }
        shared.recycle_batch(batch.frame, batch.callers);
        Ok(())
    }

    /// Gives back what is to be repeated. Of a write that is definitive although earlier attempts
    /// were in doubt: the group remembers, with the sequence, that it did not execute it, and will
    /// say so to whatever copy of the frame is still on its way.
    fn send_back(&self, batch: &Batch, reply: &ReplyView<'_>, shared: &mut Shared) {
        let mut strays = Vec::new();
        strays_of(&batch.frame, &batch.callers, &mut strays);
        let mut rows = reply.answers();
        for stray in strays {
            // Those of an atomic batch are alike.
            let (row, _) = rows.nth(stray.len() - 1).expect("one for each command");
            match row.status {
                Status::WrongSlot => {
                    let named = GroupId(u32::try_from(row.number).unwrap_or_default());
                    let asked = self.position;
                    shared.misplaced.push(Misplaced { stray, asked, named });
                }
                status if is_to_repeat(status) => shared.strays.push(stray),
                _ => {}
            }
        }
    }

    /// The session of the frame at `at` is over. If no attempt is in doubt, its commands certainly
    /// did not happen and get another session; else nobody can say any more.
    fn on_session_expired(&mut self, at: usize, shared: &mut Shared) {
        let batch = self.in_flight.remove(at).expect("found by the caller");
        let Some((session, _)) = batch.identity else {
            // Reads have no session: whatever the server means, it did not read.
            settle(batch, Outcome::Rejected(Rejection::Malformed), shared);
            return;
        };
        if self.session == Session::Open(session) {
            self.forget_session(shared);
        }
        if batch.in_doubt && !makes(Mistake::ExpiryEndsDoubt) {
            settle(batch, Outcome::Unknown(Doubt::SessionExpired), shared);
        } else {
            batch.stray(shared);
        }
    }

    /// The node at the end of `link` does not lead; `leader` does, if it is known.
    fn redirect(&mut self, link: ConnectionId, leader: NodeId, shared: &mut Shared) {
        shared.counters.redirects += 1;
        self.refusal = Rejection::NoLeader;
        if self.link != Some(link) {
            // Already turned to another node by an earlier refusal.
            return;
        }
        let known = shared.routing.as_ref().is_some_and(|map| map.addresses.contains_key(&leader));
        if known && leader != self.target {
            self.target = leader;
            self.failures = self.failures.saturating_add(1);
            if self.failures as usize > self.members.len() {
                // Hints that lead in a circle: the nodes have yet to agree.
                self.resume_at = shared.now + shared.pause(self.failures);
            }
        } else {
            self.fail(shared);
            if !self.failures.is_multiple_of(TRIES_PER_MEMBER) {
                return;
            }
            self.rotate();
        }
        self.link = None;
        self.retire(link, shared);
    }

    /// Closes a connection of the past once nothing sent on it awaits a reply.
    pub(super) fn retire(&self, link: ConnectionId, shared: &mut Shared) {
        let opening = matches!(self.session, Session::Opening { on, .. } if on == link);
        if !opening && !self.in_flight.iter().any(|batch| batch.is_on(link)) {
            shared.close(link);
        }
    }

    /// A connection is gone: what was sent on it is in doubt until it is answered elsewhere.
    pub(in crate::client) fn on_closed(&mut self, link: ConnectionId, shared: &mut Shared) {
        for batch in self.in_flight.iter_mut().filter(|batch| batch.is_on(link)) {
            batch.lose();
        }
        if makes(Mistake::RetriedAsNew) {
            for batch in std::mem::take(&mut self.in_flight) {
                batch.stray(shared);
            }
        }
        if matches!(self.session, Session::Opening { on, .. } if on == link) {
            self.session = Session::Closed;
        }
        if self.link != Some(link) {
            return;
        }
        self.link = None;
        self.refusal = Rejection::Unreachable;
        self.rotate();
        if self.failures == 0 {
            // The first loss: most likely the leader died, and another node may know more.
            self.failures = 1;
        } else {
            self.fail(shared);
        }
    }
}

/// Whether the reply to an atomic batch says of a part of it that it is to be sent elsewhere.
fn splits(reply: &ReplyView<'_>) -> bool {
    let is_elsewhere = |(row, _): (Answer, &[u8])| is_to_repeat(row.status);
    reply.answers().any(is_elsewhere) && !reply.answers().all(is_elsewhere)
}

/// Gives every command of `batch` the same outcome.
pub(super) fn settle(batch: Batch, outcome: Outcome<'static>, shared: &mut Shared) {
    shared.fail_all(batch.callers.iter().zip(batch.evidence()), outcome);
    shared.recycle_batch(batch.frame, batch.callers);
}

/// Gives one command its outcome; one that is to be repeated gets none yet.
fn settle_answer(ticket: u64, evidence: Evidence, row: Answer, value: &[u8], shared: &mut Shared) {
    let effect = match row.status {
        Status::Ok => Effect::Done,
        Status::NotFound => Effect::NotFound,
        Status::CompareFailed => Effect::CompareFailed,
        status if is_to_repeat(status) => return,
        Status::Forgotten => {
            // The place is that of the refusal.
            let evidence = Evidence { place: Place::default(), ..evidence };
            return shared.completions.failed(ticket, Outcome::Unknown(Doubt::Forgotten), evidence);
        }
        other => {
            let outcome = Outcome::Rejected(command_rejection(other));
            return shared.completions.failed(ticket, outcome, evidence);
        }
    };
    shared.completions.applied(ticket, (effect, row.number), evidence, value);
}

/// Whether the command is to be submitted anew: its slot belongs to another group and nothing was
/// done, or its value no longer fitted into the reply.
const fn is_to_repeat(status: Status) -> bool {
    matches!(status, Status::WrongSlot | Status::ReplyFull)
}

/// Whether a frame with this fate certainly did not happen in this attempt.
fn is_refusal(fate: Fate) -> bool {
    matches!(
        fate,
        Fate::NotLeader
            | Fate::WrongGroup
            | Fate::SessionExpired
            | Fate::Overloaded
            | Fate::Malformed
            | Fate::Superseded
            | Fate::SessionsFull
            | Fate::MemoryFull
            | Fate::DiskFull
    )
}

/// What a caller is told who loses patience after this refusal.
fn rejection(fate: Fate) -> Rejection {
    match fate {
        Fate::NotLeader | Fate::Superseded => Rejection::NoLeader,
        Fate::Overloaded => Rejection::Overloaded,
        Fate::SessionsFull => Rejection::SessionsFull,
        Fate::Malformed => Rejection::Malformed,
        Fate::MemoryFull => Rejection::MemoryFull,
        Fate::DiskFull => Rejection::DiskFull,
        _ => Rejection::TimedOut,
    }
}

fn command_rejection(status: Status) -> Rejection {
    match status {
        Status::NotANumber => Rejection::NotANumber,
        Status::Overflow => Rejection::Overflow,
        Status::ValueTooLarge => Rejection::ValueTooLarge,
        Status::WindowExceeded => Rejection::Overloaded,
        Status::Aborted => Rejection::Aborted,
        _ => Rejection::UnknownCommand,
    }
}
