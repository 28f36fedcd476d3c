//! CPU time, user and system, of this process and of others.
//!
//! Seconds of CPU per million operations are the steadiest figure on a shared machine, and they
//! decide throughput on a busy one.

use std::time::Duration;

use crate::error::BenchError;

/// Returns the CPU time that this process has used.
pub(crate) fn own() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).expect("CPU time is not negative"),
        u32::try_from(time.tv_nsec).expect("nanoseconds below one second"),
    )
}

/// Returns the CPU time that the processes have used together, in steps of the clock tick (10 ms).
///
/// # Errors
/// If one of them is gone: its time would be missing from the sum.
pub(crate) fn of(processes: &[u32]) -> Result<Duration, BenchError> {
    processes.iter().map(|pid| of_one(*pid)).sum()
}

fn of_one(pid: u32) -> Result<Duration, BenchError> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path)
        .map_err(|error| BenchError::Failed(format!("{path}: {error}: did the process end?")))?;
    let ticks = ticks(&stat)
        .ok_or_else(|| BenchError::Failed(format!("{path}: not understood: {stat}")))?;
    Ok(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
}

/// Returns user plus system time of `/proc/PID/stat` (proc(5), fields 14 and 15), in clock ticks.
///
/// The second field is the program's name in parentheses and may itself hold spaces and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_user_plus_system_whatever_the_name() {
        let stat = "4711 (a b) c) S 1 4711 4711 0 -1 4194560 1 0 0 0 250 31 7 9 20 0 9 0 1 2 3";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(ticks("4711 (etcd) S 1 2"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn this_process_has_used_some_time() {
        let before = own();
        let mut sum = 0_u64;
        while own() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(own() > before);
        assert!(of(&[std::process::id()]).is_ok());
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        // Larger than any pid the kernel gives out.
        assert!(of(&[u32::MAX]).is_err());
    }
}
