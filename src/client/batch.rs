//! Commands gathered for one frame, and frames awaiting their reply.

use std::fmt;

use super::command::{Caller, Fields, Stray};
use super::options::Options;
use super::outcome::{Evidence, Place};
use super::shared::Shared;
use crate::base::{AlignedBuf, ConnectionId, GroupId, Mistake, Sequence, SessionId, Time, makes};
use crate::wire::client::{Operation, Request, RequestBuilder, parse_request};
use crate::wire::frame::scan_trusted;

/// Commands gathered for one frame that is not yet made.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) builder: RequestBuilder,
    /// One per command, in order.
    pub(super) callers: Vec<Caller>,
    /// Of the first command (zero: reads). The others follow without gaps.
    pub(super) first_sequence: Sequence,
    /// When the patience of the first command's caller ends.
    pub(super) deadline: Time,
    /// Whether its commands happen all or not at all: nothing joins them.
    pub(super) atomic: bool,
}

impl Staged {
    /// Whether a command of `size` bytes belongs into the next frame.
    pub(super) fn is_full_for(&self, size: usize, options: &Options) -> bool {
        self.atomic
            || !self.callers.is_empty()
                && (self.callers.len() >= options.frame_commands_max
                    || self.builder.data_len() + size > options.frame_bytes_max)
    }

    pub(super) fn push(&mut self, sequence: Sequence, fields: &Fields<'_>, caller: Caller) {
        if self.callers.is_empty() {
            self.first_sequence = sequence;
        }
        self.callers.push(caller);
        let Fields { kind, flags, key, value, expected } = *fields;
        self.builder.push(&Operation { sequence, kind, flags, key, value, expected });
    }

    /// Its commands go to other lanes: none was sent.
    pub(super) fn stray(mut self, shared: &mut Shared) {
        let (group, mut frame) = (GroupId::default(), Vec::new());
        if self.first_sequence == Sequence(0) {
            self.builder.encode_read(0, group, &mut frame);
        } else {
            let (session, lowest) = (SessionId::default(), Sequence(1));
            self.builder.encode_write(0, group, session, lowest, &mut frame);
        }
        strays_of(&frame, &self.callers, &mut shared.strays);
        shared.recycle_staged(self);
    }

    pub(super) fn clear(&mut self) {
        self.builder.clear();
        self.callers.clear();
        self.atomic = false;
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Staged({} from {})", self.callers.len(), self.first_sequence)
    }
}

/// A frame from its making until each of its commands has an outcome.
#[derive(Debug)]
pub(super) struct Batch {
    /// The client's number for the frame; kept when it is sent again.
    pub(super) request: u64,
    /// Writes: the session and the sequence of the first command. `None`: reads.
    pub(super) identity: Option<(SessionId, Sequence)>,
    /// The whole frame: what is sent, and sent again.
    pub(super) frame: Vec<u8>,
    /// One per command, in order.
    pub(super) callers: Vec<Caller>,
    /// When the patience of the first command's caller ends.
    pub(super) deadline: Time,
    pub(super) state: BatchState,
    /// Whether its commands happen all or not at all.
    pub(super) atomic: bool,
    /// Whether an earlier attempt may have happened: its reply was lost. From then on no refusal of
    /// a later attempt can make it `Rejected`.
    pub(super) in_doubt: bool,
}

/// Where a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchState {
    /// To be sent, or sent again.
    Waiting,
    /// Sent and not answered.
    Sent {
        /// On which connection.
        on: ConnectionId,
        /// When.
        at: Time,
    },
}

impl Batch {
    /// Whether it awaits a reply on `link`.
    pub(super) fn is_on(&self, link: ConnectionId) -> bool {
        matches!(self.state, BatchState::Sent { on, .. } if on == link)
    }

    /// What is known of each of its commands, in order, before it is answered.
    pub(super) fn evidence(&self) -> impl Iterator<Item = Evidence> + use<> {
        let Self { identity, atomic, .. } = *self;
        (0..).map(move |offset| {
            identity.map_or_else(Evidence::default, |(session, first)| {
                let sequence = Sequence(first.0 + offset);
                Evidence { session, sequence, place: Place::default(), atomic }
            })
        })
    }

    /// Its commands go to other lanes, or to the same in another session: none did or will happen.
    pub(super) fn stray(self, shared: &mut Shared) {
        strays_of(&self.frame, &self.callers, &mut shared.strays);
        shared.recycle_batch(self.frame, self.callers);
    }

    /// The reply will not come: it may have happened.
    pub(super) fn lose(&mut self) {
        self.state = BatchState::Waiting;
        self.in_doubt = !makes(Mistake::DoubtForgotten);
    }
}

/// Reads a frame of our own making back into commands: off the steady path, when what was never
/// executed needs another session or another group.
pub(super) fn strays_of(frame: &[u8], callers: &[Caller], strays: &mut Vec<Stray>) {
    let aligned = AlignedBuf::copy_of(frame);
    let frame = scan_trusted(&aligned).expect("a frame of our own encoding");
    let (operations, atomic) = match parse_request(&frame).expect("a frame of our own encoding") {
        Request::Write(batch) => (batch.operations(), batch.atomic),
        Request::Read(batch) => (batch.operations(), false),
        other => unreachable!("batches are writes or reads, not {other:?}"),
    };
    let fields = operations.map(|operation| {
        let Operation { kind, flags, key, value, expected, .. } = operation;
        Fields { kind, flags, key, value, expected }
    });
    if atomic {
        strays.push(Stray::new(&fields.collect::<Vec<_>>(), callers[0]));
    } else {
        strays.extend(fields.zip(callers).map(|(fields, &caller)| Stray::new(&[fields], caller)));
    }
}
