//! The file in which a node keeps the newest shard map it goes by. Format: `schema/map-file.md`.
//!
//! What a map says is `wire`'s to read; here it is bytes, the epoch they are of, and the cluster that
//! they belong to. A node that joins a cluster is given the same bytes by another node.

use super::field::{put, u32_at, u64_at};
use crate::base::ClusterId;
use crate::base::checksum::crc32c;

/// A shard map as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFile {
    /// Whose it is.
    pub cluster: ClusterId,
    /// Which one.
    pub epoch: u64,
    /// What it says.
    pub map: Vec<u8>,
}

/// Why the file of a shard map cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapFileError {
    /// It is cut short, or something else.
    #[error("it is no shard map: {0} bytes that do not begin like one")]
    Alien(usize),
    /// Written by a version this one does not know.
    #[error("it has format version {found}, this sunstar reads {VERSION}")]
    Version {
        /// What it says.
        found: u32,
    },
    /// Its length is not what it says.
    #[error("it has {found} bytes and says {said}")]
    Length {
        /// Bytes there are.
        found: usize,
        /// Bytes there are to be.
        said: u64,
    },
    /// Something in it is not what was written.
    #[error("its checksum is {found:08x}, and that of its bytes is {computed:08x}")]
    Checksum {
        /// What it says.
        found: u32,
        /// What it is.
        computed: u32,
    },
}

impl MapFile {
    /// The whole file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(&self.map);
        put(&mut bytes, AT_MAGIC, MAGIC);
        put(&mut bytes, AT_VERSION, &VERSION.to_le_bytes());
        put(&mut bytes, AT_CLUSTER, &self.cluster.0.to_le_bytes());
        put(&mut bytes, AT_EPOCH, &self.epoch.to_le_bytes());
        put(&mut bytes, AT_LENGTH, &(self.map.len() as u64).to_le_bytes());
        let crc = crc32c(&bytes[CHECKED_FROM..]);
        put(&mut bytes, AT_CRC, &crc.to_le_bytes());
        bytes
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// If it is anything but what was written.
    pub fn decode(bytes: &[u8]) -> Result<Self, MapFileError> {
        if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
            return Err(MapFileError::Alien(bytes.len()));
        }
        let found = u32_at(bytes, AT_VERSION);
        if found != VERSION {
            return Err(MapFileError::Version { found });
        }
        let (found, said) = (bytes.len() - HEADER, u64_at(bytes, AT_LENGTH));
        if found as u64 != said {
            return Err(MapFileError::Length { found, said });
        }
        let (found, computed) = (u32_at(bytes, AT_CRC), crc32c(&bytes[CHECKED_FROM..]));
        if found != computed {
            return Err(MapFileError::Checksum { found, computed });
        }
        Ok(Self {
            cluster: ClusterId(u64_at(bytes, AT_CLUSTER)),
            epoch: u64_at(bytes, AT_EPOCH),
            map: bytes[HEADER..].to_vec(),
        })
    }

    /// The checksum that a file says it has, if it is long enough to.
    pub fn checksum(bytes: &[u8]) -> Option<u32> {
        (bytes.len() >= HEADER).then(|| u32_at(bytes, AT_CRC))
    }
}

const MAGIC: &[u8; 8] = b"SUNSTMAP";
const VERSION: u32 = 1;

const AT_MAGIC: usize = 0;
const AT_CRC: usize = 8;
/// The checksum covers everything after itself.
const CHECKED_FROM: usize = 12;
const AT_VERSION: usize = 12;
const AT_CLUSTER: usize = 16;
const AT_EPOCH: usize = 24;
const AT_LENGTH: usize = 32;
const HEADER: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> MapFile {
        MapFile { cluster: ClusterId(7), epoch: 9, map: (1..=24).collect() }
    }

    #[test]
    fn what_was_written_is_read() {
        for map in [file().map, Vec::new()] {
            let file = MapFile { map, ..file() };
            assert_eq!(MapFile::decode(&file.encode()), Ok(file));
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_and_a_missing_end_are_found_out() {
        let good = file().encode();
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 0x10;
            assert!(MapFile::decode(&bad).is_err(), "{position}");
            assert!(MapFile::decode(&good[..position]).is_err(), "{position}");
        }
        let longer = [&good[..], &[0]].concat();
        assert!(matches!(MapFile::decode(&longer), Err(MapFileError::Length { .. })));
    }
}
