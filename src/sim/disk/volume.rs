//! One directory of a simulated file system, with a cache that a power loss empties.
//!
//! What POSIX promises, and no more: a file's contents are durable once it was synced, its name once its
//! directory was. Changes of names come true in order: a power loss undoes some of those since the last
//! sync, the newest first. The death of a process loses nothing of either.

use std::collections::{BTreeMap, BTreeSet};

use super::contents::Contents;
use crate::base::{GroupId, Index};
use crate::wal::SegmentId;

/// What a file is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// In the root of the data directory.
    Superblock,
    /// The same: which incarnations of other nodes were seen.
    Peers,
    /// The same: the shard map.
    Map,
    /// A segment of a core's log.
    Segment(SegmentId),
    /// A snapshot of one of a core's groups.
    Snapshot(GroupId, Index),
}

/// A name in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) name: FileName,
    /// Whether it is the name that the file has while it is made.
    pub(super) temporary: bool,
}

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64);

/// A directory and what is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Volume {
    /// As the running system sees it.
    entries: BTreeMap<Entry, FileId>,
    /// Each file that has a name, or had one on the medium.
    files: BTreeMap<FileId, Contents>,
    /// Changes of names since the last sync, oldest first.
    unsynced: Vec<Change>,
    /// The next file's.
    next: u64,
}

/// What names stood for before one change.
type Change = Vec<(Entry, Option<FileId>)>;

/// What a power loss took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Changes of names.
    pub names: usize,
    /// Sectors that were written and are as they were before.
    pub sectors: usize,
}

impl FileName {
    /// The name in force.
    pub(super) fn entry(self) -> Entry {
        Entry { name: self, temporary: false }
    }

    /// The name while it is made.
    pub(super) fn temporary(self) -> Entry {
        Entry { name: self, temporary: true }
    }
}

impl Volume {
    /// Creates an empty file, in the place of the one that bears the name.
    pub(super) fn create(&mut self, entry: Entry, contents: Contents) -> FileId {
        let id = FileId(self.next);
        self.next += 1;
        self.files.insert(id, contents);
        self.change(&[(entry, Some(id))]);
        id
    }

    /// Gives a file another name, in the place of whatever bears it.
    ///
    /// # Panics
    /// If there is no such file.
    pub(super) fn rename(&mut self, from: Entry, to: Entry) {
        let id = self.entries.get(&from).copied();
        assert!(id.is_some(), "there is no {from:?}");
        self.change(&[(from, None), (to, id)]);
    }

    /// Removes a name, and the file with it; whether there was one.
    pub(super) fn remove(&mut self, entry: Entry) -> bool {
        let known = self.entries.contains_key(&entry);
        if known {
            self.change(&[(entry, None)]);
        }
        known
    }

    /// Makes the names durable.
    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.forget_nameless();
    }

    /// The file of that name.
    pub(super) fn open(&self, name: FileName) -> Option<FileId> {
        self.entries.get(&name.entry()).copied()
    }

    /// A file's contents.
    ///
    /// # Panics
    /// If it lost its name for good.
    pub(super) fn file(&self, id: FileId) -> &Contents {
        self.files.get(&id).expect("a file that has a name")
    }

    /// A file's contents, to be changed.
    ///
    /// # Panics
    /// If it lost its name for good.
    pub(super) fn file_mut(&mut self, id: FileId) -> &mut Contents {
        self.files.get_mut(&id).expect("a file that has a name")
    }

    /// The names in force, ascending, and their files.
    pub(super) fn list(&self) -> impl Iterator<Item = (FileName, FileId)> {
        let in_force = self.entries.iter().filter(|(entry, _)| !entry.temporary);
        in_force.map(|(entry, &id)| (entry.name, id))
    }

    /// Whether there is nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes what was being made.
    pub(super) fn remove_temporary(&mut self) {
        let doomed: Vec<Entry> =
            self.entries.keys().filter(|entry| entry.temporary).copied().collect();
        for entry in doomed {
            self.remove(entry);
        }
    }

    /// The power fails.
    pub(super) fn lose_power(&mut self, random: &mut fastrand::Rng) -> Lost {
        let kept = random.usize(0..=self.unsynced.len());
        let undone = self.unsynced.split_off(kept);
        let names = undone.len();
        for change in undone.into_iter().rev() {
            for (entry, before) in change {
                self.set(entry, before);
            }
        }
        let sectors = self.files.values_mut().map(|file| file.lose_power(random)).sum();
        self.sync();
        Lost { names, sectors }
    }

    fn change(&mut self, to: &[(Entry, Option<FileId>)]) {
        let before = to.iter().map(|(entry, _)| (*entry, self.entries.get(entry).copied()));
        self.unsynced.push(before.collect());
        for &(entry, id) in to {
            self.set(entry, id);
        }
    }

    fn set(&mut self, entry: Entry, id: Option<FileId>) {
        match id {
            Some(id) => self.entries.insert(entry, id),
            None => self.entries.remove(&entry),
        };
    }

    fn forget_nameless(&mut self) {
        let named: BTreeSet<FileId> = self.entries.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: FileName = FileName::Segment(SegmentId(1));
    const TWO: FileName = FileName::Segment(SegmentId(2));

    fn with_one() -> Volume {
        let mut volume = Volume::default();
        volume.create(ONE.entry(), Contents::zeroes(512));
        volume.sync();
        volume
    }

    #[test]
    fn a_power_loss_undoes_names_from_the_newest() {
        let mut outcomes = BTreeMap::new();
        for seed in 0..100 {
            let mut volume = with_one();
            volume.create(TWO.temporary(), Contents::zeroes(1));
            volume.rename(TWO.temporary(), TWO.entry());
            volume.remove(ONE.entry());
            let lost = volume.lose_power(&mut fastrand::Rng::with_seed(seed));
            let found = (volume.open(ONE).is_some(), volume.open(TWO).is_some());
            *outcomes.entry((lost.names, found)).or_insert(0) += 1;
        }
        let kinds: Vec<_> = outcomes.keys().copied().collect();
        let expected =
            [(0, (false, true)), (1, (true, true)), (2, (true, false)), (3, (true, false))];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn names_are_durable_once_synced_and_the_files_gone_that_have_none() {
        let mut volume = with_one();
        volume.rename(ONE.entry(), TWO.entry());
        volume.create(ONE.entry(), Contents::zeroes(7));
        volume.remove(ONE.entry());
        volume.sync();
        let lost = volume.lose_power(&mut fastrand::Rng::with_seed(1));
        assert_eq!(lost, Lost::default());
        assert_eq!(volume.list().map(|(name, _)| name).collect::<Vec<_>>(), [TWO]);
        assert_eq!(volume.files.len(), 1);
    }

    #[test]
    fn a_file_that_takes_anothers_name_gives_it_back() {
        let mut volume = with_one();
        let old = volume.open(ONE);
        volume.create(ONE.temporary(), Contents::zeroes(9));
        volume.rename(ONE.temporary(), ONE.entry());
        assert_ne!(volume.open(ONE), old);
        let seeds = (0..).map(fastrand::Rng::with_seed);
        let lost = seeds.map(|mut random| {
            let mut volume = volume.clone();
            (volume.lose_power(&mut random).names, volume.open(ONE))
        });
        assert!(lost.take(20).any(|(names, found)| names > 0 && found == old));
    }
}
