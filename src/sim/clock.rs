//! A node's clock: a function of the true time that no node sees.
//!
//! ```text
//!   what it shows = what it showed at its last change + (true time since) × rate
//! ```
//!
//! Its monotonic time never goes back; it may run fast or slow and jump ahead. The wall clock stands at a
//! fixed distance from it for the life of a process, as in `io`, and anywhere in the next.

use crate::base::{Micros, Time};

/// Parts of a rate: so many are the rate of true time.
pub(super) const TRUE_RATE: u64 = 1_000;

/// What every clock shows at the beginning: a time "long before" can be subtracted from any moment.
const ORIGIN: u64 = 3_600_000_000;

/// What every wall clock shows then, without skew: some day in 2023.
const WALL_ORIGIN: u64 = 1_700_000_000_000_000;

/// One node's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeClock {
    /// When it was last set to run at another rate, or jumped, in true time.
    since: Time,
    /// What it showed then.
    shown: Time,
    /// Its micro-seconds in `TRUE_RATE` true ones.
    rate: u64,
    /// What to add for the wall clock; noted by each process as it starts.
    wall_offset: u64,
}

impl NodeClock {
    /// A clock that runs true, and shows something of its own.
    pub(super) fn new(now: Time, ahead: Micros) -> Self {
        let shown = Time(ORIGIN) + ahead;
        Self { since: now, shown, rate: TRUE_RATE, wall_offset: WALL_ORIGIN }
    }

    /// What it shows at the true time `now`.
    pub(super) fn read(&self, now: Time) -> Time {
        self.shown + Micros(now.since(self.since).0 * self.rate / TRUE_RATE)
    }

    /// When it will show `shown`, or more, in true time.
    pub(super) fn when(&self, shown: Time) -> Time {
        if shown == Time(u64::MAX) {
            return shown;
        }
        let span = u128::from(shown.since(self.shown).0) * u128::from(TRUE_RATE);
        let span = span.div_ceil(u128::from(self.rate));
        self.since + Micros(u64::try_from(span).unwrap_or(u64::MAX))
    }

    /// From now on it runs at another rate, in parts of `TRUE_RATE`.
    pub(super) fn run_at(&mut self, now: Time, rate: u64) {
        assert!(rate > 0, "a clock that stands still");
        (self.shown, self.since, self.rate) = (self.read(now), now, rate);
    }

    /// It jumps ahead.
    pub(super) fn jump(&mut self, now: Time, by: Micros) {
        (self.shown, self.since) = (self.read(now) + by, now);
    }

    /// The wall clock is set; who has noted it already does not see that.
    pub(super) fn set_wall(&mut self, ahead: i64) {
        self.wall_offset = WALL_ORIGIN.saturating_add_signed(ahead);
    }

    pub(super) fn wall_offset(&self) -> u64 {
        self.wall_offset
    }

    /// Seconds since 1970.
    pub(super) fn wall_seconds(&self, now: Time) -> u64 {
        self.read(now).0.saturating_add(self.wall_offset) / 1_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_runs_at_its_rate_jumps_and_never_goes_back() {
        let mut clock = NodeClock::new(Time(0), Micros(7));
        let at = |span| Time(ORIGIN + 7 + span);
        assert_eq!(clock.read(Time(1_000)), at(1_000));
        clock.run_at(Time(1_000), 2 * TRUE_RATE);
        assert_eq!(clock.read(Time(1_500)), at(2_000));
        clock.run_at(Time(1_500), TRUE_RATE / 2);
        assert_eq!(clock.read(Time(2_500)), at(2_500));
        clock.jump(Time(2_500), Micros(100));
        assert_eq!(clock.read(Time(2_500)), at(2_600));
    }

    #[test]
    fn when_is_the_first_moment_at_which_it_shows_that() {
        let mut clock = NodeClock::new(Time(0), Micros(0));
        for rate in [500, 700, 1_000, 1_333, 2_000] {
            clock.run_at(Time(10), rate);
            for shown in (0..300).map(|span| clock.read(Time(10)) + Micros(span)) {
                let when = clock.when(shown);
                assert!(clock.read(when) >= shown, "{rate}: {shown:?}");
                let before = when - Micros(1);
                assert!(when == Time(10) || clock.read(before) < shown, "{rate}: {shown:?}");
            }
        }
        assert_eq!(clock.when(Time(u64::MAX)), Time(u64::MAX));
    }
}
