//! The history of a load: a record of every command, for `sunstar-check`.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::options::LoadError;
use crate::base::{Micros, Time};
use crate::client::blocking::Clock;
use crate::client::{Command, Completion};
use crate::history::{Begun, Writer};

/// Writes down what every client asks and is told.
pub(super) struct Recorder {
    path: PathBuf,
    writer: Writer<BufWriter<File>>,
    /// The commands outstanding, by their tickets.
    begun: Vec<Option<Begun>>,
    /// What the machine's monotonic clock said when the load's said zero: it was not earlier than the one
    /// and not later than the other.
    origin: (Micros, Micros),
    /// What could not be written first. Nothing is written after it; it ends the load in failure.
    failure: Option<std::io::Error>,
}

impl Recorder {
    /// Begins a history with as many as `outstanding` commands at a time.
    pub(super) fn create(
        path: &Path,
        outstanding: usize,
        clock: &Clock,
    ) -> Result<Self, LoadError> {
        let create = || {
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
            let file = BufWriter::with_capacity(1 << 20, File::create(path)?);
            Writer::new(file, boot.trim())
        };
        let failed = |cause| LoadError::History { path: path.to_owned(), cause };
        let writer = create().map_err(failed)?;
        let (before, now, after) = (monotonic(), clock.now(), monotonic());
        let origin = (Micros(before.0 - now.0), Micros(after.0 + 1 - now.0));
        let begun = std::iter::repeat_with(|| None).take(outstanding).collect();
        Ok(Self { path: path.to_owned(), writer, begun, origin, failure: None })
    }

    /// A command begins; `now`: not later than it is given to its client.
    pub(super) fn begin(&mut self, ticket: u64, client: u64, command: &Command<'_>, now: Time) {
        self.begun[place(ticket)] = Some(command.begun(client, now + self.origin.0));
    }

    /// A command has come to its end; `now`: not earlier than its client told.
    pub(super) fn end(&mut self, completion: &Completion<'_>, now: Time) {
        let begun = self.begun[place(completion.ticket)].take().expect("it had begun");
        let record = completion.record(begun, now + self.origin.1);
        if self.failure.is_none() {
            self.failure = self.writer.write(&record).err();
        }
    }

    /// Writes down what is still outstanding, and the last of it to the file.
    pub(super) fn finish(mut self, now: Time) -> Result<(), LoadError> {
        let now = now + self.origin.1;
        let mut finish = || {
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            for begun in self.begun.drain(..).flatten() {
                self.writer.write(&begun.unanswered(now))?;
            }
            self.writer.flush()
        };
        finish().map_err(|cause| LoadError::History { path: self.path.clone(), cause })
    }
}

fn place(ticket: u64) -> usize {
    usize::try_from(ticket).expect("a place among the outstanding")
}

/// The clock that all processes of this machine share.
fn monotonic() -> Micros {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).expect("time since the start of the machine");
    let nanos = u64::try_from(time.tv_nsec).expect("time since the start of the machine");
    Micros(seconds * 1_000_000 + nanos / 1_000)
}
