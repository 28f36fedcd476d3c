//! The `sunstar` program: command line, configuration, launch.
//!
//! ```text
//! flags ─▶ environment ─▶ file ─▶ defaults      (layers: texts with their origin)
//!                  │
//!               Config                          (values, checked alone and together)
//!                  │
//!      start: io::preflight, io::run            one node, this process
//!      dev:   three times `start`, load::run    three nodes, child processes
//! ```
//!
//! Exit codes: 0 done; 1 it failed or is refused, a load met errors, an inspection found damage, or the
//! cluster is not healthy; 2 the command line or the configuration cannot be used; 3 nobody answers, or it is
//! not done in time.

mod asking;
mod byte_size;
mod change;
mod cluster;
mod command_line;
mod config;
mod cpu_list;
mod ctl;
mod dev;
mod failure;
mod group;
mod health;
mod http;
mod inspect;
mod joining;
mod layers;
mod logging;
mod machine;
mod master;
mod member;
mod membership;
mod nearest;
mod recover_quorum;
mod setting;
mod start;
mod status;
mod table;
mod views;
mod watching;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ArgMatches;

use change::ChangeCommand;
use config::Config;
use failure::Failure;
use group::GroupCommand;
use health::HealthCommand;
use layers::{ConfigError, Layers};
use machine::Machine;
use member::ReplaceCommand;
use membership::{FirstNodes, Membership};
use views::ViewCommand;

use crate::io::identity_of;

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    let matches = command_line::command().get_matches();
    let (name, matches) = matches.subcommand().expect("a command is required");
    let done = match (name, matches.subcommand()) {
        ("start", _) => start(matches),
        ("dev", _) => dev::Options::read(matches).and_then(|options| dev::run(&options)),
        ("ctl", Some((name, matches))) => ctl(name, matches),
        ("config", Some(("check", matches))) => config_check(matches),
        ("config", Some(("print", matches))) => config_print(matches),
        ("inspect", Some((name, matches))) => inspect::inspect(name, matches),
        ("recover-quorum", _) => recover_quorum(matches),
        ("version", _) => Ok(version()),
        _ => unreachable!("every command is matched above"),
    };
    done.unwrap_or_else(|failure| failure.report())
}

fn start(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let config = Config::read(&gather(matches)?, &Machine::look())?;
    start::start(&config, matches.get_one::<i32>(command_line::EXIT_WITH_PARENT).copied())
}

fn recover_quorum(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let config = Config::read(&gather(matches)?, &Machine::look())?;
    recover_quorum::recover_quorum(&config, matches)
}

fn ctl(name: &str, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    match (name, matches.subcommand()) {
        ("status", _) => Ok(ctl::status(matches)),
        ("health", _) => Ok(HealthCommand::read(matches).run()),
        ("nodes" | "groups" | "shards" | "epochs", _) => Ok(ViewCommand::read(name, matches).run()),
        ("move-leader", _) => GroupCommand::read("transfer", matches).map(|command| command.run()),
        ("group", Some((name, matches))) => {
            GroupCommand::read(name, matches).map(|command| command.run())
        }
        ("member", Some((_, matches))) => {
            ReplaceCommand::read(matches).map(|command| command.run())
        }
        _ => ChangeCommand::read(name, matches).map(|command| command.run()),
    }
}

/// All layers of a command that takes settings.
fn gather(matches: &ArgMatches) -> Result<Layers, ConfigError> {
    let mut layers = Layers::new();
    if let Some(path) = matches.get_one::<String>("config") {
        add_file(&mut layers, Path::new(path))?;
    }
    for warning in layers.add_environment(std::env::vars()) {
        eprintln!("sunstar: warning: {warning}");
    }
    command_line::add_flags(matches, &mut layers);
    let data_dir = PathBuf::from(layers.get("node.data_dir").text);
    if let Some(found) = identity_of(&data_dir)
        && found.groups > 0
    {
        layers.add_first_start(&data_dir, found.groups);
    }
    Ok(layers)
}

fn add_file(layers: &mut Layers, path: &Path) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        cause: error.to_string(),
    })?;
    layers.add_file(path, &text)
}

/// The file alone: what the environment of this shell says is not the file's fault.
fn config_check(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let path = matches.get_one::<String>("file").expect("required");
    let mut layers = Layers::new();
    add_file(&mut layers, Path::new(path))?;
    let config = Config::read(&layers, &Machine::look())?;
    let node = config.node;
    match config.membership {
        Membership::First(first) => {
            let FirstNodes { nodes, cluster, .. } = *first;
            println!("{path}: valid; node {node} of {}, cluster {:016x}", nodes.len(), cluster.0);
        }
        Membership::Joining(joining) => {
            println!("{path}: valid; node {node}, joining through {}", joining.through);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn config_print(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let layers = gather(matches)?;
    let config = Config::read(&layers, &Machine::look())?;
    print!("{}", config.to_toml(&layers));
    Ok(ExitCode::SUCCESS)
}

fn version() -> ExitCode {
    println!("sunstar {}", env!("CARGO_PKG_VERSION"));
    ExitCode::SUCCESS
}
