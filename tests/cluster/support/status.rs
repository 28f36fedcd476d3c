//! What a node says of itself at `/status`.

use serde::Deserialize;
use sunstar::placement::META;

/// All cores of one node.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NodeStatus {
    pub(crate) cores: Vec<CoreStatus>,
    pub(crate) refused: Vec<RefusedNode>,
}

/// A node that is not let in.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RefusedNode {
    pub(crate) node: u64,
    pub(crate) incarnation: String,
}

/// One core, as far as the tests look at it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct CoreStatus {
    pub(crate) groups: Vec<GroupStatus>,
    pub(crate) state_bytes: u64,
    pub(crate) memory_max: u64,
    pub(crate) disk_full: bool,
    pub(crate) log_reads: u64,
    pub(crate) entries_in_memory_bytes: u64,
    pub(crate) client_buffers_bytes: u64,
    pub(crate) client_buffers_max: u64,
}

/// One replica, as far as the tests look at it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct GroupStatus {
    pub(crate) group: u32,
    pub(crate) role: String,
    pub(crate) term: u64,
    pub(crate) leader: Option<u64>,
    pub(crate) doubt: Option<String>,
    #[serde(default)]
    pub(crate) awaits: Vec<u64>,
    pub(crate) applied_index: u64,
    pub(crate) snapshot_index: u64,
    pub(crate) state_hash: Option<String>,
}

impl CoreStatus {
    /// The groups that own slots and that this core leads.
    pub(crate) fn led(&self) -> Vec<u32> {
        let led = self.groups.iter().filter(|it| it.group != META.0 && it.role == "leader");
        led.map(|group| group.group).collect()
    }
}

impl NodeStatus {
    /// All replicas of the node of groups that own slots, by group.
    pub(crate) fn groups(&self) -> Vec<&GroupStatus> {
        let all = self.cores.iter().flat_map(|core| &core.groups);
        let mut groups: Vec<_> = all.filter(|group| group.group != META.0).collect();
        groups.sort_by_key(|group| group.group);
        groups
    }

    /// The groups this node leads.
    pub(crate) fn led(&self) -> Vec<u32> {
        let groups = self.groups().into_iter();
        groups.filter(|group| group.role == "leader").map(|group| group.group).collect()
    }
}
