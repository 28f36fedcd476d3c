//! Notices a core that did not run: the gap between two ticks of its timer says so.
//!
//! The executor can park although tasks are runnable; until the watchdog ends such a park, ticks are
//! lost, and that shows here. So does a core that the kernel or a long turn kept from running.

use crate::base::{Micros, Time};

/// How often the tick is due while the core has something to do.
pub(super) const TICK_INTERVAL: Micros = Micros::from_millis(10);
/// And while it has not: each tick of an idle core costs as much as a small turn.
pub(super) const IDLE_TICK_INTERVAL: Micros = Micros::from_millis(40);

/// A gap this long counts as a stall.
const STALL: Micros = Micros::from_secs(1);

/// The gaps between ticks of one core.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stalls {
    /// The last tick.
    last: Option<Time>,
    /// Gaps of more than a second.
    count: u64,
    /// The longest gap.
    longest: Micros,
}

impl Stalls {
    /// Takes a tick; returns the gap before it if that was a stall.
    pub(super) fn tick(&mut self, now: Time) -> Option<Micros> {
        let gap = now.since(self.last.replace(now)?);
        self.longest = self.longest.max(gap);
        (gap > STALL).then(|| {
            self.count += 1;
            gap
        })
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The longest gap, ms.
    pub(super) fn longest_millis(&self) -> u64 {
        self.longest.0 / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_over_a_second_is_a_stall_and_the_longest_is_kept() {
        let mut stalls = Stalls::default();
        assert_eq!(stalls.tick(Time(1_000)), None, "the first tick follows nothing");
        assert_eq!(stalls.tick(Time(11_000)), None);
        assert_eq!(stalls.tick(Time(1_511_000)), Some(Micros(1_500_000)));
        assert_eq!(stalls.tick(Time(1_521_000)), None);
        assert_eq!((stalls.count(), stalls.longest_millis()), (1, 1_500));
    }
}
