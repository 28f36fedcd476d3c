//! How often and how long the core's log stood still because no segment was ready to be written.
//!
//! Meanwhile nothing on this core is made durable: no write is acknowledged, no vote given. A full
//! disk has its own alarm and does not count here.

use crate::base::{Micros, Time};

/// A wait this long is complained of.
const LONG: Micros = Micros::from_millis(100);

/// The waits since start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SegmentWaits {
    /// When the wait under way began.
    since: Option<Time>,
    /// Waits that ended.
    pub(super) count: u64,
    /// The sum of them.
    pub(super) total: Micros,
    /// The longest of them.
    pub(super) longest: Micros,
}

impl SegmentWaits {
    /// Takes in whether the log waits at `now`; returns the wait that ended if it was long.
    pub(super) fn observe(&mut self, waiting: bool, now: Time) -> Option<Micros> {
        if waiting {
            self.since.get_or_insert(now);
            return None;
        }
        let took = now.since(self.since.take()?);
        self.count += 1;
        self.total.0 += took.0;
        self.longest = self.longest.max(took);
        (took >= LONG).then_some(took)
    }

    /// The wait under way ended for a reason of another kind.
    pub(super) fn forget(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_counted_when_they_end_and_long_ones_told() {
        let mut waits = SegmentWaits::default();
        assert_eq!(waits.observe(false, Time(5)), None, "there was no wait");
        assert_eq!(waits.observe(true, Time(1_000)), None);
        assert_eq!(waits.observe(true, Time(2_000)), None, "it is the same one");
        assert_eq!(waits.observe(false, Time(3_000)), None, "a short one");
        assert_eq!(waits.observe(true, Time(10_000)), None);
        assert_eq!(waits.observe(false, Time(160_000)), Some(Micros(150_000)));
        let SegmentWaits { count, total, longest, .. } = waits;
        assert_eq!((count, total, longest), (2, Micros(152_000), Micros(150_000)));
    }

    #[test]
    fn a_full_disk_is_no_wait() {
        let mut waits = SegmentWaits::default();
        waits.observe(true, Time(1_000));
        waits.forget();
        assert_eq!(waits.observe(false, Time(900_000)), None);
        assert_eq!(waits.count, 0);
    }
}
