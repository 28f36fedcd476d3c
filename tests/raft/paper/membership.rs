//! Section 6.

use sunstar::base::NodeId;
use sunstar::raft::{Configuration, Message, RoleKind};

use crate::group::{Group, append, granted, vote};

fn changing() -> Group {
    Group::with(3, 3, |config| (config.pre_vote, config.check_quorum) = (false, false))
}

/// 6: "Log entries are replicated to all servers in both configurations."
#[test]
fn both_configurations_receive_the_log() {
    let mut group = changing();
    group.lead(1);
    assert!(group.reconfigure(1, [1, 4, 5]));
    let mut to: Vec<_> = group.take_in_flight().iter().map(|message| message.to.0).collect();
    to.dedup();
    assert_eq!(to, [2, 3, 4, 5]);
}

/// 6: "Any server from either configuration may serve as leader."
#[test]
fn a_server_of_the_new_configuration_may_lead() {
    let mut group = changing();
    group.lead(1);
    group.reconfigure(1, [3, 4, 5]);
    group.settle();
    group.run(5_000);
    let leader = (1..=6).find(|&id| group.role(id) == RoleKind::Leader).expect("somebody leads");
    group.lead(if leader == 4 { 5 } else { 4 });
    assert_eq!(group.raft(4).configuration(), &Configuration::new([3, 4, 5].map(NodeId)));
}

/// 6: "Agreement (for elections and entry commitment) requires separate majorities from both the old
/// and new configurations."
#[test]
fn agreement_takes_both_majorities() {
    for silent in [[2, 3], [4, 5]] {
        let mut group = changing();
        group.lead(1);
        group.reconfigure(1, [1, 4, 5]);
        let lost = |message: &Message| {
            let ends = [message.from.0, message.to.0];
            silent.iter().any(|id| ends.contains(id))
        };
        group.settle_but(lost);
        assert_eq!(group.commit(1), 1, "without {silent:?}");
        group.run(2_000);
        assert!(group.commit(1) > 2 && !group.raft(1).configuration().is_joint());
    }
}

/// 6: "Once a given server adds the new configuration entry to its log, it uses that configuration
/// for all future decisions (a server always uses the latest configuration in its log, regardless of
/// whether the entry is committed)."
#[test]
fn the_latest_configuration_in_the_log_counts() {
    let mut group = changing();
    group.lead(1);
    group.reconfigure(1, [1, 4, 5]);
    assert!(group.raft(1).configuration().is_joint());
    while group.raft(2).last_index().0 < 2 {
        group.world.deliver(0);
    }
    assert!(group.raft(2).configuration().is_joint() && group.commit(2) < 2);
}

/// 6: "In order to avoid availability gaps, Raft introduces an additional phase before the
/// configuration change, in which the new servers join the cluster as non-voting members".
#[test]
fn new_servers_catch_up_before_they_vote() {
    let mut group = changing();
    group.lead(1);
    let at = group.at(1);
    let target = Configuration::new([1, 4, 5].map(NodeId));
    assert!(group.world.change_members(at, &target).is_some_and(|result| result.is_ok()));
    let members = group.raft(1).configuration().clone();
    assert_eq!(members.voters, [1, 2, 3].map(NodeId), "decide alone meanwhile");
    assert_eq!(members.learners, [4, 5].map(NodeId));
    group.run(2_000);
    assert_eq!(group.raft(1).configuration(), &target);
}

/// 6: "the leader steps down (returns to follower state) once it has committed the Cnew log entry.
/// This means that there will be a period of time (while it is committing Cnew) when the leader is
/// managing a cluster that does not include itself; it replicates log entries but does not count
/// itself in majorities."
#[test]
fn a_leader_outside_the_configuration_steps_down_when_that_is_committed() {
    let mut group = changing();
    group.lead(1);
    group.reconfigure(1, [2, 3, 4]);
    let later = |message: &Message| message.from.0 == 1 && message.to.0 != 2;
    while group.raft(1).configuration().is_joint() {
        group.world.deliver(0);
    }
    group.settle_but(later);
    assert_eq!((group.role(1), group.commit(1)), (RoleKind::Leader, 2), "itself and one of three");
    group.run(3_000);
    assert_eq!(group.role(1), RoleKind::Follower);
    assert!((2..=4).any(|id| group.role(id) == RoleKind::Leader));
}

/// 6: "servers disregard `RequestVote` RPCs when they believe a current leader exists. Specifically,
/// if a server receives a `RequestVote` RPC within the minimum election timeout of hearing from a
/// current leader, it does not update its term or grant its vote."
#[test]
fn removed_servers_do_not_disrupt() {
    let mut group = Group::with(3, 0, |config| config.pre_vote = false);
    group.send(2, 1, 1, append((0, 0), &[1], 0));
    let answers = group.send(3, 1, 9, vote((9, 9)));
    assert!(granted(&answers).is_none_or(|granted| !granted));
    assert_eq!(group.term(1), 1);
}
