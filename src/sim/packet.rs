//! What travels between processes.
//!
//! Clients' connections carry the very bytes that clients and servers exchange, in pieces of any length.
//! Between nodes handshakes and the failure detector's questions travel as what they say, and what
//! reactors send as the whole frames of one turn: a link is a stream of those.

use crate::base::{Incarnation, NodeId, PeerCore};
use crate::wire::handshake::Replaced;

/// What travels on a connection, in order.
#[derive(Clone, Debug)]
pub(super) enum Packet {
    /// The first to the one who is called.
    Call,
    /// The system at the other end has accepted the call.
    Accepted,
    /// Of a client's connection, either way.
    Bytes(Vec<u8>),
    /// First from the node that calls.
    Hello(Hello),
    /// The answer to that.
    Welcome(Welcome),
    /// What a reactor sends in one turn.
    Batch(Vec<u8>),
    /// The failure detector's question.
    Ping(Vec<Replaced>),
    /// Its answer.
    Pong,
    /// Nothing follows: the connection is closed or broken.
    End,
}

/// Who calls, and whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hello {
    pub(super) from: PeerCore,
    pub(super) incarnation: Incarnation,
    pub(super) wanted: PeerCore,
    pub(super) purpose: Purpose,
}

/// What a connection between nodes is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Link,
    Detector,
}

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Welcome {
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) smp: u16,
    /// The caller is not let in.
    pub(super) refused: bool,
}

impl Packet {
    /// A few words, for traces.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Accepted => "accepted",
            Self::Bytes(_) => "bytes",
            Self::Hello(_) => "hello",
            Self::Welcome(_) => "welcome",
            Self::Batch(_) => "batch",
            Self::Ping(_) => "ping",
            Self::Pong => "pong",
            Self::End => "end",
        }
    }

    /// The bytes that it carries.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) | Self::Batch(bytes) => bytes,
            _ => &[],
        }
    }
}
