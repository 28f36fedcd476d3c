//! Sections 5.4 and 5.5. Leader completeness and state machine safety, 5.4.3, are laws (`laws`).

use sunstar::base::{Index, NodeId};
use sunstar::raft::{Message, MessageBody, RaftConfig};

use crate::group::{Group, acknowledged, append, granted, vote};

/// 5.4.1: "the voter denies its vote if its own log is more up-to-date than that of the candidate",
/// and "If the logs have last entries with different terms, then the log with the later term is
/// more up-to-date. If the logs end with the same term, then whichever log is longer is more
/// up-to-date."
#[test]
fn a_vote_takes_a_log_that_is_up_to_date() {
    let cases = [((2, 3), true), ((2, 4), true), ((3, 1), true), ((2, 2), false), ((1, 9), false)];
    for (last, expected) in cases {
        let mut group = Group::of(3);
        group.send(3, 1, 2, append((0, 0), &[1, 1, 2], 0));
        assert_eq!(granted(&group.send(2, 1, 4, vote(last))), Some(expected), "{last:?}");
    }
}

/// 5.4.2: "Raft never commits log entries from previous terms by counting replicas. Only log entries
/// from the leader's current term are committed by counting replicas; once an entry from the current
/// term has been committed in this way, then all prior entries are committed indirectly".
#[test]
fn entries_of_earlier_terms_commit_indirectly() {
    let mut group = Group::with(3, 0, |config| {
        *config = RaftConfig { pre_vote: false, message_entries_max: 1, ..config.clone() };
    });
    group.send(3, 1, 1, append((0, 0), &[1, 1], 0));
    group.campaign(1);
    // Nobody acknowledges the entry of the term.
    group.settle_but(|message: &Message| match message.body {
        MessageBody::AppendResponse { match_index, .. } => match_index.0 > 2,
        _ => false,
    });
    let matched = [2, 3].map(|id| group.raft(1).match_index(NodeId(id)));
    assert_eq!((matched, group.commit(1)), ([Some(Index(2)); 2], 0), "on all, and not committed");
    group.run(1_000);
    assert_eq!((group.log(2).len(), group.commit(1)), (3, 3));
}

/// 5.5: "If a follower or candidate crashes, then future `RequestVote` and `AppendEntries` RPCs sent to
/// it will fail. […] if the crashed server restarts, then the RPC will complete successfully."
#[test]
fn a_restarted_follower_catches_up() {
    let mut group = Group::of(3);
    group.lead(1);
    group.crash(3);
    group.propose(1, "x");
    group.run(3_000);
    group.restart(3);
    group.run(3_000);
    assert_eq!((group.log(3), group.applied(3)), (group.log(1), group.applied(1)));
}

/// 5.5: "Raft RPCs are idempotent […]. For example, if a follower receives an `AppendEntries` request
/// that includes log entries already present in its log, it ignores those entries in the new
/// request."
#[test]
fn a_repeated_append_changes_nothing() {
    let mut group = Group::of(3);
    for _ in 0..3 {
        let answers = group.send(2, 1, 1, append((0, 0), &[1, 1], 0));
        assert_eq!(acknowledged(&answers), Some(2));
        assert_eq!(group.log(1), [1, 1]);
    }
}

/// Figure 2: "Persistent state on all servers: (Updated on stable storage before responding to
/// RPCs) `currentTerm`, `votedFor`, log[]".
#[test]
fn term_vote_and_log_survive_a_crash() {
    let mut group = Group::of(3);
    group.send(2, 1, 3, append((0, 0), &[3], 0));
    assert_eq!(granted(&group.send(2, 1, 4, vote((3, 1)))), Some(true));
    group.crash(1);
    group.restart(1);
    assert_eq!((group.term(1), group.log(1)), (4, vec![3]));
    assert_eq!(granted(&group.send(3, 1, 4, vote((3, 1)))), Some(false), "has voted");
    assert_eq!(granted(&group.send(2, 1, 4, vote((3, 1)))), Some(true), "for this one");
}

/// The same: nothing is answered while the disk still writes.
#[test]
fn answers_wait_for_stable_storage() {
    let mut group = Group::of(3);
    group.world.nodes[0].disk_held = true;
    assert!(group.send(2, 1, 3, vote((0, 0))).is_empty());
    assert!(group.send(3, 1, 4, append((0, 0), &[4], 0)).is_empty());
    while group.world.complete_write(0) {}
    assert_eq!(group.take_in_flight().len(), 2);
}
