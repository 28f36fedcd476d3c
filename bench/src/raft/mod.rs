//! Our Raft library beside TiKV's: what a proposal costs, and what a group costs that is idle.
//!
//! Three nodes in one thread, no disk, no network, no encoding (`cluster`): what is left is the
//! libraries. Both are measured in turns within one process, so that what disturbs one round
//! disturbs both; CPU time is counted, which others on the machine do not change.

mod cluster;
mod ours;
mod report;
mod theirs;

use self::cluster::{Cluster, Replica, TICK_MS};
use self::ours::Ours;
use self::report::{HEAD, Idle, Line, Point};
use self::theirs::Theirs;
use crate::cpu;
use crate::error::BenchError;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Numbers of groups.
    #[arg(long, value_delimiter = ',', default_value = "1,64,1024")]
    groups: Vec<u32>,
    /// Proposals per group and round.
    #[arg(long, value_delimiter = ',', default_value = "1,16,256")]
    batches: Vec<usize>,
    /// Measurements of each library at each point.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Proposals in one measurement, at least.
    #[arg(long, default_value_t = 65_536)]
    proposals: usize,
    /// Idle groups; 0 leaves that measurement out.
    #[arg(long, default_value_t = 10_000)]
    idle_groups: u32,
    /// A table, or a JSON line for each of its rows.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Run only ours, for work on it: proposes for about this many seconds at each point.
    #[arg(long)]
    only_ours: Option<f64>,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A table.
    Text,
    /// JSON lines.
    Json,
}

/// Measures both libraries, prints as it goes.
///
/// # Errors
/// If a library did not do what it was measured for. That ours costs too much is printed, no error.
pub(crate) fn run(options: &Options) -> Result<(), BenchError> {
    if options.output == Output::Text {
        println!("{HEAD}");
    }
    for &groups in &options.groups {
        for &batch in &options.batches {
            match options.only_ours {
                Some(seconds) => only_ours(groups, batch, seconds)?,
                None => options.print(&Line::Point(point(options, groups, batch)?)),
            }
        }
    }
    if options.idle_groups > 0 {
        options.print(&Line::Idle(idle(options)?));
    }
    Ok(())
}

impl Options {
    fn print(&self, line: &Line) {
        match self.output {
            Output::Text => println!("{line}"),
            Output::Json => {
                println!("{}", serde_json::to_string(line).expect("numbers and text"));
            }
        }
    }

    /// How many of the loop's rounds make a measurement.
    fn repeats(&self, groups: u32, batch: usize) -> usize {
        (self.proposals / (groups as usize * batch)).max(1)
    }
}

fn point(options: &Options, groups: u32, batch: usize) -> Result<Point, BenchError> {
    let repeats = options.repeats(groups, batch);
    let mut ours = Cluster::<Ours>::new(groups, &APART)?;
    let mut theirs = Cluster::<Theirs>::new(groups, &ONE_BY_ONE)?;
    let mut joined = Cluster::<Theirs>::new(groups, &JOINED)?;
    let mut rounds = Vec::new();
    // The first warms caches and buffers up.
    for round in 0..=options.rounds {
        let figures = [
            propose(&mut ours, repeats, groups, batch),
            propose(&mut theirs, repeats, groups, batch),
            propose(&mut joined, repeats, groups, batch),
        ];
        if round > 0 {
            rounds.push(figures);
        }
    }
    ours.settle()?;
    theirs.settle()?;
    joined.settle()?;
    Ok(Point::of(groups, batch, &rounds))
}

fn only_ours(groups: u32, batch: usize, seconds: f64) -> Result<(), BenchError> {
    let mut ours = Cluster::<Ours>::new(groups, &APART)?;
    let until = cpu::own().as_secs_f64() + seconds;
    while cpu::own().as_secs_f64() < until {
        ours.round(batch);
    }
    ours.settle()
}

/// Returns the CPU nanoseconds per proposal.
fn propose<R: Replica>(cluster: &mut Cluster<R>, repeats: usize, groups: u32, batch: usize) -> f64 {
    let before = cpu::own();
    for _ in 0..repeats {
        cluster.round(batch);
    }
    let proposals = repeats * groups as usize * batch;
    nanoseconds(before) / f64::from(u32::try_from(proposals).expect("a second's worth"))
}

fn idle(options: &Options) -> Result<Idle, BenchError> {
    let groups = options.idle_groups;
    let mut ours = Cluster::<Ours>::new(groups, &APART)?;
    let mut quiet = Cluster::<Ours>::new(groups, &TOGETHER)?;
    let mut theirs = Cluster::<Theirs>::new(groups, &JOINED)?;
    let mut rounds = Vec::new();
    for round in 0..=options.rounds {
        let figures =
            [rest(&mut ours, groups), rest(&mut quiet, groups), rest(&mut theirs, groups)];
        if round > 0 {
            rounds.push(figures);
        }
    }
    if ours.is_led() && quiet.is_led() && theirs.is_led() {
        return Ok(Idle::of(groups, &rounds));
    }
    Err(BenchError::Failed("an idle group lost its leader".to_owned()))
}

/// Returns the CPU nanoseconds per group and second of virtual time.
fn rest<R: Replica>(cluster: &mut Cluster<R>, groups: u32) -> f64 {
    let before = cpu::own();
    for _ in 0..1_000 / TICK_MS {
        cluster.tick();
    }
    nanoseconds(before) / f64::from(groups)
}

fn nanoseconds(since: std::time::Duration) -> f64 {
    cpu::own().saturating_sub(since).as_secs_f64() * 1e9
}

/// Each of our groups finds out by itself who is alive, as theirs do.
const APART: ours::Settings = ours::Settings { shared_detector: false };
/// Our groups are told who is alive.
const TOGETHER: ours::Settings = ours::Settings { shared_detector: true };
/// Their default.
const ONE_BY_ONE: theirs::Settings = theirs::Settings { batch_append: false };
/// Their appends of one turn as one message.
const JOINED: theirs::Settings = theirs::Settings { batch_append: true };
