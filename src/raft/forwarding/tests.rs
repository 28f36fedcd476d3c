use std::collections::BTreeSet;

use super::*;

#[test]
fn a_window_agrees_with_a_set_of_all_numbers() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut window = Window { newest: 1_000, marks: 1 };
    let mut seen = BTreeSet::from([1_000_u64]);
    for _ in 0..20_000 {
        let newest = window.newest;
        let number = random.u64(newest - 200..newest + 3);
        let remembered = number + u64::from(WINDOW) > newest;
        assert_eq!(window.mark(number), remembered && !seen.contains(&number), "{number}");
        seen.insert(number);
    }
    assert!(window.newest > 1_200, "{}", window.newest);
}

#[test]
fn a_long_jump_forgets_all() {
    let mut window = Window { newest: 1, marks: 1 };
    assert!(window.mark(1 << 40) && window.mark((1 << 40) - 127));
    assert!(!window.mark((1 << 40) - 128), "too old to tell");
    assert!(!window.mark(1));
}

#[test]
fn lives_of_one_sender_are_told_apart() {
    let mut forwarding = Forwarding::new(0, Term(0));
    let later_life = 5 << LIFE_SHIFT;
    assert!(forwarding.is_new(NodeId(1), later_life | 3));
    assert!(forwarding.is_new(NodeId(1), 3), "numbers may begin lower in the next life");
    assert!(forwarding.is_new(NodeId(2), 3));
    let again = [(1, later_life | 3), (1, 3), (2, 3)];
    assert!(again.into_iter().all(|(node, request)| !forwarding.is_new(NodeId(node), request)));
}

#[test]
fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
    let mut forwarding = Forwarding::new(0, Term(0));
    for life in 0..LIVES_MAX as u64 {
        assert!(forwarding.is_new(NodeId(1), life << LIFE_SHIFT));
    }
    assert!(!forwarding.is_new(NodeId(1), 0), "and is now the most recent");
    assert!(forwarding.is_new(NodeId(2), 1));
    assert_eq!(forwarding.seen.len(), LIVES_MAX);
    assert!(!forwarding.is_new(NodeId(1), 0), "the second was forgotten instead");
}

#[test]
fn each_answer_fits_one_question_of_its_leader() {
    let mut forwarding = Forwarding::new(10, Term(0));
    let waiter = |context| Waiter { context, wait_for: WaitFor::Committed };
    let first = forwarding.begin(NodeId(2), waiter(1), Time(5));
    let second = forwarding.begin(NodeId(3), waiter(2), Time(6));
    assert_eq!(forwarding.deadline(), Time(5));
    assert_eq!(forwarding.take(NodeId(2), first).map(|w| w.context), Some(1));
    assert!(forwarding.take(NodeId(2), first).is_none(), "twice");
    let mut output = Output::default();
    forwarding.reset(NodeId(2), &mut output);
    forwarding.expire(Time(5), &mut output);
    assert!(output.outcomes.is_empty());
    forwarding.reset(NodeId(3), &mut output);
    assert_eq!(output.outcomes, [(2, Outcome::Unknown)]);
    assert!(forwarding.take(NodeId(3), second).is_none());
}
