//! Nodes die under load and come back: nothing acknowledged is lost, nothing is done twice.

use sunstar::base::GroupId;
use sunstar::client::Options;
use sunstar::client::blocking::Client;
use sunstar::wire::client::Outcome;

use crate::support::{
    Cluster, GroupStatus, Ledger, Node, RawConnection, Shape, append_during, assert_all_found,
    key_of,
};

const CLIENTS: usize = 12;

#[test]
fn the_node_that_leads_most_is_killed_and_comes_back() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 1 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, CLIENTS, |progress| {
        progress.await_more("at first", 20);
        let victim = cluster.busiest_leader();
        cluster.node(victim).kill();
        progress.await_more("after a leader was killed", 50);
        cluster.node(victim).start();
        cluster.await_leaders();
        progress.await_more("after it came back", 20);
    });
    assert_nothing_lost(&cluster, &targets, &ledgers);
}

/// The failure detector knows a process that died: nobody waits for an election timeout, which is
/// twenty times as long here as a client's patience.
#[test]
fn a_killed_leader_is_replaced_without_an_election_timeout() {
    let mut cluster =
        Cluster::start_with(Shape { nodes: 3, smp: 1 }, &["--election-timeout-ms=600000"]);
    let victim = cluster.busiest_leader();
    let groups = cluster.node(victim).status(false).expect("it runs").led();
    let group = GroupId(groups[0]);
    let survivor = cluster.node((victim + 1) % 3).plan().client;
    let (mut connection, _) = RawConnection::greet(survivor, group);
    let key = key_of(&connection.map(), group);
    let mut client = Client::connect(&cluster.targets(), Options::default()).expect("it serves");
    client.put(&key, b"before").expect("a write");
    cluster.node(victim).kill();
    client.put(&key, b"after").expect("a write without the leader");
}

#[test]
fn each_node_is_killed_in_turn() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 2 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, CLIENTS, |progress| {
        for victim in 0..3 {
            progress.await_more("before a kill", 10);
            cluster.node(victim).kill();
            progress.await_more("with one node less", 10);
            cluster.node(victim).start();
            cluster.await_leaders();
        }
        progress.await_more("with all back", 10);
    });
    assert_nothing_lost(&cluster, &targets, &ledgers);
}

#[test]
fn all_nodes_are_killed_at_once_and_come_back() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 1 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, CLIENTS, |progress| {
        for _ in 0..2 {
            progress.await_more("before the lights go out", 20);
            cluster.nodes().iter_mut().for_each(Node::kill);
            cluster.nodes().iter_mut().for_each(Node::start);
            cluster.await_leaders();
        }
        progress.await_more("after that", 20);
    });
    assert_nothing_lost(&cluster, &targets, &ledgers);
}

/// Entries that have left the leader's memory are still on its disk: no snapshot is sent of a group whose
/// state is no smaller than they are.
#[test]
fn a_node_that_was_away_for_long_is_sent_entries_from_the_disk() {
    const VALUES: usize = 60;
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 1 });
    cluster.node(0).kill();
    let mut client = Client::connect(&cluster.targets(), Options::default()).expect("it serves");
    let value = vec![b'v'; 900 << 10];
    for i in 0..VALUES {
        client.put(format!("{{one group}}{i}").as_bytes(), &value).expect("a write");
    }
    cluster.node(0).start();
    cluster.await_leaders();
    cluster.assert_replicas_agree();
    let nodes: Vec<_> = cluster.all().iter().filter_map(|node| node.status(false)).collect();
    let cores = || nodes.iter().flat_map(|node| &node.cores);
    let all = |group: &&GroupStatus| group.applied_index >= VALUES as u64;
    let groups: Vec<_> = cores().flat_map(|core| &core.groups).filter(all).collect();
    assert_eq!(groups.len(), 3, "{nodes:?}");
    assert!(groups.iter().all(|group| group.snapshot_index == 0), "{nodes:?}");
    assert!(cores().any(|core| core.log_reads > 0), "{nodes:?}");
    assert!(cores().all(|core| core.entries_in_memory_bytes < 34 << 20), "{nodes:?}");
}

#[test]
fn a_paused_leader_serves_nothing_stale_when_it_wakes() {
    pause_a_leader(&[]);
}

#[test]
fn a_paused_leader_wakes_without_its_lease() {
    pause_a_leader(&["--lease-drift-percent=10"]);
}

fn pause_a_leader(arguments: &[&str]) {
    let mut cluster = Cluster::start_with(Shape { nodes: 3, smp: 1 }, arguments);
    let targets = cluster.targets();
    let ledgers = append_during(&targets, CLIENTS, |progress| {
        progress.await_more("at first", 10);
        let sleeper = cluster.busiest_leader();
        let group = GroupId(cluster.node(sleeper).status(false).expect("it runs").led()[0]);
        let (mut old, _) = RawConnection::greet(cluster.node(sleeper).plan().client, group);
        let key = key_of(&old.map(), group);
        let mut client = Client::connect(&targets, Options::default()).expect("it serves");
        client.put(&key, b"old").expect("a write");
        cluster.node(sleeper).pause();
        client.put(&key, b"new").expect("a write without the old leader");
        // It lies in the sleeper's socket: the first thing it finds when it wakes, believing to lead.
        old.send_read(1, group, &key);
        cluster.node(sleeper).resume();
        let reply = old.receive_reply();
        assert!(reply.outcome != Outcome::Ok || reply.value == b"new", "stale: {reply:?}");
        progress.await_more("after it woke", 20);
    });
    assert_nothing_lost(&cluster, &targets, &ledgers);
}

fn assert_nothing_lost(cluster: &Cluster, targets: &[String], ledgers: &[Ledger]) {
    assert!(ledgers.iter().all(|ledger| ledger.count() > 0));
    assert_all_found(targets, ledgers);
    cluster.assert_replicas_agree();
}
