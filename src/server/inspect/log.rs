//! `sunstar inspect log`: segments, batches and entries as they lie, and what the log comes to.

use serde_json::Value;

use super::Wanted;
use super::place::{CoreDirectory, Place, name_of, read};
use super::report::{Part, Report, Table};
use crate::base::{GroupId, Index};
use crate::io::segment_of;
use crate::server::failure::Failure;
use crate::wal::{
    BatchNumber, BatchView, DoubtRecord, HeaderView, Identity, LogConfig, LogError, LogView,
    RecordView, Recovered, RecoveredGroup, Recovery, SegmentId, SegmentView, Superblock,
};

/// A core's log: what lies there, and what recovery makes of it.
pub(super) struct CoreLog {
    pub(super) view: LogView,
    pub(super) recovered: Result<Recovered, LogError>,
    /// What keeps single files out of the log.
    pub(super) refused: Vec<LogError>,
}

/// Looks at all logs, or at one segment.
pub(super) fn report(place: &Place, wanted: &Wanted) -> Result<Report, Failure> {
    if let Some(path) = place.file() {
        let segment = segment_of(&name_of(path)).unwrap_or_default();
        let mut view = LogView::default();
        view.push(SegmentView::of(segment, &read(path)?));
        return Ok(Report { parts: segments(&view, "", wanted) });
    }
    let superblock = place.identity();
    let mut parts = Vec::new();
    for core in place.cores(wanted)? {
        let log = CoreLog::read(&core, superblock.as_ref())?;
        parts.push(summary(&core.name, &log, wanted));
        parts.extend(segments(&log.view, &format!("{}/", core.name), wanted));
    }
    Ok(Report { parts })
}

impl CoreLog {
    /// Reads a core's segments. Without a superblock, the first header says whose they are.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(super) fn read(
        core: &CoreDirectory,
        superblock: Option<&Superblock>,
    ) -> Result<Self, Failure> {
        let mut view = LogView::default();
        let mut bytes_max = 0;
        for (&segment, path) in &core.segments {
            let bytes = read(path)?;
            bytes_max = bytes_max.max(bytes.len() as u64);
            view.push(SegmentView::of(segment, &bytes));
        }
        let first = view.segments.iter().find_map(header).map(|header| header.identity);
        let identity = first.unwrap_or_default();
        let config = superblock
            .map_or(LogConfig { identity, segment_bytes: bytes_max, seed: 0 }, |superblock| {
                superblock.log_config(core.core)
            });
        let (recovered, refused) = recover(core, &view, config)?;
        Ok(Self { view, recovered, refused })
    }
}

/// Reads the files once more, as a node that starts does.
fn recover(
    core: &CoreDirectory,
    view: &LogView,
    config: LogConfig,
) -> Result<(Result<Recovered, LogError>, Vec<LogError>), Failure> {
    let mut recovery = Recovery::new(config);
    let (mut readable, mut refused) = (Vec::new(), Vec::new());
    for segment in &view.segments {
        match recovery.inspect_head(segment.id, &read(&core.segments[&segment.id])?) {
            Ok(_) => readable.push(segment.id),
            Err(error) => refused.push(error),
        }
    }
    refused.extend(feed(core, &mut recovery, &readable)?);
    if let Some(mut second) = recovery.second_reading() {
        for segment in &view.segments {
            // What kept one out the first time does so again.
            _ = second.inspect_head(segment.id, &read(&core.segments[&segment.id])?);
        }
        _ = feed(core, &mut second, &readable)?;
        recovery = second;
    }
    Ok((recovery.finish(), refused))
}

/// Feeds whole files, in order. Returns why some of them are no part of the log.
fn feed(
    core: &CoreDirectory,
    recovery: &mut Recovery,
    readable: &[SegmentId],
) -> Result<Vec<LogError>, Failure> {
    let mut refused = Vec::new();
    for &segment in readable {
        refused.extend(recovery.feed(segment, &read(&core.segments[&segment])?).err());
    }
    Ok(refused)
}

fn header(segment: &SegmentView) -> Option<HeaderView> {
    segment.header.as_ref().ok().copied().flatten()
}

/// What a core's log comes to.
fn summary(name: &str, log: &CoreLog, wanted: &Wanted) -> Part {
    let mut part = Part::new(format!("{name}: the log"));
    part.fact("segments", log.view.segments.len());
    part.fact("start", log.view.start().0);
    part.fact("durable_upto", log.view.durable_upto().0);
    for error in &log.refused {
        part.damage(error);
    }
    match &log.recovered {
        Ok(recovered) => {
            part.fact("end", recovered.end().0);
            part.fact("batches", recovered.batches);
            part.fact("bytes", recovered.bytes);
            part.fact("torn_bytes", recovered.torn_bytes);
            recovered.damage.iter().for_each(|damage| part.damage(damage));
            part.table(groups(recovered, wanted));
        }
        Err(error) => part.damage(error),
    }
    part
}

fn groups(recovered: &Recovered, wanted: &Wanted) -> Table {
    let is_wanted =
        |(group, _): &(&GroupId, &RecoveredGroup)| wanted.group.is_none_or(|one| one == **group);
    let rows = recovered.groups.iter().filter(is_wanted);
    Table {
        name: "groups",
        columns: &[
            "group",
            "term",
            "vote",
            "first",
            "last",
            "last_term",
            "reset",
            "retired",
            "doubt",
        ],
        rows: rows.map(|(group, found)| group_row(*group, found)).collect(),
    }
}

fn group_row(group: GroupId, found: &RecoveredGroup) -> Vec<Value> {
    let (first, last) = (found.entries.first(), found.entries.last());
    let vote = found.hard_state.and_then(|state| state.vote);
    vec![
        group.to_string().into(),
        found.hard_state.map(|state| state.term.0).into(),
        vote.map(|node| node.to_string()).into(),
        first.map(|entry| entry.index.0).into(),
        last.map(|entry| entry.index.0).into(),
        last.map(|entry| entry.term.0).into(),
        found.reset.map(|mark| mark.index.0).into(),
        found.retired.into(),
        found.doubt_kind().map(doubt_kind).into(),
    ]
}

fn segments(view: &LogView, prefix: &str, wanted: &Wanted) -> Vec<Part> {
    view.segments.iter().map(|segment| segment_part(view, segment, prefix, wanted)).collect()
}

fn segment_part(view: &LogView, segment: &SegmentView, prefix: &str, wanted: &Wanted) -> Part {
    let mut part = Part::new(format!("{prefix}{}.log", segment.id));
    match &segment.header {
        Ok(Some(header)) => header_facts(&mut part, header),
        Ok(None) => part.fact("state", "never used"),
        Err(error) => part.damage(error),
    }
    let rows = segment.batches.iter().map(|batch| batch_row(view, batch)).collect();
    part.table(Table { name: "batches", columns: BATCH_COLUMNS, rows });
    if wanted.entries {
        let rows = segment.batches.iter().flat_map(|batch| record_rows(batch, wanted)).collect();
        part.table(Table { name: "records", columns: RECORD_COLUMNS, rows });
    }
    for batch in segment.batches.iter().filter(|batch| !batch.payload_is_whole) {
        judge(&mut part, view, segment.id, batch);
    }
    part
}

fn header_facts(part: &mut Part, header: &HeaderView) {
    let Identity { cluster, node, incarnation, core } = header.identity;
    part.fact("cluster", format!("{:016x}", cluster.0));
    part.fact("node", node.to_string());
    part.fact("incarnation", format!("{:016x}", incarnation.0));
    part.fact("core", core.0);
    part.fact("order", header.order);
    part.fact("run", header.run);
    part.fact("salt", format!("{:016x}", header.salt));
    part.fact("first_batch", header.first_batch.0);
}

const BATCH_COLUMNS: &[&str] =
    &["batch", "offset", "bytes", "run", "durable_upto", "start", "records", "chain", "payload"];

fn batch_row(view: &LogView, batch: &BatchView) -> Vec<Value> {
    let starts = batch.number <= view.start();
    let chain = match view.is_chained(batch) {
        true => "ok",
        // What came before the log's start is given up.
        false if starts => "begins",
        false => "broken",
    };
    vec![
        batch.number.0.into(),
        batch.offset.into(),
        batch.bytes.into(),
        batch.run.into(),
        batch.durable_upto.0.into(),
        batch.start.0.into(),
        batch.records.len().into(),
        chain.into(),
        if batch.payload_is_whole { "ok" } else { "bad" }.into(),
    ]
}

const RECORD_COLUMNS: &[&str] =
    &["batch", "group", "record", "kind", "term", "index", "bytes", "timestamp"];

fn record_rows(batch: &BatchView, wanted: &Wanted) -> Vec<Vec<Value>> {
    let records = batch.records.iter();
    let records = records.filter(|record| wanted.group.is_none_or(|one| one == record.group));
    let row = |record: &RecordView| {
        vec![
            batch.number.0.into(),
            record.group.to_string().into(),
            record.kind.into(),
            record.entry_kind.map(entry_kind).or(record.doubt_kind.map(doubt_kind)).into(),
            record.term.0.into(),
            index_of(record).into(),
            record.bytes.into(),
            record.timestamp.map(|stamp| stamp.0).into(),
        ]
    };
    records.map(row).collect()
}

/// The names of `EntryKind` in `schema/peer.fbs`.
fn entry_kind(number: u8) -> String {
    match number {
        0 => "command".to_owned(),
        1 => "no-op".to_owned(),
        2 => "configuration".to_owned(),
        other => format!("unknown ({other})"),
    }
}

/// What a replica may have forgotten, as `/status` says it.
fn doubt_kind(number: u8) -> String {
    match number {
        DoubtRecord::ENTRIES => "entries".to_owned(),
        DoubtRecord::VOTES => "votes".to_owned(),
        DoubtRecord::EVERYTHING => "everything".to_owned(),
        other => format!("unknown ({other})"),
    }
}

/// A doubt that a preamble repeats drops nothing, and names no entry.
fn index_of(record: &RecordView) -> Option<u64> {
    let standing = record.doubt_kind.is_some() && record.index == Index(u64::MAX);
    (!standing).then_some(record.index.0)
}

/// A bad payload is damage where the batch was durable; otherwise its write never finished.
fn judge(part: &mut Part, view: &LogView, segment: SegmentId, batch: &BatchView) {
    let named = |record: &RecordView| {
        format!("{} entry {} of term {}", record.group, record.index, record.term)
    };
    let entries = batch.records.iter().filter(|record| record.entry_kind.is_some());
    let entries: Vec<String> = entries.map(named).collect();
    let BatchNumber(number) = batch.number;
    let place = format!("{segment}, offset {}: batch {number}", batch.offset);
    if batch.number <= view.durable_upto() {
        part.damage(&format!("{place} was durable and its payload is bad: {}", entries.join(", ")));
    } else {
        part.note(&format!("{place} was never finished nor acknowledged: {}", entries.join(", ")));
    }
}
