//! A look at what real nodes leave on their disks, and at what damage does to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Cluster, Shape, append_during, server};

/// Exit code and JSON of `sunstar inspect`.
fn inspect(what: &str, path: &Path) -> (Option<i32>, Value) {
    let output = Command::new(server())
        .args(["inspect", what, "--output", "json"])
        .arg(path)
        .output()
        .expect("the server's binary runs");
    let said = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), serde_json::from_str(&said).unwrap_or(Value::Null))
}

fn segment(directory: &Path) -> PathBuf {
    directory.join("core-0").join("segment-0.log")
}

#[test]
fn what_a_node_leaves_is_sound_until_it_is_damaged() {
    let mut cluster = Cluster::start(Shape { nodes: 1, smp: 1 });
    append_during(&cluster.targets(), 4, |progress| progress.await_more("for a while", 50));
    let status = cluster.node(0).status(false).expect("it runs");
    let applied = status.groups().iter().map(|group| group.applied_index).max();
    assert!(cluster.node(0).terminate().success());
    let directory = cluster.node(0).plan().data_dir.clone();

    for what in ["superblock", "log", "snapshot", "sessions"] {
        let (code, report) = inspect(what, &directory);
        assert_eq!((code, &report["sound"]), (Some(0), &true.into()), "{what}: {report}");
    }
    let (_, log) = inspect("log", &directory);
    let groups = log["parts"][0]["groups"].as_array().expect("a table").clone();
    let last = groups.iter().filter_map(|group| group["last"].as_u64()).max();
    assert!(applied.is_some() && last >= applied, "{last:?} < {applied:?}");

    // The payload of an early batch, which later ones call durable.
    let path = segment(&directory);
    let mut bytes = fs::read(&path).expect("its first segment");
    let batches = log["parts"][1]["batches"].as_array().expect("a table").clone();
    let early = batches.iter().find(|batch| batch["records"].as_u64() > Some(0));
    let early = early.expect("a batch with records")["offset"].as_u64().expect("a number");
    bytes[usize::try_from(early).expect("small") + 64 + 4] ^= 1;
    fs::write(&path, bytes).expect("writes");
    let (code, report) = inspect("log", &directory);
    assert_eq!((code, &report["sound"]), (Some(1), &false.into()), "{report}");
    let (code, _) = inspect("log", &directory.join("nowhere"));
    assert_eq!(code, Some(2));
}
