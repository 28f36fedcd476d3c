//! A client of a simulated cluster: the client that ships, driven by the world instead of sockets.
//!
//! ```text
//!   Chooser ──command──▶ client::core::Core ──actions──▶ World (connect, send, close, timer)
//!      ▲                       │     ▲                      │
//!      └──answer── Record ◀────┘     └──bytes, time─────────┘
//! ```
//!
//! Each client is a process of its own in the history: it has its number, its sessions, and values that
//! nobody else writes. It may end in the middle of everything, as processes do; then nobody ever hears
//! of what it had outstanding, and another client takes its place.

use std::collections::{BTreeMap, BTreeSet};

use super::verdict::Failure;
use super::workload::{Chooser, Habits};
use super::world::World;
use crate::base::{ConnectionId, Micros, Time};
use crate::client::core::{Action, Core};
use crate::client::{Command, Completion, Doubt, Options, Outcome};
use crate::history::{Begun, Operation, Record};

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    /// Unique in the run.
    number: u64,
    core: Core,
    chooser: Chooser,
    /// Commands without an outcome, by ticket.
    begun: BTreeMap<u64, Begun>,
    /// The ticket of the next command.
    next_ticket: u64,
    /// Whether it begins commands by itself.
    busy: bool,
    /// None before this.
    rests_until: Time,
    /// When its process ends.
    ends_at: Time,
    /// It says goodbye first: nothing is begun any more.
    leaving: bool,
    /// Connections that the world knows, by the core's number.
    connections: BTreeSet<ConnectionId>,
}

/// Where records go.
pub(super) type Records = Vec<Record>;

/// A connection's number in the world has its client's above this, and the core's own below.
const OWN_BITS: u32 = 32;

/// The number of the client whose connection this is.
pub(super) const fn owner(connection: ConnectionId) -> u64 {
    connection.0 >> OWN_BITS
}

impl Client {
    /// One that lives until `ends_at`.
    pub(super) fn new(
        number: u64,
        addresses: &[String],
        options: Options,
        mut random: fastrand::Rng,
        ends_at: Time,
    ) -> Self {
        let options = Options { seed: random.u64(..), ..options };
        Self {
            number,
            core: Core::new(addresses, options),
            chooser: Chooser::new(number, random),
            begun: BTreeMap::new(),
            next_ticket: 1,
            busy: false,
            rests_until: Time(0),
            ends_at,
            leaving: false,
            connections: BTreeSet::new(),
        }
    }

    /// Commands without an outcome, the oldest first.
    pub(super) fn outstanding(&self) -> impl ExactSizeIterator<Item = &Begun> {
        self.begun.values()
    }

    /// Whether its process is to end: it is time to, or it has said goodbye.
    pub(super) fn has_ended(&self, now: Time) -> bool {
        now >= self.ends_at || self.leaving && self.core.is_closed()
    }

    /// It takes its leave of the cluster, and waits for answers no longer than `until`.
    pub(super) fn leave(&mut self, now: Time, until: Time) {
        self.leaving = true;
        self.ends_at = self.ends_at.min(until);
        self.core.shut_down(now);
    }

    /// A connection stands.
    pub(super) fn on_connected(&mut self, connection: ConnectionId, now: Time) {
        self.core.handle_connected(own(connection), now);
    }

    /// Bytes came.
    pub(super) fn on_bytes(&mut self, connection: ConnectionId, bytes: &[u8], now: Time) {
        self.core.handle_bytes(own(connection), bytes, now);
    }

    /// A connection is gone.
    pub(super) fn on_closed(&mut self, connection: ConnectionId, now: Time) {
        self.connections.remove(&own(connection));
        self.core.handle_closed(own(connection), now);
    }

    /// Time passed.
    pub(super) fn on_timer(&mut self, now: Time) {
        self.core.handle_timeout(now);
    }

    /// Begins one command.
    pub(super) fn begin(&mut self, key: Vec<u8>, operation: Operation, now: Time) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let command = command(&key, &operation);
        self.core.submit(now, ticket, command).expect("within the limits of key and value");
        let client = self.number;
        self.begun.insert(ticket, Begun { client, key, operation, invoked: now });
    }

    /// Begins commands that are to happen all or not at all.
    fn begin_batch(&mut self, commands: Vec<(Vec<u8>, Operation)>, now: Time) {
        let ticket = self.next_ticket;
        let batch: Vec<_> = commands.iter().map(|(key, it)| command(key, it)).collect();
        self.core.submit_multi(now, ticket, &batch).expect("within all limits, and of one slot");
        let client = self.number;
        for (key, operation) in commands {
            let begun = Begun { client, key, operation, invoked: now };
            self.begun.insert(self.next_ticket, begun);
            self.next_ticket += 1;
        }
    }

    /// From now on it begins commands by itself, whenever it is served with habits.
    pub(super) fn becomes_busy(&mut self) {
        self.busy = true;
    }

    /// Whether it does.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Lets it do all that it wants to do now, and says when it wants to be woken.
    ///
    /// # Errors
    /// If it hears what no client may hear.
    pub(super) fn serve(
        &mut self,
        habits: Option<&Habits>,
        world: &mut World,
        records: &mut Records,
    ) -> Result<(), Failure> {
        let habits = habits.filter(|_| self.busy);
        self.pump(world, records)?;
        if let Some(habits) = habits {
            self.begin_chosen(habits, world.now());
            self.pump(world, records)?;
        }
        if let Some(at) = self.deadline(habits) {
            world.set_timer(self.number, at);
        }
        Ok(())
    }

    /// Begins a command if it is time to, and there may be one more.
    fn begin_chosen(&mut self, habits: &Habits, now: Time) {
        if self.leaving || now < self.rests_until || self.begun.len() >= habits.outstanding_max {
            return;
        }
        let mut commands = self.chooser.choose(habits);
        match commands.pop() {
            Some((key, operation)) if commands.is_empty() => self.begin(key, operation, now),
            last => {
                commands.extend(last);
                self.begin_batch(commands, now);
            }
        }
        self.rests_until = now + Micros(self.chooser.pause_us(habits));
    }

    /// Does what the core wants done, and takes the outcomes it has.
    fn pump(&mut self, world: &mut World, records: &mut Records) -> Result<(), Failure> {
        loop {
            while let Some(action) = self.core.poll_action() {
                self.perform(action, world);
            }
            if !self.take_outcomes(world.now(), records)? {
                return Ok(());
            }
        }
    }

    /// When it wants to be woken: for the core's sake, or to begin another command.
    fn deadline(&self, habits: Option<&Habits>) -> Option<Time> {
        let room = |habits: &Habits| self.begun.len() < habits.outstanding_max;
        let may_begin = !self.leaving && habits.is_some_and(room);
        let begins = may_begin.then_some(self.rests_until);
        [self.core.deadline(), begins, Some(self.ends_at)].into_iter().flatten().min()
    }

    /// The process ends: nobody ever hears of what is outstanding.
    pub(super) fn die(self, world: &mut World, records: &mut Records) {
        for &connection in &self.connections {
            world.close(self.outer(connection));
        }
        let now = world.now();
        records.extend(self.begun.into_values().map(|begun| begun.unanswered(now)));
    }

    fn perform(&mut self, action: Action, world: &mut World) {
        match action {
            Action::Connect { connection, address } => {
                self.connections.insert(connection);
                world.connect(self.outer(connection), &address);
            }
            Action::Send { connection } => {
                let bytes = self.core.unsent(connection);
                world.send(self.outer(connection), bytes);
                let count = bytes.len();
                self.core.handle_sent(connection, count);
            }
            Action::Close { connection } => {
                self.connections.remove(&connection);
                world.close(self.outer(connection));
            }
        }
    }

    /// Whether there were any.
    fn take_outcomes(&mut self, now: Time, records: &mut Records) -> Result<bool, Failure> {
        let mut any = false;
        while let Some(completion) = self.core.poll_completion() {
            any = true;
            let Some(begun) = self.begun.remove(&completion.ticket) else {
                return Err(told_twice(self.number, &completion, now));
            };
            match completion.outcome {
                Outcome::Unknown(Doubt::Forgotten) => return Err(forgotten(&begun, now)),
                Outcome::Unknown(_) if begun.operation.is_read() => {
                    return Err(unknown_read(&begun, now));
                }
                _ => {}
            }
            let record = completion.record(begun, now);
            if let Some(answer) = record.answer() {
                self.chooser.learn(&record.key, &record.operation, answer);
            }
            records.push(record);
        }
        Ok(any)
    }

    fn outer(&self, own: ConnectionId) -> ConnectionId {
        assert!(own.0 >> OWN_BITS == 0, "{own:?}: more connections than can be numbered");
        ConnectionId((self.number << OWN_BITS) | own.0)
    }
}

fn own(connection: ConnectionId) -> ConnectionId {
    ConnectionId(connection.0 & ((1 << OWN_BITS) - 1))
}

fn command<'a>(key: &'a [u8], operation: &'a Operation) -> Command<'a> {
    match operation {
        Operation::Get => Command::Get { key },
        Operation::Put { value } => Command::Put { key, value },
        Operation::Append { value } => Command::Append { key, value },
        Operation::Delete => Command::Delete { key },
        Operation::CompareAndSet { expected, value } => {
            Command::CompareAndSet { key, expected: expected.as_deref(), value }
        }
        Operation::Increment { delta } => Command::Increment { key, delta: *delta },
        Operation::Compare { expected } => Command::Compare { key, expected: expected.as_deref() },
    }
}

fn told_twice(client: u64, completion: &Completion<'_>, now: Time) -> Failure {
    Failure {
        what: "a command has two outcomes".to_owned(),
        place: format!("client {client}"),
        at: Micros(now.0),
        detail: format!("{completion:?}"),
    }
}

/// A read that was not answered did not happen: it changes nothing.
fn unknown_read(begun: &Begun, now: Time) -> Failure {
    Failure {
        what: "the outcome of a read is unknown".to_owned(),
        place: format!("client {}", begun.client),
        at: Micros(now.0),
        detail: format!("{begun:?}"),
    }
}

/// A group forgets the result of a command only when its client says that it has it.
fn forgotten(begun: &Begun, now: Time) -> Failure {
    Failure {
        what: "a group forgot a result that was still awaited".to_owned(),
        place: format!("client {}", begun.client),
        at: Micros(now.0),
        detail: format!("{begun:?}"),
    }
}
