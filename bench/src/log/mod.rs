//! Our log beside the crate `raft-engine` and beside a bare loop of durable writes.
//!
//! A batch holds one entry for each of a number of groups and is durable before it counts. All
//! three write to the same disk in turns, so that what disturbs one round disturbs all.

mod bare;
mod ours;
mod report;
mod theirs;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::bare::Bare;
use self::ours::Ours;
use self::report::{HEAD, Point};
use self::theirs::Theirs;
use crate::child::{Interrupt, directory_in};
use crate::cpu;
use crate::error::BenchError;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Numbers of groups: entries in a batch.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    groups: Vec<u32>,
    /// Batches under way at any time.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    depths: Vec<usize>,
    /// Bytes of an entry.
    #[arg(long, default_value_t = 128)]
    entry_size: usize,
    /// Measurements of each at each point.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Batches in one measurement.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    batches: u64,
    /// The files go under it.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// A table, or a JSON line for each of its rows.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A table.
    Text,
    /// JSON lines.
    Json,
}

/// Bytes of a segment, and of the file that the bare loop writes.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Something that batches are appended to.
trait Appender {
    /// Appends `batches` batches of `work`, `depth` of them under way at any time; returns once all
    /// are durable.
    fn append(&mut self, work: Work, batches: u64, depth: usize) -> Result<(), BenchError>;
}

/// What a batch holds.
#[derive(Clone, Copy, Debug)]
struct Work {
    /// An entry of each.
    groups: u32,
    entry_size: usize,
}

/// What one measurement came to.
#[derive(Clone, Copy, Debug)]
struct Cost {
    batches_per_s: f64,
    cpu_us: f64,
}

/// Measures all three, prints as it goes.
///
/// # Errors
/// If a file cannot be written. That ours is too slow is printed, no error.
pub(crate) fn run(options: &Options) -> Result<(), BenchError> {
    let interrupt = Interrupt::register()?;
    let directory = directory_in(&options.dir)?;
    let mut bare = Bare::open(&directory.path().join("bare"), SEGMENT_BYTES)?;
    let mut ours = Ours::open(&directory.path().join("ours"), SEGMENT_BYTES)?;
    let mut theirs = Theirs::open(&directory.path().join("theirs"))?;
    if options.output == Output::Text {
        println!("{HEAD}");
    }
    for &depth in &options.depths {
        for &groups in &options.groups {
            let work = Work { groups, entry_size: options.entry_size };
            let mut rounds = Vec::new();
            // The first fills files and caches.
            for round in 0..=options.rounds {
                interrupt.check()?;
                let figures = [
                    measure(&mut bare, work, options.batches, depth)?,
                    measure(&mut ours, work, options.batches, depth)?,
                    measure(&mut theirs, work, options.batches, depth)?,
                ];
                if round > 0 {
                    rounds.push(figures);
                }
            }
            options.print(&Point::of(work, depth, &rounds));
        }
    }
    Ok(())
}

impl Options {
    fn print(&self, point: &Point) {
        match self.output {
            Output::Text => println!("{point}"),
            Output::Json => {
                println!("{}", serde_json::to_string(point).expect("numbers"));
            }
        }
    }
}

impl Work {
    /// Bytes that a batch takes in our log.
    fn batch_bytes(self) -> usize {
        const HEADER: usize = 64;
        const DESCRIPTOR: usize = 40;
        let entries = self.groups as usize * (DESCRIPTOR + self.entry_size);
        (HEADER + entries).next_multiple_of(sunstar::wal::BLOCK)
    }
}

fn measure(
    appender: &mut dyn Appender,
    work: Work,
    batches: u64,
    depth: usize,
) -> Result<Cost, BenchError> {
    let (started, before) = (Instant::now(), cpu::own());
    appender.append(work, batches, depth)?;
    let (took, used) = (started.elapsed(), cpu::own().saturating_sub(before));
    let count = f64::from(u32::try_from(batches).expect("a few seconds' worth"));
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(Cost { batches_per_s: count / took.as_secs_f64(), cpu_us: micros(used) / count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_three_appends() {
        let directory = directory_in(std::path::Path::new("target")).expect("a directory");
        let path = |name| directory.path().join(name);
        let work = Work { groups: 16, entry_size: 128 };
        let mut bare = Bare::open(&path("bare"), 1 << 20).expect("a file");
        let mut ours = Ours::open(&path("ours"), 1 << 20).expect("a log");
        let all: [&mut dyn Appender; 2] = [&mut bare, &mut ours];
        for appender in all {
            // More than a segment's worth.
            appender.append(work, 400, 3).expect("appended");
        }
    }

    #[test]
    fn a_batch_takes_whole_blocks() {
        assert_eq!(Work { groups: 1, entry_size: 128 }.batch_bytes(), 4096);
        assert_eq!(Work { groups: 64, entry_size: 128 }.batch_bytes(), 12_288);
    }
}
