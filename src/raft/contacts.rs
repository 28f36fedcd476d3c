//! Strangers: nodes outside the configuration that were heard lately.
//!
//! A replica's configuration may be out of date, so it listens to everybody, and whoever asked is
//! answered. But an address that is in no configuration is good for a while only: the node may be
//! gone, and its place taken. A stranger not heard from for `ELECTION_TIMEOUTS_MAX` election
//! timeouts is not spoken to any more, and none is ever spoken to first.
//!
//! Source: Scylla's `raft_address_map`, whose entries for nodes outside the configuration expire.

use super::{Raft, RaftConfig};
use crate::base::{Micros, NodeId, Time};

/// How long a stranger may be answered.
const ELECTION_TIMEOUTS_MAX: u64 = 4;
/// Strangers remembered at once; past it the one not heard from for longest is forgotten.
const STRANGERS_MAX: usize = 8;

/// Strangers heard lately.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    /// Each with the time it was last heard; at most `STRANGERS_MAX`. Entries that are too old
    /// stay until their place is needed.
    heard: Vec<(NodeId, Time)>,
}

impl Contacts {
    fn note(&mut self, now: Time, node: NodeId) {
        if let Some(known) = self.heard.iter_mut().find(|known| known.0 == node) {
            known.1 = now;
            return;
        }
        if self.heard.len() == STRANGERS_MAX {
            let oldest = (0..STRANGERS_MAX).min_by_key(|&at| self.heard[at].1);
            self.heard.swap_remove(oldest.expect("it is full"));
        }
        self.heard.push((node, now));
    }

    fn is_fresh(&self, now: Time, node: NodeId, config: &RaftConfig) -> bool {
        let span = Micros(config.election_timeout.0 * ELECTION_TIMEOUTS_MAX);
        self.heard.iter().any(|known| known.0 == node && now < known.1 + span)
    }
}

impl Raft {
    /// A message came: remembers the sender, if it is a stranger.
    pub(super) fn note_contact(&mut self, now: Time, from: NodeId) {
        if from != self.config.node && !self.membership.current().is_member(from) {
            self.contacts.note(now, from);
        }
    }

    /// Whether something may be sent to this node now: a member, or a stranger that asked lately.
    pub(super) fn may_address(&self, now: Time, node: NodeId) -> bool {
        self.membership.current().is_member(node) || self.contacts.is_fresh(now, node, &self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::GroupId;

    #[test]
    fn strangers_are_few_and_soon_forgotten() {
        let config = RaftConfig::new(GroupId(1), NodeId(1));
        let span = Micros(config.election_timeout.0 * ELECTION_TIMEOUTS_MAX);
        let mut contacts = Contacts::default();
        let nodes = (1..=STRANGERS_MAX as u64 + 1).map(NodeId);
        for (millis, node) in (0..).zip(nodes.clone()) {
            contacts.note(Time(0) + Micros::from_millis(millis), node);
        }
        let fresh = |at: Time, node| contacts.is_fresh(at, NodeId(node), &config);
        assert!(!fresh(Time(0), 1), "its place was needed");
        assert!(fresh(Time(0), 2));
        assert!(!fresh(Time(0) + span + Micros::from_millis(1), 2), "its time is over");
        assert_eq!(contacts.heard.len(), STRANGERS_MAX);
    }
}
