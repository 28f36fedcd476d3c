use super::*;

const TERM: Term = Term(3);
const AT: Index = Index(40);
const OWN: NodeId = NodeId(1);
const OTHERS: [NodeId; 2] = [NodeId(2), NodeId(3)];

fn configuration() -> Configuration {
    Configuration::new([1, 2, 3].map(NodeId))
}

/// A leader that has asked after `AT`.
fn asked() -> Agreement {
    let mut agreement = Agreement::default();
    assert_eq!(agreement.ask(TERM, AT, &OTHERS), Some((AT, OTHERS.to_vec())));
    agreement
}

/// What comes of these hashes, the last of them.
fn heard(agreement: &mut Agreement, hashes: &[(u64, Option<u64>)]) -> Option<Judgement> {
    let all_up = |_| true;
    let mut last = None;
    for &(node, hash) in hashes {
        last = agreement.hear(NodeId(node), AT, hash, &configuration(), all_up);
    }
    last
}

#[test]
fn equal_states_are_no_news() {
    let mut agreement = asked();
    assert_eq!(heard(&mut agreement, &[(1, Some(7)), (2, Some(7)), (3, Some(7))]), None);
    assert_eq!((agreement.agreed(), agreement.difference()), (AT, None));
    assert_eq!(agreement.ask(TERM, AT, &OTHERS), None, "nothing new");
    let next = AT.next();
    assert_eq!(agreement.ask(TERM, next, &OTHERS), Some((next, OTHERS.to_vec())));
}

#[test]
fn a_majority_says_who_is_wrong() {
    for wrong in 1..=3 {
        let mut agreement = asked();
        let hash = |node| (node, Some(if node == wrong { 8 } else { 7 }));
        let mut told = Vec::new();
        for node in 1..=3 {
            told.extend(heard(&mut agreement, &[hash(node)]));
        }
        let members = vec![NodeId(wrong)];
        assert_eq!(told, [Judgement::Wrong { right: 7, members }]);
        assert!(agreement.distrusts(NodeId(wrong)));
        let difference = agreement.difference().expect("found");
        assert_eq!((difference.index, difference.hashes.len()), (AT, 3));
        assert_eq!(agreement.agreed(), Index::ZERO);
    }
}

#[test]
fn without_a_majority_nobody_is_chosen() {
    let mut agreement = asked();
    let told = heard(&mut agreement, &[(1, Some(7)), (2, Some(8))]);
    assert_eq!(told, None, "the third may decide it");
    assert_eq!(heard(&mut agreement, &[(3, Some(9))]), Some(Judgement::Undecided));

    let mut agreement = asked();
    let third_is_down = |node| node != NodeId(3);
    let hear = |agreement: &mut Agreement, node, hash| {
        agreement.hear(node, AT, Some(hash), &configuration(), third_is_down)
    };
    assert_eq!(hear(&mut agreement, OWN, 7), None);
    assert_eq!(hear(&mut agreement, NodeId(2), 8), Some(Judgement::Undecided));
    assert!(!agreement.distrusts(OWN) && !agreement.distrusts(NodeId(2)));
    let members = vec![NodeId(2)];
    assert_eq!(
        hear(&mut agreement, NodeId(3), 7),
        Some(Judgement::Wrong { right: 7, members }),
        "it came up"
    );
}

#[test]
fn a_learner_is_judged_and_does_not_judge() {
    let mut agreement = Agreement::default();
    let members = [NodeId(2), NodeId(4), NodeId(5)];
    agreement.ask(TERM, AT, &members);
    let configuration = Configuration {
        voters: vec![OWN, NodeId(2)],
        learners: vec![NodeId(4), NodeId(5)],
        ..Configuration::default()
    };
    let mut hear =
        |node, hash| agreement.hear(NodeId(node), AT, Some(hash), &configuration, |_| true);
    assert_eq!(hear(4, 8), None);
    assert_eq!(hear(5, 8), None);
    assert_eq!(hear(1, 7), None, "three of four have answered, and no voter disagrees");
    let members = vec![NodeId(4), NodeId(5)];
    assert_eq!(hear(2, 7), Some(Judgement::Wrong { right: 7, members }));
}

#[test]
fn who_is_quarantined_has_no_vote() {
    let mut agreement = asked();
    assert_eq!(heard(&mut agreement, &[(1, Some(7)), (3, None), (2, Some(7))]), None);
    assert_eq!(agreement.agreed(), AT);
    assert!(agreement.distrusts(NodeId(3)));
}

#[test]
fn a_question_is_repeated_and_given_up() {
    let mut agreement = asked();
    heard(&mut agreement, &[(1, Some(7)), (2, Some(7))]);
    for _ in 1..ROUNDS_MAX {
        let later = AT.next();
        assert_eq!(agreement.ask(TERM, later, &OTHERS), Some((AT, vec![NodeId(3)])));
    }
    let later = AT.next();
    assert_eq!(agreement.ask(TERM, later, &OTHERS), Some((later, OTHERS.to_vec())));
    let next_term = Term(4);
    assert_eq!(agreement.ask(next_term, later, &OTHERS), Some((later, OTHERS.to_vec())));
}

#[test]
fn answers_to_other_questions_do_not_count() {
    let mut agreement = asked();
    let early = agreement.hear(NodeId(2), Index(39), Some(8), &configuration(), |_| true);
    assert_eq!(early, None);
    assert_eq!(heard(&mut agreement, &[(1, Some(7)), (3, Some(7)), (2, Some(7))]), None);
    assert_eq!(agreement.agreed(), AT);
}

#[test]
fn a_hash_is_noted_after_its_entry_alone() {
    let mut agreement = Agreement::default();
    assert_eq!(agreement.want(AT, (Index(38), 5)), None);
    assert!(!agreement.is_wanted(Index(39)) && agreement.is_wanted(AT));
    agreement.note(AT, 6);
    assert_eq!((agreement.noted(AT), agreement.is_wanted(AT)), (Some(6), false));
    assert_eq!(agreement.want(AT, (Index(45), 9)), Some(6), "asked again");
    assert_eq!(agreement.want(Index(44), (Index(45), 9)), None, "too late to say");
    assert!(!agreement.is_wanted(Index(44)));
    assert_eq!(agreement.want(Index(45), (Index(45), 9)), Some(9));
    agreement.begin_anew();
    assert_eq!(agreement.noted(Index(45)), None);
}
