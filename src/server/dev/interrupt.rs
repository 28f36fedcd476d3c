//! Waits for a while, or until Ctrl-C or SIGTERM: one wait for both, without a thread.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// The two signals that ask to stop, from the moment of listening on.
pub(crate) struct Interrupt {
    /// Readable once a signal came.
    signals: UnixStream,
    /// Whether one came.
    arrived: bool,
}

impl Interrupt {
    /// Takes the signals over.
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub(crate) fn listen() -> io::Result<Self> {
        let (signals, sender) = UnixStream::pair()?;
        pipe::register(SIGINT, sender.try_clone()?)?;
        pipe::register(SIGTERM, sender)?;
        Ok(Self { signals, arrived: false })
    }

    /// Waits for `time`, less if a signal comes; returns whether one has come, now or before.
    ///
    /// # Panics
    /// If `time` is zero.
    pub(crate) fn wait(&mut self, time: Duration) -> bool {
        self.arrived || self.wait_for_another(time)
    }

    /// Waits for `time`, less if a signal comes; returns whether one came meanwhile.
    ///
    /// # Panics
    /// If `time` is zero.
    pub(crate) fn wait_for_another(&mut self, time: Duration) -> bool {
        self.signals.set_read_timeout(Some(time)).expect("not zero");
        let came = match self.signals.read(&mut [0; 1]) {
            Ok(_) => true,
            Err(error) => !matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
            ),
        };
        self.arrived |= came;
        came
    }
}
