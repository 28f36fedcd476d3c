//! Slots that move, there and back, and groups that go.

use super::*;
use crate::base::{SLOT_COUNT, Slot};
use crate::client::link::Purpose;

fn slot_of(key: &[u8]) -> u16 {
    Slot::of_key(key).number()
}

fn submit_appends(world: &mut World, round: u64) {
    for number in 0..50 {
        world.submit(round * 50 + number, Command::Append { key: &key(number), value: b"x" });
    }
    world.run_until((round + 1) * 50);
}

fn appended_ten_times(world: &World) {
    for number in 0..50 {
        assert_eq!(world.cluster.store[&key(number)].len(), 10);
    }
}

#[test]
fn hints_are_followed_without_a_map() {
    let mut world = World::new(3, 4, Options::default());
    submit_appends(&mut world, 0);
    let (maps, frames) = (world.cluster.map_requests, world.cluster.write_frames);
    for round in 1..10 {
        world.cluster.rotate_owners();
        world.now = world.now + Micros::from_millis(100);
        submit_appends(&mut world, round);
    }
    appended_ten_times(&world);
    assert_eq!(world.cluster.map_requests, maps, "the groups say where slots are");
    assert_eq!(world.core.counters().rerouted, 9 * 50, "each command is sent on once a round");
    assert_eq!(world.cluster.write_frames - frames, 9 * 6, "together: three frames, then three");
}

#[test]
fn owners_that_nobody_names_are_found_by_maps() {
    let mut world = World::new(3, 4, Options::default());
    world.cluster.faults.owner_unsaid = 100;
    for round in 0..10 {
        world.cluster.rotate_owners();
        world.cluster.publish();
        submit_appends(&mut world, round);
    }
    appended_ten_times(&world);
}

#[test]
fn a_newer_map_is_fetched_when_a_reply_tells_of_it() {
    let mut world = World::new(3, 4, Options::default());
    submit_appends(&mut world, 0);
    world.cluster.rotate_owners();
    world.cluster.publish();
    let maps = world.cluster.map_requests;
    submit_appends(&mut world, 1);
    while world.advance() && world.cluster.map_requests == maps {}
    while world.core.shared.map_stale {
        assert!(world.advance());
    }
    let rerouted = world.core.counters().rerouted;
    submit_appends(&mut world, 2);
    assert_eq!(world.core.counters().rerouted, rerouted, "the map is followed now");
    assert_eq!(world.cluster.map_requests, maps + 1);
}

#[test]
fn commands_for_a_slot_on_its_way_wait_and_the_others_do_not() {
    let mut world = World::new(2, 4, Options::default());
    submit_appends(&mut world, 0);
    let slot = slot_of(b"held");
    let to = GroupId(if slot < SLOT_COUNT / 2 { 2 } else { 1 });
    world.cluster.set_out(slot, to);
    for ticket in 100..150 {
        world.submit(ticket, Command::Increment { key: b"held", delta: 1 });
        world.submit(ticket + 100, Command::Get { key: &key(ticket) });
    }
    let (began, frames) = (world.now, world.cluster.write_frames);
    world.run_until(50 + 50);
    assert!(world.now.since(began) < Micros::from_millis(20), "reads waited for the slot");
    while world.now.since(began) < Micros::from_secs(1) {
        assert!(world.advance());
    }
    let asked = world.cluster.write_frames - frames;
    assert!((50..1_000).contains(&asked), "pauses of 1 to 5 ms: {asked} frames in a second");
    world.cluster.arrive(slot);
    let arrived = world.now;
    world.run_until(50 + 50 + 50);
    assert!(world.now.since(arrived) < Micros::from_millis(20), "nobody waits for long");
    assert_eq!(world.cluster.store[&b"held"[..]], b"50");
}

/// Newer commands for the slot keep coming: the first must not become as young as they are.
#[test]
fn a_slot_that_stays_on_its_way_is_a_rejection_in_time() {
    let operation_timeout = Micros::from_secs(2);
    let options = Options { operation_timeout, ..Options::default() };
    let mut world = World::new(2, 4, options);
    world.submit(0, Command::Append { key: b"k", value: b"x" });
    world.run_until(1);
    let slot = slot_of(b"k");
    world.cluster.set_out(slot, GroupId(if slot < SLOT_COUNT / 2 { 2 } else { 1 }));
    let began = world.now;
    for ticket in 1..400 {
        world.submit(ticket, Command::Append { key: b"k", value: b"x" });
        let next = world.now + Micros::from_millis(10);
        while world.now < next {
            assert!(world.advance());
        }
        let age = world.now.since(began).0;
        let late = (age.saturating_sub(operation_timeout.0) / 10_000).saturating_sub(60);
        assert!(world.outcomes.len() as u64 > late, "{} after {age}", world.outcomes.len());
    }
    world.run_until(400);
    let moving = |ticket: &u64| world.outcomes[ticket] == Kept::Rejected(Rejection::SlotMoving);
    let certain = (1..400).filter(moving).count();
    assert_eq!(certain, 399, "all are told that it did not happen");
    assert_eq!(world.cluster.store[&b"k"[..]], b"x");
}

/// Every twentieth reply is lost, and connections with them; slots go there and back.
#[test]
fn increments_happen_once_while_slots_move_and_replies_are_lost() {
    for seed in 0..20 {
        let options = Options { frame_commands_max: 4, ..Options::default() };
        let mut world = World::new(3, seed, options);
        world.weather.reply_lost_after = 20;
        world.cluster.faults =
            Faults { slots_move: 10, owner_unsaid: 10, leader_changes: 2, ..Faults::default() };
        let mut counts = [0; 8];
        for ticket in 0..1_000 {
            let number = world.random.usize(0..8);
            counts[number] += 1;
            let key = key(number as u64);
            world.submit(ticket, Command::Increment { key: &key, delta: 1 });
            world.run_until((ticket + 1).saturating_sub(30));
        }
        world.run_until(1_000);
        for (number, count) in (0..).zip(counts) {
            let stored = &world.cluster.store[&key(number)];
            assert_eq!(stored, count.to_string().as_bytes(), "seed {seed}, key {number}");
        }
        let applied = |kept: &Kept| matches!(kept, Kept::Applied { effect: Effect::Done, .. });
        assert!(world.outcomes.values().all(applied), "seed {seed}");
        assert!(world.cluster.repetitions > 0, "seed {seed}: no retry was one");
        assert!(world.core.counters().rerouted > 100, "seed {seed}: few slots moved");
    }
}

#[test]
fn a_group_that_is_gone_leaves_no_lane() {
    let mut world = World::new(3, 4, Options::default());
    submit_appends(&mut world, 0);
    assert_eq!(world.core.by_group.len(), 3);
    world.cluster.merge_into(GroupId(2));
    submit_appends(&mut world, 1);
    assert_eq!(world.core.by_group.keys().collect::<Vec<_>>(), [&GroupId(2)]);
    assert_eq!(world.core.vacant.len(), 2);
    let links = world.core.shared.links.values();
    assert!(links.filter(|link| matches!(link.purpose, Purpose::Lane(_))).count() <= 1);
}

/// Only the group that is gone could say whether it happened.
#[test]
fn what_is_in_doubt_in_a_group_that_is_gone_stays_so() {
    let mut world = World::new(3, 4, Options::default());
    submit_appends(&mut world, 0);
    world.weather.reply_lost_after = 1;
    for number in 0..50 {
        world.submit(50 + number, Command::Append { key: &key(number), value: b"y" });
    }
    while world.replies == 1 || world.cluster.write_frames < 6 {
        assert!(world.advance());
    }
    world.weather = Weather::default();
    world.cluster.merge_into(GroupId(2));
    world.run_until(100);
    assert_eq!(world.core.vacant.len(), 2, "in the end their lanes are gone");
    for number in 0..50 {
        let done = world.cluster.store[&key(number)].contains(&b'y');
        match &world.outcomes[&(50 + number)] {
            Kept::Applied { .. } => assert!(done),
            Kept::Unknown(_) => {}
            Kept::Rejected(reason) => panic!("{number}: {reason}"),
        }
        let stored = str::from_utf8(&world.cluster.store[&key(number)]).expect("ascii");
        assert!(stored.matches('y').count() <= 1, "{number}: {stored}");
    }
    let unknown = |kept: &&Kept| matches!(kept, Kept::Unknown(_));
    assert!(world.outcomes.values().filter(unknown).count() > 0, "nothing was in doubt");
}
