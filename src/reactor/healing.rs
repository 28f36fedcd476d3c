//! How often a quarantined replica asks its leader for the state: less and less often.
//!
//! Each attempt sends a whole state over the network and writes it to the disk. Where attempts come to
//! nothing (no room on the disk, a state that comes too late to go on from) or do not help (memory that
//! changes again), asking on as before would burden the group's healthy members for nothing. So each
//! attempt is followed by a pause, twice as long as the one before up to a bound, and what is written to
//! the log gets louder. The replica never gives up: what kept it from healing may end.

use crate::base::{Micros, Time};

/// The first pause.
const PAUSE_TIMEOUTS: u64 = 1;

/// The longest pause is the first one doubled so often.
const DOUBLINGS_MAX: u32 = 6;

/// After so many attempts somebody had better look.
const ATTEMPTS_EXPECTED: u32 = 3;

/// One replica's attempts to take over its leader's state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Healing {
    /// How often it asked, in this quarantine and in those shortly before.
    attempts: u32,
    /// It is not to ask again before: the end of the pause. Put off while an attempt is under way.
    ask_at: Time,
}

impl Healing {
    /// A quarantine begins. Unless the last one was long ago, it goes on counting.
    pub(super) fn begin(&mut self, now: Time, timeout: Micros) {
        if now.since(self.ask_at) >= pause(DOUBLINGS_MAX, timeout) {
            *self = Self::default();
        }
    }

    /// An attempt is under way: the pause begins when it is over.
    pub(super) fn put_off(&mut self, now: Time, timeout: Micros) {
        self.ask_at = now + pause(self.attempts, timeout);
    }

    /// Whether to ask now; notes that it was asked.
    pub(super) fn ask(&mut self, now: Time, timeout: Micros) -> bool {
        if now < self.ask_at {
            return false;
        }
        self.attempts += 1;
        self.put_off(now, timeout);
        true
    }

    /// See the field.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether it takes more than it ought to.
    pub(super) fn is_hopeless(&self) -> bool {
        self.attempts > ATTEMPTS_EXPECTED
    }
}

/// The pause after so many attempts.
fn pause(attempts: u32, timeout: Micros) -> Micros {
    let doublings = attempts.saturating_sub(1).min(DOUBLINGS_MAX);
    Micros(timeout.0.saturating_mul(PAUSE_TIMEOUTS << doublings))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Micros = Micros(10);

    fn asked(healing: &mut Healing, during: std::ops::Range<u64>) -> Vec<u64> {
        during.filter(|&now| healing.ask(Time(now), TIMEOUT)).collect()
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut healing = Healing::default();
        healing.begin(Time(1_000), TIMEOUT);
        let times = asked(&mut healing, 1_000..4_800);
        let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 640, 640, 640]);
        assert!(healing.is_hopeless());
    }

    #[test]
    fn only_a_calm_while_makes_it_begin_anew() {
        let mut healing = Healing::default();
        assert_eq!(asked(&mut healing, 1_000..1_040), [1_000, 1_010, 1_030]);
        healing.begin(Time(1_100), TIMEOUT);
        assert_eq!(asked(&mut healing, 1_100..1_181), [1_100, 1_180]);
        healing.put_off(Time(1_900), TIMEOUT);
        assert!(!healing.ask(Time(2_059), TIMEOUT), "what was under way ended just now");
        healing.begin(Time(5_000), TIMEOUT);
        assert_eq!(healing.attempts(), 0);
    }
}
