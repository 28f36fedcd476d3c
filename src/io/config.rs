//! What a node is started with.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::{ClusterId, Micros, NodeId};
use crate::placement::ShardMap;

/// What a node is started with. Command line and files are the `server` module's concern.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This node.
    pub node: NodeId,
    /// The cluster it belongs to; never zero.
    pub cluster: ClusterId,
    /// Where everything durable lies; formatted at the first start.
    pub data_dir: PathBuf,
    /// Where clients connect.
    pub client_addr: SocketAddr,
    /// Where other nodes connect.
    pub peer_addr: SocketAddr,
    /// Where administrators connect, if anywhere.
    pub admin_addr: Option<SocketAddr>,
    /// Cores: one thread with one reactor each.
    pub smp: usize,
    /// The CPUs to pin cores to, in order of cores; unused when `overprovisioned`.
    pub cpuset: Vec<usize>,
    /// Share the CPUs with others: no pinning, no busy polling.
    pub overprovisioned: bool,
    /// Bytes of state the node may hold, divided evenly among its cores.
    pub memory: u64,
    /// Who owns what, and where the other nodes are: at the first start, or when the node joined. A newer
    /// map in the data directory takes its place.
    pub shard_map: ShardMap,
    /// Groups of the cluster at its first start; 0 if the node joined later.
    pub groups: u32,
    /// How long a follower waits for its leader.
    pub election_timeout: Micros,
    /// How often a leader with something in flight is heard.
    pub heartbeat_interval: Micros,
    /// How far clocks are trusted for reads under leases; 0: no leases.
    pub lease_drift_percent: u64,
    /// Bytes of one log segment.
    pub segment_bytes: u64,
    /// How long an idle core polls before it sleeps, µs; 0 sleeps at once, as does `overprovisioned`.
    pub idle_poll_time_us: u64,
    /// How long tasks may run before the executor looks at its rings, ms; at least 10 is used.
    pub task_quota_ms: u64,
    /// A turn longer than this is logged, ms; 0 never.
    pub blocked_reactor_notify_ms: u64,
}

impl NodeConfig {
    /// Cores, as ids count them.
    ///
    /// # Panics
    /// If there are more than preflight lets pass.
    pub(super) fn cores(&self) -> u16 {
        u16::try_from(self.smp).expect("preflight limits the number of cores")
    }

    /// A core's share of the memory.
    pub(super) fn core_memory(&self) -> u64 {
        self.memory / u64::from(self.cores())
    }
}
