//! Blank disks: what starts for the first time, and what was wiped and only looks like it.

use crate::support::{Cluster, Node, Shape, append_during, assert_all_found, wait_until};

const CLIENTS: usize = 6;

/// The groups of which the node is in doubt of everything, and those it has.
fn blank_groups(node: &Node) -> (usize, usize) {
    let status = node.status(false).expect("it runs");
    let groups = status.groups();
    let blank = groups.iter().filter(|group| group.doubt.as_deref() == Some("everything"));
    (blank.count(), groups.len())
}

fn wipe(node: &mut Node) {
    node.kill();
    std::fs::remove_dir_all(&node.plan().data_dir).expect("it was there");
}

#[test]
fn it_takes_all_nodes_once_and_then_any_majority() {
    let mut cluster = Cluster::prepare(Shape { nodes: 3, smp: 2 });
    cluster.node(0).start();
    cluster.node(1).start();
    cluster.all()[0].waits_for("n3");
    let (code, why) = cluster.all()[0].ask("/readyz");
    assert!(code == 503 && why.contains("group g1 waits for n3"), "{why}");
    let status = cluster.all()[0].status(false).expect("it runs");
    assert!(status.groups().iter().all(|group| group.leader.is_none() && group.awaits == [3]));
    cluster.node(1).kill();
    cluster.node(1).start();
    cluster.node(2).start();
    cluster.await_leaders();
    cluster.nodes().iter_mut().for_each(Node::kill);
    cluster.node(2).start();
    cluster.node(1).start();
    wait_until("two of three serve", || cluster.all()[1..].iter().all(Node::is_ready));
}

/// n3 never got what n1 and n2 acknowledged, and has lost all memory of whom it met. The new n2 and n3 are
/// two of three, and neither refuses the other.
#[test]
fn a_wiped_node_and_one_that_never_met_it_make_no_majority() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 1 });
    let targets = cluster.targets();
    cluster.node(2).kill();
    let ledgers = append_during(&targets, CLIENTS, |progress| progress.await_more("by two", 20));
    wipe(cluster.node(1));
    cluster.node(0).kill();
    std::fs::remove_file(cluster.node(2).plan().data_dir.join("peers")).expect("it was there");
    cluster.node(1).start();
    cluster.node(2).start();
    cluster.all()[1].waits_for("n1");
    let (blank, all) = blank_groups(&cluster.all()[1]);
    assert!(blank == all && all > 0, "{blank} of {all}");
    assert!(!cluster.all()[2].is_ready(), "nobody votes for it");
    cluster.node(0).start();
    assert_all_found(&targets, &ledgers);
}
