//! Random lives of a log beside a plain model of it: after every power failure the log must be what
//! the model was after some batch between the last one acknowledged and the last one issued.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;

use super::disk::{Disk, config};
use super::transcript::transcribe;
use crate::base::{Bytes, GroupId, Index, NodeId, Term, WallTime};
use crate::wal::record::{GroupRecord, Record};
use crate::wal::{
    BatchNumber, EntryRecord, HardStateRecord, Log, LogConfig, RecoveredGroup, SnapshotMark,
    Stretch, Write,
};

const GROUPS: u32 = 4;
const SEGMENT_BLOCKS: u64 = 16;
/// More files than ever needed would mean that segments are not recycled.
const FILES_MAX: usize = 40;

type Entries = BTreeMap<Index, EntryRecord>;

/// What a group's log ought to be.
#[derive(Clone, Debug, Default)]
struct Group {
    hard_state: Option<HardStateRecord>,
    reset: Option<SnapshotMark>,
    retired: bool,
    /// It left once: what it had acknowledged is forgotten.
    in_doubt: bool,
    entries: Entries,
}

type State = BTreeMap<GroupId, Group>;

impl Group {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::HardState(state) => self.hard_state = Some(*state),
            Record::Entry(entry) => {
                self.entries.split_off(&entry.index);
                self.entries.insert(entry.index, entry.clone());
            }
            Record::Reset(mark) => {
                self.reset = Some(*mark);
                self.retired = false;
                self.entries.clear();
            }
            Record::Retired => {
                self.reset = None;
                (self.retired, self.in_doubt) = (true, true);
                self.entries.clear();
            }
            Record::Copy(_) => {}
            Record::Standing(_) | Record::Doubt(..) | Record::Certain => {
                unreachable!("never staged")
            }
        }
    }

    fn last(&self) -> Index {
        let mark = self.reset.map_or(Index::ZERO, |mark| mark.index);
        self.entries.last_key_value().map_or(mark, |(&index, _)| index)
    }
}

/// One log, its disk, and the model of both.
struct World {
    rng: Rng,
    config: LogConfig,
    log: Log,
    disk: Disk,
    /// Staged in the log, not yet sealed.
    staged: VecDeque<GroupRecord>,
    /// What all that was staged adds up to.
    latest: State,
    /// What each batch since the last durable one makes of the log; the first is durable.
    states: VecDeque<(BatchNumber, State)>,
    /// What snapshots cover; durable by definition.
    trimmed: BTreeMap<GroupId, Index>,
    /// Makes every entry different.
    counter: u64,
    /// How many entries were read back.
    entries_read: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let config = config(SEGMENT_BLOCKS);
        let mut world = Self {
            rng: Rng::with_seed(seed),
            config,
            log: Log::new(config),
            disk: Disk::default(),
            staged: VecDeque::new(),
            latest: State::default(),
            states: [(BatchNumber(0), State::default())].into(),
            trimmed: BTreeMap::new(),
            counter: 0,
            entries_read: 0,
        };
        world.prepare();
        world
    }

    fn prepare(&mut self) {
        self.disk.prepare(&mut self.log, self.config.segment_bytes);
        assert!(self.disk.files.len() <= FILES_MAX, "segments are not recycled");
    }

    fn step(&mut self) {
        match self.rng.u32(0..100) {
            0..45 => self.stage_entries(),
            45..50 => self.stage_hard_state(),
            50..52 => self.stage_reset(),
            52..53 => self.stage_retirement(),
            53..70 => self.seal(),
            70..85 => self.complete_one(),
            85..88 => self.complete_all(),
            88..90 => self.seal_idle(),
            90..93 => self.trim(),
            93..95 => self.rewrite(),
            95..97 => self.read(),
            97..99 => self.prepare(),
            _ => self.crash(),
        }
    }

    fn any_group(&mut self) -> GroupId {
        GroupId(self.rng.u32(0..GROUPS))
    }

    fn covered(&self, group: GroupId) -> Index {
        self.trimmed.get(&group).copied().unwrap_or_default()
    }

    fn stage(&mut self, group: GroupId, record: Record) {
        self.latest.entry(group).or_default().apply(&record);
        match record.clone() {
            Record::HardState(state) => self.log.stage_hard_state(group, state),
            Record::Entry(entry) => self.log.stage_entry(group, entry),
            Record::Copy(entry) => self.log.stage_copy(group, entry),
            Record::Reset(mark) => self.log.stage_reset(group, mark),
            Record::Retired => self.log.stage_retirement(group),
            Record::Standing(_) | Record::Doubt(..) | Record::Certain => {
                unreachable!("never staged")
            }
        }
        self.staged.push_back(GroupRecord { group, record });
    }

    fn stage_entries(&mut self) {
        let group = self.any_group();
        if self.latest.get(&group).is_some_and(|latest| latest.retired) {
            self.restart_group(group, self.covered(group).next());
        }
        let last = self.latest.get(&group).map_or(Index::ZERO, Group::last);
        let floor = self.covered(group).next().0;
        let replaces = self.rng.u32(0..8) == 0 && floor <= last.0;
        let first = if replaces { self.rng.u64(floor..=last.0) } else { last.next().0 };
        for index in first..first + self.rng.u64(1..4) {
            let entry = self.entry(Index(index));
            self.stage(group, Record::Entry(entry));
        }
    }

    fn entry(&mut self, index: Index) -> EntryRecord {
        self.counter += 1;
        let length = if self.rng.u32(0..20) == 0 { 20_000 } else { 600 };
        let payload: Vec<u8> = (0..self.rng.usize(0..length)).map(|_| self.rng.u8(..)).collect();
        EntryRecord {
            term: Term(self.counter),
            index,
            timestamp: WallTime(self.rng.u64(..)),
            kind: self.rng.u8(..),
            payload: Bytes::copy_of(&payload),
        }
    }

    fn stage_hard_state(&mut self) {
        self.counter += 1;
        let vote = self.rng.bool().then(|| NodeId(self.rng.u64(1..=3)));
        let state = HardStateRecord { term: Term(self.counter), vote };
        let group = self.any_group();
        self.stage(group, Record::HardState(state));
    }

    fn stage_reset(&mut self) {
        let group = self.any_group();
        let ahead = Index(self.covered(group).0 + self.rng.u64(1..20));
        self.restart_group(group, ahead);
    }

    fn stage_retirement(&mut self) {
        let group = self.any_group();
        self.stage(group, Record::Retired);
    }

    /// A snapshot that covers `index` is durable, and the group's log restarts after it.
    fn restart_group(&mut self, group: GroupId, index: Index) {
        self.counter += 1;
        self.trimmed.insert(group, index);
        self.log.trim(group, index);
        self.stage(group, Record::Reset(SnapshotMark { index, term: Term(self.counter) }));
    }

    fn seal(&mut self) {
        let mut writes = Vec::new();
        let before = self.log.durable();
        let number = self.log.seal(&mut writes);
        self.enter(&writes);
        if let Some(number) = number {
            let mut state = self.states.back().expect("never empty").1.clone();
            let mut bytes: usize = self.staged.iter().map(GroupRecord::length).sum();
            while bytes > self.log.staged_bytes() {
                let record = self.staged.pop_front().expect("as many as bytes");
                bytes -= record.length();
                state.entry(record.group).or_default().apply(&record.record);
            }
            assert_eq!(bytes, self.log.staged_bytes());
            let last = self.states.back_mut().expect("never empty");
            assert_eq!(last.0, number);
            last.1 = state;
        }
        assert_eq!(self.log.durable(), before);
        self.disk.in_flight.extend(writes);
    }

    fn seal_idle(&mut self) {
        let mut writes = Vec::new();
        self.log.seal_idle(&mut writes);
        self.enter(&writes);
        self.disk.in_flight.extend(writes);
    }

    /// Each write is a batch, which changes nothing unless it is the one that takes what was staged.
    fn enter(&mut self, writes: &[Write]) {
        for write in writes {
            let (number, state) = self.states.back().expect("never empty").clone();
            assert_eq!(write.write.0, number.next().0);
            self.states.push_back((number.next(), state));
        }
    }

    fn complete_one(&mut self) {
        if !self.disk.in_flight.is_empty() {
            let position = self.rng.usize(0..self.disk.in_flight.len());
            let write = self.disk.complete(position);
            let durable = self.log.written(write);
            self.states.retain(|(number, _)| *number >= durable);
            assert_eq!(self.states[0].0, durable);
        }
        assert_eq!(self.disk.in_flight.len(), self.log.in_flight());
    }

    fn complete_all(&mut self) {
        while !self.disk.in_flight.is_empty() {
            self.complete_one();
        }
    }

    /// A snapshot of what is committed: durable here, and never to be replaced.
    fn trim(&mut self) {
        let mut groups = vec![self.any_group()];
        if self.rng.bool() {
            groups.clear();
            let mut holders = Vec::new();
            self.log.groups_holding_oldest(&mut holders);
            groups.extend(holders.iter().map(|holder| holder.group));
        }
        for group in groups {
            if let Some(index) = self.committed(group) {
                self.trimmed.insert(group, index);
                self.log.trim(group, index);
            }
        }
    }

    /// Writes entries again for which the oldest segment is needed, but for those replaced since.
    fn rewrite(&mut self) {
        let mut from = BatchNumber(0);
        for _ in 0..self.rng.u32(1..4) {
            let bytes_max = self.rng.usize(0..50_000);
            let Some(stretch) = self.log.begin_rewrite(from, bytes_max) else { break };
            for (group, entry) in self.decode(&stretch) {
                let latest = self.latest.get(&group).and_then(|g| g.entries.get(&entry.index));
                if latest == Some(&entry) {
                    self.stage(group, Record::Copy(entry));
                }
            }
            from = stretch.last_batch().next();
            self.log.end_read(&stretch);
        }
    }

    fn decode(&self, stretch: &Stretch) -> Vec<(GroupId, EntryRecord)> {
        let start = usize::try_from(stretch.offset).expect("within memory");
        let bytes = &self.disk.files[&stretch.segment][start..start + stretch.length];
        stretch.decode(bytes).expect("undamaged")
    }

    /// Reads entries back, some while their segment is on its way to being given up.
    fn read(&mut self) {
        let group = self.any_group();
        let sealed = &self.states.back().expect("never empty").1;
        let Some(entries) = sealed.get(&group).map(|group| group.entries.clone()) else { return };
        let from = self.log.first_stored(group).map_or(1, |first| first.0);
        let last = entries.last_key_value().map_or(from, |(last, _)| last.0.max(from));
        let from = Index(self.rng.u64(from..=last));
        let bytes_max = self.rng.usize(0..100_000);
        if let Some(stretch) = self.log.begin_read(group, from, bytes_max) {
            let found = self.decode(&stretch);
            let upto = Index(from.0 + found.len() as u64);
            let expected = entries.range(from..upto).map(|(_, entry)| entry);
            assert!(found.iter().map(|(_, entry)| entry).eq(expected), "{group} from {from}");
            assert!(found.iter().all(|(its, _)| *its == group));
            self.log.end_read(&stretch);
            self.entries_read += found.len();
        }
    }

    /// The last entry that every state the log may come back with has.
    fn committed(&self, group: GroupId) -> Option<Index> {
        let durable = &self.states[0].1.get(&group)?.entries;
        let all = || self.states.iter().map(|(_, state)| state).chain([&self.latest]);
        let everywhere = |index: &Index, entry: &EntryRecord| {
            all().all(|state| state[&group].entries.get(index) == Some(entry))
        };
        let mut entries = durable.range(self.covered(group).next()..);
        entries.rfind(|(index, entry)| everywhere(index, entry)).map(|(&index, _)| index)
    }

    fn crash(&mut self) {
        let odds = self.rng.u32(0..=4);
        let rng = &mut self.rng;
        self.disk.lose_power(|| rng.u32(0..4) < odds);
        self.restart();
    }

    /// Reads the log back, compares it with the model, and goes on with it.
    fn restart(&mut self) {
        let recovered = self.disk.recover(&self.config).expect("nothing was damaged");
        let end = recovered.state.end;
        let acknowledged = self.log.durable();
        let position = self.states.iter().position(|(number, _)| *number == end);
        let position = position.unwrap_or_else(|| panic!("{end} after {acknowledged}"));
        let state = self.states.swap_remove_back(position).expect("just found").1;
        self.compare(&recovered.groups, &state);

        self.config.seed += 1;
        self.log = Log::resume(self.config, recovered.state);
        assert_eq!(self.log.durable(), end);
        self.staged.clear();
        self.latest = state.clone();
        self.states = [(end, state)].into();
        for (group, index) in self.trimmed.clone() {
            self.log.trim(group, index);
            if index > self.latest.entry(group).or_default().last() {
                self.restart_group(group, index);
            }
        }
        self.prepare();
    }

    fn compare(&self, found: &BTreeMap<GroupId, RecoveredGroup>, expected: &State) {
        for (&group, expected) in expected {
            let found = found.get(&group).cloned().unwrap_or_default();
            assert_eq!(found.hard_state, expected.hard_state, "{group}");
            assert_eq!(found.reset, expected.reset, "{group}");
            assert_eq!(found.retired, expected.retired, "{group}");
            assert_eq!(found.doubt.is_some(), expected.in_doubt, "{group}");
            // At the front the log may have more than is needed, or end before what is covered.
            let needed = self.covered(group).next();
            let first = found.entries.first().map_or(needed, |entry| entry.index.min(needed));
            let entries: Vec<_> = expected.entries.range(first..).map(|(_, entry)| entry).collect();
            assert!(found.entries.iter().eq(entries.iter().copied()), "{group}: {found:?}");
        }
        assert!(found.keys().all(|group| expected.contains_key(group)));
    }

    /// Lets everything become durable, and known as such.
    fn settle(&mut self) {
        while self.log.has_staged() || self.log.needs_idle_seal() || self.log.in_flight() > 0 {
            self.seal();
            self.complete_all();
            self.prepare();
            self.seal_idle();
        }
    }
}

#[test]
fn a_log_is_what_the_model_is_after_every_crash() {
    let mut entries_read = 0;
    for seed in 0..60 {
        let mut world = World::new(seed);
        for _ in 0..1500 {
            world.step();
        }
        world.settle();
        world.restart();
        entries_read += world.entries_read;
    }
    assert!(entries_read > 1_000, "{entries_read} entries read back");
}

/// First starts that end soon, again and again: whatever arrives of their first writes.
#[test]
fn a_young_log_is_what_the_model_is_after_every_crash() {
    for seed in 0..400 {
        let mut world = World::new(seed);
        for _ in 0..6 {
            for _ in 0..world.rng.u32(1..40) {
                world.step();
            }
            world.crash();
        }
    }
}

#[test]
fn a_log_written_anew_is_what_the_model_is() {
    for seed in 200..220 {
        let mut world = World::new(seed);
        for _ in 0..1000 {
            world.step();
        }
        world.settle();
        let found = world.disk.recover(&world.config).expect("nothing was damaged").groups;
        let config = config(world.rng.u64(16..64));
        let anew = transcribe(config, &found).recover(&config).expect("an undamaged log").groups;
        assert_eq!(anew, found);
        world.compare(&anew, &world.latest);
    }
}

#[test]
fn damage_to_a_settled_log_changes_nothing_or_is_reported() {
    for seed in 100..110 {
        let mut world = World::new(seed);
        for _ in 0..600 {
            world.step();
        }
        world.settle();
        let (mut reported, mut harmless) = (0, 0);
        for _ in 0..300 {
            let mut disk = world.disk.clone();
            let file = world.rng.usize(0..disk.files.len());
            let bytes = disk.files.values_mut().nth(file).expect("a position within");
            let position = world.rng.usize(0..bytes.len());
            bytes[position] ^= 1 << world.rng.u32(0..8);
            match disk.recover(&world.config) {
                Err(_) => reported += 1,
                Ok(found) if !found.damage.is_empty() => reported += 1,
                Ok(found) => {
                    println!("seed {seed}, file {file}, byte {position}");
                    world.compare(&found.groups, &world.latest);
                    harmless += 1;
                }
            }
        }
        assert!(reported > 0 && harmless > 0, "{reported} {harmless}");
    }
}
