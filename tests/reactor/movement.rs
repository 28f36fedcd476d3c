//! Slots that move between two groups on different nodes, while they are written to, whatever fails.
//!
//! After every round no two groups may serve one slot, whatever was committed anywhere.

mod world;

use sunstar::base::{GroupId, NodeId, SlotSet};
use sunstar::wire::client::OperationKind;

use self::world::{A, B, TAG, World};
use super::client::Client;

/// Rounds within which a slot has moved, if nothing fails.
const ROUNDS: usize = 3_000;

#[test]
fn many_small_slots_move_there_and_back_while_one_is_written() {
    let mut world = World::new(1);
    let moved = World::slots_around(200);
    world.move_slots(&moved, B);
    world.run_until_moved(ROUNDS);
    assert_eq!(world.owner(), B);
    world.move_slots(&moved, A);
    world.run_until_moved(ROUNDS);
    assert_eq!(world.owner(), A);
    assert!(world.finish() > 20, "it was written meanwhile");
}

#[test]
fn a_large_slot_moves_in_rounds_and_takes_no_memory_where_it_was() {
    let mut world = World::new(2);
    let content = world.fill(24, 200 << 10);
    let slot = World::slot();
    let before = world.state_bytes(A);
    assert!(before > 4 << 20, "{before}");
    for (from, to) in [(A, B), (B, A), (A, B)] {
        world.move_slots(&[slot].into_iter().collect(), to);
        world.run_until_moved(ROUNDS);
        assert_eq!(world.owner(), to);
        let (left, came) = (world.state_bytes(from), world.state_bytes(to));
        assert!(left < before / 50 && came > before * 9 / 10, "{left} and {came} of {before}");
    }
    assert!(world.finish() > 20, "it was written meanwhile");
    world.assert_content(&content);
}

/// What was dropped is freed little by little, and all of it in the end.
#[test]
fn memory_of_many_keys_is_given_back_on_all_replicas() {
    let mut world = World::new(12);
    world.fill_with_many(20);
    let moved = World::slots_around(1);
    world.move_slots(&moved, B);
    let mut seen = 0;
    world.run_until(ROUNDS, |world| {
        seen = seen.max(world.unreclaimed_keys());
        world.has_moved() && world.unreclaimed_keys() == 0
    });
    assert!(seen > 20_000, "on three replicas, a few at a time: {seen}");
    world.finish();
}

/// The leader of either side fails at any moment, and comes back later.
#[test]
fn it_goes_on_under_another_leader_whenever_the_last_one_fails() {
    for (seed, group) in [(3, A), (4, B)] {
        for rounds in [1, 3, 5, 7, 9, 11, 13, 15, 18, 22, 27, 33, 40] {
            let mut world = World::new(seed);
            world.fill(6, 100 << 10);
            let moved = World::slots_around(3);
            world.move_slots(&moved, B);
            world.run(rounds);
            let leader = world.leader(group);
            world.crash(leader);
            world.run(150);
            world.start(leader);
            world.run_until_moved(ROUNDS);
            assert_eq!(world.owner(), B, "{group} after {rounds} rounds");
            world.finish();
        }
    }
}

/// All of a group fails at any moment.
#[test]
fn it_goes_on_when_a_whole_group_comes_back() {
    for (seed, group) in [(5, A), (6, B)] {
        for rounds in [2, 6, 10, 14, 19, 26, 35] {
            let mut world = World::new(seed);
            world.fill(6, 100 << 10);
            let moved = World::slots_around(3);
            world.move_slots(&moved, B);
            world.run(rounds);
            let members: Vec<NodeId> = world.members(group);
            for &node in &members {
                world.crash(node);
            }
            world.run(50);
            for &node in &members {
                world.start(node);
            }
            world.run_until_moved(ROUNDS);
            assert_eq!(world.owner(), B, "{group} after {rounds} rounds");
            world.finish();
        }
    }
}

/// Replicas come back from snapshots that were made in the middle, and others are brought up to date by one.
#[test]
fn snapshots_have_it_all() {
    let mut world = World::with_segments(7, 2 << 20);
    let content = world.fill(60, 100 << 10);
    let slot = World::slot();
    let moved: SlotSet = [slot].into_iter().collect();
    for (from, to) in [(A, B), (B, A)] {
        let far = world.members(to)[0];
        world.crash(far);
        world.move_slots(&moved, to);
        world.run(20);
        let leader = world.leader(from);
        world.crash(leader);
        world.run_until_moved(2 * ROUNDS);
        world.start(far);
        world.start(leader);
        world.run(300);
        world.restart_all();
        world.run_until_moved(ROUNDS);
        assert_eq!(world.owner(), to);
    }
    assert!(world.have_snapshots());
    world.finish();
    world.assert_content(&content);
}

/// The two leaders cannot reach each other: what is frozen is served by nobody, and moves on afterwards.
#[test]
fn a_frozen_slot_moves_on_when_the_leaders_meet_again() {
    let mut frozen = 0;
    for rounds in [2, 4, 6, 8, 10, 12, 14, 16] {
        let mut world = World::new(8);
        let moved = World::slots_around(40);
        world.move_slots(&moved, B);
        world.run(rounds);
        let (one, other) = (world.leader(A), world.leader(B));
        world.cut(one, other);
        world.run(1_000);
        frozen += world.frozen(A);
        world.heal();
        world.run_until_moved(ROUNDS);
        assert_eq!(world.owner(), B);
        world.finish();
    }
    assert!(frozen > 0, "the links were never cut in the middle");
}

/// The shard master was told thrice that one slot has yet to leave, which is as often as anything is said.
#[test]
fn the_shard_master_hears_of_the_last_slot_however_late_it_leaves() {
    let mut late = 0;
    for rounds in [2, 4, 6, 8, 10, 12, 14, 16] {
        let mut world = World::new(8);
        world.move_slots(&World::slots_around(1), B);
        world.run(rounds);
        let (one, other) = (world.leader(A), world.leader(B));
        world.cut(one, other);
        world.run(3_000);
        late += usize::from(!world.has_moved());
        world.heal();
        world.run_until_moved(ROUNDS);
        world.run_until_reported(ROUNDS);
        world.finish();
    }
    assert!(late > 0, "the links were never cut in the middle");
}

/// A group that has no leader for long holds nobody up but those who wait for its slots.
#[test]
fn slots_of_a_group_that_is_down_wait_and_others_do_not() {
    let mut world = World::new(9);
    let down = GroupId(3);
    let many = world.slots_of(down).into_iter().take(100);
    let moved: SlotSet = many.chain([World::slot()]).collect();
    world.move_slots(&moved, B);
    // Not those that the other two groups live on.
    let lost = world.members(down).into_iter().find(|node| *node == NodeId(3)).expect("a member");
    world.crash(lost);
    let other = NodeId(5);
    let others = [NodeId(1), NodeId(2), NodeId(4), NodeId(6)];
    for node in others {
        world.cut(other, node);
    }
    world.run(3_000);
    assert_eq!(world.owner(), B, "the slot of the group that is up");
    assert!(world.arriving(B) > 0, "those of the group that is down");
    world.heal();
    world.start(lost);
    world.run_until_moved(2 * ROUNDS);
    world.finish();
}

/// Messages are lost and come twice, nodes come and go, leaders change; slots move to and fro.
#[test]
fn storms() {
    for seed in world::seeds() {
        let mut world = World::new(seed);
        world.fill(8, 60 << 10);
        world.storm();
        world.finish();
    }
}

/// Nobody is woken for slots that stay where they are.
#[test]
fn where_nothing_moves_nothing_is_done() {
    let mut world = World::new(10);
    let moved = World::slots_around(3);
    world.move_slots(&moved, B);
    world.run_until_moved(ROUNDS);
    world.finish();
    world.run_until_asleep(20_000);
}

/// Orders are for leaders to give.
#[test]
fn a_client_gives_no_orders() {
    use sunstar::wire::frame::scan_trusted;
    use sunstar::wire::movement::Order;
    let mut bytes = Vec::new();
    Order::MembersSettled { epoch: 7 }.encode(&mut bytes);
    let frame = sunstar::base::AlignedBuf::copy_of(&bytes);
    let frame = scan_trusted(&frame).expect("a frame");
    assert!(sunstar::wire::client::parse_request(&frame).is_err());
}

/// The answers of both groups say where to go on.
#[test]
fn who_asks_the_wrong_group_is_sent_on() {
    let mut world = World::new(11);
    let moved = World::slots_around(1);
    world.move_slots(&moved, B);
    world.run_until_moved(ROUNDS);
    world.finish();
    let mut client = Client::open(&mut world.cluster, 77, A);
    let key = format!("{{{TAG}}}x");
    let answer = client.write(&mut world.cluster, OperationKind::Put, &key, b"late");
    assert_eq!(answer.number, i64::from(B.0));
    let leader = world.leader(A);
    let reply = client.read(&mut world.cluster, leader, &key);
    assert_eq!(reply.answers[0].0.number, i64::from(B.0));
}
