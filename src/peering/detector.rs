//! The failure detector's decisions about one other node: when to call it, to ask it, to give it up.
//!
//! ```text
//!   process dies    ── its system closes the connection ──▶ down at once
//!   way cut, either ── no answer to a question ───────────▶ down after `silence_max` + one tick
//!   this core stood still ─▶ the silence meanwhile is its own and does not count
//! ```
//!
//! - Answers come only if both directions work, and each node asks the other: a cut of one
//!   direction is seen from both ends.
//! - `silence_max` is the election timeout, but from one to three seconds: long enough for a lost
//!   packet to be sent again, short enough that a leader cut off is not missed for longer than
//!   without a detector.

use super::call::Call;
use crate::base::{Micros, Time};

/// How often a node is asked.
const PING_INTERVAL: Micros = Micros::from_millis(200);
/// Bounds of how long a node may be silent before it is lost.
const SILENCE_RANGE: (Micros, Micros) = (Micros::from_secs(1), Micros::from_secs(3));

/// What watches one other node. `S` names a socket.
#[derive(Debug)]
pub struct Detector<S> {
    call: Call<S>,
    /// When the node was last heard, or called.
    heard: Time,
    /// When it was last asked.
    asked: Time,
    /// When this was last looked at: every tick, while this core runs.
    seen_to: Time,
    /// Questions so far.
    number: u64,
}

/// What a detector wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish<S> {
    /// Nothing yet.
    Nothing,
    /// The node is to be called; `called` or `ended` follows.
    Call,
    /// It is to be asked on this socket; with the question's number.
    Ask(S, u64),
    /// This socket is to be closed; `ended` follows.
    GiveUp(S),
}

impl<S: Copy> Detector<S> {
    /// Asked at each tick.
    pub fn wish(&mut self, now: Time, silence_max: Micros) -> Wish<S> {
        // Its answers may wait in the socket since long: they are read after this.
        let stood_still = now.since(self.seen_to) > PING_INTERVAL;
        if stood_still {
            self.heard = now;
        }
        self.seen_to = now;
        match (self.call.socket(), self.call.up()) {
            (None, _) if self.call.begin(now) => Wish::Call,
            (Some(token), _) if now.since(self.heard) > silence_max => Wish::GiveUp(token),
            (_, Some(token)) if now.since(self.asked) >= PING_INTERVAL => {
                self.asked = now;
                self.number += 1;
                Wish::Ask(token, self.number)
            }
            _ => Wish::Nothing,
        }
    }

    /// The next call is due at once.
    pub fn call_soon(&mut self) {
        self.call.soon();
    }

    /// The node is called on this socket.
    pub fn called(&mut self, now: Time, socket: S) {
        self.call.called(socket);
        self.heard = now;
    }

    /// The node answered the call on this socket.
    pub fn answered(&mut self, now: Time, socket: S) {
        self.call.answered(socket);
        (self.heard, self.asked) = (now, now);
    }

    /// The node answered a question.
    pub fn heard(&mut self, now: Time) {
        self.heard = now;
    }

    /// The call failed or its connection ended. Returns whether the node was up.
    pub fn ended(&mut self, now: Time) -> bool {
        self.call.ended(now)
    }
}

impl<S> Default for Detector<S> {
    fn default() -> Self {
        let (heard, asked, seen_to) = Default::default();
        Self { call: Call::default(), heard, asked, seen_to, number: 0 }
    }
}

/// How long a node may be silent.
pub fn silence_max(election_timeout: Micros) -> Micros {
    election_timeout.clamp(SILENCE_RANGE.0, SILENCE_RANGE.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Micros = Micros::from_millis(500);

    fn at(millis: u64) -> Time {
        Time(1_000_000_000) + Micros::from_millis(millis)
    }

    fn up(since: Time) -> Detector<u64> {
        let mut call = Call::default();
        call.answered(1);
        Detector { call, heard: since, asked: since, seen_to: since, ..Detector::default() }
    }

    #[test]
    fn a_node_is_called_asked_and_given_up() {
        let mut detector: Detector<u64> = Detector { seen_to: at(0), ..Detector::default() };
        assert_eq!(detector.wish(at(0), SILENCE), Wish::Call);
        assert_eq!(detector.wish(at(10), SILENCE), Wish::Nothing, "it is being looked up");
        let mut detector = up(at(20));
        let wishes: Vec<(u64, Wish<u64>)> = (30..=530)
            .step_by(10)
            .map(|millis| (millis, detector.wish(at(millis), SILENCE)))
            .filter(|(_, wish)| *wish != Wish::Nothing)
            .collect();
        let token = 1;
        let asked = [(220, Wish::Ask(token, 1)), (420, Wish::Ask(token, 2))];
        assert_eq!(wishes[..2], asked);
        assert_eq!(
            wishes[2..],
            [(530, Wish::GiveUp(token))],
            "500 ms and a tick after it was heard"
        );
    }

    #[test]
    fn a_core_that_stood_still_blames_itself() {
        let mut detector = up(at(0));
        assert_eq!(detector.wish(at(5_000), SILENCE), Wish::Ask(1, 1));
        assert_eq!(detector.wish(at(5_010), SILENCE), Wish::Nothing);
    }

    #[test]
    fn a_call_that_is_not_answered_is_given_up_and_repeated_later() {
        let mut detector = up(at(0));
        detector.call.called(1);
        detector.seen_to = at(600);
        assert_eq!(detector.wish(at(610), SILENCE), Wish::GiveUp(1));
        detector.call.ended(at(610));
        assert_eq!(detector.wish(at(610), SILENCE), Wish::Nothing);
        assert_eq!(detector.wish(at(660), SILENCE), Wish::Call);
    }

    #[test]
    fn silence_is_bounded_by_the_election_timeout_within_reason() {
        let bound = |millis| silence_max(Micros::from_millis(millis)).0 / 1_000;
        assert_eq!([50, 1_000, 2_000, 60_000].map(bound), [1_000, 1_000, 2_000, 3_000]);
    }
}
