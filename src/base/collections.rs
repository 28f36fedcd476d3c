//! Hash maps without random state: one seed for all, so that a run can be replayed.
//!
//! Their order of iteration means nothing and is never relied upon (`clippy::iter_over_hash_type`).

use foldhash::fast::FixedState;

/// A hash map whose behaviour is the same in every run.
pub type Map<K, V> = std::collections::HashMap<K, V, FixedState>;

/// A hash set whose behaviour is the same in every run.
pub type Set<K> = std::collections::HashSet<K, FixedState>;
