//! The client against a fake cluster over a network that delays, breaks and falls silent, in
//! virtual time.

mod atomic;
mod moving;

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Core};
use crate::base::{ConnectionId, GroupId, Micros, NodeId, Time};
use crate::client::tests::cluster::{FakeCluster, Faults};
use crate::client::{Command, CommandError, Doubt, Effect, Options, Outcome, Place, Rejection};

/// What the network carries.
enum Event {
    Connected(ConnectionId),
    ToServer(ConnectionId, Vec<u8>),
    ToClient(ConnectionId, Vec<u8>),
    Closed(ConnectionId),
}

/// What goes wrong on the way, in percent of sends.
#[derive(Clone, Copy, Default)]
struct Weather {
    /// The connection breaks before the bytes arrive.
    lost: u32,
    /// It breaks before the reply arrives.
    reply_lost: u32,
    /// It falls silent: nothing more arrives, and nobody is told.
    silent: u32,
    /// Connections are refused.
    refused: u32,
    /// So many replies arrive before the connection breaks instead of the next; 0: no end.
    reply_lost_after: u64,
}

/// The outcome as the caller keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    Applied { effect: Effect, number: i64, value: Vec<u8>, place: Place },
    Rejected(Rejection),
    Unknown(Doubt),
}

struct World {
    core: Core,
    cluster: FakeCluster,
    weather: Weather,
    random: fastrand::Rng,
    now: Time,
    queue: BTreeMap<(Time, u64), Event>,
    next_event: u64,
    /// When the last bytes arrive, per connection and direction: a stream keeps its order.
    arrivals: BTreeMap<(ConnectionId, bool), Time>,
    silent: BTreeSet<ConnectionId>,
    /// Replies that arrived since one was lost.
    replies: u64,
    outcomes: BTreeMap<u64, Kept>,
}

impl World {
    fn new(groups: u32, seed: u64, options: Options) -> Self {
        let seeds: Vec<String> = (1..=3).map(|node| format!("node-{node}")).collect();
        Self {
            core: Core::new(&seeds, Options { seed, ..options }),
            cluster: FakeCluster::new(3, groups, seed),
            weather: Weather::default(),
            random: fastrand::Rng::with_seed(seed ^ 0xABCD),
            now: Time(0),
            queue: BTreeMap::new(),
            next_event: 0,
            arrivals: BTreeMap::new(),
            silent: BTreeSet::new(),
            replies: 0,
            outcomes: BTreeMap::new(),
        }
    }

    fn submit(&mut self, ticket: u64, command: Command<'_>) {
        self.core.submit(self.now, ticket, command).expect("within the limits");
    }

    fn happens(&mut self, percent: u32) -> bool {
        self.random.u32(0..100) < percent
    }

    fn schedule(&mut self, connection: ConnectionId, to_server: bool, event: Event) {
        let arrival = self.arrivals.entry((connection, to_server)).or_default();
        *arrival = (*arrival).max(self.now + Micros(self.random.u64(50..2_000)));
        self.queue.insert((*arrival, self.next_event), event);
        self.next_event += 1;
    }

    fn perform(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Connect { connection, address } => {
                    if self.happens(self.weather.refused) {
                        self.schedule(connection, false, Event::Closed(connection));
                    } else {
                        self.cluster.connect(connection, &address);
                        self.schedule(connection, false, Event::Connected(connection));
                    }
                }
                Action::Send { connection } => self.send(connection),
                Action::Close { connection } => self.cluster.disconnect(connection),
            }
        }
        while let Some(completion) = self.core.poll_completion() {
            let kept = match completion.outcome {
                Outcome::Applied(applied) => Kept::Applied {
                    effect: applied.effect,
                    number: applied.number,
                    value: applied.value.to_vec(),
                    place: applied.place,
                },
                Outcome::Rejected(reason) => Kept::Rejected(reason),
                Outcome::Unknown(doubt) => Kept::Unknown(doubt),
            };
            let before = self.outcomes.insert(completion.ticket, kept);
            assert!(before.is_none(), "ticket {} completed twice", completion.ticket);
        }
    }

    fn send(&mut self, connection: ConnectionId) {
        let bytes = self.core.unsent(connection).to_vec();
        // Sockets take what they can.
        let taken = if self.random.u8(0..4) == 0 { bytes.len().div_ceil(2) } else { bytes.len() };
        self.core.handle_sent(connection, taken);
        for part in [&bytes[..taken], &bytes[taken..]] {
            if self.happens(self.weather.lost) {
                return self.schedule(connection, true, Event::Closed(connection));
            }
            if self.happens(self.weather.silent) {
                self.silent.insert(connection);
            }
            self.schedule(connection, true, Event::ToServer(connection, part.to_vec()));
        }
        self.core.handle_sent(connection, bytes.len() - taken);
    }

    /// Lets the next thing happen; false if nothing ever will.
    fn advance(&mut self) -> bool {
        self.perform();
        let event_at = self.queue.first_key_value().map(|(&(time, _), _)| time);
        let wake = self.core.deadline();
        let next = [event_at, wake].into_iter().flatten().min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        if event_at.is_some_and(|time| time <= self.now) {
            let (_, event) = self.queue.pop_first().expect("there is one");
            self.deliver(event);
        }
        self.core.handle_timeout(self.now);
        self.perform();
        true
    }

    fn deliver(&mut self, event: Event) {
        match event {
            Event::Connected(connection) => self.core.handle_connected(connection, self.now),
            Event::ToServer(connection, _) if self.silent.contains(&connection) => {}
            Event::ToServer(connection, bytes) => {
                let replies = self.cluster.receive(connection, &bytes);
                self.replies += u64::from(!replies.is_empty());
                let after = self.weather.reply_lost_after;
                let due = after > 0 && self.replies > after;
                if due || self.happens(self.weather.reply_lost) {
                    self.replies = 0;
                    self.cluster.disconnect(connection);
                    self.schedule(connection, false, Event::Closed(connection));
                } else if !replies.is_empty() {
                    self.schedule(connection, false, Event::ToClient(connection, replies));
                }
            }
            Event::ToClient(connection, bytes) => {
                let middle = self.random.usize(0..=bytes.len());
                self.core.handle_bytes(connection, &bytes[..middle], self.now);
                self.core.handle_bytes(connection, &bytes[middle..], self.now);
            }
            Event::Closed(connection) => {
                self.cluster.disconnect(connection);
                self.core.handle_closed(connection, self.now);
            }
        }
    }

    fn run_until(&mut self, count: u64) {
        let count = usize::try_from(count).expect("64 bits");
        for _ in 0..1_000_000 {
            if self.outcomes.len() >= count {
                return;
            }
            assert!(self.advance(), "nothing will happen, {} outcomes", self.outcomes.len());
        }
        panic!("{} outcomes of {count} after a million events", self.outcomes.len());
    }

    /// Lets everything on its way to the servers arrive.
    fn drain(&mut self) {
        while let Some((_, event)) = self.queue.pop_first() {
            if matches!(event, Event::ToServer(..)) {
                self.deliver(event);
            }
        }
    }

    fn applied(&self, ticket: u64) -> (Effect, i64, &[u8]) {
        match &self.outcomes[&ticket] {
            Kept::Applied { effect, number, value, .. } => (*effect, *number, value),
            other => panic!("{other:?}"),
        }
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

#[test]
fn what_was_put_is_read() {
    let mut world = World::new(3, 1, Options::default());
    for number in 0..50 {
        world.submit(number, Command::Put { key: &key(number), value: b"value" });
    }
    world.run_until(50);
    for number in 0..51 {
        world.submit(100 + number, Command::Get { key: &key(number) });
    }
    world.run_until(101);
    for number in 0..50 {
        assert_eq!(world.applied(100 + number), (Effect::Done, 0, &b"value"[..]));
    }
    assert_eq!(world.applied(150), (Effect::NotFound, 0, &b""[..]));
}

#[test]
fn commands_between_two_polls_share_a_frame() {
    let mut world = World::new(1, 1, Options::default());
    for number in 0..1_000 {
        world.submit(number, Command::Append { key: &key(number % 7), value: b"x" });
    }
    world.run_until(1_000);
    assert_eq!(world.cluster.write_frames, 1);
}

#[test]
fn a_frame_takes_no_more_than_it_may() {
    let options = Options { frame_bytes_max: 1_000, frames_in_flight_max: 2, ..Options::default() };
    let mut world = World::new(1, 1, options);
    for number in 0..20 {
        world.submit(number, Command::Put { key: &key(number), value: &[0; 240] });
    }
    world.submit(20, Command::Put { key: b"large", value: &[0; 5_000] });
    world.run_until(21);
    assert_eq!(world.cluster.write_frames, 5 + 1, "four fit a frame, the large one has its own");
}

#[test]
fn a_refused_command_costs_nothing() {
    let mut world = World::new(1, 1, Options::default());
    let mut submit = |command| world.core.submit(Time(0), 1, command);
    assert_eq!(submit(Command::Get { key: b"" }), Err(CommandError::EmptyKey));
    let long = vec![0; 1 << 21];
    assert_eq!(submit(Command::Get { key: &long }), Err(CommandError::KeyTooLong(1 << 21)));
    let put = Command::Put { key: b"k", value: &long };
    assert_eq!(submit(put), Err(CommandError::ValueTooLong(1 << 21)));
    world.submit(1, Command::Put { key: b"k", value: b"no number" });
    world.run_until(1);
    world.submit(2, Command::Increment { key: b"k", delta: 1 });
    world.run_until(2);
    assert_eq!(world.outcomes[&2], Kept::Rejected(Rejection::NotANumber));
}

#[test]
fn a_lost_reply_does_not_double_the_command() {
    let mut world = World::new(1, 5, Options::default());
    world.submit(0, Command::Append { key: b"k", value: b"a" });
    world.run_until(1);
    world.weather.reply_lost = 60;
    for ticket in 1..=20 {
        world.submit(ticket, Command::Append { key: b"k", value: b"b" });
        world.run_until(ticket + 1);
        let expected = i64::try_from(ticket).expect("small") + 1;
        assert_eq!(world.applied(ticket), (Effect::Done, expected, &b""[..]));
    }
    assert!(world.cluster.repetitions > 0, "the test lost no reply");
}

#[test]
fn leaders_are_followed() {
    let mut world = World::new(1, 3, Options::default());
    for ticket in 0..30 {
        world.cluster.set_leader(GroupId(1), NodeId(ticket % 3 + 1));
        world.submit(ticket, Command::Append { key: b"k", value: b"x" });
        world.run_until(ticket + 1);
    }
    assert_eq!(world.cluster.store[&b"k"[..]].len(), 30);
    assert!(world.core.counters().redirects >= 20);
}

/// The group is gone from the node that the map named before the client first needed it.
#[test]
fn a_group_that_left_its_nodes_is_found() {
    for seed in 4..12 {
        let mut world = World::new(3, seed, Options::default());
        world.submit(0, Command::Get { key: b"any" });
        world.run_until(1);
        for group in 1..=3 {
            let leader = NodeId(u64::from(group) % 3 + 1);
            world.cluster.move_group(GroupId(group), &[leader]);
        }
        for number in 1..=50 {
            world.submit(number, Command::Append { key: &key(number), value: b"x" });
        }
        world.run_until(51);
        for number in 1..=50 {
            assert_eq!(world.applied(number), (Effect::Done, 1, &b""[..]));
        }
    }
}

#[test]
fn commands_of_an_ended_session_that_did_not_happen_get_another() {
    let mut world = World::new(1, 3, Options::default());
    for ticket in 0..10 {
        world.cluster.end_sessions(GroupId(1));
        world.submit(ticket, Command::Append { key: b"k", value: b"x" });
        world.run_until(ticket + 1);
    }
    assert_eq!(world.cluster.store[&b"k"[..]].len(), 10);
}

#[test]
fn nobody_there_is_a_rejection() {
    let mut world = World::new(1, 3, Options::default());
    world.weather.refused = 100;
    world.submit(0, Command::Append { key: b"k", value: b"x" });
    world.submit(1, Command::Get { key: b"k" });
    world.run_until(2);
    assert_eq!(world.outcomes[&0], Kept::Rejected(Rejection::Unreachable));
    assert_eq!(world.outcomes[&1], Kept::Rejected(Rejection::Unreachable));
    assert!(world.now >= Time(0) + Options::default().operation_timeout);
}

#[test]
fn full_disks_are_told_at_once_with_a_session_and_without() {
    let mut world = World::new(1, 3, Options::default());
    for ticket in [0, 2] {
        world.cluster.faults.disks_full = true;
        world.submit(ticket, Command::Append { key: b"k", value: b"x" });
        world.run_until(ticket + 1);
        assert_eq!(world.outcomes[&ticket], Kept::Rejected(Rejection::DiskFull));
        world.cluster.faults.disks_full = false;
        world.submit(ticket + 1, Command::Append { key: b"k", value: b"x" });
        world.run_until(ticket + 2);
        assert!(matches!(world.outcomes[&(ticket + 1)], Kept::Applied { .. }));
    }
    assert!(world.now < Time(0) + Options::default().operation_timeout, "nobody waited for it");
    assert_eq!(world.cluster.store[&b"k"[..]], b"xx");
}

#[test]
fn silence_after_sending_is_doubt_for_a_write_and_rejection_for_a_read() {
    let mut world = World::new(1, 3, Options::default());
    world.submit(0, Command::Append { key: b"k", value: b"x" });
    world.run_until(1);
    world.weather.silent = 100;
    world.submit(1, Command::Append { key: b"k", value: b"x" });
    world.submit(2, Command::Get { key: b"k" });
    world.run_until(3);
    assert_eq!(world.outcomes[&1], Kept::Unknown(Doubt::TimedOut));
    assert!(matches!(world.outcomes[&2], Kept::Rejected(_)));
}

#[test]
fn a_closed_client_leaves_no_session() {
    let mut world = World::new(3, 3, Options::default());
    for number in 0..100 {
        world.submit(number, Command::Append { key: &key(number), value: b"x" });
    }
    world.run_until(100);
    assert_eq!(world.cluster.session_count(), 3);
    world.submit(100, Command::Append { key: b"late", value: b"x" });
    world.core.shut_down(world.now);
    while !world.core.is_closed() {
        assert!(world.advance());
    }
    assert_eq!(world.outcomes[&100], Kept::Rejected(Rejection::Closed));
    assert_eq!(world.cluster.session_count(), 0);
}

/// Every append is found as often as its outcome says: applied once, rejected never, unknown at
/// most once; and no two stand at one place.
fn check_outcomes(world: &World, appends: &BTreeMap<u64, Vec<u8>>) {
    let mut places = BTreeSet::new();
    for (&ticket, key) in appends {
        let record = format!("<{ticket}>");
        let stored = world.cluster.store.get(key).map_or(&[][..], Vec::as_slice);
        let found = std::str::from_utf8(stored).expect("ascii").matches(&record).count();
        match &world.outcomes[&ticket] {
            Kept::Applied { place, .. } => {
                assert_eq!(found, 1, "{record} was acknowledged");
                assert!(places.insert(*place), "{record} shares its place {place}");
            }
            Kept::Rejected(reason) => assert_eq!(found, 0, "{record} was rejected: {reason}"),
            Kept::Unknown(_) => assert!(found <= 1, "{record} happened {found} times"),
        }
    }
}

fn storm_options() -> Options {
    Options {
        operation_timeout: Micros::from_millis(1_500),
        request_timeout: Micros::from_millis(200),
        connect_timeout: Micros::from_millis(100),
        frame_commands_max: 8,
        ..Options::default()
    }
}

fn storm_faults() -> Faults {
    Faults {
        disks_full: false,
        refused: 5,
        doubtful: 5,
        leader_changes: 4,
        members_change: 2,
        sessions_end: 1,
        slots_move: 4,
        owner_unsaid: 20,
    }
}

fn storm_weather() -> Weather {
    Weather { lost: 4, reply_lost: 4, silent: 1, refused: 10, ..Weather::default() }
}

fn storm(seed: u64) -> World {
    let mut world = World::new(3, seed, storm_options());
    world.cluster.faults = storm_faults();
    world.weather = storm_weather();
    let mut appends = BTreeMap::new();
    for round in 0..20_u64 {
        for number in 0..20 {
            let ticket = round * 100 + number;
            let key = key(world.random.u64(0..8));
            let record = format!("<{ticket}>");
            world.submit(ticket, Command::Append { key: &key, value: record.as_bytes() });
            appends.insert(ticket, key);
        }
        world.submit(round * 100 + 50, Command::Get { key: &key(round % 8) });
        // Not all of them: commands of several rounds are outstanding together.
        world.run_until(world.outcomes.len() as u64 + 10);
    }
    world.run_until(20 * 21);
    world.drain();
    check_outcomes(&world, &appends);
    for round in 0..20 {
        let read = &world.outcomes[&(round * 100 + 50)];
        assert!(!matches!(read, Kept::Unknown(_)), "a read has no doubt: {read:?}");
    }
    world
}

#[test]
fn outcomes_are_true_in_any_storm() {
    let (mut applied, mut unknown, mut repetitions) = (0, 0, 0);
    for seed in 0..200 {
        let world = storm(seed);
        let count =
            |wanted: fn(&Kept) -> bool| world.outcomes.values().filter(|kept| wanted(kept)).count();
        applied += count(|kept| matches!(kept, Kept::Applied { .. }));
        unknown += count(|kept| matches!(kept, Kept::Unknown(_)));
        repetitions += world.cluster.repetitions;
    }
    assert!(applied > 200 * 20 * 21 / 2, "most commands happen: {applied}");
    assert!(unknown > 0, "some outcomes are unknown");
    assert!(repetitions > 1_000, "results are given again: {repetitions}");
}

#[test]
fn equal_seeds_give_equal_runs() {
    let run = || {
        let world = storm(77);
        (world.now, world.core.counters(), world.outcomes)
    };
    assert_eq!(run(), run());
}
