//! Links to other nodes' cores: made when first needed, one way, lossy.
//!
//! Raft tolerates loss, so a link that is down drops what it is given and says so once it is up
//! again (`Input::PeerLinkReset`). A link is not tried while the failure detector has lost its node.

use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;

use super::core::Core;
use super::inbox::{Event, Inbox};
use super::sockets::{CloseReason, Role, Token};
use crate::base::{CoreId, Incarnation, NodeId, PeerCore};
use crate::peering::Call;
use crate::reactor::{Input, PeerSend};
use crate::wire::frame::{Frame, PROTOCOL_VERSION};
use crate::wire::handshake::{PeerHello, PeerHelloReply, PeerPurpose};

/// Bytes that wait for a link, at most; what exceeds it is dropped.
const WAITING_MAX: usize = 64 << 20;

/// Bytes that wait for a link being made, at most, unless it is one frame.
const QUEUED_MAX: usize = 1 << 20;

/// What the failure detector says of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerNode {
    /// It was reached and not lost since.
    pub(super) up: bool,
    /// Its disk's; zero until it is first reached.
    pub(super) incarnation: Incarnation,
    pub(super) smp: u16,
}

/// A link to one core of another node.
#[derive(Debug, Default)]
pub(super) struct Link {
    call: Call<Token>,
    /// What waits for the handshake.
    queue: VecDeque<Vec<u8>>,
    /// Bytes in `queue`.
    queued: usize,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Link,
    Detector,
}

impl Core {
    /// Sends to another node's core, now or once its link is up, or never.
    pub(super) fn send_to_peer(&mut self, PeerSend { to, bytes }: PeerSend) {
        if !self.peers.get(&to.node).is_some_and(|peer| peer.up) {
            return;
        }
        let now = self.now;
        let link = self.links.entry(to).or_default();
        if let Some(token) = link.call.up() {
            let waiting = self.sockets.get(token).map_or(0, |socket| socket.unsent);
            let is_full = self.sockets.buffers.is_link_full(waiting, self.links.len());
            if waiting + bytes.len() <= WAITING_MAX && !is_full {
                self.send(token, bytes);
            }
            return;
        }
        if link.call.begin(now) {
            self.look_up(Purpose::Link, to);
        }
        let link = self.links.entry(to).or_default();
        if link.call.is_down() {
            return;
        }
        if link.queue.is_empty() || link.queued + bytes.len() <= QUEUED_MAX {
            link.queued += bytes.len();
            link.queue.push_back(bytes);
        }
    }

    /// Finds the address of `to`; `call` follows.
    pub(super) fn look_up(&mut self, purpose: Purpose, to: PeerCore) {
        let name = match self.map.node(to.node) {
            Some(node) => node.peer_address.clone(),
            None => panic!("{to} is not in the shard map but was to be called"),
        };
        if let Ok(address) = name.parse() {
            self.call(purpose, to, Some(address));
        } else {
            let resolved = resolve(name, purpose, to, self.inbox.clone());
            glommio::spawn_local(resolved).detach();
        }
    }

    /// Calls `to` at its address, if that was found, unless it was removed meanwhile.
    pub(super) fn call(&mut self, purpose: Purpose, to: PeerCore, address: Option<SocketAddr>) {
        if self.map.node(to.node).is_none() {
            return;
        }
        let role = match purpose {
            Purpose::Link => Role::LinkCalling(to),
            Purpose::Detector => Role::DetectorCalling(to.node),
        };
        let token = match address.map(|address| self.sockets.connect(address, role)) {
            Some(Ok(token)) => token,
            failed => {
                if let Some(Err(error)) = failed {
                    tracing::debug!(core = %self.id, %to, %error, "cannot connect");
                }
                match purpose {
                    Purpose::Link => self.link_closed(to),
                    Purpose::Detector => self.detector_closed(to.node),
                }
                return;
            }
        };
        match purpose {
            Purpose::Link => {
                if let Some(link) = self.links.get_mut(&to) {
                    link.call.called(token);
                }
            }
            Purpose::Detector => self.detector_calls(to.node, token),
        }
        self.expect_greeting(token);
        let hello = self.peer_hello(purpose, to);
        self.send(token, hello);
    }

    /// The other side answered a link's call.
    pub(super) fn link_answered(
        &mut self,
        token: Token,
        peer: PeerCore,
        frame: &Frame<'_>,
    ) -> Result<(), CloseReason> {
        let reply = self.judge_answer(peer.node, frame)?;
        let known = self.peers.get(&peer.node).copied().unwrap_or_default();
        if !known.up || known.incarnation != reply.incarnation {
            return Err(CloseReason::Refused(
                "the failure detector has not met this incarnation".to_owned(),
            ));
        }
        self.set_role(token, Role::LinkOut(peer));
        tracing::debug!(core = %self.id, %peer, "link out");
        self.step(Input::PeerLinkReset { peer });
        let link = self.links.entry(peer).or_default();
        link.call.answered(token);
        link.queued = 0;
        for bytes in std::mem::take(&mut link.queue) {
            self.send(token, bytes);
        }
        Ok(())
    }

    /// A link's call failed or its connection ended.
    pub(super) fn link_closed(&mut self, peer: PeerCore) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.call.ended(self.now);
            link.queue.clear();
            link.queued = 0;
        }
    }

    /// The failure detector reached a node.
    pub(super) fn node_up(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        first: bool,
        smp: u16,
    ) {
        self.peers.insert(node, PeerNode { up: true, incarnation, smp });
        self.step(Input::NodeUp { node, incarnation, first, smp });
    }

    /// The failure detector lost a node: its links are of no use.
    pub(super) fn node_down(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.up = false;
        }
        let outgoing = self.sockets.tokens(|socket| match socket.role {
            Role::LinkCalling(peer) | Role::LinkOut(peer) => peer.node == node,
            _ => false,
        });
        for token in outgoing {
            self.close(token, &CloseReason::Lost);
        }
        for (peer, link) in &mut self.links {
            if peer.node == node {
                // Tried at once when the node is back.
                link.call.soon();
            }
        }
        self.step(Input::NodeDown { node });
    }

    /// The answer to a call, if it is from whom it should be.
    pub(super) fn judge_answer(
        &self,
        called: NodeId,
        frame: &Frame<'_>,
    ) -> Result<PeerHelloReply, CloseReason> {
        let reply = PeerHelloReply::parse(frame)?;
        if let Some(refusal) = reply.refusal {
            return Err(CloseReason::RefusedThere(refusal));
        }
        match self.local().judge_answer(called, &reply) {
            Ok(()) => Ok(reply),
            Err(refusal) => Err(CloseReason::Refused(refusal.to_string())),
        }
    }

    fn peer_hello(&self, purpose: Purpose, to: PeerCore) -> Vec<u8> {
        let local = self.local();
        let mut bytes = Vec::new();
        PeerHello {
            protocol: PROTOCOL_VERSION,
            cluster: local.cluster,
            node: local.node,
            incarnation: local.incarnation,
            core: self.id,
            wanted_core: to.core,
            smp: local.smp,
            wanted_node: to.node,
            purpose: match purpose {
                Purpose::Link => PeerPurpose::Link,
                Purpose::Detector => PeerPurpose::Detector,
            },
        }
        .encode(&mut bytes);
        bytes
    }
}

/// Where the failure detector of a node is reached.
pub(super) fn detector_of(node: NodeId) -> PeerCore {
    PeerCore { node, core: CoreId(0) }
}

/// Looks a host name up on the executor's blocking thread.
async fn resolve(name: String, purpose: Purpose, to: PeerCore, inbox: Rc<Inbox>) {
    let asked = name.clone();
    let address = glommio::executor()
        .spawn_blocking(move || name.to_socket_addrs().ok().and_then(|mut all| all.next()))
        .await;
    if address.is_none() {
        tracing::warn!(%to, name = asked, "the peer's address cannot be resolved");
    }
    inbox.push(Event::Resolved { purpose, to, address });
}
