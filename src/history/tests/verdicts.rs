//! Small histories and who must find fault with them.

use std::fmt::Write as _;

use super::notation::history;
use crate::history::{Finding, Keys, check, check_search};

/// The names of the checks that find fault.
fn objections(text: &str) -> Vec<&'static str> {
    let findings = check(&history(text));
    findings.iter().filter(|finding| !finding.is_clean()).map(|finding| finding.check).collect()
}

#[track_caller]
fn right(text: &str) {
    let findings = check(&history(text));
    let wrong: Vec<&Finding> = findings.iter().filter(|finding| !finding.is_clean()).collect();
    assert!(wrong.is_empty(), "{}", wrong[0]);
    assert!(findings.iter().all(|finding| finding.unchecked == 0), "{findings:?}");
}

#[track_caller]
fn wrong(text: &str, expected: &[&str]) {
    assert_eq!(objections(text), expected, "{:#?}", check(&history(text)));
}

#[test]
fn one_client_after_another_is_right() {
    right(
        "
        1 0..1 get k -> not_found @0
        1 2..3 put k x -> ok @1.0
        2 4..5 append k yz -> ok 3 @1.1
        1 6..7 get k -> ok xyz @1
        1 8..9 delete k -> ok 1 @2.0
        2 8..9 delete k -> not_found @2.1
        1 10..11 swap k x y -> compare_failed @3.0
        1 12..13 add k 5 -> ok 5 @4.0
        1 14..15 append k x -> ok 2 @5.0
        1 16..17 add k 5 -> not_a_number @6.0
    ",
    );
}

#[test]
fn what_overlaps_may_be_in_either_order() {
    right(
        "
        1 0..10 put k a -> ok @2.0
        2 0..10 put k b -> ok @1.0
        3 0..10 get k -> ok b @1
        3 20..30 get k -> ok a @2
    ",
    );
    // Equal moments overlap.
    right(
        "
        1 0..10 put k a -> ok @2.0
        2 10..20 put k b -> ok @1.0
    ",
    );
}

#[test]
fn a_put_of_what_is_there_may_bring_it_back_later() {
    right(
        "
        1 0..1 put k a -> ok @1.0
        2 2..9 put k a -> ok @3.0
        3 2..9 put k b -> ok @2.0
        1 20..21 get k -> ok a @3
    ",
    );
}

#[test]
fn a_stale_read_is_wrong() {
    let stale = "
        1 0..1 put k a -> ok @1.0
        1 2..3 put k b -> ok @2.0
        2 4..5 get k -> ok a @1
    ";
    wrong(stale, &["order", "search"]);
    wrong(&stale.replace("@1\n", "@2\n"), &["replay", "search"]);
}

#[test]
fn a_read_from_the_future_is_wrong() {
    wrong(
        "
        2 0..1 get k -> ok a @1
        1 2..3 put k a -> ok @1.0
    ",
        &["order", "search"],
    );
    wrong(
        "
        2 0..1 get k -> ok a; @1
        1 2..3 append k a; -> unknown
    ",
        &["replay", "search", "appends"],
    );
}

#[test]
fn reads_that_go_back_are_wrong() {
    wrong(
        "
        1 0..9 put k a -> ok @1.0
        2 1..2 get k -> ok a @1
        3 3..4 get k -> not_found @0
    ",
        &["order", "search"],
    );
}

#[test]
fn a_lost_write_is_wrong() {
    wrong(
        "
        1 0..1 put k a -> ok @1.0
        2 2..3 get k -> not_found @1
    ",
        &["replay", "search"],
    );
    wrong(
        "
        1 0..1 append k a; -> ok 2 @1.0
        1 2..3 append k b; -> ok 2 @2.0
        2 4..5 get k -> ok b; @2
    ",
        &["replay", "search", "appends"],
    );
}

#[test]
fn a_double_append_is_wrong() {
    wrong(
        "
        1 0..1 append k a; -> ok 2 @1.0
        2 2..3 get k -> ok a;a; @2
    ",
        &["replay", "search", "appends"],
    );
}

#[test]
fn writes_against_the_order_of_time_are_wrong() {
    let reversed = "
        1 0..1 append k a; -> ok 4 @2.0
        2 2..3 append k b; -> ok 2 @1.0
        3 4..5 get k -> ok b;a; @2
    ";
    wrong(reversed, &["order", "search", "appends"]);
    // The place of a group's other key tells as much.
    wrong(
        "
        1 0..1 put k a -> ok @2.0
        2 2..3 put l b -> ok @1.0
    ",
        &["order"],
    );
}

#[test]
fn two_writes_in_one_place_are_wrong() {
    wrong(
        "
        1 0..9 put k a -> ok @1.0
        2 0..9 put l b -> ok @1.0
    ",
        &["order"],
    );
}

#[test]
fn two_writes_under_one_sequence_are_wrong() {
    let mut records = history(
        "
        1 0..1 put k a -> ok @1.0
        1 2..3 put k b -> ok @2.0
    ",
    );
    for record in &mut records {
        record.session = crate::base::SessionId(9);
        record.sequence = crate::base::Sequence(4);
    }
    assert!(!check(&records)[0].is_clean());
    records[1].sequence.0 = 5;
    assert!(check(&records)[0].is_clean());
}

#[test]
fn an_unknown_write_may_have_happened_or_not_soon_or_late() {
    let before = "1 0..1 put k a -> ok @1.0\n";
    let unknown = "2 2..9 append k b; -> unknown\n";
    right(&format!("{before}{unknown} 3 4..5 get k -> ok a @1"));
    right(&format!("{before}{unknown} 3 4..5 get k -> ok ab; @2"));
    let late =
        "3 4..5 get k -> ok a @1\n 3 20..30 append k c -> ok 2 @2.0\n 3 40..50 get k -> ok acb; @3";
    right(&format!("{before}{unknown} {late}"));
    right(&format!(
        "{before}{unknown} 3 4..5 append k c -> ok 4 @7.0\n 3 6..7 get k -> ok ab;c @8"
    ));
}

#[test]
fn an_unknown_write_happens_once() {
    wrong(
        "
        2 0..9 append k a; -> unknown
        3 4..5 get k -> ok a; @1
        3 6..7 get k -> ok a;a; @2
    ",
        &["replay", "search", "appends"],
    );
    wrong(
        "
        1 0..1 put k x -> ok @1.0
        2 0..9 put k a -> unknown
        3 4..5 get k -> ok a @3
        3 6..7 put k x -> ok @4.0
        3 8..9 get k -> ok a @6
    ",
        &["replay", "search"],
    );
    wrong(
        "
        2 0..9 add k 1 -> unknown
        3 4..5 add k 1 -> ok 2 @3.0
        3 6..7 add k 1 -> ok 4 @5.0
    ",
        &["replay", "search", "counters"],
    );
}

#[test]
fn an_unknown_write_that_showed_does_not_vanish() {
    wrong(
        "
        1 0..1 put k x -> ok @1.0
        2 2..9 put k a -> unknown
        3 4..5 get k -> ok a @3
        3 6..7 get k -> ok x @4
    ",
        &["replay", "search"],
    );
}

#[test]
fn an_unknown_write_does_not_happen_before_it_begins() {
    wrong(
        "
        1 0..1 get k -> ok a @3
        2 2..9 put k a -> unknown
    ",
        &["replay", "search"],
    );
}

#[test]
fn nothing_happens_between_neighbours() {
    // Entry 1 has no room for the unknown write between its two commands.
    wrong(
        "
        1 0..9 put k a -> ok @1.0
        3 0..9 append k c -> ok 1 @1.1
        2 0..9 delete k -> unknown
    ",
        &["replay"],
    );
    right(
        "
        1 0..9 put k a -> ok @1.0
        3 0..9 append k c -> ok 1 @1.2
        2 0..9 delete k -> unknown
    ",
    );
}

#[test]
fn what_was_rejected_never_shows() {
    wrong(
        "
        1 0..1 append k a; -> rejected
        2 2..3 get k -> ok a; @1
    ",
        &["replay", "search", "appends"],
    );
}

#[test]
fn a_refusal_speaks_of_the_key() {
    wrong(
        "
        1 0..1 put k 7 -> ok @1.0
        1 2..3 add k 1 -> not_a_number @2.0
    ",
        &["replay", "search"],
    );
}

#[test]
fn a_counter_counts_each_increment_once() {
    right(
        "
        1 0..9 add k 2 -> ok 2 @1.0
        2 0..9 add k 3 -> ok 5 @2.0
        3 0..9 add k 4 -> unknown
        1 20..21 get k -> ok 9 @3
    ",
    );
    wrong(
        "
        1 0..1 add k 2 -> ok 2 @1.0
        2 2..3 add k 3 -> ok 8 @2.0
    ",
        &["replay", "search", "counters"],
    );
    wrong(
        "
        1 0..9 add k 2 -> ok 2 @1.0
        2 0..9 add k 2 -> ok 2 @2.0
        3 0..9 add k 4 -> unknown
    ",
        &["replay", "search", "counters"],
    );
}

#[test]
fn equal_unknown_writes_are_not_told_apart() {
    let mut text = String::new();
    for client in 0..60 {
        writeln!(text, "{client} 0..1 add k 1 -> unknown").expect("memory");
    }
    right(&format!("{text} 99 2..3 get k -> ok 30 @70"));
    wrong(&format!("{text} 99 2..3 get k -> ok 61 @70"), &["replay", "search", "counters"]);
}

/// Many writes of unknown outcome, all different, that no answer needs: their orders are not tried.
#[test]
fn unknown_writes_that_nobody_needs_are_left_alone() {
    let mut text = String::from("0 0..1 put k a -> ok @1\n");
    for client in 1..12 {
        writeln!(text, "{client} 0..1 append k <{client}> -> unknown").expect("memory");
        writeln!(text, "{client} 0..1 put k <{client}> -> unknown").expect("memory");
        writeln!(text, "{client} 0..1 add k 1{client} -> unknown").expect("memory");
        writeln!(text, "{client} 0..1 delete k -> unknown").expect("memory");
    }
    let search = |answer: &str| {
        let records = history(&format!("{text} 99 2..3 get k -> {answer} @70"));
        let finding = check_search(&Keys::of(&records), 200_000);
        assert!(finding.unfinished.is_empty(), "{finding}");
        finding.is_clean()
    };
    for possible in ["not_found", "ok a", "ok <7>", "ok a<3><11><2>", "ok <5><6>", "ok 23<4>"] {
        assert!(search(possible), "{possible}");
    }
    for impossible in ["ok b", "ok a<1><1>", "ok <12>", "ok a<3>b", "ok a<3>12", "ok 9<3>"] {
        assert!(!search(impossible), "{impossible}");
    }
}

#[test]
fn a_contradiction_names_its_records() {
    let findings = check(&history(
        "
        1 0..1 put k a -> ok @1.0
        2 2..3 get k -> not_found @1
    ",
    ));
    let expected = "replay           1 answers, 1 contradictions
  the last command finds \"a\" behind the one before it and should have said ok:
    client 1 [0..1] put \"a\" to \"k\" -> ok at g1:1.0
    client 2 [2..3] get \"k\" -> not_found at g1:1.0";
    assert_eq!(findings[1].to_string(), expected);
    let expected = "search           0 answers, 1 contradictions
  there is no order: at best 1 of 2 answers fit, then the key holds \"a\" and none of the commands after \
  the first below can come next:
    client 1 [0..1] put \"a\" to \"k\" -> ok at g1:1.0
    client 2 [2..3] get \"k\" -> not_found at g1:1.0";
    assert_eq!(findings[2].to_string(), expected);
}

#[test]
fn a_search_that_gives_up_has_failed() {
    let records = history(
        "
        1 0..9 put k a -> ok @1.0
        2 0..9 put k b -> ok @2.0
    ",
    );
    let keys = Keys::of(&records);
    let finding = check_search(&keys, 1);
    assert!(!finding.is_clean() && finding.contradictions.is_empty());
    assert_eq!(finding.unfinished, [b"k".to_vec()]);
}

#[test]
fn a_key_may_change_its_group_and_has_one_history_still() {
    let found = |last: &str| {
        let text = format!(
            "
            1 0..1 put k a -> ok @7.0
            1 2..3 put k b -> ok @g2:3.0
            2 4..5 get k -> ok b @g2:3
            2 6..7 swap k b c -> ok @g2:4.0
            1 8..9 get k -> ok {last} @9
        "
        );
        let findings = check(&history(&text));
        let undecided: u64 = findings.iter().map(|finding| finding.unchecked).sum();
        (objections(&text), undecided)
    };
    assert_eq!(found("c"), (vec![], 5), "the replay says nothing of it");
    assert_eq!(found("a"), (vec!["search"], 5), "what was there before it left is old");
    // Each group has its order for itself.
    wrong(
        "
        1 0..1 put k a -> ok @g2:7.0
        1 2..3 put k b -> ok @3.0
        1 4..5 put k c -> ok @g2:6.0
    ",
        &["order"],
    );
}
