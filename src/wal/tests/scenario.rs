//! Single situations, each for one rule.

use super::disk::{Disk, config};
use crate::base::{Bytes, GroupId, Index, NodeId, Term, WallTime};
use crate::wal::{
    BLOCK, BatchNumber, DoubtRecord, EntryRecord, HardStateRecord, Log, LogConfig, LogError,
    Recovered, RecoveredGroup, SegmentId, SnapshotMark, Write,
};

pub(super) const G1: GroupId = GroupId(1);
pub(super) const G2: GroupId = GroupId(2);

/// A log and its disk, writes performed at once unless a test holds them back.
pub(super) struct Bench {
    pub(super) config: LogConfig,
    pub(super) log: Log,
    pub(super) disk: Disk,
    pub(super) writes: Vec<Write>,
}

impl Bench {
    pub(super) fn new(segment_blocks: u64) -> Self {
        let config = config(segment_blocks);
        let mut bench =
            Self { config, log: Log::new(config), disk: Disk::default(), writes: Vec::new() };
        bench.prepare();
        bench
    }

    pub(super) fn prepare(&mut self) {
        self.disk.prepare(&mut self.log, self.config.segment_bytes);
    }

    pub(super) fn stage(&mut self, group: GroupId, index: u64, payload: &[u8]) {
        self.log.stage_entry(group, entry(index, payload));
    }

    /// Seals what is staged and leaves the writes in `writes`.
    pub(super) fn seal(&mut self) -> BatchNumber {
        let number = self.log.seal(&mut self.writes).expect("something staged and a segment ready");
        self.prepare();
        number
    }

    pub(super) fn perform(&mut self) {
        self.disk.perform(&mut self.log, &mut self.writes);
    }

    /// One entry in a batch of its own, durable.
    pub(super) fn write(&mut self, group: GroupId, index: u64, payload: &[u8]) -> BatchNumber {
        self.stage(group, index, payload);
        let number = self.seal();
        self.perform();
        number
    }

    /// Writes entries of the first group, the one after `index` first, until so many segments are in use.
    /// Returns the last one's index.
    pub(super) fn fill(&mut self, index: &mut u64, segments: usize) -> Index {
        while self.log.live_segments() < segments {
            *index += 1;
            self.write(G1, *index, &[1; 3000]);
        }
        Index(*index)
    }

    pub(super) fn seal_idle(&mut self) {
        self.log.seal_idle(&mut self.writes).expect("something to tell");
        self.perform();
    }

    pub(super) fn recover(&self) -> Recovered {
        self.disk.recover(&self.config).expect("an undamaged log")
    }

    /// The process starts again.
    pub(super) fn restart(&mut self) -> BTreeGroups {
        let recovered = self.recover();
        self.log = Log::resume(self.config, recovered.state);
        self.writes.clear();
        self.prepare();
        recovered.groups
    }

    pub(super) fn file(&mut self, segment: SegmentId) -> &mut Vec<u8> {
        self.disk.files.get_mut(&segment).expect("the file exists")
    }
}

pub(super) type BTreeGroups = std::collections::BTreeMap<GroupId, RecoveredGroup>;

pub(super) fn entry(index: u64, payload: &[u8]) -> EntryRecord {
    EntryRecord {
        term: Term(1),
        index: Index(index),
        timestamp: WallTime(1000 + index),
        kind: 2,
        payload: Bytes::copy_of(payload),
    }
}

pub(super) fn indices(group: &RecoveredGroup) -> Vec<u64> {
    group.entries.iter().map(|entry| entry.index.0).collect()
}

#[test]
fn what_was_written_is_found() {
    let mut bench = Bench::new(16);
    let state = HardStateRecord { term: Term(4), vote: Some(NodeId(3)) };
    bench.log.stage_hard_state(G1, state);
    bench.stage(G1, 1, b"one");
    bench.stage(G2, 1, b"");
    bench.stage(G1, 2, &[9; 9000]);
    assert!(bench.log.has_staged());
    assert_eq!(bench.seal(), BatchNumber(2));
    assert!(!bench.log.has_staged());
    assert_eq!(bench.log.in_flight(), 2);
    bench.perform();
    assert_eq!(bench.log.durable(), BatchNumber(2));

    let groups = bench.restart();
    let expected = RecoveredGroup {
        hard_state: Some(state),
        entries: vec![entry(1, b"one"), entry(2, &[9; 9000])],
        ..RecoveredGroup::default()
    };
    assert_eq!(groups[&G1], expected);
    assert_eq!(groups[&G2].entries, vec![entry(1, b"")]);
    assert_eq!(groups[&G2].hard_state, None);
}

#[test]
fn an_entry_replaces_everything_from_its_index_on() {
    let mut bench = Bench::new(16);
    for index in 1..=5 {
        bench.write(G1, index, b"old");
    }
    bench.write(G1, 3, b"new");
    let groups = bench.restart();
    assert_eq!(indices(&groups[&G1]), [1, 2, 3]);
    assert_eq!(groups[&G1].entries[2], entry(3, b"new"));
    bench.write(G1, 4, b"next");
    assert_eq!(indices(&bench.restart()[&G1]), [1, 2, 3, 4]);
}

#[test]
fn a_reset_drops_what_came_before_and_nothing_after() {
    let mut bench = Bench::new(16);
    bench.write(G1, 1, b"gone");
    let mark = SnapshotMark { index: Index(70), term: Term(3) };
    bench.log.stage_reset(G1, mark);
    bench.stage(G1, 71, b"kept");
    bench.seal();
    bench.perform();
    let groups = bench.restart();
    assert_eq!((groups[&G1].reset, indices(&groups[&G1])), (Some(mark), vec![71]));
}

#[test]
fn a_preamble_repeats_what_a_recycled_segment_held() {
    let mut bench = Bench::new(16);
    let state = HardStateRecord { term: Term(9), vote: None };
    let mark = SnapshotMark { index: Index(4), term: Term(3) };
    bench.log.stage_hard_state(G1, state);
    bench.log.stage_reset(G1, mark);
    bench.seal();
    bench.perform();
    for index in 5..200 {
        bench.write(G1, index, &[1; 3000]);
        bench.log.trim(G1, Index(index - 1));
    }
    assert!(bench.disk.files.len() <= 4, "{} files", bench.disk.files.len());
    let groups = bench.restart();
    assert_eq!((groups[&G1].hard_state, groups[&G1].reset), (Some(state), Some(mark)));
    assert_eq!(groups[&G1].entries.last(), Some(&entry(199, &[1; 3000])));
}

#[test]
fn of_a_retired_group_only_the_hard_state_is_kept_until_it_comes_back() {
    let mut bench = Bench::new(16);
    let state = HardStateRecord { term: Term(9), vote: Some(NodeId(2)) };
    bench.log.stage_hard_state(G1, state);
    bench.write(G1, 1, b"gone");
    bench.log.trim(G1, Index(1));
    bench.log.stage_retirement(G1);
    for index in 1..200 {
        bench.write(G2, index, &[1; 3000]);
        bench.log.trim(G2, Index(index - 1));
    }
    // What it had acknowledged is gone, too: coming back, it does not know what that was.
    let forgotten = DoubtRecord { kind: DoubtRecord::ENTRIES, resume_after: Index(u64::MAX) };
    let doubt = Some(forgotten);
    let hard_state = Some(state);
    let expected = RecoveredGroup { hard_state, doubt, retired: true, ..RecoveredGroup::default() };
    assert_eq!(bench.restart()[&G1], expected);

    let mark = SnapshotMark::default();
    bench.log.stage_reset(G1, mark);
    bench.write(G1, 1, b"back");
    for index in 200..400 {
        bench.write(G2, index, &[1; 3000]);
        bench.log.trim(G2, Index(index - 1));
    }
    let entries = vec![entry(1, b"back")];
    let reset = Some(mark);
    let expected =
        RecoveredGroup { hard_state, reset, doubt, entries, ..RecoveredGroup::default() };
    assert_eq!(bench.restart()[&G1], expected, "an old snapshot covers nothing of it");
    bench.log.stage_certainty(G1);
    bench.write(G1, 2, b"and certain");
    assert_eq!(bench.restart()[&G1].doubt, None);
}

#[test]
fn one_group_keeps_the_oldest_segment_and_is_named() {
    let mut bench = Bench::new(16);
    bench.write(G2, 1, b"lagging");
    for index in 1..100 {
        bench.write(G1, index, &[1; 3000]);
    }
    bench.log.trim(G1, Index(99));
    let segments = bench.log.live_segments();
    assert!(segments > 5, "{segments}");
    assert_eq!(bench.log.live_bytes(), segments as u64 * bench.config.segment_bytes);
    let mut holding = Vec::new();
    bench.log.groups_holding_oldest(&mut holding);
    assert_eq!(holding.iter().map(|holder| holder.group).collect::<Vec<_>>(), [G2]);
    bench.log.trim(G2, Index(1));
    assert_eq!(bench.log.live_segments(), 1);
}

/// Writes again what the oldest segment is needed for, as read back.
fn rewrite(bench: &mut Bench) {
    let mut from = BatchNumber(0);
    while let Some(stretch) = bench.log.begin_rewrite(from, 2 * BLOCK) {
        let start = usize::try_from(stretch.offset).expect("small");
        let bytes = bench.file(stretch.segment)[start..start + stretch.length].to_vec();
        for (group, entry) in stretch.decode(&bytes).expect("as written") {
            bench.log.stage_copy(group, entry);
        }
        from = stretch.last_batch().next();
        bench.log.end_read(&stretch);
    }
    bench.seal();
    bench.perform();
}

#[test]
fn a_lagging_group_is_written_forward_and_found_again() {
    let mut bench = Bench::new(16);
    let kept: Vec<EntryRecord> = (1..=3).map(|index| entry(index, b"kept")).collect();
    for entry in &kept {
        bench.log.stage_entry(G2, entry.clone());
    }
    let mut most = 0;
    for index in 1..200 {
        bench.write(G1, index, &[1; 3000]);
        bench.log.trim(G1, Index(index));
        if bench.log.live_segments() > 2 {
            rewrite(&mut bench);
        }
        most = most.max(bench.log.live_segments());
        if index % 20 == 0 {
            assert_eq!(bench.restart()[&G2].entries, kept, "after {index}");
            bench.log.trim(G1, Index(index));
        }
    }
    assert!(most <= 4, "{most} segments for three small entries");
    // What was written again can be replaced like anything else, and goes on where it was.
    bench.write(G2, 3, b"other");
    assert_eq!(indices(&bench.restart()[&G2]), [1, 2, 3]);
    bench.write(G2, 4, b"next");
    assert_eq!(indices(&bench.restart()[&G2]), [1, 2, 3, 4]);
}

#[test]
fn a_copy_of_what_a_reset_dropped_does_not_count() {
    let mut bench = Bench::new(16);
    bench.write(G1, 1, b"dropped");
    bench.log.stage_reset(G1, SnapshotMark { index: Index(5), term: Term(1) });
    bench.stage(G1, 6, b"kept");
    bench.log.stage_copy(G1, entry(1, b"dropped"));
    bench.log.stage_copy(G1, entry(5, b"dropped"));
    bench.seal();
    bench.perform();
    assert_eq!(bench.log.first_stored(G1), Some(Index(6)));
    assert_eq!(indices(&bench.restart()[&G1]), [6]);
}

#[test]
fn entries_are_read_back_only_while_their_segment_stays() {
    let mut bench = Bench::new(16);
    for index in 1..=4 {
        bench.write(G1, index, &[1; 3000]);
    }
    let stretch = bench.log.begin_read(G1, Index(2), 8192).expect("it is there");
    assert_eq!(stretch.length, 2 * BLOCK, "two batches of a block");
    for index in 5..100 {
        bench.write(G1, index, &[1; 3000]);
    }
    bench.log.trim(G1, Index(99));
    assert!(bench.log.live_segments() > 5, "the read keeps it, and with it all that follow");
    let start = usize::try_from(stretch.offset).expect("small");
    let bytes = bench.file(stretch.segment)[start..start + stretch.length].to_vec();
    let found = stretch.decode(&bytes).expect("as written");
    assert_eq!(found, [(G1, entry(2, &[1; 3000])), (G1, entry(3, &[1; 3000]))]);
    bench.log.end_read(&stretch);
    assert_eq!(bench.log.live_segments(), 1);
    assert!(bench.log.begin_read(G1, Index(2), 8192).is_none(), "it is gone");

    for position in 0..3000 {
        let mut bytes = bytes.clone();
        bytes[position] ^= 1;
        let refused = stretch.decode(&bytes).expect_err("a flipped bit");
        assert!(matches!(refused, LogError::Corrupt { .. }), "{refused}");
    }
    assert!(stretch.decode(&[]).is_err(), "a read that failed");
}

#[test]
fn what_is_not_durable_is_not_read_back() {
    let mut bench = Bench::new(16);
    bench.write(G1, 1, b"durable");
    bench.stage(G1, 2, b"on its way");
    bench.seal();
    let stretch = bench.log.begin_read(G1, Index(1), usize::MAX).expect("durable");
    assert_eq!(stretch.length, BLOCK, "the batch that is durable");
    bench.log.end_read(&stretch);
    assert!(bench.log.begin_read(G1, Index(2), usize::MAX).is_none());
}

#[test]
fn what_follows_a_hole_was_never_acknowledged_and_never_comes_back() {
    let mut bench = Bench::new(16);
    bench.write(G1, 1, b"one");
    bench.stage(G1, 2, b"lost");
    bench.seal();
    bench.stage(G1, 3, b"arrived");
    bench.seal();
    bench.writes.remove(0);
    let arrived = bench.writes.pop().expect("two were issued");
    bench.disk.in_flight.push(arrived);
    bench.disk.lose_power(|| true);
    assert!(bench.recover().torn_bytes > 0);
    assert_eq!(indices(&bench.restart()[&G1]), [1]);

    // The next life fills the hole; what lies behind it must not be taken for its successor.
    bench.write(G1, 2, b"lost");
    assert_eq!(indices(&bench.restart()[&G1]), [1, 2]);
    bench.write(G1, 3, b"new");
    let groups = bench.restart();
    assert_eq!(groups[&G1].entries[2], entry(3, b"new"));
}

#[test]
fn a_hole_filled_with_the_same_bytes_still_ends_what_was_behind_it() {
    // Without the run in the header this would make the very same batch, and the chain would hold.
    let mut bench = Bench::new(16);
    bench.write(G1, 1, b"one");
    bench.seal_idle();
    bench.stage(G1, 2, b"same");
    bench.seal();
    bench.stage(G1, 3, b"stale");
    bench.seal();
    let stale = bench.writes.pop().expect("two were issued");
    bench.disk.in_flight.push(stale);
    bench.disk.lose_power(|| true);
    bench.restart();
    bench.write(G1, 2, b"same");
    assert_eq!(indices(&bench.restart()[&G1]), [1, 2]);
}

#[test]
fn much_at_once_is_split_and_stays_in_order() {
    let mut bench = Bench::new(64);
    for index in 1..=40 {
        bench.stage(G1, index, &[5; 8000]);
    }
    let mut batches = 0;
    while bench.log.has_staged() {
        bench.seal();
        bench.perform();
        batches += 1;
    }
    assert!((5..=8).contains(&batches), "{batches}");
    assert_eq!(bench.log.staged_bytes(), 0);
    assert_eq!(indices(&bench.restart()[&G1]), (1..=40).collect::<Vec<_>>());
}

#[test]
fn one_entry_may_be_larger_than_a_batch() {
    let mut bench = Bench::new(16);
    bench.write(G1, 1, b"small");
    bench.write(G1, 2, &vec![7; 12 * BLOCK]);
    bench.write(G1, 3, b"small");
    assert_eq!(indices(&bench.restart()[&G1]), [1, 2, 3]);
}

#[test]
#[should_panic(expected = "do not fit an empty segment")]
fn an_entry_larger_than_a_segment_is_a_bug() {
    let mut bench = Bench::new(16);
    bench.stage(G1, 1, &vec![7; 16 * BLOCK]);
    bench.seal();
}

#[test]
#[should_panic(expected = "entry 3 of g1 comes after entry 1")]
fn a_gap_between_entries_is_a_bug() {
    let mut bench = Bench::new(16);
    bench.stage(G1, 1, b"");
    bench.stage(G1, 3, b"");
    bench.seal();
}

#[test]
fn without_a_segment_everything_stays_staged() {
    let config = config(8);
    let mut log = Log::new(config);
    let (mut wanted, mut writes) = (Vec::new(), Vec::new());
    log.stage_entry(G1, entry(1, b"waits"));
    assert_eq!(log.seal(&mut writes), None);
    assert!(log.has_staged() && writes.is_empty());

    log.segments_wanted(&mut wanted);
    log.segments_wanted(&mut wanted);
    assert_eq!(wanted, [SegmentId(0)], "named once");
    log.segment_failed(SegmentId(0));
    log.segments_wanted(&mut wanted);
    assert_eq!(wanted, [SegmentId(0), SegmentId(0)], "and again after a failure");
    log.segment_ready(SegmentId(0));
    assert_eq!(log.seal(&mut writes), Some(BatchNumber(2)));
    assert_eq!(writes.len(), 2);
    log.segments_wanted(&mut wanted);
    assert_eq!(wanted.last(), Some(&SegmentId(1)), "one ahead");
}

/// The disk fills up: no segment can be made any more. Snapshots then free what is there.
#[test]
fn a_full_disk_heals_by_snapshots_alone() {
    let mut bench = Bench::new(16);
    let mut index = 1;
    while bench.disk.files.len() < 4 {
        bench.write(G1, index, &[1; 3000]);
        index += 1;
    }
    let number = loop {
        bench.stage(G1, index, &[1; 3000]);
        match bench.log.seal(&mut bench.writes) {
            Some(_) => bench.perform(),
            None => break index,
        }
        index += 1;
    };
    assert!(bench.writes.is_empty());
    bench.log.trim(G1, Index(number - 1));
    assert_eq!(bench.log.seal(&mut bench.writes), None, "only tells what was given up");
    bench.perform();
    assert!(bench.log.seal(&mut bench.writes).is_some());
    bench.perform();
    assert!(!bench.log.has_staged());
    assert_eq!(bench.restart()[&G1].entries.last(), Some(&entry(number, &[1; 3000])));
}

/// A new segment's beginning is lost, what was written behind it arrives.
#[test]
fn a_segment_whose_beginning_was_lost_is_used_again() {
    let mut bench = Bench::new(16);
    let mut index = 0;
    while bench.log.live_segments() < 2 {
        index += 1;
        bench.stage(G1, index, &[1; 3000]);
        bench.seal();
        if bench.log.live_segments() < 2 {
            bench.perform();
        }
    }
    assert_eq!(bench.writes.len(), 2, "the head of the segment, and the batch");
    for keep in [0, 1] {
        let mut torn = bench.disk.clone();
        let write = &bench.writes[keep];
        torn.in_flight.push(write.clone());
        torn.lose_power(|| true);
        let recovered = torn.recover(&bench.config).expect("nothing was acknowledged there");
        let last = recovered.groups[&G1].entries.last().map(|entry| entry.index.0);
        assert_eq!(last, Some(index - 1));

        let mut log = Log::resume(bench.config, recovered.state);
        let mut writes = Vec::new();
        for index in index..index + 30 {
            log.stage_entry(G1, entry(index, &[2; 3000]));
            log.seal(&mut writes).expect("a segment is ready");
            torn.perform(&mut log, &mut writes);
            torn.prepare(&mut log, bench.config.segment_bytes);
        }
        let recovered = torn.recover(&bench.config).expect("an undamaged log");
        let found = indices(&recovered.groups[&G1]);
        assert_eq!(found, (1..index + 30).collect::<Vec<_>>());
    }
}

/// The very first life ends with nothing durable, and only what lies in its second segment arrives.
#[test]
fn a_log_whose_first_segment_never_arrived_is_empty() {
    let mut bench = Bench::new(16);
    let mut index = 0;
    while bench.log.live_segments() < 2 {
        index += 1;
        bench.stage(G1, index, &[1; 3000]);
        bench.seal();
    }
    let [.., head, batch] = &bench.writes[..] else { panic!("two segments were begun") };
    let mut header = head.clone();
    header.bytes.truncate(BLOCK);
    for arrived in [vec![header], vec![head.clone()], vec![head.clone(), batch.clone()]] {
        let mut disk = bench.disk.clone();
        disk.in_flight = arrived;
        disk.lose_power(|| true);
        let recovered = disk.recover(&bench.config).expect("nothing was acknowledged");
        assert!(recovered.groups.is_empty());

        let mut log = Log::resume(bench.config, recovered.state);
        let mut writes = Vec::new();
        log.stage_entry(G1, entry(1, b"anew"));
        log.seal(&mut writes).expect("there are segments");
        disk.perform(&mut log, &mut writes);
        let recovered = disk.recover(&bench.config).expect("an undamaged log");
        assert_eq!(recovered.groups[&G1].entries, [entry(1, b"anew")]);
    }
}

/// The write that began a segment went nowhere: what lay there before is there still, zeros or the head of
/// a segment long given up.
#[test]
fn the_lost_head_of_the_newest_segment_is_found() {
    for segments in [1, 2, 9] {
        let mut bench = Bench::new(16);
        let (mut index, mut begun, mut before) = (0, 0, bench.disk.clone());
        while begun < segments {
            index += 1;
            let newest = bench.log.head_segment();
            let files = bench.disk.clone();
            bench.write(G1, index, &[1; 3000]);
            if bench.log.head_segment() != newest {
                (begun, before) = (begun + 1, files);
            }
            bench.log.trim(G1, Index(index.saturating_sub(6)));
        }
        bench.write(G1, index + 1, b"acknowledged");
        bench.seal_idle();
        let newest = bench.log.head_segment().expect("one was begun");
        let head = before.files[&newest][..BLOCK].to_vec();
        assert_eq!(head.iter().all(|&byte| byte == 0), segments < 9, "used again in the end");
        bench.file(newest)[..BLOCK].copy_from_slice(&head);
        match bench.disk.recover(&bench.config) {
            Ok(found) => assert!(found.groups[&G1].votes_lost, "{segments}: {found:?}"),
            Err(error) => assert_eq!(error, LogError::Missing { start: BatchNumber(1) }),
        }
    }
}

/// Every batch is gone and the headers are left: they know that there was something.
#[test]
fn a_log_of_nothing_but_headers_is_refused() {
    let mut bench = Bench::new(16);
    let mut index = 0;
    while bench.log.live_segments() < 3 {
        index += 1;
        bench.write(G1, index, &[1; 3000]);
    }
    bench.disk.files.values_mut().for_each(|file| file[BLOCK..].fill(0));
    let error = bench.disk.recover(&bench.config).expect_err("all of it is gone");
    assert_eq!(error, LogError::Missing { start: BatchNumber(1) });
    bench.disk.files.remove(&SegmentId(1));
    bench.disk.recover(&bench.config).expect_err("all of it is gone");
}

#[test]
fn a_missing_segment_file_is_found() {
    let mut bench = Bench::new(16);
    for index in 1..60 {
        bench.write(G1, index, &[1; 3000]);
    }
    bench.seal_idle();
    let segments = bench.log.live_segments();
    assert!(segments > 3);
    for (position, (&segment, _)) in bench.disk.files.iter().enumerate() {
        let mut disk = bench.disk.clone();
        disk.files.remove(&segment);
        let result = disk.recover(&bench.config);
        // The last one's absence cannot be seen if nothing after it tells of it; and there is a spare.
        assert_eq!(result.is_err(), position < segments - 1, "{segment}: {result:?}");
    }
}

#[test]
fn a_log_of_someone_else_is_refused_by_name() {
    let mut bench = Bench::new(16);
    bench.write(G1, 1, b"");
    let mut stranger = bench.config;
    stranger.identity.node = NodeId(7);
    let error = bench.disk.recover(&stranger).expect_err("another node's");
    assert_eq!(error.to_string(), "segment-0 belongs to node 2, not to node 7");

    bench.config.segment_bytes *= 2;
    let error = bench.disk.recover(&bench.config).expect_err("another length");
    assert_eq!(error.to_string(), "segment-0 has 65536 bytes instead of 131072");

    bench.config.segment_bytes /= 2;
    bench.file(SegmentId(0))[8] = 9;
    let error = bench.disk.recover(&bench.config).expect_err("another version");
    assert!(error.to_string().contains("format version 9"), "{error}");
}

/// Two lives that do not know of each other, as when all that the first wrote was unreadable.
#[test]
fn the_chain_refuses_a_successor_of_another_batch() {
    let mut bench = Bench::new(16);
    bench.write(G1, 1, b"one");
    bench.restart();
    let mut twin = Log::resume(bench.config, bench.recover().state);

    let mut stale = Vec::new();
    for (index, payload) in [(2, b"lost"), (3, b"late")] {
        twin.stage_entry(G1, entry(index, payload));
        twin.seal(&mut stale);
    }
    bench.write(G1, 2, b"kept");
    bench.disk.in_flight.extend(stale.pop());
    bench.disk.lose_power(|| true);
    assert_eq!(indices(&bench.restart()[&G1]), [1, 2]);
}

/// Only a batch behind a hole tells that the oldest segment was given up. Were that segment written
/// over at once, and the hole's filling lost again, the log would have no beginning.
#[test]
fn a_segment_given_up_by_a_lost_batch_is_not_written_over() {
    let mut bench = Bench::new(16);
    let mut index = 0;
    while bench.log.live_segments() < 2 {
        index += 1;
        bench.write(G1, index, &[1; 3000]);
    }
    bench.log.trim(G1, Index(index));
    assert_eq!(bench.log.live_segments(), 1);
    for index in index + 1..=index + 2 {
        bench.stage(G1, index, b"");
        bench.seal();
    }
    bench.disk.in_flight.extend(bench.writes.pop());
    bench.disk.lose_power(|| true);
    bench.disk.files.remove(&SegmentId(2)).expect("the spare");

    bench.writes.clear();

    let mut log = Log::resume(bench.config, bench.recover().state);
    let mut wanted = Vec::new();
    log.segments_wanted(&mut wanted);
    assert_eq!(wanted, [SegmentId(2)], "the first segment is no spare yet");
    log.stage_entry(G1, entry(index + 1, b""));
    log.seal(&mut bench.writes);
    bench.disk.perform(&mut log, &mut bench.writes);
    log.segment_failed(SegmentId(2));
    wanted.clear();
    log.segments_wanted(&mut wanted);
    assert_eq!(wanted, [], "now it is");
}

/// What the driver needs to know to give up zeroing: nothing goes on before this file is there.
#[test]
fn a_segment_is_awaited_only_while_nothing_can_be_written() {
    let mut bench = Bench::new(16);
    assert_eq!(bench.log.awaited_segment(), None);
    let (mut wanted, mut index) = (Vec::new(), 0);
    // The current segment and the spare are filled while the next file is being made.
    let awaited = loop {
        bench.log.segments_wanted(&mut wanted);
        index += 1;
        bench.log.stage_entry(G1, entry(index, &[1; 3000]));
        if bench.log.seal(&mut bench.writes).is_none() {
            break bench.log.awaited_segment();
        }
        assert_eq!(bench.log.awaited_segment(), None, "entry {index} was sealed");
        bench.perform();
    };
    assert_eq!(awaited, wanted.first().copied(), "the one that was asked for");
    assert!(awaited.is_some());
    bench.log.segment_ready(awaited.expect("just seen"));
    assert_eq!(bench.log.awaited_segment(), None);
    bench.log.seal(&mut bench.writes).expect("a segment is ready");
}

#[test]
fn the_first_segment_of_all_may_take_its_time() {
    let mut log = Log::new(config(16));
    let mut wanted = Vec::new();
    log.segments_wanted(&mut wanted);
    log.stage_entry(G1, entry(1, b"first"));
    assert!(log.seal(&mut Vec::new()).is_none() && wanted.len() == 1);
    assert_eq!(log.awaited_segment(), None, "every block of it is better written before the first");
}
