//! One core's snapshot files, written by one task that does one thing after the other, as
//! `io::snapshots` does.

use std::collections::{BTreeMap, VecDeque};

use super::contents::Contents;
use super::volume::{FileId, FileName, Volume};
use super::{CoreFiles, Disk, Done, Operation};
use crate::base::{CoreId, GroupId, Index, Micros, Time};
use crate::reactor::SnapshotWrite;

/// The disk is left to others after a piece, at most.
const REST_MAX: Micros = Micros::from_millis(50);

/// What there is to do for the writing task.
#[derive(Debug)]
pub(super) enum SnapshotTask {
    Write(SnapshotWrite),
    Remove(GroupId),
}

/// What the writing task is at, and what comes once that is due.
#[derive(Debug)]
pub(super) enum SnapshotStep {
    /// A piece arrives in the file; it took so long.
    Piece(SnapshotWrite, Micros),
    /// The task has rested after it.
    Rested(u64),
    /// The whole file is durable.
    Flushed(Whole),
    /// Its name is, too.
    Named(Whole),
    /// The names of a group's files are gone, durably.
    Removed(GroupId),
}

/// A file that is complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    snapshot: u64,
    group: GroupId,
    index: Index,
}

/// What waits for the writing task, and what it has open.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    tasks: VecDeque<SnapshotTask>,
    /// The task is at something.
    busy: bool,
    /// Files being written.
    unfinished: BTreeMap<u64, FileId>,
}

impl Snapshots {
    pub(super) fn push(&mut self, task: SnapshotTask) {
        self.tasks.push_back(task);
    }
}

impl Disk {
    /// Begins with the task's next, if it is at nothing.
    pub(super) fn go_on_with_snapshots(&mut self, now: Time, core: CoreId) {
        let snapshots = &mut self.core_mut(core).snapshots;
        if snapshots.busy {
            return;
        }
        let Some(task) = snapshots.tasks.pop_front() else { return };
        snapshots.busy = true;
        let (took, step) = match task {
            SnapshotTask::Write(write) => {
                let took = self.speed.write(write.bytes.len(), true, &mut self.random);
                (took, SnapshotStep::Piece(write, took))
            }
            SnapshotTask::Remove(group) => {
                self.core_mut(core).remove_snapshots(|its, _| its == group);
                (self.speed.flush(&mut self.random), SnapshotStep::Removed(group))
            }
        };
        self.begin(now + took, core, Operation::Snapshot(step));
    }

    /// Carries out what the task was at; it goes on to the next.
    pub(super) fn snapshot_step(
        &mut self,
        now: Time,
        core: CoreId,
        step: SnapshotStep,
    ) -> Option<Done> {
        let no_room = self.full;
        let files = self.core_mut(core);
        let done = match step {
            SnapshotStep::Piece(write, _) if no_room => {
                files.give_up(&write);
                Done::SnapshotFailed(write.snapshot)
            }
            SnapshotStep::Piece(write, took) => {
                files.append(&write);
                let SnapshotWrite { snapshot, group, index, last, .. } = write;
                let (took, next) = if last {
                    let whole = Whole { snapshot, group, index };
                    (self.speed.flush(&mut self.random), SnapshotStep::Flushed(whole))
                } else {
                    (took.min(REST_MAX), SnapshotStep::Rested(snapshot))
                };
                self.begin(now + took, core, Operation::Snapshot(next));
                return None;
            }
            SnapshotStep::Rested(snapshot) => Done::SnapshotWritten(snapshot),
            SnapshotStep::Flushed(whole) => {
                files.finish(whole);
                let took = self.speed.flush(&mut self.random);
                self.begin(now + took, core, Operation::Snapshot(SnapshotStep::Named(whole)));
                return None;
            }
            SnapshotStep::Named(Whole { snapshot, group, index }) => {
                files.volume.sync();
                files.remove_snapshots(|its, older| its == group && older < index);
                Done::SnapshotWritten(snapshot)
            }
            SnapshotStep::Removed(group) => {
                files.volume.sync();
                Done::SnapshotsRemoved(group)
            }
        };
        files.snapshots.busy = false;
        self.go_on_with_snapshots(now, core);
        Some(done)
    }
}

impl CoreFiles {
    fn append(&mut self, write: &SnapshotWrite) {
        let SnapshotWrite { snapshot, group, index, offset, bytes, .. } = write;
        if *offset == 0 {
            let name = FileName::Snapshot(*group, *index).temporary();
            let file = self.volume.create(name, Contents::default());
            self.snapshots.unfinished.insert(*snapshot, file);
        }
        let file = self.snapshots.unfinished.get(snapshot);
        let file = self.volume.file_mut(*file.expect("a snapshot's first piece is at offset 0"));
        assert!(*offset == file.length(), "a piece for {offset} of {} bytes", file.length());
        file.write(*offset, bytes);
    }

    /// There is no room for a piece: what there is of the file goes.
    fn give_up(&mut self, write: &SnapshotWrite) {
        self.snapshots.unfinished.remove(&write.snapshot);
        self.volume.remove(FileName::Snapshot(write.group, write.index).temporary());
    }

    /// The file becomes durable, and gets its name.
    fn finish(&mut self, whole: Whole) {
        let file = self.snapshots.unfinished.remove(&whole.snapshot);
        self.volume.file_mut(file.expect("it was written")).sync();
        let name = FileName::Snapshot(whole.group, whole.index);
        self.volume.rename(name.temporary(), name.entry());
    }

    fn remove_snapshots(&mut self, wanted: impl Fn(GroupId, Index) -> bool) {
        for (group, index) in snapshots_in(&self.volume) {
            if wanted(group, index) {
                self.volume.remove(FileName::Snapshot(group, index).entry());
            }
        }
    }
}

/// The snapshots that a directory holds, by group and index.
pub(super) fn snapshots_in(volume: &Volume) -> Vec<(GroupId, Index)> {
    let snapshot = |(name, _)| match name {
        FileName::Snapshot(group, index) => Some((group, index)),
        _ => None,
    };
    volume.list().filter_map(snapshot).collect()
}
