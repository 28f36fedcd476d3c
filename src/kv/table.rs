//! The keys of one slot and their values.
//!
//! Entries lie densely in one vector, in an order that the commands alone decide: a new key goes to
//! the end, the last one takes a deleted one's place. So a table can be walked in pieces, by position,
//! and is the same on every replica. Most slots hold a handful of keys and are simply searched; from
//! [`INDEXED_FROM`] keys on a hash index stands beside the vector.

use super::compact::Compact;
use super::content_hash;
use super::hash_index::HashIndex;

/// Keys from which on a table has an index. Below, comparing all is as fast and needs no memory.
const INDEXED_FROM: usize = 9;

/// Seed of the index's hash; where it finds a key is nobody's business but its own.
const INDEX_SEED: u64 = 0x51af_d7ed_558c_cd25;

/// The keys of one slot and their values.
#[derive(Clone, Default)]
pub(super) struct Table {
    /// Each key once.
    entries: Vec<Entry>,
    /// Position of every entry by its key's hash; absent until there are `INDEXED_FROM` entries, then
    /// kept until the table is empty.
    index: HashIndex,
}

/// A key and its value.
#[derive(Clone)]
pub(super) struct Entry {
    /// Never changes.
    key: Compact,
    /// The newest value.
    value: Compact,
}

impl Entry {
    /// The key.
    pub(super) fn key(&self) -> &[u8] {
        self.key.as_slice()
    }

    /// The value.
    pub(super) fn value(&self) -> &[u8] {
        self.value.as_slice()
    }
}

impl Table {
    /// All entries, in the table's order.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where `key` stands.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        if self.index.is_absent() {
            return self.entries.iter().position(|entry| entry.key() == key);
        }
        self.index.find(index_hash(key), |position| self.entries[position].key() == key)
    }

    /// The value at `position`, to change.
    #[inline]
    pub(super) fn value_mut(&mut self, position: usize) -> &mut Compact {
        &mut self.entries[position].value
    }

    /// Adds a key that is not there yet; returns its position.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> usize {
        let position = self.entries.len();
        self.entries.push(Entry { key: Compact::copy_of(key), value: Compact::copy_of(value) });
        if !self.index.is_absent() {
            self.index.insert(index_hash(key), position);
        } else if self.entries.len() >= INDEXED_FROM {
            for (position, entry) in self.entries.iter().enumerate() {
                self.index.insert(index_hash(entry.key()), position);
            }
        }
        position
    }

    /// Removes the entry at `position`; the last one takes its place.
    pub(super) fn remove(&mut self, position: usize) {
        let last = self.entries.len() - 1;
        if !self.index.is_absent() {
            self.index.remove(index_hash(self.entries[position].key()), position);
            if position != last {
                self.index.relocate(index_hash(self.entries[last].key()), last, position);
            }
            self.index.maybe_shrink();
        }
        self.entries.swap_remove(position);
        if last * 4 < self.entries.capacity() {
            self.entries.shrink_to(last * 2);
        }
    }
}

/// The bits of a key's hash that the index keeps.
#[inline]
fn index_hash(key: &[u8]) -> u32 {
    let hash = content_hash::of_bytes(INDEX_SEED, key);
    u32::try_from(hash >> 32).expect("32 bits are left")
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
            let (mut table, mut model) = (Table::default(), Model::default());
            for step in 0..6_000 {
                // Phases of growth and of decline, so that the index is built, shrunk and emptied.
                let growing = step / 1_500 % 2 == 0;
                let key = format!("key-{}", rng.u64(..keys)).into_bytes();
                let value = rng.u32(..).to_le_bytes();
                let at = table.find(&key);
                assert_eq!(at, model.0.iter().position(|(k, _)| *k == key), "step {step}");
                match at {
                    Some(at) if rng.u8(..8) < if growing { 1 } else { 7 } => {
                        table.remove(at);
                        model.0.swap_remove(at);
                    }
                    Some(at) => {
                        table.value_mut(at).set(&value);
                        model.0[at].1 = value.to_vec();
                    }
                    None if growing => {
                        assert_eq!(table.push(&key, &value), model.0.len());
                        model.0.push((key, value.to_vec()));
                    }
                    None => {}
                }
            }
            let held = table.entries().iter().map(|e| (e.key().to_vec(), e.value().to_vec()));
            assert!(held.eq(model.0), "{keys} keys");
        }
    }
}
