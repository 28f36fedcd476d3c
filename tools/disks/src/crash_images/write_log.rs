//! The order in which a disk was written and flushed, as qemu's `blklogwrites` notes it.
//!
//! The format is that of the kernel's dm-log-writes, all integers little-endian, in blocks of 512
//! bytes:
//!
//! | offset | size | first block |
//! |---|---|---|
//! | 0 | 8 | magic `0x6a736677736872` |
//! | 8 | 8 | version: 1 |
//! | 16 | 8 | entries, some time ago |
//! | 24 | 4 | bytes of a sector: 512 here |
//!
//! Then each entry: a block of its own, and the data behind it, unless it is a flush or a discard.
//!
//! | offset | size | entry |
//! |---|---|---|
//! | 0 | 8 | first sector written |
//! | 8 | 8 | sectors |
//! | 16 | 8 | flags: 1 flush, 2 durable when completed (FUA), 4 discard, 8 mark |
//!
//! qemu notes a request after it was performed below and before its completion is told above. So
//! what completed before a flush was asked for lies before the flush, and **whoever learns that
//! something is durable finds the flush that made it so in the log already**.
//!
//! Source: Linux, Documentation/admin-guide/device-mapper/log-writes.rst; qemu, block/blklogwrites.c.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a sector: what a disk writes whole or not at all.
pub(crate) const SECTOR: usize = 512;

/// A write log on disk, and what is in it.
#[derive(Debug)]
pub(crate) struct WriteLog {
    file: File,
    entries: Vec<Entry>,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The first sector written.
    pub(crate) sector: u64,
    /// Sectors written; none for a flush or a discard.
    pub(crate) sectors: u64,
    pub(crate) kind: Kind,
    pub(crate) content: Content,
    /// Where its data begins in the log.
    data_at: u64,
    /// The length of the log when it was the newest.
    pub(crate) end: u64,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A write: durable with the next flush.
    Write,
    /// A write that was durable when it completed.
    DurableWrite,
    /// What completed before it is durable.
    Flush,
    /// The sectors' contents are given up. A disk may keep them, and here it does.
    Discard,
}

/// What a write begins with, as far as it makes an interesting moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The header of a log segment: it is begun, or begun again.
    Segment,
    /// A snapshot file.
    Snapshot,
    /// A block of the file system's journal: names, lengths, renames.
    Journal,
    Other,
}

impl WriteLog {
    /// Reads the log of a disk that is not in use any more.
    ///
    /// # Errors
    /// If it cannot be read or is not whole.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut block = [0; 2 * SECTOR];
        file.read_exact_at(&mut block[..SECTOR], 0)?;
        check_head(&block)?;
        let mut entries = Vec::new();
        let mut at = SECTOR as u64;
        while at < length {
            let read =
                usize::try_from(length - at).map_or(block.len(), |rest| rest.min(block.len()));
            file.read_exact_at(&mut block[..read], at)?;
            let entry = Entry::decode(&block[..read], at)?;
            if entry.end > length {
                return Err(damaged(&format!("the entry at {at} goes on until {}", entry.end)));
            }
            at = entry.end;
            entries.push(entry);
        }
        Ok(Self { file, entries })
    }

    /// All requests in their order.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The data of one write.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn data(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        let sectors = usize::try_from(entry.sectors).expect("a write fits in memory");
        let mut data = vec![0; sectors * SECTOR];
        self.file.read_exact_at(&mut data, entry.data_at)?;
        Ok(data)
    }

    /// How many flushes there are among the entries.
    pub(crate) fn flushes(&self) -> usize {
        self.entries.iter().filter(|entry| entry.kind == Kind::Flush).count()
    }
}

impl Entry {
    /// Whether it has data.
    pub(crate) fn is_write(&self) -> bool {
        matches!(self.kind, Kind::Write | Kind::DurableWrite)
    }

    /// `bytes`: the entry's block and what of the next one there is.
    fn decode(bytes: &[u8], at: u64) -> io::Result<Self> {
        if bytes.len() < SECTOR {
            return Err(damaged(&format!("the entry at {at} is cut off")));
        }
        let [sector, sectors, flags] = [0, 8, 16].map(|field| u64_at(bytes, field));
        let kind = match flags {
            0 => Kind::Write,
            FUA => Kind::DurableWrite,
            FLUSH => Kind::Flush,
            DISCARD => Kind::Discard,
            _ => return Err(damaged(&format!("the entry at {at} has the flags {flags:#x}"))),
        };
        if kind == Kind::Flush && sectors > 0 {
            return Err(damaged(&format!("the flush at {at} has {sectors} sectors")));
        }
        let sectors = if kind == Kind::Discard { 0 } else { sectors };
        let data_at = at + SECTOR as u64;
        let end = sectors.checked_mul(SECTOR as u64).and_then(|data| data.checked_add(data_at));
        let end = end.ok_or_else(|| damaged(&format!("the entry at {at} has no end")))?;
        let content = if sectors > 0 { Content::of(&bytes[SECTOR..]) } else { Content::Other };
        Ok(Self { sector, sectors, kind, content, data_at, end })
    }
}

impl Content {
    fn of(data: &[u8]) -> Self {
        if data.starts_with(b"SUNSTLOG") {
            Self::Segment
        } else if data.starts_with(b"SUNSTSNP") {
            Self::Snapshot
        } else if data.starts_with(&JOURNAL_MAGIC.to_be_bytes()) {
            Self::Journal
        } else {
            Self::Other
        }
    }
}

fn check_head(block: &[u8]) -> io::Result<()> {
    let (magic, version) = (u64_at(block, 0), u64_at(block, 8));
    let sector = u64_at(block, 24) & u64::from(u32::MAX);
    if magic != MAGIC || version != 1 {
        return Err(damaged(&format!("magic {magic:#x}, version {version}")));
    }
    if sector != SECTOR as u64 {
        return Err(damaged(&format!("it counts in sectors of {sector} bytes")));
    }
    Ok(())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the write log is damaged: {what}"))
}

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// Of ext4's journal blocks; big-endian.
const JOURNAL_MAGIC: u32 = 0xC03B_3998;

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    /// A log of these requests: flags, first sector, data.
    pub(crate) fn log_of(requests: &[(u64, u64, &[u8])]) -> WriteLog {
        let file = written(requests);
        WriteLog::open(file.path()).expect("a log")
    }

    fn written(requests: &[(u64, u64, &[u8])]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&block(&[MAGIC, 1, 0, SECTOR as u64])).expect("room");
        for (flags, sector, data) in requests {
            let sectors = (data.len() / SECTOR) as u64;
            file.write_all(&block(&[*sector, sectors, *flags])).expect("room");
            file.write_all(data).expect("room");
        }
        file
    }

    fn block(fields: &[u64]) -> Vec<u8> {
        let mut block: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        block.resize(SECTOR, 0);
        block
    }

    #[test]
    fn requests_are_read_in_their_order() {
        let mut segment = vec![7; 2 * SECTOR];
        segment[..8].copy_from_slice(b"SUNSTLOG");
        let log = log_of(&[(0, 8, &segment), (1, 0, &[]), (2, 3, &[9; SECTOR])]);
        let kinds: Vec<_> = log.entries().iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [Kind::Write, Kind::Flush, Kind::DurableWrite]);
        assert_eq!(log.entries()[0].content, Content::Segment);
        assert_eq!((log.entries()[0].sector, log.entries()[0].sectors), (8, 2));
        assert_eq!(log.data(&log.entries()[0]).expect("there"), segment);
        assert_eq!(log.data(&log.entries()[2]).expect("there"), [9; SECTOR]);
        assert_eq!(log.entries()[0].end, 4 * SECTOR as u64);
        assert_eq!(log.flushes(), 1);
    }

    #[test]
    fn what_is_not_a_whole_log_is_refused() {
        let cut = written(&[(0, 8, &[7; 2 * SECTOR])]);
        cut.as_file().set_len(3 * SECTOR as u64).expect("shorter");
        let cases = [(cut, "goes on until"), (written(&[(16, 0, &[])]), "flags 0x10")];
        for (file, cause) in cases {
            let error = WriteLog::open(file.path()).expect_err(cause);
            assert!(error.to_string().contains(cause), "{error}");
        }
    }
}
