//! Replicas whose state is not the others': found, named, kept from serving, and healed.
//!
//! The wrong state comes from a snapshot that is right in form: what memory that changed by itself, or a
//! bug, would have left.

use sunstar::base::{GroupId, NodeId};
use sunstar::reactor::GroupStatus;
use sunstar::wire::client::{OperationKind, Outcome};

use super::client::{Client, key_of};
use super::cluster::Cluster;

const G1: GroupId = GroupId(1);
const SEGMENT_BYTES: usize = 4 << 20;
const ROUNDS: usize = 5_000;

/// Three nodes with a group and some keys in it, and a client; each node has a snapshot.
fn started(seed: u64) -> (Cluster, Client, String) {
    let mut cluster = Cluster::new(3, 1, SEGMENT_BYTES, seed);
    cluster.run_until(ROUNDS, |cluster| cluster.leader(G1).is_some() && cluster.is_settled());
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    for _ in 0..10 {
        client.write(&mut cluster, OperationKind::Append, &key, b"x");
    }
    // More than is worth writing again: with no segment to spare, each takes a snapshot at once.
    let (bulk, value) = (key_of(&cluster, G1, "bulk"), vec![b'b'; 900 << 10]);
    for _ in 0..8 {
        client.write(&mut cluster, OperationKind::Put, &bulk, &value);
    }
    cluster.live_segments_max = 0;
    for id in cluster.ids() {
        cluster.crash(id);
        cluster.start(id);
        cluster.run_until(ROUNDS, |cluster| {
            cluster.is_settled() && status(cluster, id).snapshot_index.0 > 10
        });
    }
    cluster.live_segments_max = 2;
    (cluster, client, key)
}

fn status(cluster: &Cluster, id: NodeId) -> GroupStatus {
    cluster.brief(id).remove(0)
}

fn is_quarantined(cluster: &Cluster, id: NodeId) -> bool {
    cluster.is_up(id) && status(cluster, id).quarantined
}

fn divergences(cluster: &Cluster) -> Vec<u64> {
    cluster.ids().into_iter().map(|id| cluster.status(id).divergences).collect()
}

fn follower(cluster: &Cluster) -> NodeId {
    let leader = cluster.leader(G1);
    cluster.ids().into_iter().find(|id| Some(*id) != leader).expect("three nodes")
}

/// Stops a node and starts it again with another state.
fn damage(cluster: &mut Cluster, id: NodeId) {
    cluster.crash(id);
    cluster.forge_snapshot(id, G1);
    cluster.start(id);
}

#[test]
fn equal_replicas_are_found_equal_and_then_left_alone() {
    let (mut cluster, mut client, key) = started(1);
    for _ in 0..20 {
        client.write(&mut cluster, OperationKind::Append, &key, b"y");
    }
    cluster.run_until(ROUNDS, |cluster| {
        let leader = cluster.leader(G1).map(|leader| status(cluster, leader));
        leader.is_some_and(|leader| leader.agreed_index == leader.last_index)
    });
    cluster.run_until(ROUNDS, |cluster| cluster.sleeps());
    assert_eq!(divergences(&cluster), [0; 3]);
}

#[test]
fn a_follower_with_another_state_is_quarantined_and_healed() {
    let (mut cluster, mut client, key) = started(2);
    let victim = follower(&cluster);
    damage(&mut cluster, victim);
    cluster.run_until(ROUNDS, |cluster| is_quarantined(cluster, victim));
    let difference = status(&cluster, victim).difference.expect("it was told");
    assert_eq!(difference.hashes.len(), 2);
    // Of its own state it tells nobody.
    let reply = client.read(&mut cluster, victim, &key);
    assert_eq!(reply.outcome, Outcome::NotLeader);
    cluster.run_until(ROUNDS, |cluster| !is_quarantined(cluster, victim));
    client.write(&mut cluster, OperationKind::Append, &key, b"z");
    cluster.run_until(ROUNDS, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
    let reply = client.read(&mut cluster, victim, &key);
    assert_eq!((reply.outcome, reply.answers[0].1.len()), (Outcome::Ok, 11));

    // What it holds now is on its disk too.
    let found = divergences(&cluster);
    assert!(found.iter().sum::<u64>() >= 1, "{found:?}");
    cluster.crash(victim);
    cluster.start(victim);
    let leader = cluster.leader(G1).expect("undisturbed");
    client.write(&mut cluster, OperationKind::Append, &key, b"z");
    cluster.run_until(ROUNDS, |cluster| {
        let leader = status(cluster, leader);
        cluster.is_settled() && leader.agreed_index == leader.last_index
    });
    assert_eq!(cluster.status(victim).divergences, 0);
}

#[test]
fn a_replica_is_healed_under_load() {
    let (mut cluster, mut client, key) = started(3);
    let victim = follower(&cluster);
    damage(&mut cluster, victim);
    let mut quarantined = false;
    for _ in 0..1_000 {
        client.write(&mut cluster, OperationKind::Append, &key, b"y");
        let now = is_quarantined(&cluster, victim);
        if quarantined && !now {
            break;
        }
        quarantined |= now;
    }
    assert!(quarantined && !is_quarantined(&cluster, victim));
    cluster.run_until(ROUNDS, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
}

/// Each attempt costs the leader a whole state: one that cannot be put on the disk is not asked for
/// over and over.
#[test]
fn a_replica_that_cannot_be_healed_asks_less_and_less_often() {
    let (mut cluster, mut client, key) = started(6);
    let victim = follower(&cluster);
    cluster.crash(victim);
    cluster.forge_snapshot(victim, G1);
    cluster.full.insert(victim);
    cluster.crowded = true;
    cluster.start(victim);
    cluster.run_until(ROUNDS, |cluster| is_quarantined(cluster, victim));
    for _ in 0..30_000 {
        cluster.round();
    }
    let attempts = status(&cluster, victim).heal_attempts;
    assert!((5..12).contains(&attempts), "{attempts} in 300 election timeouts");
    cluster.full.clear();
    cluster.run_until(10_000, |cluster| !is_quarantined(cluster, victim));
    client.write(&mut cluster, OperationKind::Append, &key, b"z");
    cluster.run_until(ROUNDS, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
}

#[test]
fn a_leader_with_another_state_stops_leading() {
    let (mut cluster, mut client, key) = started(4);
    let leader = cluster.leader(G1).expect("started");
    for id in cluster.ids() {
        cluster.crash(id);
    }
    cluster.forge_snapshot(leader, G1);
    for id in 1..=3 {
        cluster.start(NodeId(id));
    }
    cluster.run_until(ROUNDS, |cluster| is_quarantined(cluster, leader));
    cluster.run_until(ROUNDS, |cluster| cluster.leader(G1).is_some_and(|now| now != leader));
    cluster.run_until(ROUNDS, |cluster| !is_quarantined(cluster, leader));
    let value = client.get(&mut cluster, &key).expect("there");
    assert_eq!(value, [b'x'; 10]);
    cluster.run_until(ROUNDS, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
}

#[test]
fn two_that_differ_wait_for_the_third() {
    let (mut cluster, _, _) = started(5);
    let leader = cluster.leader(G1).expect("started");
    let others: Vec<NodeId> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    let [victim, absent] = others[..] else { panic!("three nodes") };
    cluster.crash(absent);
    damage(&mut cluster, victim);
    cluster.run_until(ROUNDS, |cluster| divergences(cluster).iter().all(|&found| found > 0));
    assert!(!is_quarantined(&cluster, victim) && !is_quarantined(&cluster, leader));
    cluster.start(absent);
    cluster.run_until(ROUNDS, |cluster| is_quarantined(cluster, victim));
    cluster.run_until(ROUNDS, |cluster| !is_quarantined(cluster, victim) && cluster.is_settled());
    cluster.assert_replicas_agree();
}
