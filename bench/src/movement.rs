//! What clients feel while groups, slots and nodes come and go.
//!
//! Three nodes are given appends by clients of which each writes to one slot, one append at a time, so that
//! what it waits is what its slot was not served. Beside that two groups join, then a fourth node; half of all
//! slots move to one group; and the first node is drained and stopped. In the end every append is to be found
//! exactly once, in its order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use sunstar::base::Slot;
use sunstar::client::blocking::Client;
use sunstar::client::{ClientError, Options as ClientOptions};

use crate::child::{Interrupt, directory_in};
use crate::error::BenchError;
use crate::nodes::{self, Nodes, Placement};

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Clients, each with a slot of its own.
    #[arg(long, default_value_t = 64)]
    clients: u16,
    /// Bytes that each of these slots holds from the beginning.
    #[arg(long, default_value_t = 1 << 20)]
    slot_bytes: usize,
    /// Appends that each client begins per second, at most; 0 for as many as it can. Where nodes and clients share
    /// few CPUs, clients that take all of them feel every change of who runs where.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Seconds of load before anything changes, and after each change.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// The data directories go under it.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The sunstar program; without it, built by cargo, or the one beside this program.
    #[arg(long)]
    sunstar: Option<PathBuf>,
}

/// Bytes of one of the values that fill a slot.
const FILLING: usize = 64 << 10;

/// Appends to one key; then the client goes on to another one in the same slot.
const APPENDS_PER_KEY: u64 = 4_096;

/// What the throughput of slots that do not move may fall to, and their p99 rise to, at most.
const THROUGHPUT_MIN: f64 = 0.9;
const P99_MAX: f64 = 2.0;

/// What waits are told apart up to.
const LONGEST_US: u64 = 60_000_000;

/// How long a slot may be without service while it moves.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// One part of the run.
struct Phase {
    name: &'static str,
    from: Instant,
    to: Instant,
    /// The slots that went from one group to another in it.
    moved: BTreeSet<u16>,
    /// The slots whose group stayed, but not its leader or its members.
    led_anew: BTreeSet<u16>,
}

/// An append that was answered.
#[derive(Clone, Copy)]
struct Answered {
    at: Instant,
    waited: Duration,
}

/// What a client went through.
struct Account {
    slot: u16,
    answered: Vec<Answered>,
    rejected: u64,
    unknown: u64,
    /// Whether what it finds in the end is what was acknowledged.
    exact: bool,
}

/// Runs all of it, prints what came of it as one JSON line.
///
/// # Errors
/// If an append failed, or is not found exactly once, or a change is refused. What is slower than it should be
/// is printed.
pub(crate) fn run(options: &Options) -> Result<(), BenchError> {
    let interrupt = Interrupt::register()?;
    let program = nodes::find(options.sunstar.as_deref())?;
    let directory = directory_in(&options.dir)?;
    let mut cluster = Nodes::start(&program, directory.path(), &interrupt)?;
    let end = Arc::new(AtomicBool::new(false));
    let clients = interrupt.explain(start_clients(options, &cluster, &end))?;
    let phases = interrupt.explain(change_all(options, &mut cluster, &interrupt));
    end.store(true, Ordering::Relaxed);
    let accounts: Vec<Account> =
        clients.into_iter().map(|client| client.join().expect("clients do not panic")).collect();
    report(options, &phases?, &accounts)
}

/// Starts the clients, and waits until each has filled its slot.
fn start_clients(
    options: &Options,
    cluster: &Nodes,
    end: &Arc<AtomicBool>,
) -> Result<Vec<JoinHandle<Account>>, BenchError> {
    let targets: Vec<String> = cluster.targets().split(',').map(str::to_owned).collect();
    let (ready, is_ready) = mpsc::channel();
    let clients = (0..options.clients).map(|number| {
        let (targets, end, ready) = (targets.clone(), end.clone(), ready.clone());
        let (slot, tag) = slot_of(number, options.clients);
        let (bytes, rate) = (options.slot_bytes, options.rate);
        std::thread::spawn(move || {
            let filled = connect(&targets, number, &tag, bytes);
            let (filled, client) = match filled {
                Ok(client) => (Ok(()), Some(client)),
                Err(error) => (Err(format!("a client of slot {slot}: {error}")), None),
            };
            // Nobody listens any more if another one has failed.
            let _ = ready.send(filled);
            drop(ready);
            append_until(&end, client, slot, &tag, rate)
        })
    });
    let clients = clients.collect();
    drop(ready);
    is_ready.iter().collect::<Result<(), String>>().map_err(BenchError::Failed)?;
    Ok(clients)
}

/// A client, which has filled its slot.
fn connect(targets: &[String], number: u16, tag: &str, bytes: usize) -> Result<Client, String> {
    let settings = ClientOptions { seed: u64::from(number) + 1, ..ClientOptions::default() };
    let mut client = Client::connect(targets, settings).map_err(|error| error.to_string())?;
    let filling = vec![b'x'; FILLING];
    for number in 0..bytes.div_ceil(FILLING) {
        let key = format!("{tag}filling{number}");
        client.put(key.as_bytes(), &filling).map_err(|error| error.to_string())?;
    }
    Ok(client)
}

/// A slot, evenly spread, and a tag whose keys are in it.
fn slot_of(number: u16, clients: u16) -> (u16, String) {
    let wanted = u32::from(number) * 16_384 / u32::from(clients);
    let tags = (0_u32..).map(|tag| format!("{{{tag}}}"));
    let is_there = |tag: &String| u32::from(Slot::of_key(tag.as_bytes()).number()) == wanted;
    let tag = tags.into_iter().find(is_there).expect("every slot has keys");
    (Slot::of_key(tag.as_bytes()).number(), tag)
}

fn append_until(
    end: &AtomicBool,
    client: Option<Client>,
    slot: u16,
    tag: &str,
    rate: u32,
) -> Account {
    let mut account = Account { slot, answered: Vec::new(), rejected: 0, unknown: 0, exact: true };
    let Some(mut client) = client else { return account };
    let mut count = 0_u64;
    let spacing = Duration::from_secs(1).checked_div(rate).unwrap_or_default();
    let mut due = Instant::now();
    while !end.load(Ordering::Relaxed) {
        let key = key_of(tag, count);
        due += spacing;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // What it could not begin in time has waited since it was due.
        let begun = if rate > 0 { due } else { Instant::now() };
        match client.append(key.as_bytes(), &count.to_le_bytes()) {
            Ok(_) => {
                let at = Instant::now();
                account.answered.push(Answered { at, waited: at - begun });
                count += 1;
            }
            Err(ClientError::Unknown(_)) => {
                account.unknown += 1;
                return account;
            }
            Err(_) => account.rejected += 1,
        }
    }
    account.exact = (0..count.div_ceil(APPENDS_PER_KEY)).all(|key| {
        let first = key * APPENDS_PER_KEY;
        let last = (first + APPENDS_PER_KEY).min(count);
        let expected: Vec<u8> = (first..last).flat_map(u64::to_le_bytes).collect();
        let found = client.get(key_of(tag, first).as_bytes());
        found.is_ok_and(|found| found.value.is_some_and(|value| value == expected))
    });
    account
}

fn key_of(tag: &str, count: u64) -> String {
    format!("{tag}appended{}", count / APPENDS_PER_KEY)
}

/// Has everything change that is to change, each followed by a while of rest.
fn change_all(
    options: &Options,
    cluster: &mut Nodes,
    interrupt: &Interrupt,
) -> Result<Vec<Phase>, BenchError> {
    let mut phases = Vec::new();
    let mut before = Served::by(cluster)?;
    let mut phase = |name, change: &mut dyn FnMut(&mut Nodes) -> Result<(), BenchError>| {
        eprintln!("{name}");
        interrupt.check()?;
        let from = Instant::now();
        change(cluster)?;
        std::thread::sleep(Duration::from_secs_f64(options.seconds));
        let to = Instant::now();
        let now = Served::by(cluster)?;
        let (moved, led_anew) = before.changed(&now);
        before = now;
        phases.push(Phase { name, from, to, moved, led_anew });
        Ok::<(), BenchError>(())
    };
    phase("steady", &mut |_| Ok(()))?;
    phase("two groups join", &mut |nodes| {
        nodes.ctl(&["join", "--groups", "2", "--wait"]).map(drop)
    })?;
    phase("a fourth node joins", &mut |nodes| nodes.join(interrupt))?;
    phase("half of all slots move", &mut |nodes| {
        nodes.ctl(&["move", "0-8191", "--to", "g5", "--wait"]).map(drop)
    })?;
    phase("the first node is drained", &mut |nodes| {
        nodes.ctl(&["drain", "n1", "--wait"]).map(drop)
    })?;
    phase("it is stopped", &mut |nodes| nodes.stop_first(interrupt))?;
    Ok(phases)
}

/// Who serves what.
struct Served {
    /// The owner of each slot.
    owners: Vec<u64>,
    /// Of each group, its members, and the term of its present leader.
    groups: BTreeMap<u64, (Vec<u64>, u64)>,
}

impl Served {
    fn by(cluster: &Nodes) -> Result<Self, BenchError> {
        let mut terms = BTreeMap::new();
        for group in cluster.cores()?.iter().flat_map(|core| &core.groups) {
            let term = terms.entry(group.number).or_insert(group.term);
            *term = group.term.max(*term);
        }
        let mut served = Self { owners: vec![0; 16_384], groups: BTreeMap::new() };
        for Placement { group, members, slots } in cluster.placements()? {
            let term = terms.get(&group).copied().unwrap_or_default();
            served.groups.insert(group, (members, term));
            for (first, last) in slots {
                served.owners[usize::from(first)..=usize::from(last)].fill(group);
            }
        }
        if served.owners.contains(&0) {
            return Err(BenchError::Failed("the shard map does not name all slots".into()));
        }
        Ok(served)
    }

    /// The slots that moved until `now`, and those whose group has changed.
    fn changed(&self, now: &Self) -> (BTreeSet<u16>, BTreeSet<u16>) {
        let slots = (0..).zip(self.owners.iter().zip(&now.owners));
        let (moved, stayed): (Vec<_>, Vec<_>) = slots.partition(|(_, (was, is))| was != is);
        let led_anew = |group: &u64| self.groups.get(group) != now.groups.get(group);
        let stayed = stayed.into_iter().filter(|(_, (_, group))| led_anew(group));
        (moved.into_iter().map(|(slot, _)| slot).collect(), stayed.map(|(slot, _)| slot).collect())
    }
}

/// Some clients' appends within a phase.
struct Slice {
    clients: usize,
    per_second: f64,
    p99: Duration,
    longest: Duration,
}

impl Slice {
    fn of<'a>(phase: &Phase, accounts: impl Iterator<Item = &'a Account>) -> Option<Self> {
        let mut waits = Histogram::<u64>::new_with_bounds(1, LONGEST_US, 3).expect("sound bounds");
        let (mut clients, mut appends, mut longest) = (0, 0_u32, Duration::ZERO);
        for account in accounts {
            clients += 1;
            let within = |it: &&Answered| (phase.from..phase.to).contains(&it.at);
            for answered in account.answered.iter().filter(within) {
                longest = longest.max(answered.waited);
                appends += 1;
                let us = u64::try_from(answered.waited.as_micros()).unwrap_or(u64::MAX);
                waits.saturating_record(us);
            }
        }
        if waits.is_empty() {
            return None;
        }
        let seconds = (phase.to - phase.from).as_secs_f64();
        let per_second = f64::from(appends) / seconds;
        let p99 = Duration::from_micros(waits.value_at_quantile(0.99));
        Some(Self { clients, per_second, p99, longest })
    }

    fn json(&self) -> Value {
        json!({
            "clients": self.clients,
            "per_second": self.per_second,
            "p99_ms": ms(self.p99),
            "longest_ms": ms(self.longest),
        })
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn report(options: &Options, phases: &[Phase], accounts: &[Account]) -> Result<(), BenchError> {
    let steady = &phases[0];
    let (mut holds, mut told) = (true, Vec::new());
    for phase in phases {
        let moves = |account: &&Account| phase.moved.contains(&account.slot);
        let led_anew = |account: &&Account| phase.led_anew.contains(&account.slot);
        let still = || accounts.iter().filter(|account| !moves(account) && !led_anew(account));
        let affected = [
            Slice::of(phase, accounts.iter().filter(moves)),
            Slice::of(phase, accounts.iter().filter(led_anew)),
        ];
        holds &= affected.iter().flatten().all(|slice| slice.longest < PAUSE_MAX);
        let mut line = json!({
            "phase": phase.name,
            "seconds": (phase.to - phase.from).as_secs_f64(),
            "slots_moved": phase.moved.len(),
            "slots_led_anew": phase.led_anew.len(),
            "moved": affected[0].as_ref().map(Slice::json),
            "led_anew": affected[1].as_ref().map(Slice::json),
        });
        if let (Some(now), Some(before)) = (Slice::of(phase, still()), Slice::of(steady, still())) {
            let throughput = now.per_second / before.per_second;
            let p99 = now.p99.as_secs_f64() / before.p99.as_secs_f64();
            holds &= throughput >= THROUGHPUT_MIN && p99 <= P99_MAX;
            line["still"] = now.json();
            line["throughput_ratio"] = throughput.into();
            line["p99_ratio"] = p99.into();
        }
        told.push(line);
    }
    let rejected: u64 = accounts.iter().map(|account| account.rejected).sum();
    let unknown: u64 = accounts.iter().map(|account| account.unknown).sum();
    let appends: usize = accounts.iter().map(|account| account.answered.len()).sum();
    let exact = accounts.iter().all(|account| account.exact);
    println!(
        "{}",
        json!({
            "slot_bytes": options.slot_bytes,
            "rate": options.rate,
            "appends": appends,
            "errors": rejected,
            "unknown": unknown,
            "each_exactly_once": exact,
            "phases": told,
            "holds": holds,
        })
    );
    if rejected + unknown == 0 && exact {
        return Ok(());
    }
    Err(BenchError::Failed(format!(
        "{rejected} errors, {unknown} unknown, each append exactly once: {exact}"
    )))
}
