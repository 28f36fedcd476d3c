//! The container of a snapshot: a header that says of what, chunks that are opaque here, a footer.
//!
//! ```text
//! header ─ chunk ─ chunk ─ ... ─ footer     every part begins at a multiple of eight
//! ```
//! Each part has a checksum; the footer's also covers those of all the parts before it, so that a
//! missing, repeated or exchanged chunk is found. A file without its footer is no snapshot.

use super::Identity;
use super::field::{put, u16_at, u32_at, u64_at};
use crate::base::checksum::{crc32c, crc32c_append};
use crate::base::{
    ClusterId, CoreId, GroupId, Incarnation, Index, Mistake, NodeId, Term, WallTime, makes,
};

/// What a snapshot is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Who made it. An installed one may come from another node.
    pub identity: Identity,
    /// The group.
    pub group: GroupId,
    /// The last entry it covers.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// That entry's time stamp.
    pub timestamp: WallTime,
    /// The voters at that entry.
    pub voters: Vec<NodeId>,
    /// The voters that a change under way replaces; empty otherwise.
    pub outgoing: Vec<NodeId>,
    /// The learners at that entry.
    pub learners: Vec<NodeId>,
    /// The voters to be, while they catch up; empty otherwise.
    pub voters_next: Vec<NodeId>,
    /// Which incarnation of a member counts, for those of which it is said.
    pub incarnations: Vec<(NodeId, Incarnation)>,
}

/// Why bytes are not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It does not begin as one does.
    #[error("not a snapshot")]
    NotASnapshot,
    /// Written by a version this one does not know.
    #[error("the snapshot has format version {found}, this sunstar reads {expected}")]
    Version {
        /// What it says.
        found: u32,
        /// What is known here.
        expected: u32,
    },
    /// It ends before its footer.
    #[error("the snapshot ends early, in the part at offset {offset}")]
    Truncated {
        /// Where the part begins that is not there.
        offset: usize,
    },
    /// A part is damaged.
    #[error("the snapshot is damaged in the part at offset {offset}")]
    Damaged {
        /// Where the part begins.
        offset: usize,
    },
}

/// Makes a snapshot's bytes, part by part: [`Self::header`] once, [`Self::chunk`] any number of times,
/// [`Self::footer`] once. Every part's length is a multiple of eight.
#[derive(Clone, Debug)]
pub struct SnapshotWriter {
    header: Vec<u8>,
    /// Chunks so far.
    chunks: u64,
    /// Bytes of their contents.
    total: u64,
    /// Over the checksums of the parts so far, in order.
    crc: u32,
}

impl SnapshotWriter {
    /// A writer of a snapshot of what `header` says.
    pub fn new(header: &SnapshotHeader) -> Self {
        let header = encode_header(header);
        let crc = crc32c(&header[AT_CRC..CHECKED_FROM]);
        Self { header, chunks: 0, total: 0, crc }
    }

    /// The first part.
    pub fn header(&self) -> Vec<u8> {
        self.header.clone()
    }

    /// The part that holds `bytes`.
    ///
    /// # Panics
    /// If there are [`u32::MAX`] bytes or more.
    pub fn chunk(&mut self, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).ok().filter(|&length| length != FOOTER_TAG);
        let length = length.expect("a chunk is of moderate size").to_le_bytes();
        let crc = crc32c_append(crc32c(&length), bytes).to_le_bytes();
        self.chunks += 1;
        self.total += bytes.len() as u64;
        self.crc = crc32c_append(self.crc, &crc);

        let mut part = Vec::with_capacity(PART_BYTES + bytes.len().next_multiple_of(WORD));
        part.extend_from_slice(&length);
        part.extend_from_slice(&crc);
        part.extend_from_slice(bytes);
        part.resize(part.len().next_multiple_of(WORD), 0);
        part
    }

    /// The last part.
    pub fn footer(&mut self) -> Vec<u8> {
        let mut part = vec![0; FOOTER_BYTES];
        put(&mut part, AT_FOOTER_TAG, &FOOTER_TAG.to_le_bytes());
        put(&mut part, AT_FOOTER_CHUNKS, &self.chunks.to_le_bytes());
        put(&mut part, AT_FOOTER_TOTAL, &self.total.to_le_bytes());
        put(&mut part, AT_FOOTER_PARTS_CRC, &self.crc.to_le_bytes());
        let crc = crc32c(&part[AT_FOOTER_CHUNKS..]);
        put(&mut part, AT_FOOTER_CRC, &crc.to_le_bytes());
        part
    }
}

/// Reads a whole snapshot and verifies all of it. Returns its header and its chunks, which begin at
/// multiples of eight in `bytes`.
///
/// # Errors
/// If anything about it is not as it was written.
pub fn read_snapshot(bytes: &[u8]) -> Result<(SnapshotHeader, Vec<&[u8]>), SnapshotError> {
    let (header, mut offset) = decode_header(bytes)?;
    let mut parts_crc = crc32c(&bytes[AT_CRC..CHECKED_FROM]);
    let (mut chunks, mut total) = (Vec::new(), 0);
    loop {
        let part = bytes.get(offset..offset + PART_BYTES);
        let part = part.ok_or(SnapshotError::Truncated { offset })?;
        let tag = u32_at(part, 0);
        if tag == FOOTER_TAG {
            break;
        }
        let chunk = read_chunk(bytes, offset, tag as usize)?;
        parts_crc = crc32c_append(parts_crc, &part[4..]);
        total += chunk.len() as u64;
        chunks.push(chunk);
        offset += PART_BYTES + chunk.len().next_multiple_of(WORD);
    }
    let footer = bytes.get(offset..offset + FOOTER_BYTES);
    let footer = footer.ok_or(SnapshotError::Truncated { offset })?;
    let right = crc32c(&footer[AT_FOOTER_CHUNKS..]) == u32_at(footer, AT_FOOTER_CRC)
        && u64_at(footer, AT_FOOTER_CHUNKS) == chunks.len() as u64
        && u64_at(footer, AT_FOOTER_TOTAL) == total
        && u32_at(footer, AT_FOOTER_PARTS_CRC) == parts_crc
        && bytes.len() == offset + FOOTER_BYTES;
    let right = right || makes(Mistake::FooterUnchecked);
    if right { Ok((header, chunks)) } else { Err(SnapshotError::Damaged { offset }) }
}

/// The contents of the chunk whose part begins at `offset`.
fn read_chunk(bytes: &[u8], offset: usize, length: usize) -> Result<&[u8], SnapshotError> {
    let start = offset + PART_BYTES;
    let end = start.checked_add(length).ok_or(SnapshotError::Damaged { offset })?;
    let padded = end.next_multiple_of(WORD);
    let contents = bytes.get(start..padded).ok_or(SnapshotError::Truncated { offset })?;
    let (chunk, padding) = contents.split_at(length);
    let crc = crc32c_append(crc32c(&bytes[offset..offset + 4]), chunk);
    let right = crc == u32_at(bytes, offset + 4) && padding.iter().all(|&byte| byte == 0);
    if right { Ok(chunk) } else { Err(SnapshotError::Damaged { offset }) }
}

fn encode_header(header: &SnapshotHeader) -> Vec<u8> {
    let members = [&header.voters, &header.outgoing, &header.learners, &header.voters_next];
    let count: usize = members.iter().map(|list| list.len()).sum();
    let mut bytes = vec![0; HEADER_BYTES + (count + 2 * header.incarnations.len()) * WORD];
    put(&mut bytes, AT_MAGIC, MAGIC);
    put(&mut bytes, AT_VERSION, &VERSION.to_le_bytes());
    put(&mut bytes, AT_CLUSTER, &header.identity.cluster.0.to_le_bytes());
    put(&mut bytes, AT_NODE, &header.identity.node.0.to_le_bytes());
    put(&mut bytes, AT_INCARNATION, &header.identity.incarnation.0.to_le_bytes());
    put(&mut bytes, AT_INDEX, &header.index.0.to_le_bytes());
    put(&mut bytes, AT_TERM, &header.term.0.to_le_bytes());
    put(&mut bytes, AT_TIMESTAMP, &header.timestamp.0.to_le_bytes());
    put(&mut bytes, AT_GROUP, &header.group.0.to_le_bytes());
    put(&mut bytes, AT_CORE, &header.identity.core.0.to_le_bytes());
    for (list, at) in members.iter().zip(AT_COUNTS) {
        let count = u16::try_from(list.len()).expect("a group has few members");
        put(&mut bytes, at, &count.to_le_bytes());
    }
    for (position, node) in members.into_iter().flatten().enumerate() {
        put(&mut bytes, HEADER_BYTES + position * WORD, &node.0.to_le_bytes());
    }
    let known = u16::try_from(header.incarnations.len()).expect("a group has few members");
    put(&mut bytes, AT_INCARNATIONS, &known.to_le_bytes());
    for (position, (node, incarnation)) in header.incarnations.iter().enumerate() {
        let at = HEADER_BYTES + (count + 2 * position) * WORD;
        put(&mut bytes, at, &node.0.to_le_bytes());
        put(&mut bytes, at + WORD, &incarnation.0.to_le_bytes());
    }
    let crc = crc32c(&bytes[CHECKED_FROM..]);
    put(&mut bytes, AT_CRC, &crc.to_le_bytes());
    bytes
}

/// Reads the header; returns it and where the first chunk begins.
fn decode_header(bytes: &[u8]) -> Result<(SnapshotHeader, usize), SnapshotError> {
    if !bytes.starts_with(MAGIC) {
        return Err(SnapshotError::NotASnapshot);
    }
    let fixed = bytes.get(..HEADER_BYTES).ok_or(SnapshotError::Truncated { offset: 0 })?;
    let (found, expected) = (u32_at(fixed, AT_VERSION), VERSION);
    if found != expected {
        return Err(SnapshotError::Version { found, expected });
    }
    let counts = AT_COUNTS.map(|at| usize::from(u16_at(fixed, at)));
    let (members, known) =
        (counts.iter().sum::<usize>(), usize::from(u16_at(fixed, AT_INCARNATIONS)));
    let end = HEADER_BYTES + (members + 2 * known) * WORD;
    let header = bytes.get(..end).ok_or(SnapshotError::Truncated { offset: 0 })?;
    if crc32c(&header[CHECKED_FROM..]) != u32_at(header, AT_CRC) {
        return Err(SnapshotError::Damaged { offset: 0 });
    }
    let mut nodes = header[HEADER_BYTES..].chunks_exact(WORD).map(|node| NodeId(u64_at(node, 0)));
    let [voters, outgoing, learners, voters_next] =
        counts.map(|count| nodes.by_ref().take(count).collect());
    let pairs = header[HEADER_BYTES + members * WORD..].chunks_exact(2 * WORD);
    let incarnations =
        pairs.map(|pair| (NodeId(u64_at(pair, 0)), Incarnation(u64_at(pair, WORD)))).collect();
    let header = SnapshotHeader {
        identity: Identity {
            cluster: ClusterId(u64_at(header, AT_CLUSTER)),
            node: NodeId(u64_at(header, AT_NODE)),
            incarnation: Incarnation(u64_at(header, AT_INCARNATION)),
            core: CoreId(u16_at(header, AT_CORE)),
        },
        group: GroupId(u32_at(header, AT_GROUP)),
        index: Index(u64_at(header, AT_INDEX)),
        term: Term(u64_at(header, AT_TERM)),
        timestamp: WallTime(u64_at(header, AT_TIMESTAMP)),
        voters,
        outgoing,
        learners,
        voters_next,
        incarnations,
    };
    Ok((header, end))
}

const WORD: usize = 8;
const MAGIC: &[u8; 8] = b"SUNSTSNP";
const VERSION: u32 = 1;

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = 8;
const AT_CRC: usize = 12;
/// The checksum covers everything after itself, the members included.
const CHECKED_FROM: usize = 16;
const AT_CLUSTER: usize = 16;
const AT_NODE: usize = 24;
const AT_INCARNATION: usize = 32;
const AT_INDEX: usize = 40;
const AT_TERM: usize = 48;
const AT_TIMESTAMP: usize = 56;
const AT_GROUP: usize = 64;
const AT_CORE: usize = 68;
const AT_COUNTS: [usize; 4] = [70, 72, 74, 76];
const AT_INCARNATIONS: usize = 78;
const HEADER_BYTES: usize = 80;

/// A chunk's length and checksum.
const PART_BYTES: usize = 8;
/// In the place of a chunk's length.
const FOOTER_TAG: u32 = u32::MAX;

const AT_FOOTER_TAG: usize = 0;
const AT_FOOTER_CRC: usize = 4;
const AT_FOOTER_CHUNKS: usize = 8;
const AT_FOOTER_TOTAL: usize = 16;
const AT_FOOTER_PARTS_CRC: usize = 24;
const FOOTER_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SnapshotHeader {
        SnapshotHeader {
            identity: Identity {
                cluster: ClusterId(1),
                node: NodeId(2),
                incarnation: Incarnation(3),
                core: CoreId(4),
            },
            group: GroupId(5),
            index: Index(600),
            term: Term(7),
            timestamp: WallTime(8),
            voters: vec![NodeId(1), NodeId(2), NodeId(3)],
            outgoing: vec![NodeId(4)],
            learners: vec![NodeId(9), NodeId(10)],
            voters_next: vec![NodeId(1), NodeId(9)],
            incarnations: vec![(NodeId(2), Incarnation(77))],
        }
    }

    fn snapshot(chunks: &[&[u8]]) -> Vec<u8> {
        let mut writer = SnapshotWriter::new(&header());
        let mut bytes = writer.header();
        for chunk in chunks {
            bytes.extend(writer.chunk(chunk));
            assert!(bytes.len().is_multiple_of(WORD));
        }
        bytes.extend(writer.footer());
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let large = [7; 5000];
        let cases: [&[&[u8]]; 4] = [&[], &[b""], &[b"one", b"", b"eight by"], &[&large]];
        for chunks in cases {
            let bytes = snapshot(chunks);
            assert_eq!(read_snapshot(&bytes), Ok((header(), chunks.to_vec())));
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let good = snapshot(&[b"one", b"", b"three"]);
        for position in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[position / 8] ^= 1 << (position % 8);
            assert!(read_snapshot(&bad).is_err(), "bit {position}");
        }
    }

    #[test]
    fn a_missing_end_is_found_wherever_it_begins() {
        let good = snapshot(&[b"one", b"two"]);
        for length in 0..good.len() {
            assert!(read_snapshot(&good[..length]).is_err(), "{length}");
        }
        let longer = [&good[..], &[0; 8]].concat();
        assert!(read_snapshot(&longer).is_err());
    }

    #[test]
    fn missing_repeated_and_exchanged_chunks_are_found() {
        let good = snapshot(&[b"chunk 01", b"chunk 02"]);
        let (head, rest) = good.split_at(HEADER_BYTES + 10 * WORD);
        let (one, rest) = rest.split_at(16);
        let (two, foot) = rest.split_at(16);
        assert_eq!([head, one, two, foot].concat(), good);
        for bad in [&[head, one, foot][..], &[head, one, one, foot], &[head, two, one, foot]] {
            let offset = bad[..bad.len() - 1].concat().len();
            let found = read_snapshot(&bad.concat()).map(|_| ());
            assert_eq!(found, Err(SnapshotError::Damaged { offset }));
        }
    }
}
