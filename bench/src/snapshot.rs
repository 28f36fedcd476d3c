//! What writes feel of a snapshot that is made beside them.
//!
//! Three nodes hold `--data` bytes each and are given small writes at a fixed rate, which are measured,
//! and beside them large ones all the while, which are not: they fill the logs, so that every so often
//! each node makes a snapshot of a group. Each second of the load counts as one with or without; both
//! kinds come in turns within one run.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use sunstar::base::Micros;
use sunstar::load::{self, LoadOptions, Workload};

use crate::child::{Interrupt, directory_in};
use crate::compare::Spread;
use crate::error::BenchError;
use crate::nodes::{self, Nodes, Shape};

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Bytes of values that each node holds.
    #[arg(long, default_value_t = 1 << 30)]
    data: u64,
    /// Bytes of each of them.
    #[arg(long, default_value_t = 1024)]
    data_value_size: usize,
    /// Length of the load.
    #[arg(long, default_value_t = 120.0)]
    seconds: f64,
    /// Writes a second.
    #[arg(long, default_value_t = 4_000)]
    rate: u64,
    /// Bytes of a value that they write.
    #[arg(long, default_value_t = 16)]
    value_size: usize,
    /// Writes a second beside them, of `--data-value-size` bytes.
    #[arg(long, default_value_t = 3_000)]
    bulk_rate: u64,
    /// The data directories go under it.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The sunstar program; without it, built by cargo, or the one beside this program.
    #[arg(long)]
    sunstar: Option<PathBuf>,
}

/// What p99 may be at most while a snapshot is made, over what it is without.
const RATIO_MAX: f64 = 1.5;

/// A second of the load.
#[derive(Clone, Copy, Debug)]
struct Second {
    end: Instant,
    p99_us: f64,
}

/// A look at the nodes.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    /// Whether any core was making a snapshot.
    makes_snapshot: bool,
}

/// What came of the seconds of one kind.
#[derive(Clone, Copy, Debug, Serialize)]
struct Kind {
    seconds: usize,
    /// Of the seconds' 99th percentiles.
    p99_us: Spread,
}

/// Runs the load, prints what came of it as one JSON line.
///
/// # Errors
/// If an operation failed, or no second was of one of the kinds. That p99 is too high is printed.
pub(crate) fn run(options: &Options) -> Result<(), BenchError> {
    let interrupt = Interrupt::register()?;
    let program = nodes::find(options.sunstar.as_deref())?;
    let directory = directory_in(&options.dir)?;
    let shape = Shape { memory: options.data * 4, ..Shape::default() };
    let cluster = Nodes::start_shaped(&program, directory.path(), shape, &interrupt)?;
    interrupt.explain(fill(options, &cluster))?;
    let stalls_before = stall_max_ms(&cluster)?;
    let (seconds, looks) = interrupt.explain(watched_load(options, &cluster))?;
    let (with, without) = sort(&seconds, &looks);
    let (with, without) = (kind(&with)?, kind(&without)?);
    let ratio = with.p99_us.median / without.p99_us.median;
    let cores = cluster.cores()?;
    println!(
        "{}",
        json!({
            "state_bytes": cores.iter().map(|core| core.state_bytes).collect::<Vec<_>>(),
            "snapshots": cores.iter().map(|core| core.snapshots).collect::<Vec<_>>(),
            "log_bytes": cores.iter().map(|core| core.log_bytes).collect::<Vec<_>>(),
            "rate": options.rate,
            "bulk_rate": options.bulk_rate,
            "without": without,
            "with": with,
            "ratio": ratio,
            "holds": ratio <= RATIO_MAX,
            "stall_max_ms_while_filled": stalls_before,
            "stall_max_ms": stall_max_ms(&cluster)?,
            "log_segment_waits": cores.iter().map(|core| core.log_segment_waits).sum::<u64>(),
            "log_segment_wait_max_ms": cores.iter().map(|core| core.log_segment_wait_max_ms).max(),
        })
    );
    Ok(())
}

/// Writes every value once.
fn fill(options: &Options, cluster: &Nodes) -> Result<(), BenchError> {
    eprintln!("filling the nodes");
    let load = LoadOptions {
        workload: Workload::Get,
        preload: true,
        in_flight: 64,
        value_size: options.data_value_size,
        duration: Micros(1_000),
        ..load(options, cluster)
    };
    load::run(&load, &mut |_| {}).map_err(|error| BenchError::Failed(error.to_string()))?;
    Ok(())
}

fn load(options: &Options, cluster: &Nodes) -> LoadOptions {
    LoadOptions {
        targets: cluster.targets().split(',').map(str::to_owned).collect(),
        keys: options.data / options.data_value_size as u64,
        preload: false,
        ..LoadOptions::default()
    }
}

/// Runs the load and looks at the nodes meanwhile.
fn watched_load(
    options: &Options,
    cluster: &Nodes,
) -> Result<(Vec<Second>, Vec<Look>), BenchError> {
    eprintln!("load for {} s", options.seconds);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch(cluster, &ended));
        let bulk = scope.spawn(|| fill_logs(options, cluster));
        let seconds = write(options, cluster);
        ended.store(true, Ordering::Relaxed);
        let looks = watch.join().expect("it does not panic");
        bulk.join().expect("it does not panic")?;
        Ok((seconds?, looks?))
    })
}

/// The load of the time that is measured.
fn writes(options: &Options, cluster: &Nodes) -> LoadOptions {
    let micros = Duration::from_secs_f64(options.seconds).as_micros();
    LoadOptions {
        workload: Workload::Put,
        rate: Some(options.rate),
        value_size: options.value_size,
        warmup: Micros::from_secs(2),
        duration: Micros(u64::try_from(micros).unwrap_or(u64::MAX)),
        ..load(options, cluster)
    }
}

/// Writes large values, at a rate of its own.
fn fill_logs(options: &Options, cluster: &Nodes) -> Result<(), BenchError> {
    let load = LoadOptions {
        rate: Some(options.bulk_rate),
        value_size: options.data_value_size,
        seed: 1,
        ..writes(options, cluster)
    };
    load::run(&load, &mut |_| {}).map_err(|error| BenchError::Failed(error.to_string()))?;
    Ok(())
}

fn write(options: &Options, cluster: &Nodes) -> Result<Vec<Second>, BenchError> {
    let load = writes(options, cluster);
    let mut seconds = Vec::new();
    let mut note = |progress: load::Progress| {
        if !progress.warmup {
            let p99_us = f64::from(u32::try_from(progress.p99_us).unwrap_or(u32::MAX));
            seconds.push(Second { end: Instant::now(), p99_us });
        }
    };
    let report =
        load::run(&load, &mut note).map_err(|error| BenchError::Failed(error.to_string()))?;
    match report.first_failure {
        Some(failure) if !report.is_clean() => Err(BenchError::Failed(failure)),
        _ => Ok(seconds),
    }
}

fn watch(cluster: &Nodes, ended: &AtomicBool) -> Result<Vec<Look>, BenchError> {
    let mut looks = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        let makes_snapshot = cluster.cores()?.iter().any(|core| core.makes_snapshot);
        looks.push(Look { at: Instant::now(), makes_snapshot });
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(looks)
}

/// The 99th percentiles of the seconds all through which a snapshot was made, and of those without.
fn sort(seconds: &[Second], looks: &[Look]) -> (Vec<f64>, Vec<f64>) {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for second in seconds {
        let is_within =
            |look: &&Look| look.at < second.end && look.at + Duration::from_secs(1) >= second.end;
        let mut within = looks.iter().filter(is_within);
        let count = within.clone().count();
        match within.clone().filter(|look| look.makes_snapshot).count() {
            0 if count > 0 => without.push(second.p99_us),
            making if making > 0 && within.all(|look| look.makes_snapshot) => {
                with.push(second.p99_us);
            }
            _ => {}
        }
    }
    (with, without)
}

fn kind(p99_us: &[f64]) -> Result<Kind, BenchError> {
    if p99_us.is_empty() {
        let cause = "no second with a snapshot, or none without: try other --seconds or --rate";
        return Err(BenchError::Failed(cause.to_owned()));
    }
    Ok(Kind { seconds: p99_us.len(), p99_us: Spread::of(p99_us.iter().copied()) })
}

fn stall_max_ms(cluster: &Nodes) -> Result<Vec<f64>, BenchError> {
    Ok(cluster.cores()?.iter().map(|core| core.stall_max_ms).collect())
}

const LOOK_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_of_one_kind_or_do_not_count() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let look = |millis, makes_snapshot| Look { at: at(millis), makes_snapshot };
        let looks = [
            look(100, false),
            look(900, false),
            look(1_500, true),
            look(2_500, false),
            look(2_600, true),
        ];
        let second = |end, p99_us| Second { end: at(end), p99_us };
        let seconds =
            [second(1_000, 1.0), second(2_000, 2.0), second(3_000, 3.0), second(5_000, 5.0)];
        assert_eq!(sort(&seconds, &looks), (vec![2.0], vec![1.0]));
    }
}
