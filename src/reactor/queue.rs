//! Commands on their way into the log.
//!
//! ```text
//! client frame ──copied once──▶ draft (entry in the making) ──propose──▶ pending ──apply──▶ reply
//! ```
//!
//! Frames of one turn for one group share an entry; the entry's payload is the frames as they came.

use std::collections::VecDeque;

use super::replies::Origin;
use crate::base::limits::ENTRY_BYTES_MAX;
use crate::base::{AlignedBuf, Index, Term};

/// Bytes of drafts one group may hold, at most; past it clients are told to come back later.
const QUEUE_BYTES_MAX: usize = 32 << 20;

/// Who awaits the fate of one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub origin: Origin,
    /// The client's own number for the frame.
    pub request: u64,
}

/// An entry in the making: `waiting[i]` awaits the fate of the i-th frame of `payload`.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub payload: AlignedBuf,
    pub waiting: Vec<Waiting>,
}

/// A proposed entry whose outcome someone on this node awaits.
#[derive(Debug)]
pub(super) struct Pending {
    pub term: Term,
    pub index: Index,
    pub waiting: Vec<Waiting>,
}

/// One group's drafts, oldest first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    drafts: VecDeque<Draft>,
    bytes: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// Bytes of all drafts.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether another frame of `length` bytes would exceed the bound.
    pub(super) fn is_full(&self, length: usize) -> bool {
        self.bytes + length > QUEUE_BYTES_MAX
    }

    /// Adds a frame to the newest draft, or to a new one if that would grow past the bound.
    pub(super) fn push(&mut self, waiting: Waiting, frame: &[u8]) {
        self.push_unawaited(frame);
        let draft = self.drafts.back_mut().expect("pushed to just now");
        draft.waiting.push(waiting);
    }

    /// Adds a frame whose fate nobody awaits. Either all of a queue's are awaited or none.
    pub(super) fn push_unawaited(&mut self, frame: &[u8]) {
        let fits = |draft: &Draft| draft.payload.len() + frame.len() <= ENTRY_BYTES_MAX;
        if !self.drafts.back().is_some_and(fits) {
            self.drafts.push_back(Draft::default());
        }
        let draft = self.drafts.back_mut().expect("pushed above if there was none");
        draft.payload.extend_from_slice(frame);
        self.bytes += frame.len();
    }

    /// Takes the oldest draft.
    pub(super) fn pop(&mut self) -> Option<Draft> {
        let draft = self.drafts.pop_front()?;
        self.bytes -= draft.payload.len();
        Some(draft)
    }
}
