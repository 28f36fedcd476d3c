//! Random histories that are linearizable because they were made so.
//!
//! Clients take turns, each with one command under way: it begins, later it is executed by the
//! specification and given its place, later it ends. Some are never answered; of those some are executed,
//! soon or late, and some never. For the checkers' own tests, and to measure them.

use std::collections::BTreeMap;

use super::record::{Answer, Begun, Operation, Outcome, Place, Record};
use super::specification::Specification;
use crate::base::{GroupId, Sequence, SessionId, Time};

/// What history to make.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Commands that come to an end.
    pub operations: usize,
    /// Keys: each is a list, a counter or a register for all commands.
    pub keys: u64,
    /// Clients, each with one command under way.
    pub clients: u64,
    /// Groups that the keys are spread over.
    pub groups: u32,
    /// Values that puts choose from; zero: each is new, as is every token that is appended.
    pub values: u32,
    /// Commands that are never answered, of a thousand.
    pub unknown_per_mille: u32,
    /// Commands that are rejected, of a thousand.
    pub rejected_per_mille: u32,
    /// Equal seeds make equal histories.
    pub seed: u64,
}

/// Makes a history; its records are in the order of their ends, those outstanding at the end last.
pub fn generate(shape: &Shape) -> Vec<Record> {
    let mut generator = Generator::new(shape);
    while generator.records.len() < shape.operations {
        generator.step();
    }
    generator.finish()
}

/// Where a client is with its command.
enum Client {
    Idle,
    Begun(Command),
    Executed(Command, Answer),
}

#[derive(Clone)]
struct Command {
    begun: Begun,
    session: SessionId,
    sequence: Sequence,
}

struct Generator<'a> {
    shape: &'a Shape,
    random: fastrand::Rng,
    now: u64,
    store: Specification,
    clients: Vec<Client>,
    /// The last sequence of each client.
    sequences: Vec<u64>,
    /// The last place given in each group, and whether to a read.
    last_places: BTreeMap<GroupId, (Place, bool)>,
    /// Unanswered commands that are still to be executed.
    stragglers: Vec<Command>,
    records: Vec<Record>,
}

impl<'a> Generator<'a> {
    fn new(shape: &'a Shape) -> Self {
        Self {
            shape,
            random: fastrand::Rng::with_seed(shape.seed),
            now: 0,
            store: Specification::default(),
            clients: (0..shape.clients).map(|_| Client::Idle).collect(),
            sequences: (0..shape.clients).map(|_| 0).collect(),
            last_places: BTreeMap::new(),
            stragglers: Vec::new(),
            records: Vec::new(),
        }
    }

    fn step(&mut self) {
        self.now += self.random.u64(..4);
        if !self.stragglers.is_empty() && self.random.u32(..50) == 0 {
            let at = self.random.usize(..self.stragglers.len());
            let straggler = self.stragglers.swap_remove(at);
            self.execute(&straggler);
        }
        let at = self.random.usize(..self.clients.len());
        self.clients[at] = match std::mem::replace(&mut self.clients[at], Client::Idle) {
            Client::Idle => Client::Begun(self.begin(at)),
            Client::Begun(command) => self.go_on(command),
            Client::Executed(command, answer) => {
                self.end(command, Outcome::Applied(answer));
                Client::Idle
            }
        };
    }

    fn finish(mut self) -> Vec<Record> {
        for client in std::mem::take(&mut self.clients) {
            match client {
                Client::Idle => {}
                Client::Begun(command) | Client::Executed(command, _) => {
                    self.records.push(command.begun.unanswered(Time(self.now)));
                }
            }
        }
        self.records
    }

    fn begin(&mut self, client: usize) -> Command {
        self.sequences[client] += 1;
        let sequence = self.sequences[client];
        let key = self.random.u64(..self.shape.keys);
        let operation = self.operation(key, client, sequence);
        let is_read = operation.is_read();
        let client = client as u64;
        let begun =
            Begun { client, key: format!("key-{key}").into(), operation, invoked: Time(self.now) };
        let session = SessionId(if is_read { 0 } else { client + 1 });
        Command { begun, session, sequence: Sequence(if is_read { 0 } else { sequence }) }
    }

    fn operation(&mut self, key: u64, client: usize, sequence: u64) -> Operation {
        let token = format!("{client}-{sequence};").into_bytes();
        match (key % 4, self.random.u32(..10)) {
            (_, 0..4) => Operation::Get,
            (0, _) => Operation::Append { value: token },
            (1, _) => Operation::Increment { delta: self.random.i64(1..4) },
            (_, 4 | 5) => Operation::Put { value: self.value(token) },
            (_, 6) => Operation::Append { value: token },
            (_, 7) => Operation::Delete,
            (_, 8) => Operation::Increment { delta: self.random.i64(-3..4) },
            _ => {
                let held = self.store.keys.get(format!("key-{key}").as_bytes()).cloned();
                let expected = if self.random.u32(..4) == 0 { None } else { held };
                if self.random.bool() {
                    return Operation::Compare { expected };
                }
                Operation::CompareAndSet { expected, value: self.value(token) }
            }
        }
    }

    fn value(&mut self, token: Vec<u8>) -> Vec<u8> {
        match self.shape.values {
            0 => token,
            count => self.random.u32(..count).to_string().into_bytes(),
        }
    }

    /// The next of a command that has begun: mostly it is executed.
    fn go_on(&mut self, command: Command) -> Client {
        let chance = self.random.u32(..1_000);
        let Shape { unknown_per_mille, rejected_per_mille, .. } = *self.shape;
        if chance < unknown_per_mille {
            match self.random.u32(..3) {
                0 => {}
                1 => {
                    self.execute(&command);
                }
                _ => self.stragglers.push(command.clone()),
            }
            self.end(command, Outcome::Unknown { reason: "no answer".to_owned() });
        } else if chance < unknown_per_mille + rejected_per_mille {
            self.end(command, Outcome::Rejected { reason: "refused".to_owned() });
        } else {
            let answer = self.execute(&command);
            return Client::Executed(command, answer);
        }
        Client::Idle
    }

    fn execute(&mut self, command: &Command) -> Answer {
        let Begun { key, operation, .. } = &command.begun;
        let group = GroupId(1 + crc32c::crc32c(key) % self.shape.groups);
        let place = self.place(group, operation.is_read());
        let (status, number, value) = self.store.execute(key, operation);
        Answer { status, number, value, place }
    }

    /// The next place in a group. A read saw all of its entry, so the next write is of another one.
    fn place(&mut self, group: GroupId, is_read: bool) -> Place {
        let (last, was_read) = self.last_places.entry(group).or_default();
        *last = match is_read {
            true => Place { group, position: 0, ..*last },
            false if last.index.0 > 0 && !*was_read && self.random.bool() => {
                Place { position: last.position + 1 + self.random.u32(..2), ..*last }
            }
            false => Place { group, index: last.index.plus(self.random.u64(1..3)), position: 0 },
        };
        *was_read = is_read;
        *last
    }

    fn end(&mut self, command: Command, outcome: Outcome) {
        let Command { begun, session, sequence } = command;
        self.records.push(begun.ended(session, sequence, Time(self.now), outcome));
    }
}
