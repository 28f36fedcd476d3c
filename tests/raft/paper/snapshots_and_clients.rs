//! Sections 7 and 8.

use sunstar::base::NodeId;
use sunstar::raft::{Configuration, MessageBody};

use crate::group::{Group, append};

/// 7: "each server takes snapshots independently, covering just the committed entries in its log."
#[test]
fn a_snapshot_covers_committed_entries_only() {
    let mut group = Group::of(3);
    group.lead(1);
    group.propose(1, "x");
    group.compact(1);
    assert_eq!(group.raft(1).first_index().0, 2, "entry 2 is not committed yet");
    group.settle();
    group.compact(2);
    assert_eq!((group.raft(1).first_index().0, group.raft(3).first_index().0), (2, 1));
}

/// 7: "the leader must occasionally send snapshots to followers that lag behind. This happens when
/// the leader has already discarded the next log entry that it needs to send to a follower."
#[test]
fn a_follower_whose_next_entry_is_discarded_gets_a_snapshot() {
    let mut group = Group::of(3);
    group.lead(1);
    group.isolate(3);
    (0..5).for_each(|_| _ = group.propose(1, "x"));
    group.run(500);
    group.compact(1);
    group.heal();
    group.run(500);
    assert_eq!(group.world.snapshots_wanted.len(), 1);
    group.settle_with_snapshots();
    group.run(500);
    assert_eq!(group.applied(3), 6);
    assert!(group.world.laws.tally.get("snapshots installed") == 1);
}

/// 7: "Raft also includes […] metadata in the snapshot: the last included index […] and the last
/// included term. These are preserved to support the `AppendEntries` consistency check for the first
/// log entry following the snapshot […]. To enable cluster membership changes, the snapshot also
/// includes the latest configuration in the log as of last included index."
#[test]
fn a_snapshot_holds_index_term_and_configuration() {
    let mut group = Group::with(2, 1, |config| config.check_quorum = false);
    group.lead(1);
    group.reconfigure(1, [1, 2, 3]);
    group.settle();
    group.compact(1);
    let snapshot = group.world.nodes[0].disk.snapshot.clone();
    assert_eq!((snapshot.index.0, snapshot.term.0), (3, 1));
    assert_eq!(snapshot.configuration, Configuration::new([1, 2, 3].map(NodeId)));
    group.crash(1);
    group.restart(1);
    let answers = group.send(2, 1, 1, append((1, 3), &[1], 3));
    assert!(matches!(answers[0].body, MessageBody::AppendResponse { .. }), "{answers:?}");
}

/// 7: "If instead the follower receives a snapshot that describes a prefix of its log […], then log
/// entries covered by the snapshot are deleted but entries following the snapshot are still valid
/// and must be retained."
#[test]
fn entries_after_a_snapshot_are_retained() {
    let mut group = Group::of(3);
    group.lead(1);
    (0..3).for_each(|_| _ = group.propose(1, "x"));
    group.settle_but(|message| matches!(message.body, MessageBody::AppendResponse { .. }));
    // Node 2 has all four entries and knows the first to be committed; the leader learns of one
    // copy, and takes a snapshot of what is committed by then.
    let (leader, follower) = (group.at(1), group.at(2));
    let ack =
        MessageBody::AppendResponse { match_index: sunstar::base::Index(3), provisional: false };
    group.send(3, 1, 1, ack);
    group.compact(1);
    assert_eq!((group.commit(1), group.commit(2)), (3, 1));
    group.world.transfer_snapshot(leader, follower);
    assert_eq!((group.commit(2), group.raft(2).last_index().0), (3, 4));
}

/// 8: "each leader [has to] commit a blank no-op entry into the log at the start of its term."
#[test]
fn a_leader_begins_with_an_empty_entry() {
    let mut group = Group::of(3);
    group.lead(1);
    group.lead(2);
    assert_eq!((group.log(3), group.commit(2)), (vec![1, 2], 2));
}

/// 8: "a leader must check whether it has been deposed before processing a read-only request […]. Raft
/// handles this by having the leader exchange heartbeat messages with a majority of the cluster
/// before responding to read-only requests."
#[test]
fn a_read_takes_an_exchange_with_a_majority() {
    let mut group = Group::of(3);
    group.lead(1);
    let at = group.at(1);
    assert!(group.world.read(at, 7).is_some_and(|result| result.is_ok()));
    assert!(group.world.nodes[at].reads.is_empty(), "nobody has answered");
    let heartbeats = group.world.in_flight.len();
    group.settle();
    assert_eq!((heartbeats, group.world.nodes[at].reads.len()), (2, 1));
}

/// The same for one that was deposed and does not know: its read is never confirmed.
#[test]
fn a_deposed_leader_confirms_no_read() {
    let mut group = Group::of(3);
    group.lead(1);
    group.isolate(1);
    group.lead(2);
    let at = group.at(1);
    assert!(group.world.read(at, 7).is_some_and(|result| result.is_ok()));
    group.run(5_000);
    assert!(group.world.nodes[at].reads.is_empty());
}
