//! The failure detector: core 0 of each node keeps one connection to core 0 of each other node.
//!
//! A node is up once it has answered a call, with its incarnation and number of cores; it is down when
//! the connection fails or nothing was heard for three seconds. Every core is told.

use super::core::Core;
use super::links::{Backoff, Purpose, detector_of};
use super::mesh::Letter;
use super::sockets::{CloseReason, Role, Token};
use crate::base::{Micros, NodeId, Time};
use crate::wire::frame::{Frame, FrameKind};
use crate::wire::handshake::Ping;

/// How often a node is asked.
const PING_INTERVAL: Micros = Micros::from_millis(200);
/// A node not heard for so long is lost.
const SILENCE_MAX: Micros = Micros::from_secs(3);

/// What watches one other node.
#[derive(Debug, Default)]
pub(super) struct Detector {
    state: State,
    /// When the node was last heard, or called.
    heard: Time,
    /// When it was last asked.
    asked: Time,
    /// Questions so far.
    number: u64,
    retry: Backoff,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Down,
    LookingUp,
    Calling(Token),
    Up(Token),
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
    fn wish(&mut self, now: Time) -> Wish {
        match self.state {
            State::Down if self.retry.is_due(now) => {
                self.state = State::LookingUp;
                Wish::Call
            }
            State::Calling(token) | State::Up(token) if now.since(self.heard) > SILENCE_MAX => {
                Wish::GiveUp(token)
            }
            State::Up(token) if now.since(self.asked) >= PING_INTERVAL => {
                self.asked = now;
                self.number += 1;
                Wish::Ask(token, self.number)
            }
            _ => Wish::Nothing,
        }
    }
}

impl Core {
    /// Calls, asks and gives up on other nodes. Nothing but on core 0.
    pub(super) fn watch_peers(&mut self) {
        let now = self.now;
        let wishes: Vec<(NodeId, Wish)> = self
            .detectors
            .iter_mut()
            .map(|(&node, detector)| (node, detector.wish(now)))
            .filter(|&(_, wish)| wish != Wish::Nothing)
            .collect();
        for (node, wish) in wishes {
            match wish {
                Wish::Nothing => {}
                Wish::Call => self.look_up(Purpose::Detector, detector_of(node)),
                Wish::GiveUp(token) => self.close(token, &CloseReason::Lost),
                Wish::Ask(token, number) => {
                    let mut bytes = Vec::new();
                    Ping { number }.encode(&mut bytes);
                    self.send(token, bytes);
                }
            }
        }
    }

    pub(super) fn detector_calls(&mut self, node: NodeId, token: Token) {
        if let Some(detector) = self.detectors.get_mut(&node) {
            detector.state = State::Calling(token);
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
        detector.state = State::Up(token);
        detector.heard = self.now;
        detector.asked = self.now;
        detector.retry = Backoff::default();
        let hex = format!("{:016x}", incarnation.0);
        tracing::info!(%node, incarnation = hex, smp = reply.smp, "node up");
        let smp = reply.smp;
        self.mesh.broadcast(|| Letter::NodeUp { node, incarnation, smp });
        self.node_up(node, incarnation, smp);
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
        let was_up = matches!(detector.state, State::Up(_));
        detector.state = State::Down;
        detector.retry.failed(self.now);
        if was_up {
            tracing::info!(%node, "node down");
            self.mesh.broadcast(|| Letter::NodeDown { node });
            self.node_down(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_called_asked_and_given_up() {
        let mut detector = Detector::default();
        let at = |millis| Time(1_000_000_000) + Micros::from_millis(millis);
        assert_eq!(detector.wish(at(0)), Wish::Call);
        assert_eq!(detector.wish(at(10)), Wish::Nothing, "it is being looked up");
        let token = Token(1);
        detector.state = State::Up(token);
        detector.heard = at(20);
        detector.asked = at(20);
        assert_eq!(detector.wish(at(30)), Wish::Nothing);
        assert_eq!(detector.wish(at(220)), Wish::Ask(token, 1));
        assert_eq!(detector.wish(at(230)), Wish::Nothing);
        assert_eq!(detector.wish(at(420)), Wish::Ask(token, 2));
        assert_eq!(detector.wish(at(3_030)), Wish::GiveUp(token));
    }

    #[test]
    fn a_call_that_is_not_answered_is_given_up_and_repeated_later() {
        let mut detector = Detector { state: State::Calling(Token(1)), ..Detector::default() };
        let now = Time(10_000_000);
        assert_eq!(detector.wish(now), Wish::GiveUp(Token(1)));
        detector.state = State::Down;
        detector.retry.failed(now);
        assert_eq!(detector.wish(now), Wish::Nothing);
        assert_eq!(detector.wish(now + Micros::from_millis(50)), Wish::Call);
    }
}
