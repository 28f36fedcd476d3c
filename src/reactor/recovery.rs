//! From what a disk holds to replicas: the newest snapshot of each group, then its log.

use std::collections::{BTreeMap, BTreeSet};

use super::config::{ReactorConfig, RecoverError, Recovered};
use super::convert;
use super::core::Core;
use super::losses::Losses;
use super::persistence::Persistence;
use super::presence::Presence;
use super::replica::Replica;
use super::snapshots::{LoadError, Loaded, LoadedSnapshot};
use crate::base::{GroupId, Index, NodeId, SlotSet, Time};
use crate::kv::Machine;
use crate::placement::{GroupInfo, ShardMap};
use crate::raft::{self, Configuration, Doubt, HardState, Raft, RaftConfig, SnapshotMeta, Stored};
use crate::wal::{self, RecoveredGroup};

/// Append messages on their way to one follower, at most.
const IN_FLIGHT_MESSAGES_MAX: usize = 256;

/// Bytes of them, at most.
const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;

/// Payload bytes of one append message, at most, unless one entry alone is larger.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Payload bytes of a leader's uncommitted entries, at most.
const UNCOMMITTED_BYTES_MAX: usize = 64 << 20;

/// Bytes of entries that a replica applies in one turn, about: some milliseconds' work.
const APPLY_BYTES_MAX: usize = 1 << 20;

/// Builds the replicas whose home is this core.
pub(super) fn recover(
    now: Time,
    config: ReactorConfig,
    recovered: Recovered,
) -> Result<(Core, Vec<Replica>), RecoverError> {
    let Recovered { log, snapshots, snapshots_lost } = recovered;
    let wal::Recovered { groups: mut logs, state, lost_any, .. } = log;
    let log = wal::Log::resume(config.log_config(), state);
    let mut newest = newest_snapshots(snapshots);
    let (mut replicas, mut resets, mut removals) = (Vec::new(), Vec::new(), Vec::new());
    let (mut found, mut retired) = (Vec::new(), Vec::new());
    let map = config.shard_map.clone();
    // A group is on the disk only if a map that was kept before named it: it was forgotten since.
    let forgotten = newest.keys().chain(logs.keys()).copied().filter(|&id| map.group(id).is_none());
    for group in forgotten.collect::<BTreeSet<_>>() {
        removals.extend(newest.remove(&group).map(|_| group));
        retired.extend(logs.remove(&group).filter(|log| !log.retired).map(|_| group));
    }
    for info in groups_of(&config, &newest, &logs, lost_any) {
        let snapshot = newest.remove(&info.id);
        let mut log = logs.remove(&info.id).unwrap_or_else(|| {
            let here = snapshot.is_some() || info.founders.contains(&config.node);
            let unrecorded = lost_any.then(|| RecoveredGroup::unrecorded(here));
            retired.extend(unrecorded.iter().filter(|_| !here).map(|_| info.id));
            unrecorded.unwrap_or_default()
        });
        let losses = if is_blank(&config, info, snapshot.as_ref(), &log) {
            Losses::of_a_blank_disk()
        } else {
            Losses::of(&log, snapshots_lost.contains(&info.id))
        };
        let after = snapshot.as_ref().map_or(Index::ZERO, |loaded| loaded.meta.index);
        if losses.begins_anew(after, &log) {
            (log.reset, log.entries) = (None, Vec::new());
        }
        if !is_here(&config, info, snapshot.as_ref(), &log) {
            removals.extend(snapshot.map(|_| info.id));
            replicas.push(left(now, &config, info.id, &log));
            found.extend(losses.record(Index::ZERO).map(|record| (info.id, record)));
            continue;
        }
        let reset = snapshot.as_ref().and_then(|loaded| missed_reset(&loaded.meta, &log));
        let doubt = losses.doubt();
        let replica = replica(now, &config, info, (snapshot, reset.is_some()), (log, doubt))?;
        found.extend(losses.record(replica.raft.last_index()).map(|record| (info.id, record)));
        replicas.push(replica);
        resets.extend(reset.map(|mark| (info.id, mark)));
    }
    let persistence = Persistence::new(log, config.log_writes_in_flight_max);
    let mut core = Core::new(config, persistence);
    for replica in &replicas {
        core.persistence.log_mut().trim(replica.group, replica.snapshot_index);
    }
    for replica in &mut replicas {
        // What the snapshot covers is not in memory, but the log may have it.
        let stored_from = core.persistence.log().first_stored(replica.group);
        replica.evict(now, replica.snapshot_index, stored_from);
    }
    for (group, mark) in resets {
        core.persistence.log_mut().stage_reset(group, mark);
    }
    for group in retired {
        core.persistence.log_mut().stage_retirement(group);
    }
    for (group, record) in found {
        core.persistence.log_mut().stage_doubt(group, record);
    }
    for replica in &mut replicas {
        if removals.contains(&replica.group) {
            replica.presence = Presence::Going;
        }
    }
    for replica in &mut replicas {
        replica.follow(&core.map);
    }
    core.snapshot_removals = removals;
    Ok((core, replicas))
}

/// The groups this core has, or had, something of: those that its node founded, and those that came. Any
/// may have come, if the log has lost what it said of any.
fn groups_of<'a>(
    config: &'a ReactorConfig,
    snapshots: &BTreeMap<GroupId, Loaded>,
    logs: &BTreeMap<GroupId, RecoveredGroup>,
    lost_any: bool,
) -> Vec<&'a GroupInfo> {
    let ours = |info: &&GroupInfo| {
        let home = ShardMap::home_core(info.id, config.smp) == config.core;
        let known = snapshots.contains_key(&info.id) || logs.contains_key(&info.id);
        home && (known || lost_any || info.founders.contains(&config.node))
    };
    config.shard_map.all_groups().filter(ours).collect()
}

/// Whether there is a replica, as opposed to a memory of one.
fn is_here(
    config: &ReactorConfig,
    info: &GroupInfo,
    snapshot: Option<&Loaded>,
    log: &RecoveredGroup,
) -> bool {
    let begun = snapshot.is_some() || !log.entries.is_empty();
    let reset = log.reset.map(|mark| mark.index);
    // A reset at index 0 took the group in again, with nothing yet.
    let first = reset.is_none() && info.founders.contains(&config.node);
    let lost = log.entries_lost || log.doubt.is_some();
    !log.retired && (begun || first || lost || reset > Some(Index::ZERO))
}

/// Whether the disk knows nothing of a group that the node is a founder of. A replica's first doubt is the first thing written of it, so that this tells the truth after a crash.
fn is_blank(
    config: &ReactorConfig,
    info: &GroupInfo,
    snapshot: Option<&Loaded>,
    log: &RecoveredGroup,
) -> bool {
    is_founded_with_others(config, info) && snapshot.is_none() && *log == RecoveredGroup::default()
}

/// Whether others can tell what the replica here has said.
fn is_founded_with_others(config: &ReactorConfig, info: &GroupInfo) -> bool {
    let others = info.founders.iter().any(|founder| *founder != config.node);
    others && info.founders.contains(&config.node)
}

/// The first replica of a group that this node is a founder of, as at a first start, and what its log is to
/// note of it before anything else.
pub(super) fn founded(
    now: Time,
    config: &ReactorConfig,
    info: &GroupInfo,
) -> (Replica, Option<wal::DoubtRecord>) {
    let blank = is_founded_with_others(config, info);
    let losses = if blank { Losses::of_a_blank_disk() } else { Losses::default() };
    let found = (RecoveredGroup::default(), losses.doubt());
    let replica = replica(now, config, info, (None, false), found);
    let replica = replica.expect("nothing is missing from an empty log");
    let record = losses.record(replica.raft.last_index());
    (replica, record)
}

/// What is remembered of a group that is not here.
fn left(now: Time, config: &ReactorConfig, group: GroupId, log: &RecoveredGroup) -> Replica {
    let votes = (hard_state_of(log), Losses::of(log, false).doubt());
    vacant(now, config, group, votes, 0)
}

/// The place of a replica that is not here. `salt`: another one for each life of the replica within the
/// process's.
pub(super) fn vacant(
    now: Time,
    config: &ReactorConfig,
    group: GroupId,
    (hard_state, doubt): (HardState, Option<Doubt>),
    salt: u64,
) -> Replica {
    let mut raft_config = raft_config(config, group, None);
    raft_config.seed ^= salt << 40;
    let raft = Raft::new(now, raft_config, Stored { hard_state, doubt, ..Stored::default() });
    let machine = first_state(group);
    let mut replica = Replica::new(group, raft, machine);
    replica.presence = Presence::Absent;
    replica
}

fn hard_state_of(log: &RecoveredGroup) -> HardState {
    let record = log.hard_state.map(|record| HardState { term: record.term, vote: record.vote });
    record.unwrap_or_default()
}

fn newest_snapshots(snapshots: Vec<LoadedSnapshot>) -> BTreeMap<GroupId, Loaded> {
    let mut newest: BTreeMap<GroupId, Loaded> = BTreeMap::new();
    for LoadedSnapshot(loaded) in snapshots {
        let known = newest.get(&loaded.group).map(|known| known.meta.index);
        if known.is_none_or(|index| index < loaded.meta.index) {
            newest.insert(loaded.group, loaded);
        }
    }
    newest
}

/// `begins_anew`: the log goes on after the snapshot with nothing of what it holds.
fn replica(
    now: Time,
    config: &ReactorConfig,
    info: &GroupInfo,
    (snapshot, begins_anew): (Option<Loaded>, bool),
    (mut log, doubt): (RecoveredGroup, Option<Doubt>),
) -> Result<Replica, RecoverError> {
    let (meta, machine) = match snapshot {
        Some(Loaded { meta, machine, .. }) => (meta, machine),
        None => (first_meta(info, &log), first_state(info.id)),
    };
    let hard_state = hard_state_of(&log);
    if begins_anew {
        log.entries.clear();
    }
    let entries = entries_after(info.id, &meta, log)?;
    let stored = Stored { hard_state, snapshot: meta, entries, doubt };
    let raft_config = raft_config(config, info.id, Some(info.preferred_leader));
    let raft = Raft::new(now, raft_config, stored);
    Ok(Replica::new(info.id, raft, machine))
}

/// Where the log must begin anew because it does not reach, or does not fit, the snapshot: that came
/// from a leader, and the crash came before the log was told. Nothing of such a log was ever
/// acknowledged beyond the snapshot.
fn missed_reset(meta: &SnapshotMeta, log: &RecoveredGroup) -> Option<wal::SnapshotMark> {
    let at = |record: &&wal::EntryRecord| record.index == meta.index;
    let marked = log.reset.is_some_and(|mark| mark.index >= meta.index);
    let fits = match log.entries.iter().find(at) {
        Some(record) => record.term == meta.term,
        // Trimmed up to the snapshot, or not as far as that.
        None => log.entries.first().is_some_and(|first| first.index > meta.index),
    };
    (!fits && !marked).then_some(wal::SnapshotMark { index: meta.index, term: meta.term })
}

/// The log's entries that go on where the snapshot ends.
fn entries_after(
    group: GroupId,
    meta: &SnapshotMeta,
    log: RecoveredGroup,
) -> Result<Vec<raft::Entry>, RecoverError> {
    let reset = log.reset.map_or(meta.index, |mark| mark.index);
    let first = log.entries.first().map_or(meta.index, |entry| entry.index.previous());
    let begins = reset.max(first);
    if begins > meta.index {
        return Err(RecoverError::Gap { group, first: begins.next(), snapshot: meta.index });
    }
    let after = log.entries.into_iter().filter(|record| record.index > meta.index);
    Ok(after.map_while(convert::entry_of).collect())
}

/// Before its first entry a founder's replica has the founders as its configuration. One that came later
/// has none: it knows only what its log will tell, or an empty replica could vote.
fn first_meta(info: &GroupInfo, log: &RecoveredGroup) -> SnapshotMeta {
    let first = log.reset.is_none();
    let voters = if first { info.founders.clone() } else { Vec::new() };
    let configuration = Configuration { voters, ..Default::default() };
    SnapshotMeta { configuration, ..Default::default() }
}

fn raft_config(
    config: &ReactorConfig,
    group: GroupId,
    preferred_leader: Option<NodeId>,
) -> RaftConfig {
    RaftConfig {
        incarnation: Some(config.incarnation),
        seed: seed(config.seed, config.node, group),
        election_timeout: config.election_timeout,
        heartbeat_interval: config.heartbeat_interval,
        preferred_leader,
        shared_detector: true,
        lease: config.lease,
        in_flight_messages_max: IN_FLIGHT_MESSAGES_MAX,
        in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
        message_bytes_max: MESSAGE_BYTES_MAX,
        uncommitted_bytes_max: UNCOMMITTED_BYTES_MAX,
        apply_bytes_max: APPLY_BYTES_MAX,
        ..RaftConfig::new(group, config.node)
    }
}

/// Replicas of one seed must not campaign in step.
fn seed(seed: u64, node: NodeId, group: GroupId) -> u64 {
    seed ^ node.0.rotate_left(32) ^ u64::from(group.0)
}

/// The state of a group before its first entry: the same wherever and whenever a replica begins with that.
/// Which slots it has, its log says.
fn first_state(group: GroupId) -> Machine {
    Machine::new(group, &SlotSet::new())
}

impl From<LoadError> for RecoverError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::File(error) => Self::Snapshot(error),
            LoadError::Contents(group, error) => {
                Self::Contents { group, reason: error.to_string() }
            }
            LoadError::Annex(group, reason) => Self::Contents { group, reason },
        }
    }
}
