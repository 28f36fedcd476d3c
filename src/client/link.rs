//! One connection to one node: its handshake, the bytes to send and the bytes received.

use crate::base::{AlignedBuf, ClusterId, GroupId, NodeId, Time};
use crate::wire::frame::{Frame, PROTOCOL_VERSION};
use crate::wire::handshake::{ClientHello, ClientHelloReply};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Asking for the shard map.
    Map,
    /// The commands of the group with this lane.
    Lane(usize),
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The driver is establishing it.
    Connecting,
    /// Our hello is sent, the node's is awaited.
    Greeting,
    /// Requests may be sent.
    Ready,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) purpose: Purpose,
    /// Whom it is meant to reach; zero: whoever listens at a seed address.
    pub(super) node: NodeId,
    pub(super) phase: Phase,
    /// When patience with the current phase, or with a map request, ends; not used by lanes once
    /// ready: there each frame has its own.
    pub(super) deadline: Time,
    /// Received and not yet a whole frame; begins at a frame.
    pub(super) input: AlignedBuf,
    /// Whole frames to send, of which the driver has taken the first `sent` bytes.
    pub(super) output: Vec<u8>,
    /// Advanced by `consume`; `sent <= output.len()`.
    pub(super) sent: usize,
    /// Whether a `Send` action is queued for it.
    pub(super) announced: bool,
}

impl Link {
    pub(super) fn new(purpose: Purpose, node: NodeId, deadline: Time) -> Self {
        Self {
            purpose,
            node,
            phase: Phase::Connecting,
            deadline,
            input: AlignedBuf::new(),
            output: Vec::new(),
            sent: 0,
            announced: false,
        }
    }

    /// The connection stands: says hello.
    pub(super) fn greet(&mut self, cluster: ClusterId, group: GroupId) {
        self.phase = Phase::Greeting;
        ClientHello { protocol: PROTOCOL_VERSION, cluster, group }.encode(&mut self.output);
    }

    /// Takes the node's hello; whether it is welcome.
    pub(super) fn welcome(&mut self, frame: &Frame<'_>) -> bool {
        let Ok(hello) = ClientHelloReply::parse(frame) else { return false };
        let accepted = hello.refusal.is_none()
            && hello.protocol == PROTOCOL_VERSION
            && (self.node == NodeId::default() || hello.node == self.node);
        if accepted {
            self.phase = Phase::Ready;
        }
        accepted
    }

    /// What remains to be sent.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// Removes what the driver sent.
    pub(super) fn consume(&mut self, count: usize) {
        self.sent += count;
        assert!(self.sent <= self.output.len(), "{} sent of {}", self.sent, self.output.len());
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        }
    }
}
