//! The engine against a fake cluster behind real sockets.

use super::{LoadError, LoadOptions, Workload, run};
use crate::base::Micros;
use crate::client::tests::cluster::Faults;
use crate::client::tests::serve::Served;
use crate::history::{History, check};

fn options(served: &Served) -> LoadOptions {
    LoadOptions {
        targets: served.addresses.clone(),
        connections: 3,
        in_flight: 50,
        duration: Micros::from_millis(100),
        keys: 500,
        ..LoadOptions::default()
    }
}

#[test]
fn a_closed_loop_counts_what_it_did() {
    let served = Served::start(1, Faults::default());
    let options = LoadOptions { workload: Workload::Mixed, ..options(&served) };
    let report = run(&options, &mut |_| {}).expect("it serves");
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.r#loop, report.nodes), ("closed", 3));
    assert_eq!(report.ops, report.reads + report.writes);
    assert!(report.reads > 0 && report.writes > 0, "{report}");
    assert_eq!(report.latencies.len(), report.ops);
    let cluster = served.stop();
    assert_eq!(cluster.store.len(), 500, "every key was written before the reads");
    assert_eq!(cluster.session_count(), 0, "the clients closed their sessions");
}

#[test]
fn an_open_loop_begins_what_its_rate_says() {
    let served = Served::start(2, Faults::default());
    let options = LoadOptions { rate: Some(2_000), ..options(&served) };
    let report = run(&options, &mut |_| {}).expect("it serves");
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.r#loop, report.ops), ("open", 200));
}

#[test]
fn appended_values_stay_bounded() {
    let served = Served::start(3, Faults::default());
    let options = LoadOptions {
        workload: Workload::Append,
        value_size: 200,
        keys: 3,
        in_flight: 6,
        ..options(&served)
    };
    let report = run(&options, &mut |_| {}).expect("it serves");
    assert!(report.is_clean(), "{report}");
    let longest = served.stop().store.values().map(Vec::len).max().expect("written");
    assert!(longest <= 1_024 + 7 * 200, "{longest}");
}

#[test]
fn contradictions_are_refused_with_a_remedy() {
    let nobody = LoadOptions::default();
    assert!(matches!(run(&nobody, &mut |_| {}), Err(LoadError::NoTarget)));
    let targets = vec!["127.0.0.1:1".to_owned()];
    let few = LoadOptions { targets, connections: 8, in_flight: 4, ..LoadOptions::default() };
    let error = run(&few, &mut |_| {}).expect_err("fewer commands than connections");
    assert_eq!(
        error.to_string(),
        "--in-flight 4 is out of range: each connection needs one command at least, and 10 million \
         are the most"
    );
}

#[test]
fn a_history_holds_every_command_and_is_right() {
    let served = Served::start(2, Faults::default());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("history");
    let options = LoadOptions {
        workload: Workload::Mixed,
        history: Some(path.clone()),
        keys: 50,
        ..options(&served)
    };
    let report = run(&options, &mut |_| {}).expect("it serves");
    let file = std::fs::File::open(&path).expect("written");
    let history = History::read(std::io::BufReader::new(file)).expect("as written");
    // The first write of each key is not counted, but recorded.
    assert_eq!(history.records.len() as u64, report.ops + options.keys);
    for finding in check(&history.records) {
        assert!(finding.is_clean(), "{finding}");
    }
    let nowhere = LoadOptions { history: Some(folder.path().join("no/file")), ..options };
    let error = run(&nowhere, &mut |_| {}).expect_err("no such folder");
    assert!(error.to_string().starts_with("cannot write the history "), "{error}");
}
