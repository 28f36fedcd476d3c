//! Snapshots on their way to followers, all of a core's.
//!
//! ```text
//!              acknowledged           sent       produced
//!   gone ──────┤ kept: on their way ──┤ to go again ┤ ─ still in the stream ─▶
//!              └──────────────── WINDOW_BYTES ──────┘
//! ```
//!
//! Pieces are kept until the follower has them, so that a transfer survives its link: what was on
//! its way when the link was reset goes again. What the follower says it has is the truth. The
//! number of transfers bounds the bytes on their way, and the states they are of what they may keep in
//! memory while it is written over; a follower beyond it asks again by itself.

use std::collections::{BTreeMap, VecDeque};

use super::peers::Peers;
use super::snapshots::{PIECE_BYTES, SnapshotStream};
use super::transfer::ChunkAck;
use crate::base::{GroupId, Micros, NodeId, Term, Time};
use crate::wire::peer::PeerBody;

/// Transfers of one core at once, at most: times the window, the bytes on their way.
const SENDINGS_MAX: usize = 8;

/// Bytes on their way to one follower after which nothing more is sent, until it acknowledges.
const WINDOW_BYTES: u64 = 4 * PIECE_BYTES as u64;

/// A follower that says nothing for this long lost what was sent, or the link lost its answer.
const RESEND_AFTER: Micros = Micros::from_secs(1);

/// A follower that says nothing for this long has lost the transfer.
const SILENCE_MAX: Micros = Micros::from_secs(10);

/// What became of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on.
    Continues,
    /// The follower has everything.
    Finished,
    /// It is of no use any more.
    Failed,
}

/// A piece of a snapshot file that the follower is not known to have.
struct Piece {
    offset: u64,
    bytes: Vec<u8>,
    last: bool,
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// A snapshot on its way to one follower. Ends with the term of the leader that sends it.
struct Sending {
    /// Names this sending among all of this process's life.
    transfer: u64,
    /// The leader's term when it began.
    term: Term,
    stream: SnapshotStream,
    /// Where the next piece of the stream goes: the bytes taken out of it so far.
    produced: u64,
    /// Whether the stream's last piece was taken out.
    ended: bool,
    /// What the follower is not known to have, in order, without gaps up to `produced`.
    pieces: VecDeque<Piece>,
    /// How many of `pieces`, from the first on, are on their way as far as is known.
    sent: usize,
    /// Where the follower said it lacks a piece, if what follows went again because of that: every
    /// piece behind a lost one brings the same answer.
    lacking: Option<u64>,
    /// When the follower was last heard, or the sending began.
    heard_at: Time,
}

impl Sending {
    /// Everything below was acknowledged; never falls.
    fn acknowledged(&self) -> u64 {
        self.pieces.front().map_or(self.produced, |piece| piece.offset)
    }

    /// The next piece to send now.
    fn next_piece(&mut self) -> Option<&Piece> {
        if self.sent == self.pieces.len() {
            if self.ended || self.produced - self.acknowledged() >= WINDOW_BYTES {
                return None;
            }
            let (bytes, last) = self.stream.next_piece();
            let piece = Piece { offset: self.produced, bytes, last };
            self.produced = piece.end();
            self.ended = last;
            self.pieces.push_back(piece);
        }
        self.sent += 1;
        self.pieces.get(self.sent - 1)
    }

    /// The follower has everything below `next_offset`, and nothing behind it.
    fn heard(&mut self, next_offset: u64, now: Time) -> Progress {
        if next_offset == 0 && self.acknowledged() > 0 {
            // It was started anew: what it had is gone on both sides.
            return Progress::Failed;
        }
        if next_offset > self.produced || next_offset < self.acknowledged() {
            return Progress::Continues;
        }
        self.heard_at = now;
        if next_offset == self.acknowledged() {
            self.resend_lacking(next_offset);
        }
        while self.pieces.pop_front_if(|piece| piece.end() <= next_offset).is_some() {
            self.sent = self.sent.saturating_sub(1);
        }
        let finished = self.ended && self.pieces.is_empty();
        if finished { Progress::Finished } else { Progress::Continues }
    }

    /// Nothing behind `next_offset` arrived: once, it goes again.
    fn resend_lacking(&mut self, next_offset: u64) {
        if self.lacking != Some(next_offset) {
            self.lacking = Some(next_offset);
            self.sent = 0;
        }
    }
}

/// All transfers of a core's replicas to their followers.
#[derive(Default)]
pub(super) struct Sendings {
    /// At most `SENDINGS_MAX`.
    sendings: BTreeMap<(GroupId, NodeId), Sending>,
    /// When silent followers are looked for next; set while there are transfers.
    check_at: Option<Time>,
}

/// Bytes of state that transfers may hold on to, all together, unless there is only one.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrozenMax(pub u64);

impl Sendings {
    pub(super) fn is_empty(&self) -> bool {
        self.sendings.is_empty()
    }

    /// Whether no further transfer may begin, of a state of so many bytes.
    pub(super) fn is_full(&self, bytes: u64, FrozenMax(max): FrozenMax) -> bool {
        let too_much = !self.is_empty() && self.frozen_bytes() + bytes > max;
        too_much || self.sendings.len() >= SENDINGS_MAX
    }

    /// Bytes of state that the transfers hold on to, at most.
    pub(super) fn frozen_bytes(&self) -> u64 {
        self.sendings.values().map(|sending| sending.stream.frozen_bytes()).sum()
    }

    pub(super) fn contains(&self, group: GroupId, to: NodeId) -> bool {
        self.sendings.contains_key(&(group, to))
    }

    /// Begins a transfer; its pieces leave with `send`.
    pub(super) fn begin(
        &mut self,
        now: Time,
        (group, to): (GroupId, NodeId),
        (transfer, term): (u64, Term),
        stream: SnapshotStream,
    ) {
        let free = self.sendings.len() < SENDINGS_MAX;
        assert!(free && !self.contains(group, to), "{group} to {to}: not to begin");
        let sending = Sending {
            transfer,
            term,
            stream,
            produced: 0,
            ended: false,
            pieces: VecDeque::new(),
            sent: 0,
            lacking: None,
            heard_at: now,
        };
        self.sendings.insert((group, to), sending);
        self.check_at.get_or_insert(now + RESEND_AFTER);
    }

    /// Sends as many pieces as the windows allow.
    pub(super) fn send(&mut self, peers: &mut Peers) {
        for (&(group, to), sending) in &mut self.sendings {
            if !peers.is_up(to) {
                continue;
            }
            let (transfer, term) = (sending.transfer, sending.term);
            let (index, covered) = (sending.stream.meta.index, sending.stream.meta.term);
            while let Some(Piece { offset, bytes, last }) = sending.next_piece() {
                let (offset, last, data) = (*offset, *last, &bytes[..]);
                let chunk =
                    PeerBody::SnapshotChunk { transfer, index, term: covered, offset, last, data };
                peers.send_body(to, group, term, &chunk);
            }
        }
    }

    /// A follower answered. A transfer that does not go on is over.
    pub(super) fn acknowledged(
        &mut self,
        now: Time,
        (group, from): (GroupId, NodeId),
        ack: ChunkAck,
    ) -> Progress {
        let Some(sending) = self.sendings.get_mut(&(group, from)) else {
            return Progress::Continues;
        };
        if sending.transfer != ack.transfer {
            return Progress::Continues;
        }
        let progress =
            if ack.failed { Progress::Failed } else { sending.heard(ack.next_offset, now) };
        if progress != Progress::Continues {
            self.sendings.remove(&(group, from));
        }
        progress
    }

    /// The link to a node was reset: what was on its way goes again.
    pub(super) fn reset(&mut self, node: NodeId) {
        for (_, sending) in self.sendings.iter_mut().filter(|((_, to), _)| *to == node) {
            sending.sent = 0;
        }
    }

    /// Ends the transfers of a group that were begun in another term than the one it leads in.
    pub(super) fn end_but_of(&mut self, group: GroupId, leads_in: Option<Term>) {
        if !self.is_empty() {
            self.sendings.retain(|key, sending| key.0 != group || Some(sending.term) == leads_in);
        }
    }

    /// Sends again to followers that are silent; gives up those that are for long, and names them.
    pub(super) fn check(&mut self, now: Time) -> Vec<(GroupId, NodeId)> {
        if self.check_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let silent = |sending: &Sending| now.since(sending.heard_at);
        let lost = self.sendings.extract_if(.., |_, sending| silent(sending) >= SILENCE_MAX);
        let lost = lost.map(|(key, _)| key).collect();
        for sending in self.sendings.values_mut() {
            if silent(sending) >= RESEND_AFTER {
                sending.sent = 0;
            }
        }
        self.check_at = (!self.is_empty()).then(|| now + RESEND_AFTER);
        lost
    }

    /// When `check` has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.check_at
    }
}

#[cfg(test)]
mod tests;
