//! The command line.

use std::num::NonZeroUsize;
use std::ops::Range;

use clap::{Parser, ValueEnum};
use sunstar::sim::Limits;

/// Runs simulated clusters under faults and checks what they promise.
///
/// A run is a whole cluster in one thread: real reactors, real clients, simulated time, network,
/// disks and clocks. Its seed decides everything, so that the run of a seed is the same each time.
///
/// Exit status: 0 if all runs passed, 1 if one failed, 2 if there were none.
#[derive(Debug, Parser)]
#[command(name = "sunstar-sim", version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SUNSTAR_COMMIT"), ")"))]
#[command(group = clap::ArgGroup::new("what").required(true))]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Arguments {
    /// The seeds to run, as in 0..1000.
    #[arg(long, value_name = "A..B", value_parser = seeds, group = "what")]
    pub(crate) seeds: Option<Range<u64>>,
    /// One seed.
    #[arg(long, value_name = "N", group = "what")]
    pub(crate) seed: Option<u64>,
    /// So many seeds that hardly anybody ran before.
    #[arg(long, value_name = "COUNT", group = "what")]
    pub(crate) fresh: Option<u64>,
    /// Seeds that hardly anybody ran before, for so many minutes.
    #[arg(long, value_name = "N", group = "what")]
    pub(crate) minutes: Option<u64>,
    /// Makes mistakes on purpose, one after another: each must be found within a minute.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, group = "what")]
    pub(crate) planted_bugs: bool,
    /// With --planted-bugs: only those with this in their names.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) bug: String,
    /// Prints what happens as it happens; with --seed.
    #[arg(long, requires = "seed")]
    pub(crate) trace: bool,
    /// Within these limits: JSON, as a failure prints them; `{"without":["reconfigure"]}` has no run
    /// change members.
    #[arg(long, value_name = "JSON", value_parser = limits)]
    pub(crate) limits: Option<Limits>,
    /// Faults go on until so many changes of the shard map are made, and are those that matter to it:
    /// crashes, partitions, other leaders.
    #[arg(long, value_name = "N")]
    pub(crate) map_changes: Option<u64>,
    /// Runs each seed once instead of twice: without checking that both runs are the same.
    #[arg(long)]
    pub(crate) once: bool,
    /// Does not look for a smaller run that fails.
    #[arg(long)]
    pub(crate) no_shrink: bool,
    /// Runs at a time [default: one for each CPU].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
    /// Takes orders from a parent process.
    #[arg(long, hide = true, group = "what")]
    pub(crate) worker: bool,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For reading.
    Text,
    /// One JSON object.
    Json,
}

impl Arguments {
    /// What runs leave out, or do instead of what their seeds choose.
    pub(crate) fn limits(&self) -> Limits {
        let limits = self.limits.clone().unwrap_or_default();
        Limits { map_changes: self.map_changes.or(limits.map_changes), ..limits }
    }

    /// Runs at a time.
    pub(crate) fn jobs(&self) -> usize {
        let cpus = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.jobs.map_or_else(cpus, NonZeroUsize::get)
    }
}

/// Reads `3..17`.
fn seeds(text: &str) -> Result<Range<u64>, String> {
    let numbers = text
        .split_once("..")
        .and_then(|(first, end)| Some(first.trim().parse().ok()?..end.trim().parse().ok()?));
    match numbers {
        Some(range) if range.is_empty() => {
            Err("no seed: write first..end, as in 0..1000".to_owned())
        }
        Some(range) => Ok(range),
        None => Err("write first..end, as in 0..1000".to_owned()),
    }
}

/// Reads limits.
fn limits(text: &str) -> Result<Limits, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn limits_are_read() {
        let read = limits(r#"{"without":["crash"]}"#).expect("as a failure prints them");
        assert!(read.without.contains("crash") && !read.is_none());
        assert!(limits("crash").is_err());
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(seeds("3..17"), Ok(3..17));
        for bad in ["", "3", "5..5", "a..b", "7..3", "-1..3"] {
            assert!(seeds(bad).is_err(), "{bad}");
        }
    }
}
