//! Figures of the three, as lines of JSON and as a table.

use std::fmt;

use serde::Serialize;

use super::{Cost, Work};
use crate::compare::Spread;

/// What ours must reach of the bare loop's batches, one at a time.
const BARE_MIN: f64 = 0.95;
/// What ours may use of theirs' CPU time.
const CPU_MAX: f64 = 0.5;

/// What a batch costs at one load.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Point {
    /// Batches under way at any time.
    depth: usize,
    /// Entries in a batch, each of another group.
    groups: u32,
    /// Bytes of a batch in our log, and of a write of the bare loop.
    bytes: usize,
    /// Durable writes per second of the bare loop.
    bare_per_s: Spread,
    /// Durable batches per second of ours.
    ours_per_s: Spread,
    /// The same of `raft-engine`.
    theirs_per_s: Spread,
    /// Ours over the bare loop, round by round.
    of_bare: Spread,
    /// Ours over theirs, round by round.
    of_theirs: Spread,
    /// CPU microseconds per write of the bare loop, the kernel's share included.
    bare_cpu_us: Spread,
    /// The same per batch of ours.
    ours_cpu_us: Spread,
    /// The same of theirs.
    theirs_cpu_us: Spread,
    /// Ours over theirs, round by round.
    cpu_of_theirs: Spread,
    /// Whether the medians are as promised: ahead of theirs at half its CPU time, and one at a time
    /// at 95 % of the bare loop.
    holds: bool,
}

impl Point {
    /// From the rounds' figures: bare, ours, theirs.
    pub(super) fn of(work: Work, depth: usize, rounds: &[[Cost; 3]]) -> Self {
        let speed = |at: usize| Spread::of(rounds.iter().map(move |r| r[at].batches_per_s));
        let cpu = |at: usize| Spread::of(rounds.iter().map(move |r| r[at].cpu_us));
        let over = |at: usize| {
            Spread::of(rounds.iter().map(move |r| r[1].batches_per_s / r[at].batches_per_s))
        };
        let (of_bare, of_theirs) = (over(0), over(2));
        let cpu_of_theirs = Spread::of(rounds.iter().map(|r| r[1].cpu_us / r[2].cpu_us));
        Self {
            depth,
            groups: work.groups,
            bytes: work.batch_bytes(),
            bare_per_s: speed(0),
            ours_per_s: speed(1),
            theirs_per_s: speed(2),
            of_bare,
            of_theirs,
            bare_cpu_us: cpu(0),
            ours_cpu_us: cpu(1),
            theirs_cpu_us: cpu(2),
            cpu_of_theirs,
            holds: of_theirs.median > 1.0
                && cpu_of_theirs.median <= CPU_MAX
                && (depth > 1 || of_bare.median >= BARE_MIN),
        }
    }
}

/// The head of the table.
pub(super) const HEAD: &str = "\
         entries        |      batches/s       | ours/bare       | ours/raft-engine | CPU us per batch   | CPU ratio |
depth  /batch   bytes |   bare   ours theirs | median  (worst) | median  (worst)  |  bare  ours theirs | (worst)   | holds";

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { depth, groups, bytes, bare_per_s, ours_per_s, theirs_per_s, .. } = self;
        write!(f, "{depth:>5} {groups:>8} {bytes:>7} |")?;
        let speeds = [bare_per_s, ours_per_s, theirs_per_s].map(|speed| speed.median);
        write!(f, " {:>6.0} {:>6.0} {:>6.0} |", speeds[0], speeds[1], speeds[2])?;
        for ratio in [&self.of_bare, &self.of_theirs] {
            write!(f, "  {:>5.2}  ({:>5.2}) |", ratio.median, ratio.min)?;
        }
        let cpu = [&self.bare_cpu_us, &self.ours_cpu_us, &self.theirs_cpu_us].map(|us| us.median);
        write!(f, "  {:>5.1} {:>5.1} {:>5.1} |", cpu[0], cpu[1], cpu[2])?;
        write!(f, " {:>4.2} ({:>4.2}) |", self.cpu_of_theirs.median, self.cpu_of_theirs.max)?;
        write!(f, " {}", if self.holds { "yes" } else { "no" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(batches_per_s: f64, cpu_us: f64) -> Cost {
        Cost { batches_per_s, cpu_us }
    }

    #[test]
    fn a_point_holds_only_if_all_three_promises_do() {
        let work = Work { groups: 1, entry_size: 128 };
        let holds = |ours, depth| {
            let round = [cost(100.0, 10.0), ours, cost(50.0, 40.0)];
            Point::of(work, depth, &[round]).holds
        };
        assert!(holds(cost(96.0, 20.0), 1));
        assert!(!holds(cost(94.0, 20.0), 1), "slower than the disk");
        assert!(holds(cost(94.0, 20.0), 4), "which counts one at a time only");
        assert!(!holds(cost(49.0, 20.0), 4), "slower than theirs");
        assert!(!holds(cost(96.0, 21.0), 1), "too much CPU time");
    }
}
