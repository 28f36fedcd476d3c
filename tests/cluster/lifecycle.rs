//! Starting, stopping, starting again; and what must not start.

use std::net::TcpListener;

use sunstar::client::Options;
use sunstar::client::blocking::Client;

use crate::support::{
    Cluster, Node, NodePlan, Shape, append_during, assert_all_found, free_port, wait_for,
    wait_until,
};

#[test]
fn nodes_that_are_asked_to_stop_do_and_find_everything_again() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 2 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, 8, |progress| progress.await_more("at first", 20));
    for node in cluster.nodes() {
        let status = node.terminate();
        assert!(status.success(), "node {}: {status}", node.plan().id);
    }
    cluster.nodes().iter_mut().for_each(Node::start);
    cluster.await_leaders();
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();
}

#[test]
fn a_node_that_is_asked_to_stop_under_load_does() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 1 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, 8, |progress| {
        progress.await_more("at first", 20);
        let leader = cluster.busiest_leader();
        let status = cluster.node(leader).terminate();
        assert!(status.success(), "{status}");
        progress.await_more("with one node less", 20);
        cluster.node(leader).start();
        cluster.await_leaders();
    });
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();
}

/// A rolling restart: no client sees an error, and nothing is done twice.
#[test]
fn a_node_that_is_asked_to_stop_hands_its_groups_over_first() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 2 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, 8, |progress| {
        for leaving in 0..3 {
            progress.await_more("before a stop", 20);
            let led = led_with_terms(cluster.node(leaving));
            let id = cluster.node(leaving).plan().id;
            assert!(cluster.node(leaving).terminate().success());
            // Nobody had to miss it: the successors led, in a later term, before it was gone.
            for node in cluster.nodes().iter().filter(|node| node.plan().id != id) {
                let status = node.status(false).expect("it runs");
                for group in status.groups() {
                    let Some((_, term)) = led.iter().find(|(led, _)| *led == group.group) else {
                        continue;
                    };
                    assert!(group.leader != Some(id) && group.term > *term, "{group:?}");
                }
            }
            progress.await_more("with one node less", 20);
            cluster.node(leaving).start();
            cluster.await_leaders();
        }
    });
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();
}

/// Whoever is back first leads everything, and hands over to those who ought to lead when they are back.
#[test]
fn leaders_are_spread_over_nodes_and_cores_again_after_all_nodes_were_down() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 2 });
    await_spread(&cluster);
    cluster.nodes().iter_mut().for_each(Node::kill);
    for position in [2, 1] {
        cluster.node(position).start();
    }
    wait_until("two nodes lead all groups", || {
        let leads = |node: &Node| node.status(false).map_or(0, |status| status.led().len());
        cluster.all().iter().map(leads).sum::<usize>() == 6
    });
    cluster.node(0).start();
    cluster.await_leaders();
    await_spread(&cluster);
}

/// Waits until each core of each node leads one of the six groups.
fn await_spread(cluster: &Cluster) {
    wait_until("each core leads one group", || {
        cluster.all().iter().all(|node| {
            let Some(status) = node.status(false) else { return false };
            status.cores.iter().all(|core| core.led().len() == 1)
        })
    });
}

/// The groups that a node leads, with their terms.
fn led_with_terms(node: &Node) -> Vec<(u32, u64)> {
    let status = node.status(false).expect("it runs");
    let led = status.groups().into_iter().filter(|group| group.role == "leader");
    led.map(|group| (group.group, group.term)).collect()
}

#[test]
fn a_node_alone_serves_and_survives_its_death() {
    let mut cluster = Cluster::start(Shape { nodes: 1, smp: 1 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, 4, |progress| {
        for _ in 0..3 {
            progress.await_more("before a kill", 20);
            cluster.node(0).kill();
            cluster.node(0).start();
            cluster.await_leaders();
        }
        progress.await_more("after the last", 20);
    });
    assert_all_found(&targets, &ledgers);
}

#[test]
fn what_does_not_belong_together_does_not_start() {
    let mut cluster = Cluster::start(Shape { nodes: 1, smp: 1 });
    let running = cluster.node(0).plan().clone();
    let elsewhere = NodePlan {
        client: free_port(),
        peer: free_port(),
        admin: free_port(),
        log: cluster.directory().join("refused.log"),
        ..running.clone()
    };
    let directory = running.data_dir.display().to_string();
    assert_refused(&elsewhere, "a directory in use", &[&directory]);

    let other = cluster.directory().join("other");
    for (taken, plan) in [
        (running.client, NodePlan { client: running.client, ..elsewhere.clone() }),
        (running.peer, NodePlan { peer: running.peer, ..elsewhere.clone() }),
        (running.admin, NodePlan { admin: running.admin, ..elsewhere.clone() }),
    ] {
        let plan = NodePlan { data_dir: other.clone(), ..plan };
        assert_refused(&plan, "an address in use", &[&taken.to_string()]);
    }
    assert_serves(&cluster);
}

#[test]
fn a_directory_is_for_one_node_of_one_cluster_only() {
    let mut cluster = Cluster::start(Shape { nodes: 1, smp: 1 });
    assert!(cluster.node(0).terminate().success());
    let plan = cluster.node(0).plan().clone();
    let directory = plan.data_dir.display().to_string();
    let other_cluster = NodePlan { cluster_name: "another".to_owned(), ..plan.clone() };
    assert_refused(&other_cluster, "another cluster's directory", &[&directory, "cluster"]);
    let other_node = NodePlan { id: 2, ..plan };
    assert_refused(&other_node, "another node's directory", &[&directory]);
    cluster.node(0).start();
    cluster.await_leaders();
    assert_serves(&cluster);
}

#[test]
fn the_addresses_are_free_again_after_a_stop() {
    let mut cluster = Cluster::start(Shape { nodes: 1, smp: 1 });
    let plan = cluster.node(0).plan().clone();
    assert!(TcpListener::bind(plan.client).is_err());
    assert!(cluster.node(0).terminate().success());
    for address in [plan.client, plan.peer, plan.admin] {
        TcpListener::bind(address).expect("free again");
    }
}

/// Demands that a process by this plan ends by itself, not with success, naming the cause.
fn assert_refused(plan: &NodePlan, why: &str, named: &[&str]) {
    let mut process = plan.spawn();
    let status = wait_for(why, || process.try_wait().expect("it is our child"));
    let said = std::fs::read_to_string(&plan.log).expect("its log");
    assert!(!status.success(), "{why}: {status}\n{said}");
    assert!(status.code().is_some(), "{why}: died of a signal: {status}\n{said}");
    for part in named {
        assert!(said.contains(part), "{why}: `{part}` is not named in:\n{said}");
    }
}

fn assert_serves(cluster: &Cluster) {
    let mut client = Client::connect(&cluster.targets(), Options::default()).expect("it serves");
    client.put(b"key", b"value").expect("a write");
    assert_eq!(client.get(b"key").expect("a read").value.as_deref(), Some(&b"value"[..]));
}
