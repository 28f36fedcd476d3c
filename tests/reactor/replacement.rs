//! A node comes back with an empty disk.

use sunstar::base::{GroupId, NodeId};
use sunstar::placement::META;
use sunstar::reactor::{GroupMembers, GroupOperation, GroupReason, PlacementOperation};
use sunstar::wire::client::OperationKind;

use super::client::{Client, key_of};
use super::cluster::Cluster;

const G1: GroupId = GroupId(1);
const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);
/// Small: logs are given up and snapshots sent.
const SEGMENT_BYTES: usize = 128 << 10;

fn three_nodes(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(3, 1, SEGMENT_BYTES, seed);
    cluster.run_until(1_000, |cluster| cluster.leader(G1).is_some() && cluster.is_settled());
    cluster
}

fn members(cluster: &mut Cluster, node: NodeId) -> Option<GroupMembers> {
    cluster.administer(node, G1, GroupOperation::Members {})?.ok()
}

/// Asks until the old incarnation is out for good.
fn replace(cluster: &mut Cluster, asked: NodeId, node: NodeId) {
    let incarnation = cluster.incarnation(node);
    cluster.run_until(5_000, |cluster| {
        _ = cluster.administer(asked, G1, GroupOperation::Replace { node, incarnation });
        members(cluster, asked).is_some_and(|members| {
            let named = members.incarnations.get(&node) == Some(&incarnation);
            named && members.committed && members.outgoing.is_empty()
        })
    });
}

fn let_in(cluster: &mut Cluster, node: NodeId) {
    for by in cluster.ids() {
        cluster.let_in(by, node);
    }
}

fn append(client: &mut Client, cluster: &mut Cluster, key: &str, count: usize, value: &[u8]) {
    for _ in 0..count {
        client.write(cluster, OperationKind::Append, key, value);
    }
}

#[test]
fn it_is_replaced_twice_and_each_time_becomes_a_voter_again() {
    for seed in 20..24 {
        let mut cluster = three_nodes(seed);
        let mut client = Client::open(&mut cluster, 1, G1);
        let key = key_of(&cluster, G1, "k");
        append(&mut client, &mut cluster, &key, 300, &[b'x'; 1_000]);
        for count in 1..=2 {
            cluster.crash(N2);
            cluster.wipe(N2);
            cluster.start(N2);
            append(&mut client, &mut cluster, &key, 100, b"without");
            replace(&mut cluster, N3, N2);
            let_in(&mut cluster, N2);
            let voters = [N1, N2, N3];
            cluster.run_until(5_000, |cluster| {
                members(cluster, N1).is_some_and(|members| members.voters == voters)
                    && cluster.is_settled()
            });
            cluster.assert_replicas_agree();
            // Its vote and its acknowledgements are needed now.
            cluster.crash(N1);
            append(&mut client, &mut cluster, &key, 100, b"needed!");
            cluster.start(N1);
            cluster.run_until(5_000, |cluster| cluster.is_settled());
            let length = 300_000 + count * 1_400;
            assert_eq!(client.get(&mut cluster, &key).map(|value| value.len()), Some(length));
        }
        cluster.assert_replicas_agree();
    }
}

/// n1 and the old n2 acknowledged what n3 never got. n1 is down; n3 and the new n2 are a majority by
/// count, and must not become one.
#[test]
fn it_makes_no_majority_with_who_never_had_what_it_lost() {
    let mut cluster = three_nodes(30);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    cluster.crash(N3);
    append(&mut client, &mut cluster, &key, 20, b"kept");
    cluster.crash(N2);
    cluster.wipe(N2);
    cluster.crash(N1);
    cluster.start(N2);
    cluster.start(N3);
    // Nobody should let it in: a bug of that kind must not be enough.
    let_in(&mut cluster, N2);
    for _ in 0..2_000 {
        cluster.round();
        assert_eq!(cluster.leader(G1), None, "there is no majority");
    }
    cluster.start(N1);
    assert_eq!(client.get(&mut cluster, &key), Some(b"kept".repeat(20)));
}

/// The disk that was lost turns up again after its node was replaced, and the others let it in.
#[test]
fn what_was_replaced_makes_no_majority_any_more() {
    let mut cluster = three_nodes(50);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    append(&mut client, &mut cluster, &key, 20, b"kept");
    cluster.crash(N2);
    let lost = (cluster.disk_mut(N2).clone(), cluster.incarnation(N2));
    cluster.wipe(N2);
    cluster.start(N2);
    replace(&mut cluster, N3, N2);
    let_in(&mut cluster, N2);
    cluster.run_until(5_000, |cluster| {
        members(cluster, N1).is_some_and(|members| members.voters == [N1, N2, N3])
            && cluster.is_settled()
    });
    for id in [N1, N2] {
        cluster.crash(id);
    }
    let found = cluster.put_back(N2, lost);
    cluster.start(N2);
    for _ in 0..5_000 {
        cluster.round();
        assert_eq!(cluster.leader(G1), None, "one of the voters is up");
    }
    cluster.crash(N2);
    cluster.put_back(N2, found);
    cluster.start(N2);
    append(&mut client, &mut cluster, &key, 1, b"again");
}

#[test]
fn refusals_say_why() {
    let mut cluster = three_nodes(40);
    let operation = |node, incarnation| GroupOperation::Replace { node, incarnation };
    let mut reason = |asked, operation| {
        let answer = cluster.administer(asked, G1, operation).expect("answered");
        answer.map_err(|refusal| refusal.reason)
    };
    let other = sunstar::base::Incarnation(77);
    assert_eq!(reason(N3, operation(NodeId(9), other)), Err(GroupReason::UnknownNode));
    assert_eq!(reason(N3, operation(N2, other)), Err(GroupReason::NodeUp), "it is not lost");
}

/// Its answers would not count there, and the group would wait for it for ever: see `Configuration::counts`.
#[test]
fn no_group_begins_while_a_node_is_a_host_that_was_replaced() {
    let mut cluster = three_nodes(35);
    cluster.crash(N2);
    cluster.wipe(N2);
    cluster.start(N2);
    let incarnation = cluster.incarnation(N2);
    for group in [META, G1] {
        cluster.run_until(5_000, |cluster| {
            let replace = GroupOperation::Replace { node: N2, incarnation };
            _ = cluster.administer(N3, group, replace);
            let members = cluster.administer(N3, group, GroupOperation::Members {});
            members.is_some_and(|members| {
                members.is_ok_and(|members| {
                    let named = members.incarnations.get(&N2) == Some(&incarnation);
                    named && members.committed && members.outgoing.is_empty()
                })
            })
        });
    }
    let_in(&mut cluster, N2);
    cluster.run_until(5_000, |cluster| cluster.is_settled());
    for asked in [N1, N3] {
        let answer = cluster.govern(asked, &PlacementOperation::Join { groups: 1 });
        let refused = answer.expect("answered").expect_err("n2 is a host");
        assert_eq!(refused.reason, GroupReason::Refused);
        assert!(refused.message.contains("n2"), "{refused:?}");
    }
    assert_eq!(cluster.map_of(N1).groups.len(), 1);
}
