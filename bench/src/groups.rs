//! What groups cost that are many: throughput by how many there are.
//!
//! Clusters that differ in nothing else run side by side and are measured in turns, so that what the machine
//! does meanwhile hits all of them. Two questions: whether it matters into how many groups a core divides its
//! work, and what a great number of groups costs that nobody asks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::child::{Driver, Interrupt, directory_in};
use crate::compare::Drove;
use crate::cpu;
use crate::error::BenchError;
use crate::nodes::{self, Nodes, Placement};

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How many groups each core leads, of clusters of which all groups are busy.
    #[arg(long, value_delimiter = ',', default_value = "2,4,8")]
    led_by_core: Vec<usize>,
    /// Busy groups of the clusters of which the others rest.
    #[arg(long, default_value_t = 10)]
    busy: usize,
    /// How many groups these have in all, each at least as many as are busy.
    #[arg(long, value_delimiter = ',', default_value = "10,1000")]
    groups: Vec<usize>,
    /// Measurements of each cluster.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Writes under way at any time.
    #[arg(long, default_value_t = 256)]
    outstanding: usize,
    /// Connections of the client.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 16)]
    value_size: usize,
    /// Keys, of 16 bytes.
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// The data directories go under it.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The sunstar program; without it, built by cargo, or the one beside this program.
    #[arg(long)]
    sunstar: Option<PathBuf>,
}

/// Nodes of each cluster, of one core each.
const NODES: usize = 3;

/// Slots of each busy group that are asked for, so that a group among many has as many as one among few.
const SLOTS: usize = 8;

/// A cluster, and which of its slots are asked for.
struct Subject {
    question: &'static str,
    groups: usize,
    cluster: Nodes,
    slots: String,
    measured: Vec<Measured>,
}

/// One measurement.
struct Measured {
    per_second: f64,
    p99_us: f64,
    server_cpu_s_per_mop: f64,
}

/// Measures all clusters in turns, prints one JSON line for each, with ratios to the first of its question.
///
/// # Errors
/// If an operation failed.
pub(crate) fn run(options: &Options) -> Result<(), BenchError> {
    let interrupt = Interrupt::register()?;
    let program = nodes::find(options.sunstar.as_deref())?;
    let directory = directory_in(&options.dir)?;
    let all = options.led_by_core.iter().map(|led| ("all busy", led * NODES, led * NODES));
    let some = options.groups.iter().map(|&groups| ("most rest", groups, options.busy.min(groups)));
    let mut subjects = Vec::new();
    for (number, (question, groups, busy)) in all.chain(some).enumerate() {
        eprintln!("{groups} groups, {busy} of them busy");
        let directory = directory.path().join(number.to_string());
        subjects.push(begin(&program, &directory, (question, groups, busy), &interrupt)?);
    }
    for round in 0..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for subject in &mut subjects {
            interrupt.check()?;
            let measured = interrupt.explain(measure(options, subject))?;
            // The first one only warms up.
            if round > 0 {
                subject.measured.push(measured);
            }
        }
    }
    report(&subjects);
    Ok(())
}

fn begin(
    program: &Path,
    directory: &Path,
    (question, groups, busy): (&'static str, usize, usize),
    interrupt: &Interrupt,
) -> Result<Subject, BenchError> {
    std::fs::create_dir(directory).map_err(BenchError::io("making a directory"))?;
    let cluster = Nodes::start(program, directory, interrupt)?;
    let more = groups.saturating_sub(NODES);
    if more > 0 {
        cluster.ctl(&["join", "--groups", &more.to_string(), "--wait"])?;
    }
    let placements = cluster.placements()?;
    let slots: Vec<String> = placements
        .iter()
        .filter(|placement| !placement.slots.is_empty())
        .take(busy)
        .flat_map(first_slots)
        .map(|slot| slot.to_string())
        .collect();
    if slots.len() != busy * SLOTS {
        return Err(BenchError::Failed(format!(
            "{busy} groups with {SLOTS} slots: {placements:?}"
        )));
    }
    Ok(Subject { question, groups, cluster, slots: slots.join(","), measured: Vec::new() })
}

fn first_slots(placement: &Placement) -> impl Iterator<Item = u16> {
    placement.slots.iter().flat_map(|&(first, last)| first..=last).take(SLOTS)
}

fn measure(options: &Options, subject: &Subject) -> Result<Measured, BenchError> {
    let pairs = [
        ("targets", subject.cluster.targets()),
        ("connections", options.connections.to_string()),
        ("slots", subject.slots.clone()),
        ("operation", "write".to_owned()),
        ("outstanding", options.outstanding.to_string()),
        ("value-size", options.value_size.to_string()),
        ("keys", options.keys.to_string()),
        ("seconds", options.seconds.to_string()),
        ("warmup", "0.5".to_owned()),
        ("seed", "1".to_owned()),
    ];
    let flags = pairs.into_iter().map(|(flag, value)| format!("--{flag}={value}"));
    let mut driver =
        Driver::start(["drive", "sunstar"].map(str::to_owned).into_iter().chain(flags))?;
    let pids = subject.cluster.pids();
    driver.expect("begin")?;
    let before = cpu::of(&pids)?;
    driver.expect("end")?;
    let used = cpu::of(&pids)?.saturating_sub(before);
    let drove: Drove = driver.result()?;
    if drove.errors > 0 {
        return Err(BenchError::Failed(format!("{} operations failed", drove.errors)));
    }
    let operations = Duration::from_micros(drove.ops);
    Ok(Measured {
        per_second: operations.as_secs_f64() * 1e6 / drove.seconds,
        p99_us: drove.p99_us,
        server_cpu_s_per_mop: used.div_duration_f64(operations),
    })
}

fn report(subjects: &[Subject]) {
    let mut first = BTreeMap::new();
    for subject in subjects {
        let reference = *first.entry(subject.question).or_insert(subject);
        let per_second = |measured: &Measured| measured.per_second;
        let cpu = |measured: &Measured| measured.server_cpu_s_per_mop;
        println!(
            "{}",
            json!({
                "question": subject.question,
                "groups": subject.groups,
                "ops_per_s": median(subject.measured.iter().map(per_second)),
                "p99_us": median(subject.measured.iter().map(|measured| measured.p99_us)),
                "server_cpu_s_per_mop": median(subject.measured.iter().map(cpu)),
                "ratio_throughput": ratio(subject, reference, per_second),
                "ratio_server_cpu": ratio(subject, reference, cpu),
            })
        );
    }
}

/// The median of what each round measured, over what it measured of the other.
fn ratio(subject: &Subject, reference: &Subject, of: impl Fn(&Measured) -> f64) -> f64 {
    let rounds = subject.measured.iter().zip(&reference.measured);
    median(rounds.map(|(one, other)| of(one) / of(other)))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
