//! What clients saw, and whether that could be.
//!
//! A history holds one [`Record`] for each command that any client gave: what it asked, when, and what
//! it was told. Times of all records are of one clock, and every key was absent before the first. A
//! correct cluster can only give rise to histories that are *linearizable*: each answered command happened
//! at one moment between its beginning and its end, and the answers are those of one store executing them
//! in that order.
//!
//! ```text
//!            ┌ order     places are one order, and that extends the order of time     O(n log n)
//!  records ──┼ replay    the specification, in that order, gives these answers        O(n log n)
//!            ├ search    some order gives these answers (places not looked at)        bounded
//!            └ appends, counters   each acknowledged command once, unknown at most once
//! ```
//!
//! Each check answers with a [`Finding`] that names the records which contradict each other. They do not
//! use each other's means: a mistake in one is seen by another. What rests on what:
//!
//! | check | believes | says nothing of |
//! |---|---|---|
//! | [`check_order`] | nothing | values |
//! | [`check_replay`] | places | answers amid many open writes, and keys that changed their group: it counts them |
//! | [`check_search`] | nothing | keys at which it gives up: that is failure |
//! | [`check_appends`], [`check_counters`] | nothing | other keys |
//!
//! The outcome *unknown* is for ever open: such a write may have happened at any time after it began, once,
//! or never. Absent on purpose: sessions' internals, and initial states other than empty.

mod appends;
mod counters;
mod file;
mod finding;
mod generate;
mod growth;
mod keys;
mod needs;
mod open;
mod order;
mod record;
mod replay;
mod search;
mod specification;
#[cfg(test)]
mod tests;
mod worlds;

pub use appends::check_appends;
pub use counters::check_counters;
pub use file::{History, HistoryError, Writer};
pub use finding::{Contradiction, Finding};
pub use generate::{Shape, generate};
pub use keys::Keys;
pub use order::check_order;
pub use record::{Answer, Begun, Operation, Outcome, Place, Record, Status};
pub use replay::check_replay;
pub use search::{SEARCH_STEPS_MAX, check_search};
pub use specification::{Change, Execution, Specification};

/// A check.
pub type Check = fn(&Keys<'_>) -> Finding;

/// All checks, the quick ones of order first.
pub const CHECKS: [Check; 5] = [
    check_order,
    check_replay,
    |keys| check_search(keys, SEARCH_STEPS_MAX),
    check_appends,
    check_counters,
];

/// Makes all checks.
pub fn check(records: &[Record]) -> Vec<Finding> {
    let keys = Keys::of(records);
    CHECKS.iter().map(|check| check(&keys)).collect()
}
