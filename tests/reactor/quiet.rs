//! Nodes with nothing to do, and nodes whose loss is known.

use sunstar::base::GroupId;
use sunstar::wire::client::{OperationKind, Outcome};

use super::client::{Client, key_of};
use super::cluster::Cluster;

const GROUPS: u32 = 12;
const SEGMENT_BYTES: usize = 1 << 20;
/// Rounds of an election timeout.
const TIMEOUT: usize = 100;

fn settled(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(3, GROUPS, SEGMENT_BYTES, seed);
    cluster.run_until(4_000, |cluster| cluster.sleeps());
    cluster
}

#[test]
fn a_cluster_without_work_sends_nothing_and_sleeps() {
    let mut cluster = settled(61);
    assert!(cluster.is_settled());
    cluster.sent.clear();
    (0..100 * TIMEOUT).for_each(|_| cluster.round());
    assert!(cluster.sent.is_empty(), "{:?}", cluster.sent);
    // It wakes for work, and falls asleep after it.
    let group = GroupId(3);
    let mut client = Client::open(&mut cluster, 1, group);
    let key = key_of(&cluster, group, "k");
    client.write(&mut cluster, OperationKind::Put, &key, b"v");
    for node in cluster.ids() {
        let reply = client.read(&mut cluster, node, &key);
        assert_eq!((reply.outcome, &reply.answers[0].1[..]), (Outcome::Ok, &b"v"[..]), "{node}");
    }
    // After half a second the log is sealed, and timers that were set run out.
    cluster.run_until(10 * TIMEOUT, |cluster| cluster.sleeps());
    assert!(cluster.is_settled());
}

#[test]
fn a_killed_leader_is_replaced_well_before_an_election_timeout() {
    let mut cluster = settled(62);
    let group = GroupId(1);
    let lost = cluster.leader(group).expect("settled");
    cluster.crash(lost);
    let groups = 1..=GROUPS;
    let led = |cluster: &mut Cluster| {
        groups.clone().all(|group| cluster.leader(GroupId(group)).is_some_and(|node| node != lost))
    };
    cluster.run_until(TIMEOUT / 2, led);
    let mut client = Client::open(&mut cluster, 1, group);
    let key = key_of(&cluster, group, "k");
    client.write(&mut cluster, OperationKind::Put, &key, b"v");
}
