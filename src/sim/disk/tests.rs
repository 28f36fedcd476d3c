//! A log on a simulated disk, without the rest of a node.

use std::collections::BTreeMap;

use super::*;
use crate::base::{AlignedBuf, ClusterId, GroupId, Index, Micros, NodeId, Term};
use crate::placement::{NodeInfo, ShardMap};
use crate::reactor::Recovered;
use crate::wal::{EntryRecord, Log};

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
    Settings { cluster, node, map, smp: 1, segment_bytes: SEGMENT_BYTES }
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
    let superblock = writer.disk.examine(&map).expect("undamaged").0;
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
