//! One group's lane: its session, the commands on their way to it, and whom to send them to.
//!
//! ```text
//! stage ──▶ staged ──seal──▶ in flight: Waiting ⇄ Sent ──reply──▶ settled
//!                                          ▲       │
//!                                          └───────┘ refused, lost, timed out
//! ```
//!
//! Sequences are given when a command is staged and belong to the session that is open or will be
//! opened next. A frame once sealed never changes session: should the session end, what certainly
//! did not happen is staged anew, and what may have happened becomes `Unknown`.

mod expiry;
mod parting;
mod reply;

use std::collections::VecDeque;

use super::batch::{Batch, BatchState, Staged};
use super::command::{Caller, Fields};
use super::link::Purpose;
use super::outcome::Rejection;
use super::shared::Shared;
use crate::base::limits::SESSION_WINDOW_MAX;
use crate::base::{
    ConnectionId, GroupId, Micros, Mistake, NodeId, Sequence, SessionId, Time, makes,
};
use crate::wire::client::encode_open_session;

/// The way to one group.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) group: GroupId,
    /// Where this lane stands among its client's.
    position: usize,
    /// Whether the newest map lists the group. If not, nothing new is sent, and the lane goes away
    /// once nothing is in doubt.
    listed: bool,
    /// The group's nodes, as the last map that lists it says.
    members: Vec<NodeId>,
    /// Whom frames go to: the leader as far as is known, else one member after another.
    target: NodeId,
    /// The connection to `target`. Frames sent on an older connection may still be answered there.
    link: Option<ConnectionId>,
    session: Session,
    /// The sequence of the next write staged; starts at 1 with every session.
    next_sequence: Sequence,
    staged_writes: VecDeque<Staged>,
    staged_reads: VecDeque<Staged>,
    /// Sealed frames in the order of sealing, so writes of one session ascend.
    in_flight: VecDeque<Batch>,
    /// Nothing is sent before this.
    resume_at: Time,
    /// Failures and refusals since the last success.
    failures: u32,
    /// Why the group could last not be served: what callers learn who lose patience.
    refusal: Rejection,
    /// Whether the lane is in the list of those to pump.
    pub(super) queued: bool,
}

/// The lane's session with its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    Closed,
    /// Asked for.
    Opening {
        request: u64,
        on: ConnectionId,
        at: Time,
    },
    Open(SessionId),
}

/// Commands staged this much later than a frame's first begin another frame, so that nobody's
/// patience is cut short by more.
const STAGING_SPAN: Micros = Micros::from_millis(500);

/// Without a hint of who leads, the same node is asked this often before the next one is.
const TRIES_PER_MEMBER: u32 = 4;

impl Lane {
    pub(super) fn new(group: GroupId, position: usize) -> Self {
        Self {
            group,
            position,
            listed: true,
            members: Vec::new(),
            target: NodeId::default(),
            link: None,
            session: Session::Closed,
            next_sequence: Sequence(1),
            staged_writes: VecDeque::new(),
            staged_reads: VecDeque::new(),
            in_flight: VecDeque::new(),
            resume_at: Time(0),
            failures: 0,
            refusal: Rejection::Unreachable,
            queued: false,
        }
    }

    /// The place of a group that is gone, for the next one.
    pub(super) fn vacant(position: usize) -> Self {
        Self::new(GroupId::default(), position)
    }

    /// A newer map: the group's members, and who leads it, if known.
    pub(super) fn update(&mut self, members: &[NodeId], leader: NodeId) {
        self.listed = true;
        members.clone_into(&mut self.members);
        if self.link.is_some() {
            // The node at its other end says itself when it is the wrong one.
            return;
        }
        if members.contains(&leader) {
            self.target = leader;
        } else if !members.contains(&self.target) {
            self.rotate();
        }
    }

    /// Adds a command to the frame in the making, or several as a frame of their own: then all of
    /// them happen or none.
    pub(super) fn stage(&mut self, commands: &[Fields<'_>], caller: Caller, shared: &mut Shared) {
        let read = commands[0].is_read();
        let atomic = commands.len() > 1;
        let queue = if read { &mut self.staged_reads } else { &mut self.staged_writes };
        let begins = queue.back().is_none_or(|staged| {
            atomic
                || staged.is_full_for(commands[0].size(), &shared.options)
                || staged.deadline.0.abs_diff(caller.deadline.0) > STAGING_SPAN.0
        });
        if begins {
            let staged = shared.take_staged();
            queue.push_back(Staged { deadline: caller.deadline, atomic, ..staged });
            shared.wake_before(caller.deadline);
        }
        let staged = queue.back_mut().expect("pushed above if there was none");
        if atomic {
            staged.builder.make_atomic();
        }
        for (fields, caller) in commands.iter().zip(caller.and_following()) {
            if read {
                staged.push(Sequence(0), fields, caller);
            } else {
                staged.push(self.next_sequence, fields, caller);
                self.next_sequence.0 += 1;
            }
        }
    }

    /// Sends what can be sent now.
    pub(super) fn pump(&mut self, shared: &mut Shared) {
        if !self.has_work() {
            return;
        }
        if shared.now < self.resume_at {
            shared.wake_before(self.resume_at);
            return;
        }
        let Some(link) = self.ready_link(shared) else { return };
        self.open_session(link, shared);
        self.send_waiting(link, shared);
        self.seal_writes(link, shared);
        self.seal_reads(link, shared);
    }

    fn has_work(&self) -> bool {
        !self.staged_writes.is_empty()
            || !self.staged_reads.is_empty()
            || self.in_flight.iter().any(|batch| batch.state == BatchState::Waiting)
    }

    /// The connection to the target, if it stands; else begins one.
    fn ready_link(&mut self, shared: &mut Shared) -> Option<ConnectionId> {
        if let Some(link) = self.link {
            return shared.is_ready(link).then_some(link);
        }
        let address = shared.routing.as_ref()?.addresses.get(&self.target).cloned();
        let Some(address) = address else {
            self.fail(shared);
            self.rotate();
            shared.map_stale = true;
            return None;
        };
        self.link = Some(shared.connect(Purpose::Lane(self.position), self.target, address));
        None
    }

    fn open_session(&mut self, link: ConnectionId, shared: &mut Shared) {
        if self.session != Session::Closed || self.staged_writes.is_empty() {
            return;
        }
        let request = shared.take_request();
        encode_open_session(request, self.group, shared.output(link));
        self.session = Session::Opening { request, on: link, at: shared.now };
        shared.wake_before(shared.now + shared.options.request_timeout);
    }

    fn send_waiting(&mut self, link: ConnectionId, shared: &mut Shared) {
        for batch in &mut self.in_flight {
            if batch.state == BatchState::Waiting {
                shared.counters.frames_repeated += 1;
                send(batch, link, shared);
            }
        }
    }

    fn seal_writes(&mut self, link: ConnectionId, shared: &mut Shared) {
        let Session::Open(session) = self.session else { return };
        while self.frames_in_flight(true) < shared.options.frames_in_flight_max {
            let lowest_awaited = self.lowest_awaited(session);
            let fits = |staged: &Staged| {
                let end = staged.first_sequence.0 + staged.callers.len() as u64;
                end - lowest_awaited.0 <= SESSION_WINDOW_MAX
            };
            let Some(mut staged) = self.staged_writes.pop_front_if(|staged| fits(staged)) else {
                break;
            };
            let request = shared.take_request();
            let mut frame = shared.spare_frames.pop().unwrap_or_default();
            let group = self.group;
            staged.builder.encode_write(request, group, session, lowest_awaited, &mut frame);
            let identity = Some((session, staged.first_sequence));
            self.launch(staged, request, identity, frame, link, shared);
        }
    }

    fn seal_reads(&mut self, link: ConnectionId, shared: &mut Shared) {
        while self.frames_in_flight(false) < shared.options.frames_in_flight_max {
            let Some(mut staged) = self.staged_reads.pop_front() else { break };
            let request = shared.take_request();
            let mut frame = shared.spare_frames.pop().unwrap_or_default();
            staged.builder.encode_read(request, self.group, &mut frame);
            self.launch(staged, request, None, frame, link, shared);
        }
    }

    fn launch(
        &mut self,
        mut staged: Staged,
        request: u64,
        identity: Option<(SessionId, Sequence)>,
        frame: Vec<u8>,
        link: ConnectionId,
        shared: &mut Shared,
    ) {
        let spare = shared.spare_callers.pop().unwrap_or_default();
        let callers = std::mem::replace(&mut staged.callers, spare);
        let Staged { deadline, atomic, .. } = staged;
        shared.recycle_staged(staged);
        let state = BatchState::Waiting;
        let mut batch =
            Batch { request, identity, frame, callers, deadline, state, atomic, in_doubt: false };
        send(&mut batch, link, shared);
        self.in_flight.push_back(batch);
    }

    fn frames_in_flight(&self, writes: bool) -> usize {
        self.in_flight.iter().filter(|batch| batch.identity.is_some() == writes).count()
    }

    /// The lowest sequence of `session` without an outcome.
    fn lowest_awaited(&self, session: SessionId) -> Sequence {
        let in_flight = self.in_flight.iter().find_map(|batch| match batch.identity {
            Some((of, first)) if of == session => Some(first),
            _ => None,
        });
        let in_flight = in_flight.filter(|_| !makes(Mistake::AwaitedForgotten));
        let staged = || self.staged_writes.front().map(|staged| staged.first_sequence);
        in_flight.or_else(staged).unwrap_or(self.next_sequence)
    }

    /// The next member is asked from now on.
    fn rotate(&mut self) {
        let position = self.members.iter().position(|&member| member == self.target);
        let next = position.map_or(0, |position| (position + 1) % self.members.len());
        self.target = self.members.get(next).copied().unwrap_or_default();
    }

    /// Something went wrong: pauses, longer each time.
    fn fail(&mut self, shared: &mut Shared) {
        self.failures = self.failures.saturating_add(1);
        self.resume_at = shared.now + shared.pause(self.failures);
    }

    /// The session is gone: what is staged gets sequences of the next one.
    fn forget_session(&mut self, shared: &mut Shared) {
        self.session = Session::Closed;
        self.next_sequence = Sequence(1);
        for staged in std::mem::take(&mut self.staged_writes) {
            staged.stray(shared);
        }
    }
}

fn send(batch: &mut Batch, link: ConnectionId, shared: &mut Shared) {
    shared.output(link).extend_from_slice(&batch.frame);
    batch.state = BatchState::Sent { on: link, at: shared.now };
    shared.counters.frames_sent += 1;
    shared.wake_before(shared.now + shared.options.request_timeout);
}
