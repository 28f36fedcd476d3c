//! Groups move to other nodes under load: nothing fails, nothing is in doubt, nothing is lost.

use std::process::Command;

use crate::support::{Cluster, Shape, append_during, assert_all_found, server, wait_until};

const CLIENTS: usize = 6;

#[test]
fn all_three_nodes_of_a_group_are_replaced_by_three_others_in_one_change() {
    let mut cluster = Cluster::start(Shape { nodes: 6, smp: 1 });
    let targets = cluster.targets();
    assert_eq!(holders(&cluster, 1), [1, 2, 3], "as the first start lays it out");
    let ledgers = append_during(&targets, CLIENTS, |progress| {
        progress.await_more("at first", 10);
        // Any node can be asked: this one has no part in the group.
        group(&cluster, 6, &["set", "g1", "n4,n5,n6"]).expect("done");
        progress.await_more("after the change", 10);
        wait_until("the old nodes hold nothing of the group", || holders(&cluster, 1) == [4, 5, 6]);
        progress.await_more("with the new nodes alone", 10);
    });
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();

    for position in [0, 3] {
        let status = cluster.node(position).terminate();
        assert!(status.success(), "{status}");
        cluster.node(position).start();
    }
    cluster.await_leaders();
    assert_eq!(holders(&cluster, 1), [4, 5, 6], "as the disks say");
    assert_all_found(&targets, &ledgers);
}

#[test]
fn leadership_is_transferred_again_and_again() {
    let cluster = Cluster::start(Shape { nodes: 3, smp: 1 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, CLIENTS, |progress| {
        for turn in 0..9 {
            progress.await_more("between transfers", 3);
            let (asked, to) = (1 + turn % 2, format!("n{}", 1 + turn % 3));
            group(&cluster, asked, &["transfer", "g1", &to]).expect("done");
        }
        progress.await_more("after the last", 3);
    });
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();
}

#[test]
fn one_node_comes_as_a_learner_is_promoted_and_goes() {
    let cluster = Cluster::start(Shape { nodes: 4, smp: 1 });
    assert_eq!(holders(&cluster, 1), [1, 2, 3]);
    let step = |words: &[&str]| group(&cluster, 4, words);
    let added = step(&["add", "g1", "n4", "--learner"]).expect("done");
    assert_eq!((&added["learners"], holders(&cluster, 1).len()), (&serde_json::json!([4]), 4));
    let promoted = step(&["promote", "g1", "n4"]).expect("done");
    assert_eq!(promoted["voters"], serde_json::json!([1, 2, 3, 4]));
    step(&["add", "g1", "n4"]).expect("is so already");
    step(&["remove", "g1", "n2"]).expect("done");
    let members = step(&["members", "g1"]).expect("answered");
    assert_eq!(members["voters"], serde_json::json!([1, 3, 4]));
    for (words, reason) in [
        (&["remove", "g1", "n2"][..], "not-a-member"),
        (&["add", "g1", "n9"], "unknown-node"),
        (&["members", "g99"], "unknown-group"),
        (&["transfer", "g1", "n2"], "not-a-voter"),
    ] {
        let refusal = step(words).expect_err(reason);
        assert_eq!(refusal["reason"], reason, "{refusal}");
    }
}

/// Which nodes have a replica of `group`.
fn holders(cluster: &Cluster, group: u32) -> Vec<u64> {
    let holds = |node: &&crate::support::Node| {
        let status = node.status(false);
        status.is_some_and(|status| status.groups().iter().any(|it| it.group == group))
    };
    cluster.all().iter().filter(holds).map(|node| node.plan().id).collect()
}

/// `sunstar ctl group`, asking a node; what it prints, as an error if it failed.
fn group(
    cluster: &Cluster,
    node: usize,
    words: &[&str],
) -> Result<serde_json::Value, serde_json::Value> {
    let address = cluster.all()[node - 1].plan().admin.to_string();
    let output = Command::new(server())
        .args(["ctl", "group"])
        .args(words)
        .args(["--output", "json", "--admin-addr", &address])
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    if output.status.success() { Ok(json) } else { Err(json) }
}
