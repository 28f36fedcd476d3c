//! `sunstar inspect`: what lies in a node's data directory, while the node does not run.
//!
//! ```text
//!   superblock ─┐                            ┌─▶ text
//!   map         │
//!   log         ├─▶ Report { Part { facts, tables, damage } } ─┤
//!   snapshot    │                            └─▶ JSON
//!   sessions  ──┘
//! ```
//!
//! Nothing is opened for writing and no lock is taken, so that damaged files can be looked at as often
//! as one likes. Every checksum is verified. Exit code 0: all sound; 1: damage was found, and named;
//! 2: there is nothing to look at.

mod log;
mod map;
mod place;
mod report;
mod sessions;
mod snapshot;
mod superblock;

use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;

use self::place::Place;
use self::report::Report;
use super::command_line::{CORE, ENTRIES, GROUP, PATH};
use super::failure::Failure;
use crate::base::GroupId;

/// What part of a place is asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    /// One core, or all.
    core: Option<u16>,
    /// One group, or all.
    group: Option<GroupId>,
    /// Whether entries are listed one by one.
    entries: bool,
}

/// Shows the part of a data directory that `name` says.
pub(crate) fn inspect(name: &str, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let path = matches.get_one::<String>(PATH).expect("required");
    let flag = |name| matches.try_get_one::<bool>(name).ok().flatten() == Some(&true);
    let one = |name| matches.try_get_one::<u16>(name).ok().flatten().copied();
    let group = matches.try_get_one::<GroupId>(GROUP).ok().flatten().copied();
    let wanted = Wanted { core: one(CORE), group, entries: flag(ENTRIES) };
    let place = Place::at(Path::new(path))?;
    if let Some(process) = place.is_used_by() {
        eprintln!(
            "sunstar: warning: process {process} works in `{path}`: what it is writing just now \
             looks unfinished here, or damaged. Stop the node and look again before you conclude \
             anything"
        );
    }
    let report = look(name, &place, &wanted)?;
    let as_json = matches.get_one::<String>("output").is_some_and(|output| output == "json");
    print!("{}", if as_json { report.to_json(path) } else { report.to_text() });
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn look(name: &str, place: &Place, wanted: &Wanted) -> Result<Report, Failure> {
    match name {
        "superblock" => superblock::report(place),
        "map" => map::report(place),
        "log" => log::report(place, wanted),
        "snapshot" => snapshot::report(place, wanted),
        "sessions" => sessions::report(place, wanted),
        _ => unreachable!("every command is matched above"),
    }
}

#[cfg(test)]
mod tests;
