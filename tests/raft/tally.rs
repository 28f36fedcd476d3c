//! How often things happened: a run in which nothing does proves nothing.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name.
#[derive(Default)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn get(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// Notes the greatest of what was measured.
    pub(crate) fn at_most(&mut self, what: &'static str, value: u64) {
        let greatest = self.0.entry(what).or_default();
        *greatest = value.max(*greatest);
    }

    /// Adds up over many worlds.
    pub(crate) fn add(&mut self, other: &Self) {
        for (&what, &count) in &other.0 {
            if what.starts_with("longest") {
                self.at_most(what, count);
            } else {
                *self.0.entry(what).or_default() += count;
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, count)| writeln!(f, "{count:>10} {what}"))
    }
}
