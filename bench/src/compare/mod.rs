//! The same work for Sunstar and for another system, in turns.
//!
//! ```text
//! for each round, value size and number of outstanding requests:
//!   probe the disk │ etcd: start, write, read, stop │ sunstar: the same │ probe the disk
//! ```
//!
//! Only one cluster runs at a time, each on a fresh directory of the same file system; who comes
//! first changes with every round. The client is a process of its own, so that its CPU time and
//! the servers' are counted apart, over the same window.

mod drive;
mod etcd;
mod etcd_client;
mod ours;
mod probe;
mod protobuf;
mod report;

use std::path::PathBuf;

use serde_json::json;

use self::etcd::Etcd;
pub(crate) use self::report::{Drove, Spread};
use self::report::{Operation, Pair, Ratio, Run, Work, summarize};
use crate::child::{self, Driver, Interrupt};
use crate::cpu;
use crate::error::BenchError;
use crate::nodes::{self, Nodes};

/// The other system.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Against {
    /// Three etcd nodes (Debian package `etcd-server`) against three of ours.
    Etcd(Options),
}

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Requests under way at any time, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,64,512")]
    outstanding: Vec<usize>,
    /// Bytes of a value, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "16,128,1024")]
    value_size: Vec<usize>,
    /// What is done, one after the other.
    #[arg(long, value_delimiter = ',', value_enum, default_value = "write,read")]
    operation: Vec<Operation>,
    /// Rounds of everything.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds measured of each run.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Keys, of 16 bytes, all of them present before anything is measured.
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// Data directories go under it; both systems' are on its file system. It must have `O_DIRECT`.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The etcd program.
    #[arg(long, default_value = "etcd")]
    etcd: PathBuf,
    /// Threads of the client of etcd.
    #[arg(long, default_value_t = 1)]
    etcd_threads: usize,
    /// Connections of the client of etcd, at most one for each outstanding request.
    #[arg(long, default_value_t = 4)]
    etcd_connections: usize,
    /// Lets the client of etcd spread its requests over all nodes, instead of sending them to the
    /// leader, which spares etcd a forwarding.
    #[arg(long)]
    etcd_spread: bool,
    /// The sunstar program; without it, built by cargo, or the one beside this program.
    #[arg(long)]
    sunstar: Option<PathBuf>,
    /// Connections of the client of Sunstar, at most one for each outstanding request.
    #[arg(long, default_value_t = 4)]
    sunstar_connections: usize,
    /// Measures only one of the two, for work on it; then there are no ratios.
    #[arg(long, value_enum)]
    only: Option<System>,
    /// Seed of the keys' order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum System {
    /// The other one.
    Etcd,
    /// This one.
    Sunstar,
}

/// Which client to be.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Drive {
    /// Of etcd.
    Etcd(etcd_client::DriveEtcd),
    /// Of Sunstar.
    Sunstar(ours::DriveOurs),
}

/// Is one client process.
///
/// # Errors
/// If nothing could be measured.
pub(crate) fn drive(drive: &Drive) -> Result<(), BenchError> {
    let measured = match drive {
        Drive::Etcd(etcd) => etcd.run(),
        Drive::Sunstar(ours) => ours.run(),
    }?;
    drive::say(&serde_json::to_string(&measured).expect("plain figures"));
    Ok(())
}

/// Measures and prints.
///
/// # Errors
/// If etcd is missing, a cluster does not start, an operation failed, or the user wants an end.
pub(crate) fn run(against: &Against) -> Result<(), BenchError> {
    let Against::Etcd(options) = against;
    let bench = Bench::new(options)?;
    let result = match options.only {
        Some(system) => bench.run_one(system),
        None => bench.run_both(),
    };
    bench.interrupt.explain(result)
}

struct Bench<'a> {
    options: &'a Options,
    etcd: PathBuf,
    sunstar: PathBuf,
    interrupt: Interrupt,
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options) -> Result<Self, BenchError> {
        let interrupt = Interrupt::register()?;
        let wanted = |system| options.only.is_none_or(|only| only == system);
        Ok(Self {
            options,
            etcd: if wanted(System::Etcd) { Etcd::find(&options.etcd)? } else { PathBuf::new() },
            sunstar: if wanted(System::Sunstar) {
                nodes::find(options.sunstar.as_deref())?
            } else {
                PathBuf::new()
            },
            interrupt,
        })
    }

    fn run_one(&self, system: System) -> Result<(), BenchError> {
        for (round, value_size, outstanding) in self.rounds() {
            for (work, run) in self.life(system, round, value_size, outstanding)? {
                println!("{}", json!({"kind": "run", "round": round, "work": work, "run": run}));
            }
        }
        Ok(())
    }

    fn run_both(&self) -> Result<(), BenchError> {
        let mut pairs = Vec::new();
        for (round, value_size, outstanding) in self.rounds() {
            for pair in self.pair(round, value_size, outstanding)? {
                println!("{}", json!({"kind": "pair", "pair": pair}));
                pairs.push(pair);
            }
        }
        println!("{}", json!({"kind": "summary", "works": summarize(&pairs)}));
        refuse_errors(&pairs)
    }

    fn rounds(&self) -> impl Iterator<Item = (usize, usize, usize)> + 'a {
        let options = self.options;
        (1..=options.rounds).flat_map(move |round| {
            options.value_size.iter().flat_map(move |value_size| {
                options.outstanding.iter().map(move |count| (round, *value_size, *count))
            })
        })
    }

    fn pair(
        &self,
        round: usize,
        value_size: usize,
        outstanding: usize,
    ) -> Result<Vec<Pair>, BenchError> {
        let probe_before_us = self.probe()?;
        let life = |system| self.life(system, round, value_size, outstanding);
        let (etcd, sunstar) = if round % 2 == 1 {
            let etcd = life(System::Etcd)?;
            (etcd, life(System::Sunstar)?)
        } else {
            let sunstar = life(System::Sunstar)?;
            (life(System::Etcd)?, sunstar)
        };
        let probe_after_us = self.probe()?;
        let both = etcd.into_iter().zip(sunstar);
        Ok(both
            .map(|((work, etcd), (_, sunstar))| {
                let ratio = Ratio::of(&sunstar, &etcd);
                Pair { work, round, probe_before_us, probe_after_us, etcd, sunstar, ratio }
            })
            .collect())
    }

    /// One life of one cluster: a run of each operation.
    fn life(
        &self,
        system: System,
        round: usize,
        value_size: usize,
        outstanding: usize,
    ) -> Result<Vec<(Work, Run)>, BenchError> {
        let directory = child::directory_in(&self.options.dir)?;
        let cluster = match system {
            System::Etcd => {
                Cluster::Etcd(Etcd::start(&self.etcd, directory.path(), &self.interrupt)?)
            }
            System::Sunstar => {
                Cluster::Ours(Nodes::start(&self.sunstar, directory.path(), &self.interrupt)?)
            }
        };
        let works = self.options.operation.iter();
        works
            .map(|operation| Work { operation: *operation, value_size, outstanding })
            .enumerate()
            .map(|(position, work)| {
                eprint!("round {round} {system:?} {work:?} ");
                let run = self.measure(&cluster, work, position == 0)?;
                eprintln!("{:.0}/s p50 {:.0} µs", run.ops_per_s, run.p50_us);
                Ok((work, run))
            })
            .collect()
    }

    fn measure(&self, cluster: &Cluster, work: Work, preload: bool) -> Result<Run, BenchError> {
        self.interrupt.check()?;
        let mut arguments = cluster.drive_arguments(self.options, work)?;
        arguments.extend(self.begin_arguments(work));
        arguments.extend(preload.then(|| "--preload".to_owned()));
        let pids = cluster.pids();
        let mut driver = Driver::start(arguments)?;
        driver.expect("begin")?;
        let before = cpu::of(&pids)?;
        driver.expect("end")?;
        let used = cpu::of(&pids)?.saturating_sub(before);
        let drove: Drove = driver.result()?;
        Ok(Run::new(&drove, used.as_secs_f64()))
    }

    fn begin_arguments(&self, work: Work) -> Vec<String> {
        let operation = match work.operation {
            Operation::Write => "write",
            Operation::Read => "read",
        };
        let pairs = [
            ("operation", operation.to_owned()),
            ("outstanding", work.outstanding.to_string()),
            ("value-size", work.value_size.to_string()),
            ("keys", self.options.keys.to_string()),
            ("seconds", self.options.seconds.to_string()),
            ("warmup", self.options.warmup.to_string()),
            ("seed", self.options.seed.to_string()),
        ];
        pairs.into_iter().map(|(flag, value)| format!("--{flag}={value}")).collect()
    }

    fn probe(&self) -> Result<f64, BenchError> {
        probe::durable_write_us(child::directory_in(&self.options.dir)?.path())
    }
}

enum Cluster {
    Etcd(Etcd),
    Ours(Nodes),
}

impl Cluster {
    fn pids(&self) -> Vec<u32> {
        match self {
            Self::Etcd(etcd) => etcd.pids(),
            Self::Ours(ours) => ours.pids(),
        }
    }

    /// Arguments of the client that only this system's has.
    fn drive_arguments(&self, options: &Options, work: Work) -> Result<Vec<String>, BenchError> {
        Ok(match self {
            Self::Etcd(etcd) => {
                let mut endpoints = etcd.endpoints()?;
                if !options.etcd_spread {
                    endpoints.truncate(1);
                }
                let endpoints: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
                let connections = options.etcd_connections.min(work.outstanding);
                vec![
                    "drive".to_owned(),
                    "etcd".to_owned(),
                    format!("--endpoints={}", endpoints.join(",")),
                    format!("--threads={}", options.etcd_threads.min(connections)),
                    format!("--connections={connections}"),
                ]
            }
            Self::Ours(ours) => vec![
                "drive".to_owned(),
                "sunstar".to_owned(),
                format!("--targets={}", ours.targets()),
                format!("--connections={}", options.sunstar_connections.min(work.outstanding)),
            ],
        })
    }
}

/// Figures of a run in which operations failed are printed, but are no result.
fn refuse_errors(pairs: &[Pair]) -> Result<(), BenchError> {
    let errors: u64 = pairs.iter().map(|pair| pair.etcd.errors + pair.sunstar.errors).sum();
    if errors == 0 {
        return Ok(());
    }
    Err(BenchError::Failed(format!("{errors} operations failed: see `errors` in the lines above")))
}
