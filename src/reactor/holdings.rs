//! What a core holds in memory, and how much of it it may hold.
//!
//! | what | at most | past it |
//! |---|---|---|
//! | keys, values, sessions | `memory_max`, the core's share of `--memory`, and what is under way | writes: `MemoryFull` |
//! | under way: commands, reads, pieces of slots, entries not applied | half of `memory_max`, but 16 to 128 MiB | `Overloaded`; pieces are asked for again |
//! | the same, of one group | commands 32 MiB, orders 32 MiB, reads 8 MiB, entries without a quorum 64 MiB | `Overloaded` |
//! | slots read out for other groups, as far as they were written over since | 64 of each group led here | they wait |
//! | entries applied, for followers a little behind | `entries_memory_max` | let go, read back from the disk |
//! | entries read back | 4 reads of 1 MiB or of one batch | they wait |
//! | state that snapshots freeze, as far as it was written over since | the largest group's for the one being written; those being sent: `memory_max`, or one | followers ask again |
//! | pieces of snapshots on their way to followers | 8 times 1 MiB | they wait |
//! | states being received | `memory_max` and 64 MiB | refused, and sent again later |
//! | values read, in one turn | 16 MiB and one reply | answered in the next turn |
//!
//! What connections hold is bounded beside the reactor: `io/buffers.rs`. The status of a core has all
//! that grows with load.
//!
//! What is committed is applied, whatever it takes, or replicas would differ. So the bound on the state
//! is a leader's, and what was under way when it was reached comes on top.

use super::Reactor;
use super::config::ReactorConfig;
use super::replica::Replica;
use super::transfer::Receiving;

/// Bounds of what may be under way on a core: the smaller one is some of the largest frames.
const UNDER_WAY_RANGE: (u64, u64) = (16 << 20, 128 << 20);

/// Bytes of values read that one turn answers with, about.
pub(super) const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Bytes that a replica holds; or all of a core's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holdings {
    /// Keys, values and sessions.
    pub state: u64,
    /// Log entries in memory, applied or not.
    pub entries: u64,
    /// Clients' frames and orders that are not yet in an entry.
    pub commands: u64,
    /// Frames of reads that are not yet answered.
    pub reads: u64,
    /// A snapshot on its way in, or the state it holds.
    pub received: u64,
}

impl Holdings {
    /// What a replica holds now.
    fn of(replica: &Replica) -> Self {
        Self {
            state: replica.machine.bytes(),
            entries: replica.raft.entries_bytes() as u64,
            commands: (replica.queue.bytes() + replica.orders.bytes()) as u64,
            reads: replica.reads.bytes() as u64,
            received: replica.receiving.as_ref().map_or(0, Receiving::held),
        }
    }

    /// A replica that held `before` holds `after`.
    pub(super) fn replace(&mut self, before: Self, after: Self) {
        let replace = |total: &mut u64, before, after| *total = *total - before + after;
        replace(&mut self.state, before.state, after.state);
        replace(&mut self.entries, before.entries, after.entries);
        replace(&mut self.commands, before.commands, after.commands);
        replace(&mut self.reads, before.reads, after.reads);
        replace(&mut self.received, before.received, after.received);
    }
}

impl ReactorConfig {
    /// Bytes of commands, reads and entries that may be under way.
    pub(super) fn under_way_max(&self) -> u64 {
        (self.memory_max / 2).clamp(UNDER_WAY_RANGE.0, UNDER_WAY_RANGE.1)
    }
}

impl Reactor {
    /// Takes note of what a replica holds now.
    pub(super) fn count(&mut self, i: usize) {
        let replica = &mut self.replicas[i];
        let held = Holdings::of(replica);
        let before = std::mem::replace(&mut replica.counted, held);
        self.core.held.replace(before, held);
    }

    /// Whether writes that take memory are refused. Only leaders are asked: what is committed is
    /// applied, whatever it takes.
    pub(super) fn is_memory_full(&self) -> bool {
        self.core.held.state > self.core.config.memory_max
    }

    /// Whether a frame of `length` bytes would be too much beside what is under way.
    pub(super) fn is_crowded(&self, length: usize) -> bool {
        self.under_way() + length as u64 > self.core.config.under_way_max()
    }

    /// Bytes of commands, reads and messages about slots that wait, and of entries that are not applied.
    pub(super) fn under_way(&self) -> u64 {
        let held = &self.core.held;
        // What was let go with a log that began anew still stands among the applied.
        let unapplied = held.entries.saturating_sub(self.core.trailing.bytes());
        held.commands + held.reads + unapplied + self.movement.bytes() as u64
    }

    /// Asserts that what is counted is what there is.
    pub(super) fn check_holdings(&self) {
        let mut total = Holdings::default();
        for replica in &self.replicas {
            total.replace(Holdings::default(), replica.counted);
        }
        assert_eq!(self.core.held, total, "what replicas hold is counted as it changes");
        let state: u64 = self.replicas.iter().map(|replica| replica.machine.bytes()).sum();
        assert_eq!(total.state, state, "bytes of state are counted as they change");
    }
}
