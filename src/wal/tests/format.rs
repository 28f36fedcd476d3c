//! The bytes themselves: a change of the format shows as a change of `schema/log.hex`.

use std::fmt::Write as _;

use expect_test::expect_file;

use super::disk::{Disk, config};
use crate::base::{Bytes, GroupId, Index, NodeId, Term, WallTime};
use crate::wal::{EntryRecord, HardStateRecord, Log, SegmentId, SnapshotMark};

#[test]
fn the_format_is_the_one_written_down() {
    let config = config(8);
    let (mut log, mut disk, mut writes) = (Log::new(config), Disk::default(), Vec::new());
    disk.prepare(&mut log, config.segment_bytes);
    let vote = Some(NodeId(3));
    log.stage_reset(GroupId(6), SnapshotMark { index: Index(0x50), term: Term(8) });
    log.stage_hard_state(GroupId(7), HardStateRecord { term: Term(9), vote });
    let entry = |index, payload| EntryRecord {
        term: Term(9),
        index: Index(index),
        timestamp: WallTime(0x0001_0203_0405_0607),
        kind: 1,
        payload: Bytes::copy_of(payload),
    };
    log.stage_entry(GroupId(7), entry(0x1234, b"first payload "));
    log.stage_entry(GroupId(7), entry(0x1235, b"second"));
    log.stage_copy(GroupId(7), entry(0x1234, b"first payload "));
    log.seal(&mut writes).expect("a segment is ready");
    disk.perform(&mut log, &mut writes);
    log.seal_idle(&mut writes).expect("the window is open");
    disk.perform(&mut log, &mut writes);
    expect_file!["../../../schema/log.hex"].assert_eq(&dump(&disk.files[&SegmentId(0)]));
}

/// Sixteen bytes a line behind their offset, lines of zeros left out.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, row) in bytes.chunks(16).enumerate().filter(|(_, row)| row.iter().any(|&b| b != 0)) {
        write!(text, "{:06x} ", line * 16).expect("a string takes everything");
        for byte in row {
            write!(text, " {byte:02x}").expect("a string takes everything");
        }
        text.push('\n');
    }
    text
}
