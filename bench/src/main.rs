//! `sunstar-bench`: benchmarks, most of whole clusters; one command each, JSON lines on stdout,
//! progress on stderr. `bench/README.md` says how to run them and what the columns mean.

mod child;
mod compare;
mod cpu;
mod error;
mod groups;
#[cfg(feature = "server")]
mod log;
mod movement;
mod nodes;
mod raft;
mod recovery;
mod snapshot;
mod soak;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Side-by-side benchmarks of Sunstar: JSON lines on stdout, progress on stderr.
#[derive(Debug, Parser)]
#[command(name = "sunstar-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The same work for Sunstar and for another system, in turns, on the same disk.
    #[command(subcommand)]
    Compare(compare::Against),
    /// A long load beside busy loops that occupy the cores; fails on errors and on stalls.
    Soak(soak::Options),
    /// Our Raft library beside TiKV's: CPU time per proposal, in memory and in one thread.
    Raft(raft::Options),
    /// Our log beside the crate `raft-engine` and beside a bare loop of durable writes.
    #[cfg(feature = "server")]
    Log(log::Options),
    /// How fast a node reads its log and snapshots when it starts, beside its disk.
    Recovery(recovery::Options),
    /// What writes feel of a snapshot that is made beside them.
    Snapshot(snapshot::Options),
    /// Throughput by how many groups there are, all busy or most at rest.
    Groups(groups::Options),
    /// What clients feel while groups, slots and nodes come and go.
    Movement(movement::Options),
    /// One client of one run, in a process of its own so that its CPU time is counted apart.
    #[command(subcommand, hide = true)]
    Drive(compare::Drive),
    /// Occupies a core until it is killed.
    #[command(hide = true)]
    BusyLoop,
    /// Runs a program that dies with the process that started it.
    #[command(hide = true)]
    Leashed(child::Leashed),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Compare(against) => compare::run(&against),
        Command::Soak(options) => soak::run(&options),
        Command::Raft(options) => raft::run(&options),
        #[cfg(feature = "server")]
        Command::Log(options) => log::run(&options),
        Command::Recovery(options) => recovery::run(&options),
        Command::Snapshot(options) => snapshot::run(&options),
        Command::Groups(options) => groups::run(&options),
        Command::Movement(options) => movement::run(&options),
        Command::BusyLoop => loop {
            std::hint::black_box(());
        },
        Command::Drive(drive) => compare::drive(&drive),
        Command::Leashed(leashed) => Err(leashed.exec()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sunstar-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
