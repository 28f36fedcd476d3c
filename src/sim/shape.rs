//! What a simulated cluster consists of.

use super::weather::Weather;
use crate::base::{Micros, NodeId};
use crate::placement::{NodeInfo, ShardMap};
use crate::raft::Lease;

/// What a simulated cluster consists of; what is not said here is as in production.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Cores of each node, in the order of their ids from 1.
    pub cores: Vec<u16>,
    /// Groups.
    pub groups: u32,
    /// See `raft::RaftConfig`.
    pub election_timeout: Micros,
    /// See `raft::RaftConfig`.
    pub heartbeat_interval: Micros,
    /// See `raft::RaftConfig`. With leases, no clock is made to run beyond the drift.
    pub lease: Option<Lease>,
    /// Bytes of one log segment.
    pub segment_bytes: u64,
    /// See `reactor::ReactorConfig`.
    pub live_segments_max: usize,
    /// See `reactor::ReactorConfig`.
    pub entries_memory_max: u64,
    /// See `reactor::ReactorConfig`.
    pub memory_max: u64,
    /// See `reactor::ReactorConfig`. Small ones have slots that hold little moved in many rounds.
    pub piece_bytes: usize,
    /// Whether single batches between nodes may be lost, doubled and overtaken by later ones, which no
    /// link of `io` does: there whole connections are.
    pub harsh_links: bool,
    /// How packets fare when nothing goes wrong.
    pub weather: Weather,
}

impl Shape {
    /// `nodes` nodes of one core each with `groups` groups; small enough that logs are recycled and
    /// snapshots made.
    pub fn small(nodes: usize, groups: u32) -> Self {
        Self {
            cores: vec![1; nodes],
            groups,
            election_timeout: Micros::from_millis(1_000),
            heartbeat_interval: Micros::from_millis(100),
            lease: None,
            segment_bytes: 128 << 10,
            live_segments_max: 3,
            entries_memory_max: 64 << 10,
            memory_max: 1 << 30,
            piece_bytes: 256 << 10,
            harsh_links: false,
            weather: Weather::fair(),
        }
    }

    /// Where clients reach the nodes.
    pub fn addresses(&self) -> Vec<String> {
        self.map().nodes.into_iter().map(|node| node.client_address).collect()
    }

    /// Its first shard map.
    ///
    /// # Panics
    /// If there are no nodes or groups.
    pub fn map(&self) -> ShardMap {
        let nodes = (1..=self.cores.len() as u64).map(NodeId).map(node_info).collect();
        ShardMap::initial(nodes, self.groups).expect("nodes and groups")
    }
}

/// Where a node listens, whenever it comes.
pub(super) fn node_info(id: NodeId) -> NodeInfo {
    let NodeId(number) = id;
    let (client_address, peer_address) = (format!("n{number}:7000"), format!("n{number}:7001"));
    NodeInfo { id, client_address, peer_address }
}
