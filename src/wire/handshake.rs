//! The first frames of a connection, and the failure detector's. Format: `schema/handshake.fbs`.
//!
//! Each side says who it is before anything else is believed: protocol, cluster, node and
//! incarnation. Whether these are the right ones is the reader's to judge.

use super::WireError;
use super::error::verified_root;
use super::frame::{Frame, FrameEncoder, FrameKind};
use super::generated::handshake as schema;
use crate::base::{ClusterId, CoreId, GroupId, Incarnation, NodeId};

/// First from a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// `PROTOCOL_VERSION`.
    pub protocol: u32,
    /// The cluster wanted; 0: whichever.
    pub cluster: ClusterId,
    /// The group the connection is mostly for: the socket goes to its core. 0: any core.
    pub group: GroupId,
}

/// First to a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHelloReply {
    /// `PROTOCOL_VERSION`.
    pub protocol: u32,
    /// The cluster reached.
    pub cluster: ClusterId,
    /// The node reached.
    pub node: NodeId,
    /// The core that holds the connection.
    pub core: CoreId,
    /// How many cores the node runs.
    pub smp: u16,
    /// Why the connection is about to be closed.
    pub refusal: Option<String>,
}

/// What a connection between nodes is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum PeerPurpose {
    /// Messages between the replicas on two cores.
    #[default]
    Link = 0,
    /// The failure detector's, from core 0 to core 0.
    Detector = 1,
}

/// First from the node that connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerHello {
    /// `PROTOCOL_VERSION`.
    pub protocol: u32,
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender.
    pub node: NodeId,
    /// The sender's incarnation.
    pub incarnation: Incarnation,
    /// The sender's core.
    pub core: CoreId,
    /// The core wanted at the other end.
    pub wanted_core: CoreId,
    /// How many cores the sender runs.
    pub smp: u16,
    /// The node the sender believes to be talking to.
    pub wanted_node: NodeId,
    /// What the connection is for.
    pub purpose: PeerPurpose,
}

/// First from the node that accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerHelloReply {
    /// `PROTOCOL_VERSION`.
    pub protocol: u32,
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender.
    pub node: NodeId,
    /// The sender's incarnation.
    pub incarnation: Incarnation,
    /// How many cores the sender runs.
    pub smp: u16,
    /// Why the connection is about to be closed.
    pub refusal: Option<String>,
}

/// The failure detector's question; its answer bears the same number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ping {
    /// The asking node's own number.
    pub number: u64,
    /// All replaced nodes that the sender knows of; in a question.
    pub replaced: Vec<Replaced>,
}

/// Another incarnation was put in the place of a node's first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The node.
    pub node: NodeId,
    /// What it is now.
    pub incarnation: Incarnation,
    /// When, in seconds since 1970, as far as clocks can be trusted; the higher one holds. Never 0.
    pub generation: u64,
}

impl ClientHello {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut encoder = FrameEncoder::default();
        let args = schema::ClientHelloArgs {
            protocol: self.protocol,
            cluster: self.cluster.0,
            group: self.group.0,
        };
        let root = schema::ClientHello::create(encoder.body(), &args);
        encoder.finish(FrameKind::ClientHello, root, out);
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// If the frame is none of these or breaks the schema.
    pub fn parse(frame: &Frame<'_>) -> Result<Self, WireError> {
        let body = frame.body_of(FrameKind::ClientHello)?;
        let hello = verified_root::<schema::ClientHello<'_>>(body)?;
        Ok(Self {
            protocol: hello.protocol(),
            cluster: ClusterId(hello.cluster()),
            group: GroupId(hello.group()),
        })
    }
}

impl ClientHelloReply {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut encoder = FrameEncoder::default();
        let body = encoder.body();
        let args = schema::ClientHelloReplyArgs {
            protocol: self.protocol,
            cluster: self.cluster.0,
            node: self.node.0,
            core: self.core.0,
            smp: self.smp,
            refusal: self.refusal.as_deref().map(|text| body.create_string(text)),
        };
        let root = schema::ClientHelloReply::create(body, &args);
        encoder.finish(FrameKind::ClientHelloReply, root, out);
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// If the frame is none of these or breaks the schema.
    pub fn parse(frame: &Frame<'_>) -> Result<Self, WireError> {
        let body = frame.body_of(FrameKind::ClientHelloReply)?;
        let reply = verified_root::<schema::ClientHelloReply<'_>>(body)?;
        Ok(Self {
            protocol: reply.protocol(),
            cluster: ClusterId(reply.cluster()),
            node: NodeId(reply.node()),
            core: CoreId(reply.core()),
            smp: reply.smp(),
            refusal: reply.refusal().map(str::to_owned),
        })
    }
}

impl PeerPurpose {
    fn from_number(number: u8) -> Result<Self, WireError> {
        match number {
            0 => Ok(Self::Link),
            1 => Ok(Self::Detector),
            other => Err(WireError::UnknownPurpose(other)),
        }
    }
}

impl PeerHello {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut encoder = FrameEncoder::default();
        let args = schema::PeerHelloArgs {
            protocol: self.protocol,
            cluster: self.cluster.0,
            node: self.node.0,
            incarnation: self.incarnation.0,
            core: self.core.0,
            wanted_core: self.wanted_core.0,
            smp: self.smp,
            wanted_node: self.wanted_node.0,
            purpose: self.purpose as u8,
        };
        let root = schema::PeerHello::create(encoder.body(), &args);
        encoder.finish(FrameKind::PeerHello, root, out);
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// If the frame is none of these, breaks the schema, or its purpose is unknown.
    pub fn parse(frame: &Frame<'_>) -> Result<Self, WireError> {
        let body = frame.body_of(FrameKind::PeerHello)?;
        let hello = verified_root::<schema::PeerHello<'_>>(body)?;
        Ok(Self {
            protocol: hello.protocol(),
            cluster: ClusterId(hello.cluster()),
            node: NodeId(hello.node()),
            incarnation: Incarnation(hello.incarnation()),
            core: CoreId(hello.core()),
            wanted_core: CoreId(hello.wanted_core()),
            smp: hello.smp(),
            wanted_node: NodeId(hello.wanted_node()),
            purpose: PeerPurpose::from_number(hello.purpose())?,
        })
    }
}

impl PeerHelloReply {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut encoder = FrameEncoder::default();
        let body = encoder.body();
        let args = schema::PeerHelloReplyArgs {
            protocol: self.protocol,
            cluster: self.cluster.0,
            node: self.node.0,
            incarnation: self.incarnation.0,
            smp: self.smp,
            refusal: self.refusal.as_deref().map(|text| body.create_string(text)),
        };
        let root = schema::PeerHelloReply::create(body, &args);
        encoder.finish(FrameKind::PeerHelloReply, root, out);
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// If the frame is none of these or breaks the schema.
    pub fn parse(frame: &Frame<'_>) -> Result<Self, WireError> {
        let body = frame.body_of(FrameKind::PeerHelloReply)?;
        let reply = verified_root::<schema::PeerHelloReply<'_>>(body)?;
        Ok(Self {
            protocol: reply.protocol(),
            cluster: ClusterId(reply.cluster()),
            node: NodeId(reply.node()),
            incarnation: Incarnation(reply.incarnation()),
            smp: reply.smp(),
            refusal: reply.refusal().map(str::to_owned),
        })
    }
}

impl Ping {
    /// Appends the frame to `out`: the question.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_as(FrameKind::Ping, out);
    }

    /// Appends the frame to `out`: the answer.
    pub fn encode_pong(&self, out: &mut Vec<u8>) {
        self.encode_as(FrameKind::Pong, out);
    }

    fn encode_as(&self, kind: FrameKind, out: &mut Vec<u8>) {
        let mut encoder = FrameEncoder::default();
        let body = encoder.body();
        let written =
            |it: &Replaced| schema::Replaced::new(it.node.0, it.incarnation.0, it.generation);
        let replaced = self.replaced.iter().map(written).collect::<Vec<_>>();
        let replaced = (!replaced.is_empty()).then(|| body.create_vector(&replaced));
        let args = schema::PingArgs { number: self.number, replaced };
        let root = schema::Ping::create(body, &args);
        encoder.finish(kind, root, out);
    }

    /// Reads a question or an answer: `frame.kind` says which.
    ///
    /// # Errors
    /// If the frame is none of these or breaks the schema.
    pub fn parse(frame: &Frame<'_>) -> Result<Self, WireError> {
        let kind = if frame.kind == FrameKind::Pong { FrameKind::Pong } else { FrameKind::Ping };
        let ping = verified_root::<schema::Ping<'_>>(frame.body_of(kind)?)?;
        let read = |it: &schema::Replaced| Replaced {
            node: NodeId(it.node()),
            incarnation: Incarnation(it.incarnation()),
            generation: it.generation(),
        };
        let replaced = ping.replaced().into_iter().flatten().map(read).collect();
        Ok(Self { number: ping.number(), replaced })
    }
}

#[cfg(test)]
mod tests;
