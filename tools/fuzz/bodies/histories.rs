//! Histories of clients: the file, and the checks of whatever was in it.

use sunstar::history::{
    History, Keys, Shape, Writer, check_appends, check_counters, check_order, check_replay,
    check_search, generate,
};

/// A file: if it can be read it can be written again, and the checks come to an end.
pub(super) fn read(input: &[u8]) {
    let Ok(history) = History::read(input) else { return };
    let again = History::read(written(&history).as_slice()).expect("of our own writing");
    assert_eq!(again, history);
    let keys = Keys::of(&history.records);
    let replay = check_replay(&keys);
    let search = check_search(&keys, 2_000);
    let order = check_order(&keys);
    for finding in [check_appends(&keys), check_counters(&keys)] {
        let _ = finding.to_string();
    }
    // What has an order of places has an order.
    let decided = replay.unchecked == 0 && search.unfinished.is_empty();
    if decided && order.is_clean() && replay.is_clean() {
        assert!(search.is_clean(), "{search}");
    }
}

fn written(history: &History) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &history.clock).expect("memory");
    for record in &history.records {
        writer.write(record).expect("memory");
    }
    writer.finish().expect("memory")
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let shape = |seed| Shape {
        operations: 12,
        keys: 3,
        clients: 3,
        groups: 1,
        values: 2,
        unknown_per_mille: 100,
        rejected_per_mille: 50,
        seed,
    };
    let history = |seed| History { clock: "virtual".to_owned(), records: generate(&shape(seed)) };
    (0..6).map(|seed| written(&history(seed))).collect()
}
