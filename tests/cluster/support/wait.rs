//! Waiting for conditions: the only place that reads a clock or sleeps.

use std::time::{Duration, Instant};

/// How long anything may take before it counts as failed: a small machine may be running several of
/// these clusters at once, on a disk in one of its slow spells.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not within `PATIENCE`.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until `attempt` yields something, and returns it.
///
/// # Panics
/// If it does not within `PATIENCE`.
pub(crate) fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(now() < deadline, "{what}: not within {PATIENCE:?}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "real processes live in real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "between two looks at a condition, not instead of it"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
