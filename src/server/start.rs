//! `sunstar start`: one node, until a signal ends it.

use std::process::ExitCode;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::config::Config;
use super::failure::Failure;
use super::membership::{FirstNodes, Membership};
use super::{joining, logging};
use crate::base::ClusterId;
use crate::io::{self, KeptMap, NodeConfig};
use crate::placement::ShardMap;

/// Runs the node that `config` describes. With `parent`, a process id, it stops when that process
/// is gone.
pub(crate) fn start(config: &Config, parent: Option<i32>) -> Result<ExitCode, Failure> {
    if let Some(parent) = parent {
        follow(parent).map_err(Failure::failed)?;
    }
    logging::start(&config.log_level, config.log_format);
    let node = match &config.membership {
        Membership::First(_) => {
            let node = node_config(config)?;
            io::preflight(&node).map_err(Failure::failed)?;
            node
        }
        Membership::Joining(joining) => joining::join(config, joining)?,
    };
    io::run(node).map_err(Failure::failed)?;
    Ok(ExitCode::SUCCESS)
}

/// Has the kernel send SIGTERM when the parent dies.
fn follow(parent: i32) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| format!("cannot follow process {parent}: {error}"))?;
    // It may have died before it was asked for.
    match getppid() {
        Some(found) if found.as_raw_nonzero().get() == parent => Ok(()),
        _ => Err(format!("process {parent}, which started this one, is gone already")),
    }
}

/// What `io` needs to know of it. Of a node that joined, its data directory says to which cluster it
/// belongs.
pub(crate) fn node_config(config: &Config) -> Result<NodeConfig, Failure> {
    let home = match &config.membership {
        Membership::First(first) => {
            let FirstNodes { cluster, groups, shard_map, .. } = *first.clone();
            Home { cluster, groups, shard_map }
        }
        Membership::Joining(_) => {
            let kept = KeptMap::read(&config.data_dir).map_err(Failure::failed)?;
            let KeptMap { cluster, map } = kept.ok_or_else(|| {
                let directory = config.data_dir.display();
                Failure::failed(format!("`{directory}` holds no shard map: the node never joined"))
            })?;
            Home { cluster, groups: 0, shard_map: map }
        }
    };
    node_of(config, home).map_err(Failure::usage)
}

/// The cluster that a node belongs to.
pub(crate) struct Home {
    pub(crate) cluster: ClusterId,
    /// Groups at its first start; 0 if the node joined later.
    pub(crate) groups: u32,
    pub(crate) shard_map: ShardMap,
}

/// What `io` needs to know of a node of that cluster.
///
/// # Errors
/// If there is no such path.
pub(crate) fn node_of(config: &Config, home: Home) -> Result<NodeConfig, String> {
    // The runtime opens files relative to no directory at all.
    let data_dir = std::path::absolute(&config.data_dir)
        .map_err(|error| format!("node.data_dir = `{}`: {error}", config.data_dir.display()))?;
    Ok(NodeConfig {
        node: config.node,
        cluster: home.cluster,
        data_dir,
        client_addr: config.client_addr,
        peer_addr: config.peer_addr,
        admin_addr: config.admin_addr,
        smp: config.smp,
        cpuset: config.cpuset.clone(),
        overprovisioned: config.overprovisioned,
        memory: config.memory,
        shard_map: home.shard_map,
        groups: home.groups,
        election_timeout: config.election_timeout,
        heartbeat_interval: config.heartbeat_interval,
        lease_drift_percent: config.lease_drift_percent,
        segment_bytes: config.segment_bytes,
        idle_poll_time_us: config.idle_poll_time_us,
        task_quota_ms: config.task_quota_ms,
        blocked_reactor_notify_ms: config.blocked_reactor_notify_ms,
    })
}
