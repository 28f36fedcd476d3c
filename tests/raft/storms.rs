//! Randomised clusters: for some time everything goes wrong that can, then everything works again
//! and the group must work too. What must hold is checked after every step (`laws`).

use sunstar::base::{Index, Micros, NodeId};
use sunstar::raft::{Configuration, Input, Lease, WaitFor};

use crate::world::World;

/// How a storm differs from others of its kind; drawn from the seed.
struct Storm {
    world: World,
    random: fastrand::Rng,
    seed: u64,
    next_context: u64,
    proposals: u64,
    crashes: u64,
    snapshots: u64,
    cuts: u64,
    changes: u64,
}

/// What happened over many storms.
#[derive(Debug, Default)]
struct Tally {
    storms: u64,
    elections: u64,
    committed: u64,
    reads: u64,
    crashes: u64,
    snapshots: u64,
    cuts: u64,
    changes: u64,
    /// Outcomes told: done, rejected, unknown.
    told: [u64; 3],
    reads_leased: u64,
    /// Storms that ended in a group without anything to do.
    quiet: u64,
}

const STEPS: u64 = 5_000;

#[test]
fn storms_break_no_law_and_pass() {
    let mut tally = Tally::default();
    for seed in seeds() {
        let storm = Storm::new(seed).weather();
        tally.add(&storm);
    }
    println!("{tally:?}");
    assert!(tally.elections > 2 * tally.storms, "too calm: {tally:?}");
    assert!(tally.snapshots > tally.storms && tally.crashes > tally.storms, "{tally:?}");
    assert!(tally.changes > tally.storms / 2, "{tally:?}");
    assert!(tally.told.iter().all(|&told| told > tally.storms), "{tally:?}");
    assert!(tally.reads > tally.storms && tally.cuts > tally.storms, "{tally:?}");
    assert!(tally.reads_leased > tally.storms, "{tally:?}");
    assert!(tally.quiet > tally.storms / 3, "{tally:?}");
}

/// Which seeds to run: `SUNSTAR_RAFT_SEEDS=from..to`, or the usual ones.
fn seeds() -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("SUNSTAR_RAFT_SEEDS") else { return 0..300 };
    let (from, to) = range.split_once("..").expect("SUNSTAR_RAFT_SEEDS=from..to");
    from.parse().expect("a seed")..to.parse().expect("a seed")
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let voters = random.u64(1..=5);
        let mut world = World::new(&Configuration::new((1..=voters).map(NodeId)));
        // In half of the storms the members change, among twice as many nodes.
        let nodes = if random.bool() { 2 * voters } else { voters };
        (voters + 1..=nodes).for_each(|id| world.add_spare(NodeId(id)));
        let (pre_vote, check_quorum) = (random.bool(), random.bool());
        let (window, bytes) = (random.usize(1..8), random.usize(1..2_000));
        let lag = random.u64(0..16);
        let apply_bytes = random.usize(1..2_000);
        // What a lease allows for, clocks do not exceed: they run from 0.9 to 1.1.
        let lease = (random.u8(0..3) == 0).then_some(Lease { drift_percent: 19 });
        let shared_detector = random.bool();
        let preferred = Some(NodeId(random.u64(1..=nodes))).filter(|_| random.bool());
        for node in &mut world.nodes {
            node.clock_rate = random.u64(900..1_100);
            node.disk_held = random.u8(0..4) > 0;
            node.apply_held = random.u8(0..4) > 0;
            node.config.apply_bytes_max = apply_bytes;
            node.config.lease = lease;
            node.config.shared_detector = shared_detector;
            node.config.preferred_leader = preferred;
            node.config.seed ^= seed << 32;
            node.config.pre_vote = pre_vote;
            node.config.check_quorum = check_quorum;
            node.config.in_flight_messages_max = window;
            node.config.message_bytes_max = bytes;
            node.config.promotion_lag_max = lag;
            node.config.in_flight_bytes_max = 4 * bytes;
        }
        for at in 0..world.nodes.len() {
            world.start(at);
        }
        let (next_context, proposals) = (0, 0);
        let (crashes, snapshots, cuts, changes) = (0, 0, 0, 0);
        Self { world, random, seed, next_context, proposals, crashes, snapshots, cuts, changes }
    }

    /// Runs the storm and the calm after it.
    fn weather(mut self) -> Self {
        let alarm = Alarm { seed: self.seed };
        for _ in 0..STEPS {
            self.gust();
        }
        self.calm();
        std::mem::forget(alarm);
        self
    }

    /// One thing happens.
    fn gust(&mut self) {
        let at = self.random.usize(0..self.world.nodes.len());
        match self.random.u32(0..1_003) {
            0..550 => self.move_message(),
            550..560 => self.detect(at),
            560..660 => _ = self.world.complete_write(at),
            660..700 => self.apply(at),
            700..780 => self.pass_time(),
            780..830 => self.propose(),
            830..860 => self.submit(at),
            860..910 => self.read(at),
            910..925 => self.snapshot(at),
            925..950 => self.move_snapshot(),
            950..955 => self.reset(at),
            955..959 => self.crash(at),
            959..990 => self.restart(at),
            990..993 => self.cut(at),
            993..997 => self.world.cuts.clear(),
            997..999 => self.transfer(at),
            999..1_002 => self.reconfigure(),
            _ => self.world.step(at, Input::Campaign),
        }
    }

    /// A failure detector speaks: late as it happens, and sometimes wrongly.
    fn detect(&mut self, at: usize) {
        let other = self.random.usize(0..self.world.nodes.len());
        let wrong = self.random.u8(0..10) == 0;
        if at != other {
            let up = self.world.is_reachable(at, other);
            self.world.detect(at, other, up != wrong);
        }
    }

    fn apply(&mut self, at: usize) {
        let count = self.random.usize(1..8);
        self.world.apply(at, count);
    }

    fn submit(&mut self, at: usize) {
        self.next_context += 1;
        let size = self.random.usize(0..400);
        let text = format!("submitted {}{:size$}", self.next_context, "");
        let wait_for = if self.random.bool() { WaitFor::Committed } else { WaitFor::Applied };
        self.world.submit(at, &text, wait_for, self.next_context);
    }

    fn transfer(&mut self, to: usize) {
        let (Some(leader), to) = (self.world.leader(), self.world.nodes[to].id) else { return };
        // A refusal is an answer.
        _ = self.world.transfer(leader, to);
    }

    fn reconfigure(&mut self) {
        let Some(leader) = self.world.leader() else { return };
        let mut target = Configuration::default();
        for node in &self.world.nodes {
            match self.random.u8(0..5) {
                0..3 => target.voters.push(node.id),
                3 => target.learners.push(node.id),
                _ => {}
            }
        }
        let changed = match self.random.u8(0..5) {
            0 => {
                self.next_context += 1;
                let at = self.random.usize(0..self.world.nodes.len());
                let context = self.next_context;
                return self.world.submit_change(at, &target, WaitFor::Committed, context);
            }
            1..3 => self.world.change_members(leader, &target),
            _ => self.world.reconfigure(leader, &target),
        };
        self.changes += u64::from(matches!(changed, Some(Ok(_))));
    }

    fn move_message(&mut self) {
        let count = self.world.in_flight.len();
        if count == 0 {
            return;
        }
        // Mostly in order, sometimes not.
        let position = if self.random.u8(0..4) > 0 { 0 } else { self.random.usize(0..count) };
        match self.random.u8(0..20) {
            0 => _ = self.world.in_flight.remove(position),
            1 => {
                let copy = self.world.in_flight[position].clone();
                self.world.hand_over(copy);
            }
            _ => self.world.deliver(position),
        }
    }

    fn pass_time(&mut self) {
        let span = Micros(self.random.u64(0..60_000));
        self.world.now = self.world.now + span;
        for at in 0..self.world.nodes.len() {
            self.world.tick(at);
        }
    }

    fn propose(&mut self) {
        let Some(leader) = self.world.leader() else { return };
        self.proposals += 1;
        let size = self.random.usize(0..400);
        let text = format!("{}{:size$}", self.proposals, "");
        // A refusal is an answer.
        self.world.propose_together(leader, &[text.as_str(), "b", "c"][..self.random.usize(1..4)]);
    }

    fn read(&mut self, at: usize) {
        self.next_context += 1;
        _ = self.world.read(at, self.next_context);
    }

    fn snapshot(&mut self, at: usize) {
        let trailing = self.random.u64(0..5);
        self.world.compact(at, trailing);
    }

    fn move_snapshot(&mut self) {
        let Some(&(leader, follower)) = self.world.snapshots_wanted.first() else { return };
        let (from, to) = (self.world.position(leader), self.world.position(follower));
        if self.random.u8(0..3) > 0 && self.world.nodes[to].raft.is_some() {
            self.world.transfer_snapshot(from, to);
            self.snapshots += 1;
        } else {
            self.world.snapshots_wanted.remove(&(leader, follower));
            self.world.step(from, Input::SnapshotFailed { to: follower });
        }
    }

    fn reset(&mut self, at: usize) {
        let other = self.random.usize(0..self.world.nodes.len());
        let ends = (self.world.nodes[at].id, self.world.nodes[other].id);
        if at == other {
            return;
        }
        let between = |from, to| (from, to) == ends || (to, from) == ends;
        self.world.in_flight.retain(|message| !between(message.from, message.to));
        self.world.step(at, Input::PeerReset { peer: ends.1 });
        self.world.step(other, Input::PeerReset { peer: ends.0 });
    }

    fn crash(&mut self, at: usize) {
        let survivors = self.random.usize(0..=self.world.nodes[at].writes.len());
        self.world.crash(at, survivors);
        self.crashes += 1;
    }

    fn restart(&mut self, at: usize) {
        if self.world.nodes[at].raft.is_none() {
            self.world.start(at);
        }
    }

    fn cut(&mut self, at: usize) {
        let other = self.random.usize(0..self.world.nodes.len());
        let (a, b) = (self.world.nodes[at].id, self.world.nodes[other].id);
        self.world.cuts.insert((a, b));
        if self.random.bool() {
            self.world.cuts.insert((b, a));
        }
        self.cuts += 1;
    }

    /// Everything works again: within a minute, all must have the same log, with something new.
    fn calm(&mut self) {
        self.world.cuts.clear();
        for at in 0..self.world.nodes.len() {
            self.world.nodes[at].disk_held = false;
            self.world.nodes[at].apply_held = false;
            self.restart(at);
            while self.world.complete_write(at) {}
            while self.world.apply(at, usize::MAX) > 0 {}
        }
        self.world.detect_all();
        let mut target = Index::ZERO;
        self.run_until(|storm| {
            let Some(leader) = storm.world.agreed_leader() else { return false };
            if storm.world.is_changing(leader) {
                return false;
            }
            let proposed = storm.world.propose(leader, "end").expect("a leader is up");
            // A transfer that is still under way is given up before long.
            proposed.inspect(|&(_, index)| target = index).is_ok()
        });
        self.run_until(|storm| storm.world.members().all(|node| node.applied.index >= target));
        self.run_until(|storm| storm.world.laws.submissions.nobody_waits());
        if self.world.nodes[0].config.shared_detector {
            self.run_until(|storm| storm.world.is_quiet());
        }
    }

    /// Lets everything happen in order until it is done, within a minute.
    fn run_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.world.now + Micros::from_secs(60);
        while !done(self) {
            while !self.world.in_flight.is_empty() {
                self.world.deliver(0);
            }
            while !self.world.snapshots_wanted.is_empty() {
                self.move_snapshot();
            }
            if done(self) {
                return;
            }
            let wake = self.world.next_wake().expect("somebody wants to be woken");
            self.world.now = self.world.now.max(wake);
            let states = self.world.states();
            assert!(self.world.now < end, "no progress in calm: {states:#?}");
            for at in 0..self.world.nodes.len() {
                self.world.tick(at);
            }
        }
    }
}

/// Says which seed it was, whatever assertion failed.
struct Alarm {
    seed: u64,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let next = self.seed + 1;
        eprintln!("again: SUNSTAR_RAFT_SEEDS={}..{next} cargo test --test raft storm", self.seed);
    }
}

impl Tally {
    fn add(&mut self, storm: &Storm) {
        self.storms += 1;
        self.elections += storm.world.laws.elections;
        self.committed += storm.world.laws.last_committed().0;
        self.reads += storm.world.laws.reads_confirmed;
        self.crashes += storm.crashes;
        self.snapshots += storm.snapshots;
        self.cuts += storm.cuts;
        self.changes += storm.changes;
        for (sum, told) in self.told.iter_mut().zip(storm.world.laws.submissions.told) {
            *sum += told;
        }
        self.reads_leased += storm.world.laws.reads_leased;
        self.quiet += u64::from(storm.world.is_quiet());
    }
}
