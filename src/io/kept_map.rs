//! The newest shard map, kept in `<data>/map` (`schema/map-file.md`).
//!
//! Core 0's reactor has a map written before anybody goes by it. The file is replaced whole, by a thread
//! that may block; of several maps that wait only the newest is written. A full disk is no failure: it is
//! tried again until there is room, and until then the node goes by the map before.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::core::Core;
use super::data_dir::{DataDirError, at, replace_file};
use super::disk::{die, is_disk_full};
use super::inbox::{Event, Inbox};
use serde_json::{Value, json};

use crate::base::{ClusterId, GroupId, Micros, Time};
use crate::placement::ShardMap;
use crate::reactor::map_bytes::{MapBytesError, decode_map, encode_map};
use crate::reactor::{Input, MapWrite};
use crate::wal::{MapFile, MapFileError};

/// A full disk is tried again after so long.
const RETRY_AFTER: Micros = Micros::from_secs(1);

const FILE: &str = "map";

/// Why bytes are no shard map that is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeptMapError {
    /// The file is not whole.
    #[error(transparent)]
    File(#[from] MapFileError),
    /// What is in it is no map.
    #[error(transparent)]
    Map(#[from] MapBytesError),
    /// It is another cluster's.
    #[error("it belongs to cluster {:016x}, not to {:016x}", found.0, expected.0)]
    Cluster {
        /// Whose it is.
        found: ClusterId,
        /// Who we are.
        expected: ClusterId,
    },
    /// It says to be of another epoch than the map in it is.
    #[error("it is of epoch {said}, and the map in it of {found}")]
    Epoch {
        /// What the file says.
        said: u64,
        /// What the map says.
        found: u64,
    },
}

/// A shard map and the cluster whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptMap {
    /// The cluster.
    pub cluster: ClusterId,
    /// The map.
    pub map: ShardMap,
}

impl KeptMap {
    /// As it is kept, and told to nodes that join.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = encode_map(&self.map);
        MapFile { cluster: self.cluster, epoch: self.map.epoch, map: bytes }.encode()
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeptMapError> {
        let MapFile { cluster, epoch, map } = MapFile::decode(bytes)?;
        let map = decode_map(&map)?;
        if map.epoch != epoch {
            return Err(KeptMapError::Epoch { said: epoch, found: map.epoch });
        }
        Ok(Self { cluster, map })
    }

    /// The same, for people and for programs that are no nodes.
    pub fn to_json(&self) -> Value {
        let ShardMap { epoch, nodes, meta, groups, draining, leaving, .. } = &self.map;
        let run = |(first, last, group): (u16, u16, GroupId)| json!([first, last, group]);
        let slots: Vec<Value> = self.map.ranges().into_iter().map(run).collect();
        let cluster = format!("{:016x}", self.cluster.0);
        json!({
            "cluster": cluster, "epoch": epoch, "nodes": nodes, "draining": draining, "meta": meta,
            "groups": groups, "leaving": leaving, "slots": slots,
        })
    }

    /// What is kept in `data_dir`, if anything is.
    ///
    /// # Errors
    /// If the file cannot be read or is not whole.
    pub fn read(data_dir: &Path) -> Result<Option<Self>, DataDirError> {
        let path = data_dir.join(FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(at("read", &path))?,
        };
        Self::decode(&bytes).map(Some).map_err(|source| DataDirError::Map { path, source })
    }

    /// Keeps it in `data_dir`, durably.
    ///
    /// # Errors
    /// If the file system fails.
    pub(super) fn write(&self, data_dir: &Path) -> Result<(), DataDirError> {
        replace_file(data_dir, FILE, &self.encode())
    }

    /// Demands that it belongs to `cluster`, whose data is in `data_dir`.
    ///
    /// # Errors
    /// If it does not.
    fn of(self, cluster: ClusterId, data_dir: &Path) -> Result<ShardMap, DataDirError> {
        if self.cluster == cluster {
            return Ok(self.map);
        }
        let source = KeptMapError::Cluster { found: self.cluster, expected: cluster };
        Err(DataDirError::Map { path: data_dir.join(FILE), source })
    }
}

/// The map that is kept in `data_dir`, if one is.
///
/// # Errors
/// If it cannot be read, or is not that of `cluster`, whose data the directory holds.
pub(super) fn kept_map(
    data_dir: &Path,
    cluster: ClusterId,
) -> Result<Option<ShardMap>, DataDirError> {
    KeptMap::read(data_dir)?.map(|kept| kept.of(cluster, data_dir)).transpose()
}

/// The map to start with: the one that is kept, unless `given` is newer.
pub(super) fn newer(kept: Option<ShardMap>, given: &ShardMap) -> ShardMap {
    kept.filter(|kept| kept.epoch >= given.epoch).unwrap_or_else(|| given.clone())
}

/// Maps on their way to the disk, on core 0.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// One is being written.
    is_busy: bool,
    /// What is to be written next. A newer one takes its place.
    next: Option<MapWrite>,
    /// Not before; the disk was full.
    not_before: Time,
}

impl Core {
    /// Has a map written; `Input::MapWritten` follows, unless a newer one comes before it is begun.
    pub(super) fn keep_map(&mut self, write: MapWrite) {
        self.keeping.next = Some(write);
        self.maybe_keep_map();
    }

    /// Begins to write the map that waits, if that is possible now.
    pub(super) fn maybe_keep_map(&mut self) {
        if self.keeping.is_busy || self.now < self.keeping.not_before {
            return;
        }
        let Some(write) = self.keeping.next.take() else { return };
        self.keeping.is_busy = true;
        let (cluster, directory) = (self.node.config.cluster, self.node.config.data_dir.clone());
        glommio::spawn_local(keep(cluster, directory, write, self.inbox.clone())).detach();
    }

    /// A map is kept, or there was no room for it.
    pub(super) fn map_kept(&mut self, write: MapWrite, is_kept: bool) {
        self.keeping.is_busy = false;
        if is_kept {
            self.step(Input::MapWritten { epoch: write.epoch });
        } else {
            tracing::warn!(epoch = write.epoch, "the disk is full: no room for the shard map");
            self.keeping.not_before = self.now + RETRY_AFTER;
            self.keeping.next.get_or_insert(write);
        }
        self.maybe_keep_map();
    }
}

/// Writes a map and says so.
async fn keep(cluster: ClusterId, directory: PathBuf, write: MapWrite, inbox: Rc<Inbox>) {
    let file = MapFile { cluster, epoch: write.epoch, map: write.bytes.clone() }.encode();
    let written =
        glommio::executor().spawn_blocking(move || replace_file(&directory, FILE, &file)).await;
    let is_kept = match written {
        Ok(()) => true,
        Err(DataDirError::Io { source, .. }) if is_disk_full(&source) => false,
        Err(error) => die("keeping the shard map", &error),
    };
    inbox.push(Event::MapKept { write, is_kept });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::NodeId;
    use crate::placement::NodeInfo;

    const OURS: ClusterId = ClusterId(7);

    fn map(epoch: u64) -> ShardMap {
        let (client_address, peer_address) = ("a:1".to_owned(), "a:2".to_owned());
        let node = NodeInfo { id: NodeId(1), client_address, peer_address };
        let mut map = ShardMap::initial(vec![node], 2).expect("one node");
        map.epoch = epoch;
        map
    }

    #[test]
    fn what_is_kept_is_found_and_the_newer_map_counts() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let found = || kept_map(directory.path(), OURS).expect("whole");
        assert_eq!((found(), newer(None, &map(1))), (None, map(1)));
        for epoch in [4, 9] {
            KeptMap { cluster: OURS, map: map(epoch) }.write(directory.path()).expect("room");
            assert_eq!(found(), Some(map(epoch)));
        }
        assert_eq!(newer(found(), &map(8)), map(9));
        assert_eq!(newer(found(), &map(10)), map(10));
    }

    #[test]
    fn what_is_damaged_or_another_clusters_is_refused_with_a_remedy() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        KeptMap { cluster: ClusterId(8), map: map(2) }.write(directory.path()).expect("room");
        let refused = || kept_map(directory.path(), OURS).expect_err("not ours").to_string();
        assert!(refused().contains("0000000000000008"), "{}", refused());
        for bytes in [&b""[..], b"SUNSTMAP", &[7; 4096]] {
            fs::write(directory.path().join(FILE), bytes).expect("room");
            assert!(refused().contains("aside"), "{}", refused());
        }
        let second = map(2);
        let lies = MapFile { cluster: OURS, epoch: 3, map: encode_map(&second) };
        let error = KeptMap::decode(&lies.encode()).expect_err("two epochs");
        assert_eq!(error, KeptMapError::Epoch { said: 3, found: 2 });
    }
}
