//! What the connections of a core hold, and how much of it they may hold.
//!
//! | what | one | all of a core | past it |
//! |---|---|---|---|
//! | clients: beginnings of frames | 4 MiB | a quarter of its share of `--memory`, but 32 MiB at least | the client that holds most is closed |
//! | clients: replies not taken | 16 MiB; not read past 1 MiB | the same, together | the same |
//! | links to other nodes' cores: not taken | 64 MiB | 256 MiB | what is over a link's share is dropped: Raft sends it again |
//! | links being made | 1 MiB, or one frame | | dropped |
//! | links from other nodes' cores: beginnings of frames | 16 MiB | | |
//! | frames for another core of this node | 64 MiB by the number of cores, 4 MiB at least | | `Overloaded` |
//!
//! A connection that is closed costs its client time and nothing else: it connects again, and its
//! sessions tell what was done. The one that holds most is chosen, so that many that hold little are
//! not in the way of each other, and one that takes nothing is not in the way of others.
//!
//! The reactor's own bounds are at the top of `reactor/holdings.rs`.

use std::cell::Cell;
use std::rc::Rc;

use super::sockets::Role;

/// Bytes that clients' connections of a core may hold, at least.
const CLIENTS_MIN: u64 = 32 << 20;

/// Bytes that wait for links to other nodes' cores, at most, unless each has its share only.
const LINKS_MAX: usize = 256 << 20;

/// What all connections of a core hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers {
    clients: Rc<Cell<usize>>,
    peers: Rc<Cell<usize>>,
}

/// What one connection holds: part of the sum until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    total: Rc<Cell<usize>>,
    bytes: usize,
}

impl Buffers {
    /// A connection that begins with such a role, and holds nothing yet. Roles change, but a client
    /// never becomes a node.
    pub(super) fn begin(&self, role: Role) -> Held {
        let total = match role {
            Role::ClientGreeting | Role::Client => &self.clients,
            _ => &self.peers,
        };
        Held { total: total.clone(), bytes: 0 }
    }

    /// Bytes that clients' connections hold.
    pub(super) fn clients(&self) -> usize {
        self.clients.get()
    }

    /// Bytes that connections with other nodes hold.
    pub(super) fn peers(&self) -> usize {
        self.peers.get()
    }

    /// Whether a link, one of `links`, for which `waiting` bytes wait, may be given no more.
    pub(super) fn is_link_full(&self, waiting: usize, links: usize) -> bool {
        self.peers() > LINKS_MAX && waiting > LINKS_MAX / links.max(1)
    }
}

impl Held {
    pub(super) fn set(&mut self, bytes: usize) {
        self.total.set(self.total.get() - self.bytes + bytes);
        self.bytes = bytes;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Bytes that clients' connections of a core may hold, whose share of `--memory` is `memory`.
pub(super) fn clients_max(memory: u64) -> usize {
    usize::try_from((memory / 4).max(CLIENTS_MIN)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{CoreId, NodeId, PeerCore};

    #[test]
    fn what_is_held_is_summed_up_until_it_is_dropped() {
        let buffers = Buffers::default();
        let mut one = buffers.begin(Role::ClientGreeting);
        let mut other = buffers.begin(Role::Client);
        one.set(100);
        other.set(50);
        one.set(30);
        assert_eq!((buffers.clients(), buffers.peers(), one.bytes()), (80, 0, 30));
        drop(one);
        assert_eq!(buffers.clients(), 50);
    }

    #[test]
    fn a_link_has_its_share_whatever_others_hold() {
        let buffers = Buffers::default();
        let to = PeerCore { node: NodeId(2), core: CoreId(0) };
        let mut slow = buffers.begin(Role::LinkOut(to));
        assert!(!buffers.is_link_full(LINKS_MAX, 4));
        slow.set(LINKS_MAX + 1);
        assert!(buffers.is_link_full(LINKS_MAX + 1, 4) && !buffers.is_link_full(LINKS_MAX / 4, 4));
    }

    #[test]
    fn a_little_memory_is_enough_for_some_frames() {
        assert_eq!([1 << 20, 4 << 30].map(clients_max), [32 << 20, 1 << 30]);
    }
}
