//! Commands gathered for one frame, and frames awaiting their reply.

use std::fmt;

use super::command::{Fields, Stray};
use super::options::Options;
use super::outcome::{Evidence, Place};
use crate::base::{AlignedBuf, ConnectionId, Mistake, Sequence, SessionId, Time, makes};
use crate::wire::client::{Operation, Request, RequestBuilder, parse_request};
use crate::wire::frame::scan_trusted;

/// Commands gathered for one frame that is not yet made.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) builder: RequestBuilder,
    /// One per command, in order.
    pub(super) tickets: Vec<u64>,
    /// Of the first command (zero: reads). The others follow without gaps.
    pub(super) first_sequence: Sequence,
    /// When the patience of the first command's caller ends.
    pub(super) deadline: Time,
}

impl Staged {
    /// Whether a command of `size` bytes belongs into the next frame.
    pub(super) fn is_full_for(&self, size: usize, options: &Options) -> bool {
        !self.tickets.is_empty()
            && (self.tickets.len() >= options.frame_commands_max
                || self.builder.data_len() + size > options.frame_bytes_max)
    }

    pub(super) fn push(&mut self, sequence: Sequence, fields: &Fields<'_>, ticket: u64) {
        if self.tickets.is_empty() {
            self.first_sequence = sequence;
        }
        self.tickets.push(ticket);
        let Fields { kind, flags, key, value, expected } = *fields;
        self.builder.push(&Operation { sequence, kind, flags, key, value, expected });
    }

    pub(super) fn clear(&mut self) {
        self.builder.clear();
        self.tickets.clear();
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Staged({} from {})", self.tickets.len(), self.first_sequence)
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
    pub(super) tickets: Vec<u64>,
    /// When the patience of the first command's caller ends.
    pub(super) deadline: Time,
    pub(super) state: BatchState,
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
        let identity = self.identity;
        (0..).map(move |offset| {
            identity.map_or_else(Evidence::default, |(session, first)| {
                let sequence = Sequence(first.0 + offset);
                Evidence { session, sequence, place: Place::default() }
            })
        })
    }

    /// The reply will not come: it may have happened.
    pub(super) fn lose(&mut self) {
        self.state = BatchState::Waiting;
        self.in_doubt = !makes(Mistake::DoubtForgotten);
    }
}

/// Reads a frame of our own making back into commands: off the steady path, when what was never
/// executed needs another session or another group.
pub(super) fn strays_of(frame: &[u8], tickets: &[u64], deadline: Time, strays: &mut Vec<Stray>) {
    let aligned = AlignedBuf::copy_of(frame);
    let frame = scan_trusted(&aligned).expect("a frame of our own encoding");
    let mut take = |operations: &mut dyn Iterator<Item = Operation<'_>>| {
        for (operation, &ticket) in operations.zip(tickets) {
            let Operation { kind, flags, key, value, expected, .. } = operation;
            strays.push(Stray::new(Fields { kind, flags, key, value, expected }, ticket, deadline));
        }
    };
    match parse_request(&frame).expect("a frame of our own encoding") {
        Request::Write(batch) => take(&mut batch.operations()),
        Request::Read(batch) => take(&mut batch.operations()),
        other => unreachable!("batches are writes or reads, not {other:?}"),
    }
}
