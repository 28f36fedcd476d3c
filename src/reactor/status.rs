//! What a core says of itself.

use serde::Serialize;

use super::agreement::Difference;
use crate::base::{CoreId, GroupId, Index, NodeId, Term};

/// One core's summary.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CoreStatus {
    /// The core.
    pub core: CoreId,
    /// Its groups, by id.
    pub groups: Vec<GroupStatus>,
    /// Bytes of state held: keys, values, sessions.
    pub state_bytes: u64,
    /// As many of them as may be held; past it writes are refused.
    pub memory_max: u64,
    /// Whether writes are refused because the log cannot grow.
    pub disk_full: bool,
    /// Turns taken.
    pub turns: u64,
    /// Commands applied.
    pub commands: u64,
    /// Reads answered.
    pub reads: u64,
    /// Retries answered from a session's memory instead of being executed again.
    pub deduplicated: u64,
    /// Log batches made durable.
    pub log_writes: u64,
    /// Bytes of them.
    pub log_bytes: u64,
    /// Times the log waited for a segment file, the disk not being full: nothing was durable meanwhile.
    pub log_segment_waits: u64,
    /// How long, altogether, ms.
    pub log_segment_wait_ms: u64,
    /// The longest of these waits, ms.
    pub log_segment_wait_max_ms: u64,
    /// Reads of old entries from the log, for followers that are behind or to free a segment.
    pub log_reads: u64,
    /// Log segments in use.
    pub log_segments: u64,
    /// Bytes of log entries held in memory, about.
    pub entries_in_memory_bytes: u64,
    /// Bytes of commands and reads that wait, and of entries that are not applied.
    pub under_way_bytes: u64,
    /// As many of them as may be; past it clients are told that this node is overloaded.
    pub under_way_max: u64,
    /// Bytes of state that snapshots in the making or on their way to followers hold on to, at most:
    /// what of it is written over meanwhile is in memory twice.
    pub snapshots_frozen_bytes: u64,
    /// Bytes of snapshots on their way in.
    pub snapshots_received_bytes: u64,
    /// Keys of slots that went to other groups whose memory is not given back yet.
    pub unreclaimed_keys: u64,
    /// Snapshots finished.
    pub snapshots: u64,
    /// Whether another is being written.
    pub makes_snapshot: bool,
    /// How often replicas here were found to hold another state than others, or others than them
    /// without a majority to say who is right. Never anything but 0, unless memory or Sunstar failed.
    pub divergences: u64,
}

/// One group's replica on this core.
#[derive(Clone, Debug, Default, Serialize)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// `leader`, `follower`, `candidate` or `pre-candidate`.
    pub role: &'static str,
    /// The term.
    pub term: Term,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// What the replica may have forgotten, so that it counts in no quorum: `entries`, `votes` or
    /// `everything`. Absent once its peers have repaired it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<&'static str>,
    /// Of which voters it has not heard yet what it needs for that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub awaits: Vec<NodeId>,
    /// The last committed entry known here.
    pub commit_index: Index,
    /// The last applied entry.
    pub applied_index: Index,
    /// The last entry in the log.
    pub last_index: Index,
    /// The entry the newest snapshot covers.
    pub snapshot_index: Index,
    /// Slots served.
    pub slots: u32,
    /// Keys held.
    pub keys: u64,
    /// Sessions open.
    pub sessions: u64,
    /// Its state is not that of the majority: it serves nothing, and waits for the leader's state.
    pub quarantined: bool,
    /// How often it asked its leader for that, in this quarantine and in those shortly before: more than
    /// once or twice, and something keeps it from healing, as its log says.
    pub heal_attempts: u32,
    /// The last entry after which this replica, leading, found all members' states equal.
    pub agreed_index: Index,
    /// The last difference between members that was found.
    pub difference: Option<DifferenceStatus>,
    /// The epoch of the shard map that the group has begun.
    pub epoch: u64,
    /// Slots that it gives the group and that are not served yet.
    pub arriving: usize,
    /// Slots that it takes from the group and that are not dropped yet.
    pub leaving: usize,
    /// Hash of keys, values and sessions at `applied_index`, 16 hex digits; only when asked for.
    pub state_hash: Option<String>,
}

/// One group's replica, for who compares replicas after every turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaView {
    /// The group.
    pub group: GroupId,
    /// The term.
    pub term: Term,
    /// Whether it leads.
    pub leads: bool,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// Whether it may count in quorums: it doubts nothing that it may have said.
    pub certain: bool,
    /// Whether its own configuration names its node as a voter.
    pub votes: bool,
    /// The last committed entry known here.
    pub commit_index: Index,
    /// The last applied entry.
    pub applied_index: Index,
    /// The last entry in the log.
    pub last_index: Index,
    /// The epoch of the shard map that the group has begun.
    pub epoch: u64,
    /// Slots that it gives the group and that are not served yet.
    pub arriving: usize,
    /// Slots that it takes from the group and that are not dropped yet.
    pub leaving: usize,
    /// The members of which epoch it has, or had last.
    pub members_epoch: u64,
    /// Hash of keys, values and sessions at `applied_index`, as it is kept up to date.
    pub state_hash: u64,
}

impl GroupStatus {
    /// Why the group cannot be used here, if it cannot.
    pub fn trouble(&self) -> Option<String> {
        let names: Vec<String> = self.awaits.iter().map(NodeId::to_string).collect();
        match (self.leader, self.doubt) {
            (Some(_), _) => None,
            (None, Some("everything")) if !names.is_empty() => Some(format!(
                "group {} waits for {} at its first start, or after its data here was lost",
                self.group,
                names.join(", ")
            )),
            (None, _) => Some(format!("group {} has no leader", self.group)),
        }
    }
}

/// Replicas that held different states after the same entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DifferenceStatus {
    /// The entry.
    pub index: Index,
    /// What each is known to have had, as 16 hex digits.
    pub hashes: Vec<(NodeId, String)>,
}

impl DifferenceStatus {
    pub(super) fn of(difference: &Difference) -> Self {
        let text = |(&node, hash): (&NodeId, &u64)| (node, format!("{hash:016x}"));
        Self { index: difference.index, hashes: difference.hashes.iter().map(text).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_says_for_whom() {
        let (group, leader) = (GroupId(1), Some(NodeId(1)));
        let awaits = vec![NodeId(2), NodeId(3)];
        let blank = GroupStatus { group, doubt: Some("everything"), awaits, ..Default::default() };
        let said = blank.trouble().expect("it waits");
        assert!(said.contains("group g1 waits for n2, n3"), "{said}");
        let led = GroupStatus { leader, ..blank.clone() };
        assert_eq!(led.trouble(), None, "who leads is known: clients are sent there");
        let heard = GroupStatus { awaits: Vec::new(), ..blank };
        assert_eq!(heard.trouble().as_deref(), Some("group g1 has no leader"));
    }
}
