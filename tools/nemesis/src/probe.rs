//! Liveness: whether every group takes writes, and how soon.

use std::collections::BTreeMap;
use std::time::Duration;

use sunstar::base::Micros;
use sunstar::client::blocking::Client;
use sunstar::client::{ClientError, Command, Options};

use crate::pace::Pace;
use crate::trouble::Trouble;

/// A key in each group.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    targets: Vec<String>,
    /// By group.
    keys: BTreeMap<u32, String>,
}

impl Probe {
    /// Finds a key in each of so many groups.
    ///
    /// # Errors
    /// If they do not all take a write in time.
    pub(crate) fn find(targets: &[String], groups: usize, pace: &Pace) -> Result<Self, Trouble> {
        let mut probe = Self { targets: targets.to_vec(), keys: BTreeMap::new() };
        let mut client = probe.connect()?;
        let mut number = 0;
        pace.wait_for("a write in every group at first", PATIENCE, || {
            number += 1;
            let key = format!("probe-{number}");
            if let Ok(put) = client.put(key.as_bytes(), b"") {
                probe.keys.entry(put.place.group.0).or_insert(key);
            }
            Ok((probe.keys.len() == groups).then_some(()))
        })?;
        Ok(probe)
    }

    /// Waits until every group has taken a write that began from now on; how long that took.
    ///
    /// # Errors
    /// If it takes too long by far, or Ctrl-C comes.
    pub(crate) fn await_writes(&self, pace: &Pace) -> Result<Duration, Trouble> {
        let start = pace.running_time();
        let mut waiting: Vec<&String> = self.keys.values().collect();
        pace.wait_for("every group takes writes", PATIENCE, || {
            let Ok(mut client) = self.connect() else { return Ok(None) };
            waiting = write(&mut client, &waiting);
            Ok(waiting.is_empty().then_some(()))
        })?;
        Ok(pace.running_time().saturating_sub(start))
    }

    /// A client of its own each time: it has no memory of who led, and no connection to the dead.
    fn connect(&self) -> Result<Client, Trouble> {
        let options = Options {
            operation_timeout: Micros::from_secs(10),
            request_timeout: Micros::from_millis(700),
            connect_timeout: Micros::from_millis(700),
            ..Options::default()
        };
        Client::connect(&self.targets, options).map_err(|error| Trouble::broken(error.to_string()))
    }
}

/// Writes these keys at once; those that could not be written.
fn write<'a>(client: &mut Client, keys: &[&'a String]) -> Vec<&'a String> {
    let put = |key: &&'a String| {
        let command = Command::Put { key: key.as_bytes(), value: b"" };
        (*key, client.submit(command).expect("a sound command"))
    };
    let tickets: Vec<_> = keys.iter().map(put).collect();
    let mut failed = Vec::new();
    for (key, ticket) in tickets {
        let outcome: Result<_, ClientError> = client.wait(ticket);
        if outcome.is_err() {
            failed.push(key);
        }
    }
    failed
}

/// After this a cluster counts as dead, not as late.
const PATIENCE: Duration = Duration::from_mins(2);
