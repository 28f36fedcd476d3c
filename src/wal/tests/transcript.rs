//! A log written anew holds what the old ones held.

use std::collections::BTreeMap;

use super::disk::{Disk, config};
use crate::base::{Bytes, GroupId, Index, NodeId, Term, WallTime};
use crate::wal::{
    BLOCK, DoubtRecord, EntryRecord, HardStateRecord, Log, LogConfig, LogError, RecoveredGroup,
    SegmentId, SnapshotMark, Transcript, TranscriptStep,
};

type Groups = BTreeMap<GroupId, RecoveredGroup>;

/// Performs a transcript of `groups`.
pub(super) fn transcribe(config: LogConfig, groups: &Groups) -> Disk {
    let mut disk = Disk::default();
    for step in Transcript::new(config, groups.clone()) {
        match step {
            TranscriptStep::Create(segment) => {
                let bytes = vec![0; usize::try_from(config.segment_bytes).unwrap()];
                assert!(disk.files.insert(segment, bytes).is_none(), "{segment} exists");
            }
            TranscriptStep::Write(write) => {
                disk.in_flight.push(write);
                disk.complete(0);
            }
        }
    }
    disk
}

fn entry(index: u64, bytes: usize) -> EntryRecord {
    let payload = Bytes::copy_of(&vec![u8::try_from(index % 251).unwrap(); bytes]);
    EntryRecord { term: Term(7), index: Index(index), timestamp: WallTime(index), kind: 1, payload }
}

/// Groups in every state that recovery may find them in.
fn groups() -> Groups {
    let hard_state = Some(HardStateRecord { term: Term(9), vote: Some(NodeId(3)) });
    let reset = |index| Some(SnapshotMark { index: Index(index), term: Term(4) });
    let entries = |range: std::ops::RangeInclusive<u64>, bytes| {
        range.map(|index| entry(index, bytes)).collect::<Vec<_>>()
    };
    let doubt = |retired: bool| {
        let forgotten = DoubtRecord { kind: DoubtRecord::ENTRIES, resume_after: Index(u64::MAX) };
        retired.then_some(forgotten)
    };
    let found = |hard_state, reset, retired, entries| RecoveredGroup {
        hard_state,
        reset,
        doubt: doubt(retired),
        retired,
        entries,
        ..RecoveredGroup::default()
    };
    [
        found(None, None, false, entries(1..=3, 10)),
        found(hard_state, None, false, vec![]),
        found(hard_state, reset(70), false, entries(71..=90, 3_000)),
        found(hard_state, reset(70), false, entries(150..=151, 30_000)),
        found(None, reset(0), false, vec![]),
        found(hard_state, None, true, vec![]),
        found(None, None, false, entries(800..=900, 700)),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, found)| (GroupId(u32::try_from(number).unwrap()), found))
    .collect()
}

#[test]
fn what_was_found_is_found_again_whatever_the_segments() {
    for blocks in [16, 40, 1_000] {
        let config = config(blocks);
        let disk = transcribe(config, &groups());
        let recovered = disk.recover(&config).expect("an undamaged log");
        assert_eq!(recovered.groups, groups(), "{blocks} blocks a segment");
        assert_eq!(recovered.torn_bytes, 0);

        let mut log = Log::resume(config, recovered.state);
        assert!(!log.needs_idle_seal(), "nothing is in doubt");
        let (mut disk, mut writes) = (disk, Vec::new());
        disk.prepare(&mut log, config.segment_bytes);
        log.stage_entry(GroupId(3), entry(152, 5));
        log.seal(&mut writes).expect("a segment is ready");
        disk.perform(&mut log, &mut writes);
        let groups = disk.recover(&config).expect("an undamaged log").groups;
        assert_eq!(groups[&GroupId(3)].entries.last(), Some(&entry(152, 5)), "it goes on");
    }
}

#[test]
fn no_groups_make_no_log() {
    assert!(transcribe(config(16), &Groups::new()).files.is_empty());
}

#[test]
fn damage_anywhere_in_a_transcript_is_reported() {
    let config = config(40);
    let good = transcribe(config, &groups());
    for (&segment, bytes) in &good.files {
        // Every header and every batch begins a block; the last batch is the one without records.
        let written = |block: &usize| bytes[*block..*block + BLOCK].iter().any(|&byte| byte != 0);
        let mut blocks: Vec<_> = (0..bytes.len()).step_by(BLOCK).filter(written).collect();
        if segment == SegmentId(u32::try_from(good.files.len()).unwrap() - 1) {
            blocks.pop();
        }
        for block in blocks {
            let mut disk = good.clone();
            disk.files.get_mut(&segment).expect("it is there")[block + 20] ^= 1;
            let reported = disk.recover(&config).map_or(true, |found| !found.damage.is_empty());
            assert!(reported, "{segment}, block at {block}");
        }
    }
    let mut disk = good;
    disk.files.pop_first();
    let error = disk.recover(&config).expect_err("a file is missing");
    assert!(matches!(error, LogError::Missing { .. }), "{error}");
}
