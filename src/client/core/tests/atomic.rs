//! Batches that happen all or not at all.

use super::*;

const KEYS: [&[u8]; 3] = [b"{tag}a", b"{tag}b", b"{tag}sum"];

/// Submits `record` to the ends of two values, and one to a sum, if that is the `expected` one: four
/// tickets.
fn submit_record(world: &mut World, ticket: u64, record: &[u8], expected: Option<&[u8]>) {
    let commands = [
        Command::Compare { key: KEYS[2], expected },
        Command::Append { key: KEYS[0], value: record },
        Command::Append { key: KEYS[1], value: record },
        Command::Increment { key: KEYS[2], delta: 1 },
    ];
    world.core.submit_multi(world.now, ticket, &commands).expect("within the limits");
}

fn stored<'a>(world: &'a World, key: &[u8]) -> &'a str {
    world.cluster.store.get(key).map_or("", |value| str::from_utf8(value).expect("ascii"))
}

#[test]
fn a_batch_has_a_frame_of_its_own_and_answers_in_order() {
    let mut world = World::new(1, 1, Options::default());
    world.submit(0, Command::Put { key: b"{tag}k", value: b"v" });
    submit_record(&mut world, 1, b"x", None);
    world.submit(5, Command::Put { key: b"{tag}k", value: b"w" });
    submit_record(&mut world, 6, b"y", Some(b"1"));
    world.run_until(10);
    assert_eq!(world.cluster.write_frames, 4);
    let numbers = [(1, 0), (2, 1), (3, 1), (4, 1), (6, 0), (7, 2), (8, 2), (9, 2)];
    for (ticket, number) in numbers {
        assert_eq!(world.applied(ticket), (Effect::Done, number, &b""[..]), "{ticket}");
    }
}

#[test]
fn a_batch_that_fails_changes_nothing() {
    let mut world = World::new(1, 1, Options::default());
    submit_record(&mut world, 0, b"x", None);
    world.run_until(4);
    submit_record(&mut world, 10, b"y", Some(b"2"));
    submit_record(&mut world, 20, b"y", None);
    let [a, .., sum] = KEYS;
    let commands = [
        Command::Put { key: a, value: b"no number" },
        Command::Delete { key: sum },
        Command::Increment { key: a, delta: 1 },
    ];
    world.core.submit_multi(world.now, 30, &commands).expect("within the limits");
    world.run_until(4 + 4 + 4 + 3);
    let aborted = Kept::Rejected(Rejection::Aborted);
    for first in [10, 20] {
        assert_eq!(world.applied(first), (Effect::CompareFailed, 0, &b""[..]));
        assert!((first + 1..first + 4).all(|ticket| world.outcomes[&ticket] == aborted));
    }
    assert_eq!([&world.outcomes[&30], &world.outcomes[&31]], [&aborted, &aborted]);
    assert_eq!(world.outcomes[&32], Kept::Rejected(Rejection::NotANumber));
    assert_eq!(KEYS.map(|key| stored(&world, key)), ["x", "x", "1"]);
}

#[test]
fn what_is_no_batch_is_refused_unsent() {
    let mut world = World::new(1, 1, Options::default());
    let mut submit = |commands: &[Command<'_>]| world.core.submit_multi(Time(0), 1, commands);
    let (put, get) = (|key| Command::Put { key, value: b"v" }, Command::Get { key: b"{t}" });
    assert_eq!(submit(&[]), Err(CommandError::NotABatch));
    assert_eq!(submit(&[put(b"{t}"), get]), Err(CommandError::NotABatch));
    assert_eq!(submit(&[put(b"{t}"), put(b"")]), Err(CommandError::EmptyKey));
    assert_eq!(submit(&[put(b"{t}"), put(b"{t}a"), put(b"t")]), Ok(()));
    assert_eq!(submit(&[put(b"{t}"), put(b"{u}")]), Err(CommandError::CrossSlot(1)));
    let long = vec![0; 1 << 20];
    let put = Command::Put { key: b"k", value: &long };
    let bytes = 5 * ((1 << 20) + 1);
    assert_eq!(submit(&[put; 5]), Err(CommandError::BatchTooLarge { commands: 5, bytes }));
    let many = vec![Command::Delete { key: b"k" }; (16 << 10) + 1];
    assert!(matches!(submit(&many), Err(CommandError::BatchTooLarge { .. })));
}

/// Leaders change, sessions end, slots go there and back, replies and connections are lost.
#[test]
fn batches_happen_once_and_whole_in_any_storm() {
    let (mut applied, mut failed, mut rerouted) = (0, 0, 0);
    for seed in 0..60 {
        let world = storm_of_batches(seed);
        let [a, b, sum] = KEYS.map(|key| stored(&world, key));
        assert_eq!(a, b, "seed {seed}");
        let count = a.matches('<').count();
        assert_eq!(sum.parse::<usize>().unwrap_or(0), count, "seed {seed}");
        for first in (0..400).step_by(4) {
            let kept = [0, 1, 2, 3].map(|offset| &world.outcomes[&(first + offset)]);
            let found = a.matches(&format!("<{first}>")).count();
            match kept[0] {
                Kept::Applied { effect: Effect::Done, place, .. } => {
                    assert_eq!(found, 1, "seed {seed}: {first} was acknowledged");
                    for (position, kept) in (place.position..).zip(kept) {
                        let Kept::Applied { place: other, .. } = kept else { panic!("{kept:?}") };
                        assert_eq!(*other, Place { position, ..*place }, "seed {seed}");
                    }
                    applied += 1;
                }
                Kept::Unknown(_) => {
                    assert!(found <= 1, "seed {seed}: {first} happened {found} times");
                    assert!(kept.iter().all(|kept| matches!(kept, Kept::Unknown(_))));
                }
                _ => {
                    assert_eq!(found, 0, "seed {seed}: {first} failed");
                    let rejected = |kept: &&&Kept| matches!(kept, Kept::Rejected(_));
                    assert_eq!(kept[1..].iter().filter(rejected).count(), 3, "{kept:?}");
                    failed += 1;
                }
            }
        }
        rerouted += world.core.counters().rerouted;
    }
    assert!(applied > 1_000 && failed > 200, "{applied} done, {failed} failed");
    assert!(rerouted > 500, "{rerouted} sent on");
}

/// A hundred batches of four, each with a condition that holds for some of those under way.
fn storm_of_batches(seed: u64) -> World {
    let mut world = World::new(3, seed, storm_options());
    world.cluster.faults = storm_faults();
    world.weather = storm_weather();
    for first in (0..400).step_by(4) {
        let held = stored(&world, KEYS[2]).to_owned();
        let expected = (!held.is_empty()).then_some(held.as_bytes());
        let record = format!("<{first}>");
        submit_record(&mut world, first, record.as_bytes(), expected);
        world.run_until((first + 4).saturating_sub(12));
    }
    world.run_until(400);
    world.drain();
    world
}
