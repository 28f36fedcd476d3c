//! A node's groups move to other cores: after the number of cores changed between two starts, or the
//! size of the log's segments.
//!
//! A group's home is the core `group mod smp`, so with another `smp` most groups find their log and
//! snapshots in another core's directory. Before any core starts, the next layout of the data
//! directory (`layout`) is written whole, beside the one that counts:
//!
//! ```text
//!   read all logs ─▶ room? ─▶ write the next layout ─▶ superblock ─▶ remove the one before
//!    nothing is changed         left over, if cut short   the switch     left over, if cut short
//! ```
//! - Logs are written anew (`wal::Transcript`), by the same code that writes them in service; snapshots
//!   are the same files under a second name, since nothing in them depends on the core.
//! - A crash before the switch leaves the old layout and a piece of the new one, which the next start
//!   removes; a crash after it leaves the new layout and a piece of the old one, likewise.
//! - Every checksum is verified on the way. What a log has lost is in doubt in the new one too, of groups
//!   as well of which it says nothing any more.
//! - One core after the other, on one thread: it is done once in a while, and mostly waits for the disk.
//!
//! Other nodes learn of it with the next handshake: each tells how many cores it runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::data_dir::{DataDir, DataDirError, at, create_directory, random, sync_directory};
use super::layout::Layout;
use super::offline_log::{create_segment, write_durably};
use super::progress::Progress;
use super::recover::{list, read_log};
use super::snapshots::snapshot_name;
use super::{NodeConfig, RecoverFilesError, RunError};
use crate::base::{CoreId, GroupId};
use crate::placement::ShardMap;
use crate::wal::{LogConfig, RecoveredGroup, Superblock, Transcript, TranscriptStep};

/// Sees to it that the data directory is laid out as `config` wants it.
///
/// # Errors
/// If its logs cannot be read, there is no room, or the file system fails; nothing is lost then.
pub(super) fn rehome(
    config: &NodeConfig,
    mut data_dir: DataDir,
    progress: &Progress,
) -> Result<DataDir, RunError> {
    if is_at_home(config, &data_dir) {
        return Ok(data_dir);
    }
    tracing::info!(
        node = %config.node,
        cores_before = data_dir.cores(),
        cores = config.smp,
        segment_bytes_before = data_dir.segment_bytes(),
        segment_bytes = config.segment_bytes,
        "the groups' logs are written anew for other cores or segments"
    );
    let rehoming = Rehoming::plan(config, &data_dir, progress)?;
    progress.expect(rehoming.check_room(&data_dir)?);
    if let Err(error) = rehoming.write(progress) {
        // The room is wanted back; what stays is removed at the next start.
        let _ = data_dir.discard_other_layouts();
        return Err(error);
    }
    // If this fails, either layout may count from now on: both stay.
    rehoming.switch(&mut data_dir)?;
    data_dir.discard_other_layouts()?;
    tracing::info!(node = %config.node, groups = rehoming.groups(), "the groups are at home");
    Ok(data_dir)
}

fn is_at_home(config: &NodeConfig, data_dir: &DataDir) -> bool {
    data_dir.cores() == config.cores() && data_dir.segment_bytes() == config.segment_bytes
}

/// A change of layout that is under way.
struct Rehoming {
    /// The superblock to be, but for its sequence.
    superblock: Superblock,
    /// The layout that it names.
    layout: Layout,
    /// All cores, ascending.
    homes: Vec<Home>,
}

/// What a core is to have.
struct Home {
    directory: PathBuf,
    log: LogConfig,
    groups: BTreeMap<GroupId, RecoveredGroup>,
    /// Where they are, and their names.
    snapshots: Vec<(PathBuf, String)>,
}

/// What a core's directory holds.
struct Found {
    groups: BTreeMap<GroupId, RecoveredGroup>,
    /// The newest of each group: where it is, and its name.
    snapshots: Vec<(GroupId, PathBuf, String)>,
    /// Whether groups of which the log says nothing may have lost something, too.
    lost_any: bool,
}

impl Rehoming {
    /// Reads every core's log.
    fn plan(
        config: &NodeConfig,
        data_dir: &DataDir,
        progress: &Progress,
    ) -> Result<Self, RunError> {
        let layout = data_dir.layout().next();
        let superblock = Superblock {
            layout: layout.number(),
            smp: config.cores(),
            segment_bytes: config.segment_bytes,
            log_seed: random()?,
            ..data_dir.superblock()
        };
        let empty = |core| Home::empty(layout.core_dir(core), superblock.log_config(CoreId(core)));
        let mut homes: Vec<Home> = (0..config.cores()).map(empty).collect();
        let home = |group| usize::from(ShardMap::home_core(group, config.cores()).0);
        for core in (0..data_dir.cores()).map(CoreId) {
            let found = read(data_dir, core, progress);
            let mut found = found.map_err(|source| RunError::RecoverFiles { core, source })?;
            if found.lost_any {
                found.add_unrecorded(config, |group| is_home(group, data_dir, core));
            }
            for (group, its) in found.groups {
                homes[home(group)].groups.insert(group, its);
            }
            for (group, path, name) in found.snapshots {
                homes[home(group)].snapshots.push((path, name));
            }
        }
        Ok(Self { superblock, layout, homes })
    }

    fn groups(&self) -> usize {
        self.homes.iter().map(|home| home.groups.len()).sum()
    }

    /// Returns how many bytes the new layout takes, if it fits on the disk beside the old one.
    fn check_room(&self, data_dir: &DataDir) -> Result<u64, RunError> {
        let path = data_dir.path();
        let segments: u64 = self.homes.iter().map(Home::segments).sum();
        let needed = segments * self.superblock.segment_bytes;
        let status = rustix::fs::statvfs(path);
        let status = status.map_err(|error| at("look at the room on", path)(error.into()))?;
        let available = status.f_bavail.saturating_mul(status.f_frsize);
        if needed > available {
            return Err(DataDirError::NoRoom {
                path: path.into(),
                needed,
                available,
                smp: data_dir.cores(),
                segment_bytes: data_dir.segment_bytes(),
            }
            .into());
        }
        Ok(needed)
    }

    /// Writes the new layout; when this is done, all of it is durable.
    fn write(&self, progress: &Progress) -> Result<(), RunError> {
        let root = self.layout.root();
        create_directory(&root)?;
        for home in &self.homes {
            home.write(progress)?;
        }
        Ok(sync_directory(&root)?)
    }

    /// From now on the new layout counts.
    fn switch(&self, data_dir: &mut DataDir) -> Result<(), RunError> {
        Ok(data_dir.move_to(self.superblock)?)
    }
}

impl Home {
    fn empty(directory: PathBuf, log: LogConfig) -> Self {
        Self { directory, log, groups: BTreeMap::new(), snapshots: Vec::new() }
    }

    fn transcript(&self) -> impl Iterator<Item = TranscriptStep> {
        // Payloads are shared by pointer.
        let groups = self.groups.iter().map(|(&group, found)| (group, found.clone()));
        Transcript::new(self.log, groups)
    }

    /// How many segments its log will have.
    fn segments(&self) -> u64 {
        self.transcript().filter(|step| matches!(step, TranscriptStep::Create(_))).count() as u64
    }

    fn write(&self, progress: &Progress) -> Result<(), DataDirError> {
        create_directory(&self.directory)?;
        for step in self.transcript() {
            match step {
                TranscriptStep::Create(segment) => {
                    create_segment(&self.directory, segment, self.log.segment_bytes)?;
                    progress.advance(self.log.segment_bytes);
                }
                TranscriptStep::Write(write) => {
                    write_durably(&self.directory, write.segment, write.offset, &write.bytes)?;
                }
            }
        }
        for (path, name) in &self.snapshots {
            take_over(path, &self.directory.join(name))?;
        }
        sync_directory(&self.directory)
    }
}

fn read(data_dir: &DataDir, core: CoreId, progress: &Progress) -> Result<Found, RecoverFilesError> {
    let directory = data_dir.layout().core_dir(core.0);
    let listed = list(&directory)?;
    let log = data_dir.superblock().log_config(core);
    let (log, _) = read_log(&directory, &listed.segments, log, progress)?;
    // Of a group that is at home elsewhere, nothing here ever counted.
    let is_ours = |group: GroupId| is_home(group, data_dir, core);
    let (mut groups, lost_any) = (log.groups, log.lost_any);
    groups.retain(|&group, _| is_ours(group));
    let newest = listed.snapshots.into_iter().filter(|&(group, _)| is_ours(group));
    let named = newest.map(|(group, index)| {
        let name = snapshot_name(group, index);
        (group, directory.join(&name), name)
    });
    Ok(Found { groups, snapshots: named.collect(), lost_any })
}

/// Whether `core` is the home of a group in the layout that counts.
fn is_home(group: GroupId, data_dir: &DataDir, core: CoreId) -> bool {
    ShardMap::home_core(group, data_dir.cores()) == core
}

impl Found {
    /// Adds all groups of the kept map at home here that the log has lost what it said of, if it said
    /// anything. What the node founded it has until a log says that it left, whoever is to hold it by now:
    /// the map runs ahead of the groups. That is how cores judge that start from such a log as it is.
    fn add_unrecorded(&mut self, config: &NodeConfig, is_ours: impl Fn(GroupId) -> bool) {
        for info in config.shard_map.all_groups().filter(|info| is_ours(info.id)) {
            let has_snapshot = self.snapshots.iter().any(|snapshot| snapshot.0 == info.id);
            let here = has_snapshot || info.founders.contains(&config.node);
            self.groups.entry(info.id).or_insert_with(|| RecoveredGroup::unrecorded(here));
        }
    }
}

/// Gives a durable file a second name, or copies it where that cannot be.
fn take_over(from: &Path, to: &Path) -> Result<(), DataDirError> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let copy = || -> io::Result<()> {
        fs::copy(from, to)?;
        File::open(to)?.sync_all()
    };
    copy().map_err(at("copy a snapshot to", to))
}

#[cfg(test)]
mod tests;
