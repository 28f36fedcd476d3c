//! What a start finds on a simulated disk: `io::data_dir` and `io::recover`, but for files and threads.

use std::collections::{BTreeMap, BTreeSet};

use super::contents::{Contents, Unreadable};
use super::snapshots::snapshots_in;
use super::volume::{FileId, FileName, Volume};
use super::{CoreFiles, Disk};
use crate::base::{ClusterId, CoreId, GroupId, Incarnation, Index, NodeId};
use crate::placement::ShardMap;
use crate::reactor::map_bytes::MapBytesError;
use crate::reactor::{LoadedSnapshot, RecoverError, Recovered};
use crate::wal::{
    self, BLOCK, LogConfig, LogError, Recovery, SegmentId, Superblock, SuperblockError,
};

/// What a node is started with.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Who owns what, where no later map is kept.
    pub map: &'a ShardMap,
    /// Cores.
    pub smp: u16,
    /// Bytes of each log segment.
    pub segment_bytes: u64,
    /// Whether the process dies while it lays the logs out anew, if it does that: cores or segments are
    /// others than at the last start.
    pub dies_on_the_way: bool,
}

/// What a start found.
#[derive(Debug)]
pub struct Start {
    /// Whose disk it is: incarnation and log seed are those for the reactors' configurations.
    pub superblock: Superblock,
    /// Whether the disk was blank.
    pub formatted: bool,
    /// The shard map to go by.
    pub map: ShardMap,
    /// What each core's directory holds.
    pub cores: Vec<Recovered>,
}

/// Why a node cannot start from its disk: an administrator has to see to it.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Neither slot of the superblock can be read.
    #[error("the superblock cannot be used: {0}")]
    Superblock(#[from] SuperblockError),
    /// A formatted directory without its superblock.
    #[error("there is a log and no superblock")]
    SuperblockMissing,
    /// There is no room to lay the logs out anew.
    #[error("there is no room to write the logs anew for other cores or segments")]
    NoRoom,
    /// The process died on the way, as it was to.
    #[error("the process died while it wrote the logs anew")]
    Died,
    /// The shard map cannot be read.
    #[error("the shard map cannot be read: {0}")]
    Map(#[from] MapBytesError),
    /// The directory of a core is not there.
    #[error("the directory of {0} is missing")]
    CoreMissing(CoreId),
    /// The medium cannot read a file.
    #[error("{core} cannot read {file:?}")]
    Unreadable {
        /// Whose it is.
        core: CoreId,
        /// Which.
        file: FileName,
    },
    /// The log is damaged beyond repair.
    #[error("the log of {core} cannot be used: {source}")]
    Log {
        /// Whose it is.
        core: CoreId,
        /// What is wrong.
        source: LogError,
    },
    /// A snapshot is none that this version writes.
    #[error("the snapshots of {core} cannot be used: {source}")]
    Snapshot {
        /// Whose it is.
        core: CoreId,
        /// What is wrong.
        source: RecoverError,
    },
}

impl Disk {
    /// A process starts: formats a blank disk, makes durable what it is going to go by, and reads it.
    ///
    /// # Errors
    /// If what is there cannot be used; nothing is lost then.
    ///
    /// # Panics
    /// If a process runs.
    pub fn start(&mut self, settings: &Settings<'_>) -> Result<Start, Refusal> {
        assert!(self.under_way.is_empty(), "a process writes to it");
        let found = self.superblock()?;
        let formatted = found.is_none();
        let superblock = found.unwrap_or_else(|| self.format(settings));
        self.root.sync();
        self.go_by(&superblock)?;
        let map = self.kept_map()?.unwrap_or_else(|| settings.map.clone());
        let superblock = self.rehome(&Settings { map: &map, ..*settings }, superblock)?;
        self.go_by(&superblock)?;
        for core in self.cores_mut() {
            core.settle();
        }
        let (superblock, cores) = self.examine()?;
        self.segment_bytes = superblock.segment_bytes;
        for core in self.cores_mut() {
            core.open();
        }
        Ok(Start { superblock, formatted, map, cores })
    }

    /// What a start would find, were there one now.
    ///
    /// # Errors
    /// As those of `start`; and if the disk is blank.
    pub fn examine(&self) -> Result<(Superblock, Vec<Recovered>), Refusal> {
        let superblock = self.superblock()?.ok_or(SuperblockError::Blank)?;
        let layout = self.layouts.get(&superblock.layout).map(Vec::as_slice).unwrap_or_default();
        let cores = (0..superblock.smp).map(CoreId).map(|core| {
            let files = layout.get(usize::from(core.0)).ok_or(Refusal::CoreMissing(core))?;
            recover(core, &files.volume, superblock.log_config(core))
        });
        Ok((superblock, cores.collect::<Result<_, _>>()?))
    }

    /// What it says of itself; nothing if it is blank.
    fn superblock(&self) -> Result<Option<Superblock>, Refusal> {
        let Some(file) = self.root.open(FileName::Superblock) else {
            let mut cores = self.layouts.values().flatten();
            let holds_log = cores.any(|core| !core.volume.is_empty());
            return if holds_log { Err(Refusal::SuperblockMissing) } else { Ok(None) };
        };
        let unread = |Unreadable| Refusal::Superblock(SuperblockError::Lost);
        let bytes = self.root.file(file).read_all().map_err(unread)?;
        let slots = bytes.split_at(bytes.len().min(BLOCK));
        Ok(Some(Superblock::decode([slots.0, slots.1])?.0))
    }

    pub(super) fn format(&mut self, settings: &Settings<'_>) -> Superblock {
        let cores = (0..settings.smp).map(|_| CoreFiles::default()).collect();
        self.layouts = BTreeMap::from([(0, cores)]);
        let groups = settings.map.groups.len();
        let incarnation = Incarnation(self.random.u64(1..));
        let log_seed = self.random.u64(1..);
        self.put_superblock(Superblock {
            sequence: 0,
            cluster: settings.cluster,
            node: settings.node,
            incarnation,
            smp: settings.smp,
            groups: u32::try_from(groups).expect("placement limits groups"),
            segment_bytes: settings.segment_bytes,
            layout: 0,
            log_seed,
        })
    }

    /// Replaces both slots, the second being the newer one. Returns that; durable once the root is synced.
    pub(super) fn put_superblock(&mut self, before: Superblock) -> Superblock {
        let first = Superblock { sequence: before.sequence + 1, ..before };
        let second = Superblock { sequence: before.sequence + 2, ..before };
        let bytes = [first.encode(0), second.encode(1)].concat();
        self.put(FileName::Superblock, &bytes);
        second
    }

    /// From now on the layout counts that the superblock names; others are removed.
    fn go_by(&mut self, superblock: &Superblock) -> Result<(), Refusal> {
        let found = self.layouts.get(&superblock.layout).map_or(0, Vec::len);
        let missing = (0..superblock.smp).map(CoreId).nth(found);
        if let Some(core) = missing {
            return Err(Refusal::CoreMissing(core));
        }
        self.layout = superblock.layout;
        self.layouts.retain(|&layout, _| layout == superblock.layout);
        Ok(())
    }

    /// Replaces a file in the root of the data directory whole; its name is durable with the next sync
    /// of the directory, as after `io::data_dir::put_file`.
    pub fn put(&mut self, name: FileName, bytes: &[u8]) {
        let mut contents = Contents::default();
        contents.write_durably(0, bytes);
        contents.sync();
        self.root.create(name.temporary(), contents);
        self.root.rename(name.temporary(), name.entry());
    }

    /// Makes the names in the root of the data directory durable.
    pub fn sync_root(&mut self) {
        self.root.sync();
    }

    /// A file in the root of the data directory, if it is there and can be read.
    pub fn get(&self, name: FileName) -> Option<Vec<u8>> {
        self.root.file(self.root.open(name)?).read_all().ok()
    }
}

impl CoreFiles {
    /// What is to be gone by becomes durable: the names in the directory, and what writes that were under
    /// way when the last process died have left in the disk's cache.
    pub(super) fn settle(&mut self) {
        self.volume.remove_temporary();
        self.volume.sync();
        for file in segments_in(&self.volume).into_values() {
            self.volume.file_mut(file).sync();
        }
    }

    fn open(&mut self) {
        for segment in segments_in(&self.volume).into_keys() {
            self.segments.open(&self.volume, segment);
        }
    }
}

/// Reads what a core's directory holds.
fn recover(core: CoreId, volume: &Volume, config: LogConfig) -> Result<Recovered, Refusal> {
    let mut recovered = Recovered { log: read_log(core, volume, config)?, ..Recovered::default() };
    let newest: BTreeMap<GroupId, Index> = snapshots_in(volume).into_iter().collect();
    for (group, index) in newest {
        let name = FileName::Snapshot(group, index);
        let file = volume.file(volume.open(name).expect("just listed"));
        let bytes = file.read_all().map_err(unreadable(core, name))?;
        match LoadedSnapshot::load(&bytes) {
            Ok(snapshot) => recovered.snapshots.push(snapshot),
            Err(RecoverError::Snapshot(_)) => recovered.snapshots_lost.push(group),
            Err(source) => return Err(Refusal::Snapshot { core, source }),
        }
    }
    Ok(recovered)
}

pub(super) fn read_log(
    core: CoreId,
    volume: &Volume,
    config: LogConfig,
) -> Result<wal::Recovered, Refusal> {
    let segments = segments_in(volume);
    let log = |source| Refusal::Log { core, source };
    let mut recovery = Recovery::new(config);
    feed(core, volume, &segments, &mut recovery)?;
    if let Some(mut second) = recovery.second_reading() {
        feed(core, volume, &segments, &mut second)?;
        recovery = second;
    }
    recovery.finish().map_err(log)
}

/// Gives a recovery all it asks for.
fn feed(
    core: CoreId,
    volume: &Volume,
    segments: &BTreeMap<SegmentId, FileId>,
    recovery: &mut Recovery,
) -> Result<(), Refusal> {
    let log = |source| Refusal::Log { core, source };
    let mut ordered = BTreeSet::new();
    for (&segment, &file) in segments {
        let name = FileName::Segment(segment);
        let head = volume.file(file).read(0..BLOCK as u64).map_err(unreadable(core, name))?;
        let order = recovery.inspect_head(segment, &head).map_err(log)?;
        ordered.insert((order.unwrap_or(u64::MAX), segment, file));
    }
    for (_, segment, file) in ordered {
        let name = FileName::Segment(segment);
        let bytes = volume.file(file).read_all().map_err(unreadable(core, name))?;
        recovery.feed(segment, &bytes).map_err(log)?;
    }
    Ok(())
}

fn unreadable(core: CoreId, file: FileName) -> impl Fn(Unreadable) -> Refusal {
    move |Unreadable| Refusal::Unreadable { core, file }
}

/// The segments that a directory holds.
fn segments_in(volume: &Volume) -> BTreeMap<SegmentId, FileId> {
    let segment = |(name, file)| match name {
        FileName::Segment(segment) => Some((segment, file)),
        _ => None,
    };
    volume.list().filter_map(segment).collect()
}
