//! What a run did and found: a table for people, an object for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::clients::Told;
use crate::kind::Kind;
use crate::verdict::Checked;

/// Faults by kind, with what followed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// By kind: for each fault, how long after the heal of its round every group had taken a write.
    lives: BTreeMap<Kind, Vec<Duration>>,
    /// Of every round.
    rounds: Vec<Duration>,
}

/// A run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) ok: bool,
    pub(crate) seed: u64,
    /// What was checked out.
    pub(crate) commit: String,
    pub(crate) nodes: usize,
    pub(crate) seconds: f64,
    /// Time that the whole machine, or this program, stood still; not counted elsewhere.
    pub(crate) stood_still_s: f64,
    pub(crate) rounds: usize,
    pub(crate) faults: usize,
    kinds: Vec<Row>,
    /// After how long every group took writes again, by rounds, in seconds.
    pub(crate) live_median_s: f64,
    pub(crate) live_max_s: f64,
    /// What was promised of it.
    pub(crate) live_within_s: u64,
    /// Rounds after which it took longer.
    pub(crate) late: usize,
    pub(crate) keys_read: u64,
    pub(crate) answered: u64,
    pub(crate) rejected: u64,
    pub(crate) unknown: u64,
    pub(crate) replicas_equal: usize,
    pub(crate) checks: Vec<Checked>,
}

/// One kind of fault.
#[derive(Clone, Debug, Serialize)]
struct Row {
    kind: String,
    count: usize,
    live_median_s: f64,
    live_max_s: f64,
}

/// What a report is made of, beside the tally.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) seed: u64,
    pub(crate) commit: String,
    pub(crate) nodes: usize,
    /// What is promised: every group with a healthy majority takes writes so soon after the last fault.
    pub(crate) live_max: Duration,
    pub(crate) lasted: Duration,
    pub(crate) stood_still: Duration,
    pub(crate) told: Told,
    pub(crate) replicas_equal: usize,
    pub(crate) checks: Vec<Checked>,
}

impl Tally {
    /// Counts a round's faults; `live`: how long after its heal every group had taken a write.
    pub(crate) fn count(&mut self, kinds: impl Iterator<Item = Kind>, live: Duration) {
        self.rounds.push(live);
        for kind in kinds {
            self.lives.entry(kind).or_default().push(live);
        }
    }

    /// Faults up to now.
    pub(crate) fn faults(&self) -> usize {
        self.lives.values().map(Vec::len).sum()
    }

    /// The whole report.
    pub(crate) fn report(&self, facts: Facts) -> Report {
        let Facts {
            seed, commit, nodes, lasted, stood_still, told, replicas_equal, checks, ..
        } = facts;
        let late = self.rounds.iter().filter(|live| **live > facts.live_max).count();
        Report {
            ok: late == 0 && checks.iter().all(Checked::is_clean),
            seed,
            commit,
            nodes,
            seconds: lasted.as_secs_f64(),
            stood_still_s: stood_still.as_secs_f64(),
            rounds: self.rounds.len(),
            faults: self.faults(),
            kinds: self.lives.iter().map(|(kind, lives)| Row::of(*kind, lives)).collect(),
            live_median_s: median(&self.rounds),
            live_max_s: longest(&self.rounds),
            live_within_s: facts.live_max.as_secs(),
            late,
            keys_read: told.keys,
            answered: told.answered,
            rejected: told.rejected,
            unknown: told.unknown,
            replicas_equal,
            checks,
        }
    }
}

impl Row {
    fn of(kind: Kind, lives: &[Duration]) -> Self {
        Self {
            kind: kind.name(),
            count: lives.len(),
            live_median_s: median(lives),
            live_max_s: longest(lives),
        }
    }
}

fn median(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64()
}

fn longest(times: &[Duration]) -> f64 {
    times.iter().max().copied().unwrap_or_default().as_secs_f64()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<16} {:>6} {:>14} {:>10}", "fault", "count", "writes again", "at most")?;
        let mut row = |kind: &str, count: usize, median: f64, longest: f64| {
            writeln!(f, "{kind:<16} {count:>6} {median:>12.2} s {longest:>8.2} s")
        };
        for Row { kind, count, live_median_s, live_max_s } in &self.kinds {
            row(kind, *count, *live_median_s, *live_max_s)?;
        }
        row("all", self.faults, self.live_median_s, self.live_max_s)?;
        let Self { nodes, rounds, seconds, stood_still_s, late, seed, commit, .. } = self;
        write!(
            f,
            "\n{nodes} nodes, commit {commit}, seed {seed}: {rounds} rounds in {seconds:.0} s"
        )?;
        if *stood_still_s > 0.0 {
            write!(f, ", beside {stood_still_s:.0} s in which the machine stood still")?;
        }
        let Self { answered, rejected, unknown, keys_read, replicas_equal, .. } = self;
        writeln!(
            f,
            "\n{answered} commands answered, {rejected} rejected, {unknown} of unknown outcome; \
             {keys_read} keys read at last; {replicas_equal} replicas in equal states"
        )?;
        for checked in &self.checks {
            writeln!(f, "{:>6.2} s  {}", checked.seconds(), checked.text)?;
        }
        if *late > 0 {
            let limit = self.live_within_s;
            writeln!(f, "LATE: {late} times not every group took writes within {limit} s")?;
        }
        f.write_str(if self.ok { "all promises were kept" } else { "NOT all promises were kept" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lives: &[u64]) -> Report {
        let mut tally = Tally::default();
        for millis in lives {
            let kinds = [Kind::KillOne, Kind::Delay];
            tally.count(kinds.into_iter(), Duration::from_millis(*millis));
        }
        tally.report(Facts {
            seed: 1,
            commit: "abc".to_owned(),
            nodes: 3,
            live_max: Duration::from_secs(5),
            lasted: Duration::from_secs(9),
            stood_still: Duration::ZERO,
            told: Told::default(),
            replicas_equal: 9,
            checks: Vec::new(),
        })
    }

    #[test]
    fn faults_are_counted_by_kind() {
        let report = report(&[200, 300, 100]);
        assert!(report.ok && report.faults == 6 && report.rounds == 3);
        let text = report.to_string();
        assert!(text.contains("kill-one              3         0.20 s     0.30 s"), "{text}");
        assert!(text.ends_with("all promises were kept"), "{text}");
    }

    #[test]
    fn who_is_late_breaks_a_promise() {
        let report = report(&[5_001, 100]);
        assert!(!report.ok && report.late == 1);
        assert!(report.to_string().contains("LATE: 1 times"));
    }
}
