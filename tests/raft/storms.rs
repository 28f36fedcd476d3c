//! Many storms (`storm`), and how often in them everything happened.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

use crate::storm::Storm;
use crate::tally::Tally;

/// What must happen now and then, or the storms show nothing.
const MUST_HAPPEN: &[&str] = &[
    "messages lost",
    "messages doubled",
    "messages late",
    "completions",
    "completions out of order",
    "proposals",
    "proposals together",
    "detectors right",
    "detectors wrong",
    "proposals refused",
    "submissions done",
    "submissions rejected",
    "submissions unknown",
    "reads",
    "reads refused",
    "reads confirmed",
    "reads under a lease",
    "reads failed",
    "snapshots moved",
    "snapshots lost",
    "snapshots installed",
    "evictions",
    "old entries read",
    "old entries gone",
    "links reset",
    "links cut",
    "links cut one way",
    "leaders cut off",
    "crashes with all written",
    "crashes before a write",
    "crashes between writes",
    "crashes after a write",
    "restarts",
    "disks that forgot entries",
    "disks that forgot votes",
    "disks that forgot everything",
    "doubts that ended",
    "transfers",
    "transfers refused",
    "successors that stood",
    "changes",
    "changes by stages",
    "changes refused",
    "changes committed",
    "elections",
    "entries committed",
    "entries replaced",
    "calms",
    "calms with one away",
    "groups that fell silent",
    "quiet leaders lost",
    "quiet leaders restarted",
];

#[test]
fn storms_break_no_law_and_pass() {
    let (mut tally, seeds) = (Tally::default(), seeds());
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let mut storm = Storm::new(seed);
        storm.world.trace = (count == 1).then(Vec::new);
        let passed = panic::catch_unwind(AssertUnwindSafe(|| storm.weather()));
        passed.unwrap_or_else(|error| raise_alarm(seed, &storm, error));
        tally.add(&storm.world.laws.tally);
    }
    println!("{count} storms\n{tally}");
    if count >= 100 {
        let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| tally.get(what) == 0).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    let replay = |seed| {
        let mut storm = Storm::new(seed);
        storm.world.trace = Some(Vec::new());
        storm.weather();
        storm.world.trace.expect("traced")
    };
    let mut lines = 0;
    for seed in 0..5 {
        let first = replay(seed);
        lines += first.len();
        assert!(first == replay(seed), "seed {seed} went another way");
    }
    assert!(lines > 5_000, "traces of {lines} lines");
}

/// Which seeds to run: `SUNSTAR_RAFT_SEEDS=from..to`, or the usual ones.
fn seeds() -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("SUNSTAR_RAFT_SEEDS") else { return 0..300 };
    let (from, to) = range.split_once("..").expect("SUNSTAR_RAFT_SEEDS=from..to");
    from.parse().expect("a seed")..to.parse().expect("a seed")
}

/// Says which seed it was, whatever assertion failed; for a seed run alone, what had happened.
fn raise_alarm(seed: u64, storm: &Storm, error: Box<dyn Any + Send>) -> ! {
    let trace = storm.world.trace.iter().flatten();
    trace.for_each(|line| eprintln!("{line}"));
    let next = seed + 1;
    eprintln!(
        "again, with a trace: SUNSTAR_RAFT_SEEDS={seed}..{next} cargo test --test raft storm"
    );
    panic::resume_unwind(error)
}
