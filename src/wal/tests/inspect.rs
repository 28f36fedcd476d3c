//! What a look at a log shows, whole and damaged.

use super::disk::{Disk, config};
use crate::base::{Bytes, GroupId, Index, NodeId, Term, WallTime};
use crate::wal::{
    BLOCK, BatchNumber, EntryRecord, HardStateRecord, Log, LogError, LogView, SegmentId,
    SegmentView,
};

const G1: GroupId = GroupId(1);

/// Three batches of one entry each behind the preamble; each is durable before the next is made.
fn written() -> Disk {
    let config = config(8);
    let (mut log, mut disk, mut writes) = (Log::new(config), Disk::default(), Vec::new());
    disk.prepare(&mut log, config.segment_bytes);
    log.stage_hard_state(G1, HardStateRecord { term: Term(4), vote: Some(NodeId(2)) });
    for index in 1..=3 {
        log.stage_entry(
            G1,
            EntryRecord {
                term: Term(4),
                index: Index(index),
                timestamp: WallTime(index * 10),
                kind: 0,
                payload: Bytes::copy_of(b"payload"),
            },
        );
        log.seal(&mut writes).expect("a segment is ready");
        disk.perform(&mut log, &mut writes);
    }
    disk
}

fn look(disk: &Disk) -> LogView {
    let mut view = LogView::default();
    for (&segment, bytes) in &disk.files {
        view.push(SegmentView::of(segment, bytes));
    }
    view
}

fn file(disk: &mut Disk) -> &mut Vec<u8> {
    disk.files.get_mut(&SegmentId(0)).expect("the first segment")
}

#[test]
fn every_batch_and_record_is_shown() {
    let view = look(&written());
    assert_eq!((view.start(), view.durable_upto()), (BatchNumber(1), BatchNumber(3)));
    let header = view.segments[0].header.clone().expect("readable").expect("used");
    assert_eq!((header.first_batch, header.run), (BatchNumber(1), 1));
    let batches: Vec<_> = view.batches().map(|(_, batch)| batch).collect();
    assert_eq!(batches.iter().map(|batch| batch.number.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(batches.iter().all(|batch| batch.payload_is_whole && view.is_chained(batch)));
    let kinds: Vec<_> = batches[1].records.iter().map(|record| record.kind).collect();
    assert_eq!(kinds, ["hard state", "entry"]);
    let entry = batches[3].records[0];
    assert_eq!((entry.group, entry.term, entry.index), (G1, Term(4), Index(3)));
    assert_eq!((entry.entry_kind, entry.bytes), (Some(0), 7));
    assert_eq!(entry.timestamp, Some(WallTime(30)));
}

#[test]
fn a_bad_payload_still_names_its_entries() {
    let mut disk = written();
    let payload = 2 * BLOCK + 64 + 2 * 40;
    file(&mut disk)[payload] ^= 1;
    let view = look(&disk);
    let (_, batch) = view.batches().find(|(_, batch)| !batch.payload_is_whole).expect("one");
    assert_eq!((batch.number, batch.offset), (BatchNumber(2), 2 * BLOCK as u64));
    assert_eq!(batch.records[1].index, Index(1));
    assert_eq!(view.batches().count(), 4, "what lies behind it is found");
}

#[test]
fn a_bad_header_breaks_the_chain() {
    let mut disk = written();
    file(&mut disk)[2 * BLOCK + 20] ^= 1;
    let view = look(&disk);
    let broken = view.batches().filter(|(_, batch)| !view.is_chained(batch));
    assert_eq!(broken.map(|(_, batch)| batch.number.0).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_segment_without_a_header_and_one_never_used_are_told_apart() {
    let mut disk = written();
    file(&mut disk)[30] ^= 1;
    disk.files.insert(SegmentId(1), vec![0; 8 * BLOCK]);
    let view = look(&disk);
    let segment = SegmentId(0);
    let damaged = view.segments.iter().find(|view| view.id == segment).expect("pushed");
    assert_eq!(damaged.header, Err(LogError::DamagedHeader { segment }));
    assert_eq!(view.segments.last().map(|blank| blank.header.clone()), Some(Ok(None)));
    assert_eq!(view.batches().count(), 0);
}
