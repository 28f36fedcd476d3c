//! Finds an entry's position in a dense vector by the hash of its key.
//!
//! Open addressing with linear probing; a removal shifts the rest of its run back, so there are no
//! tombstones. Buckets keep the hash: growth touches no keys, and a foreign key is hardly ever compared.
//!
//! Nothing iterates it: the vector beside it has the order.
//!
//! Source: D. Knuth, "The Art of Computer Programming", volume 3, section 6.4, algorithms L and R.

/// Hash → position in the vector beside it.
#[derive(Clone, Default)]
pub(super) struct HashIndex {
    /// A power of two of them, at most three quarters in use; or none.
    buckets: Vec<Bucket>,
    /// Buckets in use.
    used: usize,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    /// Of the key; its low bits say where the search begins.
    hash: u32,
    /// The entry's position plus one; 0: an empty bucket.
    link: u32,
}

impl HashIndex {
    /// The position filed under `hash` of which `matches` says that it is the one.
    #[inline]
    pub(super) fn find(&self, hash: u32, matches: impl Fn(usize) -> bool) -> Option<usize> {
        let mask = self.buckets.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let bucket = self.buckets[at];
            let position = (bucket.link as usize).checked_sub(1)?;
            if bucket.hash == hash && matches(position) {
                return Some(position);
            }
            at = (at + 1) & mask;
        }
    }

    /// Files `position` under `hash`.
    pub(super) fn insert(&mut self, hash: u32, position: usize) {
        if (self.used + 1) * 4 > self.buckets.len() * 3 {
            self.resize(((self.used + 1) * 2).next_power_of_two());
        }
        self.place(Bucket { hash, link: link(position) });
        self.used += 1;
    }

    /// Removes `position`, filed under `hash`.
    ///
    /// # Panics
    /// If it is not filed there: a bug of the caller's.
    pub(super) fn remove(&mut self, hash: u32, position: usize) {
        let mask = self.buckets.len() - 1;
        let mut hole = self.bucket_of(hash, position);
        let mut next = (hole + 1) & mask;
        while self.buckets[next].link != 0 {
            let start = self.buckets[next].hash as usize & mask;
            // An entry may move back to the hole unless its search begins behind the hole.
            if next.wrapping_sub(start) & mask >= next.wrapping_sub(hole) & mask {
                self.buckets[hole] = self.buckets[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.buckets[hole] = Bucket::default();
        self.used -= 1;
    }

    /// Files under the position `to` what was filed under `from`.
    ///
    /// # Panics
    /// If nothing is filed there: a bug of the caller's.
    pub(super) fn relocate(&mut self, hash: u32, from: usize, to: usize) {
        let at = self.bucket_of(hash, from);
        self.buckets[at].link = link(to);
    }

    /// Gives storage back where less than an eighth of it is in use.
    pub(super) fn maybe_shrink(&mut self) {
        if self.used * 8 < self.buckets.len() {
            self.resize((self.used * 2).next_power_of_two());
        }
    }

    /// The bucket in which `position` is filed under `hash`.
    fn bucket_of(&self, hash: u32, position: usize) -> usize {
        let mask = self.buckets.len() - 1;
        let mut at = hash as usize & mask;
        while self.buckets[at].link != link(position) {
            assert!(self.buckets[at].link != 0, "position {position} is not filed under {hash:x}");
            at = (at + 1) & mask;
        }
        at
    }

    fn resize(&mut self, buckets: usize) {
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); buckets]);
        for bucket in old.into_iter().filter(|bucket| bucket.link != 0) {
            self.place(bucket);
        }
    }

    /// Puts a bucket where its search first finds an empty one; there is one.
    fn place(&mut self, bucket: Bucket) {
        let mask = self.buckets.len() - 1;
        let mut at = bucket.hash as usize & mask;
        while self.buckets[at].link != 0 {
            at = (at + 1) & mask;
        }
        self.buckets[at] = bucket;
    }
}

fn link(position: usize) -> u32 {
    u32::try_from(position + 1).expect("memory runs out before four billion keys of one slot")
}
