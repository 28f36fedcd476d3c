//! The monotonic clock as `base::Time`.

use std::time::Instant;

use crate::base::Time;

/// A monotonic clock, in microseconds since its making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Moment zero.
    origin: Instant,
}

impl Clock {
    /// A clock that says zero now.
    #[expect(clippy::disallowed_methods, reason = "a driver is where the core's time comes from")]
    #[expect(clippy::new_without_default, reason = "a default that reads the clock would surprise")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        let micros = self.origin.elapsed().as_micros();
        Time(u64::try_from(micros).expect("half a million years have not passed"))
    }
}
