//! A long load beside processes that occupy the cores.
//!
//! It watches for a fault of the runtime: an executor can park although it has something to do, when
//! others leave it so little of the CPU that its preempt timer fires before its first task. A core
//! that stands still for more than a second counts a stall. Afterwards it measures what idle nodes
//! cost.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::child::{Driver, Interrupt, Server, directory_in, own_program};
use crate::compare::Drove;
use crate::cpu;
use crate::error::BenchError;
use crate::nodes::{self, Nodes};

/// What to run, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Length of the load.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Processes beside it that never sleep.
    #[arg(long, default_value_t = 2)]
    busy_loops: usize,
    /// Writes under way at any time, and as many reads.
    #[arg(long, default_value_t = 64)]
    outstanding: usize,
    /// Connections of each of the two clients.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 128)]
    value_size: usize,
    /// Keys, of 16 bytes.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// The data directories go under it.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The sunstar program; without it, built by cargo, or the one beside this program.
    #[arg(long)]
    sunstar: Option<PathBuf>,
    /// Seed of the keys' order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the load, prints what came of it as one JSON line.
///
/// # Errors
/// If an operation failed or a core stalled; then the line was printed all the same.
pub(crate) fn run(options: &Options) -> Result<(), BenchError> {
    let interrupt = Interrupt::register()?;
    let program = nodes::find(options.sunstar.as_deref())?;
    let directory = directory_in(&options.dir)?;
    let cluster = Nodes::start(&program, directory.path(), &interrupt)?;
    let loads = load(options, &cluster, directory.path(), &interrupt);
    let (writes, reads) = interrupt.explain(loads)?;
    let idle_cpu_percent = idle_cpu_percent(&cluster, &interrupt)?;
    let cores = cluster.cores()?;
    let stalls: u64 = cores.iter().map(|core| core.stalls).sum();
    let errors = writes.errors + reads.errors;
    println!(
        "{}",
        json!({
            "minutes": options.minutes,
            "busy_loops": options.busy_loops,
            "ops": writes.ops + reads.ops,
            "errors": errors,
            "writes": writes,
            "reads": reads,
            "stalls": stalls,
            "stall_max_ms_by_core": cores.iter().map(|core| core.stall_max_ms).collect::<Vec<_>>(),
            "idle_cpu_percent": idle_cpu_percent,
        })
    );
    verdict(errors, stalls)
}

fn verdict(errors: u64, stalls: u64) -> Result<(), BenchError> {
    if errors == 0 && stalls == 0 {
        return Ok(());
    }
    Err(BenchError::Failed(format!(
        "{errors} operations failed, {stalls} times a core stood still for more than a second"
    )))
}

/// Writes and reads at once, beside the busy loops, which end with it.
fn load(
    options: &Options,
    cluster: &Nodes,
    directory: &Path,
    interrupt: &Interrupt,
) -> Result<(Drove, Drove), BenchError> {
    // Every key is there before the reads begin: a short run of writes that fills them.
    finish(&mut client(options, cluster, "write", 1.0, true)?)?;
    let program = own_program()?;
    let _busy: Vec<_> = (0..options.busy_loops)
        .map(|number| {
            let log = directory.join("busy.log");
            Server::start(format!("busy loop {number}"), &program, ["busy-loop"], &log)
        })
        .collect::<Result<_, _>>()?;
    eprintln!("load for {} minutes", options.minutes);
    let seconds = options.minutes * 60.0;
    let mut writer = client(options, cluster, "write", seconds, false)?;
    let mut reader = client(options, cluster, "read", seconds, false)?;
    let results = (finish(&mut writer)?, finish(&mut reader)?);
    interrupt.check()?;
    Ok(results)
}

fn client(
    options: &Options,
    cluster: &Nodes,
    operation: &str,
    seconds: f64,
    preload: bool,
) -> Result<Driver, BenchError> {
    let pairs = [
        ("targets", cluster.targets()),
        ("connections", options.connections.to_string()),
        ("operation", operation.to_owned()),
        ("outstanding", options.outstanding.to_string()),
        ("value-size", options.value_size.to_string()),
        ("keys", options.keys.to_string()),
        ("seconds", seconds.to_string()),
        ("warmup", "0".to_owned()),
        ("seed", options.seed.to_string()),
    ];
    let flags = pairs.into_iter().map(|(flag, value)| format!("--{flag}={value}"));
    let preload = preload.then(|| "--preload".to_owned());
    let command = ["drive", "sunstar"].map(str::to_owned);
    Driver::start(command.into_iter().chain(flags).chain(preload))
}

fn finish(driver: &mut Driver) -> Result<Drove, BenchError> {
    driver.expect("begin")?;
    driver.expect("end")?;
    driver.result()
}

/// Returns the share of one core that each node uses when there is nothing to do.
fn idle_cpu_percent(cluster: &Nodes, interrupt: &Interrupt) -> Result<Vec<f64>, BenchError> {
    rest(SETTLE, interrupt)?;
    let pids = cluster.pids();
    let used = || pids.iter().map(|pid| cpu::of(&[*pid])).collect::<Result<Vec<_>, _>>();
    let before = used()?;
    rest(IDLE, interrupt)?;
    let shares = used()?
        .into_iter()
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before).div_duration_f64(IDLE) * 100.0);
    Ok(shares.collect())
}

fn rest(time: Duration, interrupt: &Interrupt) -> Result<(), BenchError> {
    let until = Instant::now() + time;
    interrupt.wait_until("time passes", time * 2, || Ok(Instant::now() >= until))
}

/// What is under way when the load ends: the last log writes, the last heartbeats.
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_stalls_fail_the_run() {
        assert!(verdict(0, 0).is_ok());
        assert!(verdict(1, 0).is_err());
        let error = verdict(0, 2).expect_err("a core stood still");
        assert!(error.to_string().contains("2 times"), "{error}");
    }
}
