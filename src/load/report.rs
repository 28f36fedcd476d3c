//! What a load cost: counted, measured, printed.

use std::fmt::{self, Write as _};

use hdrhistogram::Histogram;
use serde::Serialize;

/// One second of a load.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Progress {
    /// Seconds since the beginning, warm-up included.
    pub elapsed_s: f64,
    /// Commands answered per second, since the last progress.
    pub ops_per_s: f64,
    /// Median latency since then, in microseconds.
    pub p50_us: u64,
    /// 99th percentile since then.
    pub p99_us: u64,
    /// Commands rejected, since the beginning.
    pub errors: u64,
    /// Commands of unknown outcome, since the beginning.
    pub unknown: u64,
    /// Commands outstanding now.
    pub in_flight: usize,
    /// Whether this is still the warm-up.
    pub warmup: bool,
}

/// A whole load.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `closed` or `open`.
    pub r#loop: &'static str,
    /// Nodes of the cluster, as its shard map says.
    pub nodes: usize,
    /// Commands answered.
    pub ops: u64,
    /// Per second, until the last answer.
    pub ops_per_s: f64,
    /// Median latency, in microseconds.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
    /// Commands rejected: they did not happen.
    pub errors: u64,
    /// Commands that may or may not have happened.
    pub unknown: u64,
    /// Reads answered.
    pub reads: u64,
    /// Writes answered.
    pub writes: u64,
    /// CPU seconds of this process, user and system, while it was measured.
    pub cpu_s: f64,
    /// From the first measured command to the last answer.
    pub duration_s: f64,
    /// Frames sent again, after a lost connection, a refusal or silence.
    pub frames_repeated: u64,
    /// Connections lost.
    pub connections_lost: u64,
    /// What the first failed command was told.
    pub first_failure: Option<String>,
    /// All latencies, in microseconds.
    #[serde(skip)]
    pub(super) latencies: Histogram<u64>,
}

impl Report {
    /// Whether every command was answered.
    pub const fn is_clean(&self) -> bool {
        self.errors == 0 && self.unknown == 0
    }

    /// The latencies as `HdrHistogram`'s percentile distribution, in milliseconds: what its plotters
    /// read.
    pub fn hgrm(&self) -> String {
        let mut text = format!(
            "{:>12} {:>14} {:>10} {:>14}\n\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        );
        for step in self.latencies.iter_quantiles(5) {
            let quantile = step.quantile();
            let value = millis(step.value_iterated_to());
            let count = self.latencies.count_between(0, step.value_iterated_to());
            write!(text, "{value:>12.3} {quantile:>14.12} {count:>10}").expect("memory");
            if quantile < 1.0 {
                write!(text, " {:>14.2}", 1.0 / (1.0 - quantile)).expect("memory");
            }
            text.push('\n');
        }
        let (mean, deviation) = (self.latencies.mean() / 1e3, self.latencies.stdev() / 1e3);
        let (max, total) = (millis(self.latencies.max()), self.latencies.len());
        writeln!(text, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")
            .expect("memory");
        writeln!(text, "#[Max     = {max:>12.3}, Total count    = {total:>12}]").expect("memory");
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "latencies fit 52 bits")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { elapsed_s, ops_per_s, in_flight, errors, unknown, .. } = self;
        let (p50, p99) = (millis(self.p50_us), millis(self.p99_us));
        let warmup = if self.warmup { "  (warm-up)" } else { "" };
        write!(
            f,
            "{elapsed_s:>6.1} s  {ops_per_s:>10.0} ops/s  p50 {p50:>8.3} ms  p99 {p99:>8.3} ms  \
             in flight {in_flight:>6}  errors {errors}  unknown {unknown}{warmup}"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ops, ops_per_s, duration_s, reads, writes, errors, unknown, nodes, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "counts of a load fit 52 bits")]
        let cpu = self.cpu_s * 1e6 / (*ops).max(1) as f64;
        writeln!(f, "{} loop against {nodes} nodes, {duration_s:.1} s", self.r#loop)?;
        writeln!(f, "  commands   {ops:>12}   {ops_per_s:.0} per second")?;
        writeln!(f, "  reads      {reads:>12}")?;
        writeln!(f, "  writes     {writes:>12}")?;
        writeln!(f, "  errors     {errors:>12}")?;
        writeln!(f, "  unknown    {unknown:>12}")?;
        let latencies = [
            ("p50", self.p50_us),
            ("p99", self.p99_us),
            ("p99.9", self.p999_us),
            ("max", self.max_us),
        ];
        for (name, micros) in latencies {
            writeln!(f, "  {name:<10} {:>12.3} ms", millis(micros))?;
        }
        write!(f, "  client CPU {cpu:>12.3} µs per command")?;
        if let Some(failure) = &self.first_failure {
            write!(f, "\n  first failure: {failure}")?;
        }
        Ok(())
    }
}
