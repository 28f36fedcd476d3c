//! Damage: what is lost with it, and how a log goes on.

use super::scenario::{Bench, G1, G2, entry, indices};
use crate::base::checksum::crc32c;
use crate::base::{Index, NodeId, Term};
use crate::wal::{
    BLOCK, BatchNumber, Damage, DoubtRecord, HardStateRecord, LogError, LogView, RecoveredGroup,
    SegmentId, SegmentView, SnapshotMark,
};

#[test]
fn damage_is_told_from_an_unfinished_write_once_the_window_is_closed() {
    let mut bench = Bench::new(16);
    bench.write(G1, 1, b"one");
    let segment = SegmentId(0);
    let offset = 3 * BLOCK;
    let last = bench.write(G1, 2, b"two");
    let payload_at = offset + 64 + 40;
    assert_eq!(&bench.file(segment)[payload_at..payload_at + 3], b"two");

    assert!(bench.log.needs_idle_seal());
    bench.file(segment)[payload_at] ^= 1;
    let recovered = bench.recover();
    assert_eq!(indices(&recovered.groups[&G1]), [1]);
    assert!(recovered.lost_any, "one byte is wrong: the write was finished");
    for at in 0..40 {
        bench.file(segment)[offset + at] ^= 0x5A;
    }
    let recovered = bench.recover();
    assert_eq!((indices(&recovered.groups[&G1]), recovered.lost_any), (vec![1], false));
    for at in 0..40 {
        bench.file(segment)[offset + at] ^= 0x5A;
    }
    bench.file(segment)[payload_at] ^= 1;

    bench.seal_idle();
    assert!(!bench.log.needs_idle_seal());
    assert_eq!(bench.log.seal_idle(&mut bench.writes), None);
    bench.file(segment)[payload_at] ^= 1;
    let entries = Some(vec![(G1, Index(2))]);
    let offset = offset as u64;
    let damage = Damage { segment, offset, first: last, last, entries };
    let recovered = bench.recover();
    assert_eq!(recovered.damage, [damage]);
    let group = &recovered.groups[&G1];
    assert_eq!((indices(group), group.doubt_kind()), (vec![1], Some(DoubtRecord::ENTRIES)));
}

/// The last two batches were on their way together: none of them tells that the other is durable.
#[test]
fn a_damaged_preamble_at_the_end_is_no_unfinished_write() {
    for at in [BLOCK, BLOCK + 24, BLOCK + 62] {
        let mut bench = Bench::new(16);
        let mut index = 0;
        while bench.log.live_segments() < 2 {
            bench.perform();
            index += 1;
            bench.stage(G1, index, &[1; 3000]);
            bench.seal();
        }
        bench.perform();
        let newest = bench.log.head_segment().expect("just begun");
        bench.file(newest)[at] ^= 1;
        let recovered = bench.recover();
        assert!(recovered.lost_any, "byte {at}: {:?}", recovered.damage);
        let [damage] = &recovered.damage[..] else { panic!("{:?}", recovered.damage) };
        assert_eq!((damage.segment, damage.offset), (newest, BLOCK as u64));
    }
}

#[test]
fn a_damaged_log_is_repaired_at_its_head() {
    let mut bench = Bench::new(16);
    let state = HardStateRecord { term: Term(4), vote: Some(NodeId(3)) };
    bench.log.stage_hard_state(G2, state);
    bench.write(G1, 1, b"one");
    bench.write(G2, 1, b"other");
    let lost = bench.write(G1, 2, b"two");
    bench.write(G1, 3, b"three");
    bench.write(G2, 2, b"another");
    bench.seal_idle();
    // The header: what the batch held, nobody knows.
    let block = usize::try_from(lost.0).unwrap() * BLOCK;
    bench.file(SegmentId(0))[block + 20] ^= 1;
    let found = bench.restart();
    let kept = |group: &RecoveredGroup| (indices(group), group.doubt_kind());
    assert_eq!(kept(&found[&G1]), (vec![1], Some(DoubtRecord::VOTES)));
    assert_eq!(kept(&found[&G2]), (vec![1], Some(DoubtRecord::VOTES)));

    for group in [G1, G2] {
        let record = DoubtRecord { kind: DoubtRecord::VOTES, resume_after: Index(1) };
        bench.log.stage_doubt(group, record);
    }
    bench.write(G1, 2, b"two");
    let found = bench.restart();
    assert_eq!(kept(&found[&G1]), (vec![1, 2], Some(DoubtRecord::VOTES)));
    assert_eq!(kept(&found[&G2]), (vec![1], Some(DoubtRecord::VOTES)));
    bench.write(G2, 2, b"another");
    bench.log.stage_certainty(G1);
    bench.write(G1, 3, b"three");
    let found = bench.restart();
    assert_eq!(kept(&found[&G1]), (vec![1, 2, 3], None));
    assert_eq!(kept(&found[&G2]), (vec![1, 2], Some(DoubtRecord::VOTES)));
}

/// The log never comes to begin with a preamble that is known to be damaged.
#[test]
fn a_segment_with_a_damaged_preamble_goes_with_the_one_before_it() {
    for at in [20, 64] {
        let mut bench = Bench::new(16);
        bench.log.stage_hard_state(G1, HardStateRecord { term: Term(4), vote: Some(NodeId(3)) });
        let mut index = 0;
        let second_begins = bench.fill(&mut index, 2);
        let third_begins = bench.fill(&mut index, 3);
        bench.file(SegmentId(1))[BLOCK + at] ^= 1;
        let found = bench.restart();
        let last = found[&G1].entries.last().map_or(Index::ZERO, |entry| entry.index);
        assert!(last < second_begins && found[&G1].doubt_kind().is_some());
        let doubt = DoubtRecord { kind: DoubtRecord::VOTES, resume_after: last };
        bench.log.stage_doubt(G1, doubt);
        for index in last.0 + 1..=third_begins.0 + 20 {
            bench.write(G1, index, &[1; 3000]);
        }
        bench.log.stage_certainty(G1);
        bench.log.trim(G1, last);
        bench.write(G2, 1, b"");
        bench.seal_idle();
        let found = bench.restart();
        assert_eq!(found[&G1].doubt_kind(), None);
        bench.log.trim(G1, Index(third_begins.0 + 20));
        for index in 2..40 {
            bench.write(G2, index, &[1; 3000]);
            bench.log.trim(G2, Index(index));
        }
        assert!(bench.log.live_segments() < 4, "{}", bench.log.live_segments());
        let state = bench.restart()[&G1].hard_state;
        assert_eq!(state, Some(HardStateRecord { term: Term(4), vote: Some(NodeId(3)) }));
    }
}

/// A doubt says where a log goes on by what was lost when it was written. What lies before it can be
/// damaged later.
#[test]
fn a_doubt_does_not_make_up_for_later_damage() {
    let mut bench = Bench::new(32);
    let mut batches: Vec<_> = (1..=3).map(|index| bench.write(G1, index, b"first")).collect();
    bench.seal_idle();
    let header_of = |batch: BatchNumber| usize::try_from(batch.0).expect("small") * BLOCK + 20;
    bench.file(SegmentId(0))[header_of(batches[2])] ^= 1;
    assert_eq!(indices(&bench.restart()[&G1]), [1, 2]);
    let doubt = DoubtRecord { kind: DoubtRecord::VOTES, resume_after: Index(2) };
    bench.log.stage_doubt(G1, doubt);
    batches.push(bench.write(G1, 3, b"again"));
    bench.log.stage_certainty(G1);
    bench.write(G1, 4, b"next");
    bench.seal_idle();
    let kept = |group: &RecoveredGroup| (indices(group), group.doubt_kind());
    assert_eq!(kept(&bench.recover().groups[&G1]), (vec![1, 2, 3, 4], None));

    bench.file(SegmentId(0))[header_of(batches[1])] ^= 1;
    let found = bench.restart();
    assert_eq!(
        kept(&found[&G1]),
        (vec![1], Some(DoubtRecord::VOTES)),
        "its entry 2 was there then"
    );
    let doubt = DoubtRecord { kind: DoubtRecord::VOTES, resume_after: Index(1) };
    bench.log.stage_doubt(G1, doubt);
    bench.write(G1, 2, b"again");
    assert_eq!(kept(&bench.recover().groups[&G1]), (vec![1, 2], Some(DoubtRecord::VOTES)));
}

/// A restart of a group is lost, and the next preamble repeats it. What came before it does not come back,
/// nor is it what the log goes on from.
#[test]
fn a_lost_restart_is_made_up_for_by_the_preamble_that_repeats_it() {
    let mut bench = Bench::new(16);
    for index in 1..=3 {
        bench.write(G2, index, b"dropped");
    }
    let mark = SnapshotMark { index: Index(70), term: Term(1) };
    bench.log.stage_reset(G2, mark);
    let restart = bench.write(G2, 71, b"lost");
    bench.fill(&mut 0, 2);
    bench.seal_idle();
    // The header: what the batch held, nobody knows.
    let block = usize::try_from(restart.0).expect("small") * BLOCK;
    bench.file(SegmentId(0))[block + 20] ^= 1;
    let kept = |group: &RecoveredGroup| (group.reset, indices(group), group.doubt_kind());
    let found = bench.restart();
    assert_eq!(kept(&found[&G2]), (Some(mark), vec![], Some(DoubtRecord::VOTES)));

    let doubt = DoubtRecord { kind: DoubtRecord::VOTES, resume_after: Index(70) };
    bench.log.stage_doubt(G2, doubt);
    bench.write(G2, 71, b"again");
    bench.log.stage_certainty(G2);
    bench.write(G2, 72, b"next");
    bench.seal_idle();
    assert_eq!(kept(&bench.recover().groups[&G2]), (Some(mark), vec![71, 72], None));
}

/// A group left, and its return is lost: the next preamble says that it is here.
#[test]
fn a_group_whose_return_is_lost_is_here() {
    let mut bench = Bench::new(16);
    bench.write(G2, 1, b"of its first life");
    bench.log.stage_retirement(G2);
    bench.write(G1, 1, b"");
    bench.log.stage_reset(G2, SnapshotMark::default());
    let back = bench.write(G2, 1, b"lost");
    bench.fill(&mut 1, 2);
    bench.seal_idle();
    let block = usize::try_from(back.0).expect("small") * BLOCK;
    bench.file(SegmentId(0))[block + 20] ^= 1;
    let group = &bench.recover().groups[&G2];
    let kept = (group.retired, group.reset, indices(group), group.doubt_kind());
    assert_eq!(kept, (false, Some(SnapshotMark::default()), vec![], Some(DoubtRecord::VOTES)));
}

/// What is repaired stays so when some of the damage is given up with its segment.
#[test]
fn a_repair_outlives_some_of_the_damage() {
    let mut bench = Bench::new(16);
    let mut written = Vec::new();
    while bench.log.live_segments() < 4 {
        let index = written.len() as u64 + 1;
        written.push(bench.write(G1, index, &[1; 3000]));
    }
    bench.seal_idle();
    let segments: Vec<SegmentId> = bench.disk.files.keys().copied().collect();
    for &segment in &segments[..2] {
        bench.file(segment)[5 * BLOCK + 20] ^= 1;
    }
    let found = bench.restart();
    let last = found[&G1].entries.last().map_or(Index::ZERO, |entry| entry.index);
    assert!(last > Index::ZERO && found[&G1].doubt_kind().is_some());
    let doubt = DoubtRecord { kind: DoubtRecord::VOTES, resume_after: last };
    bench.log.stage_doubt(G1, doubt);
    for index in last.0 + 1..last.0 + 30 {
        bench.write(G1, index, b"again");
    }
    bench.log.stage_certainty(G1);
    bench.write(G1, last.0 + 30, b"certain");
    bench.seal_idle();
    assert_eq!(bench.recover().damage.len(), 2);
    assert_eq!(bench.recover().groups[&G1].doubt_kind(), None);
    bench.log.trim(G1, last);
    bench.write(G1, last.0 + 31, b"tells");
    bench.seal_idle();
    let recovered = bench.recover();
    assert_eq!(recovered.groups[&G1].doubt_kind(), None, "{:?}", recovered.damage);
}

/// The number of a batch that was given up is used again. It stays given up when the log is read as a
/// damaged one.
#[test]
fn a_batch_given_up_for_damage_does_not_come_back() {
    let mut bench = Bench::new(16);
    let early = bench.write(G1, 1, b"early");
    bench.write(G1, 2, b"kept");
    let given_up = bench.write(G1, 3, b"last");
    let block = |batch: BatchNumber| usize::try_from(batch.0).expect("small") * BLOCK;
    bench.file(SegmentId(0))[block(given_up) + 64 + 40] ^= 1;
    let found = bench.restart();
    assert_eq!(indices(&found[&G1]), [1, 2]);
    let doubt = DoubtRecord { kind: DoubtRecord::VOTES, resume_after: Index(2) };
    bench.log.stage_doubt(G1, doubt);
    bench.write(G1, 3, b"again");
    bench.write(G1, 4, b"next");
    bench.seal_idle();

    bench.file(SegmentId(0))[block(early) + 20] ^= 1;
    let recovered = bench.recover();
    let lost: Vec<_> = recovered.damage.iter().map(|it| (it.first, it.last)).collect();
    assert_eq!(lost, [(early, early)]);
    bench.restart();
    assert!(bench.log.begin_rewrite(BatchNumber(0), BLOCK).is_none(), "all of it is dropped");
}

#[test]
fn a_doubt_outlives_its_segment() {
    let mut bench = Bench::new(16);
    let doubt = DoubtRecord { kind: DoubtRecord::VOTES, resume_after: Index(0) };
    bench.log.stage_doubt(G1, doubt);
    for index in 1..60 {
        bench.write(G2, index, &[1; 3000]);
        bench.log.trim(G2, Index(index));
    }
    assert_eq!(bench.restart()[&G1].doubt_kind(), Some(DoubtRecord::VOTES));
}

#[test]
fn every_damaged_byte_of_a_small_log_is_found_or_means_nothing() {
    let mut bench = Bench::new(8);
    bench.log.stage_hard_state(G1, HardStateRecord { term: Term(1), vote: Some(NodeId(1)) });
    for index in 1..8 {
        bench.write(G1, index, &[3; 700]);
    }
    bench.seal_idle();
    assert!(bench.log.live_segments() > 1);
    let good = bench.recover().groups;
    let segments: Vec<_> = bench.disk.files.keys().copied().collect();
    let (mut found, mut repaired, mut harmless) = (0, 0, 0);
    for segment in segments {
        for position in 0..bench.file(segment).len() {
            let block = position - position % BLOCK;
            let blank = bench.file(segment)[block..block + BLOCK].iter().all(|&byte| byte == 0);
            if blank && position % BLOCK > 0 {
                continue;
            }
            bench.file(segment)[position] ^= 0x40;
            match bench.disk.recover(&bench.config) {
                Err(_) => found += 1,
                Ok(recovered) if !recovered.damage.is_empty() => {
                    let group = &recovered.groups[&G1];
                    assert!(good[&G1].entries.starts_with(&group.entries), "byte {position}");
                    assert!(group.doubt_kind().is_some(), "{segment}, byte {position}");
                    repaired += 1;
                }
                Ok(recovered) => {
                    assert_eq!(recovered.groups, good, "{segment}, byte {position}");
                    harmless += 1;
                }
            }
            bench.file(segment)[position] ^= 0x40;
        }
    }
    // All of what was written but zeros at the ends of blocks and the closing batch.
    println!("{found} refused, {repaired} to be repaired, {harmless} harmless");
    assert!(found + repaired > 7 * 800 && repaired > 5 * 800, "{found}, {repaired}");
}

/// A damaged copy, as all is there again: the entries left, and what is in doubt.
fn with_damaged_copies(bench: &mut Bench, copies: BatchNumber) -> RecoveredGroup {
    let segments: Vec<SegmentId> = bench.disk.files.keys().copied().collect();
    let mut view = LogView::default();
    for segment in segments {
        view.push(SegmentView::of(segment, bench.file(segment)));
    }
    let (segment, batch) =
        view.batches().find(|(_, batch)| batch.number == copies).expect("it was written");
    let table = 64 + 40 * batch.records.len();
    let payload = usize::try_from(batch.offset).expect("small") + table;
    bench.file(segment)[payload] ^= 1;
    let recovered = bench.recover();
    bench.file(segment)[payload] ^= 1;
    assert_eq!(recovered.damage.len(), 1);
    recovered.groups[&G2].clone()
}

/// Copies of entries that are there besides, were dropped, or are gone: only with those something is lost.
#[test]
fn with_a_damaged_copy_something_is_lost_only_where_nothing_else_holds_the_entry() {
    let mut bench = Bench::new(16);
    for index in 1..=3 {
        bench.stage(G2, index, b"kept");
    }
    let mut index = 0;
    let copies = |bench: &mut Bench| {
        (1..=3).for_each(|index| bench.log.stage_copy(G2, entry(index, b"kept")));
        let number = bench.seal();
        bench.perform();
        bench.seal_idle();
        number
    };
    let second_begins = bench.fill(&mut index, 2);
    let kept = |group: &RecoveredGroup| (indices(group), group.doubt_kind());
    let first = copies(&mut bench);
    let found = with_damaged_copies(&mut bench, first);
    assert_eq!(kept(&found), (vec![1, 2, 3], None), "the originals are there");

    // The originals go; then the copies are written again.
    bench.fill(&mut index, 3);
    bench.log.trim(G1, second_begins.previous());
    assert_eq!(bench.log.live_segments(), 2);
    bench.fill(&mut index, 3);
    let found = with_damaged_copies(&mut bench, first);
    assert_eq!(kept(&found), (vec![], Some(DoubtRecord::ENTRIES)), "nothing else holds them");
    let second = copies(&mut bench);
    let found = with_damaged_copies(&mut bench, second);
    assert_eq!(kept(&found), (vec![1, 2, 3], None), "the first copies are there");
    let found = with_damaged_copies(&mut bench, first);
    assert_eq!(kept(&found), (vec![1, 2, 3], None), "the second ones are there");

    bench.log.stage_reset(G2, SnapshotMark { index: Index(7), term: Term(1) });
    bench.write(G2, 8, b"next");
    let stale = copies(&mut bench);
    let found = with_damaged_copies(&mut bench, stale);
    assert_eq!(kept(&found), (vec![8], None), "they counted for nothing");
}

/// The checksums are right, so a faulty process wrote it: it is named, and nothing is made of it.
#[test]
fn a_batch_that_cannot_be_of_its_segment_is_refused() {
    let mut bench = Bench::new(16);
    bench.write(G1, 1, b"one");
    bench.write(G1, 2, b"two");
    let far = BatchNumber(1 << 40);
    let batch = &mut bench.file(SegmentId(0))[3 * BLOCK..];
    for field in [16, 24] {
        batch[field..field + 8].copy_from_slice(&far.0.to_le_bytes());
    }
    let crc = crc32c(&batch[8..64 + 40]);
    batch[4..8].copy_from_slice(&crc.to_le_bytes());
    let error = bench.disk.recover(&bench.config).expect_err("nonsense");
    let reason = "its number is none of its segment".to_owned();
    assert_eq!(error, LogError::Nonsense { segment: SegmentId(0), batch: far, reason });
}

/// A header that went to another segment's file as well: which of the two is which, nobody can say.
#[test]
fn one_header_in_two_files_is_refused() {
    let mut bench = Bench::new(16);
    bench.fill(&mut 0, 2);
    let header = bench.file(SegmentId(0))[..BLOCK].to_vec();
    bench.file(SegmentId(1))[..BLOCK].copy_from_slice(&header);
    let error = bench.disk.recover(&bench.config).expect_err("two of one order");
    assert_eq!(error, LogError::Twice { segment: SegmentId(1), other: SegmentId(0) });
}
