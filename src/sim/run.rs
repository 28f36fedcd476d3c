//! One seed's run: what it does, one phase after another, and what it demands.
//!
//! ```text
//!   storm ─────────── heal ── probe ─────── calm ─────── drain ─────── settle ─── judge
//!   clients, faults   faults  each group    clients go   no more      all the    final reads,
//!                     stop    writes in     on           commands     same       equal states,
//!                             time                                    state      the history
//! ```
//!
//! Safety is watched all the time: by the asserts of what runs, by the world after each turn, by clients
//! with every outcome, and by the history in the end. Liveness is demanded only when faults have stopped:
//! within ten election timeouts each group takes a write, every command gets an outcome, and in the end all
//! replicas hold the same, and every slot is where the newest shard map has it.

use std::collections::BTreeMap;

use super::client::{Client, Records, owner};
use super::faults::Tally;
use super::plan::Plan;
use super::verdict::{Commands, Failure, Limits, Report};
use super::workload::{OPEN_WRITES_MAX, key_in, parted};
use super::world::{Happened, World};
use crate::base::{Micros, Slot, Time};
use crate::client::Options;
use crate::history::{self, Operation, Outcome};

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum Seen {
    /// So far it is, in its own time.
    Moment(Micros),
    /// Something happened.
    Line(String),
}

/// Who watches a run.
pub struct Watch<'a> {
    /// Whether lines are wanted: they cost time.
    pub lines: bool,
    /// Told of everything.
    pub see: &'a mut dyn FnMut(Seen),
}

/// Runs what `seed` chooses, within `limits`.
///
/// # Panics
/// If what is simulated panics: its own asserts are part of what is checked. Whoever calls this catches it.
pub fn run(seed: u64, limits: &Limits, watch: &mut Watch<'_>) -> Report {
    let mut plan = Plan::of(seed);
    if let Some(changes) = limits.map_changes {
        plan.stretch(changes);
    }
    let mut run = Run::new(seed, plan, limits, watch);
    let failure = run.all_phases().err();
    run.report(seed, failure)
}

struct Run<'a, 'b> {
    plan: Plan,
    limits: &'a Limits,
    watch: &'a mut Watch<'b>,
    world: World,
    clients: BTreeMap<u64, Client>,
    /// Of the next client; zero is the run itself.
    next_client: u64,
    /// Whether clients begin commands by themselves, and new ones come for those that went.
    busy: bool,
    records: Records,
    /// Of `records`, those that `open_writes` counts.
    counted: usize,
    /// Writes of unknown outcome, by key.
    open_writes: BTreeMap<Vec<u8>, usize>,
    /// Of clients' lives.
    random: fastrand::Rng,
    /// When faults stopped.
    healed: Time,
}

/// The run itself, among those who have timers.
const RUN: u64 = 0;

/// When those end who are ended by the run.
const NEVER: Time = Time(u64::MAX / 2);

/// How often the run looks after its clients.
const ROUND: Micros = Micros::from_millis(200);

/// Clients go on for so long when the faults have stopped.
const CALM: Micros = Micros::from_secs(2);

/// All replicas hold the same after so many election timeouts without commands.
const SETTLED_WITHIN: u64 = 60;

/// Slots are where the newest map has them so much later, however many epochs there were.
const MOVED_WITHIN: Micros = Micros::from_secs(120);

/// A group with a healthy majority takes a write within so many election timeouts of the last fault.
const LIVE_WITHIN: u64 = 10;

impl<'a, 'b> Run<'a, 'b> {
    fn new(seed: u64, plan: Plan, limits: &'a Limits, watch: &'a mut Watch<'b>) -> Self {
        let mut world = World::new(seed, plan.shape.clone());
        world.name_slots(plan.habits.keys().map(Slot::of_key));
        if watch.lines {
            world.begin_trace();
        }
        Self {
            plan,
            limits,
            watch,
            world,
            clients: BTreeMap::new(),
            next_client: RUN + 1,
            busy: false,
            records: Records::new(),
            counted: 0,
            open_writes: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed ^ 0x006c_6976_6573),
            healed: Time(0),
        }
    }

    fn all_phases(&mut self) -> Result<(), Failure> {
        self.storm()?;
        self.probe()?;
        self.drain()?;
        self.settle()?;
        self.judge()
    }

    /// Clients and faults.
    fn storm(&mut self) -> Result<(), Failure> {
        let stormy = Time(self.plan.stormy.0);
        let faults = self.limits.faults_until.map_or(stormy, |until| Time(until.0).min(stormy));
        self.busy = true;
        if let Some(changes) = self.limits.map_changes {
            self.world.begin_upheaval(&self.limits.without);
            let under_way = |run: &Self| run.world.map_changes() < changes;
            self.go_on_while(faults, under_way)?;
        } else {
            self.world.begin_storm(&self.limits.without);
            self.go_on_until(faults)?;
        }
        self.world.heal();
        self.healed = self.world.now();
        if self.limits.map_changes.is_some() {
            return Ok(());
        }
        self.go_on_until(stormy)
    }

    /// Each group takes a write in time.
    fn probe(&mut self) -> Result<(), Failure> {
        let bound = self.times_election_timeout(LIVE_WITHIN);
        let map = self.world.map().clone();
        let patience = Options {
            operation_timeout: Micros(2 * bound.0),
            request_timeout: self.plan.shape.election_timeout,
            connect_timeout: self.plan.shape.election_timeout,
            ..self.plan.options
        };
        let now = self.world.now();
        let mut probes = Vec::new();
        for group in map.groups.iter().map(|group| group.id) {
            let (owned, served) = (map.owned(group), self.world.serves(group));
            // Whoever has them now is to be found, too.
            let elsewhere = owned.iter().filter(|&slot| !served.contains(slot)).collect();
            for key in [&owned, &elsewhere].into_iter().filter_map(|slots| key_in(slots, "probe")) {
                let number = self.add_client(patience, NEVER);
                probes.push(number);
                let operation = Operation::Append { value: format!("<{number}.p>").into_bytes() };
                self.client(number).begin(key, operation, now);
                self.serve(number)?;
            }
        }
        let waiting =
            |run: &Self| probes.iter().any(|number| run.clients[number].outstanding().len() > 0);
        self.go_on_while(now + bound, waiting)?;
        for number in probes {
            let late = self.clients[&number].outstanding().next().map(|begun| format!("{begun:?}"));
            if let Some(late) = late {
                let detail = format!("{late}\n{}", self.world.describe());
                return Err(
                    self.failure("a group takes no write long after the last fault", detail)
                );
            }
            self.end_client(number);
        }
        let calm = self.world.now() + CALM;
        self.go_on_until(calm)
    }

    /// Every command gets its outcome.
    fn drain(&mut self) -> Result<(), Failure> {
        self.busy = false;
        let until = self.world.now() + self.patience();
        let waiting =
            |run: &Self| run.clients.values().any(|client| client.outstanding().len() > 0);
        self.go_on_while(until, waiting)?;
        let numbers: Vec<u64> = self.clients.keys().copied().collect();
        for number in numbers {
            self.end_client(number);
        }
        Ok(())
    }

    /// All replicas come to hold the same.
    fn settle(&mut self) -> Result<(), Failure> {
        let until = self.world.now() + self.times_election_timeout(SETTLED_WITHIN) + MOVED_WITHIN;
        self.go_on_while(until, |run| !run.world.is_steady())?;
        if self.world.is_steady() {
            return Ok(());
        }
        let detail = self.world.describe();
        Err(self.failure("replicas do not come to hold the same", detail))
    }

    /// Every key is read once more, and all that was said is checked.
    fn judge(&mut self) -> Result<(), Failure> {
        let keys: Vec<Vec<u8>> = self.plan.habits.keys().map(<[u8]>::to_vec).collect();
        let options = Options { operation_timeout: Micros::from_secs(60), ..self.plan.options };
        let reader = self.add_client(options, NEVER);
        let now = self.world.now();
        for key in keys {
            self.client(reader).begin(key, Operation::Get, now);
        }
        self.serve(reader)?;
        let until = now + options.operation_timeout;
        self.go_on_while(until, |run| run.clients[&reader].outstanding().len() > 0)?;
        let unanswered =
            self.records.iter().find(|record| record.client == reader && record.answer().is_none());
        if let Some(record) = unanswered {
            let detail = record.to_string();
            return Err(self.failure("a key cannot be read in the end", detail));
        }
        self.end_client(reader);
        let read = self.records.iter().filter(|record| record.client == reader);
        let held = read.filter_map(|record| {
            Some((record.key.as_slice(), record.answer()?.value.clone().unwrap_or_default()))
        });
        if let Some((token, missing)) = parted(&self.records, &held.collect()) {
            let (token, missing) =
                (token.escape_ascii(), missing.iter().map(|it| it.escape_ascii()));
            let missing: Vec<String> = missing.map(|key| key.to_string()).collect();
            let detail = format!("{token} is not in {}", missing.join(", "));
            return Err(self.failure("an atomic batch happened in part", detail));
        }
        let findings = history::check(&self.records);
        let contradicted = findings.iter().find(|finding| !finding.contradictions.is_empty());
        let objection =
            contradicted.or_else(|| findings.iter().find(|finding| !finding.is_clean()));
        let Some(finding) = objection else { return Ok(()) };
        let what = match contradicted {
            Some(_) => format!("the history cannot be: {}", finding.check),
            None => format!("undecided whether the history can be: {}", finding.check),
        };
        Err(self.failure(&what, finding.to_string()))
    }

    fn go_on_until(&mut self, until: Time) -> Result<(), Failure> {
        self.go_on_while(until, |_| true)
    }

    /// Lets the world go on, until then or as long as `more` says.
    fn go_on_while(&mut self, until: Time, more: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        self.look_after_clients()?;
        while self.world.now() < until && more(self) {
            let round = (self.world.now() + ROUND).min(until);
            self.world.set_timer(RUN, round);
            while self.world.now() < round {
                let happened = self.world.step();
                if self.watch.lines {
                    self.tell();
                }
                if let Some(happened) = happened {
                    self.handle(happened)?;
                }
            }
            self.look_after_clients()?;
            self.tell();
        }
        Ok(())
    }

    fn handle(&mut self, happened: Happened) -> Result<(), Failure> {
        let now = self.world.now();
        let number = match &happened {
            Happened::Timer { client } => *client,
            Happened::Connected { connection }
            | Happened::Received { connection, .. }
            | Happened::Closed { connection } => owner(*connection),
        };
        // One that is no more hears nothing.
        let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
        match happened {
            Happened::Timer { .. } => client.on_timer(now),
            Happened::Connected { connection } => client.on_connected(connection, now),
            Happened::Received { connection, bytes } => client.on_bytes(connection, &bytes, now),
            Happened::Closed { connection } => client.on_closed(connection, now),
        }
        if client.has_ended(now) {
            self.end_client(number);
            return Ok(());
        }
        self.serve(number)
    }

    /// Lets a client do what it wants to do now.
    fn serve(&mut self, number: u64) -> Result<(), Failure> {
        let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
        let habits = self.busy.then_some(&self.plan.habits);
        client.serve(habits, &mut self.world, &mut self.records)
    }

    /// Ends clients whose time has come, and has others take their place.
    fn look_after_clients(&mut self) -> Result<(), Failure> {
        let now = self.world.now();
        self.refuse_overdue(now)?;
        self.renew_keys();
        let ended = |(&number, client): (&u64, &Client)| client.has_ended(now).then_some(number);
        let ended: Vec<u64> = self.clients.iter().filter_map(ended).collect();
        for number in ended {
            self.end_client(number);
        }
        let until = self.limits.commands_until.map_or(NEVER, |until| Time(until.0));
        self.busy &= now < until;
        while self.busy && self.clients.len() < self.plan.habits.clients {
            let lifetime = self.random.u64(0..=2 * self.plan.lifetime.0);
            let number = self.add_client(self.plan.options, now + Micros(lifetime));
            self.client(number).becomes_busy();
            self.serve(number)?;
        }
        if self.busy && self.random.u64(0..=self.plan.lifetime.0 / ROUND.0) == 0 {
            return self.one_leaves(now);
        }
        Ok(())
    }

    /// Keys that were given too many writes of unknown outcome are given no more.
    fn renew_keys(&mut self) {
        let new = &self.records[self.counted..];
        for record in new.iter().filter(|record| record.is_open()) {
            let count = self.open_writes.entry(record.key.clone()).or_default();
            *count += 1;
            if *count == OPEN_WRITES_MAX {
                self.plan.habits.renew(&record.key);
            }
        }
        self.counted = self.records.len();
    }

    /// A client closes its sessions and goes.
    fn one_leaves(&mut self, now: Time) -> Result<(), Failure> {
        let nth = self.random.usize(0..self.clients.len());
        let mut busy = self.clients.iter_mut().filter(|(_, client)| client.is_busy());
        let Some((&number, client)) = busy.nth(nth) else { return Ok(()) };
        client.leave(now, now + self.plan.options.request_timeout);
        self.serve(number)
    }

    /// No command goes without an outcome for ever, whatever happens to servers.
    fn refuse_overdue(&self, now: Time) -> Result<(), Failure> {
        let patience = self.patience();
        let oldest = self.clients.values().filter_map(|client| client.outstanding().next());
        match oldest.into_iter().find(|begun| begun.invoked + patience < now) {
            None => Ok(()),
            Some(begun) => {
                let detail = format!("{begun:?}");
                Err(self.failure("a command has no outcome long after its deadline", detail))
            }
        }
    }

    /// So long a command may take: what is sent to another group or in another session may wait with
    /// later ones.
    fn patience(&self) -> Micros {
        let bound = self.times_election_timeout(LIVE_WITHIN);
        Micros(2 * self.plan.options.operation_timeout.0.max(2 * bound.0) + 1_000_000)
    }

    fn add_client(&mut self, options: Options, ends_at: Time) -> u64 {
        let number = self.next_client;
        self.next_client += 1;
        let addresses = self.world.addresses();
        let random = self.random.fork();
        self.clients.insert(number, Client::new(number, &addresses, options, random, ends_at));
        number
    }

    fn client(&mut self, number: u64) -> &mut Client {
        self.clients.get_mut(&number).expect("just made")
    }

    fn end_client(&mut self, number: u64) {
        if let Some(client) = self.clients.remove(&number) {
            client.die(&mut self.world, &mut self.records);
        }
    }

    fn times_election_timeout(&self, count: u64) -> Micros {
        Micros(count * self.plan.shape.election_timeout.0)
    }

    /// Tells who watches how far it is, and what happened.
    fn tell(&mut self) {
        (self.watch.see)(Seen::Moment(Micros(self.world.now().0)));
        for line in self.world.take_trace() {
            (self.watch.see)(Seen::Line(line));
        }
    }

    fn failure(&self, what: &str, detail: String) -> Failure {
        let place = "the run".to_owned();
        Failure { what: what.to_owned(), place, at: Micros(self.world.now().0), detail }
    }

    fn report(mut self, seed: u64, failure: Option<Failure>) -> Report {
        self.tell();
        let mut commands = Commands::default();
        for record in &self.records {
            match record.outcome {
                Outcome::Applied(_) => commands.applied += 1,
                Outcome::Rejected { .. } => commands.rejected += 1,
                Outcome::Unknown { .. } => commands.unknown += 1,
            }
        }
        Report {
            seed,
            shape: self.plan.to_string(),
            simulated: Micros(self.world.now().0),
            stormy: Micros(self.healed.0),
            faults: counts(&self.world.faults()),
            map_changes: self.world.map_changes(),
            slots_moved: self.world.slots_moved(),
            commands,
            trace_hash: self.world.trace_hash(),
            failure,
        }
    }
}

/// Of the kinds that happened, by name.
fn counts(tally: &Tally) -> BTreeMap<String, u64> {
    let happened = tally.iter().filter(|&(_, count)| count > 0);
    happened.map(|(fault, count)| (fault.name().to_owned(), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_once(seed: u64) -> Report {
        run(seed, &Limits::default(), &mut Watch { lines: false, see: &mut |_| {} })
    }

    #[test]
    fn runs_pass_and_are_the_same_each_time() {
        for seed in 0..3 {
            let report = run_once(seed);
            assert_eq!(report.failure, None, "seed {seed}");
            assert!(report.commands.applied > 100, "seed {seed}: {:?}", report.commands);
            assert_eq!(run_once(seed), report, "seed {seed}");
        }
    }

    #[test]
    fn the_shard_map_changes_under_faults_and_every_slot_gets_where_it_belongs() {
        let limits = Limits { map_changes: Some(40), ..Limits::default() };
        let mut happened = BTreeMap::new();
        for seed in 0..3 {
            let report = run(seed, &limits, &mut Watch { lines: false, see: &mut |_| {} });
            assert_eq!(report.failure, None, "seed {seed}");
            assert!(report.map_changes >= 40 && report.slots_moved > 1_000, "{report:?}");
            for (fault, count) in report.faults {
                *happened.entry(fault).or_insert(0) += count;
            }
        }
        for fault in
            ["move", "join", "leave", "add-node", "drain", "crash", "partition", "transfer"]
        {
            assert!(happened.get(fault).is_some_and(|&count| count > 2), "{fault}: {happened:?}");
        }
    }
}
