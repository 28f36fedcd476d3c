//! What a disk may hold after the power failed, made of what was asked of it.
//!
//! ```text
//!   write write flush write write flush write write │ write flush …        the log
//!   └──────── on the disk for certain ───┘└─ perhaps ┘ never happened
//!                                       F           crash
//! ```
//!
//! Up to the last flush before the crash everything is there. Of what came after it any subset of
//! sectors may be there, in any combination: a disk caches, reorders and tears. One pair of sectors
//! is an exception, since no file system survives otherwise: ext4's superblock of 1024 bytes bears
//! one checksum and is written in place, so its sectors are kept or lost together.

use std::fs::File;
use std::io;

use fastrand::Rng;

use super::image::{self, Sector};
use super::write_log::{Entry, Kind, SECTOR, WriteLog};

/// A disk that is led through a write log once, from its beginning to its end, with crashes on the way.
#[derive(Debug)]
pub(crate) struct PoweredDisk<'a> {
    log: &'a WriteLog,
    /// What is on the disk for certain.
    certain: File,
    /// Entries below are in `certain`; the entry before is a flush. Never goes back.
    flushed: usize,
}

/// What happens to the writes since the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// All are lost.
    Lost,
    /// All arrived.
    Kept,
    /// Each arrived whole or not at all.
    Reordered,
    /// All arrived but for some sectors of the last.
    LastTorn,
    /// Each sector arrived or did not.
    Scattered,
}

impl Fate {
    pub(crate) const ALL: [Self; 5] =
        [Self::Lost, Self::Kept, Self::Reordered, Self::LastTorn, Self::Scattered];
}

/// What is left of the sectors written since the last flush.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// What is on the disk besides what is certain.
    pub(crate) arrived: Vec<Sector>,
    pub(crate) damage: Damage,
}

/// What was lost in one crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Sectors written since the last flush.
    pub(crate) exposed: u64,
    /// Those of them that did not arrive.
    pub(crate) lost: u64,
    /// Writes of which a part arrived.
    pub(crate) torn: u64,
}

impl<'a> PoweredDisk<'a> {
    /// A disk that holds `certain`, of which `log` says all that happened then.
    pub(crate) fn new(log: &'a WriteLog, certain: File) -> Self {
        Self { log, certain, flushed: 0 }
    }

    /// What is on the disk for certain since the last crash.
    pub(crate) fn certain(&self) -> &File {
        &self.certain
    }

    /// Lets the power fail when the first `happened` entries have been performed.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    ///
    /// # Panics
    /// If an earlier crash came after the last flush before this one.
    pub(crate) fn crash(
        &mut self,
        happened: usize,
        fate: Fate,
        rng: &mut Rng,
    ) -> io::Result<Aftermath> {
        let flushed = last_flush(self.log, happened);
        assert!(self.flushed <= flushed, "a crash at {flushed} after one at {}", self.flushed);
        for entry in &self.log.entries()[self.flushed..flushed] {
            if entry.is_write() {
                let data = self.log.data(entry)?;
                image::write(&self.certain, &data, entry.sector * SECTOR as u64)?;
            }
        }
        self.flushed = flushed;
        let exposed = &self.log.entries()[flushed..happened];
        let mut after = Aftermath::default();
        let last = exposed.iter().rposition(Entry::is_write);
        for (position, entry) in exposed.iter().enumerate().filter(|(_, entry)| entry.is_write()) {
            let fate = entry_fate(entry, fate, Some(position) == last);
            let data = self.log.data(entry)?;
            after.damage.add(keep(entry, &data, fate, rng, &mut after.arrived));
        }
        Ok(after)
    }
}

impl Damage {
    pub(crate) fn add(&mut self, other: Self) {
        self.exposed += other.exposed;
        self.lost += other.lost;
        self.torn += other.torn;
    }
}

/// How many entries the last flush among the first `happened` ends: all of them are durable.
fn last_flush(log: &WriteLog, happened: usize) -> usize {
    let before = &log.entries()[..happened];
    before.iter().rposition(|entry| entry.kind == Kind::Flush).map_or(0, |flush| flush + 1)
}

fn entry_fate(entry: &Entry, fate: Fate, is_last: bool) -> Fate {
    match fate {
        _ if entry.kind == Kind::DurableWrite => Fate::Kept,
        Fate::LastTorn if is_last => Fate::Scattered,
        Fate::LastTorn => Fate::Kept,
        fate => fate,
    }
}

/// Decides over the sectors of one write.
fn keep(
    entry: &Entry,
    data: &[u8],
    fate: Fate,
    rng: &mut Rng,
    arrived: &mut Vec<Sector>,
) -> Damage {
    let whole = match fate {
        Fate::Lost => Some(false),
        Fate::Reordered => Some(rng.bool()),
        Fate::Kept => Some(true),
        Fate::LastTorn | Fate::Scattered => None,
    };
    let mut damage = Damage { exposed: entry.sectors, ..Damage::default() };
    let mut keep_superblock = true;
    for (sector, bytes) in (entry.sector..).zip(data.chunks_exact(SECTOR)) {
        let decided = whole.unwrap_or_else(|| rng.bool());
        let is_kept = if sector == SUPERBLOCK[1] { keep_superblock } else { decided };
        if sector == SUPERBLOCK[0] {
            keep_superblock = is_kept;
        }
        if is_kept {
            arrived.push(Sector { number: sector, bytes: bytes.to_vec() });
        } else {
            damage.lost += 1;
        }
    }
    damage.torn = u64::from(damage.lost > 0 && damage.lost < entry.sectors);
    damage
}

/// ext4's superblock: bytes 1024 to 2048 of the disk.
const SUPERBLOCK: [u64; 2] = [2, 3];

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::super::write_log::tests::log_of;
    use super::*;

    /// A write of one sector, a flush, two sectors, one durable at once.
    fn log() -> WriteLog {
        let (one, two, three) = ([1; SECTOR], [2; 2 * SECTOR], [3; SECTOR]);
        log_of(&[(0, 10, &one), (1, 0, &[]), (0, 20, &two), (2, 30, &three), (1, 0, &[])])
    }

    fn disk(log: &WriteLog) -> PoweredDisk<'_> {
        let certain = tempfile::tempfile().expect("a file");
        certain.set_len(64 * SECTOR as u64).expect("sparse");
        PoweredDisk::new(log, certain)
    }

    fn crash(happened: usize, fate: Fate) -> (Vec<u64>, Damage) {
        let log = log();
        let Aftermath { arrived, damage } =
            disk(&log).crash(happened, fate, &mut Rng::with_seed(1)).expect("files");
        (arrived.iter().map(|sector| sector.number).collect(), damage)
    }

    #[test]
    fn before_the_first_flush_nothing_is_certain() {
        let damage = Damage { exposed: 1, lost: 1, torn: 0 };
        assert_eq!(crash(1, Fate::Lost), (vec![], damage));
        assert_eq!(crash(1, Fate::Kept), (vec![10], Damage { lost: 0, ..damage }));
    }

    #[test]
    fn what_was_flushed_is_certain_and_what_was_durable_at_once_arrives() {
        let log = log();
        let mut disk = disk(&log);
        let Aftermath { arrived, damage } =
            disk.crash(4, Fate::Lost, &mut Rng::with_seed(1)).expect("files");
        assert_eq!(arrived, [Sector { number: 30, bytes: vec![3; SECTOR] }]);
        assert_eq!(damage, Damage { exposed: 3, lost: 2, torn: 0 });
        let mut sector = [0; SECTOR];
        disk.certain().read_exact_at(&mut sector, 10 * SECTOR as u64).expect("there");
        assert_eq!(sector, [1; SECTOR]);
        disk.certain().read_exact_at(&mut sector, 20 * SECTOR as u64).expect("there");
        assert_eq!(sector, [0; SECTOR]);
    }

    #[test]
    fn after_the_last_flush_nothing_is_lost() {
        assert_eq!(crash(5, Fate::Lost), (vec![], Damage::default()));
    }

    #[test]
    fn writes_are_torn_at_sectors() {
        let seeds = 0..64;
        let torn = seeds.filter(|seed| {
            let log = log();
            let mut rng = Rng::with_seed(*seed);
            let Aftermath { damage, .. } =
                disk(&log).crash(3, Fate::Scattered, &mut rng).expect("files");
            damage.torn == 1
        });
        assert!((16..48).contains(&torn.count()), "half of them are expected");
    }

    #[test]
    fn the_superblock_stays_in_one_piece() {
        let log = log_of(&[(0, 0, &[5; 8 * SECTOR])]);
        for seed in 0..64 {
            let mut rng = Rng::with_seed(seed);
            let Aftermath { arrived, .. } =
                disk(&log).crash(1, Fate::Scattered, &mut rng).expect("files");
            let has = |sector| arrived.iter().any(|arrived| arrived.number == sector);
            assert_eq!(has(2), has(3), "seed {seed}");
        }
    }
}
