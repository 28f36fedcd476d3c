//! One piece of a slot's content on its way to another group. The bytes are laid out in
//! `schema/slot.md`.
//!
//! They come from another node: all of them are looked at before the first one counts.

use super::reader::{CutShort, Reader};
use crate::base::limits::{KEY_MAX, VALUE_MAX};
use crate::base::{Index, Slot};

/// Version of the format.
const FORMAT: u16 = 1;

/// Where the flags stand.
const FLAGS_AT: usize = 4;

/// Flag: the last piece of its round.
const LAST: u8 = 1;

/// Flag: the source was frozen at the export that the round leads to.
const FINAL: u8 = 2;

/// Kinds of records.
const PUT: u8 = 1;
const REMOVE: u8 = 2;

/// Why bytes are not a piece of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    /// It ends within its header or a record.
    #[error("it is cut short")]
    Truncated,
    /// The format is another version's.
    #[error("it has format {0}; this version reads format {FORMAT}")]
    Format(u16),
    /// There is no such slot.
    #[error("it is of slot {0}, which does not exist")]
    BadSlot(u16),
    /// A flag that is not known.
    #[error("it has unknown flags {0:#04x}")]
    BadFlags(u8),
    /// A record of unknown kind.
    #[error("it has a record of unknown kind {0}")]
    UnknownRecord(u8),
    /// A key or a value exceeds what may be.
    #[error("it has a key or a value of {0} bytes, more than there may be")]
    TooLong(u32),
    /// A key's slot is another one.
    #[error("it has a key that is not of slot {0}")]
    BadKey(Slot),
}

impl From<CutShort> for PieceError {
    fn from(_: CutShort) -> Self {
        Self::Truncated
    }
}

/// What a piece begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The slot.
    pub(super) slot: Slot,
    /// Whether the round ends with it.
    pub(super) is_last: bool,
    /// Whether the source was frozen at the export that the round leads to.
    pub(super) is_final: bool,
    /// The name of the arrival that it is for.
    pub(super) arrival: Index,
    /// Its number within that arrival.
    pub(super) number: u64,
    /// The hash of the content that the round begins with.
    pub(super) from: u64,
    /// The hash of the content that the round leads to.
    pub(super) to: u64,
}

impl Header {
    /// Begins a piece with it; whether it is the last one is said by [`mark_last`].
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.slot.number().to_le_bytes());
        out.push(if self.is_final { FINAL } else { 0 });
        for word in [self.arrival.0, self.number, self.from, self.to] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, PieceError> {
        let format = u16::from_le_bytes(reader.array()?);
        if format != FORMAT {
            return Err(PieceError::Format(format));
        }
        let slot = u16::from_le_bytes(reader.array()?);
        let slot = Slot::new(slot).ok_or(PieceError::BadSlot(slot))?;
        let flags = u8::from_le_bytes(reader.array()?);
        if flags & !(LAST | FINAL) != 0 {
            return Err(PieceError::BadFlags(flags));
        }
        let (is_last, is_final) = (flags & LAST != 0, flags & FINAL != 0);
        let (arrival, number) = (Index(reader.word()?), reader.word()?);
        let (from, to) = (reader.word()?, reader.word()?);
        Ok(Self { slot, is_last, is_final, arrival, number, from, to })
    }
}

/// Where a piece belongs, for who passes it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PiecePlace {
    /// The slot.
    pub slot: Slot,
    /// The name of the arrival that it is for.
    pub arrival: Index,
    /// Its number within that arrival.
    pub number: u64,
    /// Whether the slot can be served when it is taken in, all those before it having been.
    pub completes: bool,
}

impl PiecePlace {
    /// Where a piece belongs. What follows its header is not looked at.
    ///
    /// # Errors
    /// If it does not begin as pieces do.
    pub fn of(piece: &[u8]) -> Result<Self, PieceError> {
        let Header { slot, is_last, is_final, arrival, number, .. } =
            Header::read(&mut Reader(piece))?;
        Ok(Self { slot, arrival, number, completes: is_last && is_final })
    }
}

/// Says in a piece that was written that it is the last one of its round.
pub(super) fn mark_last(piece: &mut [u8]) {
    piece[FLAGS_AT] |= LAST;
}

/// What becomes of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// It has this value.
    Put { key: &'a [u8], value: &'a [u8] },
    /// It is not there any more.
    Remove { key: &'a [u8] },
}

impl<'a> Change<'a> {
    /// Writes its record.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let length = |part: &[u8]| {
            let length = u32::try_from(part.len()).expect("keys and values are far below 4 GiB");
            length.to_le_bytes()
        };
        match *self {
            Self::Put { key, value } => {
                out.push(PUT);
                out.extend_from_slice(&length(key));
                out.extend_from_slice(&length(value));
                out.extend_from_slice(key);
                out.extend_from_slice(value);
            }
            Self::Remove { key } => {
                out.push(REMOVE);
                out.extend_from_slice(&length(key));
                out.extend_from_slice(key);
            }
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, PieceError> {
        match u8::from_le_bytes(reader.array()?) {
            PUT => {
                let key_length = length(reader, KEY_MAX)?;
                let value_length = length(reader, VALUE_MAX)?;
                let key = reader.take(key_length)?;
                Ok(Self::Put { key, value: reader.take(value_length)? })
            }
            REMOVE => {
                let key_length = length(reader, KEY_MAX)?;
                Ok(Self::Remove { key: reader.take(key_length)? })
            }
            kind => Err(PieceError::UnknownRecord(kind)),
        }
    }

    const fn key(&self) -> &'a [u8] {
        match *self {
            Self::Put { key, .. } | Self::Remove { key } => key,
        }
    }
}

/// A length that is not above `max`.
fn length(reader: &mut Reader<'_>, max: usize) -> Result<usize, PieceError> {
    let length = u32::from_le_bytes(reader.array()?);
    match usize::try_from(length) {
        Ok(length) if length <= max => Ok(length),
        _ => Err(PieceError::TooLong(length)),
    }
}

/// A piece all of whose bytes are in order.
pub(super) struct Piece<'a> {
    pub(super) header: Header,
    /// Records, one after another.
    records: &'a [u8],
}

impl<'a> Piece<'a> {
    /// Looks at all of a piece.
    ///
    /// # Errors
    /// If it is not one.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, PieceError> {
        let mut reader = Reader(bytes);
        let header = Header::read(&mut reader)?;
        let records = reader.0;
        while !reader.0.is_empty() {
            let change = Change::read(&mut reader)?;
            if Slot::of_key(change.key()) != header.slot {
                return Err(PieceError::BadKey(header.slot));
            }
        }
        Ok(Self { header, records })
    }

    /// What it changes, in order.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change<'a>> {
        let mut reader = Reader(self.records);
        std::iter::from_fn(move || Change::read(&mut reader).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hex_dump;
    use expect_test::expect_file;

    fn header() -> Header {
        let (slot, arrival) = (Slot::of_key(b"{a}"), Index(0x42));
        let (from, to) = (0x0102_0304_0506_0708, 0x1112_1314_1516_1718);
        Header { slot, is_last: false, is_final: true, arrival, number: 3, from, to }
    }

    const CHANGES: [Change<'static>; 3] = [
        Change::Put { key: b"{a}one", value: b"1" },
        Change::Remove { key: b"{a}two" },
        Change::Put { key: b"{a}", value: b"" },
    ];

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        header().write(&mut bytes);
        for change in CHANGES {
            change.write(&mut bytes);
        }
        mark_last(&mut bytes);
        bytes
    }

    #[test]
    fn the_format_is_the_one_written_down() {
        expect_file!["../../schema/slot.hex"].assert_eq(&hex_dump::of(&written()));
        let bytes = hex_dump::bytes(include_str!("../../schema/slot.hex"), written().len());
        let piece = Piece::parse(&bytes).expect("as it was written");
        assert_eq!(piece.header, Header { is_last: true, ..header() });
        assert!(piece.changes().eq(CHANGES));
    }

    #[test]
    fn a_piece_is_whole_or_refused() {
        let bytes = written();
        let error = |bytes: &[u8]| Piece::parse(bytes).err();
        // Cut between records it is a shorter piece: that one is missing is seen by the content's hash.
        let between = [37, 53, 64].map(|at| error(&bytes[..at]));
        assert_eq!(between, [None; 3]);
        let cuts = (0..bytes.len()).filter(|at| ![37, 53, 64].contains(at));
        for cut in cuts {
            assert_eq!(error(&bytes[..cut]), Some(PieceError::Truncated), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |at: usize, with: &[u8]| {
            let mut bytes = written();
            bytes[at..at + with.len()].copy_from_slice(with);
            Piece::parse(&bytes).err()
        };
        assert_eq!(error(0, &[2]), Some(PieceError::Format(2)));
        assert_eq!(error(2, &[0, 0x40]), Some(PieceError::BadSlot(16_384)));
        assert_eq!(error(FLAGS_AT, &[4]), Some(PieceError::BadFlags(4)));
        assert_eq!(error(37, &[0]), Some(PieceError::UnknownRecord(0)));
        assert_eq!(error(38, &[0xff; 4]), Some(PieceError::TooLong(u32::MAX)));
        assert_eq!(error(42, &[1, 0, 0x10]), Some(PieceError::TooLong((1 << 20) + 1)));
        assert_eq!(error(47, b"b"), Some(PieceError::BadKey(header().slot)));
        assert_eq!(error(46, b"b"), Some(PieceError::BadKey(header().slot)));
    }
}
