//! A load whose every acknowledgement is tied to the write log: the proof of what an image must hold.
//!
//! *Appenders* append records `cCCCnNNNNNN;` with numbers of their own to keys of their own and to
//! keys they share; the answer to an append is the new length, so that an acknowledged record must be
//! found exactly before that length. *Fillers* put ever higher versions of large values, which makes
//! the log go through its segments quickly without the state growing.
//!
//! **Marks.** After each acknowledgement the client looks how long the write log is. What the
//! acknowledgement rests on was flushed before it was sent, and a flush stands in the log before it
//! is reported (`write_log`): so a disk on which the log had come that far holds the write, whatever
//! happened to what came later. The client may look late; then less is demanded, never too much.

use std::collections::BTreeMap;
use std::path::Path;

use sunstar::client::blocking::Client;
use sunstar::client::{Command, Options};

use crate::support::appends::Progress;

/// Clients that append, then clients that fill the log.
pub(crate) const APPENDERS: usize = 5;
pub(crate) const FILLERS: usize = 2;

/// What one client knows of its writes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Writes submitted so far: numbers of records, or versions, are below.
    pub(crate) submitted: u64,
    /// By key, in the order of acknowledgement.
    pub(crate) acknowledged: BTreeMap<String, Vec<Acknowledged>>,
    /// Writes rejected or in doubt.
    pub(crate) failures: Vec<String>,
}

/// One acknowledged write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Bytes of the write log when the client had its answer.
    pub(crate) mark: u64,
    /// The record's number, or the version.
    pub(crate) number: u64,
    /// Of an append: the length answered.
    pub(crate) length: u64,
}

/// Writes until told to stop.
pub(crate) fn write_until_stopped(
    targets: &[String],
    write_log: &Path,
    client: usize,
    progress: &Progress,
) -> Ledger {
    let options = Options { seed: client as u64 + 1, ..Options::default() };
    let mut connection = Client::connect(targets, options).expect("a cluster that serves");
    let mut ledger = Ledger::default();
    for round in 0.. {
        if progress.is_stopped() {
            break;
        }
        write_round(&mut connection, client, round, &mut ledger, write_log);
        progress.round_done(client);
    }
    ledger
}

/// Submits one write to each lane and waits for all of them.
fn write_round(
    connection: &mut Client,
    client: usize,
    round: u64,
    ledger: &mut Ledger,
    write_log: &Path,
) {
    let lanes = if is_appender(client) { APPEND_LANES } else { FILL_LANES };
    let submitted: Vec<_> = (0..lanes)
        .map(|lane| {
            let number = round * lanes + lane;
            let key = key_of(client, number);
            let value = value_of(client, number);
            let (key_bytes, value) = (key.as_bytes(), value.as_slice());
            let command = if is_appender(client) {
                Command::Append { key: key_bytes, value }
            } else {
                Command::Put { key: key_bytes, value }
            };
            (connection.submit(command).expect("a small command"), key, number)
        })
        .collect();
    ledger.submitted += lanes;
    for (ticket, key, number) in submitted {
        match connection.wait(ticket) {
            Ok(answer) => {
                let length = u64::try_from(answer.number).expect("a length");
                let mark = std::fs::metadata(write_log).expect("the write log").len();
                let acknowledged = Acknowledged { mark, number, length };
                ledger.acknowledged.entry(key).or_default().push(acknowledged);
            }
            Err(error) => ledger.failures.push(format!("{number} of {client} to {key}: {error}")),
        }
    }
}

/// Whether the client appends; else it puts.
pub(crate) fn is_appender(client: usize) -> bool {
    client < APPENDERS
}

/// Where a client's write of this number goes.
pub(crate) fn key_of(client: usize, number: u64) -> String {
    if !is_appender(client) {
        return format!("fill-{client:03}-{}", number % FILL_LANES);
    }
    let (round, lane) = (number / APPEND_LANES, number % APPEND_LANES);
    let generation = round / ROUNDS_PER_KEY;
    if lane < APPEND_LANES / 2 {
        format!("own-{client:03}-{lane}-{generation}")
    } else {
        format!("shared-{lane}-{generation}")
    }
}

/// What a client writes under this number: a record, or a version with its contents.
pub(crate) fn value_of(client: usize, number: u64) -> Vec<u8> {
    if is_appender(client) {
        return format!("c{client:03}n{number:06};").into_bytes();
    }
    let mut value = vec![0; FILL_BYTES];
    fastrand::Rng::with_seed(number << 8 | client as u64).fill(&mut value);
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

/// The number of a filler's value.
pub(crate) fn version_of(value: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(value.get(..8)?.try_into().expect("eight bytes")))
}

/// Bytes of a record.
pub(crate) const RECORD: usize = "c000n000000;".len();
/// Appends of a client at a time: half to keys of its own.
const APPEND_LANES: u64 = 8;
/// Values grow until the key changes.
const ROUNDS_PER_KEY: u64 = 200;
/// Puts of a filler at a time.
const FILL_LANES: u64 = 2;
const FILL_BYTES: usize = 96 << 10;
