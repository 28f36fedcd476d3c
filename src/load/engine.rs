//! The loop that keeps commands outstanding and takes their answers.

use hdrhistogram::Histogram;

use super::mix::{Choice, Kind, Mix};
use super::options::{LoadError, LoadOptions};
use super::recorder::Recorder;
use super::report::{Progress, Report};
use super::{nap, process_cpu, seconds};
use crate::base::{Micros, Time};
use crate::client::blocking::{Clock, Sockets};
use crate::client::core::Core;
use crate::client::{Options, Outcome};

/// Everything one load needs.
pub(super) struct Engine<'a> {
    options: &'a LoadOptions,
    clock: Clock,
    sockets: Sockets,
    clients: Vec<Client>,
    mix: Mix,
    /// What each outstanding command is; its ticket is its place here.
    slots: Vec<Slot>,
    /// Places in `slots` that are free.
    free: Vec<u32>,
    /// Commands outstanding.
    in_flight: usize,
    /// Whose turn the next command of an open loop is.
    next_client: usize,
    /// What started before is not counted.
    counted_from: Time,
    tally: Tally,
    /// `None`: nobody asked for a history.
    recorder: Option<Recorder>,
}

/// One client core.
struct Client {
    core: Core,
    outstanding: usize,
    /// Commands outstanding, at most.
    share: usize,
}

/// An outstanding command.
#[derive(Clone, Copy, Debug)]
struct Slot {
    choice: Choice,
    /// When it began, or in an open loop was to begin.
    started: Time,
}

/// What has been counted.
struct Tally {
    ops: u64,
    reads: u64,
    /// Commands that an open loop has begun.
    begun: u64,
    errors: u64,
    unknown: u64,
    first_failure: Option<String>,
    /// When the last counted command was answered.
    last_answer: Time,
    /// Latencies since the last progress.
    recent: Histogram<u64>,
    /// All latencies before.
    total: Histogram<u64>,
}

impl<'a> Engine<'a> {
    /// Connects every client.
    pub(super) fn connect(options: &'a LoadOptions) -> Result<Self, LoadError> {
        let mut clients = Vec::with_capacity(options.connections);
        for number in 0..options.connections {
            let seed = options.seed.wrapping_mul(1_000_003).wrapping_add(number as u64);
            let core = Core::new(&options.targets, Options { seed, ..options.client });
            let rest = usize::from(number < options.in_flight % options.connections);
            let share = options.in_flight / options.connections + rest;
            clients.push(Client { core, outstanding: 0, share });
        }
        let unused = Slot { choice: Mix::new(options).first_write(0), started: Time(0) };
        let places = u32::try_from(options.in_flight).expect("checked: 10 million at most");
        let clock = Clock::new();
        let recorder = match &options.history {
            Some(path) => Some(Recorder::create(path, options.in_flight, &clock)?),
            None => None,
        };
        let mut engine = Self {
            options,
            clock,
            sockets: Sockets::new()?,
            clients,
            mix: Mix::new(options),
            slots: vec![unused; options.in_flight],
            free: (0..places).rev().collect(),
            in_flight: 0,
            next_client: 0,
            counted_from: Time(u64::MAX),
            tally: Tally::new(),
            recorder,
        };
        engine.await_map()?;
        Ok(engine)
    }

    fn await_map(&mut self) -> Result<(), LoadError> {
        let patience = self.options.client.operation_timeout;
        let until = self.clock.now() + patience;
        while !self.clients.iter().all(|client| client.core.is_ready()) {
            if self.clock.now() >= until {
                let targets = self.options.targets.join(", ");
                return Err(LoadError::Unreachable { targets, seconds: patience.0 / 1_000_000 });
            }
            self.turn(until);
        }
        Ok(())
    }

    /// Writes every key once, uncounted.
    pub(super) fn preload(&mut self) {
        let mut next = 0;
        while next < self.options.keys || self.in_flight > 0 {
            let now = self.clock.now();
            for position in 0..self.clients.len() {
                while next < self.options.keys && self.has_room(position) {
                    let choice = self.mix.first_write(next);
                    self.begin(position, choice, now, now);
                    next += 1;
                }
            }
            self.turn(Time(u64::MAX));
        }
    }

    /// Loads for as long as the options say, and `goes_on` does not say no, and reports.
    pub(super) fn measure(
        mut self,
        goes_on: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Report, LoadError> {
        let start = self.clock.now();
        self.counted_from = start + self.options.warmup;
        let mut end = self.counted_from + self.options.duration;
        let mut seconds_of = Seconds { next: start + SECOND, last: start, last_ops: 0 };
        let mut cpu_before = None;
        let mut intended = start;
        while self.clock.now() < end || self.in_flight > 0 || intended < end {
            let now = self.clock.now();
            if now >= self.counted_from && cpu_before.is_none() {
                cpu_before = Some(process_cpu());
            }
            let wake = match self.options.rate {
                Some(rate) => self.fill_open(now, end, rate, start, &mut intended),
                None => self.fill_closed(now, end, &mut intended),
            };
            self.turn(wake.min(seconds_of.next));
            if self.clock.now() >= seconds_of.next
                && !goes_on(self.progress(start, &mut seconds_of))
            {
                end = end.min(self.clock.now());
            }
        }
        let cpu = process_cpu().0 - cpu_before.unwrap_or_default().0;
        let report = self.report(end, Micros(cpu));
        let now = self.clock.now();
        let recorded = self.recorder.take().map_or(Ok(()), |recorder| recorder.finish(now));
        self.shut_down();
        recorded.map(|()| report)
    }

    /// Keeps every client's share outstanding until `end`.
    fn fill_closed(&mut self, now: Time, end: Time, intended: &mut Time) -> Time {
        *intended = end;
        if now >= end {
            return Time(u64::MAX);
        }
        for position in 0..self.clients.len() {
            while self.has_room(position) {
                let choice = self.mix.choose();
                self.begin(position, choice, now, now);
            }
        }
        end
    }

    /// Begins every command whose time has come, as far as there is room; says when the next comes.
    /// Those that find no room begin later but count from when they were to begin.
    fn fill_open(
        &mut self,
        now: Time,
        end: Time,
        rate: u64,
        start: Time,
        intended: &mut Time,
    ) -> Time {
        while *intended <= now && *intended < end {
            let Some(position) = self.next_with_room() else { return Time(u64::MAX) };
            let choice = self.mix.choose();
            self.begin(position, choice, *intended, now);
            self.tally.begun += 1;
            *intended = start + Micros(self.tally.begun * 1_000_000 / rate);
        }
        if *intended < end { *intended } else { Time(u64::MAX) }
    }

    fn has_room(&self, position: usize) -> bool {
        let client = &self.clients[position];
        client.outstanding < client.share
    }

    /// The next client, in turn, that may have one more command outstanding.
    fn next_with_room(&mut self) -> Option<usize> {
        for _ in 0..self.clients.len() {
            let position = self.next_client;
            self.next_client = (position + 1) % self.clients.len();
            if self.has_room(position) {
                return Some(position);
            }
        }
        None
    }

    fn begin(&mut self, position: usize, choice: Choice, started: Time, now: Time) {
        let place = self.free.pop().expect("shares add up to the slots");
        self.slots[place as usize] = Slot { choice, started };
        let client = &mut self.clients[position];
        client.outstanding += 1;
        self.in_flight += 1;
        let ticket = u64::from(place);
        let recorder = &mut self.recorder;
        self.mix
            .command(choice, |command| {
                if let Some(recorder) = recorder {
                    recorder.begin(ticket, position as u64, &command, now);
                }
                client.core.submit(now, ticket, command)
            })
            .expect("keys and values are within the limits");
    }

    /// Sends, waits until something happens or `until`, and takes answers.
    fn turn(&mut self, until: Time) {
        let now = self.clock.now();
        let mut until = until;
        let mut answered = false;
        for (owner, client) in self.clients.iter_mut().enumerate() {
            self.sockets.perform(owner, &mut client.core, now);
            answered |= client.core.has_completions();
            until = until.min(client.core.deadline().unwrap_or(until));
        }
        self.sockets.wait(Some(if answered { Micros(0) } else { nap(now, until) }));
        let now = self.clock.now();
        while let Some(ready) = self.sockets.take_ready() {
            self.sockets.handle(ready, &mut self.clients[ready.owner].core, now);
        }
        for position in 0..self.clients.len() {
            self.clients[position].core.handle_timeout(now);
            self.take_answers(position, now);
        }
    }

    fn take_answers(&mut self, position: usize, now: Time) {
        let client = &mut self.clients[position];
        // What was answered after this turn's time was read must not seem to have been answered before.
        let taken = self.recorder.as_ref().map(|_| self.clock.now());
        while let Some(completion) = client.core.poll_completion() {
            if let (Some(recorder), Some(taken)) = (&mut self.recorder, taken) {
                recorder.end(&completion, taken);
            }
            let place = u32::try_from(completion.ticket).expect("a place in slots");
            let slot = self.slots[place as usize];
            self.free.push(place);
            client.outstanding -= 1;
            self.in_flight -= 1;
            if let Outcome::Applied(applied) = &completion.outcome {
                self.mix.learn(slot.choice, applied);
            }
            if slot.started >= self.counted_from {
                self.tally.count(&slot, &completion.outcome, now);
            } else {
                self.tally.note_failure(&completion.outcome);
            }
        }
    }

    fn progress(&mut self, start: Time, seconds_of: &mut Seconds) -> Progress {
        let now = self.clock.now();
        let tally = &mut self.tally;
        let span = seconds(now.since(seconds_of.last));
        let progress = Progress {
            elapsed_s: seconds(now.since(start)),
            ops_per_s: per_second(tally.ops - seconds_of.last_ops, span),
            p50_us: tally.recent.value_at_quantile(0.5),
            p99_us: tally.recent.value_at_quantile(0.99),
            errors: tally.errors,
            unknown: tally.unknown,
            in_flight: self.in_flight,
            warmup: now < self.counted_from,
        };
        tally.turn_page();
        *seconds_of = Seconds { next: seconds_of.next + SECOND, last: now, last_ops: tally.ops };
        progress
    }

    fn report(&mut self, end: Time, cpu: Micros) -> Report {
        self.tally.turn_page();
        let tally = &mut self.tally;
        let latencies = std::mem::replace(&mut tally.total, histogram());
        let span = seconds(tally.last_answer.max(end).since(self.counted_from));
        let counters = || self.clients.iter().map(|client| client.core.counters());
        Report {
            r#loop: if self.options.rate.is_some() { "open" } else { "closed" },
            nodes: self.clients[0].core.node_count(),
            ops: tally.ops,
            ops_per_s: per_second(tally.ops, span),
            p50_us: latencies.value_at_quantile(0.5),
            p99_us: latencies.value_at_quantile(0.99),
            p999_us: latencies.value_at_quantile(0.999),
            max_us: latencies.max(),
            errors: tally.errors,
            unknown: tally.unknown,
            reads: tally.reads,
            writes: tally.ops - tally.reads,
            cpu_s: seconds(cpu),
            duration_s: span,
            frames_repeated: counters().map(|counters| counters.frames_repeated).sum(),
            connections_lost: counters().map(|counters| counters.connections_lost).sum(),
            first_failure: tally.first_failure.take(),
            latencies,
        }
    }

    /// Asks the groups to forget the sessions; waits for it a little.
    fn shut_down(mut self) {
        let until = self.clock.now() + FAREWELL;
        for client in &mut self.clients {
            client.core.shut_down(self.clock.now());
        }
        while self.clock.now() < until && !self.clients.iter().all(|client| client.core.is_closed())
        {
            self.turn(until);
        }
    }
}

/// When progress is due, and what it counts from.
struct Seconds {
    next: Time,
    last: Time,
    last_ops: u64,
}

const SECOND: Micros = Micros::from_secs(1);

/// How long the end of a load waits for sessions to be closed.
const FAREWELL: Micros = Micros::from_millis(500);

impl Tally {
    fn new() -> Self {
        Self {
            ops: 0,
            reads: 0,
            begun: 0,
            errors: 0,
            unknown: 0,
            first_failure: None,
            last_answer: Time(0),
            recent: histogram(),
            total: histogram(),
        }
    }

    fn count(&mut self, slot: &Slot, outcome: &Outcome<'_>, now: Time) {
        self.last_answer = now;
        if !matches!(outcome, Outcome::Applied(_)) {
            self.note_failure(outcome);
            return;
        }
        self.ops += 1;
        self.reads += u64::from(slot.choice.kind == Kind::Get);
        self.recent.saturating_record(now.since(slot.started).0);
    }

    fn note_failure(&mut self, outcome: &Outcome<'_>) {
        let failure = match outcome {
            Outcome::Applied(_) => return,
            Outcome::Rejected(reason) => {
                self.errors += 1;
                format!("rejected: {reason}")
            }
            Outcome::Unknown(doubt) => {
                self.unknown += 1;
                format!("outcome unknown: {doubt}")
            }
        };
        self.first_failure.get_or_insert(failure);
    }

    /// Adds what is recent to the total.
    fn turn_page(&mut self) {
        self.total.add(&self.recent).expect("both have the same bounds");
        self.recent.reset();
    }
}

/// Up to ten minutes, in microseconds, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("sound bounds")
}

#[expect(clippy::cast_precision_loss, reason = "counts of a load fit 52 bits")]
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}
