//! A majority is lost for good: what a survivor can be made to do, and what it refuses.

use sunstar::client::Options;
use sunstar::client::blocking::Client;

use std::process::Command;

use crate::support::{Cluster, Node, Shape, append_during, assert_all_found, wait_until};

const FORCE: &str = "--i-understand-that-data-may-be-lost";

#[test]
fn a_survivor_serves_what_it_had_after_the_others_are_lost() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 2 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, 8, |progress| progress.await_more("at first", 20));
    // Then the survivor has all that was acknowledged.
    cluster.assert_replicas_agree();
    let plan = cluster.node(0).plan().clone();
    let arguments = ["--group=all", "--voters=n1", FORCE];

    let (status, said) = plan.run("recover-quorum", &arguments);
    assert!(!status.success() && said.contains("in use"), "while it runs: {said}");
    assert!(cluster.node(0).terminate().success());
    for lost in 1..3 {
        cluster.node(lost).kill();
        std::fs::remove_dir_all(&cluster.node(lost).plan().data_dir).expect("it was there");
    }

    let (status, said) = plan.run("recover-quorum", &arguments[..2]);
    assert_eq!(status.code(), Some(2), "without consent: {said}");
    assert!(said.contains("voters n1, n2, n3") && said.contains("nothing was changed"), "{said}");
    let (status, said) = plan.run("recover-quorum", &["--group=9", "--voters=n1", FORCE]);
    assert_eq!(status.code(), Some(2), "no such group: {said}");
    let (status, said) = plan.run("recover-quorum", &["--group=all", "--voters=n2", FORCE]);
    assert!(!status.success() && said.contains("not among the voters"), "{said}");
    let (status, said) = plan.run("recover-quorum", &arguments);
    assert!(status.success(), "{said}");
    assert!(said.contains("rewritten by force"), "loud: {said}");

    cluster.node(0).start();
    assert_all_found(&targets[..1], &ledgers);
    let mut client = Client::connect(&targets[..1], Options::default()).expect("it serves");
    client.put(b"key", b"value").expect("a write");
    // And it is no passing fancy.
    cluster.node(0).kill();
    cluster.node(0).start();
    let mut client = Client::connect(&targets[..1], Options::default()).expect("it serves");
    assert_eq!(client.get(b"key").expect("a read").value.as_deref(), Some(&b"value"[..]));
    two_blank_nodes_come_back(&mut cluster);
    assert_all_found(&targets, &ledgers);
    assert_eq!(client.get(b"key").expect("a read").value.as_deref(), Some(&b"value"[..]));
}

/// By the map of the first start they are two of three. They elect nobody, and become members by the
/// survivor's leave.
fn two_blank_nodes_come_back(cluster: &mut Cluster) {
    cluster.nodes().iter_mut().skip(1).for_each(Node::start);
    for node in &cluster.all()[1..] {
        node.waits_for("n1");
        let status = node.status(false).expect("it runs");
        assert!(status.groups().iter().all(|group| group.leader.is_none()), "{status:?}");
    }
    ctl(cluster, &["member", "replace", "n2"]);
    ctl(cluster, &["member", "replace", "n3"]);
    for name in ["n2", "n3"] {
        let up = format!("node up node={name}");
        wait_until(&up, || cluster.all()[0].log_of_this_life().contains(&up));
    }
    ctl(cluster, &["group", "set", "g1", "n1,n2,n3"]);
    for node in &cluster.all()[1..] {
        wait_until("its replica is certain", || {
            let status = node.status(false).expect("it runs");
            let group = status.groups().into_iter().find(|group| group.group == 1).cloned();
            group.is_some_and(|group| group.doubt.is_none() && group.leader.is_some())
        });
    }
}

/// Asks the survivor.
fn ctl(cluster: &Cluster, words: &[&str]) {
    let address = cluster.all()[0].plan().admin.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sunstar"));
    let output = command.arg("ctl").args(words).args(["--admin-addr", &address]).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{words:?}: {output:?}");
}

#[test]
fn a_blank_directory_has_nothing_to_recover() {
    let mut cluster = Cluster::start(Shape { nodes: 1, smp: 1 });
    let mut plan = cluster.node(0).plan().clone();
    plan.data_dir = cluster.directory().join("elsewhere");
    let (status, said) = plan.run("recover-quorum", &["--group=1", "--voters=n1", FORCE]);
    assert!(!status.success() && said.contains("holds no node's data"), "{said}");
    assert!(!plan.data_dir.exists(), "nothing is made by looking");
}
