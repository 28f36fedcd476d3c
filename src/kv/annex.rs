//! What the host of a machine keeps in its state: bytes that the machine does not look into.
//!
//! Replicas agree on more than keys: how far the moves of their group's slots are, and in one group who owns
//! what in the whole cluster. Those who apply entries see to that. Encoded, it is kept here, so that it is
//! part of the state by which replicas are compared, and comes with every snapshot.
//!
//! The bytes are replaced whole and never written to: a snapshot holds a reference.

use super::content_hash;
use super::restore::RestoreError;
use crate::base::Bytes;
use crate::base::limits::ANNEX_MAX;

/// Seed of the annex's hash.
const SEED: u64 = 0x6d1f_0b83_c25e_97a4;

/// Bytes of one record in a snapshot, but for the last: so much is written in one go.
pub(super) const PART_BYTES: usize = 64 << 10;

/// The bytes and their hash.
#[derive(Clone, Default)]
pub(super) struct Annex {
    /// `ANNEX_MAX` of them at most.
    bytes: Bytes,
    /// Of `bytes`; 0 if there are none.
    hash: u64,
}

impl Annex {
    /// # Panics
    /// If there are more than `ANNEX_MAX` bytes.
    pub(super) fn new(bytes: Bytes) -> Self {
        let count = bytes.len();
        assert!(count <= ANNEX_MAX, "an annex of {count} bytes, more than {ANNEX_MAX}");
        let hash = hash_of(&bytes);
        Self { bytes, hash }
    }

    /// The bytes.
    pub(super) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// A hash of the bytes.
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    /// The same, by looking at them.
    pub(super) fn recomputed_hash(&self) -> u64 {
        hash_of(&self.bytes)
    }

    /// What stands from `at` on in one record; nothing at the end.
    pub(super) fn part(&self, at: usize) -> &[u8] {
        let rest = &self.bytes[at..];
        &rest[..rest.len().min(PART_BYTES)]
    }
}

fn hash_of(bytes: &[u8]) -> u64 {
    if bytes.is_empty() { 0 } else { content_hash::of_bytes(SEED, bytes) }
}

/// An annex in the making, of the parts that a snapshot holds.
#[derive(Default)]
pub(super) struct AnnexParts(Vec<u8>);

impl AnnexParts {
    /// Takes in the next part.
    ///
    /// # Errors
    /// If it is empty or too long, follows one that was not full, or the annex exceeds `ANNEX_MAX`:
    /// there is one way to cut it, since replicas at one entry write the same records.
    pub(super) fn push(&mut self, part: &[u8]) -> Result<(), RestoreError> {
        let follows = self.0.len().is_multiple_of(PART_BYTES);
        let fits = (1..=PART_BYTES).contains(&part.len()) && self.0.len() + part.len() <= ANNEX_MAX;
        if !(follows && fits) {
            return Err(RestoreError::BadAnnex { at: self.0.len(), bytes: part.len() });
        }
        self.0.extend_from_slice(part);
        Ok(())
    }

    /// All of it.
    pub(super) fn finish(&self) -> Annex {
        Annex::new(Bytes::copy_of(&self.0))
    }
}
