//! Figures: of one run, of a pair of runs, and the medians over all rounds.

use serde::{Deserialize, Serialize};

/// What a client process measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Drove {
    /// Operations completed in the measured window.
    pub(crate) ops: u64,
    /// Length of the window.
    pub(crate) seconds: f64,
    /// Median latency.
    pub(crate) p50_us: f64,
    /// 99th percentile of latency.
    pub(crate) p99_us: f64,
    /// Operations that did not succeed, of unknown outcome included.
    pub(crate) errors: u64,
    /// CPU time of the client process in the window.
    pub(crate) client_cpu_s: f64,
}

/// One run of one system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Operations per second.
    pub(crate) ops_per_s: f64,
    /// Median latency.
    pub(crate) p50_us: f64,
    /// 99th percentile of latency.
    pub(crate) p99_us: f64,
    /// CPU seconds of the three server processes per million operations.
    pub(crate) server_cpu_s_per_mop: f64,
    /// CPU seconds of the client process per million operations.
    pub(crate) client_cpu_s_per_mop: f64,
    /// Operations completed.
    pub(crate) ops: u64,
    /// Operations that did not succeed.
    pub(crate) errors: u64,
}

impl Run {
    /// From what the client measured and the CPU seconds the servers used meanwhile.
    pub(crate) fn new(drove: &Drove, server_cpu_s: f64) -> Self {
        let ops = to_f64(drove.ops.max(1));
        Self {
            ops_per_s: to_f64(drove.ops) / drove.seconds,
            p50_us: drove.p50_us,
            p99_us: drove.p99_us,
            server_cpu_s_per_mop: server_cpu_s / ops * 1e6,
            client_cpu_s_per_mop: drove.client_cpu_s / ops * 1e6,
            ops: drove.ops,
            errors: drove.errors,
        }
    }

    fn cpu_s_per_mop(&self) -> f64 {
        self.server_cpu_s_per_mop + self.client_cpu_s_per_mop
    }
}

/// Reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    /// Durable writes of existing keys.
    Write,
    /// Linearizable reads of existing keys.
    Read,
}

/// The work both systems are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Work {
    /// Reads or writes.
    pub(crate) operation: Operation,
    /// Bytes of a value.
    pub(crate) value_size: usize,
    /// Requests under way at any time.
    pub(crate) outstanding: usize,
}

/// Both systems at the same work, one after the other.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pair {
    /// The work.
    #[serde(flatten)]
    pub(crate) work: Work,
    /// Counted from 1.
    pub(crate) round: usize,
    /// A bare durable write, before the two runs.
    pub(crate) probe_before_us: f64,
    /// The same after them.
    pub(crate) probe_after_us: f64,
    /// The other system.
    pub(crate) etcd: Run,
    /// This one.
    pub(crate) sunstar: Run,
    /// Ours over theirs.
    pub(crate) ratio: Ratio,
}

/// Ours over theirs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// Of throughput: above 1 is better.
    pub(crate) throughput: f64,
    /// Of the median latency: below 1 is better.
    pub(crate) p50: f64,
    /// Of CPU time per operation, servers and client together: below 1 is better.
    pub(crate) cpu: f64,
    /// Of CPU time per operation, servers only.
    pub(crate) server_cpu: f64,
}

impl Ratio {
    /// Sets the one over the other.
    pub(crate) fn of(ours: &Run, theirs: &Run) -> Self {
        Self {
            throughput: ours.ops_per_s / theirs.ops_per_s,
            p50: ours.p50_us / theirs.p50_us,
            cpu: ours.cpu_s_per_mop() / theirs.cpu_s_per_mop(),
            server_cpu: ours.server_cpu_s_per_mop / theirs.server_cpu_s_per_mop,
        }
    }
}

/// Medians over the rounds of one work, with their spread.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// The work.
    #[serde(flatten)]
    pub(crate) work: Work,
    /// Rounds counted.
    pub(crate) rounds: usize,
    /// Median, least and greatest of both probes.
    pub(crate) probe_us: Spread,
    /// Theirs.
    pub(crate) etcd: RunSummary,
    /// Ours.
    pub(crate) sunstar: RunSummary,
    /// Medians of each round's ratios.
    pub(crate) ratio: RatioSummary,
}

/// Medians of one system's runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct RunSummary {
    /// See [`Run`].
    pub(crate) ops_per_s: Spread,
    /// See [`Run`].
    pub(crate) p50_us: Spread,
    /// See [`Run`].
    pub(crate) p99_us: Spread,
    /// See [`Run`].
    pub(crate) server_cpu_s_per_mop: Spread,
    /// See [`Run`].
    pub(crate) client_cpu_s_per_mop: Spread,
}

impl RunSummary {
    fn of<'a>(runs: &(impl Iterator<Item = &'a Run> + Clone)) -> Self {
        let spread = |figure: fn(&Run) -> f64| Spread::of(runs.clone().map(figure));
        Self {
            ops_per_s: spread(|run| run.ops_per_s),
            p50_us: spread(|run| run.p50_us),
            p99_us: spread(|run| run.p99_us),
            server_cpu_s_per_mop: spread(|run| run.server_cpu_s_per_mop),
            client_cpu_s_per_mop: spread(|run| run.client_cpu_s_per_mop),
        }
    }
}

/// Medians of ratios.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct RatioSummary {
    /// See [`Ratio`].
    pub(crate) throughput: Spread,
    /// See [`Ratio`].
    pub(crate) p50: Spread,
    /// See [`Ratio`].
    pub(crate) cpu: Spread,
    /// See [`Ratio`].
    pub(crate) server_cpu: Spread,
}

/// A median with the least and the greatest figure beside it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// The middle one; of an even number, the mean of the two in the middle.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Spread {
    /// # Panics
    /// If there are no figures: every work has at least one round.
    pub(crate) fn of(figures: impl Iterator<Item = f64> + Clone) -> Self {
        Self {
            median: median(figures.clone()),
            min: figures.clone().fold(f64::INFINITY, f64::min),
            max: figures.fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// Returns one summary per work, in the order in which works first appear.
pub(crate) fn summarize(pairs: &[Pair]) -> Vec<Summary> {
    let mut works: Vec<Work> = Vec::new();
    for pair in pairs {
        if !works.contains(&pair.work) {
            works.push(pair.work);
        }
    }
    works.into_iter().map(|work| summary(work, pairs)).collect()
}

fn summary(work: Work, pairs: &[Pair]) -> Summary {
    let rounds = pairs.iter().filter(|pair| pair.work == work);
    let ratio = |figure: fn(&Ratio) -> f64| Spread::of(rounds.clone().map(|p| figure(&p.ratio)));
    Summary {
        work,
        rounds: rounds.clone().count(),
        probe_us: Spread::of(
            rounds.clone().flat_map(|pair| [pair.probe_before_us, pair.probe_after_us]),
        ),
        etcd: RunSummary::of(&rounds.clone().map(|pair| &pair.etcd)),
        sunstar: RunSummary::of(&rounds.clone().map(|pair| &pair.sunstar)),
        ratio: RatioSummary {
            throughput: ratio(|ratio| ratio.throughput),
            p50: ratio(|ratio| ratio.p50),
            cpu: ratio(|ratio| ratio.cpu),
            server_cpu: ratio(|ratio| ratio.server_cpu),
        },
    }
}

/// Returns the middle figure; of an even number, the mean of the two in the middle.
///
/// # Panics
/// If there are none.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    assert!(!sorted.is_empty(), "no figures to take the median of");
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.len() / 2;
    let lower = (sorted.len() - 1) / 2;
    f64::midpoint(sorted[lower], sorted[upper])
}

/// Counts of operations stay far below 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "a run has fewer than 2^53 operations")]
pub(crate) fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Work = Work { operation: Operation::Write, value_size: 16, outstanding: 64 };

    fn run(ops: u64, cpu: f64) -> Run {
        let drove = Drove {
            ops,
            seconds: 2.0,
            p50_us: 100.0,
            p99_us: 900.0,
            errors: 0,
            client_cpu_s: cpu / 2.0,
        };
        Run::new(&drove, cpu)
    }

    fn pair(round: usize, ours: u64, theirs: u64) -> Pair {
        let (sunstar, etcd) = (run(ours, 1.0), run(theirs, 4.0));
        let ratio = Ratio::of(&sunstar, &etcd);
        Pair {
            work: WORK,
            round,
            probe_before_us: 90.0,
            probe_after_us: 110.0,
            etcd,
            sunstar,
            ratio,
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "halves and quarters are exact")]
    fn a_run_is_per_second_and_per_million() {
        let run = run(500_000, 1.5);
        assert_eq!(run.ops_per_s, 250_000.0);
        assert_eq!(run.server_cpu_s_per_mop, 3.0);
        assert_eq!(run.client_cpu_s_per_mop, 1.5);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the ratios are powers of two")]
    fn ratios_are_ours_over_theirs() {
        let ratio = pair(1, 800_000, 100_000).ratio;
        assert_eq!(ratio.throughput, 8.0);
        assert_eq!(ratio.p50, 1.0);
        assert_eq!(ratio.cpu, 1.0 / 32.0);
        assert_eq!(ratio.server_cpu, 1.0 / 32.0);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "small whole numbers")]
    fn a_median_is_the_middle_one_or_the_mean_of_two() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median([7.0].into_iter()), 7.0);
    }

    #[test]
    fn a_summary_takes_the_rounds_of_one_work_together() {
        let mut other = pair(1, 1, 1);
        other.work.outstanding = 512;
        let pairs = [pair(1, 400, 100), other, pair(2, 800, 100), pair(3, 200, 100)];
        let summaries = summarize(&pairs);
        assert_eq!(summaries.len(), 2);
        assert_eq!(summaries[0].rounds, 3);
        assert_eq!(summaries[0].ratio.throughput, Spread { median: 4.0, min: 2.0, max: 8.0 });
        assert_eq!(summaries[0].probe_us, Spread { median: 100.0, min: 90.0, max: 110.0 });
        assert_eq!(summaries[1].rounds, 1);
        assert_eq!(summaries[1].work.outstanding, 512);
    }
}
