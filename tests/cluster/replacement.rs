//! A node loses its data directory under load, and comes back in its own place.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Cluster, Shape, append_during, assert_all_found, wait_until};

const CLIENTS: usize = 6;

/// SIGKILL, and the disk is gone; the process starts again on a new one.
fn wipe(cluster: &mut Cluster, position: usize) {
    let node = cluster.node(position);
    node.kill();
    std::fs::remove_dir_all(&node.plan().data_dir).expect("it was there");
    node.start();
}

/// Nobody can say that all is done for a node that is down: it may be about to call with another disk.
fn assert_not_done_while_down(cluster: &mut Cluster, position: usize) {
    cluster.node(position).kill();
    let name = format!("n{}", position + 1);
    wait_until("its death is known", || {
        let answer = replace(cluster, 0, &name, &["--timeout=0"]);
        said(&answer)["up"] == false
    });
    let late = replace(cluster, 0, &name, &["--timeout=1"]);
    assert!(!late.status.success(), "{late:?}");
    assert_eq!(said(&late)["reason"], "late");
    cluster.node(position).start();
    cluster.await_leaders();
}

/// Waits until a node says that it refuses `refused`; returns how it names it.
fn await_refusal(cluster: &Cluster, by: usize, refused: u64) -> String {
    let mut incarnation = None;
    wait_until("the wiped node is refused by name", || {
        let status = cluster.all()[by].status(false).expect("it runs");
        incarnation = status.refused.into_iter().find(|one| one.node == refused);
        incarnation.is_some()
    });
    incarnation.expect("waited for").incarnation
}

/// `sunstar ctl member replace`, asking a node.
fn replace(cluster: &Cluster, asked: usize, node: &str, more: &[&str]) -> Output {
    let address = cluster.all()[asked].plan().admin.to_string();
    Command::new(env!("CARGO_BIN_EXE_sunstar"))
        .args(["ctl", "member", "replace", node, "--output", "json", "--admin-addr", &address])
        .args(more)
        .output()
        .expect("the program runs")
}

fn said(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn assert_replaced(output: &Output) {
    assert!(output.status.success(), "{output:?}");
    let replacement = said(output);
    assert_eq!(replacement["accepted"], true, "{replacement}");
    let groups = replacement["groups"].as_array().expect("groups");
    assert!(!groups.is_empty() && groups.iter().all(|group| group["step"] == "done"));
}

#[test]
fn a_wiped_node_is_refused_until_it_is_replaced_and_then_votes_again() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 2 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, CLIENTS, |progress| {
        progress.await_more("at first", 20);
        let alive = replace(&cluster, 0, "n2", &["--timeout=0"]);
        assert_eq!(said(&alive)["reason"], "no-change", "nothing of it is lost");

        let mut last = String::new();
        for round in 0..2 {
            wipe(&mut cluster, 1);
            let refused = await_refusal(&cluster, 0, 2);
            assert_ne!(last, refused, "another disk");
            assert_eq!(await_refusal(&cluster, 2, 2), refused, "by everyone, as the same");
            let why = "sunstar ctl member replace n2";
            wait_until("the wiped node says why it is alone", || {
                cluster.all()[1].log().contains(why)
            });
            assert!(cluster.all()[0].log().contains(why), "and so do the others");
            progress.await_more("without it", 10);
            let unknown = replace(&cluster, 0, "n2", &["--incarnation=00000000000000aa"]);
            assert_eq!(said(&unknown)["reason"], "invalid", "no such one is there");
            // The first time whoever asked gives up at once; another asks another node.
            if round == 0 {
                assert!(replace(&cluster, 2, "n2", &["--no-wait"]).status.success());
            }
            assert_replaced(&replace(&cluster, 0, "n2", &[]));
            assert_replaced(&replace(&cluster, 2, "n2", &[]));
            cluster.await_leaders();
            progress.await_more("with it", 10);
            // Its vote is needed now.
            cluster.node(0).kill();
            progress.await_more("thanks to it", 20);
            cluster.node(0).start();
            cluster.await_leaders();
            assert_not_done_while_down(&mut cluster, 1);
            last = refused;
        }
    });
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();
}

#[test]
fn a_node_that_was_down_when_another_was_replaced_learns_of_it() {
    let mut cluster = Cluster::start(Shape { nodes: 5, smp: 1 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, CLIENTS, |progress| {
        progress.await_more("at first", 10);
        cluster.node(4).kill();
        wipe(&mut cluster, 1);
        await_refusal(&cluster, 0, 2);
        let late = replace(&cluster, 0, "n2", &["--timeout=2"]);
        let answer = said(&late);
        assert_eq!(answer["reason"], "late", "groups of n2 and n5 have no majority: {answer}");
        assert_eq!(answer["replacement"]["accepted"], false);
        cluster.node(4).start();
        assert_replaced(&replace(&cluster, 3, "n2", &[]));
        cluster.await_leaders();
        progress.await_more("with all", 10);
    });
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();
}
