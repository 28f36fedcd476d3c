//! A hundred thousand increments by clients that lose replies, while leaders die and counters move from
//! group to group: each happens exactly once.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use sunstar::base::{GroupId, Micros, Slot};
use sunstar::client::blocking::{Client, Ticket};
use sunstar::client::core::Counters;
use sunstar::client::{Command, Options};

use crate::support::{
    Cluster, Losses, Node, Progress, Proxy, RawConnection, Shape, done, wait_until, work_during,
};

const CLIENTS: usize = 8;
const INCREMENTS: usize = 100_000;
/// Shared by all clients.
const COUNTERS: usize = 24;
/// Increments that each client has on their way.
const IN_FLIGHT: usize = 256;
/// Increments of what counts as a round.
const ROUND: usize = 50;
/// Of the replies one of so many is lost.
const LOST: u64 = 20;

/// What one client was told.
#[derive(Debug, Default)]
struct Told {
    /// The sums answered, by counter.
    sums: Vec<Vec<i64>>,
    /// What was said of increments that were not acknowledged.
    failures: Vec<String>,
    counters: Counters,
}

#[test]
fn increments_happen_once_though_replies_are_lost_leaders_die_and_slots_move() {
    let losses = Losses::every(LOST);
    let (mut cluster, proxies) = behind_proxies(&losses);
    let targets: Vec<_> = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
    let increment = |client, progress: &_| increment_until_stopped(&targets, client, progress);
    let told = work_during(CLIENTS, increment, |progress| {
        for (from, to) in [(1, 2), (2, 3), (3, 1)] {
            let slots = slots_of_counters(&cluster, GroupId(from));
            let (there, back) = (format!("g{to}"), format!("g{from}"));
            progress.await_more("before slots move", 10);
            done(&cluster, &["move", &slots, "--to", &there]);
            let victim = cluster.busiest_leader();
            cluster.node(victim).kill();
            progress.await_more("with slots on their way and a leader dead", 10);
            cluster.node(victim).start();
            cluster.await_leaders();
            done(&cluster, &["move", &slots, "--to", &there, "--wait"]);
            progress.await_more("with slots elsewhere", 10);
            let victim = cluster.busiest_leader();
            cluster.node(victim).kill();
            done(&cluster, &["move", &slots, "--to", &back, "--wait"]);
            progress.await_more("with slots back and a leader dead", 10);
            cluster.node(victim).start();
            cluster.await_leaders();
        }
        wait_until("all increments are answered", || {
            progress.in_all() >= (INCREMENTS / ROUND) as u64
        });
    });
    check(&targets, &told);
    cluster.assert_replicas_agree();

    let sum = |of: fn(&Counters) -> u64| told.iter().map(|told| of(&told.counters)).sum::<u64>();
    let repeated = sum(|counters| counters.frames_repeated);
    let rerouted = sum(|counters| counters.rerouted);
    eprintln!("{} replies lost, {repeated} frames repeated, {rerouted} rerouted", losses.count());
    assert!(losses.count() > 100 && repeated >= losses.count(), "the test lost few replies");
    assert!(rerouted > 0, "the test moved nothing");
}

/// Three nodes that clients reach through proxies only: these are what the shard map names.
fn behind_proxies(losses: &Arc<Losses>) -> (Cluster, Vec<Proxy>) {
    let mut cluster = Cluster::prepare(Shape { nodes: 3, smp: 1 });
    let plans = || cluster.all().iter().map(Node::plan);
    let proxies: Vec<_> = plans().map(|plan| Proxy::before(plan.client, losses)).collect();
    let named = plans().zip(&proxies);
    let named: Vec<_> = named
        .map(|(plan, proxy)| format!("n{}={}/{}", plan.id, plan.peer, proxy.address()))
        .collect();
    let initial = format!("--initial-nodes={}", named.join(","));
    cluster.nodes().iter_mut().for_each(|node| node.pass(&[&initial]));
    cluster.start_all();
    (cluster, proxies)
}

fn key(counter: usize) -> String {
    format!("counter-{counter}")
}

/// The slots of counters that are `group`'s just now, as `ctl` reads them.
fn slots_of_counters(cluster: &Cluster, group: GroupId) -> String {
    let (mut connection, _) = RawConnection::greet(cluster.all()[0].plan().client, group);
    let map = connection.map();
    let is_of_group = |slot: &u16| {
        let mut runs = map.slots.iter().filter(|run| run.group == group);
        runs.any(|run| (run.first..=run.last).contains(slot))
    };
    let slots = (0..COUNTERS).map(|counter| Slot::of_key(key(counter).as_bytes()).number());
    let slots: BTreeSet<u16> = slots.filter(is_of_group).collect();
    assert!(!slots.is_empty(), "no counter is in {group}");
    slots.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

fn options(client: usize) -> Options {
    Options {
        // Far beyond what any of it takes: an increment whose outcome is unknown would be one too many.
        operation_timeout: Micros::from_secs(90),
        // A dropped reply is missed after this.
        request_timeout: Micros::from_millis(300),
        // Many small frames: many replies to lose.
        frame_commands_max: 16,
        seed: client as u64 + 1,
        ..Options::default()
    }
}

fn increment_until_stopped(targets: &[String], client: usize, progress: &Progress) -> Told {
    let mut connection = Client::connect(targets, options(client)).expect("a cluster that serves");
    let mut told = Told { sums: vec![Vec::new(); COUNTERS], ..Told::default() };
    let mut on_their_way = VecDeque::new();
    for number in 0.. {
        if progress.is_stopped() {
            break;
        }
        let counter = (number + 3 * client) % COUNTERS;
        let key = key(counter);
        let command = Command::Increment { key: key.as_bytes(), delta: 1 };
        on_their_way.push_back((counter, connection.submit(command).expect("a small command")));
        if number >= IN_FLIGHT {
            let (counter, ticket) = on_their_way.pop_front().expect("many");
            told.take(counter, ticket, &mut connection);
            if number % ROUND == 0 {
                progress.round_done(client);
            }
        }
    }
    for (counter, ticket) in on_their_way {
        told.take(counter, ticket, &mut connection);
    }
    Told { counters: connection.counters(), ..told }
}

impl Told {
    fn take(&mut self, counter: usize, ticket: Ticket, connection: &mut Client) {
        match connection.wait(ticket) {
            Ok(answer) => self.sums[counter].push(answer.number),
            Err(error) => self.failures.push(format!("{}: {error}", key(counter))),
        }
    }
}

/// Demands that nothing failed or is in doubt, and that the sums answered for each counter are all from
/// one to what it holds, each once.
fn check(targets: &[String], told: &[Told]) {
    let failures: Vec<_> = told.iter().flat_map(|told| &told.failures).collect();
    assert!(failures.is_empty(), "{} failed or in doubt: {failures:?}", failures.len());
    let mut connection = Client::connect(targets, options(CLIENTS)).expect("it serves");
    let mut acknowledged = 0;
    for counter in 0..COUNTERS {
        let mut sums: Vec<i64> =
            told.iter().flat_map(|told| &told.sums[counter]).copied().collect();
        sums.sort_unstable();
        let value = connection.get(key(counter).as_bytes()).expect("a read").value;
        let value = String::from_utf8(value.unwrap_or_default()).expect("a number");
        assert_eq!(value, sums.len().to_string(), "{}: held, and acknowledged", key(counter));
        let wrong = sums.iter().zip(1..).find(|(sum, expected)| **sum != *expected);
        assert_eq!(wrong, None, "{}: a sum answered and the one expected", key(counter));
        acknowledged += sums.len();
    }
    eprintln!("{acknowledged} increments acknowledged");
    assert!(acknowledged >= INCREMENTS, "{acknowledged}");
}
