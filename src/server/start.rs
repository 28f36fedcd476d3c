//! `sunstar start`: one node, until a signal ends it.

use std::process::ExitCode;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::config::Config;
use super::failure::Failure;
use super::logging;
use crate::io::{self, NodeConfig};

/// Runs the node that `config` describes. With `parent`, a process id, it stops when that process
/// is gone.
pub(crate) fn start(config: &Config, parent: Option<i32>) -> Result<ExitCode, Failure> {
    if let Some(parent) = parent {
        follow(parent).map_err(Failure::failed)?;
    }
    logging::start(&config.log_level, config.log_format);
    let node = node_config(config).map_err(Failure::usage)?;
    io::preflight(&node).map_err(Failure::failed)?;
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

/// What `io` needs to know of it.
pub(crate) fn node_config(config: &Config) -> Result<NodeConfig, String> {
    // The runtime opens files relative to no directory at all.
    let data_dir = std::path::absolute(&config.data_dir)
        .map_err(|error| format!("node.data_dir = `{}`: {error}", config.data_dir.display()))?;
    Ok(NodeConfig {
        node: config.node,
        cluster: config.cluster,
        data_dir,
        client_addr: config.client_addr,
        peer_addr: config.peer_addr,
        admin_addr: config.admin_addr,
        smp: config.smp,
        cpuset: config.cpuset.clone(),
        overprovisioned: config.overprovisioned,
        memory: config.memory,
        shard_map: config.shard_map.clone(),
        election_timeout: config.election_timeout,
        heartbeat_interval: config.heartbeat_interval,
        lease_drift_percent: config.lease_drift_percent,
        segment_bytes: config.segment_bytes,
        idle_poll_time_us: config.idle_poll_time_us,
        task_quota_ms: config.task_quota_ms,
        blocked_reactor_notify_ms: config.blocked_reactor_notify_ms,
    })
}
