//! Answers as frames: results of applied entries, values read, refusals.

use super::convert;
use super::movement::{GroupState, Hosted};
use super::queue::Waiting;
use super::reads::Round;
use super::replies::Replies;
use crate::base::{GroupId, Index, NodeId, SessionId, Slot};
use crate::kv::{self, Machine, Place};
use crate::placement::ShardMap;
use crate::raft;
use crate::wire::client::{
    Answer, Outcome, ReplyBuilder, ReplyHead, Request, Status, WriteBatch, parse_request,
};
use crate::wire::frame::{self, Frame, FrameKind};

/// Counts for the status page.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub commands: u64,
    pub reads: u64,
    pub deduplicated: u64,
}

/// Builds answers; its buffers are reused, so that an answer costs no allocation.
#[derive(Default)]
pub(super) struct Answers {
    builder: ReplyBuilder,
    pub(super) counters: Counters,
}

/// What all answers of one group have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub group: GroupId,
    pub epoch: u64,
    pub leader: Option<NodeId>,
}

impl Context {
    fn head(self, request: u64, outcome: Outcome) -> ReplyHead {
        ReplyHead {
            request,
            session: SessionId(0),
            leader: self.leader.unwrap_or_default(),
            epoch: self.epoch,
            group: self.group,
            outcome,
        }
    }
}

impl Answers {
    /// Applies a command entry to what is `hosted`. `waiting`, if someone here awaits the outcome: one per
    /// frame of the entry; else empty.
    pub(super) fn apply(
        &mut self,
        mut hosted: Hosted<'_>,
        entry: &raft::Entry,
        waiting: &[Waiting],
        context: Context,
        replies: &mut Replies,
    ) {
        hosted.machine.begin_entry(entry.index, entry.term, entry.timestamp);
        let mut rest: &[u8] = &entry.payload;
        let (mut ordinal, mut position) = (0_u32, 0_u32);
        while let Some(frame) = frame::scan_trusted(rest) {
            rest = &rest[frame.bytes.len()..];
            if frame.kind == FrameKind::Order {
                hosted.obey(&frame);
                continue;
            }
            let head = self.apply_frame(&mut hosted, &frame, ordinal, &mut position, context);
            if let Some(waiting) = waiting.get(ordinal as usize) {
                let head = ReplyHead { request: waiting.request, ..head };
                self.builder.encode(&head, replies.buffer(waiting.origin));
            }
            self.builder.clear();
            ordinal += 1;
        }
    }

    /// Answers a round of reads from `machine`, everything they must see being applied, as far as one
    /// turn may. Returns whether it was answered to its end.
    pub(super) fn read(
        &mut self,
        (machine, signpost): (&Machine, Signpost<'_>),
        round: &mut Round,
        context: Context,
        replies: &mut Replies,
    ) -> bool {
        let (applied, ..) = machine.applied();
        while let Some(waiting) = round.waiting.get(round.answered) {
            if replies.is_full() {
                return false;
            }
            let rest = &round.frames[round.answered_bytes..];
            let frame = frame::scan_trusted(rest).expect("a round holds a frame per waiter");
            let Ok(Request::Read(batch)) = parse_request(&frame) else {
                unreachable!("only read frames that could be parsed are gathered")
            };
            self.counters.reads += batch.len() as u64;
            for operation in batch.operations() {
                self.push_read((machine, signpost), operation.key, applied, context.group);
            }
            let head = context.head(waiting.request, Outcome::Ok);
            replies.append_values(waiting.origin, |out| self.builder.encode(&head, out));
            self.builder.clear();
            round.answered += 1;
            round.answered_bytes += frame.bytes.len();
        }
        true
    }

    /// Tells a waiter that its frame did not and will not happen.
    pub(super) fn refuse(
        &mut self,
        waiting: Waiting,
        outcome: Outcome,
        detail: Option<&str>,
        context: Context,
        replies: &mut Replies,
    ) {
        let head = context.head(waiting.request, outcome);
        self.builder.encode_refusal(&head, detail, replies.buffer(waiting.origin));
    }

    fn apply_frame(
        &mut self,
        hosted: &mut Hosted<'_>,
        frame: &Frame<'_>,
        ordinal: u32,
        position: &mut u32,
        context: Context,
    ) -> ReplyHead {
        let mut head = context.head(0, Outcome::Ok);
        match parse_request(frame) {
            Ok(Request::Write(batch)) => {
                head.outcome = self.apply_batch(hosted, &batch, position);
            }
            Ok(Request::OpenSession { .. }) => match hosted.machine.open_session(ordinal) {
                Ok(session) => head.session = session,
                Err(error) => head.outcome = outcome_of(error),
            },
            Ok(Request::CloseSession { session, .. }) => hosted.machine.close_session(session),
            // The leader lets none of these in; all replicas pass over one in the same way.
            Ok(Request::Read(_) | Request::Map { .. }) | Err(_) => {
                head.outcome = Outcome::Malformed;
            }
        }
        head
    }

    fn apply_batch(
        &mut self,
        hosted: &mut Hosted<'_>,
        batch: &WriteBatch<'_>,
        position: &mut u32,
    ) -> Outcome {
        let Hosted { group, machine, slots, map, .. } = hosted;
        let (group, signpost): (_, Signpost<'_>) = (*group, (slots, map));
        let (index, ..) = machine.applied();
        self.counters.commands += batch.len() as u64;
        let first = *position;
        *position += u32::try_from(batch.len()).expect("a frame's commands are counted in 16 bits");
        let mut session = match machine.begin_batch(batch.session, batch.lowest_awaited) {
            Ok(session) => session,
            Err(error) => return outcome_of(error),
        };
        if batch.atomic {
            let commands: Vec<_> =
                batch.operations().map(|operation| convert::command_of(&operation)).collect();
            let answers = session.apply_atomic(Place { index, position: first }, &commands);
            for (answer, operation) in answers.iter().zip(batch.operations()) {
                self.push_write(answer, signpost, operation.key, group);
            }
            return Outcome::Ok;
        }
        for (place, operation) in (first..).zip(batch.operations()) {
            let place = Place { index, position: place };
            let answer = session.apply(place, convert::command_of(&operation));
            self.push_write(&answer, signpost, operation.key, group);
        }
        Outcome::Ok
    }

    fn push_write(
        &mut self,
        answer: &kv::Answer,
        signpost: Signpost<'_>,
        key: &[u8],
        group: GroupId,
    ) {
        self.counters.deduplicated += u64::from(answer.repeated);
        let mut row = convert::row_of(answer);
        if row.status == Status::WrongSlot {
            row.number = whom_to_ask(signpost, group, key);
        }
        self.builder.push(row, None);
    }

    fn push_read(
        &mut self,
        (machine, signpost): (&Machine, Signpost<'_>),
        key: &[u8],
        applied: Index,
        group: GroupId,
    ) {
        let (status, number, value) = match machine.get(key) {
            Ok(Some(value)) => (Status::Ok, 0, Some(value)),
            Ok(None) => (Status::NotFound, 0, None),
            Err(_) => (Status::WrongSlot, whom_to_ask(signpost, group, key), None),
        };
        self.builder.push(Answer { status, number, index: applied, position: 0 }, value);
    }
}

/// What says who has a slot that is not here.
type Signpost<'a> = (&'a GroupState, &'a ShardMap);

/// The number of a `WrongSlot`: the group to ask instead, 0 if that is not known.
fn whom_to_ask((slots, map): Signpost<'_>, group: GroupId, key: &[u8]) -> i64 {
    slots.whom_to_ask((group, Slot::of_key(key)), map).0.into()
}

fn outcome_of(error: kv::SessionError) -> Outcome {
    match error {
        kv::SessionError::Expired => Outcome::SessionExpired,
        kv::SessionError::Full => Outcome::SessionsFull,
    }
}
