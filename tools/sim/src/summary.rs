//! What all runs together were like.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use sunstar::base::Micros;
use sunstar::sim::{Commands, Report};

/// What all runs together were like.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// What was built.
    pub(crate) commit: &'static str,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// The first and the last seed run.
    pub(crate) seeds: Option<(u64, u64)>,
    /// Failing seeds, by what was wrong.
    pub(crate) failures: BTreeMap<String, Vec<u64>>,
    /// Faults by kind.
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) faults_in_all: u64,
    pub(crate) commands: Commands,
    pub(crate) map_changes: u64,
    pub(crate) slots_moved: u64,
    /// Time that passed in all runs together, counted once for each seed.
    simulated: Micros,
    pub(crate) simulated_hours: f64,
    pub(crate) real_seconds: f64,
    pub(crate) simulated_hours_per_hour: f64,
}

impl Summary {
    pub(crate) fn new() -> Self {
        Self { commit: env!("SUNSTAR_COMMIT"), ..Self::default() }
    }

    pub(crate) fn add(&mut self, report: &Report) {
        let seed = report.seed;
        let (first, last) = self.seeds.unwrap_or((seed, seed));
        self.seeds = Some((first.min(seed), last.max(seed)));
        match &report.failure {
            None => self.passed += 1,
            Some(failure) => {
                self.failed += 1;
                self.failures.entry(failure.what.clone()).or_default().push(seed);
            }
        }
        for (kind, count) in &report.faults {
            *self.faults.entry(kind.clone()).or_default() += count;
            self.faults_in_all += count;
        }
        self.map_changes += report.map_changes;
        self.slots_moved += report.slots_moved;
        let Commands { applied, rejected, unknown } = report.commands;
        self.commands.applied += applied;
        self.commands.rejected += rejected;
        self.commands.unknown += unknown;
        self.simulated.0 += report.simulated.0;
    }

    /// So much time has really passed.
    #[expect(clippy::cast_precision_loss, reason = "for reading")]
    pub(crate) fn took(&mut self, real: Duration) {
        self.real_seconds = real.as_secs_f64();
        let simulated = self.simulated.0 as f64 / 1e6;
        self.simulated_hours = simulated / 3_600.0;
        self.simulated_hours_per_hour = simulated / self.real_seconds.max(1e-9);
    }

    /// In one line.
    pub(crate) fn brief(&self) -> String {
        format!(
            "{} passed, {} failed; {} faults, {} commands; {:.0} simulated hours per hour",
            self.passed,
            self.failed,
            grouped(self.faults_in_all),
            grouped(self.commands.applied),
            self.simulated_hours_per_hour
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<28} {:>12}", "fault", "times")?;
        for (kind, &count) in &self.faults {
            writeln!(f, "{kind:<28} {:>12}", grouped(count))?;
        }
        writeln!(f, "{:<28} {:>12}", "in all", grouped(self.faults_in_all))?;
        let Commands { applied, rejected, unknown } = self.commands;
        writeln!(
            f,
            "\n{} commands executed, {} rejected, {} of unknown outcome",
            grouped(applied),
            grouped(rejected),
            grouped(unknown)
        )?;
        writeln!(
            f,
            "{} changes of the shard map, {} slots served by another group than before",
            grouped(self.map_changes),
            grouped(self.slots_moved)
        )?;
        writeln!(
            f,
            "{:.1} hours simulated in {:.0} s: {:.0} simulated hours per hour",
            self.simulated_hours, self.real_seconds, self.simulated_hours_per_hour
        )?;
        for (what, seeds) in &self.failures {
            let some: Vec<String> = seeds.iter().take(8).map(u64::to_string).collect();
            let more = if seeds.len() > 8 { ", …" } else { "" };
            writeln!(f, "{:>5} × {what}: seeds {}{more}", seeds.len(), some.join(", "))?;
        }
        let (first, last) = self.seeds.unwrap_or_default();
        writeln!(f, "commit {}, seeds {first}..{}", self.commit, last + 1)?;
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use sunstar::sim::Failure;

    use super::*;

    #[test]
    fn digits_stand_in_groups() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn runs_add_up() {
        let mut summary = Summary::new();
        let faults = BTreeMap::from([("crash".to_owned(), 2)]);
        let simulated = Micros::from_secs(1_800);
        let good = Report { seed: 7, faults, simulated, ..Report::default() };
        let what = "a lost write".to_owned();
        let failure = Some(Failure { what, ..Failure::default() });
        summary.add(&good);
        summary.add(&Report { seed: 9, failure, ..good });
        summary.took(Duration::from_secs(9));
        let text = summary.to_string();
        for part in [
            "crash                                   4\n",
            "1.0 hours simulated in 9 s: 400 simulated hours per hour\n",
            "    1 × a lost write: seeds 9\n",
            "seeds 7..10\n1 passed, 1 failed",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}
