//! The core's one timer table: when each replica wants a tick.

use std::collections::BTreeSet;

use crate::base::Time;

/// Deadlines, ordered. A group with nothing to do costs nothing until its own is reached.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Time, usize)>);

impl Timers {
    pub(super) fn insert(&mut self, at: Time, replica: usize) {
        self.0.insert((at, replica));
    }

    pub(super) fn remove(&mut self, at: Time, replica: usize) {
        self.0.remove(&(at, replica));
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes a replica whose time has come.
    pub(super) fn pop_reached(&mut self, now: Time) -> Option<usize> {
        if self.next()? <= now { self.0.pop_first().map(|(_, replica)| replica) } else { None }
    }
}
