//! Who votes, and the settings of one replica.

use super::Lease;
use crate::base::{GroupId, Incarnation, Micros, NodeId};

/// The members of a group: the voters, and during a joint change the outgoing voters too.
///
/// Each list is sorted and without duplicates. A group prepares a change (`voters_next`), or carries
/// one out (`outgoing`); only while a member is replaced it does both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The voters (of the new configuration, during a change).
    pub voters: Vec<NodeId>,
    /// The voters of the old configuration during a change; empty otherwise.
    pub outgoing: Vec<NodeId>,
    /// Members that receive the log and do not count in a quorum. While a change is staged, also
    /// those voters that are to be learners after it.
    pub learners: Vec<NodeId>,
    /// The voters to be, while a change is staged: once all of them have caught up the leader makes
    /// them the voters. Each is a voter or a learner already. Empty otherwise.
    pub voters_next: Vec<NodeId>,
    /// Which incarnation of a member counts, for those of which it is said: an answer of another one
    /// is not to reach the replica (`replacement`).
    pub incarnations: Vec<(NodeId, Incarnation)>,
}

/// The settings of one replica.
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// The group, for messages and diagnostics.
    pub group: GroupId,
    /// This replica's node.
    pub node: NodeId,
    /// Which incarnation of the node this is, as configurations name it; `None` where the host does
    /// not tell incarnations apart.
    pub incarnation: Option<Incarnation>,
    /// Seeds election timeouts; mix node and group in, or replicas campaign in step.
    pub seed: u64,
    /// A follower that hears nothing for a random time in `timeout..2*timeout` campaigns.
    pub election_timeout: Micros,
    /// How often a leader makes itself heard.
    pub heartbeat_interval: Micros,
    /// Who ought to lead. It stands soon after a start; others wait an election timeout longer for
    /// its sake, unless it is known to be down or is the leader they miss.
    pub preferred_leader: Option<NodeId>,
    /// The host tells by `Input::PeerUp` and `Input::PeerDown` who is alive. Then a group without
    /// work sends nothing, and a leader that lives is not replaced for being silent.
    pub shared_detector: bool,
    /// Reads under a lease, for those who trust their clocks; `None`: every read asks a quorum.
    pub lease: Option<Lease>,
    /// Ask before standing (thesis, section 9.6).
    pub pre_vote: bool,
    /// A leader that hears from no quorum within an election timeout steps down (thesis, section 6.2).
    pub check_quorum: bool,
    /// Append messages on their way to one follower, at most.
    pub in_flight_messages_max: usize,
    /// Bytes of append messages on their way to one follower, at most.
    pub in_flight_bytes_max: usize,
    /// Payload bytes in one append message, at most, unless its first entry alone is larger.
    pub message_bytes_max: usize,
    /// Entries in one append message, at most.
    pub message_entries_max: usize,
    /// Payload bytes of uncommitted entries on a leader; past it proposals are refused.
    pub uncommitted_bytes_max: usize,
    /// A leader carries a staged change out by itself once the voters to be have caught up.
    pub promote_learners: bool,
    /// A learner has caught up when it lacks no more entries than this.
    pub promotion_lag_max: u64,
    /// Bytes of entries (and 64 for each) handed out for applying and not reported applied, at
    /// most, unless one entry alone is larger: what one turn spends on applying is bounded by it.
    pub apply_bytes_max: usize,
    /// What was submitted here and awaits its outcome, at most; past it the next is refused.
    pub waiters_max: usize,
    /// The mistake to make, if any.
    #[cfg(feature = "planted-bugs")]
    pub planted: Option<super::Bug>,
}

impl RaftConfig {
    /// Settings that suit nodes in one data centre.
    pub fn new(group: GroupId, node: NodeId) -> Self {
        Self {
            group,
            node,
            incarnation: None,
            seed: node.0 << 32 | u64::from(group.0),
            election_timeout: Micros::from_millis(1_000),
            heartbeat_interval: Micros::from_millis(100),
            preferred_leader: None,
            shared_detector: false,
            lease: None,
            pre_vote: true,
            check_quorum: true,
            in_flight_messages_max: 256,
            in_flight_bytes_max: 16 << 20,
            message_bytes_max: 1 << 20,
            message_entries_max: 4_096,
            uncommitted_bytes_max: 64 << 20,
            promote_learners: true,
            promotion_lag_max: 128,
            apply_bytes_max: 1 << 20,
            waiters_max: 64 << 10,
            #[cfg(feature = "planted-bugs")]
            planted: None,
        }
    }
}

impl Configuration {
    /// A group of these voters, in any order.
    pub fn new(voters: impl IntoIterator<Item = NodeId>) -> Self {
        let mut voters: Vec<NodeId> = voters.into_iter().collect();
        voters.sort_unstable();
        voters.dedup();
        Self { voters, ..Self::default() }
    }

    /// Whether `node` counts in a quorum of either half.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.is_incoming(node) || self.outgoing.binary_search(&node).is_ok()
    }

    /// Whether `node` receives the log.
    pub fn is_member(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.binary_search(&node).is_ok()
    }

    /// Whether `node` votes, and still does when the change under way, if there is one, is over.
    pub fn is_incoming(&self, node: NodeId) -> bool {
        self.voters.binary_search(&node).is_ok()
    }

    /// Which incarnation of a member counts, if that is said.
    pub fn incarnation_of(&self, node: NodeId) -> Option<Incarnation> {
        let at = self.incarnations.binary_search_by_key(&node, |known| known.0).ok()?;
        Some(self.incarnations[at].1)
    }

    /// This configuration with what is said of its members' incarnations here, or else in `other`.
    #[must_use]
    pub(super) fn with_incarnations_of(mut self, other: &Self) -> Self {
        let known = |node| self.incarnation_of(node).or_else(|| other.incarnation_of(node));
        self.incarnations = self.members().filter_map(|node| Some((node, known(node)?))).collect();
        self
    }

    /// Whether the group is between two configurations.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether voters to be are catching up.
    pub fn is_staged(&self) -> bool {
        !self.voters_next.is_empty()
    }

    /// Everyone who receives the log, each once, in order.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        ascending([&self.voters, &self.outgoing, &self.learners])
    }

    /// All members but `node`.
    pub(super) fn others(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.members().filter(move |&member| member != node)
    }

    /// All voters of both halves but `node`.
    pub(super) fn other_voters(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        ascending([&self.voters, &self.outgoing, &[]]).filter(move |&voter| voter != node)
    }
}

/// The union of sorted lists, in order. Node ids begin at one.
fn ascending(lists: [&[NodeId]; 3]) -> impl Iterator<Item = NodeId> + '_ {
    let first_after = move |last: NodeId| {
        lists.iter().filter_map(|list| list.iter().find(|&&node| node > last)).min().copied()
    };
    std::iter::successors(first_after(NodeId(0)), move |&last| first_after(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_the_union_each_once() {
        let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let joint = Configuration {
            voters: nodes(&[2, 3, 5]),
            outgoing: nodes(&[1, 2, 3]),
            learners: nodes(&[1, 9]),
            ..Configuration::default()
        };
        assert_eq!(joint.members().collect::<Vec<_>>(), nodes(&[1, 2, 3, 5, 9]));
        assert_eq!(joint.others(NodeId(3)).collect::<Vec<_>>(), nodes(&[1, 2, 5, 9]));
        assert_eq!(joint.other_voters(NodeId(9)).collect::<Vec<_>>(), nodes(&[1, 2, 3, 5]));
        assert!(joint.is_voter(NodeId(1)) && joint.is_voter(NodeId(5)));
        assert!(!joint.is_voter(NodeId(9)) && joint.is_joint());
    }
}
