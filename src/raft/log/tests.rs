use super::*;
use crate::base::Bytes;
use crate::raft::EntryKind;

/// A log after a snapshot at `base`, with entries of these terms.
fn log(base: u64, terms: &[u64]) -> Log {
    let term = Term(terms.first().copied().unwrap_or(1).min(1));
    let snapshot = SnapshotMeta { index: Index(base), term, ..SnapshotMeta::default() };
    let entries = (1..).zip(terms).map(|(offset, &term)| entry(base + offset, term, "x"));
    Log::new(snapshot, entries.collect())
}

fn entry(index: u64, term: u64, payload: &str) -> Entry {
    Entry {
        term: Term(term),
        index: Index(index),
        timestamp: WallTime(0),
        kind: EntryKind::Command,
        payload: Bytes::copy_of(payload.as_bytes()),
    }
}

fn indices(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.index.0).collect()
}

#[test]
fn terms_are_known_from_the_base_to_the_end() {
    let log = log(10, &[1, 1, 3]);
    let terms: Vec<_> = (9..15).map(|index| log.term_at(Index(index))).collect();
    let expected = [None, Some(1), Some(1), Some(1), Some(3), None];
    assert_eq!(terms, expected.map(|term| term.map(Term)));
    assert_eq!((log.first_index(), log.last_index()), (Index(11), Index(13)));
}

#[test]
fn the_last_place_within_a_term_agrees_with_a_search() {
    let log = log(10, &[1, 1, 3, 3, 5]);
    for index in 8..20 {
        for term in 0..7 {
            let searched = (10..=index.min(15))
                .rev()
                .find(|&at| log.term_at(Index(at)).is_some_and(|found| found <= Term(term)));
            let expected = if index <= 10 { index } else { searched.unwrap_or(10) };
            let found = log.last_place_within(Index(index), Term(term));
            assert_eq!(found, Index(expected), "index {index}, term {term}");
        }
    }
}

#[test]
fn a_read_is_bounded_but_never_empty() {
    let log = log(0, &[1; 5]);
    let one = ENTRY_OVERHEAD_BYTES + 1;
    let mut entries = Vec::new();
    assert_eq!(log.read(Index(2), 0, 0, &mut entries), one);
    assert_eq!(indices(&entries), [2]);
    assert_eq!(log.read(Index(3), one - 1, 9, &mut entries), 0, "it is not empty any more");
    assert_eq!(log.read(Index(3), usize::MAX, 1, &mut entries), 0, "one is enough");
    assert_eq!(log.read(Index(3), 2 * one, 9, &mut entries), 2 * one);
    assert_eq!(indices(&entries), [2, 3, 4]);
    entries.clear();
    assert_eq!(log.read(Index(2), usize::MAX, 3, &mut entries), 3 * one);
    assert_eq!(log.read(Index(6), usize::MAX, 9, &mut Vec::new()), 0);
}

#[test]
fn committing_hands_each_entry_out_once() {
    let mut log = log(3, &[1, 1, 2]);
    let mut output = Output::default();
    let uncommitted = [5, 4, 6].map(|index| {
        log.commit_to(Index(index));
        log.hand_out(usize::MAX, &mut output);
        log.uncommitted_bytes()
    });
    assert_eq!(uncommitted, [1, 1, 0]);
    assert_eq!(indices(&output.committed), [4, 5, 6]);
}

#[test]
fn what_is_handed_out_is_bounded_until_it_is_applied() {
    let mut log = log(0, &[1; 5]);
    let two = 2 * (ENTRY_OVERHEAD_BYTES + 1);
    let mut output = Output::default();
    log.commit_to(Index(5));
    let mut handed_out = |log: &mut Log, bytes_max| {
        log.hand_out(bytes_max, &mut output);
        log.check_invariants();
        indices(&std::mem::take(&mut output.committed))
    };
    assert_eq!(handed_out(&mut log, two), [1, 2]);
    assert_eq!(handed_out(&mut log, two), [0; 0], "nothing is applied yet");
    assert!(log.applied(Index(1)) && !log.applied(Index(1)));
    assert_eq!(handed_out(&mut log, two), [3]);
    assert_eq!(handed_out(&mut log, 0), [0; 0]);
    assert!(log.applied(Index(3)));
    assert_eq!(handed_out(&mut log, 0), [4], "one at least");
    assert!(!log.applied(Index(2)), "an old completion is no news");
}

#[test]
#[should_panic(expected = "applied 3, but handed out only up to 2")]
fn what_was_not_handed_out_cannot_be_applied() {
    let mut log = log(0, &[1; 3]);
    log.commit_to(Index(2));
    log.hand_out(usize::MAX, &mut Output::default());
    log.applied(Index(3));
}

/// Commits and applies.
fn apply_to(log: &mut Log, index: u64) {
    log.commit_to(Index(index));
    log.hand_out(usize::MAX, &mut Output::default());
    log.applied(Index(index));
}

#[test]
fn compaction_keeps_what_it_is_told_to() {
    let mut log = log(0, &[1, 1, 2, 2]);
    apply_to(&mut log, 3);
    let snapshot = SnapshotMeta { index: Index(3), term: Term(2), ..SnapshotMeta::default() };
    log.compact(snapshot.clone(), Index(2));
    assert_eq!((log.base_index(), log.term_at(Index(1))), (Index(1), Some(Term(1))));
    // Again, and further back: nothing returns.
    log.compact(snapshot, Index(1));
    assert_eq!((log.base_index(), log.last_index()), (Index(1), Index(4)));
    log.check_invariants();
}

#[test]
fn a_snapshot_keeps_what_follows_it_only_where_it_matches() {
    let at =
        |index, term| SnapshotMeta { index: Index(index), term: Term(term), ..Default::default() };
    let mut matching = log(0, &[1, 2, 2]);
    matching.restore(at(2, 2));
    assert_eq!((matching.first_index(), matching.last_index()), (Index(3), Index(3)));
    let mut conflicting = log(0, &[1, 2, 2]);
    conflicting.restore(at(2, 3));
    assert_eq!((conflicting.last_index(), conflicting.last_term()), (Index(2), Term(3)));
    let mut beyond = log(0, &[1, 2, 2]);
    beyond.restore(at(7, 3));
    assert_eq!((beyond.first_index(), beyond.commit_index()), (Index(8), Index(7)));
    beyond.check_invariants();
}

#[test]
#[should_panic(expected = "cannot remove 2: committed up to 2")]
fn what_is_committed_is_never_removed() {
    let mut log = log(0, &[1, 1, 1]);
    apply_to(&mut log, 2);
    log.truncate_from(Index(2));
}

#[test]
#[should_panic(expected = "snapshot at 3, applied 2")]
fn a_snapshot_covers_only_what_is_applied() {
    let mut log = log(0, &[1, 1, 1]);
    apply_to(&mut log, 2);
    log.commit_to(Index(3));
    let snapshot = SnapshotMeta { index: Index(3), term: Term(1), ..SnapshotMeta::default() };
    log.compact(snapshot, Index(3));
}
