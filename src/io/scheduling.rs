//! How a core's thread shares its CPU with others.

use std::io;

/// Has the system let this thread finish what it does when it wakes another.
///
/// Cores that share CPUs (`--overprovisioned`) wake each other with every message they send. By
/// default the one that is woken may run at once: in the middle of the other's turn, on the little
/// that has been sent so far. `SCHED_BATCH` (sched(7)) leaves the turn whole, so that the other one
/// finds all of it. Measured at 512 writes outstanding on three nodes that share two CPUs: 10 to
/// 15 percent less CPU per write, turns half as large again.
///
/// # Errors
/// If the system refuses; nothing depends on it but efficiency.
#[expect(unsafe_code, reason = "no safe wrapper among our libraries sets a scheduling policy")]
pub(super) fn finish_turns_undisturbed() -> io::Result<()> {
    let this_thread = 0;
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` lives through the call, which only reads it, and concerns this thread.
    let result =
        unsafe { libc::sched_setscheduler(this_thread, libc::SCHED_BATCH, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
