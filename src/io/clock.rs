//! The one clock of the process.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::base::Time;

/// The process's clock: monotonic, shared by all cores, with a fixed distance to the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
    /// What to add to a `Time` for the wall clock, µs. Read once: the wall clock's later jumps are
    /// no concern of ours.
    wall_offset: u64,
}

/// What the clock shows at its origin, µs: a time "long before" can be subtracted from any moment.
const ORIGIN: u64 = 3_600_000_000;

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the server reads clocks")]
    pub(super) fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let wall_offset = micros(wall).saturating_sub(ORIGIN);
        Self { origin: Instant::now(), wall_offset }
    }

    pub(super) fn now(&self) -> Time {
        Time(ORIGIN + micros(self.origin.elapsed()))
    }

    pub(super) fn wall_offset(&self) -> u64 {
        self.wall_offset
    }

    /// Seconds since 1970 at `now`.
    pub(super) fn wall_seconds(&self, now: Time) -> u64 {
        now.0.saturating_add(self.wall_offset) / 1_000_000
    }

    /// Seconds since the process began.
    pub(super) fn uptime_seconds(&self) -> u64 {
        self.origin.elapsed().as_secs()
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).expect("five hundred thousand years fit")
}
