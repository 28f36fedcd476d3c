//! Replicas that come and go while clients write.

use sunstar::base::{GroupId, NodeId};
use sunstar::reactor::{GroupOperation, GroupReason};
use sunstar::wire::client::OperationKind;

use super::client::{Client, key_of};
use super::cluster::{Cluster, Faults};

const G1: GroupId = GroupId(1);
/// Small: logs are given up and snapshots sent.
const SEGMENT_BYTES: usize = 128 << 10;

fn six_nodes(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(6, 1, SEGMENT_BYTES, seed);
    cluster.run_until(1_000, |cluster| cluster.leader(G1).is_some() && cluster.is_settled());
    cluster
}

fn set(voters: &[u64]) -> GroupOperation {
    GroupOperation::Set { voters: voters.iter().copied().map(NodeId).collect() }
}

/// Who has a replica.
fn hosts(cluster: &Cluster) -> Vec<u64> {
    cluster.groups().into_iter().map(|(node, _)| node.0).collect()
}

/// Asks until it is accepted: a leader may just be changing, or an earlier change wait for a snapshot
/// that was lost on its way.
fn administer(cluster: &mut Cluster, node: u64, operation: &GroupOperation) {
    let mut last = None;
    for _ in 0..1_000 {
        last = cluster.administer(NodeId(node), G1, operation.clone());
        match &last {
            Some(Ok(_)) => return,
            Some(Err(refusal)) if refusal.reason == GroupReason::NoChange => return,
            _ => {}
        }
        for _ in 0..20 {
            cluster.round();
        }
    }
    let groups = cluster.groups();
    panic!("{operation:?} is never accepted: {last:?}; {groups:?}");
}

fn append(client: &mut Client, cluster: &mut Cluster, key: &str, count: usize, value: &[u8]) {
    for _ in 0..count {
        client.write(cluster, OperationKind::Append, key, value);
    }
}

#[test]
fn a_group_moves_to_three_other_nodes_and_the_old_ones_hold_nothing() {
    let mut cluster = six_nodes(11);
    assert_eq!(hosts(&cluster), [1, 2, 3]);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    append(&mut client, &mut cluster, &key, 300, &[b'x'; 1_000]);
    // Any node can be asked, of the group or not.
    administer(&mut cluster, 6, &set(&[4, 5, 6]));
    append(&mut client, &mut cluster, &key, 300, &[b'y'; 10]);
    cluster.run_until(5_000, |cluster| hosts(cluster) == [4, 5, 6] && cluster.is_settled());
    cluster.assert_replicas_agree();
    let expected = [vec![b'x'; 300_000], vec![b'y'; 3_000]].concat();
    assert_eq!(client.get(&mut cluster, &key).as_deref(), Some(&expected[..]));

    // Both an old and a new node start from what their disks hold.
    for (node, groups) in [(NodeId(1), vec![]), (NodeId(4), vec![G1])] {
        cluster.crash(node);
        assert_eq!(cluster.survivors(node), groups, "{node}");
        cluster.start(node);
    }
    cluster.run_until(5_000, |cluster| cluster.leader(G1).is_some() && cluster.is_settled());
    assert_eq!(hosts(&cluster), [4, 5, 6]);
    append(&mut client, &mut cluster, &key, 3, b"z");

    // What left can come back.
    administer(&mut cluster, 2, &set(&[1, 2, 3]));
    cluster.run_until(5_000, |cluster| hosts(cluster) == [1, 2, 3] && cluster.is_settled());
    append(&mut client, &mut cluster, &key, 3, b"z");
    let expected = [&expected[..], b"zzzzzz"].concat();
    assert_eq!(client.get(&mut cluster, &key).as_deref(), Some(&expected[..]));
}

#[test]
fn a_node_that_was_down_when_it_was_put_out_learns_of_it() {
    let mut cluster = six_nodes(12);
    let gone = NodeId(3);
    cluster.crash(gone);
    administer(&mut cluster, 1, &set(&[1, 2, 4]));
    cluster.run_until(5_000, |cluster| hosts(cluster) == [1, 2, 4] && cluster.is_settled());
    cluster.start(gone);
    cluster.round();
    assert_eq!(hosts(&cluster), [1, 2, 3, 4], "as its disk says");
    cluster.run_until(5_000, |cluster| hosts(cluster) == [1, 2, 4]);
    // What says so was written in the turn just taken, and is durable in the next.
    cluster.round();
    cluster.crash(gone);
    cluster.start(gone);
    assert_eq!(hosts(&cluster), [1, 2, 4], "it is on the disk");
}

#[test]
fn every_node_knows_where_the_group_went() {
    let mut cluster = six_nodes(13);
    administer(&mut cluster, 5, &set(&[3, 4, 5]));
    cluster.run_until(5_000, |cluster| hosts(cluster) == [3, 4, 5] && cluster.is_settled());
    for node in [1, 2, 6].map(NodeId) {
        // One that starts anew is told by the leader.
        cluster.crash(node);
        cluster.start(node);
        for _ in 0..10 {
            cluster.round();
        }
        let reply = Client::reader(node.0 + 10, G1).read(&mut cluster, node, "k");
        assert_eq!(Some(reply.leader), cluster.leader(G1), "{node}");
    }
}

/// The leader alone can reach the node that it is asked to add: what makes that one a member is never
/// committed, and the next leader knows nothing of it.
#[test]
fn a_node_added_by_an_entry_that_is_lost_learns_of_it() {
    let (mut cluster, added) = (six_nodes(15), NodeId(4));
    let old = cluster.leader(G1).expect("it is settled");
    let others: Vec<_> = (1..=3).map(NodeId).filter(|&node| node != old).collect();
    cluster.cuts.extend(others.iter().flat_map(|&other| [(old, other), (other, old)]));
    _ = cluster.administer(old, G1, GroupOperation::Add { node: added, learner: true });
    cluster.run_until(1_000, |cluster| {
        cluster.brief(added).iter().any(|group| group.last_index > group.commit_index)
    });
    cluster.crash(old);
    cluster.cuts.clear();
    cluster.run_until(10_000, |cluster| cluster.leader(G1).is_some_and(|leader| leader != old));
    cluster.start(old);
    cluster.run_until(10_000, |cluster| hosts(cluster) == [1, 2, 3] && cluster.is_settled());
}

/// A group's only voter hands it over, forgets it and is taken in again. The first that it is sent of
/// its log is older than the change that put it out, and says that it alone decides.
#[test]
fn a_voter_that_left_does_not_lead_by_a_configuration_of_before() {
    let (mut cluster, left) = (Cluster::new(3, 1, 16 << 20, 16), NodeId(1));
    cluster.run_until(1_000, |cluster| cluster.leader(G1).is_some() && cluster.is_settled());
    administer(&mut cluster, 1, &set(&[1]));
    cluster.run_until(5_000, |cluster| hosts(cluster) == [1] && cluster.is_settled());
    let mut client = Client::open(&mut cluster, 1, G1);
    // More than goes into one message; and no state that is smaller than its log.
    let keys: Vec<_> = (0..40).map(|i| key_of(&cluster, G1, &format!("k{i}"))).collect();
    let value = vec![b'x'; 64 << 10];
    for key in &keys {
        append(&mut client, &mut cluster, key, 1, &value);
    }
    administer(&mut cluster, 1, &set(&[2, 3]));
    cluster.run_until(5_000, |cluster| hosts(cluster) == [2, 3] && cluster.is_settled());
    administer(&mut cluster, 2, &GroupOperation::Add { node: left, learner: true });
    let has_some = |cluster: &mut Cluster| cluster.brief(left).iter().any(|g1| g1.last_index.0 > 0);
    cluster.run_until(5_000, has_some);
    cluster.cuts.extend([2, 3].map(|node| (NodeId(node), left)));
    for _ in 0..2_000 {
        cluster.round();
        let at_home = cluster.brief(left);
        assert!(at_home.iter().all(|g1| g1.role != "leader"), "{at_home:?}");
    }
    append(&mut client, &mut cluster, &keys[0], 3, b"y");
    cluster.cuts.clear();
    cluster.run_until(10_000, |cluster| hosts(cluster) == [1, 2, 3] && cluster.is_settled());
    cluster.assert_replicas_agree();
}

#[test]
fn refusals_say_why() {
    let mut cluster = six_nodes(14);
    cluster.crash(NodeId(6));
    let node = |node| NodeId(node);
    for (operation, reason) in [
        (GroupOperation::Add { node: node(9), learner: false }, GroupReason::UnknownNode),
        (GroupOperation::Add { node: node(6), learner: true }, GroupReason::NodeDown),
        (GroupOperation::Add { node: node(1), learner: false }, GroupReason::NoChange),
        (GroupOperation::Remove { node: node(5) }, GroupReason::NotAMember),
        (GroupOperation::Promote { node: node(2) }, GroupReason::NotALearner),
        (GroupOperation::Transfer { node: node(4) }, GroupReason::NotAVoter),
        (GroupOperation::Set { voters: Vec::new() }, GroupReason::LastVoter),
        (set(&[1, 2, 3]), GroupReason::NoChange),
    ] {
        let answer = cluster.administer(node(2), G1, operation.clone()).expect("answered");
        assert_eq!(answer.map_err(|refusal| refusal.reason), Err(reason), "{operation:?}");
    }
    let answer = cluster.administer(node(2), GroupId(7), GroupOperation::Members {});
    let reason = answer.expect("answered").expect_err("no such group").reason;
    assert_eq!(reason, GroupReason::UnknownGroup);
}

#[test]
fn members_change_under_faults_and_nothing_is_lost() {
    for seed in 100..112 {
        let mut cluster = six_nodes(seed);
        cluster.live_segments_max = 3;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut client = Client::open(&mut cluster, 1, G1);
        let key = key_of(&cluster, G1, "k");
        let mut expected = Vec::new();
        for _ in 0..12 {
            cluster.faults = Faults { lost_percent: 3, doubled_percent: 3, delay_max: 5 };
            let mut nodes: Vec<u64> = (1..=6).collect();
            random.shuffle(&mut nodes);
            let operation = set(&nodes[..random.usize(1..=4)]);
            // A refusal is an answer, and so is none.
            _ = cluster.administer(NodeId(nodes[5]), G1, operation);
            for _ in 0..random.usize(0..40) {
                let value = vec![random.alphanumeric() as u8; random.usize(1..2_000)];
                client.write(&mut cluster, OperationKind::Append, &key, &value);
                expected.extend(value);
            }
            if random.bool() {
                let node = NodeId(random.u64(1..=6));
                cluster.crash(node);
                cluster.start(node);
            }
        }
        cluster.faults = Faults::default();
        assert_eq!(client.get(&mut cluster, &key).unwrap_or_default(), expected, "{seed}");
        administer(&mut cluster, 1, &set(&[1, 2, 3]));
        cluster.run_until(20_000, |cluster| hosts(cluster) == [1, 2, 3] && cluster.is_settled());
        cluster.assert_replicas_agree();
        assert_eq!(client.get(&mut cluster, &key).unwrap_or_default(), expected, "{seed}");
    }
}
