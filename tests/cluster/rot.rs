//! A disk that rots while its node is down: the node comes back, says so, and is repaired under load.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::support::{Cluster, Node, NodePlan, Shape, append_during, assert_all_found, wait_until};

const BLOCK: usize = 4096;

#[test]
fn a_damaged_log_is_repaired_under_load() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 1 });
    let targets = cluster.targets();
    let ledgers = append_during(&targets, 8, |progress| {
        progress.await_more("at first", 40);
        let victim = (cluster.busiest_leader() + 1) % 3;
        cluster.node(victim).kill();
        damage_a_batch(cluster.node(victim).plan());
        cluster.node(victim).start();
        wait_until("it is repaired", || is_certain(cluster.node(victim)));
        assert!(cluster.node(victim).log().contains("the log is damaged"));
        progress.await_more("after that", 20);
        // The damage is still there; what it cost is not.
        cluster.node(victim).kill();
        cluster.node(victim).start();
        wait_until("it is certain", || is_certain(cluster.node(victim)));
        progress.await_more("once more", 20);
    });
    assert_all_found(&targets, &ledgers);
    cluster.assert_replicas_agree();
}

fn is_certain(node: &Node) -> bool {
    let Some(status) = node.status(false) else { return false };
    status.groups().iter().all(|group| group.doubt.is_none() && group.leader.is_some())
}

/// One bit, in the header of a batch in the middle of what was written.
fn damage_a_batch(plan: &NodePlan) {
    let path = plan.data_dir.join("core-0").join("segment-0.log");
    let bytes = fs::read(&path).expect("the first segment");
    let begins = |at: &usize| bytes[*at..].starts_with(b"SBAT");
    let batches: Vec<usize> = (BLOCK..bytes.len()).step_by(BLOCK).filter(begins).collect();
    assert!(batches.len() > 10, "{} batches", batches.len());
    let at = batches[batches.len() / 2] + 20;
    let file = File::options().write(true).open(&path).expect("ours");
    file.write_all_at(&[bytes[at] ^ 1], at as u64).expect("one byte");
    file.sync_all().expect("synced");
}
