//! `sunstar ctl`, asked of the nodes of a cluster.

use std::process::Command;

use serde_json::Value;

use super::cluster::Cluster;
use super::place::server;
use super::wait::wait_until;

/// `sunstar ctl`, any node that is up being asked; its exit code, and what it prints.
pub(crate) fn ctl(cluster: &Cluster, words: &[&str]) -> (i32, Value) {
    let addresses: Vec<String> =
        cluster.all().iter().map(|node| node.plan().admin.to_string()).collect();
    let output = Command::new(server())
        .arg("ctl")
        .args(words)
        .args(["--output", "json", "--admin-addr", &addresses.join(",")])
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let code = output.status.code().expect("it ends by itself");
    let json = if code == 2 { Ok(Value::Null) } else { serde_json::from_str(&text) };
    (code, json.unwrap_or_else(|error| panic!("{error}: {output:?}")))
}

/// The same where nothing stands in the way.
pub(crate) fn done(cluster: &Cluster, words: &[&str]) -> Value {
    let (code, view) = ctl(cluster, words);
    assert_eq!(code, 0, "{words:?}: {view}");
    view
}

pub(crate) fn await_health(cluster: &Cluster) {
    let mut last = Value::Null;
    wait_until("the cluster is healthy", || {
        let (code, health) = ctl(cluster, &["health"]);
        if health != last {
            eprintln!("{health}");
            last = health;
        }
        code == 0
    });
}
