//! What three reactors do together.

use sunstar::base::{GroupId, NodeId};
use sunstar::wire::client::{OperationKind, Outcome, Status};

use super::client::{Client, key_of};
use super::cluster::Cluster;

const G1: GroupId = GroupId(1);
const SEGMENT_BYTES: usize = 48 << 20;

fn started(groups: u32, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(3, groups, SEGMENT_BYTES, seed);
    cluster.run_until(1_000, |cluster| {
        (1..=groups).all(|group| cluster.leader(GroupId(group)).is_some()) && cluster.is_settled()
    });
    cluster
}

#[test]
fn leaders_are_elected_where_they_are_preferred() {
    let cluster = started(6, 1);
    for group in &cluster.map().groups {
        assert_eq!(cluster.leader(group.id), Some(group.preferred_leader), "{}", group.id);
    }
}

#[test]
fn what_is_written_is_read_on_every_node() {
    let mut cluster = started(3, 2);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    let first = client.write(&mut cluster, OperationKind::Append, &key, b"one");
    let second = client.write(&mut cluster, OperationKind::Append, &key, b"two");
    assert_eq!((first.number, second.number), (3, 6));
    assert!(second.index > first.index, "{second:?} after {first:?}");
    for node in cluster.ids() {
        let reply = client.read(&mut cluster, node, &key);
        assert_eq!(reply.outcome, Outcome::Ok, "{node}");
        assert_eq!(reply.answers[0].1, b"onetwo", "{node}");
        assert!(reply.answers[0].0.index >= second.index, "{node}");
    }
    cluster.run_until(1_000, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
}

#[test]
fn a_follower_names_the_leader_and_does_nothing() {
    let mut cluster = started(3, 3);
    let mut client = Client::open(&mut cluster, 1, G1);
    let leader = cluster.leader(G1).expect("started");
    let follower = cluster.ids().into_iter().find(|id| *id != leader).expect("three nodes");
    client.sequence += 1;
    let frame = client.frame(OperationKind::Put, &key_of(&cluster, G1, "k"), b"v");
    let connection = client.send(&mut cluster, follower, &frame);
    let reply = Client::answer(&mut cluster, connection, 100).expect("answered at once");
    assert_eq!((reply.outcome, reply.leader), (Outcome::NotLeader, leader));
}

#[test]
fn a_key_of_another_group_is_refused_when_applied() {
    let mut cluster = started(3, 4);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, GroupId(2), "k");
    let answer = client.write(&mut cluster, OperationKind::Put, &key, b"v");
    assert_eq!(answer.status, Status::WrongSlot);
}

#[test]
fn nothing_is_acknowledged_before_a_majority_has_it_on_disk() {
    let mut cluster = started(3, 5);
    let mut client = Client::open(&mut cluster, 1, G1);
    let leader = cluster.leader(G1).expect("started");
    cluster.held = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    client.sequence += 1;
    let frame = client.frame(OperationKind::Put, &key_of(&cluster, G1, "k"), b"v");
    let connection = client.send(&mut cluster, leader, &frame);
    // Well within the election timeout, and long after the leader's own disk is done.
    assert!(Client::answer(&mut cluster, connection, 50).is_none(), "answered too early");
    cluster.held.clear();
    assert!(Client::answer(&mut cluster, connection, 100).is_some(), "answered once durable");
}

#[test]
fn a_lost_leader_is_replaced_and_comes_back() {
    let mut cluster = started(3, 6);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    for _ in 0..20 {
        client.write(&mut cluster, OperationKind::Append, &key, b"x");
    }
    let old = cluster.leader(G1).expect("started");
    cluster.crash(old);
    for _ in 0..20 {
        client.write(&mut cluster, OperationKind::Append, &key, b"y");
    }
    assert_ne!(cluster.leader(G1), Some(old));
    cluster.start(old);
    cluster.run_until(5_000, |cluster| cluster.is_up(old) && cluster.is_settled());
    cluster.assert_replicas_agree();
    let expected = [[b'x'; 20], [b'y'; 20]].concat();
    assert_eq!(client.get(&mut cluster, &key), Some(expected));
}

#[test]
fn a_retry_after_a_leader_change_gets_the_first_result() {
    let mut cluster = started(3, 7);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    let first = client.write(&mut cluster, OperationKind::Increment, &key, &5_i64.to_le_bytes());
    let old = cluster.leader(G1).expect("started");
    cluster.crash(old);
    client.sequence -= 1;
    let again = client.write(&mut cluster, OperationKind::Increment, &key, &5_i64.to_le_bytes());
    assert_eq!(again, first);
    assert_eq!(client.get(&mut cluster, &key), Some(b"5".to_vec()));
}

#[test]
fn everything_acknowledged_survives_the_loss_of_all_nodes_at_once() {
    let mut cluster = started(3, 8);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    for _ in 0..50 {
        client.write(&mut cluster, OperationKind::Append, &key, b"z");
    }
    for id in cluster.ids() {
        cluster.crash(id);
    }
    for id in 1..=3 {
        cluster.start(NodeId(id));
    }
    let last = client.write(&mut cluster, OperationKind::Append, &key, b"!");
    assert_eq!(last.number, 51);
    cluster.run_until(5_000, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
}

#[test]
fn a_node_that_comes_back_applies_a_little_in_each_turn() {
    let mut cluster = started(1, 4);
    let mut client = Client::open(&mut cluster, 1, G1);
    let leader = cluster.leader(G1).expect("started");
    let back = cluster.ids().into_iter().find(|id| *id != leader).expect("three nodes");
    cluster.crash(back);
    let value = vec![b'v'; 600 << 10];
    for i in 0..12 {
        client.write(&mut cluster, OperationKind::Put, &format!("key-{i}"), &value);
    }
    cluster.start(back);
    let mut most_in_a_turn = 0;
    let mut applied = cluster.brief(back)[0].applied_index.0;
    cluster.run_until(5_000, |cluster| {
        let now = cluster.brief(back)[0].applied_index.0;
        most_in_a_turn = most_in_a_turn.max(now - applied);
        applied = now;
        cluster.is_settled()
    });
    cluster.assert_replicas_agree();
    // A turn looks twice: before its log write is issued, and after what waited for nothing.
    assert!(most_in_a_turn <= 4, "{most_in_a_turn} entries of 600 KiB in one turn");
}

#[test]
fn segments_are_recycled_and_a_far_follower_gets_a_snapshot() {
    let mut cluster = started(1, 9);
    let mut client = Client::open(&mut cluster, 1, G1);
    let leader = cluster.leader(G1).expect("started");
    let far = cluster.ids().into_iter().find(|id| *id != leader).expect("three nodes");
    cluster.crash(far);
    let value = vec![b'v'; 900 << 10];
    for i in 0..220 {
        client.write(&mut cluster, OperationKind::Put, &format!("key-{}", i % 8), &value);
    }
    let status = cluster.status(leader);
    assert!(status.snapshots > 0, "the log was trimmed: {status:?}");
    cluster.start(far);
    cluster.run_until(20_000, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
    let snapshot = &cluster.status(far).groups[0].snapshot_index;
    assert!(snapshot.0 > 0, "it was caught up by a snapshot");
    // And it can start from what it was sent.
    cluster.crash(far);
    cluster.start(far);
    client.write(&mut cluster, OperationKind::Put, "key-0", b"after");
    cluster.run_until(5_000, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
}

/// A cluster in which a follower was away while 18 MiB were written, to so many keys: far more than
/// memory holds of the entries. Also the leader and the follower.
fn caught_up(seed: u64, keys: u32) -> (Cluster, NodeId, NodeId) {
    let mut cluster = started(1, seed);
    cluster.entries_memory_max = 1 << 20;
    cluster.restart_all();
    cluster.run_until(2_000, |cluster| cluster.leader(G1).is_some() && cluster.is_settled());
    let mut client = Client::open(&mut cluster, 1, G1);
    let leader = cluster.leader(G1).expect("settled");
    let far = cluster.ids().into_iter().find(|id| *id != leader).expect("three nodes");
    cluster.crash(far);
    let value = vec![b'v'; 300 << 10];
    for i in 0..60 {
        client.write(&mut cluster, OperationKind::Put, &format!("key-{}", i % keys), &value);
    }
    let held = cluster.status(leader).entries_in_memory_bytes;
    assert!(held < 3 << 20, "{held} bytes of 18 MiB in memory");
    cluster.sent.clear();
    cluster.start(far);
    cluster.run_until(5_000, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
    (cluster, leader, far)
}

#[test]
fn a_follower_behind_what_memory_holds_is_sent_entries_from_the_disk() {
    let (cluster, ..) = caught_up(12, 60);
    let read: u64 = cluster.ids().iter().map(|&id| cluster.status(id).log_reads).sum();
    assert!(read >= 15, "{read} reads for 17 MiB");
    for id in cluster.ids() {
        let status = cluster.status(id);
        assert_eq!((status.snapshots, status.groups[0].snapshot_index.0), (0, 0), "{id}");
        let held = status.entries_in_memory_bytes;
        assert!(held < 3 << 20, "{id}: {held} bytes in memory");
    }
}

#[test]
fn a_state_that_is_far_less_than_its_entries_is_sent_instead() {
    let (cluster, leader, far) = caught_up(12, 8);
    assert_eq!(cluster.status(leader).log_reads, 0, "nothing is read to find that out");
    assert!(cluster.status(far).groups[0].snapshot_index.0 > 50, "it was sent a snapshot");
    let sent = cluster.sent[&(leader, far)];
    assert!(sent < 6 << 20, "{sent} bytes for a state of 2.4 MiB and what memory holds");
}

#[test]
fn entries_damaged_on_the_leaders_disk_are_never_sent() {
    let mut cluster = started(1, 13);
    cluster.entries_memory_max = 1;
    cluster.restart_all();
    cluster.run_until(2_000, |cluster| cluster.leader(G1).is_some() && cluster.is_settled());
    let mut client = Client::open(&mut cluster, 1, G1);
    let leader = cluster.leader(G1).expect("settled");
    let far = cluster.ids().into_iter().find(|id| *id != leader).expect("three nodes");
    cluster.crash(far);
    for i in 0..20 {
        client.write(&mut cluster, OperationKind::Put, &format!("key-{}", i % 8), b"value");
    }
    cluster.damage(leader, b"key-3");
    cluster.start(far);
    cluster.run_until(5_000, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
    let snapshot = cluster.status(far).groups[0].snapshot_index;
    assert!(snapshot.0 > 0, "it was caught up by a snapshot");
}

#[test]
fn rarely_written_groups_hold_no_segment_and_need_no_snapshots() {
    const GROUPS: u32 = 1_000;
    const RARE: u32 = 60;
    let mut cluster = Cluster::new(1, GROUPS, 4 << 20, 14);
    cluster.entries_memory_max = 256 << 10;
    cluster.restart_all();
    let all = |cluster: &mut Cluster| {
        (1..=GROUPS).all(|group| cluster.leader(GroupId(group)).is_some()) && cluster.is_settled()
    };
    cluster.run_until(2_000, all);
    let rare: Vec<_> =
        (2..2 + RARE).map(|g| (GroupId(g), key_of(&cluster, GroupId(g), "k"))).collect();
    for (group, key) in &rare {
        let mut client = Client::open(&mut cluster, 1, *group);
        client.write(&mut cluster, OperationKind::Put, key, b"rarely written");
    }
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    let value = vec![b'v'; 192 << 10];
    let mut most = 0;
    for _ in 0..400 {
        client.write(&mut cluster, OperationKind::Put, &key, &value);
        most = most.max(cluster.brief_status(NodeId(1)).log_segments);
    }
    let status = cluster.status(NodeId(1));
    println!("{most} segments at most, {} snapshots, {} reads", status.snapshots, status.log_reads);
    assert!(most <= 6, "{most} segments in use");
    assert!(status.snapshots <= 30, "{} snapshots for about 20 segments", status.snapshots);
    assert!(status.log_reads > 0, "what was copied had left memory");
    cluster.restart_all();
    cluster.run_until(2_000, all);
    for (group, key) in &rare {
        let mut reader = Client::reader(1, *group);
        assert_eq!(reader.get(&mut cluster, key), Some(b"rarely written".to_vec()), "{group}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let trace = |seed| {
        let mut cluster = started(3, seed);
        let mut client = Client::open(&mut cluster, 1, G1);
        let key = key_of(&cluster, G1, "k");
        for _ in 0..10 {
            client.write(&mut cluster, OperationKind::Append, &key, b"x");
        }
        let leader = cluster.leader(G1).expect("started");
        cluster.crash(leader);
        client.write(&mut cluster, OperationKind::Append, &key, b"y");
        cluster.trace
    };
    assert_eq!(trace(10), trace(10));
    assert_ne!(trace(10), trace(11), "the trace sees what happens");
}
