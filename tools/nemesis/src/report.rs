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

/// Changes of the shard map by kind, and what became of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    kinds: BTreeMap<Kind, Fates>,
    /// What was not done when it was asked for, by the reason: refused for now, or not answered.
    put_off: BTreeMap<String, usize>,
}

/// Changes of one kind.
#[derive(Clone, Debug, Default)]
struct Fates {
    asked: usize,
    /// Of each that came to its end: how long after it was asked for.
    done: Vec<Duration>,
    /// Of each that did not: why.
    refused: Vec<String>,
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
    pub(crate) changes: usize,
    change_kinds: Vec<ChangeRow>,
    put_off: BTreeMap<String, usize>,
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

/// One kind of change.
#[derive(Clone, Debug, Serialize)]
struct ChangeRow {
    kind: String,
    asked: usize,
    done: usize,
    refused: Vec<String>,
    done_median_s: f64,
    done_max_s: f64,
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
    pub(crate) changes: Changes,
    pub(crate) replicas_equal: usize,
    pub(crate) checks: Vec<Checked>,
}

impl Changes {
    /// One is asked for.
    pub(crate) fn asked(&mut self, kind: Kind) {
        self.kinds.entry(kind).or_default().asked += 1;
    }

    /// One has come to its end.
    pub(crate) fn done(&mut self, kind: Kind, took: Duration) {
        self.kinds.entry(kind).or_default().done.push(took);
    }

    /// One will not be.
    pub(crate) fn refused(&mut self, kind: Kind, reason: &str) {
        self.kinds.entry(kind).or_default().refused.push(reason.to_owned());
    }

    /// One is to be asked for again.
    pub(crate) fn put_off(&mut self, reason: &str) {
        *self.put_off.entry(reason.to_owned()).or_default() += 1;
    }
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
            seed,
            commit,
            nodes,
            live_max,
            lasted,
            stood_still,
            told,
            changes,
            replicas_equal,
            checks,
        } = facts;
        let late = self.rounds.iter().filter(|live| **live > live_max).count();
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
            changes: changes.kinds.values().map(|fates| fates.done.len()).sum(),
            change_kinds: changes.kinds.iter().map(|(kind, it)| ChangeRow::of(*kind, it)).collect(),
            put_off: changes.put_off,
            live_median_s: median(&self.rounds),
            live_max_s: longest(&self.rounds),
            live_within_s: live_max.as_secs(),
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

impl ChangeRow {
    fn of(kind: Kind, fates: &Fates) -> Self {
        Self {
            kind: kind.name(),
            asked: fates.asked,
            done: fates.done.len(),
            refused: fates.refused.clone(),
            done_median_s: median(&fates.done),
            done_max_s: longest(&fates.done),
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

impl Report {
    fn write_changes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.change_kinds.is_empty() {
            return Ok(());
        }
        let (change, done) = ("change", "done");
        writeln!(f, "\n{change:<16} {:>6} {done:>6} {:>12} {:>10}", "asked", "after", "at most")?;
        for row in &self.change_kinds {
            let ChangeRow { kind, asked, done, refused, done_median_s, done_max_s } = row;
            write!(
                f,
                "{kind:<16} {asked:>6} {done:>6} {done_median_s:>10.2} s {done_max_s:>8.2} s"
            )?;
            let refused = if refused.is_empty() { String::new() } else { refused.join(", ") };
            writeln!(f, "{}{refused}", if refused.is_empty() { "" } else { "  not done: " })?;
        }
        let again: Vec<_> =
            self.put_off.iter().map(|(why, count)| format!("{why} {count}")).collect();
        writeln!(
            f,
            "asked again: {}",
            if again.is_empty() { "never".into() } else { again.join(", ") }
        )
    }
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
        self.write_changes(f)?;
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

    fn changes() -> Changes {
        let mut changes = Changes::default();
        for _ in 0..3 {
            changes.asked(Kind::MoveSlots);
        }
        changes.done(Kind::MoveSlots, Duration::from_millis(500));
        changes.done(Kind::MoveSlots, Duration::from_millis(700));
        changes.refused(Kind::MoveSlots, "refused");
        changes.put_off("node-down");
        changes
    }

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
            changes: changes(),
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
    fn changes_are_counted_by_kind() {
        let report = report(&[200]);
        assert_eq!(report.changes, 2);
        let text = report.to_string();
        let row = "move-slots            3      2       0.70 s     0.70 s  not done: refused";
        assert!(text.contains(row) && text.contains("asked again: node-down 1"), "{text}");
    }

    #[test]
    fn who_is_late_breaks_a_promise() {
        let report = report(&[5_001, 100]);
        assert!(!report.ok && report.late == 1);
        assert!(report.to_string().contains("LATE: 1 times"));
    }
}
