//! The keys of one slot and their values.
//!
//! Entries lie densely, in an order that the commands alone decide: a new key goes to the end, the
//! last one takes a deleted one's place. So a table can be walked in pieces, by position, and is the
//! same on every replica.
//!
//! A lookup's cost is its cache misses. Most slots hold a handful of keys: those lie in one block
//! together with a byte of each key's hash, so that a lookup touches the block's head and the entry.
//! From the ninth key on a vector and a hash index take over.
//!
//! Tables are reference-counted: a clone shares its content, and the first write to either copies what
//! it touches: a block of eight keys with their values, the index if keys come or go.

use std::mem;
use std::rc::Rc;

use super::chunks::Chunks;
use super::compact::Compact;
use super::content_hash;
use super::hash_index::HashIndex;

/// Keys that fit one block.
const FEW: usize = 8;

/// Seed of the keys' hashes; their order in a table does not depend on it.
const KEY_SEED: u64 = 0x51af_d7ed_558c_cd25;

/// The keys of one slot and their values.
#[derive(Clone)]
pub(super) enum Table {
    /// At most `FEW` keys.
    Few(Rc<Few>),
    /// More, now or earlier.
    Many(Rc<Many>),
}

/// A key and its value.
#[derive(Clone)]
pub(super) struct Entry {
    /// Never changes.
    key: Compact,
    /// The newest value.
    value: Compact,
}

/// What the content of a table comes to; kept up to date by whoever changes it. It lies beside what a
/// lookup touches anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Bytes of keys and values, with a fixed overhead for each key.
    pub(super) bytes: u64,
    /// The sum of all values' hashes, each under its key: equal content, equal sum, whatever the order.
    pub(super) content: u64,
}

/// One block of keys.
#[derive(Clone)]
pub(super) struct Few {
    /// The last byte of each key's hash. Those past `count` are stale.
    tags: [u8; FEW],
    /// Entries in use.
    count: u8,
    sums: Sums,
    /// The first `count` are in use, the others are empty.
    entries: [Entry; FEW],
}

/// A vector of keys with an index beside it.
#[derive(Clone, Default)]
pub(super) struct Many {
    /// Each key once.
    entries: Chunks<Entry>,
    /// The position of every entry by its key's hash.
    index: Rc<HashIndex>,
    sums: Sums,
}

impl Table {
    /// A table without keys.
    pub(super) fn new() -> Self {
        let (tags, entries) = ([0; FEW], [const { Entry::EMPTY }; FEW]);
        Self::Few(Rc::new(Few { tags, count: 0, sums: Sums::default(), entries }))
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(few) => usize::from(few.count),
            Self::Many(many) => many.entries.len(),
        }
    }

    /// The entry at `position`.
    #[inline]
    pub(super) fn entry(&self, position: usize) -> Option<&Entry> {
        match self {
            Self::Few(few) => few.entries[..usize::from(few.count)].get(position),
            Self::Many(many) => many.entries.get(position),
        }
    }

    /// What the content comes to.
    pub(super) fn sums(&self) -> Sums {
        match self {
            Self::Few(few) => few.sums,
            Self::Many(many) => many.sums,
        }
    }

    /// The same, to be kept up to date.
    #[inline]
    pub(super) fn sums_mut(&mut self) -> &mut Sums {
        match self {
            Self::Few(few) => &mut Rc::make_mut(few).sums,
            Self::Many(many) => &mut Rc::make_mut(many).sums,
        }
    }

    /// How many blocks of entries there are.
    pub(super) fn blocks(&self) -> usize {
        match self {
            Self::Few(_) => 1,
            Self::Many(many) => many.entries.chunks(),
        }
    }

    /// The entries of a block; none if there is no such block.
    pub(super) fn block(&self, number: usize) -> &[Entry] {
        match self {
            Self::Few(few) if number == 0 => &few.entries[..usize::from(few.count)],
            Self::Few(_) => &[],
            Self::Many(many) => many.entries.chunk(number),
        }
    }

    /// Whether a block is the very same in `other`, and so are its entries. Looks at no entry.
    pub(super) fn shares_block(&self, other: &Self, number: usize) -> bool {
        match (self, other) {
            (Self::Few(here), Self::Few(there)) => Rc::ptr_eq(here, there),
            (Self::Many(here), Self::Many(there)) => {
                here.entries.shares_chunk(&there.entries, number)
            }
            _ => false,
        }
    }

    /// Whether someone else holds a reference to it.
    pub(super) fn is_shared(&self) -> bool {
        match self {
            Self::Few(few) => Rc::strong_count(few) > 1,
            Self::Many(many) => Rc::strong_count(many) > 1,
        }
    }

    /// Frees the last entries, to the block, of a table that is on its way out: about `len` are left,
    /// and nothing can be found in it any more. A small table is left as it is, unless `len` is 0.
    pub(super) fn truncate(&mut self, len: usize) {
        match self {
            _ if len == 0 => *self = Self::new(),
            Self::Few(_) => {}
            Self::Many(many) => {
                let many = Rc::make_mut(many);
                many.index = Rc::default();
                many.entries.truncate_chunks(len);
            }
        }
    }

    /// All entries, in the table's order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        (0..self.len()).map_while(|position| self.entry(position))
    }

    /// Where `key`, of this `key_hash`, stands.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let hash = found_by(hash);
        match self {
            Self::Few(few) => few.find(hash, key),
            Self::Many(many) => {
                let held =
                    |position| many.entries.get(position).is_some_and(|entry| entry.key() == key);
                many.index.find(hash, held)
            }
        }
    }

    /// The value of `key`.
    pub(super) fn value(&self, key: &[u8]) -> Option<&[u8]> {
        if self.len() == 0 {
            return None;
        }
        Some(self.entry(self.find(key_hash(key), key)?)?.value())
    }

    /// The value at `position`, to change, and the sums to keep up to date.
    #[inline]
    pub(super) fn value_mut(&mut self, position: usize) -> (&mut Compact, &mut Sums) {
        match self {
            Self::Few(few) => {
                let few = Rc::make_mut(few);
                (&mut few.entries[position].value, &mut few.sums)
            }
            Self::Many(many) => {
                let many = Rc::make_mut(many);
                (&mut many.entries.get_mut(position).value, &mut many.sums)
            }
        }
    }

    /// Adds a key that is not there yet; returns its position.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> usize {
        let entry = Entry { key: Compact::copy_of(key), value: Compact::copy_of(value) };
        let position = self.len();
        match self {
            Self::Few(few) if position < FEW => Rc::make_mut(few).push(entry),
            Self::Few(few) => {
                let mut many = Many { sums: few.sums, ..Many::default() };
                Rc::make_mut(few).entries.iter_mut().for_each(|old| many.push(mem::take(old)));
                many.push(entry);
                *self = Self::Many(Rc::new(many));
            }
            Self::Many(many) => Rc::make_mut(many).push(entry),
        }
        position
    }

    /// Removes the entry at `position`; the last one takes its place.
    pub(super) fn remove(&mut self, position: usize) {
        match self {
            Self::Few(few) => Rc::make_mut(few).remove(position),
            Self::Many(many) => Rc::make_mut(many).remove(position),
        }
    }
}

impl Entry {
    const EMPTY: Self = Self { key: Compact::EMPTY, value: Compact::EMPTY };

    /// The key.
    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        self.key.as_slice()
    }

    /// The value.
    #[inline]
    pub(super) fn value(&self) -> &[u8] {
        self.value.as_slice()
    }

    /// A hash of both.
    pub(super) fn content_hash(&self) -> u64 {
        content_hash::of_value(key_hash(self.key()), self.value())
    }
}

impl Sums {
    /// In the place of `old` bytes are now `new`, and the first hash is now the second.
    #[inline]
    pub(super) const fn replace(&mut self, old: usize, new: usize, hashes: (u64, u64)) {
        self.bytes = self.bytes - old as u64 + new as u64;
        self.content = self.content.wrapping_sub(hashes.0).wrapping_add(hashes.1);
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Few {
    #[inline]
    fn find(&self, hash: u32, key: &[u8]) -> Option<usize> {
        let tag = tag(hash);
        let tags = self.tags[..usize::from(self.count)].iter().zip(&self.entries);
        tags.into_iter().position(|(&found, entry)| found == tag && entry.key() == key)
    }

    fn push(&mut self, entry: Entry) {
        let position = usize::from(self.count);
        self.tags[position] = tag(find_hash(entry.key()));
        self.entries[position] = entry;
        self.count += 1;
    }

    fn remove(&mut self, position: usize) {
        let last = usize::from(self.count) - 1;
        self.entries.swap(position, last);
        self.tags[position] = self.tags[last];
        self.entries[last] = Entry::EMPTY;
        self.count -= 1;
    }
}

impl Many {
    fn push(&mut self, entry: Entry) {
        let hash = find_hash(entry.key());
        Rc::make_mut(&mut self.index).insert(hash, self.entries.len());
        self.entries.push(entry);
    }

    /// # Panics
    /// If there is no entry at `position`: a bug of the caller's.
    fn remove(&mut self, position: usize) {
        let last = self.entries.len() - 1;
        let hash_at = |position| {
            let entry = self.entries.get(position).expect("a position that was found");
            find_hash(entry.key())
        };
        let index = Rc::make_mut(&mut self.index);
        index.remove(hash_at(position), position);
        if position != last {
            index.relocate(hash_at(last), last, position);
        }
        index.maybe_shrink();
        self.entries.swap_remove(position);
    }
}

/// A key's hash: it is found by a part of it, and its content hash begins with it.
#[inline]
pub(super) fn key_hash(key: &[u8]) -> u64 {
    content_hash::of_bytes(KEY_SEED, key)
}

#[inline]
fn find_hash(key: &[u8]) -> u32 {
    found_by(key_hash(key))
}

/// The bits of a key's hash by which it is found.
#[inline]
fn found_by(hash: u64) -> u32 {
    u32::try_from(hash >> 32).expect("32 bits are left")
}

#[inline]
const fn tag(hash: u32) -> u8 {
    hash.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same order kept by a plain vector, searched from end to end.
    #[derive(Default)]
    struct Model(Vec<(Vec<u8>, Vec<u8>)>);

    #[test]
    fn keeps_the_order_of_a_plain_vector() {
        for keys in [4, 12, 40, 700] {
            let mut rng = fastrand::Rng::with_seed(keys);
            let (mut table, mut model) = (Table::new(), Model::default());
            for step in 0..6_000 {
                // Phases of growth and of decline, so that the index is built, shrunk and emptied.
                let growing = step / 1_500 % 2 == 0;
                let key = match rng.u64(..keys) {
                    0 => Vec::new(),
                    number => format!("key-{number}").into_bytes(),
                };
                let value = rng.u32(..).to_le_bytes();
                let at = table.find(key_hash(&key), &key);
                assert_eq!(at, model.0.iter().position(|(k, _)| *k == key), "step {step}");
                match at {
                    Some(at) if rng.u8(..8) < if growing { 1 } else { 7 } => {
                        table.remove(at);
                        model.0.swap_remove(at);
                    }
                    Some(at) => {
                        table.value_mut(at).0.set(&value);
                        model.0[at].1 = value.to_vec();
                    }
                    None if growing => {
                        assert_eq!(table.push(&key, &value), model.0.len());
                        model.0.push((key, value.to_vec()));
                    }
                    None => {}
                }
            }
            let held = table.entries().map(|e| (e.key().to_vec(), e.value().to_vec()));
            assert!(held.eq(model.0), "{keys} keys");
        }
    }

    #[test]
    fn a_clone_does_not_see_later_writes() {
        for keys in [1, FEW, FEW + 1, 50] {
            let mut table = Table::new();
            for key in 0..keys {
                table.push(&key.to_le_bytes(), b"old");
            }
            let frozen = table.clone();
            table.value_mut(0).0.set(b"new");
            table.push(b"another", b"new");
            table.remove(0);
            assert_eq!(frozen.len(), keys);
            for (position, entry) in frozen.entries().enumerate() {
                assert_eq!(
                    (entry.key(), entry.value()),
                    (&position.to_le_bytes()[..], &b"old"[..])
                );
                let key = position.to_le_bytes();
                assert_eq!(frozen.find(key_hash(&key), &key), Some(position));
            }
        }
    }
}
