//! What fuzzing found to do harm, once each, said plainly: an input's bytes mean something else as soon as
//! a body changes.

use sunstar::base::{Bytes, GroupId, Index, Micros, NodeId, Term, Time, WallTime};
use sunstar::raft::{
    Configuration, Entry, EntryKind, Input, Message, MessageBody, Output, Raft, RaftConfig, Stored,
};

/// Replica 1 of three, at its first start.
fn replica() -> Raft {
    let mut stored = Stored::default();
    stored.snapshot.configuration = Configuration::new((1..=3).map(NodeId));
    Raft::new(Time(0), RaftConfig::new(GroupId(1), NodeId(1)), stored)
}

fn receive(raft: &mut Raft, term: u64, body: MessageBody) -> Output {
    let (from, to) = (NodeId(2), NodeId(1));
    let mut output = Output::default();
    let message = Message { from, to, term: Term(term), body };
    raft.step(Time(1), Input::Message(message), &mut output);
    raft.check_invariants();
    output
}

fn append(previous: u64, stamp: u64) -> MessageBody {
    let entry = Entry {
        term: Term(1),
        index: Index(previous + 1),
        timestamp: WallTime(stamp),
        kind: EntryKind::Command,
        payload: Bytes::copy_of(b"x"),
    };
    let previous_term = Term(previous.min(1));
    let (previous_index, commit_index) = (Index(previous), Index(0));
    MessageBody::Append { previous_index, previous_term, commit_index, entries: vec![entry] }
}

/// Stamps were compared within a message, not with the log that it was appended to.
#[test]
fn an_entry_stamped_before_the_one_it_follows_is_not_taken() {
    let mut raft = replica();
    receive(&mut raft, 1, append(0, 50));
    assert_eq!(raft.last_index(), Index(1));
    let output = receive(&mut raft, 1, append(1, 49));
    assert_eq!(raft.last_index(), Index(1));
    assert!(output.is_empty(), "nothing is acknowledged: {output:?}");
    receive(&mut raft, 1, append(1, 50));
    assert_eq!(raft.last_index(), Index(2));
}

/// The highest term but one was adopted; two elections later there was none left.
#[test]
fn a_term_that_leaves_no_room_for_elections_is_not_adopted() {
    let mut raft = replica();
    let heartbeat = || MessageBody::Heartbeat { commit_index: Index(0), round: 0 };
    receive(&mut raft, u64::MAX - 1, heartbeat());
    assert_eq!(raft.term(), Term(0));
    receive(&mut raft, u64::MAX >> 1, heartbeat());
    assert_eq!(raft.term(), Term(u64::MAX >> 1));
    let mut now = Time(1);
    for _ in 0..10 {
        now = now + Micros::from_secs(10);
        raft.step(now, Input::Campaign, &mut Output::default());
        raft.check_invariants();
    }
}
