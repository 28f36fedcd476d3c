//! What the clients of a real cluster see, written down and checked, while its leader is killed.

use std::fs::File;
use std::io::BufReader;

use sunstar::base::Micros;
use sunstar::client::Options;
use sunstar::history::{History, check};
use sunstar::load::{self, LoadOptions, Workload};

use crate::support::{Cluster, Shape};

#[test]
fn a_load_across_a_killed_leader_is_linearizable() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 1 });
    let path = cluster.directory().join("history");
    let options = LoadOptions {
        targets: cluster.targets(),
        workload: Workload::Mixed,
        connections: 6,
        in_flight: 24,
        keys: 40,
        duration: Micros::from_secs(600),
        history: Some(path.clone()),
        client: Options { operation_timeout: Micros::from_secs(60), ..Options::default() },
        ..LoadOptions::default()
    };
    let victim = cluster.busiest_leader();
    let mut seconds = 0;
    let report = load::run_while(&options, &mut |_| {
        seconds += 1;
        match seconds {
            1 => cluster.node(victim).kill(),
            2 => cluster.node(victim).start(),
            _ => {}
        }
        seconds < 4
    })
    .expect("a load");
    let file = File::open(path).expect("a history");
    let history = History::read(BufReader::new(file)).expect("as it was written");
    assert!(history.records.len() as u64 >= report.ops, "{report}");
    let findings = check(&history.records);
    for finding in &findings {
        assert!(finding.is_clean(), "{finding}");
    }
    assert!(findings[0].checked >= report.ops, "{}", findings[0]);
}
