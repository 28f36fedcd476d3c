//! The client for programs with threads: each call waits for its outcome.
//!
//! `submit` and `wait` pipeline: many commands may be outstanding, in any number of groups.
//!
//! ```no_run
//! use sunstar::client::{Options, blocking::Client};
//!
//! let mut client = Client::connect(&["127.0.0.1:7101"], Options::default())?;
//! client.put(b"greeting", b"hello")?;
//! let length = client.append(b"greeting", b", world")?.value;
//! assert_eq!(length, 12);
//! assert_eq!(client.get(b"greeting")?.value.as_deref(), Some(&b"hello, world"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clock;
mod sockets;
#[cfg(test)]
mod tests;

use std::io;

use super::answer::{Answer, At, ClientError};
use super::command::{Command, CommandError};
use super::core::{Core, Counters};
use super::multi::{Multi, MultiAnswer};
use super::options::Options;
use crate::base::collections::Map;
use crate::base::{Micros, Time};

pub use clock::Clock;
pub use sockets::{Readiness, Sockets};

/// A client whose calls wait for their outcomes.
#[derive(Debug)]
pub struct Client {
    core: Core,
    sockets: Sockets,
    clock: Clock,
    /// Outcomes that nobody waited for yet.
    outcomes: Map<u64, Result<Answer, ClientError>>,
    next_ticket: u64,
}

/// Names a submitted command until its outcome is taken.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the outcome must be waited for"]
pub struct Ticket(u64);

/// No cluster was reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No address was given.
    #[error("no address was given: name at least one node as host:port")]
    NoAddress,
    /// The system refuses to give what a client needs.
    #[error("cannot wait for sockets: {0} (is the limit of open files reached?)")]
    System(#[from] io::Error),
    /// Nobody answered.
    #[error(
        "none of {addresses} answered as a Sunstar node within {seconds} s: are the addresses \
         those given to --client-addr, and do the nodes run?"
    )]
    Unreachable {
        /// Who was asked.
        addresses: String,
        /// For how long.
        seconds: u64,
    },
}

/// How long a client that is dropped waits for its sessions to be closed.
const FAREWELL: Micros = Micros::from_millis(200);

impl Client {
    /// A client of the cluster that the nodes at `addresses` (`host:port`) belong to; one that
    /// answers is enough.
    ///
    /// # Errors
    /// If none answers within `options.operation_timeout`.
    pub fn connect<A: AsRef<str>>(addresses: &[A], options: Options) -> Result<Self, ConnectError> {
        let addresses: Vec<String> = addresses.iter().map(|text| text.as_ref().into()).collect();
        if addresses.is_empty() {
            return Err(ConnectError::NoAddress);
        }
        let mut client = Self {
            core: Core::new(&addresses, options),
            sockets: Sockets::new()?,
            clock: Clock::new(),
            outcomes: Map::default(),
            next_ticket: 1,
        };
        let until = client.clock.now() + options.operation_timeout;
        while !client.core.is_ready() {
            if client.clock.now() >= until {
                let seconds = options.operation_timeout.0 / 1_000_000;
                return Err(ConnectError::Unreachable { addresses: addresses.join(", "), seconds });
            }
            client.turn(Some(until));
        }
        Ok(client)
    }

    /// Reads a value, linearizably.
    ///
    /// # Errors
    /// If the command was not executed.
    pub fn get(&mut self, key: &[u8]) -> Result<At<Option<Vec<u8>>>, ClientError> {
        Ok(self.execute(Command::Get { key })?.into_value())
    }

    /// Reads the values of many keys, of any slots: one answer per key, in the order of `keys`.
    ///
    /// Each key is read linearizably, by itself: all writes acknowledged before the call are seen. It is
    /// no picture of one moment: between the reads of two keys others may write.
    pub fn mget(&mut self, keys: &[&[u8]]) -> Vec<Result<At<Option<Vec<u8>>>, ClientError>> {
        let tickets: Vec<_> = keys.iter().map(|key| self.submit(Command::Get { key })).collect();
        let wait = |ticket: Result<Ticket, CommandError>| Ok(self.wait(ticket?)?.into_value());
        tickets.into_iter().map(wait).collect()
    }

    /// Sets a value.
    ///
    /// # Errors
    /// If the command was not, or not certainly, executed.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<At<()>, ClientError> {
        Ok(self.execute(Command::Put { key, value })?.into_unit())
    }

    /// Adds to a value's end; the new length.
    ///
    /// # Errors
    /// If the command was not, or not certainly, executed.
    pub fn append(&mut self, key: &[u8], value: &[u8]) -> Result<At<i64>, ClientError> {
        Ok(self.execute(Command::Append { key, value })?.into_number())
    }

    /// Removes a key; whether it was there.
    ///
    /// # Errors
    /// If the command was not, or not certainly, executed.
    pub fn delete(&mut self, key: &[u8]) -> Result<At<bool>, ClientError> {
        Ok(self.execute(Command::Delete { key })?.into_success())
    }

    /// Sets a value if the key holds `expected` (`None`: is absent); whether it did.
    ///
    /// # Errors
    /// If the command was not, or not certainly, executed.
    pub fn compare_and_set(
        &mut self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<At<bool>, ClientError> {
        Ok(self.execute(Command::CompareAndSet { key, expected, value })?.into_success())
    }

    /// Adds to a decimal integer value; the sum.
    ///
    /// # Errors
    /// If the command was not, or not certainly, executed.
    pub fn increment(&mut self, key: &[u8], delta: i64) -> Result<At<i64>, ClientError> {
        Ok(self.execute(Command::Increment { key, delta })?.into_number())
    }

    /// Executes commands on keys of one slot, all of them or none.
    ///
    /// # Errors
    /// If the batch was not, or not certainly, executed, or failed for another reason than a compare.
    pub fn multi(&mut self, batch: &Multi<'_>) -> Result<MultiAnswer, ClientError> {
        let first = self.next_ticket;
        self.core.submit_multi(self.clock.now(), first, batch.commands())?;
        self.next_ticket += batch.commands().len() as u64;
        let tickets = first..self.next_ticket;
        MultiAnswer::of(tickets.map(|number| self.wait(Ticket(number))).collect())
    }

    /// Submits a command without waiting. What is submitted before a `wait` travels together.
    ///
    /// # Errors
    /// If no server would accept the command.
    pub fn submit(&mut self, command: Command<'_>) -> Result<Ticket, CommandError> {
        let ticket = self.next_ticket;
        self.core.submit(self.clock.now(), ticket, command)?;
        self.next_ticket += 1;
        Ok(Ticket(ticket))
    }

    /// Waits for the outcome of a submitted command.
    ///
    /// # Errors
    /// If the command was not, or not certainly, executed.
    ///
    /// # Panics
    /// If the ticket is another client's.
    #[expect(clippy::needless_pass_by_value, reason = "an outcome is taken once")]
    pub fn wait(&mut self, ticket: Ticket) -> Result<Answer, ClientError> {
        let Ticket(number) = ticket;
        assert!(number < self.next_ticket, "ticket {number} was never given");
        loop {
            if let Some(outcome) = self.outcomes.remove(&number) {
                return outcome;
            }
            self.turn(None);
        }
    }

    /// What this client went through.
    pub const fn counters(&self) -> Counters {
        self.core.counters()
    }

    fn execute(&mut self, command: Command<'_>) -> Result<Answer, ClientError> {
        let ticket = self.submit(command)?;
        self.wait(ticket)
    }

    /// Sends, waits for something to happen until `until` at most, and takes outcomes.
    fn turn(&mut self, until: Option<Time>) {
        self.sockets.perform(0, &mut self.core, self.clock.now());
        if !self.core.has_completions() {
            let wake = [self.core.deadline(), until].into_iter().flatten().min();
            self.sockets.wait(wake.map(|time| time.since(self.clock.now())));
            let now = self.clock.now();
            while let Some(ready) = self.sockets.take_ready() {
                self.sockets.handle(ready, &mut self.core, now);
            }
            self.core.handle_timeout(now);
        }
        while let Some(completion) = self.core.poll_completion() {
            self.outcomes.insert(completion.ticket, Answer::of(completion.outcome));
        }
    }
}

impl Drop for Client {
    /// Asks the groups to forget the sessions, and waits for it a little: a server keeps only so
    /// many, and would keep these until they expire.
    fn drop(&mut self) {
        let until = self.clock.now() + FAREWELL;
        self.core.shut_down(self.clock.now());
        self.sockets.perform(0, &mut self.core, self.clock.now());
        while !self.core.is_closed() && self.clock.now() < until {
            self.turn(Some(until));
        }
    }
}
