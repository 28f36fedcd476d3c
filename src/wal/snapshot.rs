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
    let mut parts = Parts::default();
    let header = parts.header(bytes)?;
    let mut chunks = Vec::new();
    while let Part::Chunk(chunk) = parts.next(&bytes[parts.offset..])? {
        chunks.push(chunk);
    }
    parts.end(bytes.len())?;
    Ok((header, chunks))
}

/// Reads a snapshot and verifies it, as its bytes come.
///
/// *In*: [`Self::feed`], in pieces of any size. *Out*: [`Self::chunk`], after each piece until there is no
/// more. [`Self::finish`] says whether it was all there: nothing that was read may count before.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    /// Of what it is, once that was read.
    header: Option<SnapshotHeader>,
    parts: Parts,
    /// Bytes that came; those before `parts.offset - begins` are read.
    bytes: Vec<u8>,
    /// Where in the snapshot `bytes` begin.
    begins: usize,
    /// Whether the footer was read.
    whole: bool,
}

impl SnapshotReader {
    /// Takes in the bytes that come next.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.parts.offset - self.begins);
        self.begins = self.parts.offset;
        self.bytes.extend_from_slice(bytes);
    }

    /// Of what it is; nothing if that has not come yet.
    ///
    /// # Errors
    /// If it is damaged, or of a version this one does not know.
    pub fn header(&mut self) -> Result<Option<&SnapshotHeader>, SnapshotError> {
        if self.header.is_none() {
            self.header = if_there(self.parts.header(&self.bytes))?;
        }
        Ok(self.header.as_ref())
    }

    /// The next chunk; nothing if it has not come yet, or there is none.
    ///
    /// # Errors
    /// If anything about it is not as it was written.
    pub fn chunk(&mut self) -> Result<Option<&[u8]>, SnapshotError> {
        if self.whole || self.header()?.is_none() {
            return Ok(None);
        }
        let rest = &self.bytes[self.parts.offset - self.begins..];
        match if_there(self.parts.next(rest))? {
            Some(Part::Chunk(chunk)) => Ok(Some(chunk)),
            Some(Part::Footer) => {
                self.whole = true;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Of what it is, if it was whole.
    ///
    /// # Errors
    /// If something is missing, or something follows.
    pub fn finish(mut self) -> Result<SnapshotHeader, SnapshotError> {
        let Some(header) = self.header.take() else {
            return self.parts.header(&self.bytes);
        };
        if !self.whole {
            return Err(SnapshotError::Truncated { offset: self.parts.offset });
        }
        self.parts.end(self.begins + self.bytes.len())?;
        Ok(header)
    }
}

/// What was read, unless some of it has not come yet.
fn if_there<T>(read: Result<T, SnapshotError>) -> Result<Option<T>, SnapshotError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(SnapshotError::Truncated { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A part behind the header.
enum Part<'a> {
    Chunk(&'a [u8]),
    Footer,
}

/// The parts of a snapshot that were read.
#[derive(Debug, Default)]
struct Parts {
    /// Where the next one begins.
    offset: usize,
    /// Over the checksums of those before, in order.
    crc: u32,
    /// Chunks among them.
    chunks: u64,
    /// Bytes of their contents.
    total: u64,
}

impl Parts {
    /// Reads the header, with which `bytes` begin.
    fn header(&mut self, bytes: &[u8]) -> Result<SnapshotHeader, SnapshotError> {
        let (header, end) = decode_header(bytes)?;
        self.crc = crc32c(&bytes[AT_CRC..CHECKED_FROM]);
        self.offset = end;
        Ok(header)
    }

    /// Reads the next part, with which `bytes` begin.
    fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<Part<'a>, SnapshotError> {
        let offset = self.offset;
        let part = bytes.get(..PART_BYTES).ok_or(SnapshotError::Truncated { offset })?;
        let tag = u32_at(part, 0);
        if tag == FOOTER_TAG {
            self.footer(bytes)?;
            return Ok(Part::Footer);
        }
        let chunk = read_chunk(bytes, offset, tag as usize)?;
        self.crc = crc32c_append(self.crc, &part[4..]);
        self.chunks += 1;
        self.total += chunk.len() as u64;
        self.offset += PART_BYTES + chunk.len().next_multiple_of(WORD);
        Ok(Part::Chunk(chunk))
    }

    fn footer(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let offset = self.offset;
        let footer = bytes.get(..FOOTER_BYTES).ok_or(SnapshotError::Truncated { offset })?;
        let right = crc32c(&footer[AT_FOOTER_CHUNKS..]) == u32_at(footer, AT_FOOTER_CRC)
            && u64_at(footer, AT_FOOTER_CHUNKS) == self.chunks
            && u64_at(footer, AT_FOOTER_TOTAL) == self.total
            && u32_at(footer, AT_FOOTER_PARTS_CRC) == self.crc;
        if !right && !makes(Mistake::FooterUnchecked) {
            return Err(SnapshotError::Damaged { offset });
        }
        self.offset += FOOTER_BYTES;
        Ok(())
    }

    /// Whether a snapshot of `length` bytes ends behind the footer just read.
    fn end(&self, length: usize) -> Result<(), SnapshotError> {
        let offset = self.offset - FOOTER_BYTES;
        if self.offset == length || makes(Mistake::FooterUnchecked) {
            Ok(())
        } else {
            Err(SnapshotError::Damaged { offset })
        }
    }
}

/// The contents of the chunk with which `bytes` begin; `offset`: of that part in the snapshot.
fn read_chunk(bytes: &[u8], offset: usize, length: usize) -> Result<&[u8], SnapshotError> {
    let end = PART_BYTES.checked_add(length).ok_or(SnapshotError::Damaged { offset })?;
    let padded = end.next_multiple_of(WORD);
    let contents = bytes.get(PART_BYTES..padded).ok_or(SnapshotError::Truncated { offset })?;
    let (chunk, padding) = contents.split_at(length);
    let crc = crc32c_append(crc32c(&bytes[..4]), chunk);
    let right = crc == u32_at(bytes, 4) && padding.iter().all(|&byte| byte == 0);
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
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(magic) {
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

    /// What a reader makes of bytes that come in pieces.
    fn in_pieces(
        bytes: &[u8],
        piece: usize,
    ) -> Result<(SnapshotHeader, Vec<Vec<u8>>), SnapshotError> {
        let (mut reader, mut chunks) = (SnapshotReader::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            reader.feed(piece);
            while let Some(chunk) = reader.chunk()? {
                chunks.push(chunk.to_vec());
            }
        }
        Ok((reader.finish()?, chunks))
    }

    #[test]
    fn pieces_are_read_like_the_whole() {
        let good = snapshot(&[b"one", b"", b"eight by", &[7; 300]]);
        let mut bad: Vec<Vec<u8>> = (0..good.len())
            .map(|at| {
                let mut bad = good.clone();
                bad[at] ^= 4;
                bad
            })
            .collect();
        bad.extend((0..good.len()).step_by(5).map(|length| good[..length].to_vec()));
        bad.push([&good[..], &[0; 8]].concat());
        for bytes in bad.iter().chain([&good]) {
            for piece in [1, 7, 64, 1_000] {
                let found = in_pieces(bytes, piece);
                match read_snapshot(bytes) {
                    Ok((header, chunks)) => assert_eq!(found, Ok((header, owned(&chunks)))),
                    Err(_) => assert!(found.is_err(), "{} bytes, {piece} at a time", bytes.len()),
                }
            }
        }
        assert!(in_pieces(&good, 7).is_ok());
    }

    fn owned(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        chunks.iter().map(|chunk| chunk.to_vec()).collect()
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
