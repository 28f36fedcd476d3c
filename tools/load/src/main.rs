//! `sunstar-load`: drives a Sunstar cluster and reports throughput and latencies.
//!
//! Exit status: 0 if every command was answered, 1 if some were rejected or of unknown outcome, 2 if
//! there was no load at all.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use sunstar::base::{Micros, slot_runs};
use sunstar::client::Options;
use sunstar::load::{self, Distribution, LoadOptions, Report, Workload};

/// One value of a flag, not several.
type SlotRuns = Vec<slot_runs::Run>;

/// Drives a Sunstar cluster and reports throughput and latencies.
#[derive(Debug, Parser)]
#[command(name = "sunstar-load", version)]
struct Arguments {
    /// Client addresses of the cluster, host:port separated by commas; one is enough.
    #[arg(long, required = true, value_delimiter = ',', env = "SUNSTAR_LOAD_TARGET")]
    target: Vec<String>,
    /// What the commands are.
    #[arg(long, value_enum, default_value = "put")]
    workload: WorkloadName,
    /// Reads of the mixed workload, in percent; the rest are puts.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100))]
    read_percent: u32,
    /// Clients, each with sessions and sockets of its own [default: 4, or --in-flight if fewer].
    #[arg(long)]
    connections: Option<usize>,
    /// Commands outstanding in all, at most.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// How long to load, as in 10s, 500ms or 2m.
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// How long to load before it counts.
    #[arg(long, default_value = "0s", value_parser = duration)]
    warmup: Duration,
    /// Commands to begin per second whatever the cluster does (open loop; latency counts from when
    /// each was to begin). Without it the loop is closed.
    #[arg(long)]
    rate: Option<u64>,
    /// How many keys there are; each has 16 bytes.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Only keys of these slots, as in 0-99,200.
    #[arg(long, value_name = "SLOTS", value_parser = slot_runs::parse)]
    slots: Option<SlotRuns>,
    /// How often each key is chosen.
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: DistributionName,
    /// Bytes of each value written, or appended.
    #[arg(long, default_value_t = 16)]
    value_size: usize,
    /// Do not write every key before a workload that reads: absent keys are read too.
    #[arg(long)]
    no_preload: bool,
    /// Equal seeds choose equal commands.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long one command may take, retries included.
    #[arg(long, default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// The final report: a table, or one JSON object.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    /// Also write what every client asked and was told to this file, for sunstar-check. The cluster must be
    /// new: keys that exist before look like answers from nowhere.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Also write the latencies to this file, as a percentile distribution (.hgrm).
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WorkloadName {
    /// Set whole values.
    Put,
    /// Append; a value past 1 KiB is emptied.
    Append,
    /// Read.
    Get,
    /// Read and put.
    Mixed,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DistributionName {
    /// Each as often as any other.
    Uniform,
    /// YCSB's: a few very often.
    Zipfian,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table.
    Text,
    /// One JSON object.
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(message) => {
            eprintln!("sunstar-load: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report, String> {
    let options = options(arguments);
    let report = load::run(&options, &mut |progress| eprintln!("{progress}"))
        .map_err(|error| error.to_string())?;
    match arguments.output {
        Output::Text => println!("{report}"),
        Output::Json => {
            println!("{}", serde_json::to_string(&report).expect("numbers and text"));
        }
    }
    if let Some(path) = &arguments.hgrm {
        write_hgrm(path, &report)?;
    }
    Ok(report)
}

fn write_hgrm(path: &Path, report: &Report) -> Result<(), String> {
    std::fs::write(path, report.hgrm())
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn options(arguments: &Arguments) -> LoadOptions {
    LoadOptions {
        targets: arguments.target.clone(),
        workload: match arguments.workload {
            WorkloadName::Put => Workload::Put,
            WorkloadName::Append => Workload::Append,
            WorkloadName::Get => Workload::Get,
            WorkloadName::Mixed => Workload::Mixed,
        },
        read_percent: arguments.read_percent,
        connections: arguments.connections.unwrap_or(arguments.in_flight.clamp(1, 4)),
        in_flight: arguments.in_flight,
        duration: micros(arguments.duration),
        warmup: micros(arguments.warmup),
        rate: arguments.rate,
        keys: arguments.keys,
        slots: arguments.slots.clone().unwrap_or_default(),
        distribution: match arguments.distribution {
            DistributionName::Uniform => Distribution::Uniform,
            DistributionName::Zipfian => Distribution::Zipfian,
        },
        value_size: arguments.value_size,
        preload: !arguments.no_preload,
        seed: arguments.seed,
        history: arguments.history.clone(),
        client: Options { operation_timeout: micros(arguments.timeout), ..Options::default() },
    }
}

fn micros(duration: Duration) -> Micros {
    Micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// Reads `10s`, `500ms`, `2m`, or a bare number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is no unit of time: write 500ms, 10s, 2m or 1h")),
    };
    let number: f64 =
        number.parse().map_err(|_| format!("`{text}` is no span of time: write 10s or 500ms"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|error| format!("`{text}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for bad in ["", "s", "10x", "-1s", "1..5s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
