//! Liveness: whether every group takes writes, and how soon.

use std::time::Duration;

use sunstar::base::Micros;
use sunstar::client::blocking::Client;
use sunstar::client::{ClientError, Command, Options};

use crate::map::Map;
use crate::pace::Pace;
use crate::trouble::Trouble;

/// A key in each group that owns slots.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    targets: Vec<String>,
    keys: Vec<String>,
}

impl Probe {
    /// A probe of the groups in `map`. While slots are on their way another group than there may answer:
    /// somebody must.
    pub(crate) fn new(targets: Vec<String>, map: &Map) -> Self {
        Self { targets, keys: map.keys().into_values().collect() }
    }

    /// Waits until every key has taken a write that began from now on; how long that took.
    ///
    /// # Errors
    /// If it takes too long by far, or Ctrl-C comes.
    pub(crate) fn await_writes(&self, pace: &Pace) -> Result<Duration, Trouble> {
        let start = pace.running_time();
        let mut waiting: Vec<&String> = self.keys.iter().collect();
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
