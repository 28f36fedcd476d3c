//! The load of `sunstar dev` and its figures.

use std::process::ExitCode;
use std::time::Duration;

use super::Options;
use super::interrupt::Interrupt;
use crate::base::Micros;
use crate::load::{self, LoadOptions, Workload};
use crate::server::failure::Failure;

/// Puts the load on `targets`, until a signal comes at most, and prints its figures; a success only if
/// every command was answered.
///
/// # Errors
/// If it could not run.
pub(crate) fn measure(
    targets: Vec<String>,
    options: &Options,
    interrupt: &mut Interrupt,
) -> Result<ExitCode, Failure> {
    let load = load_options(targets, options);
    eprintln!("\nA load for {} s, {} requests in flight:", options.duration_s, options.in_flight);
    let report = load::run_while(&load, &mut |progress| {
        eprintln!("{progress}");
        !interrupt.wait(GLANCE)
    });
    let report = report.map_err(Failure::failed)?;
    if options.json {
        println!("{}", serde_json::to_string(&report).expect("a report is plain"));
    } else {
        println!("\n{report}");
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How long the load looks for a signal, each second.
const GLANCE: Duration = Duration::from_micros(1);

fn load_options(targets: Vec<String>, options: &Options) -> LoadOptions {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    LoadOptions {
        targets,
        workload: workload(&options.workload),
        connections: size(options.connections.min(options.in_flight)),
        in_flight: size(options.in_flight),
        duration: Micros::from_secs(options.duration_s),
        value_size: size(options.value_size),
        ..LoadOptions::default()
    }
}

fn workload(name: &str) -> Workload {
    match name {
        "put" => Workload::Put,
        "append" => Workload::Append,
        "get" => Workload::Get,
        "mixed" => Workload::Mixed,
        other => unreachable!("`{other}` passed the command line"),
    }
}
