//! Who votes, and the settings of one replica.

use crate::base::{GroupId, Micros, NodeId};

/// The members of a group: the voters, and during a joint change the outgoing voters too.
///
/// Each list is sorted and without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The voters (of the new configuration, during a change).
    pub voters: Vec<NodeId>,
    /// The voters of the old configuration during a change; empty otherwise.
    pub outgoing: Vec<NodeId>,
    /// Members that receive the log and do not count in a quorum.
    pub learners: Vec<NodeId>,
}

/// The settings of one replica.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// The group, for messages and diagnostics.
    pub group: GroupId,
    /// This replica's node.
    pub node: NodeId,
    /// Seeds election timeouts; mix node and group in, or replicas campaign in step.
    pub seed: u64,
    /// A follower that hears nothing for a random time in `timeout..2*timeout` campaigns.
    pub election_timeout: Micros,
    /// How often a leader makes itself heard.
    pub heartbeat_interval: Micros,
    /// The first election timeout after start, instead of a random one: small on the replica that ought to lead.
    pub first_election_timeout: Option<Micros>,
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
    /// Payload bytes of uncommitted entries on a leader; past it proposals are refused.
    pub uncommitted_bytes_max: usize,
}
