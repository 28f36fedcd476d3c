//! The client that Sunstar is measured with: the load engine, in a process of its own.

use std::time::Duration;

use sunstar::base::{Micros, slot_runs};
use sunstar::load::{self, LoadOptions, Report, Workload};

use super::drive::{Begin, say};
use super::report::{Drove, Operation, to_f64};
use crate::error::BenchError;

/// One client of Sunstar, in a process of its own.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DriveOurs {
    /// Client addresses of some nodes.
    #[arg(long, value_delimiter = ',', required = true)]
    targets: Vec<String>,
    #[command(flatten)]
    begin: Begin,
    /// Connections of the client.
    #[arg(long)]
    connections: usize,
    /// Only keys of these slots, as in 0-99,200.
    #[arg(long, value_parser = slot_runs::parse)]
    slots: Option<SlotRuns>,
}

/// One value of a flag, not several.
type SlotRuns = Vec<slot_runs::Run>;

impl DriveOurs {
    /// Fills the keys if asked to, warms up, and measures.
    ///
    /// # Errors
    /// If the cluster cannot be reached, or no operation succeeded.
    pub(crate) fn run(&self) -> Result<Drove, BenchError> {
        if self.begin.preload {
            // Only loads that read fill the keys first: one read is enough for that.
            run(&LoadOptions { workload: Workload::Get, preload: true, ..self.load(0.001) })?;
        }
        if self.begin.warmup > 0.0 {
            run(&self.load(self.begin.warmup))?;
        }
        say("begin");
        let report = run(&self.load(self.begin.seconds))?;
        say("end");
        drove(&report)
    }

    fn load(&self, seconds: f64) -> LoadOptions {
        let span = Duration::from_secs_f64(seconds);
        LoadOptions {
            targets: self.targets.clone(),
            workload: match self.begin.operation {
                Operation::Write => Workload::Put,
                Operation::Read => Workload::Get,
            },
            connections: self.connections,
            in_flight: self.begin.outstanding,
            duration: Micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)),
            keys: self.begin.keys,
            slots: self.slots.clone().unwrap_or_default(),
            value_size: self.begin.value_size,
            preload: false,
            seed: self.begin.seed,
            ..LoadOptions::default()
        }
    }
}

fn run(options: &LoadOptions) -> Result<Report, BenchError> {
    load::run(options, &mut |_| {}).map_err(|error| BenchError::Failed(error.to_string()))
}

fn drove(report: &Report) -> Result<Drove, BenchError> {
    if let Some(failure) = &report.first_failure {
        eprintln!("the first operation that failed: {failure}");
    }
    if report.ops == 0 {
        return Err(BenchError::Failed("no operation succeeded within the window".into()));
    }
    Ok(Drove {
        ops: report.ops,
        seconds: report.duration_s,
        p50_us: to_f64(report.p50_us),
        p99_us: to_f64(report.p99_us),
        errors: report.errors + report.unknown,
        client_cpu_s: report.cpu_s,
    })
}
