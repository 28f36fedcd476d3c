//! Blank disks: a first start takes all members, once; and a disk that was wiped is never taken for one
//! that was always blank.

use sunstar::base::{GroupId, NodeId};
use sunstar::wire::client::OperationKind;

use super::client::{Client, key_of};
use super::cluster::Cluster;

const G1: GroupId = GroupId(1);
const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);
const SEGMENT_BYTES: usize = 128 << 10;

/// Three nodes that have not met yet: none of them runs.
fn three_blank_nodes(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(3, 1, SEGMENT_BYTES, seed);
    cluster.before_the_first_start();
    cluster
}

/// Three nodes with something in the group, of which n1 and n2 alone have the last of it.
fn three_nodes_of_which_one_is_behind(seed: u64) -> (Cluster, Client, String) {
    let mut cluster = Cluster::new(3, 1, SEGMENT_BYTES, seed);
    cluster.run_until(1_000, |cluster| cluster.leader(G1).is_some() && cluster.is_settled());
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    cluster.crash(N3);
    for _ in 0..20 {
        client.write(&mut cluster, OperationKind::Append, &key, b"kept");
    }
    (cluster, client, key)
}

/// For two thousand rounds nobody leads, and those named are in doubt.
fn nobody_leads(cluster: &mut Cluster, in_doubt: &[NodeId]) {
    for _ in 0..2_000 {
        cluster.round();
        assert_eq!(cluster.leader(G1), None, "there is no majority that could know");
    }
    for &id in in_doubt {
        assert_eq!(cluster.brief(id)[0].doubt, Some("everything"), "{id}");
    }
}

fn forms(cluster: &mut Cluster, rounds: usize) {
    cluster.run_until(rounds, |cluster| {
        let certain = cluster.groups().iter().all(|(_, group)| group.doubt.is_none());
        certain && cluster.leader(G1).is_some() && cluster.is_settled_and_up()
    });
}

#[test]
fn a_first_start_takes_no_election_timeout() {
    for seed in 0..20 {
        let mut cluster = three_blank_nodes(seed);
        for id in [N1, N2, N3] {
            cluster.start(id);
        }
        // An election timeout has 100.
        forms(&mut cluster, 30);
        assert_eq!(cluster.leader(G1), Some(N1), "as preferred");
    }
}

#[test]
fn a_first_start_waits_for_the_last_member_and_says_for_whom() {
    let mut cluster = three_blank_nodes(1);
    cluster.start(N1);
    cluster.start(N2);
    nobody_leads(&mut cluster, &[N1, N2]);
    assert_eq!(cluster.brief(N1)[0].awaits, [N3]);
    // Stopped and started, they still wait.
    cluster.crash(N2);
    cluster.start(N2);
    nobody_leads(&mut cluster, &[N1, N2]);
    cluster.start(N3);
    forms(&mut cluster, 200);
}

#[test]
fn after_the_first_start_any_majority_will_do() {
    for seed in 0..10 {
        let mut cluster = three_blank_nodes(seed);
        for id in [N1, N2, N3] {
            cluster.start(id);
        }
        // Certain everywhere, and nothing else was written yet.
        let certain =
            |cluster: &mut Cluster| cluster.groups().iter().all(|(_, group)| group.doubt.is_none());
        cluster.run_until(100, certain);
        for _ in 0..3 {
            cluster.round();
        }
        for id in [N1, N2, N3] {
            cluster.crash(id);
        }
        cluster.start(N2);
        cluster.start(N3);
        cluster.run_until(2_000, |cluster| cluster.leader(G1).is_some());
    }
}

/// n3 has never met the old n2, or has forgotten it: nobody refuses the new one.
#[test]
fn a_wiped_node_does_not_vote_with_one_that_has_not_met_its_old_life() {
    let (mut cluster, mut client, key) = three_nodes_of_which_one_is_behind(2);
    cluster.crash(N2);
    cluster.forget(N2);
    cluster.crash(N1);
    cluster.start(N2);
    cluster.start(N3);
    nobody_leads(&mut cluster, &[N2]);
    cluster.start(N1);
    assert_eq!(client.get(&mut cluster, &key), Some(b"kept".repeat(20)));
    // All others have spoken: n2 is repaired.
    forms(&mut cluster, 2_000);
    cluster.assert_replicas_agree();
}

#[test]
fn two_wiped_nodes_do_not_elect_each_other() {
    let (mut cluster, _, _) = three_nodes_of_which_one_is_behind(3);
    for id in [N1, N2] {
        cluster.crash(id);
    }
    for id in [N2, N3] {
        cluster.forget(id);
        cluster.start(id);
    }
    nobody_leads(&mut cluster, &[N2, N3]);
    // n1 alone knows something. It is for an operator to say that this is all there is.
    cluster.start(N1);
    nobody_leads(&mut cluster, &[N2, N3]);
}

#[test]
fn doubt_is_on_the_disk_before_anything_else() {
    let (mut cluster, _, _) = three_nodes_of_which_one_is_behind(4);
    cluster.start(N3);
    cluster.crash(N2);
    cluster.forget(N2);
    // It is sent entries, and acknowledges them provisionally; n3 says nothing to it.
    cluster.cuts.insert((N3, N2));
    cluster.start(N2);
    cluster.run_until(500, |cluster| {
        cluster.leader(G1).is_some() && cluster.brief(N2)[0].applied_index.0 > 20
    });
    for _ in 0..3 {
        cluster.crash(N2);
        cluster.start(N2);
        for _ in 0..50 {
            cluster.round();
            assert_eq!(cluster.brief(N2)[0].doubt, Some("everything"));
        }
    }
    cluster.cuts.clear();
    forms(&mut cluster, 2_000);
}
