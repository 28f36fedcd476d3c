//! Scenarios of replication, each in sixteen worlds: messages are dropped or not, with pre-vote or
//! without, with a shared failure detector or without, and with disks and state machines that are
//! done at once or only now and then.
//!
//! A scenario says what happens and what must have come of it. The laws are checked all the while
//! (`laws`), so that it need say only what is its own. In the manner of Scylla's replication tests.

use sunstar::base::{Micros, NodeId};
use sunstar::raft::{Configuration, Input, Raft, RaftConfig, RoleKind, WaitFor};

use crate::group::Group;

/// A group in one of the sixteen worlds.
struct Case {
    group: Group,
    /// One of ten messages is lost.
    drops: bool,
    /// Disks and state machines are done now and then.
    slow: bool,
    random: fastrand::Rng,
    proposals: u64,
}

fn every_cell(voters: u64, spares: u64, scenario: impl Fn(&mut Case)) {
    for bits in 0..16_u64 {
        let has = |bit: u64| bits >> bit & 1 == 1;
        let (drops, pre_vote, shared_detector, slow) = (has(0), has(1), has(2), has(3));
        // Shown when it fails.
        println!("drops {drops}, pre-vote {pre_vote}, detector {shared_detector}, slow {slow}");
        let settings = |config: &mut RaftConfig| {
            (config.pre_vote, config.shared_detector) = (pre_vote, shared_detector);
        };
        let group = Group::with(voters, spares, settings);
        let random = fastrand::Rng::with_seed(bits);
        let mut case = Case { group, drops, slow, random, proposals: 0 };
        for node in &mut case.group.world.nodes {
            (node.disk_held, node.apply_held) = (slow, slow);
        }
        case.group.world.detect_all();
        scenario(&mut case);
    }
}

impl Case {
    /// Runs until something is so; half a minute at most.
    fn until(&mut self, what: &str, done: impl Fn(&Group) -> bool) {
        for _ in 0..3_000 {
            if done(&self.group) {
                return;
            }
            self.moment();
        }
        panic!("not within half a minute: {what}: {:#?}", self.group.world.states());
    }

    /// Ten milliseconds.
    fn moment(&mut self) {
        let world = &mut self.group.world;
        world.now = world.now + Micros::from_millis(10);
        for at in 0..world.nodes.len() {
            world.tick(at);
            if self.slow && self.random.bool() {
                world.complete_write(at);
                world.apply(at, 2);
            }
        }
        for _ in 0..100 {
            if world.in_flight.is_empty() {
                break;
            }
            if self.drops && self.random.u8(0..10) == 0 {
                world.in_flight.remove(0);
            } else {
                world.deliver(0);
            }
        }
        while let Some(&(from, to)) = world.snapshots_wanted.first() {
            let cut = world.cuts.contains(&(from, to));
            let (from, to) = (world.position(from), world.position(to));
            if cut || world.nodes[to].raft.is_none() {
                world.snapshots_wanted.pop_first();
                world.step(from, Input::SnapshotFailed { to: world.nodes[to].id });
            } else {
                world.transfer_snapshot(from, to);
            }
        }
    }

    /// Somebody leads the others and has committed in its term.
    fn leader(&mut self) -> u64 {
        self.until("a leader", |group| leader_of(group).is_some());
        leader_of(&self.group).expect("just seen")
    }

    /// This one leads: it is asked to stand until it does.
    fn led_by(&mut self, id: u64) {
        for _ in 0..100 {
            if self.leader() == id {
                return;
            }
            let (leader, to) = (self.leader(), NodeId(id));
            let at = self.group.at(leader);
            _ = self.group.world.transfer(at, to);
            (0..30).for_each(|_| self.moment());
        }
        panic!("{id} does not lead: {:#?}", self.group.world.states());
    }

    fn propose(&mut self, id: u64, count: u64) {
        for _ in 0..count {
            self.proposals += 1;
            let text = format!("c{}", self.proposals);
            self.group.propose(id, &text);
        }
    }

    /// Something new is applied by all these.
    fn all_agree(&mut self, ids: &[u64]) {
        let leader = self.leader();
        self.propose(leader, 1);
        let target = self.group.raft(leader).last_index().0;
        let ids = ids.to_vec();
        self.until("agreement", |group| ids.iter().all(|&id| group.applied(id) >= target));
    }

    fn cut_off(&mut self, ids: &[u64]) {
        for &id in ids {
            self.group.isolate(id);
        }
        self.group.world.detect_all();
    }

    fn heal(&mut self) {
        self.group.heal();
        self.group.world.detect_all();
    }

    fn crash(&mut self, id: u64) {
        self.group.crash(id);
        self.group.world.detect_all();
    }

    fn restart(&mut self, id: u64) {
        self.group.restart(id);
        self.group.world.detect_all();
    }

    fn pass(&mut self, moments: u64) {
        (0..moments).for_each(|_| self.moment());
    }

    fn change(&mut self, target: &Configuration) {
        for _ in 0..200 {
            let leader = self.leader();
            let at = self.group.at(leader);
            if self.group.world.reconfigure(at, target).is_some_and(|result| result.is_ok()) {
                return;
            }
            self.pass(10);
        }
        panic!("no change to {target:?}");
    }

    fn members(&mut self, target: &Configuration) {
        let target = target.clone();
        self.until("the new members", |group| {
            leader_of(group).is_some_and(|id| {
                let raft = group.raft(id);
                raft.configuration() == &target && raft.configuration().is_voter(NodeId(id))
            })
        });
    }
}

/// Whoever leads in the latest term and has committed in it.
fn leader_of(group: &Group) -> Option<u64> {
    let at = group.world.leader()?;
    let (id, raft) = (group.world.nodes[at].id, group.world.nodes[at].raft.as_ref()?);
    let latest = group.world.nodes.iter().filter_map(|node| node.raft.as_ref());
    let latest = latest.map(Raft::term).max()?;
    let ready = raft.term_at(raft.commit_index()) == Some(raft.term()) && raft.term() == latest;
    ready.then_some(id.0)
}

fn voters(ids: impl IntoIterator<Item = u64>) -> Configuration {
    Configuration::new(ids.into_iter().map(NodeId))
}

#[test]
fn entries_reach_everybody() {
    every_cell(3, 0, |case| {
        let leader = case.leader();
        case.propose(leader, 20);
        case.all_agree(&[1, 2, 3]);
    });
}

#[test]
fn a_group_of_one() {
    every_cell(1, 0, |case| case.all_agree(&[1]));
}

#[test]
fn a_group_of_two_and_one_of_five() {
    every_cell(2, 0, |case| case.all_agree(&[1, 2]));
    every_cell(5, 0, |case| case.all_agree(&[1, 2, 3, 4, 5]));
}

#[test]
fn a_follower_behind_catches_up() {
    every_cell(3, 0, |case| {
        case.led_by(1);
        case.cut_off(&[3]);
        case.propose(1, 30);
        case.pass(300);
        case.heal();
        case.all_agree(&[1, 2, 3]);
    });
}

#[test]
fn a_follower_behind_gets_a_snapshot() {
    every_cell(3, 0, |case| {
        case.led_by(1);
        case.crash(3);
        case.propose(1, 30);
        case.until("a commit", |group| group.applied(1) > 20);
        case.group.compact(1);
        case.restart(3);
        case.all_agree(&[1, 2, 3]);
    });
}

#[test]
fn a_leader_with_uncommitted_entries_is_replaced() {
    every_cell(3, 0, |case| {
        case.led_by(1);
        case.cut_off(&[1]);
        case.propose(1, 5);
        case.until("another leader", |group| leader_of(group).is_some_and(|id| id != 1));
        case.all_agree(&[2, 3]);
        case.heal();
        case.all_agree(&[1, 2, 3]);
    });
}

#[test]
fn logs_that_diverged_over_several_terms_come_to_agree() {
    every_cell(5, 0, |case| {
        for id in [1, 2, 3] {
            case.led_by(id);
            case.cut_off(&[id]);
            case.propose(id, id);
            case.until("another leader", move |group| {
                leader_of(group).is_some_and(|leader| leader != id)
            });
            case.heal();
        }
        case.all_agree(&[1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_minority_decides_nothing() {
    every_cell(5, 0, |case| {
        case.led_by(1);
        case.cut_off(&[3, 4, 5]);
        case.pass(10);
        let before = case.group.commit(1);
        case.propose(1, 3);
        case.pass(300);
        assert!(case.group.commit(1) <= before + 1, "a minority committed");
        case.heal();
        case.all_agree(&[1, 2, 3, 4, 5]);
    });
}

#[test]
fn partitions_that_come_and_go() {
    every_cell(5, 0, |case| {
        for away in [[1, 2], [3, 4], [5, 1], [2, 3]] {
            case.cut_off(&away);
            let leader = case.leader();
            case.propose(leader, 3);
            case.pass(150);
            case.heal();
        }
        case.all_agree(&[1, 2, 3, 4, 5]);
    });
}

#[test]
fn everybody_loses_power() {
    every_cell(3, 0, |case| {
        let leader = case.leader();
        case.propose(leader, 10);
        case.all_agree(&[1, 2, 3]);
        let committed = case.group.world.laws.last_committed();
        (1..=3).for_each(|id| case.crash(id));
        (1..=3).for_each(|id| case.restart(id));
        case.all_agree(&[1, 2, 3]);
        assert!(case.group.world.laws.last_committed() > committed);
    });
}

#[test]
fn a_leader_that_restarts_follows() {
    every_cell(3, 0, |case| {
        let leader = case.leader();
        case.propose(leader, 3);
        case.crash(leader);
        case.until("another leader", move |group| leader_of(group).is_some());
        case.restart(leader);
        case.all_agree(&[1, 2, 3]);
    });
}

#[test]
fn one_node_is_replaced() {
    every_cell(3, 1, |case| {
        let target = voters([2, 3, 4]);
        case.change(&target);
        case.members(&target);
        case.all_agree(&[2, 3, 4]);
    });
}

#[test]
fn all_nodes_are_replaced() {
    every_cell(3, 3, |case| {
        let leader = case.leader();
        case.propose(leader, 10);
        let target = voters([4, 5, 6]);
        case.change(&target);
        case.members(&target);
        case.all_agree(&[4, 5, 6]);
    });
}

#[test]
fn a_change_whose_leader_dies_is_finished_or_undone() {
    every_cell(3, 2, |case| {
        case.led_by(1);
        case.change(&voters([2, 3, 4, 5]));
        case.pass(2);
        case.crash(1);
        case.until("another leader", |group| {
            leader_of(group).is_some_and(|id| !group.raft(id).configuration().is_joint())
        });
        case.restart(1);
        case.all_agree(&[2, 3]);
    });
}

#[test]
fn a_group_grows_and_shrinks() {
    every_cell(1, 4, |case| {
        for size in [3, 5, 2, 4, 1] {
            let target = voters(1..=size);
            case.change(&target);
            case.members(&target);
        }
        case.all_agree(&[1]);
    });
}

#[test]
fn new_voters_wait_until_they_have_caught_up() {
    every_cell(3, 3, |case| {
        case.led_by(1);
        case.propose(1, 200);
        let target = voters([1, 4, 5]);
        let at = case.group.at(1);
        case.until("quiet", |group| group.commit(1) == group.raft(1).last_index().0);
        assert!(case.group.world.change_members(at, &target).is_some_and(|result| result.is_ok()));
        assert!(case.group.raft(1).configuration().is_staged());
        case.members(&target);
        case.all_agree(&[1, 4, 5]);
    });
}

#[test]
fn learners_follow_and_do_not_count() {
    every_cell(3, 1, |case| {
        let mut target = voters([1, 2, 3]);
        target.learners = vec![NodeId(4)];
        case.change(&target);
        case.members(&target);
        case.all_agree(&[1, 2, 3, 4]);
        case.cut_off(&[4]);
        case.all_agree(&[1, 2, 3]);
        assert_ne!(case.group.role(4), RoleKind::Leader);
    });
}

#[test]
fn leadership_goes_round() {
    every_cell(3, 0, |case| {
        for id in [1, 2, 3, 1] {
            case.led_by(id);
            case.propose(id, 3);
        }
        case.all_agree(&[1, 2, 3]);
    });
}

#[test]
fn leadership_goes_to_one_that_lags() {
    every_cell(3, 0, |case| {
        case.led_by(1);
        case.cut_off(&[3]);
        case.propose(1, 10);
        case.pass(50);
        case.heal();
        case.led_by(3);
        case.all_agree(&[1, 2, 3]);
    });
}

#[test]
fn reads_while_leaders_change() {
    every_cell(3, 0, |case| {
        for round in 0..10 {
            let leader = case.leader();
            case.propose(leader, 1);
            for at in 0..3 {
                _ = case.group.world.read(at, round * 10 + at as u64);
            }
            if round % 3 == 2 {
                case.cut_off(&[leader]);
                case.pass(300);
                case.heal();
            }
            case.pass(5);
        }
        case.until("answers", |group| !group.world.laws.is_reading(|_| true));
        assert!(case.group.world.laws.tally.get("reads confirmed") > 0);
    });
}

#[test]
fn what_is_submitted_anywhere_gets_its_outcome() {
    every_cell(3, 0, |case| {
        case.leader();
        for context in 0..30_u64 {
            let wait_for = if context % 2 == 0 { WaitFor::Committed } else { WaitFor::Applied };
            let at = usize::try_from(context % 3).expect("small");
            case.group.world.submit(at, &format!("s{context}"), wait_for, context);
            case.pass(if context == 15 { 200 } else { 3 });
        }
        case.until("outcomes", |group| group.world.laws.submissions.nobody_waits());
        assert!(case.group.world.laws.tally.get("submissions done") > 10);
    });
}

#[test]
fn a_flapping_node_stops_nobody() {
    every_cell(3, 0, |case| {
        for _ in 0..6 {
            case.cut_off(&[3]);
            case.pass(80);
            case.heal();
            let leader = case.leader();
            case.propose(leader, 2);
            case.pass(20);
        }
        case.all_agree(&[1, 2, 3]);
    });
}
