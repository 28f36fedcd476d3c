//! `sunstar inspect sessions`: whom each group's newest snapshot remembers, and what the log adds.
//!
//! The log is not executed: whether an entry counts, only the group's leader knows. So what its entries
//! ask for is counted, beside the sessions as they were at the snapshot.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Wanted;
use super::log::CoreLog;
use super::place::{CoreDirectory, Place, read};
use super::report::{Part, Report, Table};
use super::snapshot::{Contents, contents, place_facts};
use crate::base::{AlignedBuf, GroupId, Index, SessionId};
use crate::kv::{Machine, SessionView};
use crate::server::failure::Failure;
use crate::wal::{RecoveredGroup, Superblock};
use crate::wire::client::{Request, parse_request};
use crate::wire::frame::{Frame, FrameKind, trusted_frames};

/// Looks at the sessions of all groups.
pub(super) fn report(place: &Place, wanted: &Wanted) -> Result<Report, Failure> {
    if let Some(path) = place.file() {
        let path = path.display();
        return Err(Failure::usage(format!(
            "`{path}` is a file: sessions are those of a directory"
        )));
    }
    let superblock = place.identity();
    let mut parts = Vec::new();
    for core in place.cores(wanted)? {
        parts.extend(core_parts(&core, superblock.as_ref(), wanted)?);
    }
    Ok(Report { parts })
}

fn core_parts(
    core: &CoreDirectory,
    superblock: Option<&Superblock>,
    wanted: &Wanted,
) -> Result<Vec<Part>, Failure> {
    let log = CoreLog::read(core, superblock)?;
    let snapshots = core.newest_snapshots();
    let logged = log.recovered.as_ref().map(|recovered| recovered.groups.clone());
    let logged = logged.unwrap_or_default();
    let groups: BTreeSet<GroupId> = snapshots.keys().chain(logged.keys()).copied().collect();
    let mut parts = Vec::new();
    for group in groups.into_iter().filter(|group| wanted.group.is_none_or(|one| one == *group)) {
        let mut part = Part::new(format!("{}: sessions of {group}", core.name));
        let mut covered = Index::ZERO;
        if let Some(path) = snapshots.get(&group) {
            let found = contents(&read(path)?, &mut part);
            covered = found.as_ref().map_or(Index::ZERO, |found| found.header.index);
            snapshot_part(&mut part, found);
        }
        match (&log.recovered, logged.get(&group)) {
            (Err(error), _) => part.damage(error),
            (Ok(_), Some(logged)) => log_facts(&mut part, logged, covered),
            (Ok(_), None) => {}
        }
        parts.push(part);
    }
    Ok(parts)
}

fn snapshot_part(part: &mut Part, found: Option<Contents>) {
    let Some(Contents { header, machine, .. }) = found else { return };
    place_facts(part, &header);
    if let Ok(machine) = machine {
        part.fact("sessions", machine.sessions());
        part.table(table(&machine));
    }
}

fn table(machine: &Machine) -> Table {
    let row = |session: SessionView| -> Vec<Value> {
        vec![
            session.id.to_string().into(),
            session.last_use.0.into(),
            session.lowest.0.into(),
            session.results.into(),
        ]
    };
    Table {
        name: "sessions_open",
        columns: &["session", "last_use", "lowest_sequence", "results"],
        rows: machine.session_views().map(row).collect(),
    }
}

/// What the entries behind the snapshot ask for.
#[derive(Default)]
struct Asked {
    entries: u64,
    opened: u64,
    closed: u64,
    commands: u64,
    sessions: BTreeSet<SessionId>,
}

fn log_facts(part: &mut Part, logged: &RecoveredGroup, covered: Index) {
    let mut asked = Asked::default();
    for entry in logged.entries.iter().filter(|entry| entry.index > covered) {
        asked.entries += 1;
        // Only commands hold frames, and not all of them are clients'; else an entry is counted alone.
        let payload = AlignedBuf::copy_of(&entry.payload);
        let asked_for = |frame: &Frame<'_>| entry.kind == 0 && frame.kind != FrameKind::Order;
        for frame in trusted_frames(&payload).filter(asked_for) {
            match parse_request(&frame) {
                Ok(Request::OpenSession { .. }) => asked.opened += 1,
                Ok(Request::CloseSession { .. }) => asked.closed += 1,
                Ok(Request::Write(batch)) => {
                    asked.commands += batch.len() as u64;
                    asked.sessions.insert(batch.session);
                }
                Ok(_) => {}
                Err(error) => part.damage(&format!("entry {}: {error}", entry.index)),
            }
        }
    }
    part.fact("log_entries_after", asked.entries);
    part.fact("log_opens", asked.opened);
    part.fact("log_closes", asked.closed);
    part.fact("log_commands", asked.commands);
    part.fact("log_sessions_used", asked.sessions.len());
}
