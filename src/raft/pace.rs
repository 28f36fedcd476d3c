//! Whether a voter's clock was seen to keep within the bound that leases rest on.
//!
//! The bound is stated by whoever turns leases on, and may be wrong: a virtual machine's clock may run at
//! half its pace. So each answer to a heartbeat says what its sender's clock shows, and a lease rests only
//! on voters whose clocks were just compared with the leader's:
//!
//! ```text
//!   leader ──────┬ heard ─────────── round begins ┬────────────────┬──▶
//!               ╱                                  ╲              ╱
//!   voter ─────┴ first answer ──────────────────────┴────────────┴ second answer ──▶
//! ```
//!
//! The first answer left before it was heard, the second after its round had begun: between the two
//! more time passed than between those moments by the leader's clock. If the voter's clock advanced by
//! no more than the drift allows for that, it ran no faster on average. Answers that were long on their
//! way prove nothing; then the next are compared with the same first one.
//!
//! A clock that changes its pace after the last answer is not seen: a lease is a bet on the next election
//! timeout, never on the one before.

use super::Lease;
use crate::base::{Micros, Time};

/// A comparison spans at least an election timeout over this: less says little about a pace.
const TIMEOUT_PARTS: u64 = 10;
/// It spans at most so many election timeouts: an average over more could hide a change.
const TIMEOUTS_MAX: u64 = 2;

/// What a leader knows of the pace of one voter's clock.
#[derive(Debug, Default)]
pub(super) struct Pace {
    first: Option<Answer>,
}

/// An answer to a heartbeat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// When it came, by the leader's clock.
    pub(super) heard_at: Time,
    /// What the voter's clock showed when it left.
    pub(super) clock: Time,
}

impl Pace {
    /// Another answer came, to a round that began at `begun_at` if that is known. Returns whether the
    /// voter's clock has just been seen to keep within the bound.
    pub(super) fn compare(
        &mut self,
        answer: Answer,
        begun_at: Option<Time>,
        lease: Lease,
        election_timeout: Micros,
    ) -> bool {
        let Some(first) = self.first else {
            self.first = Some(answer);
            return false;
        };
        let is_old = answer.heard_at.since(first.heard_at).0 > election_timeout.0 * TIMEOUTS_MAX;
        let has_restarted = answer.clock < first.clock;
        let own = begun_at.map_or(Micros(0), |begun_at| begun_at.since(first.heard_at));
        let says_something = own.0 >= election_timeout.0 / TIMEOUT_PARTS;
        let theirs = answer.clock.since(first.clock);
        let keeps = says_something && !is_old && !has_restarted && lease.allows(own, theirs);
        if keeps || is_old || has_restarted {
            self.first = Some(answer);
        }
        keeps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Micros = Micros::from_millis(1_000);
    const LEASE: Lease = Lease { drift_percent: 10 };

    fn at(millis: u64) -> Time {
        Time(0) + Micros::from_millis(millis)
    }

    /// Compares an answer with one that was heard at 1000 ms, when the voter's clock showed 5000 ms.
    fn second(heard: u64, begun: Option<u64>, clock: u64) -> bool {
        let mut pace = Pace::default();
        let first = Answer { heard_at: at(1_000), clock: at(5_000) };
        assert!(!pace.compare(first, Some(at(999)), LEASE, TIMEOUT), "there is nothing to compare");
        let answer = Answer { heard_at: at(heard), clock: at(clock) };
        pace.compare(answer, begun.map(at), LEASE, TIMEOUT)
    }

    #[test]
    fn a_clock_may_run_faster_by_the_drift_alone() {
        assert!(second(1_900, Some(1_900), 5_900));
        assert!(second(1_900, Some(1_900), 6_000), "1000 ms to 900 ms");
        assert!(!second(1_900, Some(1_900), 6_001));
        assert!(second(1_900, Some(1_900), 5_001), "slower is no harm");
    }

    #[test]
    fn what_proves_nothing_is_no_agreement() {
        assert!(!second(1_900, Some(1_400), 5_900), "it may have left at any time since 1400 ms");
        assert!(!second(1_900, None, 5_900), "a round of which nothing is known");
        assert!(!second(1_099, Some(1_099), 5_099), "too short");
        assert!(!second(3_001, Some(3_001), 7_001), "too long");
        assert!(!second(1_900, Some(1_900), 4_999), "it began anew");
        assert!(!second(1_900, Some(900), 5_000), "the round began before the first answer");
        assert!(!second(1_900, Some(1_900), u64::MAX / 1_000), "no clock shows that");
    }

    #[test]
    fn the_first_answer_stays_until_it_is_compared_or_too_old() {
        let mut pace = Pace::default();
        let mut hears = |heard, begun, clock| {
            let answer = Answer { heard_at: at(heard), clock: at(clock) };
            pace.compare(answer, Some(at(begun)), LEASE, TIMEOUT)
        };
        assert!(!hears(0, 0, 0));
        assert!(!hears(110, 90, 100), "the way was long");
        assert!(hears(510, 490, 500), "since the first");
        assert!(!hears(520, 515, 518), "since the last");
        assert!(!hears(2_600, 2_600, 2_500), "too old: this one takes its place");
        assert!(hears(2_800, 2_800, 2_700));
    }
}
