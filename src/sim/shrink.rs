//! A failing run made small: fewer faults, of fewer kinds, for a shorter time.
//!
//! A run is chaotic: with less going on it may fail later, otherwise, or not at all. So nothing is
//! assumed to be monotonic. What is found is *a* run that still fails, in some way, and is smaller
//! than the one before; the attempts are bounded.
//!
//! Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002), of
//! which this takes the plain half: cut the tail by halves, then leave out one kind after another.

use super::verdict::{Limits, Report};
use crate::base::Micros;

/// The smallest failing run that was found.
#[derive(Clone, Debug)]
pub struct Smallest {
    /// What it leaves out.
    pub limits: Limits,
    /// What it was like.
    pub report: Report,
    /// Runs it took to find it.
    pub attempts: u32,
}

/// Looks for a smaller run that fails like `failed` or in any other way, in `attempts_max` runs at most.
///
/// `run` performs the seed's run within limits, or says that it has no time for another.
///
/// # Panics
/// If `failed` did not fail.
pub fn shrink(
    failed: Report,
    attempts_max: u32,
    run: &mut dyn FnMut(&Limits) -> Option<Report>,
) -> Smallest {
    assert!(failed.failure.is_some(), "seed {} did not fail", failed.seed);
    let smallest = Smallest { limits: Limits::default(), report: failed, attempts: 0 };
    let mut search = Search { smallest, attempts_max, run };
    search.stop_faults_earlier();
    search.leave_out_kinds();
    search.stop_faults_earlier();
    search.smallest
}

struct Search<'a> {
    smallest: Smallest,
    attempts_max: u32,
    run: &'a mut dyn FnMut(&Limits) -> Option<Report>,
}

/// Closer than this the end of the faults is not looked for.
const GRAIN: Micros = Micros::from_millis(100);

impl Search<'_> {
    /// Whether there is still a failure within `limits`; then that run is the smallest so far.
    fn fails_within(&mut self, limits: Limits) -> bool {
        if self.smallest.attempts >= self.attempts_max {
            return false;
        }
        let Some(report) = (self.run)(&limits) else {
            self.attempts_max = self.smallest.attempts;
            return false;
        };
        self.smallest.attempts += 1;
        let fails = report.failure.is_some();
        if fails {
            self.smallest.limits = limits;
            self.smallest.report = report;
        }
        fails
    }

    /// Bisects the moment after which there are no faults.
    fn stop_faults_earlier(&mut self) {
        let mut calm = Micros(0);
        let known = self.smallest.limits.faults_until;
        let mut stormy = known.unwrap_or(self.smallest.report.stormy);
        while stormy.0 > calm.0 + GRAIN.0 && self.smallest.attempts < self.attempts_max {
            let middle = Micros(calm.0 + (stormy.0 - calm.0) / 2);
            let limits = Limits { faults_until: Some(middle), ..self.smallest.limits.clone() };
            if self.fails_within(limits) {
                stormy = middle;
            } else {
                calm = middle;
            }
        }
    }

    /// Leaves out each kind of fault that still happens, if the failure can do without it.
    fn leave_out_kinds(&mut self) {
        let kinds: Vec<String> = self.smallest.report.faults.keys().cloned().collect();
        for kind in kinds {
            let mut limits = self.smallest.limits.clone();
            if limits.without.insert(kind) {
                self.fails_within(limits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::verdict::Failure;

    /// Fails if there are cuts and crashes until three seconds at least.
    fn report(limits: &Limits) -> Report {
        let until = limits.faults_until.unwrap_or(Micros::from_secs(8)).min(Micros::from_secs(8));
        let happens = |kind: &&str| !limits.without.contains(*kind);
        let kinds: Vec<&str> = ["crash", "cut", "pause"].into_iter().filter(happens).collect();
        let fails =
            until >= Micros::from_secs(3) && kinds.contains(&"cut") && kinds.contains(&"crash");
        Report {
            stormy: until,
            faults: kinds.iter().map(|&kind| (kind.to_owned(), 1)).collect(),
            failure: fails.then(Failure::default),
            ..Report::default()
        }
    }

    #[test]
    fn what_does_not_matter_is_left_out() {
        let smallest = shrink(report(&Limits::default()), 100, &mut |limits| Some(report(limits)));
        let until = smallest.limits.faults_until.expect("found").0;
        assert!((3_000_000..=3_100_000).contains(&until), "{until}");
        assert_eq!(smallest.limits.without, ["pause".to_owned()].into());
        assert!(smallest.report.failure.is_some());
        assert!(smallest.attempts <= 16, "{}", smallest.attempts);
    }

    #[test]
    fn attempts_are_bounded() {
        assert_eq!(
            shrink(report(&Limits::default()), 3, &mut |limits| Some(report(limits))).attempts,
            3
        );
    }

    #[test]
    fn what_was_found_by_the_end_of_the_time_counts() {
        let (mut runs, mut refusals) = (0, 0);
        let smallest = shrink(report(&Limits::default()), 100, &mut |limits| {
            runs += 1;
            refusals += u32::from(runs > 2);
            (runs <= 2).then(|| report(limits))
        });
        assert_eq!((smallest.attempts, refusals), (2, 1));
        assert_eq!(smallest.limits.faults_until, Some(Micros::from_secs(4)));
    }
}
