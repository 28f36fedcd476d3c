//! How fast a node reads its log and snapshots when it starts, beside its disk.
//!
//! One node is filled until its directory holds `--data` bytes, and killed. Then, in turns: its
//! files are read from one end to the other with `O_DIRECT`, and the node is started on them, by the
//! program and the code that serves. It says itself how long that took and where the time went.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
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
    /// Bytes of log and snapshots, at least.
    #[arg(long, default_value_t = 2 << 30)]
    data: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 1024)]
    value_size: usize,
    /// Measurements.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The data directory goes under it.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The sunstar program; without it, built by cargo, or the one beside this program.
    #[arg(long)]
    sunstar: Option<PathBuf>,
}

/// What the node is to reach of the disk's rate, unless it is its CPU that is busy.
const RATIO_MIN: f64 = 0.6;

/// Share of the time in which the core computes, from which on the CPU is what limits it.
const CPU_BOUND: f64 = 0.8;

/// What a node says of its recovery, in its log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Recovered {
    bytes: f64,
    took_s: f64,
    /// Waiting for the disk.
    waited_s: f64,
    /// Checksums of the log, and what its batches say.
    log_s: f64,
    /// Checksums of snapshots, and the state in them.
    snapshots_s: f64,
}

/// Measures, prints one JSON line for each round and one for all.
///
/// # Errors
/// If the node does not start. That it is too slow is printed, no error.
pub(crate) fn run(options: &Options) -> Result<(), BenchError> {
    let interrupt = Interrupt::register()?;
    let program = nodes::find(options.sunstar.as_deref())?;
    let directory = directory_in(&options.dir)?;
    let shape = Shape { nodes: 1, memory: options.data * 4 };
    let mut node = Nodes::start_shaped(&program, directory.path(), shape, &interrupt)?;
    let data = directory.path().join("n1").join("core-0");
    interrupt.explain(fill(options, &node, &data))?;
    node.kill();
    let log = directory.path().join("n1.log");
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let disk = disk_rate(&data)?;
        let already = read(&log)?.len();
        node.restart(&interrupt)?;
        node.kill();
        let recovered = recovered(&read(&log)?[already..])
            .ok_or_else(|| BenchError::Failed("the node did not say that it recovered".into()))?;
        println!("{}", recovered.line(disk));
        rounds.push((disk, recovered));
    }
    println!("{}", summary(&rounds));
    Ok(())
}

/// Writes new keys until the files hold enough.
fn fill(options: &Options, node: &Nodes, data: &Path) -> Result<(), BenchError> {
    let failed = |error: load::LoadError| BenchError::Failed(error.to_string());
    for seed in 0.. {
        let held = files(data)?.iter().map(|(_, bytes)| bytes).sum::<u64>();
        eprintln!("{} MiB of {} MiB", held >> 20, options.data >> 20);
        if held >= options.data {
            break;
        }
        let load = LoadOptions {
            targets: vec![node.targets()],
            workload: Workload::Put,
            keys: options.data / options.value_size as u64,
            value_size: options.value_size,
            duration: Micros::from_secs(2),
            seed,
            ..LoadOptions::default()
        };
        load::run(&load, &mut |_| {}).map_err(failed)?;
    }
    Ok(())
}

/// The log's and the snapshots' files, and their lengths.
fn files(data: &Path) -> Result<Vec<(PathBuf, u64)>, BenchError> {
    let what = || BenchError::io(data.display().to_string());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data).map_err(what())? {
        let entry = entry.map_err(what())?;
        let is_data = entry.path().extension().is_some_and(|end| end == "log" || end == "snap");
        // Between the two calls a snapshot may have taken an older one's place.
        if let (true, Ok(metadata)) = (is_data, entry.metadata()) {
            found.push((entry.path(), metadata.len()));
        }
    }
    Ok(found)
}

/// Reads all files from one end to the other; returns the bytes per second.
fn disk_rate(data: &Path) -> Result<f64, BenchError> {
    let memory = vec![0; READ + BLOCK];
    let aligned = memory.as_ptr().align_offset(BLOCK);
    let mut memory = memory;
    let buffer = &mut memory[aligned..aligned + READ];
    let started = Instant::now();
    let mut bytes = 0;
    for (path, length) in files(data)? {
        let what = || BenchError::io(path.display().to_string());
        let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty()).map(File::from);
        let file = file.map_err(|error| what()(error.into()))?;
        let mut offset = 0;
        while offset < length {
            let read = file.read_at(buffer, offset).map_err(what())?;
            if read == 0 {
                break;
            }
            offset += read as u64;
        }
        bytes += length;
    }
    Ok(to_f64(bytes) / started.elapsed().as_secs_f64())
}

impl Recovered {
    fn rate(&self) -> f64 {
        self.bytes / self.took_s
    }

    fn cpu_share(&self) -> f64 {
        (self.log_s + self.snapshots_s) / self.took_s
    }

    fn line(&self, disk: f64) -> serde_json::Value {
        json!({
            "kind": "round",
            "mib": self.bytes / MIB,
            "disk_mib_per_s": disk / MIB,
            "recovery_mib_per_s": self.rate() / MIB,
            "ratio": self.rate() / disk,
            "took_s": self.took_s,
            "waited_for_disk_s": self.waited_s,
            "log_s": self.log_s,
            "snapshots_s": self.snapshots_s,
        })
    }
}

fn summary(rounds: &[(f64, Recovered)]) -> serde_json::Value {
    let ratio = Spread::of(rounds.iter().map(|(disk, recovered)| recovered.rate() / disk));
    let cpu = Spread::of(rounds.iter().map(|(_, recovered)| recovered.cpu_share()));
    json!({
        "kind": "summary",
        "ratio": ratio,
        "cpu_share": cpu,
        "holds": ratio.median >= RATIO_MIN || cpu.median >= CPU_BOUND,
    })
}

/// What the last line in the node's log that tells of a recovery says.
fn recovered(log: &str) -> Option<Recovered> {
    let line =
        log.lines().rfind(|line| line.contains("recovered") && line.contains("read_bytes="))?;
    let number = |name: &str| -> Option<f64> {
        let (_, rest) = line.split_once(&format!("{name}="))?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let seconds = |name| number(name).map(|millis| millis / 1e3);
    Some(Recovered {
        bytes: number("read_bytes")?,
        took_s: seconds("took_ms")?,
        waited_s: seconds("waited_for_disk_ms")?,
        log_s: seconds("log_ms")?,
        snapshots_s: seconds("snapshots_ms")?,
    })
}

/// The log, without the colours that a terminal would show.
fn read(log: &Path) -> Result<String, BenchError> {
    std::fs::read_to_string(log).map_err(BenchError::io(log.display().to_string()))
}

fn to_f64(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).expect("below 4 TiB")) * 1024.0
}

const MIB: f64 = 1_048_576.0;
const BLOCK: usize = sunstar::wal::BLOCK;
const READ: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_what_its_recovery_took() {
        let log = "INFO core started\nINFO recovered core=0 segments=3 read_bytes=4096 \
                   waited_for_disk_ms=2 log_ms=30 snapshots_ms=4 took_ms=40\nINFO all cores have recovered node=n1 bytes=4096 \
                   took_ms=41\n";
        let expected = Recovered {
            bytes: 4096.0,
            took_s: 0.04,
            waited_s: 0.002,
            log_s: 0.03,
            snapshots_s: 0.004,
        };
        assert_eq!(recovered(log), Some(expected));
        assert_eq!(recovered("INFO recovered nothing\n"), None);
    }
}
