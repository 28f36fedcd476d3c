//! The worker's side: a process that runs seeds as its parent says.
//!
//! A run may end in a panic, which in a release build ends the process, or in no end at all. So runs
//! happen in processes of their own. Parent and worker say one line of JSON each, in turn; a worker
//! that panics, or computes for ever, says so and where, and ends.

use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use sunstar::base::Micros;
use sunstar::sim::{self, Failure, Limits, Report, Seen, Watch};

/// What is asked of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Which run.
    pub(crate) seed: u64,
    /// Within which limits.
    pub(crate) limits: Limits,
    /// Whether it is to be run twice, to see whether it is the same both times.
    pub(crate) twice: bool,
}

/// The run under way.
static SEED: AtomicU64 = AtomicU64::new(0);
/// How far it is, in its own µs.
static AT: AtomicU64 = AtomicU64::new(0);
/// The process's CPU time when it began, ms, and one; zero between runs.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// A run that has computed for longer than this does not end. In CPU time: a machine that stands
/// still, or has more to do than this, says nothing about a run.
const PATIENCE_MS: u64 = 120_000;

/// Does what standard input says until that ends.
pub(crate) fn work() -> ExitCode {
    panic::set_hook(Box::new(|info| say_failure(of_panic(info))));
    watch();
    for line in io::stdin().lines().map_while(Result::ok) {
        let order: Order = serde_json::from_str(&line).expect("the parent's own words");
        say(&perform(&order));
    }
    ExitCode::SUCCESS
}

/// Runs a seed, once or twice.
pub(crate) fn perform(order: &Order) -> Report {
    let mut report = run(order);
    if order.twice && report.failure.is_none() {
        let again = run(order);
        if again != report {
            let detail = format!("first: {report:?}\nthen:  {again:?}");
            report.failure = Some(Failure {
                what: "two runs of one seed differ".to_owned(),
                place: "the whole run".to_owned(),
                at: report.simulated,
                detail,
            });
        }
    }
    report
}

fn run(order: &Order) -> Report {
    SEED.store(order.seed, Relaxed);
    AT.store(0, Relaxed);
    BEGUN.store(cpu_ms() + 1, Relaxed);
    let see = &mut |seen| {
        if let Seen::Moment(at) = seen {
            AT.store(at.0, Relaxed);
        }
    };
    let report = sim::run(order.seed, &order.limits, &mut Watch { lines: false, see });
    BEGUN.store(0, Relaxed);
    report
}

/// Ends the process when a run does not.
#[expect(clippy::disallowed_methods, reason = "looks at the clock beside a run, not in it")]
fn watch() {
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let begun = BEGUN.load(Relaxed);
            if begun > 0 && cpu_ms() > begun + PATIENCE_MS {
                say_failure(Failure {
                    what: "the run does not end".to_owned(),
                    place: "the whole run".to_owned(),
                    at: Micros(AT.load(Relaxed)),
                    detail: format!("{} s of computing are not enough", PATIENCE_MS / 1_000),
                });
                std::process::exit(1);
            }
        }
    });
}

fn cpu_ms() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let whole = u64::try_from(time.tv_sec).expect("not negative") * 1_000;
    whole + u64::try_from(time.tv_nsec).expect("not negative") / 1_000_000
}

fn of_panic(info: &PanicHookInfo<'_>) -> Failure {
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
    let place =
        info.location().map_or("unknown".to_owned(), |at| format!("{}:{}", at.file(), at.line()));
    Failure {
        // Without the values, which differ from seed to seed.
        what: format!("panic at {place}"),
        place,
        at: Micros(AT.load(Relaxed)),
        detail: text.to_owned(),
    }
}

/// Tells of a run that will not return.
fn say_failure(failure: Failure) {
    let at = failure.at;
    let seed = SEED.load(Relaxed);
    say(&Report { seed, simulated: at, stormy: at, failure: Some(failure), ..Report::default() });
}

fn say(report: &Report) {
    let mut line = serde_json::to_string(report).expect("plain data");
    line.push('\n');
    // Nobody may be there any more to hear it.
    _ = io::stdout().write_all(line.as_bytes());
    _ = io::stdout().flush();
}
