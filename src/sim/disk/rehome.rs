//! A node's groups move to other cores, as `io::rehoming` has it: the next layout is written whole beside the
//! one that counts, then the superblock names it.

use std::collections::BTreeMap;

use super::contents::Contents;
use super::snapshots::snapshots_in;
use super::start::{Refusal, Settings, read_log};
use super::volume::{FileName, Volume};
use super::{CoreFiles, Disk};
use crate::base::{CoreId, GroupId, Index};
use crate::placement::ShardMap;
use crate::wal::{LogConfig, RecoveredGroup, Superblock, Transcript, TranscriptStep};

/// What a core is to have.
#[derive(Default)]
struct Home {
    groups: BTreeMap<GroupId, RecoveredGroup>,
    snapshots: Vec<(FileName, Contents)>,
}

impl Disk {
    /// Lays the logs out anew if the settings want other cores or segments than there are. Returns the
    /// superblock that counts then.
    ///
    /// # Errors
    /// If they cannot be read, there is no room, or the process is to die on the way.
    pub(super) fn rehome(
        &mut self,
        settings: &Settings<'_>,
        superblock: Superblock,
    ) -> Result<Superblock, Refusal> {
        let Settings { smp, segment_bytes, .. } = *settings;
        if (superblock.smp, superblock.segment_bytes) == (smp, segment_bytes) {
            return Ok(superblock);
        }
        if self.full {
            return Err(Refusal::NoRoom);
        }
        let homes = self.plan(settings, &superblock)?;
        let (layout, log_seed) = (superblock.layout + 1, self.random.u64(1..));
        let next = Superblock { smp, segment_bytes, layout, log_seed, ..superblock };
        // Where the process dies, if it does: within the new layout, before that is named, or after.
        let dies_at = settings.dies_on_the_way.then(|| self.random.usize(0..homes.len() + 2));
        let mut cores = Vec::new();
        for (core, home) in (0..).map(CoreId).zip(homes) {
            if dies_at == Some(cores.len()) {
                break;
            }
            let volume = home.write(next.log_config(core));
            cores.push(CoreFiles { volume, ..CoreFiles::default() });
        }
        let written = cores.len();
        self.layouts.insert(layout, cores);
        if dies_at.is_some_and(|at| at <= written) {
            return Err(Refusal::Died);
        }
        let next = self.put_superblock(next);
        if dies_at.is_some() {
            return Err(Refusal::Died);
        }
        self.root.sync();
        Ok(next)
    }

    /// Reads every core's log, and says what each core is to have.
    fn plan(&self, settings: &Settings<'_>, superblock: &Superblock) -> Result<Vec<Home>, Refusal> {
        let mut homes: Vec<Home> = (0..settings.smp).map(|_| Home::default()).collect();
        let home = |group| usize::from(ShardMap::home_core(group, settings.smp).0);
        for (core, files) in (0..superblock.smp).map(CoreId).zip(self.cores()) {
            let log = read_log(core, &files.volume, superblock.log_config(core))?;
            // Of a group that is at home elsewhere, nothing here ever counted.
            let is_ours = |group: GroupId| ShardMap::home_core(group, superblock.smp) == core;
            let newest: BTreeMap<GroupId, Index> =
                snapshots_in(&files.volume).into_iter().collect();
            let mut groups = log.groups;
            if log.lost_any {
                for info in settings.map.all_groups() {
                    let here =
                        newest.contains_key(&info.id) || info.founders.contains(&settings.node);
                    let unrecorded = || RecoveredGroup::unrecorded(here);
                    groups.entry(info.id).or_insert_with(unrecorded);
                }
            }
            for (group, its) in groups.into_iter().filter(|it| is_ours(it.0)) {
                homes[home(group)].groups.insert(group, its);
            }
            for (group, index) in newest.into_iter().filter(|it| is_ours(it.0)) {
                let name = FileName::Snapshot(group, index);
                let file = files.volume.open(name).expect("just listed");
                homes[home(group)].snapshots.push((name, files.volume.file(file).clone()));
            }
        }
        Ok(homes)
    }
}

impl Home {
    /// Its directory, durable.
    fn write(self, config: LogConfig) -> Volume {
        let mut volume = Volume::default();
        for step in Transcript::new(config, self.groups) {
            match step {
                TranscriptStep::Create(segment) => {
                    let name = FileName::Segment(segment).entry();
                    volume.create(name, Contents::zeroes(config.segment_bytes));
                }
                TranscriptStep::Write(write) => {
                    let file = volume.open(FileName::Segment(write.segment)).expect("created");
                    volume.file_mut(file).write_durably(write.offset, &write.bytes);
                }
            }
        }
        for (name, contents) in self.snapshots {
            volume.create(name.entry(), contents);
        }
        volume.sync();
        volume
    }
}
