//! Other nodes' connections to this one: accepted by core 0, judged, and moved to the core they name.

use super::core::Core;
use super::registry::Registry;
use super::sockets::{CloseReason, Handed, Role, Token};
use super::turn::{HandOver, Verdict};
use crate::base::{Incarnation, NodeId, PeerCore};
use crate::wire::frame::{Frame, FrameKind, PROTOCOL_VERSION};
use crate::wire::handshake::{PeerHello, PeerHelloReply, PeerPurpose, Ping};

/// Another node's core that may send to this node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted(pub(super) PeerCore);

/// A peer's socket on its way to the core it is for.
pub(super) struct HandedPeer {
    pub(super) handed: Handed,
    pub(super) admitted: Admitted,
}

/// Whether another node may send such a frame on a link.
pub(super) fn check_kind(frame: &Frame<'_>) -> Result<(), CloseReason> {
    match frame.kind {
        FrameKind::PeerBatch => Ok(()),
        _ => Err(CloseReason::Unexpected("frame of this kind")),
    }
}

impl Core {
    /// Accepts whoever waits at the peer port.
    pub(super) fn accept_peers(&mut self) {
        if let Some(listener) = self.peer_listener.take() {
            self.accept(&listener, Role::PeerGreeting);
            self.peer_listener = Some(listener);
        }
    }

    /// A peer's first frame.
    pub(super) fn greet_peer(
        &mut self,
        token: Token,
        frame: &Frame<'_>,
    ) -> Result<Verdict, CloseReason> {
        let hello = PeerHello::parse(frame)?;
        if let Err(refusal) = self.admit(&hello) {
            let reply = self.peer_reply(Some(refusal.clone()));
            self.send(token, reply);
            return Err(CloseReason::Refused(refusal));
        }
        let reply = self.peer_reply(None);
        self.send(token, reply);
        let from = PeerCore { node: hello.node, core: hello.core };
        match hello.purpose {
            PeerPurpose::Detector => self.set_role(token, Role::DetectorIn(hello.node)),
            PeerPurpose::Link if hello.wanted_core == self.id => self.take_link(token, from),
            PeerPurpose::Link => {
                let to = HandOver::Peer(hello.wanted_core, Admitted(from));
                return Ok(Verdict::HandOver(to));
            }
        }
        Ok(Verdict::Stay)
    }

    /// A peer's socket from core 0.
    pub(super) fn adopt_peer(&mut self, peer: HandedPeer) {
        let HandedPeer { handed, admitted: Admitted(from) } = peer;
        match self.sockets.insert(handed, Role::LinkIn(from)) {
            Ok(token) => {
                self.take_link(token, from);
                self.read(token, false);
            }
            Err(error) => {
                tracing::warn!(core = %self.id, %from, %error, "link not accepted");
            }
        }
    }

    /// Answers another node's failure detector.
    pub(super) fn take_ping(
        &mut self,
        token: Token,
        from: NodeId,
        frame: &Frame<'_>,
    ) -> Result<(), CloseReason> {
        if frame.kind != FrameKind::Ping {
            return Err(CloseReason::Unexpected("frame of this kind"));
        }
        let Ping { number, replaced } = Ping::parse(frame)?;
        let mut bytes = Vec::new();
        Ping { number, ..Ping::default() }.encode_pong(&mut bytes);
        self.send(token, bytes);
        self.learn_replaced(from, &replaced);
        Ok(())
    }

    /// From now on `from` is heard on this socket alone.
    fn take_link(&mut self, token: Token, from: PeerCore) {
        self.set_role(token, Role::LinkIn(from));
        tracing::debug!(core = %self.id, %from, "link in");
        if let Some(older) = self.links_in.insert(from, token) {
            self.close(older, &CloseReason::Superseded);
            // `close` forgets the link only if it still is the one remembered.
            self.links_in.insert(from, token);
        }
    }

    pub(super) fn set_role(&mut self, token: Token, role: Role) {
        if let Some(socket) = self.sockets.get_mut(token) {
            socket.role = role;
        }
    }

    fn admit(&mut self, hello: &PeerHello) -> Result<(), String> {
        self.local().judge_peer(hello).map_err(|refusal| refusal.to_string())?;
        self.admit_incarnation(hello.node, hello.incarnation)
    }

    /// Whether this is the disk that the node was known by. On core 0.
    pub(super) fn admit_incarnation(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
    ) -> Result<(), String> {
        let now = self.now;
        self.registry().admit(now, node, incarnation).map_err(|error| error.to_string())
    }

    /// Which incarnations count. On core 0.
    pub(super) fn registry(&mut self) -> &mut Registry {
        self.registry.as_mut().expect("core 0 alone meets nodes")
    }

    fn peer_reply(&self, refusal: Option<String>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let local = self.local();
        PeerHelloReply {
            protocol: PROTOCOL_VERSION,
            cluster: local.cluster,
            node: local.node,
            incarnation: local.incarnation,
            smp: local.smp,
            refusal,
        }
        .encode(&mut bytes);
        bytes
    }
}
