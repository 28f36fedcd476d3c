//! Identities as types of their own, so that a term is never passed for an index.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A server process's identity, for ever: `n1`, `n2`, … Zero is never a node.
    NodeId(u64), "n"
);
id!(
    /// One core of one node, counted from zero: one pinned thread with one reactor.
    CoreId(u16), "c"
);
id!(
    /// One Raft group. Group 0 is reserved for the meta group (the shard master).
    GroupId(u32), "g"
);
id!(
    /// A Raft term. Source: Raft, section 5.1.
    Term(u64), ""
);
id!(
    /// A position in a Raft log; the first entry has index 1, index 0 is "nothing".
    Index(u64), ""
);
id!(
    /// A client's identity for exactly-once execution in one group; never reused.
    SessionId(u64), "s"
);
id!(
    /// The number of a request within its session, from 1, without gaps.
    Sequence(u64), ""
);
id!(
    /// The cluster a node belongs to; zero in a client's handshake means "whichever".
    ClusterId(u64), ""
);
id!(
    /// A client connection, unique on its core for the life of the process.
    ConnectionId(u64), "conn"
);

impl Index {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The index after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The index before this one; that of zero is zero.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The index `count` entries further on.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl Term {
    /// Before the first election.
    pub const ZERO: Self = Self(0);

    /// The term after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One core of one other node: where a peer link ends.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct PeerCore {
    /// The node.
    pub node: NodeId,
    /// The core on that node.
    pub core: CoreId,
}

impl fmt::Display for PeerCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.core)
    }
}

/// A node id that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a node id: write n1, n2, … (or 1, 2, …), from 1 to 65535")]
pub struct NodeIdError(String);

impl FromStr for NodeId {
    type Err = NodeIdError;

    /// Reads `n3` or `3`.
    ///
    /// # Errors
    /// If the text is not a number from 1 to 65535, with or without the leading `n`.
    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let digits = text.strip_prefix('n').unwrap_or(text);
        match digits.parse::<u16>() {
            Ok(id) if id > 0 => Ok(Self(u64::from(id))),
            _ => Err(NodeIdError(text.to_owned())),
        }
    }
}

/// A text that is no group id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no group: write g1 or 1")]
pub struct GroupIdError(String);

impl FromStr for GroupId {
    type Err = GroupIdError;

    /// Reads `g3` or `3`.
    ///
    /// # Errors
    /// If the text is not a number of 32 bits, with or without the leading `g`.
    fn from_str(text: &str) -> Result<Self, GroupIdError> {
        let digits = text.strip_prefix('g').unwrap_or(text);
        digits.parse().map(Self).map_err(|_| GroupIdError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_read_with_and_without_their_letter() {
        assert_eq!("n3".parse(), Ok(NodeId(3)));
        assert_eq!("3".parse(), Ok(NodeId(3)));
        for bad in ["", "n", "n0", "0", "x1", "n70000", "-1"] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn group_ids_read_with_and_without_their_letter() {
        assert_eq!("g3".parse(), Ok(GroupId(3)));
        assert_eq!("7".parse(), Ok(GroupId(7)));
        for bad in ["", "g", "n3", "gg3", "-1", "4294967296"] {
            let error = bad.parse::<GroupId>().expect_err("is none");
            assert_eq!(error.to_string(), format!("`{bad}` is no group: write g1 or 1"));
        }
    }
}
