//! A log on a simulated disk, without the rest of a node.

use std::collections::BTreeMap;

use super::*;
use crate::base::{AlignedBuf, ClusterId, GroupId, Index, Micros, NodeId, Term};
use crate::placement::{NodeInfo, ShardMap};
use crate::reactor::Recovered;
use crate::wal::{EntryRecord, Log, SegmentId};

const CORE: CoreId = CoreId(0);
const GROUP: GroupId = GroupId(1);
const SEGMENT_BYTES: u64 = 64 << 10;

fn map() -> ShardMap {
    let info = |id| NodeInfo {
        id: NodeId(id),
        client_address: format!("n{id}:7000"),
        peer_address: format!("n{id}:7001"),
    };
    ShardMap::initial(vec![info(1)], 1).expect("one node, one group")
}

/// A process that writes entries to a log.
struct Writer {
    disk: Disk,
    log: Log,
    now: Time,
    /// The last entry appended.
    last: Index,
    /// Writes with all that was staged by then, by the last entry in them.
    written: BTreeMap<WriteId, Index>,
    /// Up to here all is durable.
    durable: Index,
}

fn settings(map: &ShardMap) -> Settings<'_> {
    let (cluster, node) = (ClusterId(7), NodeId(1));
    Settings { cluster, node, map, smp: 1, segment_bytes: SEGMENT_BYTES, dies_on_the_way: false }
}

fn blank(seed: u64) -> Disk {
    Disk::new(Speed::default(), fastrand::Rng::with_seed(seed))
}

/// What a start finds of the only core's log.
fn found(start: Start) -> Recovered {
    start.cores.into_iter().next().expect("one core")
}

fn entries(recovered: &Recovered) -> Vec<Index> {
    let group = recovered.log.groups.get(&GROUP);
    group.into_iter().flat_map(|group| &group.entries).map(|entry| entry.index).collect()
}

impl Writer {
    fn start(mut disk: Disk, now: Time) -> Self {
        let map = map();
        let start = disk.start(&settings(&map)).expect("nothing is damaged");
        let config = start.superblock.log_config(CORE);
        let recovered = found(start);
        let last = entries(&recovered).last().copied().unwrap_or_default();
        let log = Log::resume(config, recovered.log.state);
        Self { disk, log, now, last, written: BTreeMap::new(), durable: last }
    }

    /// Appends an entry of `bytes` bytes, and has it written.
    fn append(&mut self, bytes: usize) {
        self.last = self.last.next();
        let entry = EntryRecord {
            index: self.last,
            term: Term(1),
            timestamp: crate::base::WallTime(1),
            kind: 1,
            payload: AlignedBuf::copy_of(&vec![7; bytes]).into(),
        };
        self.log.stage_entry(GROUP, entry);
        self.flush();
    }

    fn flush(&mut self) {
        let (mut writes, mut wanted) = (Vec::new(), Vec::new());
        while self.log.has_staged() && self.log.seal(&mut writes).is_some() {}
        self.log.segments_wanted(&mut wanted);
        for segment in wanted {
            self.disk.prepare(self.now, CORE, segment);
        }
        if let Some(segment) = self.log.awaited_segment() {
            self.disk.hurry(self.now, CORE, segment);
        }
        // All that was staged is in the last write, or in none yet.
        if let Some(last) = writes.last().filter(|_| !self.log.has_staged()) {
            self.written.insert(last.write, self.last);
        }
        for wal in writes {
            let write = LogWrite {
                write: wal.write,
                segment: wal.segment,
                offset: wal.offset,
                bytes: wal.bytes,
            };
            self.disk.write(self.now, CORE, write);
        }
    }

    /// Lets time pass until nothing is under way, or at most `span`.
    fn wait(&mut self, span: Micros) {
        let end = self.now + span;
        while let Some(due) = self.disk.deadline().filter(|due| *due <= end) {
            self.now = due;
            while let Some((core, done)) = self.disk.poll(self.now) {
                assert_eq!(core, CORE);
                self.take(done);
            }
        }
        self.now = end;
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::LogWritten(write) => {
                let durable = self.log.written(write).0;
                let upto = self.written.iter().filter(|(write, _)| write.0 <= durable);
                self.durable = upto.map(|(_, &index)| index).max().unwrap_or(self.durable);
            }
            Done::SegmentReady(segment) => {
                self.log.segment_ready(segment);
                self.flush();
            }
            Done::SegmentFailed(segment) => self.log.segment_failed(segment),
            other => panic!("{other:?}"),
        }
    }
}

const LONG: Micros = Micros::from_secs(10);

fn writer(seed: u64) -> Writer {
    let mut writer = Writer::start(blank(seed), Time(1_000_000));
    writer.append(100);
    writer.wait(LONG);
    writer
}

#[test]
fn a_log_is_found_again_after_a_restart() {
    let mut writer = writer(1);
    for _ in 0..200 {
        writer.append(1_000);
        writer.wait(Micros::from_millis(1));
    }
    writer.wait(LONG);
    assert_eq!(writer.durable, writer.last);
    writer.disk.kill();
    let map = map();
    let superblock = writer.disk.examine().expect("undamaged").0;
    let start = writer.disk.start(&settings(&map)).expect("undamaged");
    assert_eq!((start.superblock, start.formatted), (superblock, false));
    let indices: Vec<Index> = (1..=201).map(Index).collect();
    assert_eq!(entries(&found(start)), indices);
}

#[test]
fn a_death_and_a_power_loss_lose_nothing_that_was_acknowledged() {
    let (mut torn, mut beyond) = (0, 0);
    for seed in 0..300 {
        let mut writer = writer(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..random.u32(1..60) {
            writer.append(random.usize(0..5_000));
            writer.wait(Micros(random.u64(0..400)));
        }
        let durable = writer.durable;
        if random.bool() {
            writer.disk.kill();
        } else {
            writer.disk.power_loss();
        }
        let found = found(writer.disk.start(&settings(&map())).expect("nothing is damaged"));
        let entries = entries(&found);
        let last = entries.last().copied().unwrap_or_default();
        assert!(last >= durable && found.log.damage.is_empty(), "{seed}: {last} < {durable}");
        beyond += u32::from(last > durable);
        torn += u32::from(found.log.torn_bytes > 0);
        // What was found counts from now on: the power may fail at once.
        writer.disk.power_loss();
        let again = writer.disk.start(&settings(&map())).expect("nothing is damaged");
        assert_eq!(self::entries(&self::found(again)), entries, "{seed}");
    }
    assert!(torn > 30 && beyond > 30, "{torn} torn, {beyond} with more than was acknowledged");
}

/// A writer that waits for everything after each append, as many times as given; then a second has
/// passed, and the log says that all of it is durable.
fn sealed_writer(seed: u64, appends: u32) -> Writer {
    let mut writer = writer(seed);
    for _ in 0..appends {
        writer.append(700);
        writer.wait(LONG);
    }
    writer.seal();
    writer
}

impl Writer {
    /// The log falls idle.
    fn seal(&mut self) {
        let mut writes = Vec::new();
        self.log.seal_idle(&mut writes);
        for wal in writes {
            let crate::wal::Write { write, segment, offset, bytes } = wal;
            self.disk.write(self.now, CORE, LogWrite { write, segment, offset, bytes });
        }
        self.wait(LONG);
    }

    /// How a start ends.
    fn restart(&mut self) -> Result<Recovered, Refusal> {
        self.disk.kill();
        self.disk.start(&settings(&map())).map(found)
    }

    /// Demands that a start finds all entries, or says what it lacks.
    fn assert_nothing_is_lost_silently(&mut self, what: &str) -> Found {
        let last = self.last;
        match self.restart() {
            Err(_) => Found::Refused,
            Ok(found) if found.log.damage.is_empty() => {
                assert_eq!(entries(&found).last(), Some(&last), "{what}");
                Found::Whole
            }
            Ok(_) => Found::Damaged,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Whole,
    Damaged,
    Refused,
}

/// How often what was found, over these seeds, demanding that each kind was.
fn tally(seeds: u64, wanted: &[Found], mut run: impl FnMut(u64) -> Found) {
    let mut tally = BTreeMap::new();
    for seed in 0..seeds {
        *tally.entry(run(seed)).or_insert(0) += 1;
    }
    println!("{tally:?}");
    assert!(wanted.iter().all(|found| tally.contains_key(found)), "{tally:?}");
}

#[test]
fn a_byte_that_goes_bad_is_found_wherever_it_is() {
    tally(300, &[Found::Damaged, Found::Refused], |seed| {
        let mut writer = sealed_writer(seed, 30);
        if seed % 2 == 0 {
            writer.append(200);
            writer.wait(LONG);
        }
        let place = writer.disk.choose_place().expect("something was written");
        assert!(writer.disk.rot(place), "the first one");
        writer.assert_nothing_is_lost_silently(&format!("{seed}: {place:?}"))
    });
}

#[test]
fn a_write_that_went_elsewhere_or_nowhere_is_found_unless_nobody_could() {
    for harm in [WriteHarm::Lost, WriteHarm::Misdirected] {
        let all = [Found::Whole, Found::Damaged];
        tally(300, &all, |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut writer = sealed_writer(seed, random.u32(0..40));
            writer.disk.harm_write(CORE, harm);
            assert!(writer.disk.is_harm_pending());
            for _ in 0..random.u32(1..8) {
                writer.append(random.usize(0..9_000));
                writer.wait(LONG);
            }
            let pending = writer.disk.is_harm_pending();
            let found = writer.assert_nothing_is_lost_silently(&format!("{seed}: {harm:?}"));
            assert!(!pending || harm == WriteHarm::Misdirected || found == Found::Whole, "{seed}");
            found
        });
    }
}

/// The process dies with a batch in the cache that says so, and the power fails before that is written.
#[test]
fn a_lost_write_that_only_the_cache_tells_of_is_there_after_all() {
    tally(300, &[Found::Whole], |seed| {
        let mut writer = sealed_writer(seed, 3);
        writer.disk.harm_write(CORE, WriteHarm::Lost);
        writer.append(500);
        assert!(writer.disk.is_harm_pending(), "the write is under way");
        writer.wait(LONG);
        let acknowledged = writer.durable;
        writer.append(500);
        writer.disk.kill();
        writer.disk.power_loss();
        match writer.disk.start(&settings(&map())).map(found) {
            Ok(found) if found.log.damage.is_empty() => {
                assert!(entries(&found).last() >= Some(&acknowledged), "{seed}");
                Found::Whole
            }
            Ok(_) => Found::Damaged,
            Err(_) => Found::Refused,
        }
    });
}

#[test]
fn a_write_that_fails_ends_the_process_and_any_part_of_it_is_there() {
    let (mut there, mut not_there) = (0, 0);
    for seed in 0..60 {
        let mut writer = sealed_writer(seed, 3);
        let before = writer.last;
        writer.disk.harm_write(CORE, WriteHarm::Failed);
        writer.append(5_000);
        writer.now = writer.disk.deadline().expect("a write is under way");
        assert_eq!(writer.disk.poll(writer.now), Some((CORE, Done::WriteFailed)));
        let found = writer.restart().expect("torn, if anything");
        let last = entries(&found).last().copied();
        assert!(last == Some(before) || last == Some(writer.last), "{seed}: {last:?}");
        there += u32::from(last == Some(writer.last));
        not_there += u32::from(last == Some(before));
    }
    assert!(there > 0 && not_there > 30, "{there}, {not_there}");
}

#[test]
fn what_the_medium_cannot_read_is_refused_at_a_start_and_empty_in_service() {
    let mut writer = sealed_writer(1, 3);
    let file = FileName::Segment(SegmentId(0));
    writer.disk.make_unreadable(Place { core: Some(CORE), file, at: 4096 });
    let read = LogRead { read: 9, segment: SegmentId(0), offset: 4096, length: 4096 };
    writer.disk.read(writer.now, CORE, read);
    writer.now = writer.disk.deadline().expect("a read is under way");
    let done = writer.disk.poll(writer.now);
    assert_eq!(done, Some((CORE, Done::LogRead { read: 9, bytes: Vec::new() })));
    let refusal = writer.restart().expect_err("a part of the log cannot be read");
    assert!(matches!(refusal, Refusal::Unreadable { .. }), "{refusal}");
    writer.disk.wipe();
    assert!(writer.disk.start(&settings(&map())).expect("a blank disk").formatted);
}

#[test]
fn a_full_disk_has_no_segment_to_give_and_has_again() {
    let mut writer = sealed_writer(1, 1);
    writer.disk.fill(true);
    writer.disk.prepare(writer.now, CORE, SegmentId(77));
    let now = writer.now + LONG;
    assert_eq!(writer.disk.poll(now), Some((CORE, Done::SegmentFailed(SegmentId(77)))));
    writer.disk.fill(false);
    writer.disk.prepare(now, CORE, SegmentId(77));
    let now = now + LONG;
    assert_eq!(writer.disk.poll(now + LONG), None, "its name is not durable yet");
    let now = now + LONG + LONG;
    assert_eq!(writer.disk.poll(now), Some((CORE, Done::SegmentReady(SegmentId(77)))));
}

#[test]
fn a_held_disk_does_nothing_and_a_slow_one_little() {
    let mut writer = sealed_writer(1, 1);
    writer.append(10);
    let due = writer.disk.deadline().expect("a write is under way");
    writer.disk.hold(true);
    assert_eq!((writer.disk.deadline(), writer.disk.poll(due + LONG)), (None, None));
    writer.disk.hold(false);
    assert_eq!(writer.disk.deadline(), Some(due));
    writer.wait(LONG);
    writer.disk.speed_mut().slowness = 1_000;
    writer.append(10);
    let slow = writer.disk.deadline().expect("a write is under way").since(writer.now);
    assert!(slow > Micros::from_millis(100), "{slow}");
}

/// A segment gets its name, and the process dies before the directory was synced. The next one writes to
/// it, and the power fails.
fn life_after_a_name_that_was_not_synced(seed: u64, settles: bool) -> bool {
    let mut writer = writer(seed);
    while writer.log.awaited_segment().is_none() {
        writer.append(9_000);
    }
    // Until it has its name, in the cache alone.
    let named = |disk: &Disk| disk.under_way.values().any(|it| matches!(it.1, Operation::Named(_)));
    while !named(&writer.disk) {
        writer.wait(Micros(50));
    }
    let (durable, mut disk) = (writer.durable, writer.disk);
    disk.kill();
    let map = map();
    let mut unsettled = disk.cores()[0].volume.clone();
    let start = disk.start(&settings(&map)).expect("nothing is damaged");
    if !settles {
        unsettled.remove_temporary();
        disk.cores_mut()[0].volume = unsettled;
    }
    let config = start.superblock.log_config(CORE);
    let recovered = found(start);
    let last = entries(&recovered).last().copied().unwrap_or_default();
    assert!(last >= durable, "{seed}");
    let log = Log::resume(config, recovered.log.state);
    let written = BTreeMap::new();
    let mut writer = Writer { disk, log, now: writer.now, last, written, durable: last };
    let spare = |writer: &Writer| writer.disk.cores()[0].segments.list().len();
    assert!(spare(&writer) > 1, "{seed}: the new segment is there");
    // Not so many that it would ask for another segment, and sync the directory for that.
    for _ in 0..4 {
        writer.append(9_000);
        writer.wait(Micros::from_millis(1));
    }
    let durable = writer.durable;
    writer.disk.power_loss();
    let found = writer.disk.start(&settings(&map)).map(found);
    found.is_ok_and(|found| entries(&found).last().is_some_and(|&last| last >= durable))
}

#[test]
fn the_names_that_a_start_goes_by_must_be_made_durable() {
    assert!((0..40).all(|seed| life_after_a_name_that_was_not_synced(seed, true)));
    let kept = (0..40).filter(|&seed| life_after_a_name_that_was_not_synced(seed, false)).count();
    assert!(kept < 40, "a start that syncs no directory would have to lose something");
}

#[test]
fn the_superblock_a_start_goes_by_must_be_durable_too() {
    let (map, mut lost) = (map(), 0);
    for seed in 0..20 {
        for settles in [true, false] {
            let mut disk = blank(seed);
            disk.format(&settings(&map));
            disk.kill();
            if settles {
                disk.start(&settings(&map)).expect("formatted");
            }
            let before = disk.examine().expect("formatted").0;
            disk.power_loss();
            let after = disk.start(&settings(&map)).expect("blank, or as before").superblock;
            assert!(!settles || after == before, "{seed}: another incarnation");
            lost += u32::from(after != before);
        }
    }
    assert!(lost > 0, "its name never was lost");
}

/// A snapshot of the group at an index, in two pieces; not one that could be loaded.
fn snapshot(writer: &mut Writer, number: u64, index: u64) {
    for (offset, last) in [(0, false), (5_000, true)] {
        let (group, index) = (GROUP, Index(index));
        let write =
            SnapshotWrite { snapshot: number, group, index, offset, bytes: vec![1; 5_000], last };
        writer.disk.snapshot(writer.now, CORE, write);
    }
}

fn snapshots(disk: &Disk) -> Vec<u64> {
    let found = snapshots::snapshots_in(&disk.cores()[0].volume);
    found.into_iter().map(|(_, index)| index.0).collect()
}

#[test]
fn a_snapshot_counts_once_it_is_whole_and_has_its_name_for_good() {
    let mut outcomes = BTreeMap::new();
    for seed in 0..200 {
        let mut writer = sealed_writer(seed, 1);
        snapshot(&mut writer, 1, 5);
        writer.now = writer.now + LONG;
        while writer.disk.poll(writer.now).is_some() || writer.disk.deadline().is_some() {
            writer.now = writer.now + LONG;
        }
        snapshot(&mut writer, 2, 7);
        let (mut done, moments) = (0, fastrand::Rng::with_seed(seed).u64(0..40));
        for _ in 0..moments {
            writer.now = writer.now + Micros(500);
            while let Some((_, it)) = writer.disk.poll(writer.now) {
                assert_eq!(it, Done::SnapshotWritten(2));
                done += 1;
            }
        }
        writer.disk.power_loss();
        writer.disk.cores_mut()[0].settle();
        let found = snapshots(&writer.disk);
        let newest = *found.last().expect("one of them");
        assert!(newest == 7 || done < 2, "{seed}: {found:?} after {done} pieces");
        let file = writer.disk.cores()[0].volume.open(FileName::Snapshot(GROUP, Index(newest)));
        let file = writer.disk.cores()[0].volume.file(file.expect("listed"));
        assert_eq!(file.read_all().expect("readable"), [1; 10_000], "{seed}");
        *outcomes.entry((done, found)).or_insert(0) += 1;
    }
    println!("{outcomes:?}");
    let seen = |done, found: &[u64]| outcomes.contains_key(&(done, found.to_vec()));
    assert!(seen(0, &[5]) && seen(1, &[5]) && seen(2, &[7]) && seen(2, &[5, 7]), "{outcomes:?}");
}

#[test]
fn a_snapshot_that_went_bad_can_be_made_good() {
    let mut writer = sealed_writer(3, 1);
    let bad = Place { core: Some(CORE), file: FileName::Snapshot(GROUP, Index(5)), at: 151 };
    let written = |writer: &mut Writer, number, index| {
        snapshot(writer, number, index);
        while writer.disk.poll(writer.now).is_some() || writer.disk.deadline().is_some() {
            writer.now = writer.now + LONG;
        }
    };
    let contents = |writer: &Writer| {
        let volume = &writer.disk.cores()[0].volume;
        volume.open(bad.file).map(|file| volume.file(file).read_all().expect("readable"))
    };
    written(&mut writer, 1, 5);
    assert!(writer.disk.rot(bad));
    assert_ne!(contents(&writer), Some(vec![1; 10_000]));
    writer.disk.make_snapshots_good();
    assert_eq!(contents(&writer), Some(vec![1; 10_000]));
    assert!(writer.disk.rot(bad));
    written(&mut writer, 2, 7);
    writer.disk.make_snapshots_good();
    assert_eq!(contents(&writer), None, "a newer one took its place");
}

#[test]
fn snapshots_without_room_are_given_up_and_those_of_a_group_removed() {
    let mut writer = sealed_writer(1, 1);
    writer.disk.fill(true);
    snapshot(&mut writer, 1, 5);
    writer.now = writer.now + LONG;
    assert_eq!(writer.disk.poll(writer.now), Some((CORE, Done::SnapshotFailed(1))));
    assert_eq!(snapshots(&writer.disk), [0; 0]);
    let mut writer = sealed_writer(2, 1);
    snapshot(&mut writer, 1, 5);
    writer.disk.remove_snapshots(writer.now, CORE, GROUP);
    let mut done = Vec::new();
    while let Some(due) = writer.disk.deadline() {
        writer.now = due;
        done.extend(writer.disk.poll(due).map(|(_, done)| done));
    }
    let written = Done::SnapshotWritten(1);
    assert_eq!(done, [written.clone(), written, Done::SnapshotsRemoved(GROUP)]);
    writer.disk.power_loss();
    assert_eq!(snapshots(&writer.disk), [0; 0]);
}

/// A superblock, and the entries of each core's groups, as a start with so many cores finds them.
fn after_a_start(disk: &mut Disk, smp: u16, dies: bool) -> Result<Vec<Index>, Refusal> {
    let map = map();
    let start = disk.start(&Settings { smp, dies_on_the_way: dies, ..settings(&map) })?;
    assert_eq!((start.superblock.smp, start.cores.len()), (smp, usize::from(smp)));
    let home = usize::from(ShardMap::home_core(GROUP, smp).0);
    assert!(
        start
            .cores
            .iter()
            .enumerate()
            .all(|(core, it)| { core == home || it.log.groups.is_empty() })
    );
    Ok(entries(&start.cores[home]))
}

#[test]
fn a_log_moves_to_other_cores_wherever_the_move_is_cut_short() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..60 {
        let mut writer = sealed_writer(seed, 20);
        let all: Vec<Index> = (1..=writer.last.0).map(Index).collect();
        writer.disk.kill();
        let mut disk = writer.disk;
        for smp in [3, 2, 1] {
            let died = after_a_start(&mut disk, smp, true).expect_err("it was to die");
            assert!(matches!(died, Refusal::Died), "{died}");
            if seed % 2 == 0 {
                disk.power_loss();
            }
            let counts = disk.examine().expect("one of the layouts").0.smp;
            *(if counts == smp { &mut new } else { &mut old }) += 1;
            assert_eq!(after_a_start(&mut disk, smp, false).expect("undamaged"), all, "{seed}");
            disk.kill();
        }
        disk.fill(true);
        let refusal = after_a_start(&mut disk, 2, false).expect_err("there is no room");
        assert!(matches!(refusal, Refusal::NoRoom), "{refusal}");
        assert_eq!(after_a_start(&mut disk, 1, false).expect("as before"), all, "{seed}");
    }
    assert!(old > 20 && new > 20, "{old} with the layout before, {new} with the next");
}

#[test]
fn a_write_that_is_to_fail_is_no_harm_and_a_core_that_never_writes_can_have_none() {
    let mut writer = sealed_writer(1, 1);
    assert!(writer.disk.harm_write(CORE, WriteHarm::Failed) && !writer.disk.is_harm_pending());
    let mut disk = blank(1);
    disk.start(&settings(&map())).expect("blank");
    assert!(!disk.harm_write(CORE, WriteHarm::Lost) && !disk.is_harm_pending());
}
