//! Administrators who change the shard map while all else goes on: groups come and leave, slots are moved,
//! nodes come and go.
//!
//! ```text
//!   fault ──▶ intent ──asked of any node, again and again──▶ answered: done, or refused for good
//!                ▲                                                │
//!                └── a drained node is undrained or removed, a group that left is forgotten ──┘
//! ```
//! Nothing is asked twice after it was answered, but what was not answered may have been done: so it is with
//! people. When the faults have stopped, what is begun is brought to its end: the run waits for that.

use std::collections::BTreeMap;

use super::clock::NodeClock;
use super::event::Event;
use super::faults::Fault;
use super::letter::Letter;
use super::node::{Node, Standing};
use super::shape::node_info;
use super::swarm::span;
use super::world::World;
use crate::base::{CoreId, GroupId, Micros, NodeId, SLOT_COUNT, Slot, Time};
use crate::placement::{NodeInfo, REPLICAS, ShardMap};
use crate::reactor::{AdminOutcome, GroupReason, Input, PlacementAnswer, PlacementOperation};

/// In every ticket of one who changes the map.
const TICKET: u64 = 1 << 61;
/// How often what is not answered is asked again.
const ROUND: Micros = Micros::from_millis(300);
/// How long until what follows a change is asked for.
const LATER: (Micros, Micros) = (Micros::from_millis(100), Micros::from_secs(8));
/// How long it takes to start a node that was added.
const START: (Micros, Micros) = (Micros::from_millis(1), Micros::from_secs(2));
/// Nodes and groups of a run, at most.
const NODES_MAX: usize = 6;
const GROUPS_MAX: usize = 6;

/// Who changes the map, and what they want.
#[derive(Debug)]
pub(super) struct Governor {
    /// What is not done yet, by its number.
    intents: BTreeMap<u64, Intent>,
    /// The next intent's.
    next: u64,
    /// Another round is planned: there is one while anything is to be done.
    planned: bool,
    /// Slots in which there is something.
    slots: Vec<Slot>,
    /// Changes that the shard master said are made.
    changes: u64,
    /// The latest epoch that it spoke of.
    epoch: u64,
    random: fastrand::Rng,
}

/// Something that somebody wants.
#[derive(Clone, Debug)]
struct Intent {
    wish: Wish,
    /// Not before.
    from: Time,
    /// How often it was asked.
    asked: u32,
}

#[derive(Clone, Debug)]
enum Wish {
    /// That the map is changed, as this kind of fault, or asked for.
    Ask(Option<Fault>, PlacementOperation),
    /// That a node that was added is started, as soon as there is a map with it.
    Start(NodeId),
}

impl Governor {
    pub(super) fn new(random: fastrand::Rng) -> Self {
        let (intents, slots) = Default::default();
        Self { intents, next: 0, planned: false, slots, changes: 0, epoch: 0, random }
    }

    /// Whether nobody wants anything, and the newest epoch they heard of is this one or an earlier one.
    pub(super) fn is_content(&self, epoch: u64) -> bool {
        self.intents.is_empty() && self.epoch <= epoch
    }

    fn wants(&mut self, wish: Wish, from: Time) {
        self.next += 1;
        self.intents.insert(self.next, Intent { wish, from, asked: 0 });
    }

    fn wants_to_ask(&self, wanted: impl Fn(&PlacementOperation) -> bool) -> bool {
        self.intents.values().any(|intent| match &intent.wish {
            Wish::Ask(_, operation) => wanted(operation),
            Wish::Start(_) => false,
        })
    }
}

impl World {
    /// These slots are worth moving, from now on.
    pub fn name_slots(&mut self, slots: impl IntoIterator<Item = Slot>) {
        self.governor.slots.extend(slots);
    }

    /// Changes of the map that the shard master said are made.
    pub fn map_changes(&self) -> u64 {
        self.governor.changes
    }

    /// How often a slot was served by another group than before.
    pub fn slots_moved(&self) -> u64 {
        self.invariants.owners.moved()
    }

    /// Where clients reach the nodes that belong to the cluster.
    pub fn addresses(&self) -> Vec<String> {
        self.members().into_iter().map(|id| node_info(id).client_address).collect()
    }

    /// What is still wanted of the shard master.
    pub(super) fn describe_wishes(&self) -> Vec<String> {
        let intents = self.governor.intents.values();
        intents
            .map(|intent| format!("wanted: {:?}, asked {} times", intent.wish, intent.asked))
            .collect()
    }

    /// Somebody wants the map changed.
    pub(super) fn govern(&mut self, fault: Fault) {
        let Some(operation) = self.choose_operation(fault) else { return };
        self.governor.wants(Wish::Ask(Some(fault), operation), self.out.now);
        self.governor_round();
    }

    /// No fault happens from now on: what is begun is brought to its end at once.
    pub(super) fn bring_to_an_end(&mut self) {
        let now = self.out.now;
        for intent in self.governor.intents.values_mut() {
            intent.from = now;
        }
        // What was never answered may have been done.
        let query = PlacementOperation::Query { epoch: None };
        self.governor.wants(Wish::Ask(None, query), now);
        self.governor_round();
    }

    /// Takes answers in, and asks for what is not done.
    pub(super) fn governor_round(&mut self) {
        self.take_placement_answers();
        let now = self.out.now;
        let due = self.governor.intents.iter().filter(|(_, intent)| intent.from <= now);
        let due: Vec<(u64, Wish)> = due.map(|(&number, it)| (number, it.wish.clone())).collect();
        for (number, wish) in due {
            match wish {
                Wish::Ask(_, operation) => self.ask_shard_master(number, operation),
                Wish::Start(id) => self.start_newcomer(number, id),
            }
        }
        self.plan_governor_round();
    }

    /// The round that was planned is this one.
    pub(super) fn planned_governor_round(&mut self) {
        self.governor.planned = false;
        self.governor_round();
    }

    fn plan_governor_round(&mut self) {
        if !self.governor.intents.is_empty() && !std::mem::replace(&mut self.governor.planned, true)
        {
            self.out.plan_in(ROUND, Event::Govern);
        }
    }

    /// Asks any node that runs.
    fn ask_shard_master(&mut self, number: u64, operation: PlacementOperation) {
        let running = self.nodes.values().filter(|node| node.process.is_some());
        let running: Vec<NodeId> = running.map(|node| node.id).collect();
        let Some(asked) = self.governor.random.choice(running) else { return };
        let Self { nodes, out, governor, .. } = self;
        let process = nodes.get_mut(&asked).and_then(|node| node.process.as_mut());
        let Some(process) = process else { return };
        out.trace.say(out.now, || format!("{asked} is asked for {operation:?}"));
        let ticket = TICKET | number;
        process.give(out, CoreId(0), Letter::Input(Input::Govern { ticket, operation }));
        governor.intents.get_mut(&number).expect("it is not done").asked += 1;
    }

    fn take_placement_answers(&mut self) {
        let mut answers = Vec::new();
        for node in self.nodes.values_mut() {
            let its = node.answers.extract_if(.., |answer| answer.ticket & TICKET != 0);
            answers.extend(its.map(|answer| (answer.ticket & !TICKET, answer.answer)));
        }
        for (number, answer) in answers {
            if let AdminOutcome::Placement(answer) = answer {
                self.take_placement_answer(number, answer);
            }
        }
    }

    fn take_placement_answer(&mut self, number: u64, answer: PlacementAnswer) {
        // Asked twice and answered twice, perhaps.
        let Some(intent) = self.governor.intents.remove(&number) else { return };
        let Wish::Ask(fault, operation) = &intent.wish else { return };
        match answer {
            Ok(view) => {
                self.governor.epoch = self.governor.epoch.max(view.epoch);
                self.governor.changes += u64::from(fault.is_some());
                self.out.trace.say(self.out.now, || format!("done: {operation:?}"));
                if let Some(fault) = *fault {
                    self.tally.count(fault);
                }
                self.follow_up(operation);
            }
            Err(refusal) => {
                self.out.trace.say(self.out.now, || format!("{operation:?}: {refusal:?}"));
                match refusal.reason {
                    GroupReason::NoLeader
                    | GroupReason::NotReady
                    | GroupReason::UnderWay
                    | GroupReason::NodeDown
                    | GroupReason::NoRoom => {
                        self.governor.intents.insert(number, intent);
                    }
                    // An earlier try was not answered, and did it.
                    GroupReason::NoChange => self.follow_up(operation),
                    _ => self.give_up(operation),
                }
            }
        }
    }

    /// A change is refused for good.
    fn give_up(&mut self, operation: &PlacementOperation) {
        if let PlacementOperation::AddNode { node, .. } = operation {
            self.node_mut(*node).standing = Standing::Retired;
        }
    }

    /// What is to be done after a change.
    fn follow_up(&mut self, operation: &PlacementOperation) {
        let random = &mut self.governor.random;
        let later = if self.swarm.storms { span(random, LATER) } else { Micros(0) };
        let from = self.out.now + later;
        let wish = match operation {
            PlacementOperation::AddNode { node, .. } => Wish::Start(*node),
            PlacementOperation::Drain { node } if random.bool() => {
                let operation = PlacementOperation::Undrain { node: *node };
                Wish::Ask(Some(Fault::Undrain), operation)
            }
            PlacementOperation::Drain { node } => {
                let operation = PlacementOperation::RemoveNode { node: *node };
                Wish::Ask(Some(Fault::RemoveNode), operation)
            }
            PlacementOperation::Leave { groups } if random.bool() => {
                let operation = PlacementOperation::Forget { group: groups[0] };
                Wish::Ask(Some(Fault::Forget), operation)
            }
            PlacementOperation::RemoveNode { node } => return self.retire(*node),
            _ => return,
        };
        self.governor.wants(wish, from);
    }

    /// A node was removed: its machine is switched off.
    fn retire(&mut self, id: NodeId) {
        self.out.trace.say(self.out.now, || format!("{id} belongs to the cluster no longer"));
        let Self { nodes, out, .. } = self;
        nodes.get_mut(&id).expect("a node of the cluster").retire(out);
    }

    /// A node that was added is started with the first map that names it.
    fn start_newcomer(&mut self, number: u64, id: NodeId) {
        let map = ShardMap::clone(&self.out.map);
        let removed = self.node_mut(id).standing == Standing::Retired;
        if map.node(id).is_none() && !removed {
            return;
        }
        self.governor.intents.remove(&number);
        let after = span(&mut self.governor.random, START);
        let node = self.node_mut(id);
        if node.standing == Standing::Newcomer {
            node.is_told(map);
            self.restart_in(after, id);
        }
    }

    /// What is to be asked for, if anything can be.
    fn choose_operation(&mut self, fault: Fault) -> Option<PlacementOperation> {
        let map = self.out.map.clone();
        let staying = map.groups.iter().map(|group| group.id);
        let staying: Vec<GroupId> = staying.filter(|id| !map.leaving.contains(id)).collect();
        let hosts = map.nodes.iter().map(|node| node.id);
        let hosts: Vec<NodeId> = hosts.filter(|id| !map.draining.contains(id)).collect();
        match fault {
            Fault::Join => {
                let random = self.swarm.random(fault);
                let room = GROUPS_MAX.saturating_sub(map.groups.len()).min(2);
                (room > 0).then(|| {
                    let groups = random.u32(1..=u32::try_from(room).expect("a few"));
                    PlacementOperation::Join { groups }
                })
            }
            Fault::Leave => {
                let random = self.swarm.random(fault);
                let group = random.choice(staying.iter().copied());
                let groups = group.filter(|_| staying.len() > 1).into_iter().collect::<Vec<_>>();
                (!groups.is_empty()).then_some(PlacementOperation::Leave { groups })
            }
            Fault::Move => self.some_move(&map, &staying),
            Fault::AddNode => self.add_node(),
            Fault::Drain => {
                let busy = self.governor.wants_to_ask(|operation| {
                    matches!(operation, PlacementOperation::RemoveNode { .. })
                });
                let random = self.swarm.random(fault);
                let node = random.choice(hosts.iter().copied())?;
                (hosts.len() > REPLICAS && !busy).then_some(PlacementOperation::Drain { node })
            }
            other => unreachable!("{other} changes no map by itself"),
        }
    }

    /// A few slots, most of them with something in them, half a group, or any run.
    fn some_move(&mut self, map: &ShardMap, staying: &[GroupId]) -> Option<PlacementOperation> {
        let named = self.governor.slots.clone();
        let random = self.swarm.random(Fault::Move);
        let to = random.choice(staying.iter().copied()).filter(|_| staying.len() > 1)?;
        let any = |random: &mut fastrand::Rng| random.u16(0..SLOT_COUNT);
        let slots = match random.u32(0..10) {
            0 => {
                let owned: Vec<u16> = map
                    .owned(map.groups[random.usize(0..map.groups.len())].id)
                    .iter()
                    .map(Slot::number)
                    .collect();
                let half = owned.len().div_ceil(2);
                owned.into_iter().take(half).map(|slot| (slot, slot)).collect()
            }
            1 | 2 => {
                let (one, other) = (any(random), any(random));
                vec![(one.min(other), one.max(other))]
            }
            _ => {
                let count = random.usize(1..=4);
                let chosen = (0..count).map(|_| match random.choice(&named) {
                    Some(slot) if random.u32(0..8) > 0 => slot.number(),
                    _ => any(random),
                });
                chosen.map(|slot| (slot, slot)).collect()
            }
        };
        Some(PlacementOperation::Move { slots, to })
    }

    /// A machine that was not there before.
    fn add_node(&mut self) -> Option<PlacementOperation> {
        let there = self.nodes.values().filter(|node| node.standing != Standing::Retired).count();
        if there >= NODES_MAX {
            return None;
        }
        let id = NodeId(self.nodes.keys().map(|id| id.0).max().unwrap_or_default() + 1);
        let random = self.swarm.random(Fault::AddNode);
        let smp = random.u16(1..=2);
        let clock = NodeClock::new(Time(0), Micros(random.u64(0..1_000_000_000)));
        let mut seed = random.fork();
        let mut node = Node::new(id, (smp, ShardMap::clone(&self.out.map)), clock, &mut seed);
        node.standing = Standing::Newcomer;
        self.nodes.insert(id, node);
        let NodeInfo { client_address, peer_address, .. } = node_info(id);
        Some(PlacementOperation::AddNode { node: id, client_address, peer_address })
    }
}
