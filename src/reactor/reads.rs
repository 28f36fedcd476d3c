//! Linearizable reads: one read-index round for all reads of a group that came in one turn.
//!
//! ```text
//! read frame ─▶ gathering ──Raft::read──▶ asked ──ReadState──▶ confirmed ──applied──▶ answered
//! ```
//!
//! A round begins after its reads have arrived: what is committed by then is what they must see.
//!
//! Source: Ongaro's thesis, section 6.4.

use std::collections::VecDeque;

use super::queue::Waiting;
use crate::base::{AlignedBuf, Index};

/// Rounds one group may have under way. Reads that come meanwhile gather for the next one, so that
/// rounds grow under load instead of multiplying.
const ROUNDS_MAX: usize = 2;

/// Bytes of read frames one group may hold, at most.
const BYTES_MAX: usize = 8 << 20;

/// Reads that share a round: `waiting[i]` awaits the answer to the i-th frame.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub frames: AlignedBuf,
    pub waiting: Vec<Waiting>,
    /// How many of `waiting` were answered, the first ones.
    pub answered: usize,
    /// Where in `frames` theirs end.
    pub answered_bytes: usize,
}

/// One group's reads.
#[derive(Debug, Default)]
pub(super) struct Reads {
    gathering: Round,
    /// Rounds under way, by context, oldest first.
    asked: VecDeque<(u64, Round)>,
    /// Rounds whose index is not applied yet.
    confirmed: VecDeque<(Index, Round)>,
    /// The context of the newest round.
    context: u64,
    /// Bytes of frames in all rounds.
    bytes: usize,
}

impl Reads {
    pub(super) fn is_full(&self, length: usize) -> bool {
        self.gathering.frames.len() + length > BYTES_MAX
    }

    /// Bytes of all frames held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, waiting: Waiting, frame: &[u8]) {
        self.bytes += frame.len();
        self.gathering.frames.extend_from_slice(frame);
        self.gathering.waiting.push(waiting);
    }

    /// Whether a round ought to begin: its context, if so.
    pub(super) fn wants_round(&self) -> Option<u64> {
        let wanted = !self.gathering.waiting.is_empty() && self.asked.len() < ROUNDS_MAX;
        wanted.then_some(self.context + 1)
    }

    /// The round `context` has begun with all reads gathered so far.
    pub(super) fn begun(&mut self, context: u64) {
        assert_eq!(context, self.context + 1, "rounds begin in order");
        self.context = context;
        self.asked.push_back((context, std::mem::take(&mut self.gathering)));
    }

    /// The round `context` is confirmed: its reads must see everything up to `index`.
    pub(super) fn confirmed(&mut self, context: u64, index: Index) {
        if let Some(round) = self.remove(context) {
            self.confirmed.push_back((index, round));
        }
    }

    /// The round `context` failed: its reads.
    pub(super) fn failed(&mut self, context: u64) -> Option<Round> {
        let round = self.remove(context)?;
        self.bytes -= round.frames.len();
        Some(round)
    }

    /// A failed round's reads wait for the next: nobody was told anything of them.
    pub(super) fn ask_again(&mut self, round: Round) {
        self.bytes += round.frames.len();
        self.gathering.frames.extend_from_slice(&round.frames);
        self.gathering.waiting.extend(round.waiting);
    }

    /// A round whose index is applied, if there is one.
    pub(super) fn pop_applied(&mut self, applied: Index) -> Option<Round> {
        let at = self.confirmed.iter().position(|(index, _)| *index <= applied)?;
        let (_, round) = self.confirmed.remove(at)?;
        self.bytes -= round.frames.len();
        Some(round)
    }

    /// A round whose index is applied was not answered to its end.
    pub(super) fn put_back(&mut self, round: Round) {
        self.bytes += round.frames.len();
        self.confirmed.push_front((Index::ZERO, round));
    }

    /// Whether a round's index is applied.
    pub(super) fn has_applied(&self, applied: Index) -> bool {
        self.confirmed.iter().any(|(index, _)| *index <= applied)
    }

    /// All reads not yet asked for: there is no one to ask.
    pub(super) fn take_gathering(&mut self) -> Round {
        self.bytes -= self.gathering.frames.len();
        std::mem::take(&mut self.gathering)
    }

    /// All reads there are: nothing will come of them.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Round> {
        self.bytes = 0;
        let asked = self.asked.drain(..).map(|(_, round)| round);
        let confirmed = self.confirmed.drain(..).map(|(_, round)| round);
        asked.chain(confirmed).chain([std::mem::take(&mut self.gathering)])
    }

    pub(super) fn is_idle(&self) -> bool {
        self.gathering.waiting.is_empty() && self.asked.is_empty() && self.confirmed.is_empty()
    }

    fn remove(&mut self, context: u64) -> Option<Round> {
        let at = self.asked.iter().position(|(asked, _)| *asked == context)?;
        self.asked.remove(at).map(|(_, round)| round)
    }
}
