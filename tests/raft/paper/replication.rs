//! Section 5.3.

use sunstar::raft::{MessageBody, RoleKind};

use crate::group::{Group, acknowledged, append};

/// 5.3: "The leader appends the command to its log as a new entry, then issues `AppendEntries` RPCs
/// in parallel to each of the other servers to replicate the entry."
#[test]
fn a_command_is_appended_and_sent_to_all() {
    let mut group = Group::of(3);
    group.lead(1);
    assert!(group.propose(1, "x"));
    assert_eq!(group.log(1), [1, 1]);
    let to: Vec<_> = group.take_in_flight().iter().map(|message| message.to.0).collect();
    assert_eq!(to, [2, 3]);
}

/// 5.3: "When the entry has been safely replicated, the leader applies the entry to its state
/// machine and returns the result of that execution to the client."
#[test]
fn the_leader_applies_what_a_majority_has() {
    let mut group = Group::of(3);
    group.lead(1);
    group.propose(1, "x");
    assert_eq!(group.applied(1), 1);
    group.settle_but(|message| message.to.0 == 3);
    assert_eq!(group.applied(1), 2);
}

/// 5.3: "If followers crash or run slowly, or if network packets are lost, the leader retries
/// `AppendEntries` RPCs indefinitely (even after it has responded to the client) until all followers
/// eventually store all log entries."
#[test]
fn the_leader_retries_until_all_have_everything() {
    let mut group = Group::of(3);
    group.lead(1);
    group.isolate(3);
    (0..3).for_each(|_| _ = group.propose(1, "x"));
    group.run(30_000);
    assert_eq!((group.commit(1), group.log(3).len()), (4, 1));
    group.heal();
    group.run(5_000);
    assert_eq!((group.log(3), group.applied(3)), (group.log(1), group.applied(1)));
}

/// 5.3: "A log entry is committed once the leader that created the entry has replicated it on a
/// majority of the servers. This also commits all preceding entries in the leader's log, including
/// entries created by previous leaders."
#[test]
fn an_entry_commits_with_all_before_it() {
    let mut group = Group::of(3);
    group.lead(1);
    group.propose(1, "left behind");
    group.take_in_flight();
    group.crash(1);
    group.restart(1);
    group.lead(1);
    assert_eq!((group.log(1), group.commit(1)), (vec![1, 1, 2], 3));
}

/// 5.3: "The leader keeps track of the highest index it knows to be committed, and it includes that
/// index in future `AppendEntries` RPCs (including heartbeats) so that the other servers eventually
/// find out. Once a follower learns that a log entry is committed, it applies the entry to its
/// local state machine (in log order)."
#[test]
fn followers_learn_what_is_committed_and_apply_it() {
    let mut group = Group::of(3);
    group.lead(1);
    group.propose(1, "x");
    group.settle();
    group.run(500);
    assert_eq!([1, 2, 3].map(|id| group.applied(id)), [2, 2, 2]);
}

/// 5.3: "If two entries in different logs have the same index and term, then they store the same
/// command [and] the logs are identical in all preceding entries." Every test checks that (`laws`);
/// this one, that it takes a proof: "If the follower does not find an entry in its log with the
/// same index and term, then it refuses the new entries."
#[test]
fn entries_without_their_predecessor_are_refused() {
    let mut group = Group::of(3);
    group.send(2, 1, 1, append((0, 0), &[1, 1], 0));
    for after in [(1, 3), (2, 2)] {
        let answers = group.send(2, 1, 3, append(after, &[3], 0));
        assert!(matches!(answers[0].body, MessageBody::AppendReject { .. }), "{after:?}");
        assert_eq!(group.log(1), [1, 1]);
    }
}

/// 5.3: "In Raft, the leader handles inconsistencies by forcing the followers' logs to duplicate its
/// own. This means that conflicting entries in follower logs will be overwritten with entries from
/// the leader's log." The logs are those of figure 7.
#[test]
fn the_logs_of_figure_7_come_to_agree() {
    let leader = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [&[u64]; 6] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    for log in followers {
        let mut group = Group::of(3);
        // Node 2 has the follower's log, and could not win against nodes 1 and 3.
        for (id, terms) in [(1, &leader[..]), (2, log), (3, &leader[..9])] {
            group.send(if id == 1 { 3 } else { 1 }, id, terms[0], append((0, 0), &[], 0));
            let last = *terms.last().expect("not empty");
            group.send(if id == 1 { 3 } else { 1 }, id, last, append((0, 0), terms, 0));
        }
        // All seven terms are over.
        group.send(2, 1, 7, MessageBody::VoteResponse { granted: false });
        group.lead(1);
        group.run(500);
        let expected = [&leader[..], &[group.term(1)]].concat();
        assert_eq!((group.log(2), group.log(1)), (expected.clone(), expected), "from {log:?}");
    }
}

/// 5.3: "When sending an `AppendEntries` RPC, the leader initializes all `nextIndex` values to the index
/// just after the last one in its log."
#[test]
fn a_new_leader_begins_after_its_last_entry() {
    let mut group = Group::of(3);
    group.send(3, 1, 1, append((0, 0), &[1, 1, 1], 0));
    group.campaign(1);
    while group.raft(1).role() != RoleKind::Leader {
        group.world.deliver(0);
    }
    let appends = group.take_in_flight();
    let first = appends.iter().find_map(|message| match message.body {
        MessageBody::Append { previous_index, .. } => Some(previous_index.0),
        _ => None,
    });
    assert_eq!(first, Some(3));
}

/// 5.3: "If a follower's log is inconsistent with the leader's, the `AppendEntries` consistency check
/// will fail in the next `AppendEntries` RPC. After a rejection, the leader decrements `nextIndex` and
/// retries. […] Eventually `nextIndex` will reach a point where the leader and follower logs match."
/// And: "with this approach, one `AppendEntries` RPC will be required for each term with conflicting
/// entries, rather than one RPC per entry."
#[test]
fn a_rejection_goes_back_a_whole_term() {
    let mut group = Group::of(3);
    let entries = [&[1, 1][..], &[2; 20]].concat();
    for (id, log) in [(1, &[1, 1, 1][..]), (2, &entries), (3, &[1, 1, 1])] {
        group.send(
            if id == 1 { 3 } else { 1 },
            id,
            *log.last().expect("not empty"),
            append((0, 0), log, 0),
        );
    }
    group.send(2, 1, 2, MessageBody::VoteResponse { granted: false });
    group.campaign(1);
    let mut refusals = 0;
    while !group.world.in_flight.is_empty() {
        let refusal = matches!(group.world.in_flight[0].body, MessageBody::AppendReject { .. });
        refusals += usize::from(refusal);
        group.world.deliver(0);
    }
    assert_eq!((group.log(2), refusals), (group.log(1), 1));
}

/// 5.3: "A leader never overwrites or deletes entries in its own log (the Leader Append-Only
/// Property)."
#[test]
fn a_leader_only_appends() {
    let mut group = Group::of(3);
    group.lead(1);
    group.propose(1, "x");
    let before = group.log(1);
    group.send(2, 1, 1, append((0, 0), &[1], 9));
    group.send(2, 1, 1, append((1, 1), &[], 9));
    assert_eq!(group.log(1), before);
}

/// 5.3, figure 2: "If an existing entry conflicts with a new one (same index but different terms),
/// delete the existing entry and all that follow it. Append any new entries not already in the log."
#[test]
fn only_a_conflict_removes_entries() {
    let mut group = Group::of(3);
    group.send(2, 1, 1, append((0, 0), &[1, 1, 1], 0));
    assert_eq!(acknowledged(&group.send(2, 1, 1, append((0, 0), &[1], 0))), Some(1));
    assert_eq!(group.log(1), [1, 1, 1], "a delayed append");
    assert_eq!(acknowledged(&group.send(3, 1, 2, append((1, 1), &[2], 0))), Some(2));
    assert_eq!(group.log(1), [1, 2]);
}

/// Figure 2: "If `leaderCommit` > `commitIndex`, set `commitIndex` = min(`leaderCommit`, index of last new
/// entry)."
#[test]
fn a_follower_commits_no_further_than_the_last_new_entry() {
    let mut group = Group::of(3);
    group.send(2, 1, 1, append((0, 0), &[1, 1, 1], 0));
    group.send(2, 3, 1, append((0, 0), &[1, 1, 1], 0));
    group.send(3, 1, 2, append((1, 1), &[], 3));
    assert_eq!(group.raft(1).commit_index().0, 1);
}
