//! What the machine gives this process: the bounds that defaults are taken from.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity};

/// What the machine gives this process.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The CPUs the process may run on, ascending.
    pub(crate) cpus: Vec<usize>,
    /// Bytes of memory: the machine's, or the control group's if that is less.
    pub(crate) memory: u64,
}

impl Machine {
    /// Looks. What cannot be found out counts as one CPU, or as no bound by the control group.
    pub(crate) fn look() -> Self {
        let system = rustix::system::sysinfo();
        let physical = system.totalram.saturating_mul(u64::from(system.mem_unit.max(1)));
        Self { cpus: allowed_cpus(), memory: physical.min(control_group_memory()) }
    }
}

fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return vec![0] };
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// The tightest bound from this process's control group (version 2) up to the root.
fn control_group_memory() -> u64 {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = membership.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let mut bound = u64::MAX;
    let mut path = path.trim_end_matches('/');
    loop {
        let limit = fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.max"));
        if let Some(bytes) = limit.ok().and_then(|text| text.trim().parse().ok()) {
            bound = bound.min(bytes);
        }
        let Some((parent, _)) = path.rsplit_once('/') else { return bound };
        path = parent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something() {
        let machine = Machine::look();
        assert!(!machine.cpus.is_empty() && machine.memory > 1 << 20, "{machine:?}");
    }
}
