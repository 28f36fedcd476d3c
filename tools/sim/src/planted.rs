//! The hunt for mistakes made on purpose: each in processes of its own, seed after seed, until one fails.
//!
//! A process makes one mistake in all it does (`base::planted`). A seed that fails without one shows nothing, and
//! is passed over.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Serialize;
use sunstar::base::Mistake;
use sunstar::sim::{Limits, Report};

use crate::arguments::{Arguments, Output};
use crate::crew::Worker;
use crate::now;
use crate::worker::Order;

/// So long a mistake may stay unfound.
const PATIENCE: Duration = Duration::from_mins(1);

/// Or for so many seeds, where that takes longer: a slow or busy machine proves nothing.
const SEEDS: u64 = 250;

/// The environment variable that chooses.
const VARIABLE: &str = "SUNSTAR_MISTAKE";

/// How the hunt for one of them went.
#[derive(Clone, Debug, Serialize)]
struct Hunt {
    mistake: String,
    seconds: f64,
    /// Seeds run, the last of which found it, if one did.
    seeds: u64,
    /// What was noticed.
    found: Option<String>,
    /// Why nobody expects it to be found here.
    elsewhere: Option<&'static str>,
}

/// Hunts all that were asked for.
pub(crate) fn hunt(arguments: &Arguments) -> io::Result<ExitCode> {
    let names = Mistake::ALL.iter().map(|mistake| format!("{mistake:?}"));
    let wanted = names.filter(|name| name.contains(&arguments.bug));
    // What the simulator does not know is hunted by the suites: looked for here only by name.
    let wanted = wanted.filter(|name| !arguments.bug.is_empty() || elsewhere(name).is_none());
    let wanted: Vec<String> = wanted.collect();
    println!("{:<24} {:>5} {:>6}  found by", "mistake", "s", "seeds");
    let next = AtomicUsize::new(0);
    let work = |hunts: mpsc::Sender<io::Result<Hunt>>| {
        while let Some(name) = wanted.get(next.fetch_add(1, Relaxed)) {
            if hunts.send(hunt_one(name)).is_err() {
                break;
            }
        }
    };
    let hunts = std::thread::scope(|scope| {
        let (sender, hunts) = mpsc::channel();
        for _ in 0..arguments.jobs() {
            let (sender, work) = (sender.clone(), &work);
            scope.spawn(move || work(sender));
        }
        drop(sender);
        let told = |hunt: &io::Result<Hunt>| hunt.iter().for_each(|hunt| println!("{hunt}"));
        hunts.iter().inspect(told).collect::<io::Result<Vec<Hunt>>>()
    })?;
    Ok(sum_up(&hunts, arguments.output))
}

fn hunt_one(name: &str) -> io::Result<Hunt> {
    let begun = now();
    let mut worker = Worker::with_mistake(VARIABLE, name.to_owned());
    let mut faultless = Worker::new();
    let mut seeds = 0;
    let mut found = None;
    while found.is_none() && (elapsed(begun) < PATIENCE || seeds < SEEDS) {
        let order = Order { seed: seeds, limits: Limits::default(), twice: false };
        if let Report { failure: Some(failure), .. } = worker.run(&order)?
            && faultless.run(&order)?.failure.is_none()
        {
            found = Some(failure.what);
        }
        seeds += 1;
    }
    let seconds = elapsed(begun).as_secs_f64();
    Ok(Hunt { mistake: name.to_owned(), seconds, seeds, found, elsewhere: elsewhere(name) })
}

fn elapsed(begun: Instant) -> Duration {
    now() - begun
}

fn sum_up(hunts: &[Hunt], output: Output) -> ExitCode {
    if output == Output::Json {
        println!("{}", serde_json::to_string(hunts).expect("plain data"));
    }
    let missed: Vec<&str> = hunts
        .iter()
        .filter(|hunt| hunt.found.is_none())
        .map(|hunt| hunt.mistake.as_str())
        .collect();
    let known = Mistake::ALL.iter().filter(|mistake| elsewhere(&format!("{mistake:?}")).is_some());
    println!(
        "{} of {} found; {} more are the suites' to find",
        hunts.len() - missed.len(),
        hunts.len(),
        known.count()
    );
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("NOT FOUND: {}", missed.join(", "));
    ExitCode::FAILURE
}

impl std::fmt::Display for Hunt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mistake, seconds, seeds, found, elsewhere } = self;
        let found = found.as_deref().unwrap_or("-");
        write!(f, "{mistake:<24} {seconds:>5.1} {seeds:>6}  {found}")?;
        elsewhere.map_or(Ok(()), |why| write!(f, " ({why})"))
    }
}

/// Why the simulator is not expected to find a mistake within a minute, if it is not. The suites of
/// `tests/planted` find all of them.
fn elsewhere(name: &str) -> Option<&'static str> {
    Some(match name {
        "SaltReused" | "RunReused" | "SaltUnchecked" | "ChainUnchecked" | "HeaderUnchecked" => {
            "takes remains of an earlier life at the very place: the log's own tests put them there"
        }
        "RecycledTooSoon"
        | "GivenUpTooSoon"
        | "AcksOutOfOrder"
        | "NoClosingBatch"
        | "PreambleWithoutVotes"
        | "PreambleWithoutResets"
        | "PreambleWithoutDoubts" => {
            "takes a power loss in one of few moments: the log's own tests go through all of them"
        }
        "HolesIgnored" | "FooterUnchecked" | "LostSnapshotIgnored" => {
            "takes damage at one of few places: the tests of every byte do it"
        }
        "WritesWhenFull" | "ReserveUsedUp" => {
            "disks are not full for long enough to use up what is set aside"
        }
        "StatesNotCompared" | "QuarantinedServes" => "no memory goes bad here",
        "AnyIncarnationCounts" | "BlankDiskVotes" | "LeavesWithoutDoubt" => {
            "takes a chain of events that few seeds have: scenarios of the reactor's tests"
        }
        "ExpiryEndsDoubt" => "no run lasts as long as an idle session",
        "SkipsLastRound" | "FrozenRead" | "RestartKeepsContent" => {
            "takes a write, a read or another leader in the moment in which a slot is handed over"
        }
        _ => return None,
    })
}
