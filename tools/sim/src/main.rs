//! `sunstar-sim`: simulated clusters under faults, seed by seed.

mod arguments;
mod crew;
#[cfg(feature = "planted-bugs")]
mod planted;
mod summary;
mod worker;

use std::io;
use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use sunstar::sim::{self, Limits, Report, Seen, Watch, shrink};

use arguments::{Arguments, Output};
use crew::Worker;
use summary::Summary;
use worker::Order;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.worker {
        return worker::work();
    }
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sunstar-sim: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    #[cfg(feature = "planted-bugs")]
    if arguments.planted_bugs {
        return planted::hunt(arguments).map_err(|error| error.to_string());
    }
    if let Some(seed) = arguments.seed {
        return one(arguments, seed);
    }
    let begun = now();
    let until = arguments.minutes.map(|minutes| begun + Duration::from_secs(60 * minutes));
    let seeds = seeds(arguments);
    let summary = many(arguments, seeds, begun, &|| until.is_none_or(|until| now() < until));
    let summary = summary.map_err(|error| error.to_string())?;
    match arguments.output {
        Output::Text => println!("{summary}"),
        Output::Json => println!("{}", serde_json::to_string(&summary).expect("plain data")),
    }
    Ok(if summary.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The seeds asked for.
fn seeds(arguments: &Arguments) -> Range<u64> {
    if let Some(seeds) = &arguments.seeds {
        return seeds.clone();
    }
    // Milliseconds since 1970: another one each time, and short enough to type.
    let since = now_of_day().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let first = u64::try_from(since.as_millis()).unwrap_or_default();
    first..arguments.fresh.map_or(u64::MAX, |count| first + count)
}

/// Many seeds, on all workers.
fn many(
    arguments: &Arguments,
    seeds: Range<u64>,
    begun: Instant,
    more: &(dyn Fn() -> bool + Sync),
) -> io::Result<Summary> {
    let mut summary = Summary::new();
    let mut told = begun;
    let limits = arguments.limits();
    crew::run_all(seeds, arguments.jobs(), (&limits, !arguments.once), more, &mut |report| {
        summary.add(&report);
        if report.failure.is_some() {
            // Each kind of failure is made small once.
            let first = summary.failures.values().any(|seeds| seeds == &[report.seed]);
            explain(&report, &limits, first && !arguments.no_shrink);
        }
        summary.took(now() - begun);
        if now() - told > PROGRESS {
            told = now();
            eprintln!("{:>5.0} s: {}", summary.real_seconds, summary.brief());
        }
    })?;
    summary.took(now() - begun);
    Ok(summary)
}

/// One seed, in this process if it is to be watched.
fn one(arguments: &Arguments, seed: u64) -> Result<ExitCode, String> {
    let limits = arguments.limits();
    let report = if arguments.trace {
        let see = &mut |seen| {
            if let Seen::Line(line) = seen {
                println!("{line}");
            }
        };
        sim::run(seed, &limits, &mut Watch { lines: true, see })
    } else {
        let order = Order { seed, limits: limits.clone(), twice: !arguments.once };
        Worker::new().run(&order).map_err(|error| error.to_string())?
    };
    match arguments.output {
        Output::Json => println!("{}", serde_json::to_string(&report).expect("plain data")),
        Output::Text if report.failure.is_none() => {
            let mut summary = Summary::new();
            summary.add(&report);
            println!("{}\n{summary}\ntrace hash {:016x}", report.shape, report.trace_hash);
        }
        Output::Text => explain(&report, &limits, !arguments.no_shrink),
    }
    Ok(if report.failure.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints a failure, and the smallest run that fails.
fn explain(report: &Report, limits: &Limits, small: bool) {
    let Some(failure) = &report.failure else { return };
    let Report { seed, shape, .. } = report;
    eprintln!("\nFAILED: seed {seed}, commit {}: {failure}", env!("SUNSTAR_COMMIT"));
    if !shape.is_empty() {
        eprintln!("  {shape}");
    }
    if small && limits.is_none() {
        let mut worker = Worker::new();
        let begun = now();
        let smallest = shrink(report.clone(), ATTEMPTS_MAX, &mut |limits| {
            let order = Order { seed: *seed, limits: limits.clone(), twice: false };
            // Without a worker there is no smaller run.
            (now() - begun < SHRINKING_MAX).then(|| worker.run(&order).unwrap_or_default())
        });
        if let Some(failure) = &smallest.report.failure
            && !smallest.limits.is_none()
        {
            let (limits, attempts) = (&smallest.limits, smallest.attempts);
            eprintln!("  in {attempts} runs the smallest that fails: {limits}\n  {failure}");
            let limits = serde_json::to_string(limits).expect("plain data");
            eprintln!("  again: sunstar-sim --seed {seed} --trace --limits '{limits}'");
            return;
        }
    }
    match serde_json::to_string(limits).expect("plain data") {
        _ if limits.is_none() => eprintln!("  again: sunstar-sim --seed {seed} --trace"),
        limits => eprintln!("  again: sunstar-sim --seed {seed} --trace --limits '{limits}'"),
    }
}

/// Runs that the search for a smaller one may take.
const ATTEMPTS_MAX: u32 = 60;

/// For so long runs are begun in the search for a smaller one.
const SHRINKING_MAX: Duration = Duration::from_mins(1);

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);

#[expect(clippy::disallowed_methods, reason = "how long runs take, and when to stop")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "seeds that nobody ran before")]
fn now_of_day() -> SystemTime {
    SystemTime::now()
}
