use super::*;
use crate::base::NodeId;

const REFUSAL: Refusal = Refusal::NotLeader { leader: Some(NodeId(2)) };

/// Waiters for the entries `term/index`, each with the index as its context.
fn waiters(wait_for: WaitFor, places: &[(u64, u64)]) -> Waiters {
    let mut waiters = Waiters::default();
    for &(term, index) in places {
        let waiter = Waiter { context: index, wait_for };
        waiters.push(Placed { term: Term(term), index: Index(index), waiter }, Time(9));
    }
    waiters
}

/// Settles by a log whose entry at index `i` is of term `terms[i]`, 0 being forgotten.
fn settle(waiters: &mut Waiters, terms: &[u64]) -> Vec<(u64, Outcome)> {
    let mut output = Output::default();
    let term_at = |index: Index| {
        let term = terms[usize::try_from(index.0).expect("small")];
        (term > 0).then_some(Term(term))
    };
    let (last, index) = (terms[terms.len() - 1], terms.len() as u64 - 1);
    waiters.settle((Term(last), Index(index)), term_at, REFUSAL, &mut output);
    output.outcomes
}

fn done(term: u64, index: u64) -> (u64, Outcome) {
    (index, Outcome::Done { term: Term(term), index: Index(index) })
}

#[test]
fn what_is_committed_is_done_and_what_is_in_its_place_rejects() {
    let mut waiters = waiters(WaitFor::Committed, &[(1, 2), (1, 3), (1, 4), (2, 5)]);
    let rejected = |index| (index, Outcome::Rejected(REFUSAL));
    assert_eq!(settle(&mut waiters, &[0, 1, 1, 1]), [done(1, 2), done(1, 3)]);
    assert_eq!(settle(&mut waiters, &[0, 1, 1, 1, 2]), [rejected(4)]);
    assert_eq!(settle(&mut waiters, &[0, 1, 1, 1, 2, 2]), [done(2, 5)]);
    assert_eq!(waiters.count(), 0);
}

#[test]
fn a_later_term_before_an_entry_rules_it_out() {
    let mut waiters = waiters(WaitFor::Committed, &[(1, 7), (3, 8), (1, 9)]);
    let outcomes = settle(&mut waiters, &[0, 1, 2]);
    assert_eq!(outcomes, [(7, Outcome::Rejected(REFUSAL)), (9, Outcome::Rejected(REFUSAL))]);
    assert_eq!(settle(&mut waiters, &[0, 1, 2, 3]), []);
    assert_eq!(waiters.count(), 1, "an entry of the third term may come");
}

#[test]
fn one_that_comes_late_is_settled_all_the_same() {
    let mut waiters = waiters(WaitFor::Committed, &[(4, 9)]);
    assert_eq!(settle(&mut waiters, &[0, 4]), []);
    let waiter = Waiter { context: 7, wait_for: WaitFor::Committed };
    waiters.push(Placed { term: Term(3), index: Index(7), waiter }, Time(9));
    assert_eq!(settle(&mut waiters, &[0, 4]), [(7, Outcome::Rejected(REFUSAL))]);
}

#[test]
fn of_forgotten_entries_nothing_can_be_told() {
    let mut waiters = waiters(WaitFor::Committed, &[(1, 1), (1, 2)]);
    assert_eq!(settle(&mut waiters, &[0, 0, 1]), [(1, Outcome::Unknown), done(1, 2)]);
}

#[test]
fn applying_completes_by_itself_and_is_certain_once_committed() {
    let mut waiters = waiters(WaitFor::Applied, &[(1, 1), (1, 2), (1, 3)]);
    assert_eq!(settle(&mut waiters, &[0, 1, 1]), []);
    let mut output = Output::default();
    waiters.abandon(&mut output);
    waiters.applied(Index(1), &mut output);
    waiters.applied(Index(1), &mut output);
    assert_eq!(output.outcomes, [(3, Outcome::Unknown), done(1, 1)]);
    waiters.applied(Index(3), &mut output);
    assert_eq!(output.outcomes.last(), Some(&done(1, 2)));
}

#[test]
fn patience_counts_from_the_first_and_is_put_off_by_leaders() {
    let mut waiters = waiters(WaitFor::Committed, &[]);
    assert_eq!(waiters.deadline(), Time(u64::MAX));
    let waiter = Waiter { context: 1, wait_for: WaitFor::Committed };
    waiters.push(Placed { term: Term(1), index: Index(1), waiter }, Time(9));
    waiters.push(Placed { term: Term(1), index: Index(2), waiter }, Time(11));
    assert_eq!(waiters.deadline(), Time(9));
    waiters.postpone(Time(30));
    waiters.postpone(Time(20));
    assert_eq!(waiters.deadline(), Time(30));
}
