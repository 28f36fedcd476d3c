//! The bytes themselves: a change of a format shows as a change of `schema/*.hex`, and what is written
//! there must be read.

use expect_test::expect_file;

use super::disk::{Disk, config};
use crate::base::hex_dump;
use crate::base::{Bytes, ClusterId, GroupId, Incarnation, Index, NodeId, Term, WallTime};
use crate::wal::{BLOCK, EntryRecord, HardStateRecord, Log, SegmentId, SnapshotMark, Superblock};

#[test]
fn the_log_is_the_one_written_down() {
    let config = config(8);
    let (mut log, mut disk, mut writes) = (Log::new(config), Disk::default(), Vec::new());
    disk.prepare(&mut log, config.segment_bytes);
    let vote = Some(NodeId(3));
    log.stage_reset(GroupId(6), SnapshotMark { index: Index(0x50), term: Term(8) });
    let hard_state = HardStateRecord { term: Term(9), vote };
    log.stage_hard_state(GroupId(7), hard_state);
    let entry = |index, payload| EntryRecord {
        term: Term(9),
        index: Index(index),
        timestamp: WallTime(0x0001_0203_0405_0607),
        kind: 1,
        payload: Bytes::copy_of(payload),
    };
    let entries = [entry(0x1234, b"first payload "), entry(0x1235, b"second")];
    for entry in entries.clone() {
        log.stage_entry(GroupId(7), entry);
    }
    log.stage_copy(GroupId(7), entries[0].clone());
    log.seal(&mut writes).expect("a segment is ready");
    disk.perform(&mut log, &mut writes);
    log.seal_idle(&mut writes).expect("the window is open");
    disk.perform(&mut log, &mut writes);
    let written = &disk.files[&SegmentId(0)];
    expect_file!["../../../schema/log.hex"].assert_eq(&hex_dump::of(written));

    let file = hex_dump::bytes(include_str!("../../../schema/log.hex"), written.len());
    let disk = Disk { files: [(SegmentId(0), file)].into(), ..Disk::default() };
    let recovered = disk.recover(&config).expect("undamaged");
    assert_eq!(recovered.groups[&GroupId(7)].entries, entries);
    assert_eq!(recovered.groups[&GroupId(7)].hard_state, Some(hard_state));
    assert_eq!(recovered.groups[&GroupId(6)].reset.map(|mark| mark.index), Some(Index(0x50)));
}

#[test]
fn the_superblock_is_the_one_written_down() {
    let old = Superblock {
        sequence: 4,
        cluster: ClusterId(0x0102_0304_0506_0708),
        node: NodeId(2),
        incarnation: Incarnation(0x1112_1314_1516_1718),
        smp: 3,
        groups: 12,
        segment_bytes: 64 << 20,
        layout: 5,
        log_seed: 0x2122_2324_2526_2728,
    };
    let new = Superblock { sequence: 5, smp: 4, ..old };
    let written = [old.encode(0), new.encode(1)].concat();
    expect_file!["../../../schema/superblock.hex"].assert_eq(&hex_dump::of(&written));

    let file = hex_dump::bytes(include_str!("../../../schema/superblock.hex"), 2 * BLOCK);
    assert_eq!(Superblock::decode([&file[..BLOCK], &file[BLOCK..]]), Ok((new, 1)));
    assert_eq!(Superblock::decode([&file[..BLOCK], &[]]), Ok((old, 0)));
}
