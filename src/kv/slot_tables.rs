//! The tables of all slots of a group, shared with its snapshots.
//!
//! Two levels of reference counts: a page of 64 slots, and a table per slot. A snapshot clones the
//! references to the pages, 256 at most. The first write into a page that a snapshot still holds
//! copies its 64 references, the first write to such a table copies references and the few keys beside
//! the one that is written (`table`); nothing else pays.
//! A group that owns few slots, or whose slots are empty, holds no pages for them.

use std::rc::Rc;

use super::content_hash::{of_value, of_value_end};
use super::discarded::Discarded;
use super::ownership::Ownership;
use super::table::{Entry, Sums, Table, key_hash};
use crate::base::{SLOT_COUNT, Slot};

/// Slots of one page.
pub(super) const PAGE_SLOTS: usize = 64;

/// Pages of all slots.
pub(super) const PAGES: usize = SLOT_COUNT as usize / PAGE_SLOTS;

/// What a key costs besides its bytes and its value's, about: its share of table and index.
const KEY_OVERHEAD: u64 = 64;

/// The pages; a missing one holds no keys.
pub(super) type Pages = Vec<Option<Rc<Page>>>;

/// The tables of 64 neighbouring slots; a missing one holds no keys.
#[derive(Clone)]
pub(super) struct Page {
    tables: [Option<Table>; PAGE_SLOTS],
}

impl Page {
    const EMPTY: Self = Self { tables: [const { None }; PAGE_SLOTS] };

    /// The entry at `position` of the slot at `place` in this page.
    pub(super) fn entry(&self, place: usize, position: usize) -> Option<&Entry> {
        self.tables[place].as_ref()?.entry(position)
    }
}

/// The tables of all slots of a group.
pub(super) struct SlotTables {
    /// `PAGES` of them.
    pages: Pages,
    /// The states of all slots; those that are absent are empty.
    ownership: Ownership,
    /// Keys in all tables.
    keys: u64,
    /// Bytes of all keys and values, plus `KEY_OVERHEAD` for each key: a function of content alone.
    bytes: u64,
    /// The sum of all values' hashes, each under its key: equal content, equal sum, whatever the order.
    content: u64,
    /// What was dropped and is not freed yet. No part of the state.
    discarded: Discarded,
}

impl SlotTables {
    /// Empty tables.
    pub(super) fn new(ownership: Ownership) -> Self {
        let (pages, discarded) = (vec![None; PAGES], Discarded::default());
        Self { pages, ownership, keys: 0, bytes: 0, content: 0, discarded }
    }

    /// Whether commands for `slot` are executed here.
    #[inline]
    pub(super) fn serves(&self, slot: Slot) -> bool {
        self.ownership.serves(slot)
    }

    /// The states of all slots.
    pub(super) const fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    /// The states of all slots, to change them.
    pub(super) const fn ownership_mut(&mut self) -> &mut Ownership {
        &mut self.ownership
    }

    /// Keys held.
    pub(super) const fn keys(&self) -> u64 {
        self.keys
    }

    /// Bytes held, about.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A hash of all keys and values.
    pub(super) const fn content_hash(&self) -> u64 {
        self.content
    }

    /// The same, by looking at every one of them.
    pub(super) fn recomputed_content_hash(&self) -> u64 {
        self.entries().map(Entry::content_hash).fold(0, u64::wrapping_add)
    }

    /// References to all pages as they are now: later writes do not show through them.
    pub(super) fn share(&self) -> Pages {
        self.pages.clone()
    }

    /// A reference to the table of one slot as it is now.
    pub(super) fn share_table(&self, slot: Slot) -> Table {
        self.table(slot).map_or_else(Table::new, Table::clone)
    }

    /// The hash of the content of one slot.
    pub(super) fn slot_content_hash(&self, slot: Slot) -> u64 {
        self.table(slot).map_or(0, |table| table.sums().content)
    }

    /// Takes all keys out of a slot. Their memory is given back by [`Self::reclaim`], if they are many.
    pub(super) fn clear(&mut self, slot: Slot) {
        if self.table(slot).is_none() {
            return;
        }
        let table = self.table_place(slot).take().expect("looked at above");
        let Sums { bytes, content } = table.sums();
        self.keys -= table.len() as u64;
        self.bytes -= bytes;
        self.replace_hash(content, 0);
        self.discarded.push(table);
    }

    /// Gives memory of dropped slots back: see [`Discarded::free`].
    pub(super) fn reclaim(&mut self, keys_max: usize) -> bool {
        self.discarded.free(keys_max)
    }

    /// Keys of dropped slots whose memory is not given back yet.
    pub(super) fn unreclaimed_keys(&self) -> usize {
        self.discarded.keys()
    }

    /// All entries, slot by slot, in their tables' order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.pages
            .iter()
            .flatten()
            .flat_map(|page| page.tables.iter().flatten())
            .flat_map(Table::entries)
    }

    /// The value of `key`, whose slot is `slot`.
    pub(super) fn get(&self, slot: Slot, key: &[u8]) -> Option<&[u8]> {
        let table = self.table(slot)?;
        Some(table.entry(table.find(key_hash(key), key)?)?.value())
    }

    /// Looks up `key`, whose slot is `slot`, to read or change it.
    #[inline]
    pub(super) fn cursor<'a>(&'a mut self, slot: Slot, key: &'a [u8]) -> KeyCursor<'a> {
        let hash = key_hash(key);
        let position = self.table(slot).and_then(|table| table.find(hash, key));
        KeyCursor { tables: self, slot, key, hash, position }
    }

    #[inline]
    fn table(&self, slot: Slot) -> Option<&Table> {
        self.pages[slot.position() / PAGE_SLOTS].as_ref()?.tables[slot.position() % PAGE_SLOTS]
            .as_ref()
    }

    /// The slot's place for a table in a page that no snapshot holds.
    #[inline]
    fn table_place(&mut self, slot: Slot) -> &mut Option<Table> {
        let page = &mut self.pages[slot.position() / PAGE_SLOTS];
        let page = page.get_or_insert_with(|| Rc::new(Page::EMPTY));
        &mut Rc::make_mut(page).tables[slot.position() % PAGE_SLOTS]
    }

    /// In the place of content of the hash `old` is now one of the hash `new`.
    #[inline]
    const fn replace_hash(&mut self, old: u64, new: u64) {
        self.content = self.content.wrapping_sub(old).wrapping_add(new);
    }

    /// The slot's table; an empty one is made if there is none.
    #[inline]
    fn table_mut(&mut self, slot: Slot) -> &mut Table {
        self.table_place(slot).get_or_insert_with(Table::new)
    }
}

/// One key, found or not, on its way to be read or changed. Reading copies nothing.
pub(super) struct KeyCursor<'a> {
    tables: &'a mut SlotTables,
    slot: Slot,
    key: &'a [u8],
    /// The key's hash.
    hash: u64,
    /// Where the key stands in its slot's table.
    position: Option<usize>,
}

impl KeyCursor<'_> {
    /// The key's value.
    #[inline]
    pub(super) fn value(&self) -> Option<&[u8]> {
        let position = self.position?;
        let table = self.tables.table(self.slot).expect("the key was found in it");
        Some(table.entry(position).expect("the key was found there").value())
    }

    /// Sets the value.
    #[inline]
    pub(super) fn put(&mut self, value: &[u8]) {
        let Some(position) = self.position else { return self.insert(value) };
        let (held, sums) = self.tables.table_mut(self.slot).value_mut(position);
        let (old, old_hash) = (held.len(), of_value(self.hash, held.as_slice()));
        held.set(value);
        let new_hash = of_value(self.hash, value);
        sums.replace(old, value.len(), (old_hash, new_hash));
        self.tables.bytes = self.tables.bytes - old as u64 + value.len() as u64;
        self.tables.replace_hash(old_hash, new_hash);
    }

    /// Puts `tail` behind the value; an absent key counts as an empty value.
    pub(super) fn append(&mut self, tail: &[u8]) {
        let Some(position) = self.position else { return self.insert(tail) };
        let (held, sums) = self.tables.table_mut(self.slot).value_mut(position);
        let (old, hash) = (held.len(), self.hash);
        let before = of_value_end(hash, held.as_slice(), old);
        held.append(tail);
        let after = of_value_end(hash, held.as_slice(), old);
        sums.replace(0, tail.len(), (before, after));
        self.tables.bytes += tail.len() as u64;
        self.tables.replace_hash(before, after);
    }

    /// Removes the key, if it is there.
    pub(super) fn remove(&mut self) {
        let Some(position) = self.position.take() else { return };
        let table = self.tables.table_mut(self.slot);
        let value = table.entry(position).expect("the key was found there").value();
        let (cost, hash) = (key_cost(self.key, value), of_value(self.hash, value));
        table.remove(position);
        let sums = table.sums_mut();
        sums.bytes -= cost;
        sums.content = sums.content.wrapping_sub(hash);
        if table.len() == 0 {
            *self.tables.table_place(self.slot) = None;
        }
        self.tables.keys -= 1;
        self.tables.bytes -= cost;
        self.tables.replace_hash(hash, 0);
    }

    fn insert(&mut self, value: &[u8]) {
        let (cost, hash) = (key_cost(self.key, value), of_value(self.hash, value));
        let table = self.tables.table_mut(self.slot);
        self.position = Some(table.push(self.key, value));
        let sums = table.sums_mut();
        sums.bytes += cost;
        sums.content = sums.content.wrapping_add(hash);
        self.tables.keys += 1;
        self.tables.bytes += cost;
        self.tables.replace_hash(0, hash);
    }
}

fn key_cost(key: &[u8], value: &[u8]) -> u64 {
    KEY_OVERHEAD + key.len() as u64 + value.len() as u64
}
