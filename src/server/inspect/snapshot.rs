//! `sunstar inspect snapshot`: what each snapshot is of, and what is in it.

use std::path::Path;

use serde_json::Value;

use super::Wanted;
use super::place::{Place, name_of, read};
use super::report::{Part, Report};
use crate::base::NodeId;
use crate::kv::{Machine, Restore, RestoreError};
use crate::server::failure::Failure;
use crate::wal::{SnapshotHeader, read_snapshot};

/// Looks at all snapshots, or at one.
pub(super) fn report(place: &Place, wanted: &Wanted) -> Result<Report, Failure> {
    if let Some(path) = place.file() {
        return Ok(Report { parts: vec![part(&name_of(path), path)?] });
    }
    let mut parts = Vec::new();
    for core in place.cores(wanted)? {
        let is_wanted = |(of, _): &(&(_, _), _)| wanted.group.is_none_or(|one| one == of.0);
        for (_, path) in core.snapshots.iter().filter(is_wanted) {
            parts.push(part(&format!("{}/{}", core.name, name_of(path)), path)?);
        }
    }
    Ok(Report { parts })
}

/// A snapshot that could be read to the end.
pub(super) struct Contents {
    pub(super) header: SnapshotHeader,
    chunks: usize,
    pub(super) machine: Result<Machine, RestoreError>,
}

/// Reads a snapshot file whole; in `part` says what is wrong with it.
pub(super) fn contents(bytes: &[u8], part: &mut Part) -> Option<Contents> {
    match read_snapshot(bytes) {
        Ok((header, chunks)) => {
            let machine = restore(&header, &chunks);
            if let Err(error) = &machine {
                part.damage(error);
            }
            Some(Contents { header, chunks: chunks.len(), machine })
        }
        Err(error) => {
            part.damage(&error);
            None
        }
    }
}

fn part(name: &str, path: &Path) -> Result<Part, Failure> {
    let bytes = read(path)?;
    let mut part = Part::new(name);
    part.fact("bytes", bytes.len());
    let Some(Contents { header, chunks, machine }) = contents(&bytes, &mut part) else {
        return Ok(part);
    };
    part.fact("made_by", header.identity.node.to_string());
    part.fact("cluster", format!("{:016x}", header.identity.cluster.0));
    part.fact("incarnation", format!("{:016x}", header.identity.incarnation.0));
    part.fact("core", header.identity.core.0);
    place_facts(&mut part, &header);
    part.fact("timestamp", header.timestamp.0);
    part.fact("voters", nodes(&header.voters));
    part.fact("outgoing_voters", nodes(&header.outgoing));
    part.fact("learners", nodes(&header.learners));
    part.fact("voters_to_be", nodes(&header.voters_next));
    part.fact("chunks", chunks);
    if let Ok(machine) = machine {
        let slots = machine.slot_counts();
        part.fact("slots", slots.served);
        part.fact("slots_frozen", slots.frozen);
        part.fact("slots_arriving", slots.arriving);
        part.fact("annex_bytes", machine.annex().len());
        part.fact("keys", machine.keys());
        part.fact("sessions", machine.sessions());
        part.fact("state_bytes", machine.bytes());
        part.fact("state_hash", format!("{:016x}", machine.state_hash()));
    }
    Ok(part)
}

/// Of which group, and up to which entry.
pub(super) fn place_facts(part: &mut Part, header: &SnapshotHeader) {
    part.fact("group", header.group.to_string());
    part.fact("index", header.index.0);
    part.fact("term", header.term.0);
}

fn restore(header: &SnapshotHeader, chunks: &[&[u8]]) -> Result<Machine, RestoreError> {
    let mut restore = Restore::new(header.group);
    for chunk in chunks {
        restore.chunk(chunk)?;
    }
    restore.finish()
}

fn nodes(nodes: &[NodeId]) -> Value {
    nodes.iter().map(|node| Value::from(node.to_string())).collect()
}
