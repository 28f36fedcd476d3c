//! Two groups on different nodes, a client that goes where the slot is, and who watches over all of it.

use std::collections::BTreeMap;
use std::ops::Range;

use sunstar::base::{ConnectionId, GroupId, Index, NodeId, Slot, SlotSet};
use sunstar::reactor::{GroupOperation, GroupStatus, Input, PlacementOperation};
use sunstar::wire::client::{OperationKind, Outcome, Status};

use crate::client::{Client, reply_of};
use crate::cluster::{Cluster, Faults};

/// On nodes 1 to 3, and on nodes 4 to 6.
pub(crate) const A: GroupId = GroupId(1);
pub(crate) const B: GroupId = GroupId(4);

/// Of the keys of the slot that is written: it is A's at first.
pub(crate) const TAG: &str = "b";

/// How often the shard master is asked for what it has not done yet.
const ASK_EVERY: u64 = 50;

/// Rounds without an answer after which a client asks again.
const PATIENCE: u64 = 120;

/// What an epoch moves, and where.
type Epoch = (SlotSet, GroupId);

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    /// What each epoch after the first moves. They begin one after the other.
    epochs: Vec<Epoch>,
    /// Of each group the newest state that any replica had: the entry, and what it serves then.
    served: BTreeMap<GroupId, (Index, SlotSet)>,
    writer: Writer,
    rounds: u64,
    random: fastrand::Rng,
}

/// Adds one to a key again and again, each time once.
struct Writer {
    /// With a session in each of the two groups.
    clients: [Client; 2],
    /// Which of them has the slot, as far as is known.
    at: usize,
    /// What is asked, if anything.
    asked: Option<Asked>,
    /// Not before this round.
    pause_until: u64,
    /// How often it was added to.
    done: i64,
    stopped: bool,
}

/// Writes a frame with any request number.
type FrameWriter = dyn Fn(u64, &mut Vec<u8>);

struct Asked {
    frame: Box<FrameWriter>,
    /// Nothing while there is nobody to ask.
    sent: Option<(ConnectionId, u64)>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_segments(seed, 8 << 20)
    }

    pub(crate) fn with_segments(seed: u64, segment_bytes: usize) -> Self {
        let mut cluster = Cluster::new(6, 4, segment_bytes, seed);
        let led = |cluster: &mut Cluster| {
            (1..=4).all(|group| cluster.leader(GroupId(group)).is_some()) && cluster.is_settled()
        };
        cluster.run_until(2_000, led);
        assert_eq!(cluster.map().group_of(Slot::of_key(TAG.as_bytes())), A);
        let clients = [A, B].map(|group| Client::open(&mut cluster, group.0.into(), group));
        let writer =
            Writer { clients, at: 0, asked: None, pause_until: 0, done: 0, stopped: false };
        let random = fastrand::Rng::with_seed(seed);
        let (epochs, served) = (Vec::new(), BTreeMap::new());
        Self { cluster, epochs, served, writer, rounds: 0, random }
    }

    pub(crate) fn slot() -> Slot {
        Slot::of_key(TAG.as_bytes())
    }

    /// The slot that is written, and some around it.
    pub(crate) fn slots_around(count: u16) -> SlotSet {
        let first = Self::slot().number() - count / 2;
        (first..first + count).map(|number| Slot::new(number).expect("a slot")).collect()
    }

    pub(crate) fn slots_of(&self, group: GroupId) -> Vec<Slot> {
        self.cluster.map().owned(group).iter().collect()
    }

    /// Puts keys into the slot that is written. Returns them.
    pub(crate) fn fill(&mut self, keys: u32, value_bytes: usize) -> Vec<(String, Vec<u8>)> {
        let mut content = Vec::new();
        for number in 0..keys {
            let key = format!("{{{TAG}}}k{number}");
            let value = vec![u8::try_from(number).expect("few"); value_bytes];
            let client = &mut self.writer.clients[0];
            client.write(&mut self.cluster, OperationKind::Put, &key, &value);
            content.push((key, value));
        }
        content
    }

    /// Demands that the keys are where the slot is.
    pub(crate) fn assert_content(&mut self, content: &[(String, Vec<u8>)]) {
        // The client may have stopped before it was sent on.
        let at = usize::from(self.owner() == B);
        for (key, value) in content {
            let found = self.writer.clients[at].get(&mut self.cluster, key);
            assert_eq!(found.as_ref(), Some(value), "{key}");
        }
    }

    /// Has slots moved, and waits until both groups know.
    pub(crate) fn move_slots(&mut self, slots: &SlotSet, to: GroupId) {
        self.epochs.push((slots.clone(), to));
        self.ask();
        let epoch = self.epochs.len() as u64 + 1;
        self.run_until(1_000, |world| {
            let known = |id: &NodeId| world.cluster.map_of(*id).epoch == epoch;
            world.cluster.ids().iter().any(known)
        });
    }

    pub(crate) fn run(&mut self, rounds: usize) {
        (0..rounds).for_each(|_| self.round());
    }

    pub(crate) fn run_until_moved(&mut self, rounds: usize) {
        self.run_until(rounds, Self::has_moved);
    }

    /// Until the shard master has heard that nothing is on its way any more.
    pub(crate) fn run_until_reported(&mut self, rounds: usize) {
        let epoch = self.epochs.len() as u64 + 1;
        let query = PlacementOperation::Query { epoch: None };
        for _ in 0..rounds {
            self.round();
            let Some(Ok(view)) = self.cluster.govern(NodeId(1), &query) else { continue };
            let reported = view.groups.iter().all(|group| {
                let progress = group.progress.as_ref();
                progress.is_some_and(|it| it.epoch == epoch && it.arriving + it.leaving == 0)
            });
            if reported {
                return;
            }
        }
        panic!("not told to the shard master within {rounds} rounds");
    }

    pub(crate) fn run_until(&mut self, rounds: usize, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..rounds {
            if done(self) {
                return;
            }
            self.round();
        }
        for (id, group) in self.cluster.groups() {
            println!("{id} {group:?}");
        }
        panic!("not within {rounds} rounds");
    }

    /// Until no node wants a turn by itself.
    pub(crate) fn run_until_asleep(&mut self, rounds: usize) {
        // Leaders send heartbeats: what is to end is what a turn asks for at once.
        let busy = |cluster: &Cluster| {
            cluster.ids().iter().any(|&id| cluster.reactor(id).deadline() <= cluster.now)
        };
        for _ in 0..rounds {
            self.cluster.round();
            if !busy(&self.cluster) {
                return;
            }
        }
        panic!("still busy after {rounds} rounds");
    }

    /// The client stops, and what it has counted is looked at. Returns how often it wrote.
    pub(crate) fn finish(&mut self) -> i64 {
        self.writer.stopped = true;
        for _ in 0..5_000 {
            if self.writer.asked.is_none() && self.cluster.is_settled() {
                break;
            }
            self.round();
        }
        assert!(self.writer.asked.is_none(), "an answer is missing");
        // The client may have stopped before it was sent on.
        let at = usize::from(self.owner() == B);
        let found = self.writer.clients[at].get(&mut self.cluster, &key());
        let found = found.map(|value| String::from_utf8(value).expect("digits"));
        assert_eq!(found.unwrap_or_default(), self.writer.done.to_string());
        self.cluster.assert_replicas_agree();
        self.writer.done
    }

    /// Who serves the slot that is written.
    pub(crate) fn owner(&self) -> GroupId {
        let serves = |(_, (_, slots)): &(&GroupId, &(Index, SlotSet))| slots.contains(Self::slot());
        *self.served.iter().find(serves).expect("somebody serves it").0
    }

    pub(crate) fn leader(&mut self, group: GroupId) -> NodeId {
        while self.cluster.leader(group).is_none() {
            self.round();
        }
        self.cluster.leader(group).expect("waited for above")
    }

    pub(crate) fn members(&self, group: GroupId) -> Vec<NodeId> {
        self.cluster.map().group(group).expect("a group of the map").members.clone()
    }

    pub(crate) fn crash(&mut self, node: NodeId) {
        self.cluster.crash(node);
    }

    pub(crate) fn start(&mut self, node: NodeId) {
        self.cluster.start(node);
    }

    pub(crate) fn restart_all(&mut self) {
        self.cluster.restart_all();
    }

    pub(crate) fn cut(&mut self, one: NodeId, other: NodeId) {
        self.cluster.cuts.extend([(one, other), (other, one)]);
    }

    pub(crate) fn heal(&mut self) {
        for (from, to) in std::mem::take(&mut self.cluster.cuts) {
            if self.cluster.is_up(from) {
                self.cluster.reset_link(from, to);
            }
        }
    }

    /// Bytes of the state of a group's leader, whose node leads nothing else that has keys.
    pub(crate) fn state_bytes(&mut self, group: GroupId) -> u64 {
        let leader = self.leader(group);
        self.cluster.brief_status(leader).state_bytes
    }

    /// Slots that a group has frozen and not dropped.
    pub(crate) fn frozen(&mut self, group: GroupId) -> usize {
        let leader = self.leader(group);
        let status = self.status(leader, group);
        status.leaving.min(1)
    }

    /// Slots that a group awaits.
    pub(crate) fn arriving(&mut self, group: GroupId) -> usize {
        let leader = self.leader(group);
        self.status(leader, group).arriving
    }

    /// Whether replicas of both groups have snapshots that are durable.
    pub(crate) fn have_snapshots(&self) -> bool {
        let groups = self.cluster.groups();
        let has = |group| {
            let mut ours = groups.iter().filter(|(_, status)| status.group == group);
            ours.any(|(_, status)| status.snapshot_index > Index::ZERO)
        };
        has(A) && has(B)
    }

    /// Keys of dropped slots whose memory is still held.
    pub(crate) fn unreclaimed_keys(&self) -> u64 {
        let ids = self.cluster.ids().into_iter();
        ids.map(|id| self.cluster.brief_status(id).unreclaimed_keys).sum()
    }

    /// Puts many small keys into the slot that is written, a thousand a frame.
    pub(crate) fn fill_with_many(&mut self, thousands: u64) {
        let client = &mut self.writer.clients[0];
        for thousand in 0..thousands {
            let keys = (0..1_000).map(|number| format!("{{{TAG}}}m{thousand}-{number}"));
            client.write_all(&mut self.cluster, &keys.collect::<Vec<_>>(), b"value");
        }
    }

    /// Slots move to and fro while everything fails; in the end all is well.
    pub(crate) fn storm(&mut self) {
        let lossy = Faults { lost_percent: 5, doubled_percent: 5, delay_max: 4 };
        let mut to = A;
        for _ in 0..4 {
            self.cluster.faults = lossy;
            let count = self.random.u16(1..80);
            let moved = Self::slots_around(count);
            to = if to == A { B } else { A };
            self.move_slots(&moved, to);
            for _ in 0..4 {
                let rounds = self.random.usize(1..150);
                self.run(rounds);
                self.harm();
            }
            self.cluster.faults = Faults::default();
            self.heal();
            for id in (1..=6).map(NodeId) {
                if !self.cluster.is_up(id) {
                    self.start(id);
                }
            }
            self.run_until_moved(6_000);
        }
    }

    fn harm(&mut self) {
        let (node, other) = (NodeId(self.random.u64(1..=6)), NodeId(self.random.u64(1..=6)));
        let group = if self.random.bool() { A } else { B };
        match self.random.u32(0..6) {
            0 | 1 if self.cluster.is_up(node) => self.crash(node),
            0 | 1 => self.start(node),
            2 => self.cut(node, other),
            3 => self.heal(),
            4 => self.restart_all(),
            _ => {
                let leader = self.cluster.leader(group);
                if let Some(leader) = leader.filter(|&leader| self.cluster.is_up(leader)) {
                    let members = self.members(group);
                    let node = members[self.random.usize(..members.len())];
                    let operation = GroupOperation::Transfer { node };
                    let input = Input::Administer { ticket: 0, group, operation };
                    self.cluster.step(leader, input);
                }
            }
        }
    }

    fn round(&mut self) {
        self.rounds += 1;
        self.cluster.round();
        self.watch();
        if self.rounds.is_multiple_of(ASK_EVERY) {
            self.ask();
        }
        self.writer.go_on(&mut self.cluster, self.rounds);
    }

    /// Whatever was committed anywhere: no slot has two owners.
    fn watch(&mut self) {
        let mut changed = false;
        for id in self.cluster.ids() {
            let reactor = self.cluster.reactor(id);
            for view in reactor.replicas() {
                let slots = reactor.served_slots(view.group).expect("it is here");
                match self.served.get_mut(&view.group) {
                    Some((applied, _)) if *applied >= view.applied_index => {}
                    Some((applied, known)) if known == slots => *applied = view.applied_index,
                    _ => {
                        self.served.insert(view.group, (view.applied_index, slots.clone()));
                        changed = true;
                    }
                }
            }
        }
        if changed {
            self.assert_one_owner_each();
        }
    }

    fn assert_one_owner_each(&self) {
        let mut owners: BTreeMap<Slot, GroupId> = BTreeMap::new();
        for (&group, (index, slots)) in &self.served {
            for slot in slots.iter() {
                if let Some(other) = owners.insert(slot, group) {
                    panic!("{slot} is served by {other} and, at {index}, by {group}");
                }
            }
        }
    }

    /// Asks the shard master for the next epoch, if it has not begun.
    fn ask(&mut self) {
        let ids = self.cluster.ids();
        let known = ids.iter().map(|&id| self.cluster.map_of(id).epoch).max().unwrap_or(1);
        let done = usize::try_from(known).expect("small") - 1;
        let Some((slots, to)) = self.epochs.get(done) else { return };
        let slots = slots.iter().map(|slot| (slot.number(), slot.number())).collect();
        let operation = PlacementOperation::Move { slots, to: *to };
        let node = ids[self.random.usize(..ids.len())];
        self.cluster.step(node, Input::Govern { ticket: 0, operation });
    }

    /// Whether each group concerned is in its last epoch, with nothing left to do.
    pub(crate) fn has_moved(&self) -> bool {
        let epoch = self.epochs.len() as u64 + 1;
        [A, B].iter().all(|&group| {
            let Some(leader) = self.cluster.leader(group) else { return false };
            let status = self.status(leader, group);
            status.epoch == epoch && status.arriving + status.leaving == 0
        })
    }

    fn status(&self, node: NodeId, group: GroupId) -> GroupStatus {
        let groups = self.cluster.brief(node);
        groups.into_iter().find(|status| status.group == group).expect("its leader is there")
    }
}

impl Writer {
    fn go_on(&mut self, cluster: &mut Cluster, round: u64) {
        if round < self.pause_until {
            return;
        }
        let Some(asked) = &mut self.asked else {
            if !self.stopped {
                let client = &mut self.clients[self.at];
                client.sequence += 1;
                let frame = client.frame(OperationKind::Increment, &key(), &1_i64.to_le_bytes());
                self.asked = Some(Asked { frame: Box::new(frame), sent: None });
            }
            return;
        };
        let client = &mut self.clients[self.at];
        let Some((connection, since)) = asked.sent else {
            if let Some(leader) = cluster.leader(client.group) {
                let connection = client.send(cluster, leader, &asked.frame);
                asked.sent = Some((connection, round));
            }
            return;
        };
        let Some(bytes) = cluster.replies.remove(&connection) else {
            if round > since + PATIENCE {
                asked.sent = None;
            }
            return;
        };
        let reply = reply_of(&bytes);
        if reply.outcome != Outcome::Ok {
            (asked.sent, self.pause_until) = (None, round + 10);
            return;
        }
        self.asked = None;
        let answer = reply.answers[0].0;
        match answer.status {
            Status::Ok => {
                self.done += 1;
                assert_eq!(answer.number, self.done, "each counts once");
            }
            Status::WrongSlot => {
                let hint = answer.number;
                let known = [A, B].iter().position(|group| i64::from(group.0) == hint);
                self.at = known.unwrap_or_else(|| panic!("sent on to group {hint}"));
                self.pause_until = round + 2;
            }
            status => panic!("{status:?}"),
        }
    }
}

fn key() -> String {
    format!("{{{TAG}}}count")
}

pub(crate) fn seeds() -> Range<u64> {
    let range = std::env::var("SUNSTAR_MOVES").unwrap_or_else(|_| "100..106".to_owned());
    let (first, last) = range.split_once("..").expect("SUNSTAR_MOVES is FIRST..LAST");
    let number = |text: &str| text.parse().expect("SUNSTAR_MOVES is FIRST..LAST");
    number(first)..number(last)
}
