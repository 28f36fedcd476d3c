//! The disk of a simulated node: what `io` makes of the files of a data directory, in virtual time.
//!
//! ```text
//!   effects ──▶ operations under way, each with the time it is due ──▶ poll: completions, in any order
//!                        │ kill: each write is there, or is not
//!                        ▼ power loss: any sectors of it are
//!               volumes: root, one for each core ──▶ start: what `io::recover` would find
//! ```
//! A log write is on the medium when it completes, as with `O_DSYNC`; a segment and a snapshot bear
//! their names only once they are whole, and count once the directory was synced; all of a core's
//! snapshots are written by one task, in order. Nothing is promised beyond that: what a process that
//! died had written may be in a cache only, names that were not synced may be lost with the power.
//!
//! Deliberately absent: reads of whole snapshots in service (there are none), and the time that a start
//! takes.
//!
//! *In*: `write`, `read`, `prepare`, `hurry`, `snapshot`, `remove_snapshots`, `keep_map`, as `io::disk` takes them;
//! `kill`, `power_loss`, `wipe` and the faults. *Out*: `poll`, when `deadline` says so; `start`.

mod contents;
mod harm;
mod map;
mod rehome;
mod segments;
mod snapshots;
mod speed;
mod start;
mod tail;
mod volume;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use crate::base::{CoreId, GroupId, Time};
use crate::reactor::{Input, LogRead, LogWrite, MapWrite, SnapshotWrite};
use crate::wal::{BLOCK, SegmentId, WriteId};

use contents::{SECTOR, pieces};
pub use harm::{Place, WriteHarm};
use map::MapTask;
use segments::Segments;
use snapshots::{SnapshotStep, SnapshotTask, Snapshots};
pub use speed::Speed;
pub use start::{Refusal, Settings, Start};
use volume::{FileId, Volume};
pub use volume::{FileName, Lost};

/// A node's disk, with everything on it.
#[derive(Debug)]
pub struct Disk {
    speed: Speed,
    random: fastrand::Rng,
    /// What is not a core's: the superblock, the shard map, and what is known of other nodes.
    root: Volume,
    /// The shard map on its way there.
    map: MapTask,
    /// The cores' directories, by layout: one layout, but for what a change of it left over; none before
    /// the first start.
    layouts: BTreeMap<u32, Vec<CoreFiles>>,
    /// The layout that the last start went by.
    layout: u32,
    /// What is under way, by when it is due and then by when it began.
    under_way: BTreeMap<(Time, u64), (CoreId, Operation)>,
    /// Operations begun so far.
    begun: u64,
    /// Of each segment, as the superblock says.
    segment_bytes: u64,
    /// Nothing completes.
    held: bool,
    /// There is no room for another segment or a snapshot.
    full: bool,
}

/// One core's files.
#[derive(Debug, Default)]
struct CoreFiles {
    volume: Volume,
    segments: Segments,
    snapshots: Snapshots,
    /// What is to become of the next log writes, in order.
    harms: VecDeque<WriteHarm>,
    /// Writes that were acknowledged and are not where they should be, so long as the log itself cannot
    /// know that they were durable.
    owed: Vec<LogWrite>,
    /// A byte that went bad in a batch of which the same is true.
    rotten_tail: Option<(SegmentId, u64)>,
    /// Bytes of snapshots that went bad, and which of their bits.
    rotten_snapshots: Vec<(FileId, u64, u8)>,
}

/// What the disk is doing for a core.
#[derive(Debug)]
enum Operation {
    /// With what becomes of it, if that is not what should.
    Write(LogWrite, Option<WriteHarm>),
    Read(LogRead),
    /// A segment under its temporary name is full of zeros, and durable.
    Zeroed(SegmentId),
    /// A segment's name is durable.
    Named(SegmentId),
    NoRoom(SegmentId),
    Snapshot(SnapshotStep),
    Map(MapWrite),
}

/// What the disk has done for a core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// See `Input::LogWritten`.
    LogWritten(WriteId),
    /// See `Input::LogReadDone`.
    LogRead {
        /// As given in `LogRead`.
        read: u64,
        /// What was read; nothing if it could not be.
        bytes: Vec<u8>,
    },
    /// See `Input::SegmentReady`.
    SegmentReady(SegmentId),
    /// See `Input::SegmentFailed`.
    SegmentFailed(SegmentId),
    /// See `Input::SnapshotWritten`.
    SnapshotWritten(u64),
    /// See `Input::SnapshotFailed`.
    SnapshotFailed(u64),
    /// See `Input::SnapshotsRemoved`.
    SnapshotsRemoved(GroupId),
    /// See `Input::MapWritten`.
    MapWritten(u64),
    /// A log write failed: the process is to die at once, as `io` has it do.
    WriteFailed,
}

impl Done {
    /// What the reactor is to be given; nothing if its process dies of it.
    pub fn input(&self) -> Option<Input<'_>> {
        let input = match self {
            Self::WriteFailed => return None,
            Self::LogWritten(write) => Input::LogWritten { write: *write },
            Self::LogRead { read, bytes } => Input::LogReadDone { read: *read, bytes },
            Self::SegmentReady(segment) => Input::SegmentReady { segment: *segment },
            Self::SegmentFailed(segment) => Input::SegmentFailed { segment: *segment },
            Self::SnapshotWritten(snapshot) => Input::SnapshotWritten { snapshot: *snapshot },
            Self::SnapshotFailed(snapshot) => Input::SnapshotFailed { snapshot: *snapshot },
            Self::SnapshotsRemoved(group) => Input::SnapshotsRemoved { group: *group },
            Self::MapWritten(epoch) => Input::MapWritten { epoch: *epoch },
        };
        Some(input)
    }
}

/// In service.
impl Disk {
    /// A blank disk.
    pub fn new(speed: Speed, random: fastrand::Rng) -> Self {
        Self {
            speed,
            random,
            root: Volume::default(),
            map: MapTask::default(),
            layouts: BTreeMap::new(),
            layout: 0,
            under_way: BTreeMap::new(),
            begun: 0,
            segment_bytes: 0,
            held: false,
            full: false,
        }
    }

    /// Begins a log write; `Done::LogWritten` follows once it is durable.
    ///
    /// # Panics
    /// If the segment was never ready or the write leaves it.
    pub fn write(&mut self, now: Time, core: CoreId, write: LogWrite) {
        let segment = write.segment;
        let file = self.segment(core, segment);
        let length = self.core(core).volume.file(file).length();
        let end = write.offset + write.bytes.len() as u64;
        assert!(end <= length, "{segment} is written up to {end}");
        assert!(write.offset.is_multiple_of(BLOCK as u64), "at {} of {segment}", write.offset);
        assert!(write.bytes.len().is_multiple_of(BLOCK), "{} bytes", write.bytes.len());
        let unwritten = self.core(core).segments.is_unwritten(segment);
        let took = self.speed.write(write.bytes.len(), unwritten, &mut self.random);
        let harm = self.core_mut(core).harms.pop_front();
        self.begin(now + took, core, Operation::Write(write, harm));
    }

    /// Begins to read a part of a segment; `Done::LogRead` follows.
    ///
    /// # Panics
    /// If the segment was never ready or the read leaves it.
    pub fn read(&mut self, now: Time, core: CoreId, read: LogRead) {
        let file = self.segment(core, read.segment);
        let length = self.core(core).volume.file(file).length();
        let end = read.offset + read.length as u64;
        assert!(end <= length, "{} is read up to {end}", read.segment);
        let took = self.speed.read(read.length, &mut self.random);
        self.begin(now + took, core, Operation::Read(read));
    }

    /// Begins to create a segment; `Done::SegmentReady` or `Done::SegmentFailed` follows.
    pub fn prepare(&mut self, now: Time, core: CoreId, segment: SegmentId) {
        let bytes = self.segment_bytes;
        if self.full {
            let took = self.speed.flush(&mut self.random);
            return self.begin(now + took, core, Operation::NoRoom(segment));
        }
        let files = self.core_mut(core);
        files.segments.create(&mut files.volume, segment, bytes);
        let hurried = files.segments.is_hurried(segment);
        let zeroes = if hurried { 0 } else { usize::try_from(bytes).expect("it fits memory") };
        let took = self.speed.create(zeroes, &mut self.random);
        self.begin(now + took, core, Operation::Zeroed(segment));
    }

    /// The log waits for a segment that is being created.
    pub fn hurry(&mut self, now: Time, core: CoreId, segment: SegmentId) {
        self.core_mut(core).segments.hurry(segment);
        let zeroed =
            |operation: &Operation| matches!(operation, Operation::Zeroed(id) if *id == segment);
        let later = self.under_way.range((now, 0)..);
        let mut found = later.filter(|(_, (of, operation))| *of == core && zeroed(operation));
        if let Some((&key, _)) = found.next() {
            let took = self.speed.flush(&mut self.random);
            let (core, operation) = self.under_way.remove(&key).expect("just found");
            self.begin(key.0.min(now + took), core, operation);
        }
    }

    /// Removes a segment that nobody writes or reads. Until a directory is synced, a power loss brings
    /// it back.
    ///
    /// # Panics
    /// If it was never ready.
    pub fn remove_segment(&mut self, core: CoreId, segment: SegmentId) {
        let files = self.core_mut(core);
        files.segments.remove(&mut files.volume, segment);
    }

    /// Begins to write a piece of a snapshot, after what the core's task has to do before;
    /// `Done::SnapshotWritten` or `Done::SnapshotFailed` follows.
    pub fn snapshot(&mut self, now: Time, core: CoreId, write: SnapshotWrite) {
        self.core_mut(core).snapshots.push(SnapshotTask::Write(write));
        self.go_on_with_snapshots(now, core);
    }

    /// Begins to remove a group's snapshots, likewise; `Done::SnapshotsRemoved` follows.
    pub fn remove_snapshots(&mut self, now: Time, core: CoreId, group: GroupId) {
        self.core_mut(core).snapshots.push(SnapshotTask::Remove(group));
        self.go_on_with_snapshots(now, core);
    }

    /// When to poll next; nothing if nothing is under way, or all of it is held.
    pub fn deadline(&self) -> Option<Time> {
        let (&(due, _), _) = self.under_way.first_key_value().filter(|_| !self.held)?;
        Some(due)
    }

    /// Something that is done by now, and for which core. To be called until there is nothing more.
    pub fn poll(&mut self, now: Time) -> Option<(CoreId, Done)> {
        while self.deadline().is_some_and(|due| due <= now) {
            let (_, (core, operation)) = self.under_way.pop_first().expect("it has a deadline");
            if let Some(done) = self.complete(now, core, operation) {
                return Some((core, done));
            }
        }
        None
    }

    /// Carries out what is due.
    fn complete(&mut self, now: Time, core: CoreId, operation: Operation) -> Option<Done> {
        match operation {
            Operation::Write(write, harm) => Some(self.complete_write(core, &write, harm)),
            Operation::Read(LogRead { read, segment, offset, length }) => {
                let range = offset..offset + length as u64;
                let bytes = self.file_of(core, segment).read(range).unwrap_or_default();
                Some(Done::LogRead { read, bytes })
            }
            Operation::Zeroed(segment) => {
                let files = self.core_mut(core);
                files.segments.name(&mut files.volume, segment);
                let took = self.speed.flush(&mut self.random);
                self.begin(now + took, core, Operation::Named(segment));
                None
            }
            Operation::Named(segment) => {
                let files = self.core_mut(core);
                files.volume.sync();
                files.segments.open(&files.volume, segment);
                Some(Done::SegmentReady(segment))
            }
            Operation::NoRoom(segment) => Some(Done::SegmentFailed(segment)),
            Operation::Snapshot(step) => self.snapshot_step(now, core, step),
            Operation::Map(write) => self.map_written(now, write),
        }
    }

    fn begin(&mut self, due: Time, core: CoreId, operation: Operation) {
        self.begun += 1;
        self.under_way.insert((due, self.begun), (core, operation));
    }

    fn core(&self, core: CoreId) -> &CoreFiles {
        &self.cores()[usize::from(core.0)]
    }

    fn core_mut(&mut self, core: CoreId) -> &mut CoreFiles {
        &mut self.cores_mut()[usize::from(core.0)]
    }

    /// Of the layout that counts.
    fn cores(&self) -> &[CoreFiles] {
        self.layouts.get(&self.layout).map(Vec::as_slice).unwrap_or_default()
    }

    fn cores_mut(&mut self) -> &mut [CoreFiles] {
        self.layouts.get_mut(&self.layout).map(Vec::as_mut_slice).unwrap_or_default()
    }

    fn segment(&self, core: CoreId, segment: SegmentId) -> FileId {
        self.core(core).segments.file(segment)
    }

    fn file_of(&mut self, core: CoreId, segment: SegmentId) -> &mut contents::Contents {
        let file = self.segment(core, segment);
        self.core_mut(core).volume.file_mut(file)
    }
}

/// What goes wrong.
impl Disk {
    /// The process dies. Each log write under way is in the disk's cache, or never was; the same goes for a
    /// shard map.
    pub fn kill(&mut self) {
        for (_, (core, operation)) in std::mem::take(&mut self.under_way) {
            match operation {
                Operation::Write(write, _) if self.random.bool() => {
                    self.file_of(core, write.segment).write(write.offset, &write.bytes);
                }
                Operation::Map(write) => self.leave_map(&write),
                _ => {}
            }
        }
        self.close();
    }

    /// The power fails, whether a process runs or not. Of each log write under way any sectors are on
    /// the medium; what was not synced may be lost.
    pub fn power_loss(&mut self) -> Lost {
        let mut lost = Lost::default();
        for (_, (core, operation)) in std::mem::take(&mut self.under_way) {
            match operation {
                Operation::Write(write, _) => lost.sectors += self.tear(core, &write),
                Operation::Map(write) => self.leave_map(&write),
                _ => {}
            }
        }
        let cores = self.layouts.values_mut().flatten();
        let volumes = cores.map(|core| &mut core.volume).chain([&mut self.root]);
        for volume in volumes {
            let its = volume.lose_power(&mut self.random);
            lost.names += its.names;
            lost.sectors += its.sectors;
        }
        self.close();
        lost
    }

    /// Another disk, a blank one, is put in the place of this one, whose process does not run.
    ///
    /// # Panics
    /// If something is under way.
    pub fn wipe(&mut self) {
        assert!(self.under_way.is_empty(), "a process writes to it");
        (self.root, self.layouts, self.layout) = Default::default();
    }

    /// Nothing completes, or all goes on.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// There is no room for more segments or snapshots, or there is again.
    pub fn fill(&mut self, full: bool) {
        self.full = full;
    }

    /// Whether there is no room for more.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Cores that it holds logs of; none before the first start.
    pub fn cores_laid_out(&self) -> u16 {
        u16::try_from(self.cores().len()).expect("cores are numbered by u16")
    }

    /// How fast it is.
    pub fn speed_mut(&mut self) -> &mut Speed {
        &mut self.speed
    }

    /// Puts some sectors of a write on the medium; returns how many it did not.
    fn tear(&mut self, core: CoreId, write: &LogWrite) -> usize {
        let odds = self.random.u32(0..=100);
        let mut lost = 0;
        for (at, sector) in pieces(write.offset, &write.bytes, SECTOR) {
            if self.random.u32(0..100) < odds {
                lost += 1;
            } else {
                self.file_of(core, write.segment).write_durably(at, sector);
            }
        }
        lost
    }

    /// What a process had open is closed.
    fn close(&mut self) {
        self.map = MapTask::default();
        for core in self.cores_mut() {
            (core.segments, core.snapshots) = Default::default();
            core.harms.clear();
            core.deliver_owed();
        }
    }
}
