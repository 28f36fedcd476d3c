use super::*;
use crate::base::{ClusterId, CoreId, Incarnation, Index, Sequence, SlotSet, Term, WallTime};
use crate::kv::{Command, Machine, Operation, Place};
use crate::raft::Configuration;
use crate::wal;

const GROUP: GroupId = GroupId(1);
const FOLLOWER: (GroupId, NodeId) = (GROUP, NodeId(2));
const TERM: Term = Term(3);

/// A state of `keys` values that fill a piece each.
fn stream(keys: u64) -> SnapshotStream {
    let mut machine = Machine::new(GROUP, &SlotSet::full());
    machine.begin_entry(Index(5), Term(2), WallTime(77));
    let session = machine.open_session(0).expect("there is room");
    let value = vec![7; PIECE_BYTES];
    for key in 1..=keys {
        let operation = Operation::Put { key: &key.to_le_bytes(), value: &value };
        let command = Command { sequence: Sequence(key), operation };
        let mut batch = machine.begin_batch(session, Sequence(key)).expect("open");
        batch.apply(Place { index: Index(5), position: 0 }, Some(command));
    }
    let (cluster, node, core) = (ClusterId(1), NodeId(1), CoreId(0));
    let identity = wal::Identity { cluster, node, incarnation: Incarnation(1), core };
    SnapshotStream::new(identity, GROUP, &machine, &Configuration::new([node, NodeId(2)]))
}

fn begun(keys: u64) -> Sendings {
    let mut sendings = Sendings::default();
    sendings.begin(Time(0), FOLLOWER, (1, TERM), stream(keys));
    sendings
}

/// What leaves now: (offset, end, last) of each piece.
fn sent(sendings: &mut Sendings) -> Vec<(u64, u64, bool)> {
    let sending = sendings.sendings.get_mut(&FOLLOWER).expect("under way");
    let next = || sending.next_piece().map(|piece| (piece.offset, piece.end(), piece.last));
    std::iter::from_fn(next).collect()
}

fn answer(sendings: &mut Sendings, next_offset: u64, now: Time) -> Progress {
    sendings.acknowledged(now, FOLLOWER, ChunkAck { transfer: 1, next_offset, failed: false })
}

#[test]
fn pieces_follow_each_other_within_the_window_to_the_end() {
    let mut sendings = begun(12);
    let (mut next, mut ended) = (0, false);
    loop {
        let pieces = sent(&mut sendings);
        assert!(!ended && !pieces.is_empty());
        for (offset, end, last) in pieces {
            assert_eq!(offset, next);
            (next, ended) = (end, last);
        }
        let sending = &sendings.sendings[&FOLLOWER];
        let in_flight = next - sending.acknowledged();
        assert!(in_flight < WINDOW_BYTES + 2 * PIECE_BYTES as u64, "{in_flight}");
        if answer(&mut sendings, next, Time(1)) == Progress::Finished {
            break;
        }
    }
    assert!(ended && sendings.is_empty());
}

#[test]
fn after_a_reset_what_was_on_its_way_goes_again_and_no_more() {
    let mut sendings = begun(12);
    let first = sent(&mut sendings);
    answer(&mut sendings, first[1].1, Time(1));
    sent(&mut sendings);
    sendings.reset(NodeId(3));
    assert_eq!(sent(&mut sendings), [], "another node's link");
    sendings.reset(NodeId(2));
    assert_eq!(sent(&mut sendings)[0], first[2]);
}

#[test]
fn what_the_follower_lacks_goes_again_once() {
    let mut sendings = begun(12);
    let first = sent(&mut sendings);
    assert_eq!(answer(&mut sendings, first[0].1, Time(1)), Progress::Continues);
    sent(&mut sendings);
    // The second piece was lost; each one after it brings the same answer.
    assert_eq!(answer(&mut sendings, first[0].1, Time(2)), Progress::Continues);
    assert_eq!(sent(&mut sendings)[0], first[1]);
    answer(&mut sendings, first[0].1, Time(2));
    assert_eq!(sent(&mut sendings), []);
    // A late answer of before takes nothing back.
    answer(&mut sendings, first[1].1, Time(3));
    assert_eq!(answer(&mut sendings, first[0].1, Time(3)), Progress::Continues);
    assert_eq!(sendings.sendings[&FOLLOWER].acknowledged(), first[1].1);
}

#[test]
fn a_follower_that_lost_what_it_had_ends_it() {
    let mut sendings = begun(12);
    let first = sent(&mut sendings);
    assert_eq!(answer(&mut sendings, 0, Time(1)), Progress::Continues, "the first was lost");
    answer(&mut sendings, first[0].1, Time(1));
    assert_eq!(answer(&mut sendings, 0, Time(1)), Progress::Failed);
    assert!(sendings.is_empty());
}

#[test]
fn answers_to_other_sendings_say_nothing() {
    let mut sendings = begun(1);
    sent(&mut sendings);
    let failed = ChunkAck { transfer: 9, next_offset: 0, failed: true };
    assert_eq!(sendings.acknowledged(Time(1), FOLLOWER, failed), Progress::Continues);
    let more_than_there_is = ChunkAck { transfer: 1, next_offset: u64::MAX, failed: false };
    assert_eq!(sendings.acknowledged(Time(1), FOLLOWER, more_than_there_is), Progress::Continues);
    assert!(sendings.contains(GROUP, NodeId(2)));
    assert_eq!(sendings.sendings[&FOLLOWER].heard_at, Time(0));
}

#[test]
fn a_silent_follower_is_sent_the_same_again_and_then_given_up() {
    let mut sendings = begun(12);
    let first = sent(&mut sendings);
    let second = sendings.deadline().expect("there is something to look at");
    assert_eq!(sendings.check(second), []);
    assert_eq!(sent(&mut sendings), first);
    let mut now = second;
    while !sendings.is_empty() {
        assert!(now < Time(0) + SILENCE_MAX);
        now = sendings.deadline().expect("while there are any");
        if !sendings.check(now).is_empty() {
            assert_eq!(now, Time(0) + SILENCE_MAX);
        }
    }
    assert_eq!(sendings.deadline(), None);
}

#[test]
fn transfers_end_with_their_term() {
    let mut sendings = begun(1);
    sendings.end_but_of(GroupId(2), None);
    sendings.end_but_of(GROUP, Some(TERM));
    assert!(sendings.contains(GROUP, NodeId(2)));
    sendings.end_but_of(GROUP, Some(Term(4)));
    assert!(sendings.is_empty());
}

#[test]
fn their_number_is_bounded() {
    let mut sendings = Sendings::default();
    let is_full = |sendings: &Sendings| sendings.is_full(0, FrozenMax(u64::MAX));
    for follower in 1..=SENDINGS_MAX as u64 {
        assert!(!is_full(&sendings));
        let name = (follower, TERM);
        sendings.begin(Time(0), (GROUP, NodeId(follower)), name, stream(1));
    }
    assert!(is_full(&sendings));
}

#[test]
fn so_is_the_state_that_they_hold_on_to_but_for_one() {
    let bytes_max = 1 << 20;
    let max = FrozenMax(bytes_max);
    let mut sendings = Sendings::default();
    assert!(!sendings.is_full(5 * bytes_max, max), "one state of any size can be sent");
    sendings.begin(Time(0), FOLLOWER, (1, TERM), stream(1));
    let frozen = sendings.frozen_bytes();
    assert!(frozen > 0 && frozen < bytes_max, "a key and what it costs: {frozen}");
    assert!(!sendings.is_full(bytes_max - frozen, max));
    assert!(sendings.is_full(bytes_max - frozen + 1, max));
}
