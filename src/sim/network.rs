//! The network: connections between hosts, each a pair of streams that keep their order.
//!
//! ```text
//!   caller ──▶ lane: [packet due 1.2 ms][packet due 1.3 ms] ──▶ callee
//!          ◀── lane: [packet due 1.1 ms]                    ◀──
//! ```
//!
//! - A packet arrives when it is due, never before one sent earlier. One that the way loses is sent
//!   again by the sender's system: it, and all behind it, is late.
//! - A *way* is a direction between two hosts. What is due on a way that is cut waits, with all behind it,
//!   until the way is mended: neither end is told. It is the failure detector that gives up.
//! - A connection that *breaks* loses what is on its way, and both ends hear of it.
//! - A host without power answers nothing and tells nobody; one that has no such process answers that the
//!   connection is no more.
//!
//! With harsh links, which no system's sockets are, single batches of one connection between nodes are
//! lost, doubled, or overtaken.

use std::collections::{BTreeMap, VecDeque};

use super::packet::Packet;
use super::schedule::Schedule;
use super::weather::{Weather, befalls};
use crate::base::{NodeId, Time};

/// The host that all clients are on.
pub(super) const CLIENTS: NodeId = NodeId(0);

/// A connection's number, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wire(pub(super) u64);

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Caller,
    Callee,
}

/// A direction between two hosts.
pub(super) type Way = (NodeId, NodeId);

/// What arrives.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) wire: Wire,
    /// Who receives.
    pub(super) side: Side,
    /// On which host.
    pub(super) host: NodeId,
    pub(super) packet: Packet,
}

/// All connections, and the ways between the hosts.
#[derive(Debug)]
pub(super) struct Network {
    connections: BTreeMap<Wire, Connection>,
    /// Connections so far.
    made: u64,
    /// When to look at a lane: at least once for each packet in it that is not stalled.
    arrivals: Schedule<(Wire, Side)>,
    /// How often each way is cut at present.
    cuts: BTreeMap<Way, u32>,
    pub(super) weather: Weather,
    /// Whether batches are lost, doubled and overtaken one by one.
    harsh: bool,
    random: fastrand::Rng,
    /// Packets that were sent again, and single batches that were lost, doubled and overtaken.
    pub(super) mishaps: Mishaps,
}

/// What befell packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mishaps {
    pub(super) resent: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) overtaken: u64,
    pub(super) stalled: u64,
}

#[derive(Debug)]
struct Connection {
    hosts: [NodeId; 2],
    /// Whether that end is done with it.
    closed: [bool; 2],
    /// Whether that end lost its power: it has not told the other.
    dark: [bool; 2],
    /// What is on its way to that end.
    lanes: [Lane; 2],
}

#[derive(Debug, Default)]
struct Lane {
    /// Each with the time it is due, which never falls.
    packets: VecDeque<(Time, Packet)>,
    /// When the last packet ever sent is due.
    last_due: Time,
    /// The first packet found the way cut.
    stalled: bool,
}

impl Network {
    pub(super) fn new(weather: Weather, harsh: bool, random: fastrand::Rng) -> Self {
        Self {
            connections: BTreeMap::new(),
            made: 0,
            arrivals: Schedule::new(),
            cuts: BTreeMap::new(),
            weather,
            harsh,
            random,
            mishaps: Mishaps::default(),
        }
    }

    /// Begins a connection: `Packet::Call` is on its way.
    pub(super) fn open(&mut self, now: Time, from: NodeId, to: NodeId) -> Wire {
        self.made += 1;
        let wire = Wire(self.made);
        let lanes = [Lane::default(), Lane::default()];
        self.connections.insert(
            wire,
            Connection { hosts: [from, to], closed: [false; 2], dark: [false; 2], lanes },
        );
        self.send(now, wire, Side::Caller, Packet::Call);
        wire
    }

    /// Sends from one side; nothing if that connection is no more.
    pub(super) fn send(&mut self, now: Time, wire: Wire, from: Side, packet: Packet) {
        let Some(connection) = self.connections.get(&wire) else { return };
        if connection.closed[from.index()] {
            return;
        }
        let single = self.harsh && matches!(packet, Packet::Batch(_));
        if single && befalls(&mut self.random, self.weather.lost_percent) {
            self.mishaps.lost += 1;
            return;
        }
        if single && befalls(&mut self.random, self.weather.doubled_percent) {
            self.mishaps.doubled += 1;
            self.put(now, wire, from, packet.clone());
        }
        self.put(now, wire, from, packet);
        if single && befalls(&mut self.random, self.weather.overtaken_percent) {
            self.overtake(wire, from.other());
        }
    }

    fn put(&mut self, now: Time, wire: Wire, from: Side, packet: Packet) {
        let to = from.other();
        let mut delay = self.weather.delay(&mut self.random);
        if !self.harsh && befalls(&mut self.random, self.weather.lost_percent) {
            self.mishaps.resent += 1;
            delay.0 += self.weather.resend(&mut self.random).0;
        }
        let Some(connection) = self.connections.get_mut(&wire) else { return };
        let lane = &mut connection.lanes[to.index()];
        lane.last_due = lane.last_due.max(now + delay);
        lane.packets.push_back((lane.last_due, packet));
        if !lane.stalled {
            self.arrivals.plan(lane.last_due, (wire, to));
        }
    }

    /// The last batch comes before the one sent before it.
    fn overtake(&mut self, wire: Wire, to: Side) {
        let Some(connection) = self.connections.get_mut(&wire) else { return };
        let packets = connection.lanes[to.index()].packets.make_contiguous();
        if let [.., (_, before @ Packet::Batch(_)), (_, last)] = packets {
            std::mem::swap(before, last);
            self.mishaps.overtaken += 1;
        }
    }

    /// One side is done with a connection: what it sent arrives, then its end.
    pub(super) fn close(&mut self, now: Time, wire: Wire, side: Side) {
        self.send(now, wire, side, Packet::End);
        self.abandon(wire, side);
    }

    /// The host at one end loses its power: nobody is told.
    pub(super) fn darken(&mut self, wire: Wire, side: Side) {
        if let Some(connection) = self.connections.get_mut(&wire) {
            connection.dark[side.index()] = true;
        }
        self.abandon(wire, side);
    }

    /// A host has power again: who still sends on a connection of its past is told that it is no more.
    pub(super) fn lighten(&mut self, now: Time, host: NodeId) {
        let mut forgotten = Vec::new();
        for (&wire, connection) in &mut self.connections {
            for side in [Side::Caller, Side::Callee] {
                let is_meant = connection.hosts[side.index()] == host;
                if is_meant && std::mem::take(&mut connection.dark[side.index()]) {
                    forgotten.push((wire, side));
                }
            }
        }
        for (wire, side) in forgotten {
            self.put(now, wire, side, Packet::End);
        }
    }

    fn abandon(&mut self, wire: Wire, side: Side) {
        let Some(connection) = self.connections.get_mut(&wire) else { return };
        connection.closed[side.index()] = true;
        connection.lanes[side.index()].packets.clear();
        if connection.closed == [true; 2] {
            self.connections.remove(&wire);
        }
    }

    /// A process is gone, and its system ends its connections: some of what it sent last is lost.
    pub(super) fn close_abruptly(&mut self, now: Time, wire: Wire, side: Side) {
        self.lose_last(wire, side.other());
        self.close(now, wire, side);
    }

    /// A connection breaks: of what is on its way the last part is lost, and both ends are told.
    pub(super) fn break_down(&mut self, now: Time, wire: Wire) {
        for side in [Side::Caller, Side::Callee] {
            self.lose_last(wire, side);
            self.send(now, wire, side.other(), Packet::End);
        }
    }

    fn lose_last(&mut self, wire: Wire, to: Side) {
        if let Some(connection) = self.connections.get_mut(&wire) {
            let packets = &mut connection.lanes[to.index()].packets;
            packets.truncate(self.random.usize(0..=packets.len()));
        }
    }

    /// Connections between two hosts, either way.
    pub(super) fn between(&self, one: NodeId, other: NodeId) -> Vec<Wire> {
        let meant = |it: &Connection| it.hosts == [one, other] || it.hosts == [other, one];
        self.connections.iter().filter(|(_, it)| meant(it)).map(|(&wire, _)| wire).collect()
    }

    /// From now on nothing arrives on this way.
    pub(super) fn cut(&mut self, way: Way) {
        *self.cuts.entry(way).or_default() += 1;
    }

    /// Undoes one `cut`. What waited is sent again soon.
    pub(super) fn mend(&mut self, now: Time, way: Way) {
        let Some(count) = self.cuts.get_mut(&way) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.cuts.remove(&way);
        for (&wire, connection) in &mut self.connections {
            for to in [Side::Caller, Side::Callee] {
                let is_meant =
                    (connection.hosts[to.other().index()], connection.hosts[to.index()]) == way;
                let lane = &mut connection.lanes[to.index()];
                if !is_meant || !std::mem::take(&mut lane.stalled) {
                    continue;
                }
                let resumed = now + self.weather.resend(&mut self.random);
                for (due, _) in &mut lane.packets {
                    *due = resumed.max(*due);
                    self.arrivals.plan(*due, (wire, to));
                }
                lane.last_due = resumed.max(lane.last_due);
            }
        }
    }

    /// Undoes every `cut`.
    pub(super) fn mend_all(&mut self, now: Time) {
        for (way, count) in self.cuts.clone() {
            (0..count).for_each(|_| self.mend(now, way));
        }
    }

    /// When `poll` has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.arrivals.next_at()
    }

    /// Takes the next arrival, if there is one by `now`.
    pub(super) fn poll(&mut self, now: Time) -> Option<Delivery> {
        while self.arrivals.next_at().is_some_and(|at| at <= now) {
            let (_, (wire, side)) = self.arrivals.pop().expect("just seen");
            if let Some(delivery) = self.arrive(now, wire, side) {
                return Some(delivery);
            }
        }
        None
    }

    fn arrive(&mut self, now: Time, wire: Wire, side: Side) -> Option<Delivery> {
        let connection = self.connections.get_mut(&wire)?;
        let (host, from) = (connection.hosts[side.index()], connection.hosts[side.other().index()]);
        let lane = &mut connection.lanes[side.index()];
        if lane.stalled || lane.packets.front().is_none_or(|(due, _)| *due > now) {
            return None;
        }
        if self.cuts.contains_key(&(from, host)) {
            lane.stalled = true;
            self.mishaps.stalled += 1;
            return None;
        }
        let (_, packet) = lane.packets.pop_front()?;
        if connection.closed[side.index()] {
            return None;
        }
        Some(Delivery { wire, side, host, packet })
    }
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn network(harsh: bool) -> Network {
        Network::new(Weather::fair(), harsh, fastrand::Rng::with_seed(1))
    }

    /// What arrives at one side by `until`, by the first byte of its bytes.
    fn arrived(network: &mut Network, until: u64, side: Side) -> Vec<u8> {
        let mut arrived = Vec::new();
        while let Some(delivery) = network.poll(Time(until)) {
            if delivery.side == side {
                arrived.extend(delivery.packet.bytes().first());
            }
        }
        arrived
    }

    fn send_ten(network: &mut Network, now: u64) -> Wire {
        let wire = network.open(Time(now), A, B);
        for number in 0..10 {
            network.send(Time(now), wire, Side::Caller, Packet::Batch(vec![number]));
        }
        wire
    }

    #[test]
    fn a_stream_keeps_its_order_whatever_becomes_of_its_packets() {
        let mut network = network(false);
        network.weather.lost_percent = 30;
        for _ in 0..20 {
            send_ten(&mut network, 0);
            assert_eq!(
                arrived(&mut network, 10_000_000, Side::Callee),
                (0..10).collect::<Vec<_>>()
            );
        }
        assert!(network.mishaps.resent > 20, "{:?}", network.mishaps);
    }

    #[test]
    fn what_comes_to_a_cut_waits_for_it_to_be_mended() {
        let mut network = network(false);
        network.cut((A, B));
        network.cut((A, B));
        let wire = send_ten(&mut network, 0);
        network.send(Time(0), wire, Side::Callee, Packet::Batch(vec![77]));
        assert!(arrived(&mut network, 5_000_000, Side::Callee).is_empty());
        network.mend(Time(5_000_000), (A, B));
        assert!(arrived(&mut network, 9_000_000, Side::Callee).is_empty(), "cut twice");
        network.mend(Time(9_000_000), (A, B));
        assert_eq!(arrived(&mut network, 19_000_000, Side::Callee), (0..10).collect::<Vec<_>>());
        assert!(network.deadline().is_none() && network.mishaps.stalled > 0);
    }

    #[test]
    fn the_other_way_is_not_cut() {
        let mut network = network(false);
        network.cut((A, B));
        let wire = network.open(Time(0), A, B);
        network.send(Time(0), wire, Side::Callee, Packet::Batch(vec![77]));
        assert_eq!(arrived(&mut network, 5_000_000, Side::Caller), [77]);
    }

    #[test]
    fn a_connection_that_breaks_loses_what_was_sent_last_and_ends() {
        let mut network = network(false);
        let mut counts = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let wire = send_ten(&mut network, 0);
            network.break_down(Time(0), wire);
            let mut batches: Vec<u8> = Vec::new();
            let mut ends = 0;
            while let Some(delivery) = network.poll(Time(10_000_000)) {
                batches.extend(delivery.packet.bytes().first());
                ends += usize::from(matches!(delivery.packet, Packet::End));
            }
            assert_eq!(ends, 2);
            assert_eq!(batches, (0..10).take(batches.len()).collect::<Vec<u8>>(), "a prefix");
            counts.insert(batches.len());
        }
        assert!(counts.len() > 3, "{counts:?}");
    }

    #[test]
    fn harsh_links_lose_double_and_reorder_single_batches() {
        let mut network = network(true);
        network.weather.lost_percent = 20;
        network.weather.doubled_percent = 20;
        network.weather.overtaken_percent = 20;
        for _ in 0..20 {
            send_ten(&mut network, 0);
            arrived(&mut network, 10_000_000, Side::Callee);
        }
        let Mishaps { lost, doubled, overtaken, .. } = network.mishaps;
        assert!(lost > 10 && doubled > 10 && overtaken > 10, "{:?}", network.mishaps);
    }

    #[test]
    fn a_connection_that_both_ends_closed_is_forgotten() {
        let mut network = network(false);
        let wire = send_ten(&mut network, 0);
        network.close(Time(0), wire, Side::Caller);
        assert_eq!(arrived(&mut network, 10_000_000, Side::Callee).len(), 10, "sent before");
        assert!(!network.connections.is_empty(), "the other end has not closed");
        network.close(Time(0), wire, Side::Callee);
        assert!(network.connections.is_empty());
    }
}
