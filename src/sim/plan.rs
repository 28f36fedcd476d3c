//! What a seed chooses for its run: the cluster, its clients, and how long it storms.
//!
//! Everything is small, so that much happens in little time: segments fill within seconds, so that logs
//! are recycled, snapshots made and followers sent them; memory holds a few entries, so that old ones are
//! read back; clients lose patience within seconds.

use std::fmt;

use super::shape::Shape;
use super::workload::Habits;
use crate::base::Micros;
use crate::client::Options;
use crate::raft::Lease;

/// What a seed chooses for its run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) shape: Shape,
    pub(super) habits: Habits,
    /// How clients behave; each has a seed of its own.
    pub(super) options: Options,
    /// So long there are faults.
    pub(super) stormy: Micros,
    /// So long a client lives, on average.
    pub(super) lifetime: Micros,
}

/// Commands of a run, about: what its time is spent on.
const COMMANDS: std::ops::Range<u64> = 300..2_500;

/// How long a change of the shard map takes in a long run of them, about and at most.
const CHANGE: Micros = Micros::from_millis(400);
const CHANGE_MAX: Micros = Micros::from_secs(20);

impl Plan {
    /// What `seed` chooses.
    pub(super) fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x70_6c61_6e00);
        let mut shape = shape(&mut random);
        let mut habits = Habits::choose(&mut random, &shape.map());
        shape.segment_bytes = segment_bytes(&mut random, &habits);
        let stormy = Micros::from_secs(random.u64(15..60));
        habits.pause_us = stormy.0 * habits.clients as u64 / random.u64(COMMANDS);
        let lifetime = Micros::from_secs(random.u64(5..60));
        let options = options(&mut random, shape.election_timeout);
        Self { shape, habits, options, stormy, lifetime }
    }
}

impl Plan {
    /// Makes it long enough for so many changes of the shard map, and as large as they need it.
    pub(super) fn stretch(&mut self, changes: u64) {
        self.shape.groups = self.shape.groups.max(2);
        self.stormy = Micros(changes * CHANGE_MAX.0);
        let expected = changes * CHANGE.0;
        self.habits.pause_us = expected * self.habits.clients as u64 / (COMMANDS.end + 3 * changes);
    }
}

fn shape(random: &mut fastrand::Rng) -> Shape {
    let nodes = if random.u32(0..4) == 0 { 5 } else { 3 };
    let groups = random.u32(1..=4);
    let election_timeout = Micros::from_millis(random.u64(3..=10) * 100);
    let mut shape = Shape::small(nodes, groups);
    let cores_max = [1, 1, 2, 3][random.usize(0..4)];
    shape.cores = (0..nodes).map(|_| random.u16(1..=cores_max)).collect();
    shape.election_timeout = election_timeout;
    shape.heartbeat_interval = Micros(election_timeout.0 / 10);
    shape.lease = (random.u32(0..3) == 0).then_some(Lease { drift_percent: 10 });
    shape.live_segments_max = random.usize(2..6);
    shape.entries_memory_max = 16 << (10 + random.u32(0..6));
    shape.harsh_links = random.u32(0..4) == 0;
    shape.piece_bytes = 64 << random.u32(0..13);
    shape
}

/// Bytes of a log segment. A batch of the log may hold what a leader sends in one turn, and must fit into
/// one: `io` refuses segments for which that is not certain, here it is as good as certain.
fn segment_bytes(random: &mut fastrand::Rng, habits: &Habits) -> u64 {
    let least = if habits.value_max > 1_000 { 2 << 20 } else { 256 << 10 };
    least << random.u32(0..3)
}

/// Patience of a few election timeouts, so that each of its limits is met.
fn options(random: &mut fastrand::Rng, election_timeout: Micros) -> Options {
    let times = |count: u64| Micros(election_timeout.0 * count);
    Options {
        operation_timeout: times(random.u64(3..16)),
        request_timeout: times(random.u64(1..4)),
        connect_timeout: times(random.u64(1..3)),
        frames_in_flight_max: random.usize(1..5),
        frame_commands_max: 1 << random.u32(0..6),
        ..Options::default()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, habits, options, stormy, .. } = self;
        let cores: Vec<String> = shape.cores.iter().map(u16::to_string).collect();
        write!(
            f,
            "{} nodes of {} cores, {} groups, election timeout {} ms, {}, segments of {} KiB, {} keys, \
             {} clients with {} commands each at a time and {} ms of patience, {} s of faults{}",
            shape.cores.len(),
            cores.join("+"),
            shape.groups,
            shape.election_timeout.0 / 1_000,
            if shape.lease.is_some() { "leases" } else { "no leases" },
            shape.segment_bytes >> 10,
            habits.keys().count(),
            habits.clients,
            habits.outstanding_max,
            options.operation_timeout.0 / 1_000,
            stormy.0 / 1_000_000,
            if shape.harsh_links { ", harsh links" } else { "" },
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn seeds_choose_differently_and_the_same_each_time() {
        let plans: BTreeSet<String> = (0..50).map(|seed| Plan::of(seed).to_string()).collect();
        assert_eq!(plans.len(), 50);
        assert!((0..50).all(|seed| plans.contains(&Plan::of(seed).to_string())));
        let some = |word: &str| plans.iter().filter(|plan| plan.contains(word)).count();
        for word in ["3 nodes", "5 nodes", "no leases", "harsh", "1+1+1"] {
            assert!((1..50).contains(&some(word)), "{word}: {}", some(word));
        }
    }
}
