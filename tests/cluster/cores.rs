//! The number of cores changes between two starts: groups move to other cores' logs, and lose nothing.

use sunstar::client::Options;
use sunstar::client::blocking::Client;

use crate::support::{Cluster, Node, Shape, append_during, assert_all_found, wait_until};

#[test]
fn cores_are_changed_node_by_node_under_load() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 1 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, 8, |progress| {
        for smp in [2, 3, 1] {
            for position in 0..3 {
                progress.await_more("before a node is stopped", 5);
                let node = cluster.node(position);
                assert!(node.terminate().success());
                node.set_smp(smp);
                node.start();
                cluster.await_leaders();
                let status = cluster.node(position).status(false).expect("it runs");
                assert_eq!(status.cores.len(), smp);
                assert!(cluster.node(position).log().contains("the groups are at home"));
            }
        }
        progress.await_more("with the cores of the beginning", 10);
    });
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();
}

#[test]
fn cores_are_changed_of_all_nodes_at_once_after_a_kill() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 2 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, 8, |progress| progress.await_more("at first", 20));
    cluster.nodes().iter_mut().for_each(Node::kill);
    for (node, smp) in cluster.nodes().iter_mut().zip([1, 3, 4]) {
        node.set_smp(smp);
        node.start();
    }
    cluster.await_leaders();
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();
}

/// What is covered by snapshots is no more in the log: they have to come along.
#[test]
fn snapshots_move_with_their_groups() {
    const VALUES: u32 = 5_000;
    let mut cluster = Cluster::start(Shape { nodes: 1, smp: 2 });
    let mut client = Client::connect(&cluster.targets(), Options::default()).expect("it serves");
    let value = |number: u32| vec![u8::try_from(number % 251).expect("small"); 60_000];
    let key = |number: u32| format!("key-{number}").into_bytes();
    let mut tickets = std::collections::VecDeque::new();
    for number in 0..VALUES {
        let (key, value) = (key(number % 500), value(number));
        let command = sunstar::client::Command::Put { key: &key, value: &value };
        tickets.push_back(client.submit(command).expect("a small command"));
        if tickets.len() > 32 {
            let ticket = tickets.pop_front().expect("many");
            client.wait(ticket).expect("applied");
        }
    }
    for ticket in tickets {
        client.wait(ticket).expect("applied");
    }
    let all_have_snapshots = |node: &Node| {
        let status = node.status(false).expect("it runs");
        status.groups().iter().all(|group| group.snapshot_index > 0)
    };
    wait_until("both groups have snapshots", || all_have_snapshots(cluster.node(0)));
    for smp in [3, 1] {
        assert!(cluster.node(0).terminate().success());
        cluster.node(0).set_smp(smp);
        cluster.node(0).start();
        cluster.await_leaders();
        assert!(all_have_snapshots(cluster.node(0)));
        let mut client =
            Client::connect(&cluster.targets(), Options::default()).expect("it serves");
        for number in VALUES - 500..VALUES {
            let found = client.get(&key(number % 500)).expect("a read").value;
            assert!(found == Some(value(number)), "key {number} with {smp} cores");
        }
    }
}

#[test]
fn a_quorum_is_recovered_with_another_number_of_cores() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 2 });
    cluster.nodes().iter_mut().for_each(Node::kill);
    cluster.node(0).set_smp(1);
    let (status, said) = cluster.node(0).plan().run(
        "recover-quorum",
        &["--group=all", "--voters=n1", "--i-understand-that-data-may-be-lost"],
    );
    assert!(status.success(), "{said}");
    // Six that own slots, and the meta group.
    assert_eq!(said.lines().filter(|line| line.starts_with("now ")).count(), 7, "{said}");
    cluster.node(0).start();
    wait_until("the survivor serves alone", || cluster.node(0).is_ready());
}
