//! The failure detector: core 0 of each node keeps one connection to core 0 of each other node.
//!
//! A node is up once it has answered a call, with its incarnation and number of cores; it is down when
//! the connection fails or nothing was heard for a while (`peering::Detector`). Every core is told.
//!
//! - Who loses a node hangs up on it: what one end knows, the other learns.
//! - A process that died never comes back on the same connection: between any two lives of a node,
//!   everyone hears that it was down.

use super::core::Core;
use super::links::{Purpose, detector_of};
use super::mesh::Letter;
use super::sockets::{CloseReason, Role, Token};
use crate::base::NodeId;
use crate::peering::{Wish, silence_max};
use crate::wire::frame::{Frame, FrameKind};
use crate::wire::handshake::Ping;

impl Core {
    /// Calls, asks and gives up on other nodes. Nothing but on core 0.
    pub(super) fn watch_peers(&mut self) {
        let now = self.now;
        let silence_max = silence_max(self.node.config.election_timeout);
        let wishes: Vec<(NodeId, Wish<Token>)> = self
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
            detector.called(self.now, token);
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
        detector.answered(self.now, token);
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
            detector.heard(self.now);
        }
        Ok(())
    }

    /// The detector's call failed or its connection ended.
    pub(super) fn detector_closed(&mut self, node: NodeId) {
        let Some(detector) = self.detectors.get_mut(&node) else { return };
        if detector.ended(self.now) {
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
