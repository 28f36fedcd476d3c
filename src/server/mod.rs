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
//! Exit codes: 0 done; 1 it failed, a load met errors or an inspection found damage; 2 the command line or the configuration
//! cannot be used.

mod asking;
mod byte_size;
mod cluster;
mod command_line;
mod config;
mod cpu_list;
mod ctl;
mod dev;
mod failure;
mod group;
mod http;
mod inspect;
mod layers;
mod logging;
mod machine;
mod member;
mod nearest;
mod recover_quorum;
mod setting;
mod start;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ArgMatches;

use config::Config;
use failure::Failure;
use group::GroupCommand;
use layers::{ConfigError, Layers};
use machine::Machine;
use member::ReplaceCommand;

use crate::io::groups_at_first_start;

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    let matches = command_line::command().get_matches();
    let (name, matches) = matches.subcommand().expect("a command is required");
    let done = match (name, matches.subcommand()) {
        ("start", _) => start(matches),
        ("dev", _) => dev::Options::read(matches).and_then(|options| dev::run(&options)),
        ("ctl", Some(("status", matches))) => Ok(ctl_status(matches)),
        ("ctl", Some(("group", matches))) => {
            let (name, matches) = matches.subcommand().expect("a command is required");
            GroupCommand::read(name, matches).map(|command| command.run())
        }
        ("ctl", Some(("member", matches))) => {
            let (_, matches) = matches.subcommand().expect("a command is required");
            ReplaceCommand::read(matches).map(|command| command.run())
        }
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

fn ctl_status(matches: &ArgMatches) -> ExitCode {
    let addresses: Vec<String> =
        matches.get_many::<String>("admin-addr").expect("has a default").cloned().collect();
    let as_json = matches.get_one::<String>("output").is_some_and(|output| output == "json");
    ctl::status(&addresses, matches.get_flag("hash"), as_json)
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
    if let Some(groups) = groups_at_first_start(&data_dir) {
        layers.add_first_start(&data_dir, groups);
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
    let count = config.initial_nodes.len();
    println!("{path}: valid; node {} of {count}, cluster {:016x}", config.node, config.cluster.0);
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
