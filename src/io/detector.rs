//! The failure detector: core 0 of each node keeps one connection to core 0 of each other node.
//!
//! A node is up once it has answered a call, with its incarnation and number of cores; it is down when
//! the connection fails or nothing was heard for a while. Every core is told.
//!
//! ```text
//!   process dies    ── its system closes the connection ──▶ down at once
//!   way cut, either ── no answer to a question ───────────▶ down after `silence_max` + one tick
//!   this core stood still ─▶ the silence meanwhile is its own and does not count
//! ```
//!
//! - Answers come only if both directions work, and each node asks the other: a cut of one
//!   direction is seen from both ends.
//! - Who loses a node hangs up on it: what one end knows, the other learns.
//! - A process that died never comes back on the same connection: between any two lives of a node,
//!   everyone hears that it was down.
//! - `silence_max` is the election timeout, but from one to three seconds: long enough for a lost
//!   packet to be sent again, short enough that a leader cut off is not missed for longer than
//!   without a detector.

use super::call::Call;
use super::core::Core;
use super::links::{Purpose, detector_of};
use super::mesh::Letter;
use super::sockets::{CloseReason, Role, Token};
use crate::base::{Micros, NodeId, Time};
use crate::wire::frame::{Frame, FrameKind};
use crate::wire::handshake::Ping;

/// How often a node is asked.
const PING_INTERVAL: Micros = Micros::from_millis(200);
/// Bounds of how long a node may be silent before it is lost.
const SILENCE_RANGE: (Micros, Micros) = (Micros::from_secs(1), Micros::from_secs(3));

/// What watches one other node.
#[derive(Debug, Default)]
pub(super) struct Detector {
    call: Call,
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
enum Wish {
    Nothing,
    Call,
    Ask(Token, u64),
    GiveUp(Token),
}

impl Detector {
    /// Asked at each tick.
    fn wish(&mut self, now: Time, silence_max: Micros) -> Wish {
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
    pub(super) fn call_soon(&mut self) {
        self.call.soon();
    }
}

impl Core {
    /// Calls, asks and gives up on other nodes. Nothing but on core 0.
    pub(super) fn watch_peers(&mut self) {
        let now = self.now;
        let silence_max = silence_max(self.node.config.election_timeout);
        let wishes: Vec<(NodeId, Wish)> = self
            .detectors
            .iter_mut()
            .map(|(&node, detector)| (node, detector.wish(now, silence_max)))
            .filter(|&(_, wish)| wish != Wish::Nothing)
            .collect();
        for (node, wish) in wishes {
            match wish {
                Wish::Nothing => {}
                Wish::Call => self.look_up(Purpose::Detector, detector_of(node)),
                Wish::GiveUp(token) => self.close(token, &CloseReason::Lost),
                Wish::Ask(token, number) => {
                    let mut bytes = Vec::new();
                    let replaced = self.registry().replaced();
                    Ping { number, replaced }.encode(&mut bytes);
                    self.send(token, bytes);
                }
            }
        }
    }

    pub(super) fn detector_calls(&mut self, node: NodeId, token: Token) {
        if let Some(detector) = self.detectors.get_mut(&node) {
            detector.call.called(token);
            detector.heard = self.now;
        }
    }

    /// The node answered the detector's call.
    pub(super) fn detector_answered(
        &mut self,
        token: Token,
        node: NodeId,
        frame: &Frame<'_>,
    ) -> Result<(), CloseReason> {
        let reply = self.judge_answer(node, frame)?;
        let incarnation = reply.incarnation;
        self.admit_incarnation(node, incarnation).map_err(CloseReason::Refused)?;
        self.set_role(token, Role::DetectorOut(node));
        let detector = self.detectors.entry(node).or_default();
        detector.call.answered(token);
        detector.heard = self.now;
        detector.asked = self.now;
        let (first, smp) = (self.registry().is_first(node), reply.smp);
        tracing::info!(%node, %incarnation, smp, "node up");
        self.mesh.broadcast(|| Letter::NodeUp { node, incarnation, first, smp });
        self.node_up(node, incarnation, first, smp);
        Ok(())
    }

    /// The node answered a question.
    pub(super) fn take_pong(&mut self, node: NodeId, frame: &Frame<'_>) -> Result<(), CloseReason> {
        if frame.kind != FrameKind::Pong {
            return Err(CloseReason::Unexpected("frame of this kind"));
        }
        Ping::parse(frame)?;
        if let Some(detector) = self.detectors.get_mut(&node) {
            detector.heard = self.now;
        }
        Ok(())
    }

    /// The detector's call failed or its connection ended.
    pub(super) fn detector_closed(&mut self, node: NodeId) {
        let Some(detector) = self.detectors.get_mut(&node) else { return };
        if detector.call.ended(self.now) {
            tracing::info!(%node, "node down");
            let asking = self.sockets.tokens(|socket| socket.role == Role::DetectorIn(node));
            for token in asking {
                self.close(token, &CloseReason::Lost);
            }
            self.mesh.broadcast(|| Letter::NodeDown { node });
            self.node_down(node);
        }
    }
}

/// How long a node may be silent.
fn silence_max(election_timeout: Micros) -> Micros {
    election_timeout.clamp(SILENCE_RANGE.0, SILENCE_RANGE.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Micros = Micros::from_millis(500);

    fn at(millis: u64) -> Time {
        Time(1_000_000_000) + Micros::from_millis(millis)
    }

    fn up(since: Time) -> Detector {
        let mut call = Call::default();
        call.answered(Token(1));
        Detector { call, heard: since, asked: since, seen_to: since, ..Detector::default() }
    }

    #[test]
    fn a_node_is_called_asked_and_given_up() {
        let mut detector = Detector { seen_to: at(0), ..Detector::default() };
        assert_eq!(detector.wish(at(0), SILENCE), Wish::Call);
        assert_eq!(detector.wish(at(10), SILENCE), Wish::Nothing, "it is being looked up");
        let mut detector = up(at(20));
        let wishes: Vec<(u64, Wish)> = (30..=530)
            .step_by(10)
            .map(|millis| (millis, detector.wish(at(millis), SILENCE)))
            .filter(|(_, wish)| *wish != Wish::Nothing)
            .collect();
        let token = Token(1);
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
        assert_eq!(detector.wish(at(5_000), SILENCE), Wish::Ask(Token(1), 1));
        assert_eq!(detector.wish(at(5_010), SILENCE), Wish::Nothing);
    }

    #[test]
    fn a_call_that_is_not_answered_is_given_up_and_repeated_later() {
        let mut detector = up(at(0));
        detector.call.called(Token(1));
        detector.seen_to = at(600);
        assert_eq!(detector.wish(at(610), SILENCE), Wish::GiveUp(Token(1)));
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
