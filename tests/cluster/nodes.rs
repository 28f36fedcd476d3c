//! Nodes come and go, and groups, and slots with them: real processes, told by the command line.

use std::process::Command;

use serde_json::Value;

use crate::support::{
    Cluster, NodePlan, Shape, append_during, assert_all_found, await_health, ctl, done, server,
    wait_until,
};

const CLIENTS: usize = 6;

#[test]
fn a_fourth_node_joins_starts_again_and_another_of_its_name_is_refused() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 1 });
    cluster.join(4, 2);
    await_health(&cluster);
    let (code, view) = ctl(&cluster, &["nodes"]);
    assert_eq!((code, names(&view["nodes"], "node")), (0, vec![1, 2, 3, 4]), "{view}");

    let plan = cluster.node(3).plan().clone();
    assert!(cluster.node(3).terminate().success());
    cluster.node(3).start();
    await_health(&cluster);
    let (sound, said) = inspect(&plan, "map");
    assert!(sound && said.contains("n4"), "{said}");

    // The same name elsewhere, or at the same addresses, while the first is up; and they under another.
    let elsewhere = cluster.plan_to_join(5, 1);
    let as_reached = format!("--join-as={}/{}", plan.peer, plan.client);
    let further = [elsewhere.further.clone(), vec![as_reached]].concat();
    let in_its_place = NodePlan { further, ..elsewhere.clone() };
    for (plan, causes) in [
        (NodePlan { id: 4, ..elsewhere }, ["n4 is in the cluster already", "--node-id"]),
        (NodePlan { id: 4, ..in_its_place.clone() }, ["n4 is in the cluster already", "up"]),
        (in_its_place, ["n4 has one of the addresses", "--node-id"]),
    ] {
        let mut process = plan.spawn();
        let status = process.wait().expect("it is our child");
        let said = std::fs::read_to_string(&plan.log).expect("its log");
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(causes.iter().all(|cause| said.contains(cause)), "{causes:?} in {said}");
    }
}

#[test]
fn groups_slots_and_nodes_come_and_go_under_load() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 1 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, CLIENTS, |progress| {
        progress.await_more("at first", 10);
        done(&cluster, &["join", "--groups", "2", "--wait"]);
        progress.await_more("with two groups more", 10);
        cluster.join(4, 1);
        await_health(&cluster);
        progress.await_more("with a fourth node", 10);
        done(&cluster, &["move", "--half-of", "g1", "--to", "g2", "--wait"]);
        done(&cluster, &["leave", "g5", "--wait"]);
        done(&cluster, &["forget", "g5"]);
        progress.await_more("with other owners", 10);
        done(&cluster, &["drain", "n1", "--wait"]);
        progress.await_more("with one node drained", 10);
        let view = done(&cluster, &["decommission", "n1"]);
        assert_eq!(names(&view["nodes"], "node"), [2, 3, 4]);
        assert!(cluster.dismiss(0).success());
        progress.await_more("without it", 10);
        await_health(&cluster);
    });
    assert_all_found(&targets[1..], &ledgers);
    cluster.assert_replicas_agree();
    let (_, view) = ctl(&cluster, &["epochs"]);
    assert!(view["history"].as_array().expect("a list").len() >= 7, "{view}");
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 1 });
    for (words, reason) in [
        (&["leave", "g99"][..], "unknown-group"),
        (&["leave", "g1,g2,g3"], "refused"),
        (&["move", "5", "--to", "g99"], "unknown-group"),
        (&["move", "--half-of", "g99", "--to", "g1"], "invalid"),
        (&["drain", "n9"], "unknown-node"),
        (&["forget", "g1"], "refused"),
        (&["drain", "n1"], "refused"),
        (&["decommission", "n1"], "refused"),
        (&["move-leader", "g1", "n9"], "unknown-node"),
        (&["move-leader", "g99", "n1"], "unknown-group"),
        (&["groups", "--epoch", "99"], "refused"),
    ] {
        assert_refused(&cluster, words, reason);
    }
    let (code, _) = ctl(&cluster, &["move", "7-3", "--to", "g1"]);
    assert_eq!(code, 2);
    done(&cluster, &["group", "remove", "g1", "n3"]);
    done(&cluster, &["group", "remove", "g1", "n2"]);
    assert_refused(&cluster, &["group", "remove", "g1", "n1"], "last-voter");
    done(&cluster, &["group", "set", "g1", "n1,n2,n3"]);
    await_health(&cluster);

    assert!(cluster.node(2).terminate().success());
    wait_until("health is lost", || ctl(&cluster, &["health"]).0 == 1);
    done(&cluster, &["group", "set", "g1", "n1,n3", "--no-wait"]);
    assert_refused(&cluster, &["group", "remove", "g1", "n2"], "under-way");
    done(&cluster, &["group", "set", "g1", "n1,n2,n3"]);

    cluster.node(1).kill();
    wait_until("nobody decides any more", || {
        let (code, refusal) = ctl(&cluster, &["move", "5", "--to", "g2"]);
        (code, &refusal["reason"]) == (1, &Value::from("no-leader"))
    });
    let (code, health) = ctl(&cluster, &["health"]);
    let reasons = health["reasons"].to_string();
    let named = ["shard master", "n3 is down", "g1 knows no leader"];
    assert!(code == 1 && named.iter().all(|it| reasons.contains(it)), "{reasons}");
    let nobody = Command::new(server())
        .args(["ctl", "health", "--admin-addr", &crate::support::free_port().to_string()])
        .output()
        .expect("the program runs");
    assert_eq!(nobody.status.code(), Some(3), "{nobody:?}");
}

/// Demands that what is asked for is refused, with the reason in words and what to do about it.
fn assert_refused(cluster: &Cluster, words: &[&str], reason: &str) {
    let (code, refusal) = ctl(cluster, words);
    assert_eq!((code, &refusal["reason"]), (1, &Value::from(reason)), "{words:?}: {refusal}");
    for part in ["message", "remedy"] {
        assert!(refusal[part].as_str().is_some_and(|text| !text.is_empty()), "{refusal}");
    }
}

fn inspect(plan: &NodePlan, what: &str) -> (bool, String) {
    let output = Command::new(server())
        .args(["inspect", what])
        .arg(&plan.data_dir)
        .output()
        .expect("the program runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn names(list: &Value, key: &str) -> Vec<u64> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| item[key].as_u64()).collect()
}
