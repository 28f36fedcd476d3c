//! Sections 5.1 and 5.2.

use sunstar::base::NodeId;
use sunstar::raft::{MessageBody, RoleKind};

use crate::group::{Group, append, granted, is_vote_request, vote};

/// 5.1: "In normal operation there is exactly one leader and all of the other servers are
/// followers."
#[test]
fn one_leads_and_the_others_follow() {
    let mut group = Group::of(5);
    group.run(5_000);
    let roles: Vec<_> = (1..=5).map(|id| group.role(id)).collect();
    assert_eq!(roles.iter().filter(|&&role| role == RoleKind::Leader).count(), 1);
    assert_eq!(roles.iter().filter(|&&role| role == RoleKind::Follower).count(), 4);
}

/// 5.1: "Followers are passive: they issue no requests on their own but simply respond to requests
/// from leaders and candidates."
#[test]
fn followers_issue_no_requests() {
    let mut group = Group::of(3);
    group.lead(1);
    group.world.step(1, sunstar::raft::Input::Tick);
    assert!(group.take_in_flight().is_empty());
}

/// 5.1: "Current terms are exchanged whenever servers communicate; if one server's current term is
/// smaller than the other's, then it updates its current term to the larger value."
#[test]
fn a_larger_term_is_adopted() {
    let mut group = Group::of(3);
    group.send(2, 1, 7, vote((0, 0)));
    assert_eq!(group.term(1), 7);
    group.send(3, 1, 9, append((0, 0), &[], 0));
    assert_eq!(group.term(1), 9);
}

/// 5.1: "If a candidate or leader discovers that its term is out of date, it immediately reverts to
/// follower state."
#[test]
fn a_later_term_ends_candidacy_and_leadership() {
    for wins in [false, true] {
        let mut group = Group::of(3);
        group.campaign(1);
        if wins {
            group.settle();
        }
        group.send(2, 1, 5, MessageBody::VoteResponse { granted: false });
        assert_eq!((group.role(1), group.term(1)), (RoleKind::Follower, 5));
    }
}

/// 5.1: "If a server receives a request with a stale term number, it rejects the request."
#[test]
fn a_stale_request_is_rejected() {
    let mut group = Group::of(3);
    group.send(3, 1, 4, append((0, 0), &[4], 0));
    assert_eq!(granted(&group.send(2, 1, 3, vote((9, 9)))), Some(false));
    let answers = group.send(2, 1, 3, append((4, 1), &[3], 2));
    assert_eq!(answers[0].term.0, 4, "the answer tells of the later term");
    assert_eq!((group.log(1), group.commit(1)), (vec![4], 0));
}

/// 5.2: "When servers start up, they begin as followers."
#[test]
fn servers_begin_as_followers() {
    let mut group = Group::of(3);
    group.lead(1);
    group.crash(1);
    group.restart(1);
    assert_eq!([1, 2, 3].map(|id| group.role(id)), [RoleKind::Follower; 3]);
}

/// 5.2: "A server remains in follower state as long as it receives valid RPCs from a leader or
/// candidate."
#[test]
fn whoever_hears_its_leader_remains_a_follower() {
    let mut group = Group::of(3);
    group.lead(1);
    group.run(60_000);
    assert_eq!((group.role(1), group.term(2), group.term(3)), (RoleKind::Leader, 1, 1));
}

/// 5.2: "Leaders send periodic heartbeats (`AppendEntries` RPCs that carry no log entries) to all
/// followers in order to maintain their authority." Here they are messages of their own kind.
#[test]
fn leaders_send_heartbeats_to_all() {
    let mut group = Group::of(3);
    group.lead(1);
    group.world.now = group.world.now + group.world.nodes[0].config.heartbeat_interval;
    group.world.tick(0);
    let heartbeats = group.take_in_flight();
    let to: Vec<_> = heartbeats.iter().map(|message| message.to.0).collect();
    assert_eq!(to, [2, 3]);
    assert!(heartbeats.iter().all(|m| matches!(m.body, MessageBody::Heartbeat { .. })));
}

/// 5.2: "If a follower receives no communication over a period of time called the election timeout,
/// then it assumes there is no viable leader and begins an election to choose a new leader."
#[test]
fn silence_begins_an_election() {
    let mut group = Group::of(3);
    group.lead(1);
    group.crash(1);
    group.run(5_000);
    assert!(group.term(2) > 1 && [2, 3].iter().any(|&id| group.role(id) == RoleKind::Leader));
}

/// 5.2: "To begin an election, a follower increments its current term and transitions to candidate
/// state. It then votes for itself and issues `RequestVote` RPCs in parallel to each of the other
/// servers in the cluster."
#[test]
fn an_election_begins_with_a_new_term_and_ones_own_vote() {
    let mut group = Group::of(3);
    group.campaign(1);
    assert_eq!((group.role(1), group.term(1)), (RoleKind::Candidate, 1));
    assert_eq!(group.raft(1).hard_state().vote, Some(NodeId(1)));
    let requests = group.take_in_flight();
    assert!(requests.iter().all(is_vote_request));
    assert_eq!(requests.iter().map(|request| request.to.0).collect::<Vec<_>>(), [2, 3]);
}

/// 5.2: "A candidate wins an election if it receives votes from a majority of the servers in the
/// full cluster for the same term."
#[test]
fn a_majority_of_the_full_cluster_elects() {
    for (voters, needed) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
        for votes in 0..voters {
            let mut group = Group::of(voters);
            group.campaign(1);
            group.settle_but(|message| is_vote_request(message) && message.to.0 > votes + 1);
            let expected = if votes < needed { RoleKind::Candidate } else { RoleKind::Leader };
            assert_eq!(group.role(1), expected, "{votes} more votes of {voters}");
        }
    }
}

/// 5.2: "Each server will vote for at most one candidate in a given term, on a
/// first-come-first-served basis."
#[test]
fn one_vote_in_a_term_for_who_comes_first() {
    let mut group = Group::of(3);
    assert_eq!(granted(&group.send(2, 1, 1, vote((0, 0)))), Some(true));
    assert_eq!(granted(&group.send(3, 1, 1, vote((0, 0)))), Some(false));
    assert_eq!(granted(&group.send(2, 1, 1, vote((0, 0)))), Some(true), "a repeat");
    assert_eq!(granted(&group.send(3, 1, 2, vote((0, 0)))), Some(true), "another term");
}

/// 5.2: "Once a candidate wins an election, it becomes leader. It then sends heartbeat messages to
/// all of the other servers to establish its authority and prevent new elections." The first
/// message here carries the leader's first entry.
#[test]
fn a_new_leader_makes_itself_heard_at_once() {
    let mut group = Group::of(3);
    group.campaign(1);
    group.settle_but(|message| matches!(message.body, MessageBody::Append { .. }));
    group.lead(2);
    assert_eq!(
        (group.raft(1).leader(), group.raft(3).leader()),
        (Some(NodeId(2)), Some(NodeId(2)))
    );
}

/// 5.2: "If the leader's term (included in its RPC) is at least as large as the candidate's current
/// term, then the candidate recognizes the leader as legitimate and returns to follower state."
#[test]
fn a_candidate_recognizes_a_leader_of_its_term() {
    let mut group = Group::of(3);
    group.campaign(1);
    group.send(2, 1, 1, append((0, 0), &[1], 0));
    assert_eq!((group.role(1), group.raft(1).leader()), (RoleKind::Follower, Some(NodeId(2))));
}

/// 5.2: "If the term in the RPC is smaller than the candidate's current term, then the candidate
/// rejects the RPC and continues in candidate state."
#[test]
fn a_candidate_ignores_a_leader_of_an_earlier_term() {
    let mut group = Group::of(3);
    group.campaign(1);
    group.campaign(1);
    group.send(2, 1, 1, append((0, 0), &[1], 0));
    assert_eq!((group.role(1), group.log(1)), (RoleKind::Candidate, vec![]));
}

/// 5.2: "When this happens [a split vote], each candidate will time out and start a new election by
/// incrementing its term and initiating another round of `RequestVote` RPCs."
#[test]
fn a_split_vote_leads_to_another_election() {
    let mut group = Group::of(2);
    group.campaign(1);
    group.campaign(2);
    group.settle();
    assert_eq!([1, 2].map(|id| group.term(id)), [1, 1]);
    group.run(10_000);
    assert!(group.term(1) > 1 && (1..=2).any(|id| group.role(id) == RoleKind::Leader));
}

/// 5.2: "Raft uses randomized election timeouts to ensure that split votes are rare and that they
/// are resolved quickly. […] chosen randomly from a fixed interval".
#[test]
fn election_timeouts_differ_within_an_interval() {
    let group = Group::of(5);
    let mut deadlines: Vec<u64> = (1..=5).map(|id| group.raft(id).deadline().0).collect();
    let timeout = group.world.nodes[0].config.election_timeout.0;
    assert!(deadlines.iter().all(|deadline| (timeout..2 * timeout).contains(deadline)));
    deadlines.dedup();
    assert_eq!(deadlines.len(), 5, "{deadlines:?}");
}
