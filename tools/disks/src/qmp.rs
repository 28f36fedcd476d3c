//! The storage daemon's control socket: one JSON object a line, commands answered in order.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};

use super::DiskError;

/// How long the daemon may take to begin.
const STARTING_ATTEMPTS: u32 = 500;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection to a daemon.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to a daemon that was started just now.
    ///
    /// # Errors
    /// If it ends or does not listen in time.
    pub(super) fn connect(
        socket: &Path,
        daemon: &mut Child,
        log: &Path,
    ) -> Result<Self, DiskError> {
        let stream = await_socket(socket, daemon, log)?;
        failed(stream.set_read_timeout(Some(PATIENCE)))?;
        let mut qmp = Self { stream: BufReader::new(stream) };
        qmp.read()?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Has a command executed.
    ///
    /// # Errors
    /// If the daemon refuses or is gone.
    pub(super) fn execute(&mut self, command: &str, arguments: &Value) -> Result<(), DiskError> {
        let line = json!({ "execute": command, "arguments": arguments }).to_string();
        failed(writeln!(self.stream.get_mut(), "{line}"))?;
        loop {
            let answer = self.read()?;
            if let Some(error) = answer.get("error") {
                return Err(DiskError::Daemon(format!("{line}: {error}")));
            }
            // Events come in between.
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }

    fn read(&mut self) -> Result<Value, DiskError> {
        let mut line = String::new();
        failed(self.stream.read_line(&mut line))?;
        serde_json::from_str(&line)
            .map_err(|error| DiskError::Daemon(format!("{error} in {line:?}")))
    }
}

#[expect(clippy::disallowed_methods, reason = "between two looks at a process that begins")]
fn await_socket(socket: &Path, daemon: &mut Child, log: &Path) -> Result<UnixStream, DiskError> {
    let said = || std::fs::read_to_string(log).unwrap_or_default();
    for _ in 0..STARTING_ATTEMPTS {
        if let Ok(stream) = UnixStream::connect(socket) {
            return Ok(stream);
        }
        if let Some(status) = failed(daemon.try_wait())? {
            return Err(DiskError::Daemon(format!("ended ({status}): {}", said())));
        }
        std::thread::sleep(BETWEEN_ATTEMPTS);
    }
    Err(DiskError::Daemon(format!("does not listen: {}", said())))
}

fn failed<T>(result: std::io::Result<T>) -> Result<T, DiskError> {
    result.map_err(|error| DiskError::Daemon(error.to_string()))
}
