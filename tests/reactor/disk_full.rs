//! Disks without room: writes are refused, reads and elections go on, leadership moves to where there is
//! room, and it all heals without a restart.

use sunstar::base::{GroupId, NodeId};
use sunstar::wire::client::{OperationKind, Outcome};

use super::client::{Client, key_of};
use super::cluster::Cluster;

const G1: GroupId = GroupId(1);
/// So small that some writes fill it.
const SEGMENT_BYTES: usize = 256 << 10;
const VALUE: [u8; 4 << 10] = [7; 4 << 10];
/// Rounds in which a full disk is asked for room again, at least once.
const NOTICED: usize = 1_500;

fn started(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(3, 1, SEGMENT_BYTES, seed);
    // No snapshot gives a segment back.
    cluster.live_segments_max = 1_000;
    for id in cluster.ids() {
        cluster.crash(id);
        cluster.start(id);
    }
    cluster.run_until(2_000, |cluster| cluster.leader(G1).is_some() && cluster.is_settled());
    cluster
}

fn is_full(cluster: &Cluster, id: NodeId) -> bool {
    cluster.status(id).disk_full
}

/// Writes until every one of `nodes` has found its disk full.
fn fill(cluster: &mut Cluster, client: &mut Client, key: &str, nodes: &[NodeId]) {
    cluster.full.extend(nodes);
    for _ in 0..1_000 {
        if nodes.iter().all(|id| is_full(cluster, *id)) {
            return;
        }
        client.sequence += 1;
        put(cluster, client, key);
    }
    panic!("never full");
}

/// One attempt at a put, by the leader.
fn put(cluster: &mut Cluster, client: &mut Client, key: &str) -> Outcome {
    cluster.run_until(2_000, |cluster| cluster.leader(G1).is_some());
    let leader = cluster.leader(G1).expect("waited for above");
    let frame = client.frame(OperationKind::Put, key, &VALUE);
    let connection = client.send(cluster, leader, &frame);
    Client::answer(cluster, connection, 2_000).expect("answered in the end").outcome
}

#[test]
fn a_leader_with_a_full_disk_hands_over_to_one_with_room() {
    let mut cluster = started(1);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    let old = cluster.leader(G1).expect("started");
    fill(&mut cluster, &mut client, &key, &[old]);
    cluster.run_until(100, |cluster| cluster.leader(G1).is_some_and(|leader| leader != old));
    client.write(&mut cluster, OperationKind::Put, &key, &VALUE);
    assert_eq!(client.read(&mut cluster, old, &key).outcome, Outcome::Ok, "it reads");
    for _ in 0..200 {
        client.write(&mut cluster, OperationKind::Put, &key, &VALUE);
    }
    let leader = cluster.leader(G1).expect("it wrote just now");
    assert_ne!(leader, old, "it would rather not lead");
    let read = client.read(&mut cluster, old, &key);
    assert_eq!((read.outcome, read.leader), (Outcome::NotLeader, leader), "it is behind");
    cluster.full.clear();
    cluster.run_until(NOTICED, |cluster| !is_full(cluster, old) && cluster.is_settled());
    cluster.assert_replicas_agree();
    cluster.run_until(5_000, |cluster| cluster.leader(G1) == Some(old));
}

#[test]
fn a_disk_without_room_for_a_second_spare_is_not_full_before_the_first_is_used() {
    let mut cluster = started(4);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    let leader = cluster.leader(G1).expect("started");
    cluster.full.insert(leader);
    while cluster.no_room == 0 {
        client.write(&mut cluster, OperationKind::Put, &key, &VALUE);
    }
    assert!(!is_full(&cluster, leader), "there is a spare");
    let tried = cluster.no_room;
    fill(&mut cluster, &mut client, &key, &[leader]);
    assert!(cluster.no_room > tried, "it was tried again when the spare came into use");
    cluster.run_until(100, |cluster| cluster.leader(G1).is_some_and(|other| other != leader));
}

/// A log that grew for want of snapshots has many spares when one is made at last. The next that finds no
/// room takes theirs.
#[test]
fn a_snapshot_without_room_gets_that_of_spare_segments() {
    let mut cluster = started(6);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    let mut put = |cluster: &mut Cluster, count| {
        for _ in 0..count {
            client.write(cluster, OperationKind::Put, &key, &VALUE);
        }
    };
    put(&mut cluster, 8 * SEGMENT_BYTES / VALUE.len());
    cluster.live_segments_max = 2;
    for id in cluster.ids() {
        cluster.crash(id);
        cluster.start(id);
    }
    let snapshots = |cluster: &Cluster| {
        cluster.groups().iter().map(|(_, group)| group.snapshot_index).min().expect("a group")
    };
    cluster.run_until(5_000, |cluster| cluster.leader(G1).is_some() && snapshots(cluster).0 > 0);
    let before = snapshots(&cluster);
    cluster.full.extend(cluster.ids());
    put(&mut cluster, 3 * SEGMENT_BYTES / VALUE.len());
    cluster.run_until(5_000, |cluster| snapshots(cluster) > before);
    assert!(cluster.no_room > 0 && cluster.removed_segments > 0, "there was none");
    let none_is_full =
        |cluster: &mut Cluster| cluster.ids().iter().all(|id| !is_full(cluster, *id));
    cluster.run_until(NOTICED, none_is_full);
}

#[test]
fn a_follower_with_a_full_disk_keeps_room_for_votes_and_catches_up() {
    let mut cluster = started(2);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    let leader = cluster.leader(G1).expect("started");
    let follower = cluster.ids().into_iter().find(|id| *id != leader).expect("three nodes");
    fill(&mut cluster, &mut client, &key, &[follower]);
    for _ in 0..300 {
        client.write(&mut cluster, OperationKind::Put, &key, &VALUE);
    }
    let other = cluster.ids().into_iter().find(|id| ![leader, follower].contains(id));
    let other = other.expect("three nodes");
    assert!(!cluster.is_settled(), "the follower has no room for all this");
    // Elections, each of which needs its vote, and a restart, whose log goes on where it was.
    for round in 0..10 {
        cluster.crash(leader);
        if round == 5 {
            cluster.crash(follower);
            cluster.start(follower);
        }
        cluster.run_until(5_000, |cluster| cluster.leader(G1) == Some(other));
        cluster.start(leader);
        cluster.run_until(5_000, |cluster| cluster.leader(G1) == Some(leader));
    }
    cluster.full.clear();
    cluster.run_until(10_000, Cluster::is_settled_and_up);
    cluster.assert_replicas_agree();
}

#[test]
fn when_all_disks_are_full_writes_are_refused_and_reads_go_on() {
    let mut cluster = started(3);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    let all = cluster.ids();
    fill(&mut cluster, &mut client, &key, &all);
    client.sequence += 1;
    cluster.run_until(2_000, |cluster| put(cluster, &mut client, &key) == Outcome::DiskFull);
    for id in cluster.ids() {
        assert_eq!(client.read(&mut cluster, id, &key).outcome, Outcome::Ok, "{id}");
    }
    // Not for want of time: it stays so, through elections and restarts.
    for id in cluster.ids() {
        cluster.crash(id);
        cluster.run_until(5_000, |cluster| cluster.leader(G1).is_some_and(|by| by != id));
        cluster.start(id);
        cluster.run_until(2_000, |cluster| put(cluster, &mut client, &key) == Outcome::DiskFull);
        assert!(client.get(&mut cluster, &key).is_some());
    }
    cluster.full.clear();
    cluster.run_until(NOTICED, |cluster| cluster.ids().iter().all(|id| !is_full(cluster, *id)));
    client.write(&mut cluster, OperationKind::Put, &key, b"room again");
    assert_eq!(client.get(&mut cluster, &key), Some(b"room again".to_vec()));
    cluster.run_until(2_000, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
}

#[test]
fn a_snapshot_without_room_is_made_later() {
    let mut cluster = started(4);
    cluster.live_segments_max = 2;
    for id in cluster.ids() {
        cluster.crash(id);
        cluster.start(id);
    }
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    let one = cluster.ids()[0];
    fill(&mut cluster, &mut client, &key, &[one]);
    let before = cluster.status(one).snapshots;
    for _ in 0..100 {
        client.write(&mut cluster, OperationKind::Put, &key, &VALUE);
    }
    assert_eq!(cluster.status(one).snapshots, before, "there is no room for it");
    cluster.full.clear();
    cluster.run_until(10_000, |cluster| {
        cluster.is_settled() && cluster.status(one).snapshots > before
    });
    cluster.assert_replicas_agree();
}
