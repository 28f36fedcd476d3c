//! The load engine: keeps a cluster busy and tells what that cost.
//!
//! One thread drives any number of client cores over one epoll instance. Each core is one client
//! with sessions and sockets of its own (`--connections`).
//!
//! - **Closed loop**: a fixed number of commands is outstanding; a new one begins when one ends. It
//!   says what the cluster can do, but a stall delays the very commands that would have met it, so
//!   its high percentiles flatter.
//! - **Open loop** (`--rate`): commands begin at a fixed rate whatever the cluster does, and latency
//!   counts from the moment each was *to* begin, so that a stall is paid by all it delays
//!   (Tene, "How NOT to Measure Latency": coordinated omission).
//!
//! What started within the measured time is counted to its end: nothing is cut off.

mod engine;
mod keys;
mod mix;
mod options;
mod recorder;
mod report;
#[cfg(test)]
mod tests;

use crate::base::{Micros, Time};
use engine::Engine;

pub use keys::Distribution;
pub use options::{LoadError, LoadOptions, Workload};
pub use report::{Progress, Report};

/// Loads a cluster as `options` say; `progress` is called about once a second.
///
/// # Errors
/// If the options contradict themselves, the cluster cannot be reached or the history cannot be written.
/// Commands that fail are no error here: the report counts them.
pub fn run(options: &LoadOptions, progress: &mut dyn FnMut(Progress)) -> Result<Report, LoadError> {
    run_while(options, &mut |said| {
        progress(said);
        true
    })
}

/// The same, and begins nothing more once `goes_on`, called with the progress, says no.
///
/// # Errors
/// As `run`.
pub fn run_while(
    options: &LoadOptions,
    goes_on: &mut dyn FnMut(Progress) -> bool,
) -> Result<Report, LoadError> {
    options.check()?;
    let mut engine = Engine::connect(options)?;
    if options.preload && options.reads_occur() {
        engine.preload();
    }
    engine.measure(goes_on)
}

/// CPU time that this process has used, user and system.
fn process_cpu() -> Micros {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    let nanos = u64::try_from(time.tv_nsec).expect("CPU time is not negative");
    Micros(seconds * 1_000_000 + nanos / 1_000)
}

/// Seconds, for people and ratios.
#[expect(clippy::cast_precision_loss, reason = "microseconds of a load fit 52 bits")]
fn seconds(span: Micros) -> f64 {
    span.0 as f64 / 1e6
}

/// The longest that the engine sleeps: progress is due each second.
const NAP_MAX: Micros = Micros::from_millis(200);

/// The earlier of a moment and the end of the longest nap.
fn nap(now: Time, until: Time) -> Micros {
    until.since(now).min(NAP_MAX)
}
