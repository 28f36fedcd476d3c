//! The shard master: what it is asked, how its map comes to all nodes, and members that follow it.

use sunstar::base::{GroupId, NodeId, SlotSet};
use sunstar::placement::META;
use sunstar::reactor::{GroupPlacement, GroupReason, Input, PlacementOperation, PlacementView};

use super::cluster::{Cluster, Faults};

const SEGMENT_BYTES: usize = 128 << 10;
const G1: GroupId = GroupId(1);

fn started(nodes: u64, groups: u32, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(nodes, groups, SEGMENT_BYTES, seed);
    cluster.run_until(1_000, |cluster| cluster.leader(G1).is_some() && cluster.is_settled());
    cluster
}

fn add_node(id: u64) -> PlacementOperation {
    PlacementOperation::AddNode {
        node: NodeId(id),
        client_address: format!("127.0.0.1:{}", 7_000 + id),
        peer_address: format!("127.0.0.1:{}", 8_000 + id),
    }
}

fn view(cluster: &mut Cluster, at: u64) -> PlacementView {
    for _ in 0..100 {
        match cluster.govern(NodeId(at), &PlacementOperation::Query { epoch: None }) {
            Some(Ok(view)) => return view,
            _ => (0..20).for_each(|_| cluster.round()),
        }
    }
    panic!("n{at} is never answered");
}

/// Whether all running nodes go by the map of `epoch`.
fn all_know(cluster: &Cluster, epoch: u64) -> bool {
    cluster.ids().into_iter().all(|id| cluster.map_of(id).epoch == epoch)
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

#[test]
fn any_node_can_ask_and_every_node_learns_the_new_map() {
    let mut cluster = started(3, 2, 1);
    for node in 1..=3 {
        let view = view(&mut cluster, node);
        assert_eq!((view.epoch, view.groups.len(), view.nodes.len()), (1, 2, 3));
        assert_eq!(view.meta.members, nodes(&[1, 2, 3]));
    }
    cluster.governed(NodeId(2), &add_node(4));
    cluster.run_until(1_000, |cluster| all_know(cluster, 2));
    let refused = cluster.govern(NodeId(1), &add_node(4)).expect("answered");
    assert_eq!(refused.expect_err("it is so already").reason, GroupReason::NoChange);
    let history = PlacementOperation::History { last: 9 };
    let told = cluster.govern(NodeId(3), &history).expect("answered").expect("accepted");
    assert_eq!(told.history.len(), 1, "{told:?}");
    let old = PlacementOperation::Query { epoch: Some(1) };
    let old = cluster.govern(NodeId(3), &old).expect("answered").expect("kept");
    assert_eq!((old.epoch, old.nodes.len()), (1, 3));
    let never = PlacementOperation::Query { epoch: Some(3) };
    let refused = cluster.govern(NodeId(3), &never).expect("answered");
    assert_eq!(refused.expect_err("never was").reason, GroupReason::Refused);
}

#[test]
fn the_map_and_the_master_outlive_their_processes() {
    let mut cluster = started(3, 2, 2);
    cluster.governed(NodeId(2), &add_node(4));
    cluster.run_until(1_000, |cluster| all_know(cluster, 2));
    cluster.restart_all();
    assert!(all_know(&cluster, 2), "it was kept");
    cluster.run_until(2_000, |cluster| cluster.leader(G1).is_some() && cluster.is_settled());
    assert_eq!(view(&mut cluster, 1).epoch, 2);
    cluster.assert_replicas_agree();
}

#[test]
fn a_node_that_was_away_or_missed_it_is_told_the_map() {
    let mut cluster = started(3, 1, 3);
    cluster.crash(NodeId(3));
    cluster.governed(NodeId(1), &add_node(4));
    cluster.start(NodeId(3));
    cluster.run_until(1_000, |cluster| all_know(cluster, 2));
    cluster.faults = Faults { lost_percent: 40, ..Faults::default() };
    cluster.governed(NodeId(1), &add_node(5));
    cluster.run_until(3_000, |cluster| all_know(cluster, 3));
}

/// The meta group's leader may be a node that one whose map is old does not let in.
#[test]
fn a_node_that_is_not_reached_by_the_meta_groups_leader_is_told_the_map_by_others() {
    let mut cluster = started(3, 1, 8);
    let leader = cluster.leader(META).expect("settled");
    let mut others = (1..=3).map(NodeId).filter(|node| *node != leader);
    let (away, other) = (others.next().expect("three"), others.next().expect("three"));
    cluster.crash(away);
    cluster.governed(other, &add_node(4));
    cluster.cuts.extend([(leader, away), (away, leader)]);
    cluster.start(away);
    cluster.run_until(1_000, |cluster| all_know(cluster, 2));
    // The same while it is up all the time, and where the one who knows was not heard at first.
    cluster.governed(other, &add_node(5));
    cluster.run_until(1_000, |cluster| all_know(cluster, 3));
    cluster.cuts.extend([(other, away), (away, other)]);
    cluster.governed(other, &add_node(6));
    cluster.run_until(1_000, |cluster| cluster.map_of(other).epoch == 4);
    (0..100).for_each(|_| cluster.round());
    assert_eq!(cluster.map_of(away).epoch, 3, "cut off");
    cluster.cuts.retain(|(one, two)| ![*one, *two].contains(&other));
    cluster.reset_link(other, away);
    cluster.run_until(1_000, |cluster| all_know(cluster, 4));
}

#[test]
fn a_drained_node_holds_nothing_and_can_be_removed() {
    let mut cluster = started(4, 4, 4);
    let drain = PlacementOperation::Drain { node: NodeId(1) };
    let remove = PlacementOperation::RemoveNode { node: NodeId(1) };
    let refused = cluster.govern(NodeId(2), &remove).expect("answered");
    assert!(refused.is_err(), "not drained: {refused:?}");
    cluster.governed(NodeId(1), &drain);
    cluster.run_until(20_000, |cluster| cluster.replicas(NodeId(1)).is_empty());
    let map = cluster.map_of(NodeId(2));
    for info in map.all_groups() {
        assert_eq!(cluster.holders(info.id), info.members, "{}", info.id);
    }
    cluster.run_until(2_000, |cluster| cluster.is_settled());
    cluster.governed(NodeId(2), &remove);
    cluster.run_until(1_000, |cluster| all_know(cluster, 3));
    assert_eq!(view(&mut cluster, 3).nodes.len(), 3);
}

/// What is in the log already may give slots or replicas to what is to go.
#[test]
fn nothing_goes_while_another_change_is_on_its_way_through_the_log() {
    let mut cluster = started(4, 2, 8);
    let group = GroupId(2);
    let leader = cluster.leader(META).expect("settled");
    // As far as is known, every group is where the map has it.
    let known = |view: &PlacementView| {
        let there = |it: &GroupPlacement| it.progress.is_some_and(|at| at.epoch == view.epoch);
        view.groups.iter().all(there)
    };
    while !known(&view(&mut cluster, 2)) {
        (0..20).for_each(|_| cluster.round());
    }
    let changes = [
        PlacementOperation::Leave { groups: vec![group] },
        PlacementOperation::Forget { group },
        PlacementOperation::Drain { node: NodeId(1) },
        PlacementOperation::RemoveNode { node: NodeId(1) },
    ];
    // All of them at once: when the leader looks at one, those before it are in its log.
    for (ticket, operation) in (100..).zip(&changes) {
        let input = Input::Govern { ticket, operation: operation.clone() };
        let now = cluster.now;
        cluster.nodes.get_mut(&leader).expect("it runs").reactor.step(now, input);
    }
    cluster.run_until(2_000, |cluster| cluster.admin_answers.len() == changes.len());
    let answers = format!("{:?}", cluster.admin_answers);
    let view = view(&mut cluster, 2);
    assert_eq!((view.groups.len(), view.nodes.len()), (2, 4), "{answers}");
    let ours = |view: &PlacementView| view.groups[1].slot_count;
    assert_eq!(ours(&view), 0, "it has left");
    cluster.governed(NodeId(2), &changes[1]);
    cluster.run_until(20_000, |cluster| cluster.replicas(NodeId(1)).is_empty());
    cluster.governed(NodeId(2), &changes[3]);
    let leader = cluster.leader(G1).expect("settled");
    let served = cluster.reactor(leader).served_slots(G1).expect("it leads");
    assert_eq!(*served, SlotSet::full(), "no slot went with the group");
}

/// It may hold replicas: that it still does is not what is to be waited for.
#[test]
fn who_may_have_replicas_or_slots_is_told_to_give_them_away_first() {
    let mut cluster = started(4, 2, 9);
    let refusal = |cluster: &mut Cluster, operation| {
        let answer = cluster.govern(NodeId(2), &operation).expect("answered");
        let refusal = answer.expect_err("refused");
        assert_eq!(refusal.reason, GroupReason::Refused, "{refusal:?}");
        refusal.message
    };
    let told = refusal(&mut cluster, PlacementOperation::RemoveNode { node: NodeId(1) });
    assert!(told.contains("not drained"), "{told}");
    let told = refusal(&mut cluster, PlacementOperation::Forget { group: G1 });
    assert!(told.contains("not leaving"), "{told}");
}

#[test]
fn a_new_node_takes_its_share_of_the_replicas() {
    let mut cluster = started(3, 4, 5);
    cluster.governed(NodeId(1), &add_node(4));
    cluster.run_until(1_000, |cluster| all_know(cluster, 2));
    cluster.join(NodeId(4), NodeId(2));
    let drain = PlacementOperation::Drain { node: NodeId(2) };
    cluster.governed(NodeId(4), &drain);
    cluster.run_until(20_000, |cluster| cluster.replicas(NodeId(2)).is_empty());
    assert_eq!(cluster.holders(META), nodes(&[1, 3, 4]));
    cluster.run_until(2_000, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
}

#[test]
fn a_drain_goes_on_under_another_leader_after_every_process_died() {
    let mut cluster = started(4, 2, 6);
    cluster.governed(NodeId(2), &PlacementOperation::Drain { node: NodeId(1) });
    for round in 0..6 {
        (0..17 * round).for_each(|_| cluster.round());
        cluster.restart_all();
    }
    cluster.run_until(20_000, |cluster| cluster.replicas(NodeId(1)).is_empty());
    cluster.run_until(2_000, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
}

/// The new members are those that vote still; others are about to.
#[test]
fn a_change_on_its_way_is_undone_when_the_map_goes_back() {
    let mut cluster = started(4, 1, 10);
    let members = cluster.map_of(NodeId(1)).group(G1).expect("listed").members.clone();
    let other = (1..=4).map(NodeId).find(|node| !members.contains(node)).expect("one of four");
    let asked = members[1];
    // It does not catch up, so that the change waits for it.
    cluster.held.insert(other);
    cluster.governed(asked, &PlacementOperation::Drain { node: members[0] });
    (0..200).for_each(|_| cluster.round());
    cluster.governed(asked, &PlacementOperation::Undrain { node: members[0] });
    cluster.governed(asked, &PlacementOperation::Drain { node: other });
    (0..200).for_each(|_| cluster.round());
    cluster.held.remove(&other);
    cluster.run_until(5_000, |cluster| cluster.replicas(other).is_empty());
    assert_eq!(cluster.map_of(asked).group(G1).expect("listed").members, members);
    (0..500).for_each(|_| cluster.round());
    assert_eq!((cluster.holders(G1), cluster.holders(META)), (members.clone(), members));
}

#[test]
fn members_that_an_administrator_chose_stay_until_the_map_says_otherwise() {
    use sunstar::reactor::GroupOperation;
    let mut cluster = started(4, 1, 7);
    let members = cluster.map_of(NodeId(1)).group(G1).expect("listed").members.clone();
    let other = (1..=4).map(NodeId).find(|node| !members.contains(node)).expect("one of four");
    let voters: Vec<NodeId> = members[1..].iter().copied().chain([other]).collect();
    let set = GroupOperation::Set { voters: voters.clone() };
    let mut accepted = false;
    for _ in 0..100 {
        accepted |= matches!(cluster.administer(other, G1, set.clone()), Some(Ok(_)));
        (0..50).for_each(|_| cluster.round());
    }
    assert!(accepted);
    let mut sorted = voters.clone();
    sorted.sort_unstable();
    assert_eq!(cluster.holders(G1), sorted, "the map has said nothing since");
    cluster.governed(NodeId(1), &add_node(5));
    cluster.governed(NodeId(1), &PlacementOperation::Drain { node: members[1] });
    let gone = members[1];
    cluster.run_until(20_000, |cluster| !cluster.holders(G1).contains(&gone));
}

#[test]
fn who_comes_to_lead_the_meta_group_learns_how_far_the_groups_are() {
    let mut cluster = started(3, 2, 6);
    let all_known = |cluster: &mut Cluster| {
        let asked = cluster.leader(META).expect("settled");
        view(cluster, asked.0).groups.iter().all(|group| group.progress.is_some())
    };
    for _ in 0..3 {
        let leader = cluster.leader(META).expect("settled");
        cluster.crash(leader);
        cluster.run_until(1_000, |cluster| cluster.leader(META).is_some());
        cluster.start(leader);
        cluster.run_until(1_000, |cluster| cluster.is_settled() && cluster.leader(META).is_some());
        cluster.run_until(1_000, all_known);
    }
}
