//! Time: the only place that reads a clock, sleeps, or hears of Ctrl-C.
//!
//! What is promised within seconds is promised by a machine that runs. A laptop that was closed, a
//! hypervisor that paused its guest, a tester's own SIGSTOP: the whole machine, this program included,
//! stood still, and that time is not the cluster's. A thread that wakes twenty times a second notices,
//! and its missing wakes are taken off.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use sunstar::client::blocking::Clock;

use crate::trouble::Trouble;

/// The run's clock, and its end when somebody asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    clock: Clock,
    /// Set by the first SIGINT or SIGTERM.
    interrupted: Arc<AtomicBool>,
    /// Milliseconds that this program did not run though it wanted to; only grows.
    stood_still_ms: Arc<AtomicU64>,
}

impl Pace {
    /// Starts the clock and takes the signals over. A second Ctrl-C ends the program at once.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn start() -> io::Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag still down.
            let again = Arc::clone(&interrupted);
            signal_hook::flag::register_conditional_shutdown(signal, 130, again)?;
            signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        }
        let pace =
            Self { clock: Clock::new(), interrupted, stood_still_ms: Arc::new(AtomicU64::new(0)) };
        let watched = pace.clone();
        std::thread::Builder::new().name("pace".into()).spawn(move || watched.watch())?;
        Ok(pace)
    }

    /// Since the start.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_micros(self.clock.now().0)
    }

    /// Since the start, without the time that everything stood still.
    pub(crate) fn running_time(&self) -> Duration {
        self.now().saturating_sub(self.stood_still())
    }

    /// How long everything stood still.
    pub(crate) fn stood_still(&self) -> Duration {
        Duration::from_millis(self.stood_still_ms.load(Ordering::Relaxed))
    }

    /// Waits.
    ///
    /// # Errors
    /// If Ctrl-C came.
    pub(crate) fn pause(&self, time: Duration) -> Result<(), Trouble> {
        let until = self.running_time() + time;
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Trouble::Interrupted);
            }
            let left = until.saturating_sub(self.running_time());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(WAKE));
        }
    }

    /// Asks again and again until there is an answer; how long that took, and the answer.
    ///
    /// # Errors
    /// If there is none within `limit`: a broken promise, since only such are waited for.
    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut attempt: impl FnMut() -> Result<Option<T>, Trouble>,
    ) -> Result<(Duration, T), Trouble> {
        let start = self.running_time();
        loop {
            let found = attempt()?;
            let taken = self.running_time().saturating_sub(start);
            if let Some(found) = found {
                return Ok((taken, found));
            }
            if taken > limit {
                let text = format!("{what}: not within {} s", limit.as_secs_f64());
                return Err(Trouble::Broken(text));
            }
            self.pause(WAKE)?;
        }
    }

    fn watch(&self) {
        let mut last = self.now();
        loop {
            sleep(WAKE);
            let now = self.now();
            let late = now.saturating_sub(last + WAKE);
            if late > LATE_MAX {
                let late = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
                self.stood_still_ms.fetch_add(late, Ordering::Relaxed);
            }
            last = now;
        }
    }
}

/// Between two looks at a condition, and at the clock.
const WAKE: Duration = Duration::from_millis(50);

/// A busy machine makes anyone late; later than this, it stood still.
const LATE_MAX: Duration = Duration::from_millis(750);

#[expect(clippy::disallowed_methods, reason = "real processes live in real time")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}
