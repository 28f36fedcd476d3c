//! `sunstar inspect superblock`: both slots, and which one counts.

use serde_json::Value;

use super::place::{Place, name_of, read};
use super::report::{Part, Report, Table};
use crate::server::failure::Failure;
use crate::wal::{BLOCK, SlotView, Superblock};

const COLUMNS: &[&str] = &[
    "slot",
    "state",
    "current",
    "sequence",
    "cluster",
    "node",
    "incarnation",
    "cores",
    "groups",
    "segment_bytes",
    "layout",
];

/// Looks at the superblock.
pub(super) fn report(place: &Place) -> Result<Report, Failure> {
    let path = place.superblock();
    let mut bytes = read(&path)?;
    let mut part = Part::new(name_of(&path));
    part.fact("bytes", bytes.len());
    if bytes.len() != 2 * BLOCK {
        part.damage(&format!("{} bytes instead of {}", bytes.len(), 2 * BLOCK));
    }
    bytes.resize(2 * BLOCK, 0);
    let slots = [&bytes[..BLOCK], &bytes[BLOCK..]];
    let verdict = Superblock::decode(slots);
    let current = verdict.as_ref().ok().map(|(_, slot)| *slot);
    let mut rows = Vec::new();
    for (slot, bytes) in (0..).zip(slots) {
        let view = Superblock::look_at(bytes, slot);
        if view != SlotView::Blank && !matches!(view, SlotView::Whole(_)) {
            part.damage(&format!("slot {slot} cannot be read: {}", state(&view)));
        }
        rows.push(row(slot, &view, current == Some(slot)));
    }
    part.table(Table { name: "slots", columns: COLUMNS, rows });
    if let Err(error) = verdict {
        part.damage(&error);
    }
    Ok(Report { parts: vec![part] })
}

fn row(slot: u8, view: &SlotView, current: bool) -> Vec<Value> {
    let mut row = vec![slot.into(), state(view).into(), current.into()];
    match view {
        SlotView::Whole(block) => row.extend([
            block.sequence.into(),
            format!("{:016x}", block.cluster.0).into(),
            block.node.to_string().into(),
            format!("{:016x}", block.incarnation.0).into(),
            block.smp.into(),
            block.groups.into(),
            block.segment_bytes.into(),
            block.layout.into(),
        ]),
        _ => row.resize(COLUMNS.len(), Value::Null),
    }
    row
}

fn state(view: &SlotView) -> String {
    match view {
        SlotView::Blank => "blank".to_owned(),
        SlotView::Damaged => "damaged".to_owned(),
        SlotView::Refused(error) => error.to_string(),
        SlotView::Whole(_) => "whole".to_owned(),
    }
}
