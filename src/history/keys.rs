//! The records of a history, key by key.

use super::record::Record;
use crate::base::collections::Map;

/// The records of each key, in the order of the keys and within them as given.
#[derive(Clone, Debug)]
pub struct Keys<'a>(Vec<(&'a [u8], Vec<&'a Record>)>);

impl<'a> Keys<'a> {
    /// Of a history.
    pub fn of(records: &'a [Record]) -> Self {
        let mut position_of: Map<&[u8], usize> = Map::default();
        let mut keys: Vec<(&[u8], Vec<&Record>)> = Vec::new();
        for record in records {
            let position = *position_of.entry(&record.key).or_insert_with(|| {
                keys.push((&record.key, Vec::new()));
                keys.len() - 1
            });
            keys[position].1.push(record);
        }
        keys.sort_unstable_by_key(|&(key, _)| key);
        Self(keys)
    }

    /// Each key with its records.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &[&'a Record])> {
        self.0.iter().map(|(key, records)| (*key, records.as_slice()))
    }

    /// How many keys there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
