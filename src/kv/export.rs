//! A slot's content on its way to another group, read out in pieces while the slot goes on changing.
//!
//! ```text
//! source   export A ──────── export B ──────── freeze, export C
//!          A.contents()      B.changes_since(A)  C.changes_since(B)
//!              │ pieces 0‥8      │ 9‥10              │ 11
//! arrival  empty ──────▶ = A ────────────▶ = B ──────────▶ = C, final: can be served
//! ```
//!
//! Each row of pieces is a *round*: it leads from the content of one export to that of another. The first
//! one begins with nothing. Every piece names both contents by hash, so an arrival takes no round that
//! does not fit what it has, and is served only when it has what the source had.
//!
//! An export is a reference to the slot's table, which is copied block by block by those who write to it.
//! What two exports share is found by comparing references: a round of changes costs a comparison of two
//! words for each block of eight keys, and a look at the keys of those blocks that were written. A key
//! that only moved, because the last one takes a deleted one's place, is looked at and not sent.
//!
//! While an export is held, the writes beside it copy what they touch; where it is let go, the memory
//! that it alone still held is freed at once.

use super::piece::{Change, Header, mark_last};
use super::table::Table;
use crate::base::{Index, Slot};

/// A slot's content frozen at one entry. Cheap to make and to clone.
#[derive(Clone)]
pub struct SlotExport {
    slot: Slot,
    table: Table,
    /// Whether the slot was frozen: then nothing comes after it.
    is_final: bool,
}

impl SlotExport {
    pub(super) const fn new(slot: Slot, table: Table, is_final: bool) -> Self {
        Self { slot, table, is_final }
    }

    /// The slot.
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// Whether the slot was frozen, so that its content is the last.
    pub const fn is_final(&self) -> bool {
        self.is_final
    }

    /// Keys in it.
    pub fn keys(&self) -> u64 {
        self.table.len() as u64
    }

    /// Bytes of keys and values, with a fixed overhead for each key.
    pub fn bytes(&self) -> u64 {
        self.table.sums().bytes
    }

    /// A hash of the keys and their values, whatever their order.
    pub fn content_hash(&self) -> u64 {
        self.table.sums().content
    }

    /// All of it, for the arrival of that name, which has nothing yet.
    pub fn contents(&self, arrival: Index) -> SlotPieces {
        SlotPieces::new(arrival, 0, (Table::new(), self))
    }

    /// What leads from `earlier` to this one, for the arrival of that name, which has `earlier`; its
    /// first piece gets the number `first`.
    ///
    /// # Panics
    /// If `earlier` is of another slot: a bug of the caller's.
    pub fn changes_since(&self, earlier: &Self, arrival: Index, first: u64) -> SlotPieces {
        let (slot, other) = (self.slot, earlier.slot);
        assert!(slot == other, "changes of slot {slot} asked for since an export of slot {other}");
        SlotPieces::new(arrival, first, (earlier.table.clone(), self))
    }
}

/// One round of pieces. Cheap to clone: a clone gives the same pieces from there on.
#[derive(Clone)]
pub struct SlotPieces {
    /// Of the piece that comes next.
    header: Header,
    /// What the round begins with.
    from: Table,
    /// What it leads to.
    to: Table,
    /// What was not compared yet; nothing once the last piece was written.
    next: Option<Next>,
}

/// What is to be compared next.
#[derive(Clone, Copy)]
enum Next {
    /// A block in both tables.
    Block(usize),
    /// From this place on the keys of a block of `from`: those not in `to` are removed.
    Old(usize, usize),
    /// From this place on the keys of a block of `to`: those that differ in `from` are put.
    New(usize, usize),
}

impl SlotPieces {
    fn new(arrival: Index, number: u64, (from, to): (Table, &SlotExport)) -> Self {
        let SlotExport { slot, table: to, is_final } = to.clone();
        let (before, after) = (from.sums().content, to.sums().content);
        let header =
            Header { slot, is_last: false, is_final, arrival, number, from: before, to: after };
        Self { header, from, to, next: Some(Next::Block(0)) }
    }

    /// The number of the piece that comes next.
    pub const fn number(&self) -> u64 {
        self.header.number
    }

    /// The next piece: of at least `about_bytes` unless it is the last one, and longer than that by one
    /// key with its value at most. `None` after the last one; every round has at least one.
    pub fn next_piece(&mut self, about_bytes: usize) -> Option<Vec<u8>> {
        self.next?;
        let mut piece = Vec::with_capacity(about_bytes.min(ROOM_MAX));
        self.header.write(&mut piece);
        let header_bytes = piece.len();
        while let Some(next) = self.next
            && (piece.len() == header_bytes || piece.len() < about_bytes)
        {
            self.next = self.write_next(next, &mut piece);
        }
        self.header.number += 1;
        if self.next.is_none() {
            mark_last(&mut piece);
            (self.from, self.to) = (Table::new(), Table::new());
        }
        Some(piece)
    }

    /// Writes one record or none, and says what comes after it.
    fn write_next(&self, next: Next, out: &mut Vec<u8>) -> Option<Next> {
        let (from, to) = (&self.from, &self.to);
        match next {
            Next::Block(block) if block >= from.blocks().max(to.blocks()) => None,
            Next::Block(block) if from.shares_block(to, block) => Some(Next::Block(block + 1)),
            Next::Block(block) => Some(Next::Old(block, 0)),
            Next::Old(block, at) => {
                let Some(entry) = from.block(block).get(at) else {
                    return Some(Next::New(block, 0));
                };
                if to.value(entry.key()).is_none() {
                    Change::Remove { key: entry.key() }.write(out);
                }
                Some(Next::Old(block, at + 1))
            }
            Next::New(block, at) => {
                let Some(entry) = to.block(block).get(at) else {
                    return Some(Next::Block(block + 1));
                };
                if from.value(entry.key()) != Some(entry.value()) {
                    Change::Put { key: entry.key(), value: entry.value() }.write(out);
                }
                Some(Next::New(block, at + 1))
            }
        }
    }
}

/// Room made for a piece at first.
const ROOM_MAX: usize = 1 << 20;
