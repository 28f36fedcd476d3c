//! What is special about one storm: each draws its own group, settings and probabilities, so that
//! some storms are all crashes and others all elections, and what only shows when something else
//! never happens is found too ("swarm testing", Groce et al., ISSTA 2012).

use sunstar::base::{Micros, NodeId};
use sunstar::raft::{Configuration, Lease, RaftConfig};

use crate::world::World;

/// What can happen in a storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A message arrives, is lost, or arrives and stays in flight.
    Message,
    /// A message arrives that was on its way for long.
    LateMessage,
    /// The oldest write of a node is durable.
    Write,
    /// A state machine takes some entries in.
    Apply,
    /// A completion is reported that was held back.
    Completion,
    /// Time passes.
    Time,
    Propose,
    /// A command is submitted anywhere, and its outcome awaited.
    Submit,
    Read,
    /// A failure detector speaks: late as it happens, and sometimes wrongly.
    Detect,
    /// A node takes a snapshot.
    Snapshot,
    /// A snapshot that a leader was asked for arrives, or is lost.
    SnapshotMoves,
    /// A node takes applied entries out of memory.
    Evict,
    /// A leader's disk gives entries back, or says that they are gone.
    EntriesRead,
    /// A link breaks and comes up again.
    Reset,
    Crash,
    /// Every node stops at once.
    PowerLoss,
    Restart,
    /// A link fails, one way or both.
    Cut,
    /// All links of the leader fail: in, out or both.
    CutLeader,
    Heal,
    Transfer,
    /// The leader changes the members.
    Reconfigure,
    /// A node is told to stand.
    Campaign,
}

/// How often each happens in a storm of no special kind; and whether every storm has it.
const EVENTS: &[(Event, u32, bool)] = &[
    (Event::Message, 800, true),
    (Event::LateMessage, 10, true),
    (Event::Write, 200, true),
    (Event::Apply, 60, true),
    (Event::Completion, 100, true),
    (Event::Time, 80, true),
    (Event::Propose, 60, true),
    (Event::Submit, 30, false),
    (Event::Read, 50, false),
    (Event::Detect, 10, false),
    (Event::Snapshot, 15, false),
    (Event::SnapshotMoves, 25, true),
    (Event::Evict, 15, false),
    (Event::EntriesRead, 60, true),
    (Event::Reset, 5, false),
    (Event::Crash, 3, false),
    (Event::PowerLoss, 1, false),
    (Event::Restart, 30, true),
    (Event::Cut, 3, false),
    (Event::CutLeader, 4, false),
    (Event::Heal, 5, true),
    (Event::Transfer, 3, false),
    (Event::Reconfigure, 6, false),
    (Event::Campaign, 4, false),
];

/// The probabilities of one storm.
pub(crate) struct Climate {
    /// Each event with the sum of the weights up to it.
    events: Vec<(Event, u32)>,
    pub(crate) steps: u32,
    /// How many messages move at once.
    pub(crate) haste: u8,
    /// Of a hundred messages so many come out of order, are lost, come twice, take very long.
    pub(crate) reordered: u8,
    pub(crate) lost: u8,
    pub(crate) doubled: u8,
    pub(crate) late: u8,
    /// Whether the group's first start has yet to come.
    pub(crate) begins_blank: bool,
    /// Of a hundred restarts so many find that the disk has lost something.
    pub(crate) forgetful: u8,
    /// How much time passes at once, at most.
    pub(crate) pause: Micros,
    /// Bytes of a proposal, at most.
    pub(crate) payload: usize,
    /// Entries kept before a snapshot, at most.
    pub(crate) trailing: u64,
}

impl Climate {
    pub(crate) fn new(random: &mut fastrand::Rng) -> Self {
        let mut events = Vec::new();
        let mut sum = 0;
        for &(event, usual, always) in EVENTS {
            sum += weight(random, usual, always);
            events.push((event, sum));
        }
        let pause = *pick(random, &[5, 20, 60, 60, 200]);
        Self {
            events,
            steps: random.u32(2_000..10_000),
            haste: *pick(random, &[1, 2, 5, 10]),
            reordered: *pick(random, &[0, 5, 25, 25, 60]),
            lost: *pick(random, &[0, 1, 5, 5, 30]),
            doubled: *pick(random, &[0, 1, 5, 5, 20]),
            late: *pick(random, &[0, 1, 5, 20]),
            begins_blank: random.u8(0..4) == 0,
            forgetful: *pick(random, &[0, 0, 20, 50]),
            pause: Micros::from_millis(pause),
            payload: *pick(random, &[1, 40, 400]),
            trailing: *pick(random, &[1, 5, 20]),
        }
    }

    /// Draws what happens next.
    pub(crate) fn draw(&self, random: &mut fastrand::Rng) -> Event {
        let total = self.events.last().expect("something happens").1;
        let drawn = random.u32(0..total);
        self.events[self.events.partition_point(|event| event.1 <= drawn)].0
    }
}

/// In quarters of the usual: what is not always there may be absent, or four times as frequent.
fn weight(random: &mut fastrand::Rng, usual: u32, always: bool) -> u32 {
    if always {
        return usual * *pick(random, &[2, 4, 4, 8]);
    }
    usual * *pick(random, &[0, 0, 1, 4, 4, 8, 16])
}

/// Draws the group: up to five voters, perhaps a learner, perhaps as many nodes that belong to none.
pub(crate) fn group(random: &mut fastrand::Rng) -> World {
    let voters = random.u64(1..=5);
    let mut configuration = Configuration::new((1..=voters).map(NodeId));
    let learner = random.u8(0..4) == 0;
    if learner {
        configuration.learners.push(NodeId(voters + 1));
    }
    let mut world = World::new(&configuration);
    let members = voters + u64::from(learner);
    let nodes = if random.bool() { 2 * voters } else { members };
    (members + 1..=nodes).for_each(|id| world.add_spare(NodeId(id)));
    world
}

/// Draws the settings of all replicas, and how much their clocks and disks differ.
pub(crate) fn settings(random: &mut fastrand::Rng, world: &mut World, seed: u64) {
    let preferred = Some(world.nodes[random.usize(0..world.nodes.len())].id);
    let common = RaftConfig {
        lease: random.bool().then_some(Lease { drift_percent: 19 }),
        shared_detector: random.bool(),
        preferred_leader: preferred.filter(|_| random.bool()),
        pre_vote: random.bool(),
        check_quorum: random.bool(),
        in_flight_messages_max: random.usize(1..8),
        message_bytes_max: *pick(random, &[1, 100, 500, 2_000]),
        message_entries_max: *pick(random, &[1, 1, 2, 20]),
        promotion_lag_max: random.u64(0..16),
        apply_bytes_max: random.usize(1..2_000),
        waiters_max: *pick(random, &[2, 64 << 10]),
        uncommitted_bytes_max: *pick(random, &[300, 64 << 20, 64 << 20]),
        ..world.nodes[0].config.clone()
    };
    // Safety must not depend on clocks that go at the same pace, not even with leases: beyond what
    // they allow for there are none.
    let rates = if random.u8(0..4) == 0 { 500..2_000 } else { 900..1_100 };
    let some_promise_nothing = random.u8(0..4) == 0;
    for node in &mut world.nodes {
        node.clock_rate = random.u64(rates.clone());
        node.disk_held = random.u8(0..4) > 0;
        node.apply_held = random.u8(0..4) > 0;
        node.completions_held = random.u8(0..3) == 0;
        let (own, seed) = (node.id, node.config.seed ^ seed << 32);
        node.config = RaftConfig { node: own, seed, ..common.clone() };
        if some_promise_nothing && random.bool() {
            // Not everyone need promise what others count on.
            node.config.lease = None;
        }
        node.config.in_flight_bytes_max = 4 * common.message_bytes_max;
    }
}

fn pick<'a, T>(random: &mut fastrand::Rng, choices: &'a [T]) -> &'a T {
    &choices[random.usize(0..choices.len())]
}
