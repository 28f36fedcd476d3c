//! `sunstar-nemesis`: faults against real nodes under load, and the proof that nothing promised was broken.
//!
//! ```text
//!  clients ──history──► checks        schedule: rounds of one to three faults, from one seed, and
//!     │                                  │ changes of the map that go on meanwhile: `governor`
//!     ▼   hub's network                  ▼   inject · hold · heal · measure · repair
//!  ┌─ n1 ─┐ ┌─ n2 ─┐ ┌─ n3 ─┐     signals, nftables, bad wires, full and slow disks, wrong clocks
//!  │ ext4 │ │ ext4 │ │ ext4 │     `sunstar ctl`: transfers, other voters, lost nodes
//!  └──────┘ └──────┘ └──────┘
//! ```
//!
//! What it promises to look at: the history is linearizable and each command happened at most once; every
//! key can be read at last; every group takes writes soon after each heal; no process ends by itself; every
//! change of the map that was begun comes to its end, or is refused with a reason that may be; no slot was
//! served by two groups; all replicas end in equal states, where the map says. Absent on purpose: failing and dying disks, which `sunstar-disks` does.

mod clients;
mod clock;
mod cluster;
mod control;
mod cut;
mod disk;
mod governor;
mod injection;
mod kind;
mod map;
mod network;
mod node;
mod owners;
mod pace;
mod probe;
mod remains;
mod report;
mod run;
mod schedule;
mod tap;
mod throttle;
mod trouble;
mod verdict;
mod wire;
mod wish;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use cluster::Shape;
use kind::Kind;
use run::Options;
use trouble::Trouble;

/// Faults against real Sunstar nodes under load, and the proof that nothing promised was broken. Needs root.
#[derive(Debug, Parser)]
#[command(name = "sunstar-nemesis", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Only>,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Debug, Subcommand)]
enum Only {
    /// Take down what a run left behind that was killed; every run does so at first.
    Clean {
        /// Where its files are.
        #[arg(long, default_value_os_t = std::env::temp_dir())]
        room: PathBuf,
    },
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Begin rounds of faults for so long.
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,

    /// Stop after so many faults.
    #[arg(long, value_name = "COUNT")]
    faults: Option<usize>,

    /// Equal seeds make equal schedules; real processes still differ.
    #[arg(long)]
    seed: Option<u64>,

    /// Within so many seconds after each heal every group must take writes.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    live_within: u64,

    /// Nodes; groups have three replicas each.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=7))]
    nodes: u8,

    /// Cores of each node.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    smp: u8,

    /// Commands a second.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,

    /// Only these kinds of faults and changes.
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    only: Vec<Kind>,

    /// Not these.
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    without: Vec<Kind>,

    /// The server's binary [default: the one beside this program].
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,

    /// Where disks' images and logs lie meanwhile.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    room: PathBuf,

    /// Keep logs and history of a run in which nothing was wrong, too.
    #[arg(long)]
    keep: bool,

    /// How the report is printed; progress goes to standard error.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Some(Only::Clean { room }) => remains::clean(room).map(|removed| {
            for line in removed {
                println!("{line}");
            }
            true
        }),
        None => perform(&arguments.run),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("sunstar-nemesis: {trouble}");
            ExitCode::from(trouble.exit_code())
        }
    }
}

/// Runs; whether all promises were kept.
fn perform(arguments: &RunArguments) -> Result<bool, Trouble> {
    let options = options(arguments)?;
    let begin = || eprintln!("seed {}, commit {}", options.seed, options.commit);
    begin();
    let report = run::run(&options).inspect_err(|_| begin())?;
    match arguments.output {
        Output::Text => println!("{report}"),
        Output::Json => {
            println!("{}", serde_json::to_string(&report).expect("numbers and text"));
        }
    }
    Ok(report.ok)
}

fn options(arguments: &RunArguments) -> Result<Options, Trouble> {
    sunstar_disks::require_root()?;
    sunstar_disks::require(&["ip", "losetup", "mkfs.ext4", "mount", "nft", "nsenter", "umount"])?;
    let kinds = run::kinds(&arguments.only, &arguments.without);
    if kinds.is_empty() {
        return Err(Trouble::Usage("no kind of fault is left".to_owned()));
    }
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let duration = Duration::try_from_secs_f64(arguments.minutes * 60.0);
    let duration = duration.map_err(|error| Trouble::Usage(format!("--minutes: {error}")))?;
    let (nodes, smp) = (usize::from(arguments.nodes), usize::from(arguments.smp));
    Ok(Options {
        shape: Shape { server: server(arguments)?, nodes, smp, kinds },
        seed,
        commit: run::commit(),
        duration,
        faults_max: arguments.faults.unwrap_or(usize::MAX),
        rate: arguments.rate,
        live_max: Duration::from_secs(arguments.live_within),
        room: arguments.room.clone(),
        evidence: std::env::temp_dir()
            .join(format!("sunstar-evidence-{seed}-{}", std::process::id())),
        keep: arguments.keep,
    })
}

/// The server's binary: as told, or the one beside this program.
fn server(arguments: &RunArguments) -> Result<PathBuf, Trouble> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("sunstar"));
    let path = arguments.server.clone().or_else(beside).unwrap_or_default();
    let absolute = std::path::absolute(&path).unwrap_or(path);
    if absolute.is_file() {
        return Ok(absolute);
    }
    let why = format!("`{}` is missing: cargo build, or --server PATH", absolute.display());
    Err(Trouble::Usage(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn kinds_are_left_out_by_name() {
        let without = ["sunstar-nemesis", "--without", "slow-disk,clock-rate"];
        let arguments = Arguments::try_parse_from(without).expect("sound");
        let kinds = run::kinds(&arguments.run.only, &arguments.run.without);
        assert_eq!(kinds.len(), Kind::all().count() - 2);
        assert!(!kinds.contains(&Kind::SlowDisk));
        let only = ["sunstar-nemesis", "--only", "kill-one"];
        let arguments = Arguments::try_parse_from(only).expect("sound");
        assert_eq!(run::kinds(&arguments.run.only, &[]), [Kind::KillOne]);
    }
}
