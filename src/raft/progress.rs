//! What a leader knows of one follower's log, and what it may send it next.
//!
//! ```text
//!            ack                       entries forgotten
//!   Probe ─────────▶ Replicate    any ───────────────────▶ Snapshot
//!     ▲   ◀─────────    │                                     │
//!     │  reject, reset  │                   failed, installed │
//!     └─────────────────┴─────────────────────────────────────┘
//! ```
//!
//! Entries that are not in memory, but on the disk, are read and sent as any others (`old_entries`).
//!
//! *Probe*: where the logs part is not known; one append at a time asks. *Replicate*: known;
//! appends leave without waiting for answers, within a window. *Snapshot*: the entries wanted are
//! gone; the host sends the state machine instead.
//!
//! Source: etcd's three states; Raft, section 5.3.

use std::collections::VecDeque;

use super::RaftConfig;
use super::old_entries::Fetch;
use super::pace::Pace;
use crate::base::{Incarnation, Index, Micros, NodeId, Time};

/// One follower, as its leader sees it. Lives as long as the leader's term.
#[derive(Debug)]
pub(super) struct Progress {
    /// The follower.
    pub(super) node: NodeId,
    /// Which incarnation of it, if the configuration says so. Never changes.
    pub(super) incarnation: Option<Incarnation>,
    /// The follower's log equals the leader's up to here, durably. Advanced by acknowledgements
    /// only; falls only where the follower says that it has forgotten; `match_index < next_index`.
    pub(super) match_index: Index,
    /// What it has acknowledged while it was not in doubt: what counts. Never falls; as
    /// `match_index`, but for followers that are in doubt, or were.
    pub(super) vouched_index: Index,
    /// Its last answer was provisional: it may have forgotten what it acknowledged.
    pub(super) in_doubt: bool,
    /// The first entry to send next. Optimistic while replicating: advanced when sent, set back
    /// when the follower refuses.
    pub(super) next_index: Index,
    /// How far the follower has said that it knows the log to be committed. Zero again when it may
    /// have begun anew.
    pub(super) known_commit: Index,
    /// How to send.
    pub(super) state: ProgressState,
    /// What is read from the disk for it.
    pub(super) fetch: Fetch,
    /// When an answer last came that counts, or the leader took office: what check-quorum counts.
    pub(super) heard_at: Time,
    /// When an append or a heartbeat last left: either keeps the follower's election timer still.
    sent_at: Time,
    /// When a heartbeat last left.
    heartbeat_sent_at: Time,
    /// The latest read round it has answered. At most the leader's current round.
    pub(super) round_acknowledged: u64,
    /// The latest read round it has answered with a promise as long as a lease needs, by a clock that keeps
    /// within the bound. At most `round_acknowledged`.
    pub(super) round_promised: u64,
    /// How its clock runs beside the leader's.
    pub(super) pace: Pace,
}

/// How to send to a follower.
#[derive(Debug)]
pub(super) enum ProgressState {
    /// Find out where the logs part, one append at a time.
    Probe {
        /// When the question left; nothing more is sent until an answer, or until a heartbeat's
        /// answer shows that the question must have been lost.
        asked_at: Option<Time>,
    },
    /// Send without waiting.
    Replicate {
        /// What is on its way.
        window: Window,
        /// When the follower last got further, or the window began to fill: silence on appends
        /// for long, while heartbeats are answered, means that appends were lost.
        advanced_at: Time,
    },
    /// The host sends a snapshot; no appends meanwhile.
    Snapshot {
        /// When it was last asked whether it has caught up: an acknowledgement can be lost.
        asked_at: Time,
    },
}

/// What the leader's log holds: the entries after `base`, up to `last`.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogRange {
    /// The place before the first entry in memory.
    pub(super) base: Index,
    /// The last entry.
    pub(super) last: Index,
}

/// Appends on their way to one follower.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Last index and size of each, oldest first; indices rise.
    appends: VecDeque<(Index, usize)>,
    /// The sum of the sizes.
    bytes: usize,
}

/// What a heartbeat's answer calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    /// Nothing is stuck.
    Continue,
    /// Answers to appends are overdue: an empty append asks what became of them.
    Ask,
}

impl Progress {
    /// A follower of whom a new leader knows nothing: asked first about `last_index`.
    pub(super) fn new(node: NodeId, last_index: Index, now: Time) -> Self {
        Self {
            node,
            incarnation: None,
            match_index: Index::ZERO,
            vouched_index: Index::ZERO,
            in_doubt: false,
            next_index: last_index.next(),
            known_commit: Index::ZERO,
            state: ProgressState::Probe { asked_at: None },
            fetch: Fetch::default(),
            heard_at: now,
            sent_at: now,
            heartbeat_sent_at: now,
            round_acknowledged: 0,
            round_promised: 0,
            pace: Pace::default(),
        }
    }

    /// The follower is this incarnation of its node.
    pub(super) fn of(self, incarnation: Option<Incarnation>) -> Self {
        Self { incarnation, ..self }
    }

    /// Whether another append may leave now.
    pub(super) fn may_send(&self, config: &RaftConfig) -> bool {
        match &self.state {
            ProgressState::Probe { asked_at } => asked_at.is_none(),
            ProgressState::Replicate { window, .. } => !window.is_full(config),
            ProgressState::Snapshot { .. } => false,
        }
    }

    /// Whether an append without entries is worth sending.
    pub(super) fn is_probing(&self) -> bool {
        matches!(self.state, ProgressState::Probe { .. })
    }

    /// Whether it answers, and lacks at most `lag_max` of the entries up to `last_index`.
    pub(super) fn follows_closely(&self, last_index: Index, lag_max: u64) -> bool {
        let replicating = matches!(self.state, ProgressState::Replicate { .. });
        replicating && !self.in_doubt && last_index.0 - self.vouched_index.0 <= lag_max
    }

    /// Whether it has everything up to `last_index`, and may be believed.
    pub(super) fn has_all(&self, last_index: Index) -> bool {
        !self.in_doubt && self.vouched_index.min(self.match_index) == last_index
    }

    /// Whether the host is sending a snapshot.
    pub(super) fn awaits_snapshot(&self) -> bool {
        matches!(self.state, ProgressState::Snapshot { .. })
    }

    /// Notes that an append up to `last_index` left.
    pub(super) fn append_sent(&mut self, now: Time, last_index: Index, bytes: usize) {
        self.sent_at = now;
        match &mut self.state {
            ProgressState::Probe { asked_at } => *asked_at = Some(now),
            ProgressState::Replicate { window, advanced_at } => {
                if window.is_empty() {
                    *advanced_at = now;
                }
                window.push(last_index, bytes);
                self.next_index = last_index.next();
            }
            ProgressState::Snapshot { .. } => {}
        }
    }

    /// How many bytes may still be added to the append that was sent last, so that it stays within
    /// a message and the window within its limit; `None` unless replicating, with one under way.
    pub(super) fn room_in_last(&self, config: &RaftConfig) -> Option<usize> {
        let ProgressState::Replicate { window, .. } = &self.state else { return None };
        let (_, bytes) = window.appends.back()?;
        let in_message = config.message_bytes_max.saturating_sub(*bytes);
        Some(in_message.min(config.in_flight_bytes_max.saturating_sub(window.bytes)))
    }

    /// Notes that the append sent last, which has not left yet, now goes up to `last_index`.
    ///
    /// # Panics
    /// Unless replicating, with an append under way.
    pub(super) fn append_extended(&mut self, last_index: Index, bytes: usize) {
        let ProgressState::Replicate { window, .. } = &mut self.state else {
            unreachable!("only what was sent without waiting is extended")
        };
        window.extend_last(last_index, bytes);
        self.next_index = last_index.next();
    }

    /// Notes that a heartbeat left.
    pub(super) fn heartbeat_sent(&mut self, now: Time) {
        self.sent_at = now;
        self.heartbeat_sent_at = now;
    }

    /// The leader makes itself heard again: the silence before it proves nothing.
    pub(super) fn wake(&mut self, now: Time) {
        self.heard_at = now;
        self.sent_at = now;
    }

    /// When the next heartbeat is due, `awaited_round` being the oldest read round not confirmed.
    ///
    /// An append keeps the follower calm as well as a heartbeat does. But its answer waits for a
    /// disk: a follower not heard from, or not yet in an awaited round, is asked all the same.
    pub(super) fn heartbeat_due(&self, interval: Micros, awaited_round: Option<u64>) -> Time {
        let round_missing = awaited_round.is_some_and(|round| self.round_acknowledged < round);
        let quiet_since = self.sent_at.min(self.heard_at).max(self.heartbeat_sent_at);
        if round_missing { self.heartbeat_sent_at + interval } else { quiet_since + interval }
    }

    /// An answer came; a provisional one is not to be counted.
    pub(super) fn heard(&mut self, now: Time, provisional: bool) {
        self.in_doubt = provisional;
        if !provisional {
            self.heard_at = now;
        }
    }

    /// Counts an acknowledgement that is not provisional. Returns whether it says anything new.
    pub(super) fn vouch(&mut self, index: Index) -> bool {
        let advanced = index > self.vouched_index;
        self.vouched_index = self.vouched_index.max(index);
        advanced
    }

    /// It is in doubt and lacks what comes after `index`: what it said before does not help to send.
    pub(super) fn forget_after(&mut self, index: Index) {
        self.match_index = self.match_index.min(index);
    }

    /// Takes an acknowledgement; `reach` is the first place that the leader has entries after.
    pub(super) fn acknowledge(&mut self, now: Time, index: Index, reach: Index) {
        if index < self.match_index {
            return;
        }
        let advanced = index > self.match_index;
        self.match_index = index;
        self.next_index = self.next_index.max(index.next());
        match &mut self.state {
            ProgressState::Probe { .. } => self.become_replicate(now),
            ProgressState::Replicate { window, advanced_at } => {
                window.free_to(index);
                if advanced {
                    *advanced_at = now;
                }
            }
            ProgressState::Snapshot { .. } if index >= reach => self.become_replicate(now),
            ProgressState::Snapshot { .. } => {}
        }
    }

    /// Takes a refusal of the append after `rejected_index`, the follower having proposed to go on
    /// after `resume_after`. Returns whether it says anything new: refusals come late and twice.
    pub(super) fn reject(&mut self, rejected_index: Index, resume_after: Index) -> bool {
        let stale = match &self.state {
            ProgressState::Probe { .. } => self.next_index.previous() != rejected_index,
            ProgressState::Replicate { .. } => rejected_index <= self.match_index,
            ProgressState::Snapshot { .. } => true,
        };
        if stale {
            return false;
        }
        let next = rejected_index.min(resume_after.next()).max(self.match_index.next());
        self.become_probe(next);
        true
    }

    /// What was on its way may be lost: ask anew. A snapshot's sending is the host's to resume.
    pub(super) fn reset(&mut self, log: LogRange) {
        self.known_commit = Index::ZERO;
        if !self.awaits_snapshot() {
            self.become_probe(self.resume_from(log));
        }
    }

    /// The entries wanted are gone.
    pub(super) fn become_snapshot(&mut self, now: Time) {
        self.state = ProgressState::Snapshot { asked_at: now };
    }

    /// The snapshot did not get there: ask again, but only after the next interval, or a follower
    /// that cannot be reached would be sent one snapshot after another.
    pub(super) fn snapshot_failed(&mut self, now: Time, log: LogRange) {
        if self.awaits_snapshot() {
            self.become_probe(self.resume_from(log));
            self.state = ProgressState::Probe { asked_at: Some(now) };
        }
    }

    /// A heartbeat was answered, so the link works: what has gone unanswered for `interval` was
    /// lost, not slow. One that is or was in doubt is asked how far it is: it may have less than it
    /// acknowledged, and its acknowledgements did not count.
    pub(super) fn heartbeat_answered(&mut self, now: Time, interval: Micros) -> Resume {
        match &mut self.state {
            ProgressState::Probe { asked_at } => {
                asked_at.take_if(|asked| now.since(*asked) >= interval);
                Resume::Continue
            }
            ProgressState::Replicate { window, advanced_at } => {
                let vouched = !self.in_doubt && self.vouched_index == self.match_index;
                let settled = window.is_empty() && vouched;
                if settled || now.since(*advanced_at) < interval {
                    return Resume::Continue;
                }
                *advanced_at = now;
                Resume::Ask
            }
            ProgressState::Snapshot { asked_at } => {
                if now.since(*asked_at) < interval {
                    return Resume::Continue;
                }
                *asked_at = now;
                Resume::Ask
            }
        }
    }

    /// Asserts what always holds.
    pub(super) fn check_invariants(&self, last_index: Index) {
        let Self { node, match_index, next_index, .. } = self;
        assert!(match_index < next_index, "{node}: match {match_index}, next {next_index}");
        assert!(*match_index <= last_index, "{node}: match {match_index}, last {last_index}");
        let vouched = self.vouched_index;
        assert!(vouched <= last_index, "{node}: vouched {vouched}, last {last_index}");
        if let ProgressState::Replicate { window, .. } = &self.state {
            let bytes: usize = window.appends.iter().map(|append| append.1).sum();
            assert_eq!(bytes, window.bytes, "{node}: bytes in flight");
        }
    }

    /// What to ask about first, anew: after what it is known to have. It may have more than that,
    /// so it is asked before entries that are gone are taken for entries it lacks; one of whom
    /// nothing is known, as `new` does.
    fn resume_from(&self, log: LogRange) -> Index {
        let known = self.match_index > Index::ZERO;
        let next = if known { self.match_index.next() } else { log.last.next() };
        next.max(log.base.next())
    }

    fn become_probe(&mut self, next_index: Index) {
        self.next_index = next_index;
        self.state = ProgressState::Probe { asked_at: None };
    }

    fn become_replicate(&mut self, now: Time) {
        self.next_index = self.match_index.next();
        self.state = ProgressState::Replicate { window: Window::default(), advanced_at: now };
    }
}

impl Window {
    fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    fn is_full(&self, config: &RaftConfig) -> bool {
        self.appends.len() >= config.in_flight_messages_max
            || self.bytes >= config.in_flight_bytes_max
    }

    fn push(&mut self, last_index: Index, bytes: usize) {
        self.appends.push_back((last_index, bytes));
        self.bytes += bytes;
    }

    fn extend_last(&mut self, last_index: Index, bytes: usize) {
        let last = self.appends.back_mut().expect("an append is under way");
        *last = (last_index, last.1 + bytes);
        self.bytes += bytes;
    }

    /// Forgets what an acknowledgement up to `index` covers: it covers all that came before, too.
    fn free_to(&mut self, index: Index) {
        while let Some((_, bytes)) = self.appends.pop_front_if(|append| append.0 <= index) {
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests;
