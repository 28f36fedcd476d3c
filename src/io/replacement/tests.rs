use super::*;

const N2: NodeId = NodeId(2);
const OLD: Incarnation = Incarnation(0xA);
const NEW: Incarnation = Incarnation(0xB);

fn identity(incarnation: Incarnation, generation: u64, refused: &[Incarnation]) -> MemberIdentity {
    let (up, refused) = (false, refused.to_vec());
    MemberIdentity { node: N2, up, incarnation: Some(incarnation), generation, refused }
}

fn reason(refused: Result<Incarnation, GroupRefusal>) -> GroupReason {
    refused.expect_err("refused").reason
}

#[test]
fn the_one_that_is_refused_is_meant_and_of_several_the_one_named() {
    let third = Incarnation(0xC);
    assert_eq!(chosen(&identity(OLD, 0, &[NEW]), None), Ok(NEW));
    assert_eq!(reason(chosen(&identity(OLD, 0, &[NEW, third]), None)), GroupReason::Invalid);
    assert_eq!(chosen(&identity(OLD, 0, &[NEW, third]), Some(third)), Ok(third));
    assert_eq!(reason(chosen(&identity(OLD, 0, &[NEW]), Some(third))), GroupReason::Invalid);
    assert_eq!(reason(chosen(&identity(OLD, 0, &[]), None)), GroupReason::NoChange);
    assert_eq!(chosen(&identity(NEW, 1, &[]), None), Ok(NEW), "an interrupted one goes on");
    assert_eq!(chosen(&identity(NEW, 1, &[]), Some(NEW)), Ok(NEW));
    assert_eq!(chosen(&identity(NEW, 1, &[third]), None), Ok(third), "lost once more");
    let alive = MemberIdentity { up: true, ..identity(OLD, 0, &[NEW]) };
    assert_eq!(reason(chosen(&alive, None)), GroupReason::NodeUp);
}

#[test]
fn the_old_one_is_out_when_that_is_committed() {
    let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let before =
        GroupMembers { committed: true, voters: nodes(&[1, 2, 3]), ..GroupMembers::default() };
    let joint = GroupMembers {
        voters: nodes(&[1, 3]),
        outgoing: nodes(&[1, 2, 3]),
        learners: nodes(&[2]),
        voters_next: nodes(&[1, 2, 3]),
        incarnations: [(N2, NEW)].into(),
        ..before.clone()
    };
    let staged = GroupMembers { outgoing: Vec::new(), ..joint.clone() };
    let promoted = GroupMembers {
        outgoing: nodes(&[1, 3]),
        voters: nodes(&[1, 2, 3]),
        learners: Vec::new(),
        voters_next: Vec::new(),
        ..joint.clone()
    };
    let done = GroupMembers { outgoing: Vec::new(), ..promoted.clone() };
    let uncommitted = |members: &GroupMembers| GroupMembers { committed: false, ..members.clone() };
    for (members, step) in [
        (&before, ReplacementStep::Begun),
        (&joint, ReplacementStep::Begun),
        (&uncommitted(&staged), ReplacementStep::Begun),
        (&staged, ReplacementStep::OldOut),
        (&uncommitted(&promoted), ReplacementStep::OldOut),
        (&promoted, ReplacementStep::OldOut),
        (&uncommitted(&done), ReplacementStep::OldOut),
        (&done, ReplacementStep::Done),
    ] {
        assert_eq!(step_of(members, (N2, NEW)), step, "{members:?}");
        assert_eq!(step_of(members, (N2, OLD)), ReplacementStep::Begun, "{members:?}");
    }
}

#[test]
fn one_that_was_let_in_and_is_down_may_be_lost_once_more() {
    let group = GroupReplacement { group: GroupId(1), step: ReplacementStep::Done, trouble: None };
    let groups = vec![group];
    let done = Replacement { node: N2, incarnation: NEW, accepted: true, up: true, groups };
    assert!(done.is_done());
    assert!(!Replacement { up: false, ..done.clone() }.is_done());
    assert!(!Replacement { accepted: false, ..done }.is_done());
}
