//! What disks do against all promises: bytes that change at rest, writes that go elsewhere or nowhere,
//! sectors that cannot be read, errors.

use super::contents::SECTOR;
use super::volume::{FileId, FileName, Volume};
use super::{Disk, Done};
use crate::base::CoreId;
use crate::reactor::LogWrite;
use crate::wal::{BLOCK, SegmentId};

/// What becomes of a log write that is not what should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteHarm {
    /// It is acknowledged, and was never there.
    Lost,
    /// It is acknowledged, and is somewhere else in the same core's log.
    Misdirected,
    /// It fails; any part of it may be there.
    Failed,
}

impl WriteHarm {
    /// Whether the process goes on and knows nothing of it.
    pub(super) fn comes_silently(self) -> bool {
        self != Self::Failed
    }
}

/// Where bytes were harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose file; nobody's in the root of the data directory.
    pub core: Option<CoreId>,
    /// Which file.
    pub file: FileName,
    /// Which byte.
    pub at: u64,
}

/// Places looked at for a misdirected write.
const TRIES: u32 = 16;

/// Of so many places chosen, one is in the superblock.
const SUPERBLOCK_ONE_IN: u32 = 32;

impl Disk {
    /// Something is to become of a log write: of the next one that begins and has nothing else coming.
    /// Nothing is if the core has written nothing yet, and may never; whether it is not so.
    pub fn harm_write(&mut self, core: CoreId, harm: WriteHarm) -> bool {
        let files = self.core_mut(core);
        let writes = !files.segments.list().is_empty();
        if writes {
            files.harms.push_back(harm);
        }
        writes
    }

    /// Chooses a place that was written once; nothing if there is none.
    pub fn choose_place(&mut self) -> Option<Place> {
        if self.random.u32(0..SUPERBLOCK_ONE_IN) == 0 {
            let at = self.random.u64(0..2) * BLOCK as u64 + self.random.u64(0..128);
            let file = FileName::Superblock;
            return self.root.open(file).map(|_| Place { core: None, file, at });
        }
        let cores = self.layouts.get(&self.layout)?;
        let which = self.random.usize(0..cores.len());
        let core = CoreId(u16::try_from(which).expect("cores are numbered by u16"));
        let volume = &cores[which].volume;
        let files: Vec<(FileName, FileId)> =
            volume.list().filter(|(_, id)| volume.file(*id).blocks_written() > 0).collect();
        let (file, id) = self.random.choice(files)?;
        let contents = volume.file(id);
        let (block, bytes) =
            contents.block_written(self.random.usize(0..contents.blocks_written()))?;
        let within = byte_of(bytes, &mut self.random);
        let at = (block * BLOCK as u64 + within as u64).min(contents.length() - 1);
        Some(Place { core: Some(core), file, at })
    }

    /// A bit changes; whether it does, which it does not where nobody could find it.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn rot(&mut self, place: Place) -> bool {
        if !self.may_rot(place) {
            return false;
        }
        let mask = 1 << self.random.u32(0..8);
        let (volume, file) = self.locate(place);
        volume.file_mut(file).rot(place.at, mask);
        if let (Some(core), FileName::Snapshot(..)) = (place.core, place.file) {
            self.core_mut(core).rotten_snapshots.push((file, place.at, mask));
        }
        true
    }

    /// What went bad of snapshots that are still there is as it was. A log that goes back to before a
    /// snapshot does without it, and some day not any more: harm that is done with must not come back
    /// when others are ill.
    pub fn make_snapshots_good(&mut self) {
        for core in self.cores_mut() {
            for (file, at, mask) in std::mem::take(&mut core.rotten_snapshots) {
                // A power loss may have taken the end of it, before it was synced.
                let there = core.volume.list().any(|(_, its)| its == file);
                if there && at < core.volume.file(file).length() {
                    core.volume.file_mut(file).rot(at, mask);
                }
            }
        }
    }

    /// The block with this place cannot be read until it is written anew.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn make_unreadable(&mut self, place: Place) {
        let (volume, file) = self.locate(place);
        volume.file_mut(file).make_unreadable(place.at / BLOCK as u64);
    }

    /// A core's directory is emptied; the superblock, and with it the name, stays.
    ///
    /// # Panics
    /// If a process runs.
    pub fn forget(&mut self, core: CoreId) {
        assert!(self.under_way.is_empty(), "a process writes to it");
        self.core_mut(core).volume = Volume::default();
    }

    /// A log write is done, one way or another.
    pub(super) fn complete_write(
        &mut self,
        core: CoreId,
        write: &LogWrite,
        harm: Option<WriteHarm>,
    ) -> Done {
        let LogWrite { segment, offset, ref bytes, .. } = *write;
        match harm {
            None => self.file_of(core, segment).write_durably(offset, bytes),
            Some(WriteHarm::Lost) => self.owe(core, write),
            Some(WriteHarm::Misdirected) => {
                if let Some((segment, offset)) = self.elsewhere(core, write) {
                    self.file_of(core, segment).write_durably(offset, bytes);
                }
                self.owe(core, write);
            }
            Some(WriteHarm::Failed) => {
                self.tear(core, write);
                return Done::WriteFailed;
            }
        }
        Done::LogWritten(write.write)
    }

    /// A place for a write that is not its own, nor in the way of what could not be missed; nothing if
    /// none was found.
    fn elsewhere(&mut self, core: CoreId, write: &LogWrite) -> Option<(SegmentId, u64)> {
        if !self.core(core).owed.is_empty() {
            // Without what is owed, the end of the log cannot be told.
            return None;
        }
        let tail = self.core(core).tail();
        let open = self.core(core).segments.list();
        let length = write.bytes.len() as u64;
        let last = (self.segment_bytes - length) / BLOCK as u64;
        let mut tries = (0..TRIES).map(|_| {
            let segment = *self.random.choice(&open).expect("one was written to");
            (segment, self.random.u64(0..=last) * BLOCK as u64)
        });
        tries.find(|&(segment, offset)| {
            let own = segment == write.segment
                && offset < write.offset + length
                && write.offset < offset + length;
            !own && !tail.holds(segment, offset, offset + length)
        })
    }

    fn locate(&mut self, place: Place) -> (&mut Volume, FileId) {
        let volume = match place.core {
            Some(core) => &mut self.core_mut(core).volume,
            None => &mut self.root,
        };
        let file = volume.open(place.file).expect("a file that is there");
        (volume, file)
    }
}

/// Some byte of a block, mostly one that is not zero: padding says nothing.
fn byte_of(block: &[u8; BLOCK], random: &mut fastrand::Rng) -> usize {
    let first = random.usize(0..BLOCK);
    if random.u32(0..8) == 0 {
        return first;
    }
    let sectors = (0..BLOCK).map(|step| (first + step) % BLOCK);
    let mut filled = sectors.filter(|&at| block[at] != 0);
    filled.next().unwrap_or(first % SECTOR)
}
