//! What a core does while its disk is full.
//!
//! The log always has a spare segment, or is having one made. Once none is left and none can be made for
//! want of room, what is left of the present segment is the *reserve*:
//!
//! ```text
//!  room for a spare │ none: reserve                     │ less than half a segment left
//!  ─────────────────┼───────────────────────────────────┼────────────────────────────────
//!  everything       │ clients' writes: `DiskFull`       │ the same, and
//!                   │ reads, votes, entries of leaders  │ entries of leaders are not taken:
//!                   │ elsewhere, changes of members     │ terms and votes only; reads are
//!                   │                                   │ sent to those leaders
//! ```
//!
//! So a full disk leaves a node that serves reads and votes in elections, also after a restart, which
//! goes on in the same segment. What a leader elsewhere cannot place here it sends again, as if it had
//! been lost; a majority goes on without this node. A leader with a full disk hands over to the other
//! voters in turn. One whose disk is full as well declines by not standing, and the transfer expires;
//! when all have declined, there is a pause before they are asked again, and clients are refused.
//!
//! A segment is asked for again every second ([`super::persistence`]), so room is noticed without a
//! restart. A snapshot that finds no room gets that of the log's spare segments, but for one, and is begun
//! again: when it succeeds it frees more of them than it took, and may end the shortage by itself.

use super::Reactor;
use super::core::Core;
use super::replica::Replica;
use crate::base::{Micros, Mistake, Time, makes};
use crate::raft::{Message, MessageBody};
use crate::wal::SegmentId;
use crate::wire::client::Outcome;

/// Between two rounds of asking all voters to take over, at first, in election timeouts.
const PAUSE_TIMEOUTS: u64 = 5;

impl Reactor {
    /// A segment could not be made. If it was to be the only spare, what is led here had better be led
    /// elsewhere, at once, so that clients wait for the successor instead of being refused.
    pub(super) fn segment_failed(&mut self, now: Time, segment: SegmentId) {
        let was_full = self.core.persistence.is_full();
        self.core.persistence.segment_failed(segment, now);
        if self.core.persistence.is_full() && !was_full {
            tracing::warn!(core = %self.core.config.core, "the disk is full: writes are refused");
            for i in 0..self.replicas.len() {
                if self.replicas[i].is_leader() {
                    self.touch(i);
                    self.replicas[i].move_off(&self.core, now);
                }
            }
            self.look_again(now);
        }
    }

    /// A segment is there.
    pub(super) fn segment_ready(&mut self, segment: SegmentId) {
        if self.core.persistence.is_full() {
            tracing::info!(core = %self.core.config.core, "the disk has room again");
        }
        self.core.persistence.segment_ready(segment);
    }

    /// Whether a message is not heard because the disk is full. It counts as lost on the way.
    pub(super) fn is_declined(&self, message: &Message) -> bool {
        match &message.body {
            MessageBody::TimeoutNow => self.core.persistence.is_full(),
            MessageBody::Append { entries, .. } => {
                let low = self.core.persistence.is_reserve_low();
                !entries.is_empty() && low && !makes(Mistake::ReserveUsedUp)
            }
            _ => false,
        }
    }
}

impl Replica {
    /// Refuses the commands that wait to become entries: there is no room for them.
    pub(super) fn refuse_for_want_of_room(&mut self, core: &mut Core) {
        while let Some(draft) = self.queue.pop() {
            self.refuse_all(core, &draft.waiting, Outcome::DiskFull);
        }
    }

    /// Hands the leadership to a voter that was not asked yet; when all were, pauses and begins anew.
    pub(super) fn move_off(&mut self, core: &Core, now: Time) {
        if !self.leadership.is_due(now) {
            return;
        }
        let declined = |node| self.leadership.has_asked(node);
        let successor = self.raft.successor(|node| core.peers.is_up(node) && !declined(node));
        if let Some(successor) = successor {
            self.leadership.asked(successor);
            self.transfer(successor, now);
        } else {
            let pause = Micros(core.config.election_timeout.0 * PAUSE_TIMEOUTS);
            self.leadership.all_declined(now, pause);
        }
    }
}
