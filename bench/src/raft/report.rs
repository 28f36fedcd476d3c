//! Figures of the two libraries, as lines of JSON and as tables.

use std::fmt;

use serde::Serialize;

use crate::compare::Spread;

/// What ours may cost at most, over theirs.
pub(super) const RATIO_MAX: f64 = 0.5;

/// CPU time per proposal at one load.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Point {
    /// Groups, all led by one node.
    pub(super) groups: u32,
    /// Proposals per group and round.
    pub(super) batch: usize,
    /// CPU nanoseconds per proposal, committed and applied on all three nodes.
    pub(super) ours_ns: Spread,
    /// The same of TiKV's, an append per proposal.
    pub(super) theirs_ns: Spread,
    /// The same of TiKV's, the appends of a turn joined.
    pub(super) theirs_joined_ns: Spread,
    /// Ours over the better of theirs, round by round.
    pub(super) ratio: Spread,
    /// Whether the median ratio is at most one half.
    pub(super) holds: bool,
}

/// CPU time of groups that have nothing to do.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Idle {
    /// Groups.
    pub(super) groups: u32,
    /// CPU nanoseconds per group, all three replicas, and second of virtual time.
    pub(super) ours_ns: Spread,
    /// The same with a failure detector that all groups share.
    pub(super) ours_quiet_ns: Spread,
    /// The same of TiKV's.
    pub(super) theirs_ns: Spread,
    /// Ours, without that detector, over theirs, round by round.
    pub(super) ratio: Spread,
    /// Ours with it over theirs.
    pub(super) ratio_quiet: Spread,
}

/// One line of the output.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Line {
    /// See [`Point`].
    Point(Point),
    /// See [`Idle`].
    Idle(Idle),
}

impl Point {
    /// From the rounds' figures; `ours[i]`, `theirs[i]` and `theirs_joined[i]` were measured
    /// directly after each other.
    pub(super) fn of(groups: u32, batch: usize, rounds: &[[f64; 3]]) -> Self {
        let column = |at: usize| Spread::of(rounds.iter().map(move |round| round[at]));
        let ratios = rounds.iter().map(|round| round[0] / round[1].min(round[2]));
        let ratio = Spread::of(ratios);
        Self {
            groups,
            batch,
            ours_ns: column(0),
            theirs_ns: column(1),
            theirs_joined_ns: column(2),
            ratio,
            holds: ratio.median <= RATIO_MAX,
        }
    }
}

impl Idle {
    /// From the rounds' figures: ours, ours with the shared detector, theirs.
    pub(super) fn of(groups: u32, rounds: &[[f64; 3]]) -> Self {
        let column = |at: usize| Spread::of(rounds.iter().map(move |round| round[at]));
        let ratio = |at: usize| Spread::of(rounds.iter().map(move |round| round[at] / round[2]));
        Self {
            groups,
            ours_ns: column(0),
            ours_quiet_ns: column(1),
            theirs_ns: column(2),
            ratio: ratio(0),
            ratio_quiet: ratio(1),
        }
    }
}

/// The table's head.
pub(super) const HEAD: &str = "\
groups  batch |        ours |      theirs | theirs joined |        ratio | ours <= half
              |   ns, worst |   ns, worst |     ns, worst |       worst  |";

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { groups, batch, ours_ns, theirs_ns, theirs_joined_ns, ratio, holds } = self;
        write!(f, "{groups:>6} {batch:>6} |")?;
        write!(f, " {:>5.0} {:>5.0} |", ours_ns.median, ours_ns.max)?;
        write!(f, " {:>5.0} {:>5.0} |", theirs_ns.median, theirs_ns.max)?;
        write!(f, "  {:>6.0} {:>5.0} |", theirs_joined_ns.median, theirs_joined_ns.max)?;
        write!(f, "   {:>4.2} {:>4.2}  |", ratio.median, ratio.max)?;
        write!(f, " {}", if *holds { "yes" } else { "no" })
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} idle groups: ns per group and second, worst; ratio, worst", self.groups)?;
        let row = |name, ns: &Spread| format!("{name:<32} {:>7.0} {:>7.0}", ns.median, ns.max);
        let ratio = |ratio: &Spread| format!("  {:>5.3} {:>5.3}", ratio.median, ratio.max);
        writeln!(f, "{}{}", row("ours", &self.ours_ns), ratio(&self.ratio))?;
        let quiet = row("ours, shared failure detector", &self.ours_quiet_ns);
        writeln!(f, "{quiet}{}", ratio(&self.ratio_quiet))?;
        write!(f, "{}", row("theirs", &self.theirs_ns))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Point(point) => point.fmt(f),
            Self::Idle(idle) => idle.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_set_over_the_better_of_theirs() {
        let point =
            Point::of(1, 16, &[[40.0, 100.0, 80.0], [30.0, 50.0, 90.0], [10.0, 20.0, 40.0]]);
        assert!((point.ratio.median - 0.5).abs() < 1e-9, "{point:?}");
        assert!((point.ratio.max - 0.6).abs() < 1e-9, "{point:?}");
        assert!(point.holds);
        assert!(!Point::of(1, 1, &[[51.0, 100.0, 110.0]]).holds);
    }
}
