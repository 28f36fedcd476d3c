//! A node: a machine with a clock and a disk, and a process that runs on it or does not.

use super::clock::NodeClock;
use super::disk::{Disk, Done, Lost, Refusal, Settings, Speed, Start};
use super::event::{Event, Life};
use super::letter::Letter;
use super::network::{Delivery, Side};
use super::packet::Packet;
use super::process::Process;
use super::registry::{Registry, noted};
use super::shape::Shape;
use super::surroundings::Surroundings;
use super::turn::Reach;
use crate::base::{ClusterId, CoreId, Incarnation, Micros, NodeId, Time};
use crate::peering::{Incarnations, Known};
use crate::placement::ShardMap;
use crate::reactor::{AdminAnswer, Reactor, ReactorConfig, RecoverError};
use crate::wal::Superblock;

/// The cluster's name.
const CLUSTER: ClusterId = ClusterId(0x5075_a235);

/// A machine.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) clock: NodeClock,
    pub(super) disk: Disk,
    /// What it goes by as long as its disk keeps no later one: of the first start, or what it was told when
    /// it joined.
    first_map: ShardMap,
    /// Which incarnations of the others its process has seen, or noted before.
    incarnations: Incarnations,
    /// Cores that its processes are started with.
    smp: u16,
    /// Whether the next one dies while it moves the groups to other cores, if it does that.
    dies_on_the_way: bool,
    /// Whether the machine has power.
    powered: bool,
    pub(super) process: Option<Process>,
    /// What administrators are answered.
    pub(super) answers: Vec<AdminAnswer>,
    /// What it is to the cluster.
    pub(super) standing: Standing,
}

/// What a node is to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was asked to join, and has not been started.
    Newcomer,
    /// It belongs to it.
    Member,
    /// It was removed, and never starts again.
    Retired,
}

/// What became of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// It was not taken: the process is gone, or stands still.
    Nothing,
    /// It was taken.
    Done,
    /// The process dies before all is done that the turn asked: it is to be killed.
    Died,
}

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// What is on the disk cannot be used.
    #[error(transparent)]
    Disk(#[from] Refusal),
    /// A reactor cannot start from it.
    #[error(transparent)]
    Reactor(#[from] RecoverError),
}

impl Node {
    pub(super) fn new(
        id: NodeId,
        (smp, first_map): (u16, ShardMap),
        clock: NodeClock,
        random: &mut fastrand::Rng,
    ) -> Self {
        Self {
            id,
            clock,
            disk: Disk::new(Speed::default(), random.fork()),
            first_map,
            incarnations: Incarnations::default(),
            smp,
            dies_on_the_way: false,
            powered: true,
            process: None,
            answers: Vec::new(),
            standing: Standing::Member,
        }
    }

    /// What its clock shows.
    pub(super) fn time(&self, out: &Surroundings) -> Time {
        self.clock.read(out.now)
    }

    /// Starts its process from what its disk holds.
    ///
    /// # Errors
    /// If it cannot start from that.
    pub(super) fn start(&mut self, out: &mut Surroundings, shape: &Shape) -> Result<(), Failure> {
        assert!(self.process.is_none(), "{} runs", self.id);
        let now = self.time(out);
        let settings = Settings {
            cluster: CLUSTER,
            node: self.id,
            map: &self.first_map,
            smp: self.smp,
            segment_bytes: shape.segment_bytes,
            dies_on_the_way: std::mem::take(&mut self.dies_on_the_way),
        };
        let Start { superblock, map, cores, .. } = self.disk.start(&settings)?;
        let mut reactors = Vec::new();
        for (core, recovered) in (0..).map(CoreId).zip(cores) {
            let config = self.config(core, now, (shape, &map), &superblock);
            reactors.push(Reactor::new(now, config, recovered)?);
        }
        if !std::mem::replace(&mut self.powered, true) {
            out.network.lighten(out.now, self.id);
        }
        self.incarnations = noted(&self.disk);
        let life = out.next_life();
        let others = map.nodes.iter().map(|node| node.id).filter(|&other| other != self.id);
        let (identity, timeout) = ((self.id, superblock.incarnation), shape.election_timeout);
        self.process = Some(Process::new(identity, (CLUSTER, timeout), life, others, reactors));
        out.trace.say(out.now, || format!("{} starts", self.id));
        out.plan_in(Micros(1), Event::Tick { node: self.id, life });
        Ok(())
    }

    fn config(
        &self,
        core: CoreId,
        now: Time,
        (shape, map): (&Shape, &ShardMap),
        superblock: &Superblock,
    ) -> ReactorConfig {
        let wall_offset = self.clock.wall_offset();
        let incarnation = superblock.incarnation;
        ReactorConfig {
            cluster: CLUSTER,
            node: self.id,
            incarnation,
            core,
            smp: superblock.smp,
            shard_map: map.clone(),
            seed: wall_offset ^ now.0 ^ incarnation.0.rotate_left(u32::from(core.0)),
            wall_offset,
            election_timeout: shape.election_timeout,
            heartbeat_interval: shape.heartbeat_interval,
            lease: shape.lease,
            segment_bytes: shape.segment_bytes,
            log_seed: superblock.log_seed,
            log_writes_in_flight_max: 4,
            live_segments_max: shape.live_segments_max,
            entries_memory_max: shape.entries_memory_max,
            memory_max: shape.memory_max,
            piece_bytes: shape.piece_bytes,
        }
    }

    pub(super) fn smp(&self) -> u16 {
        self.smp
    }

    /// Its next process has so many cores, and perhaps dies on the way to having them.
    pub(super) fn set_smp(&mut self, smp: u16, dies_on_the_way: bool) {
        (self.smp, self.dies_on_the_way) = (smp, dies_on_the_way);
    }

    /// Its process and what that knows of others, if it runs and does not stand still.
    fn attentive(&mut self) -> Option<(&mut Process, &mut Incarnations, &mut Disk)> {
        let Self { process, incarnations, disk, .. } = self;
        let process = process.as_mut().filter(|process| !process.stands_still())?;
        Some((process, incarnations, disk))
    }

    /// Whether it runs, and none of its replicas doubts anything.
    pub(super) fn is_certain(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| process.cores().all(|core| is_certain(&core.reactor)))
    }

    /// Whether it would run, and none of its replicas would doubt anything, were it started from what its
    /// disk holds now.
    pub(super) fn would_be_certain(&self, out: &Surroundings, shape: &Shape) -> bool {
        let Ok((superblock, cores)) = self.disk.examine() else { return false };
        let Ok(kept) = self.disk.kept_map() else { return false };
        let map = kept.as_ref().unwrap_or(&self.first_map);
        let now = self.time(out);
        (0..).map(CoreId).zip(cores).all(|(core, recovered)| {
            let config = self.config(core, now, (shape, map), &superblock);
            let reactor = Reactor::new(now, config, recovered);
            reactor.is_ok_and(|reactor| is_certain(&reactor))
        })
    }

    /// Lets another node's new disk in, durably. Returns whether it counts here from now on.
    pub(super) fn let_in(
        &mut self,
        out: &mut Surroundings,
        node: NodeId,
        incarnation: Incarnation,
    ) -> bool {
        let now = self.time(out);
        let second = self.clock.wall_seconds(out.now);
        let Some((process, incarnations, disk)) = self.attentive() else { return false };
        let mut registry = Registry { now, incarnations, disk };
        let (counts, changed) = registry.replace(second, node, incarnation);
        if changed {
            process.node_replaced(out, &registry, node);
        }
        counts
    }

    /// Whether its process, or the next one, knows that this disk of another node counts.
    pub(super) fn counts(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let known = |known: Known| known.incarnation == incarnation && known.generation > 0;
        self.incarnations.known(node).is_some_and(known)
    }

    /// It joins: this is what it is told before its first start.
    pub(super) fn is_told(&mut self, map: ShardMap) {
        assert!(self.process.is_none(), "{} runs", self.id);
        (self.first_map, self.standing) = (map, Standing::Member);
    }

    /// It was removed: its process ends, and there will be no other.
    pub(super) fn retire(&mut self, out: &mut Surroundings) {
        self.kill(out);
        self.standing = Standing::Retired;
    }

    /// The process of that life, if it runs.
    fn alive(&mut self, life: Life) -> Option<&mut Process> {
        self.process.as_mut().filter(|process| process.life == life)
    }

    /// Its process dies, if it runs. Returns whether it did.
    pub(super) fn kill(&mut self, out: &mut Surroundings) -> bool {
        let Some(process) = self.process.take() else { return false };
        self.disk.kill();
        for (wire, side) in process.all_wires() {
            out.network.close_abruptly(out.now, wire, side);
        }
        true
    }

    /// The machine loses its power, whether a process runs or not. Returns what the disk lost.
    pub(super) fn lose_power(&mut self, out: &mut Surroundings) -> Lost {
        self.powered = false;
        if let Some(process) = self.process.take() {
            for (wire, side) in process.all_wires() {
                out.network.darken(wire, side);
            }
        }
        self.disk.power_loss()
    }

    /// The process stands still from now on. Returns whether it ran before.
    pub(super) fn pause(&mut self) -> Option<Life> {
        let process = self.process.as_mut()?;
        process.pause().then_some(process.life)
    }

    /// The process of that life goes on.
    pub(super) fn resume(&mut self, out: &mut Surroundings, life: Option<Life>) {
        let now = self.time(out);
        let Self { process: Some(process), incarnations, disk, id, .. } = self else { return };
        let meant = life.is_none_or(|life| process.life == life);
        if meant && process.resume(out, &mut Registry { now, incarnations, disk }) {
            out.trace.say(out.now, || format!("{id} goes on"));
            let life = process.life;
            out.plan_in(Micros(1), Event::Tick { node: *id, life });
        }
    }

    /// The disk completes what it was asked, and is held no longer.
    pub(super) fn release_disk(&mut self, out: &mut Surroundings) {
        self.disk.hold(false);
        plan_disk(self.id, &self.disk, out);
    }

    /// A core takes a turn. Returns what became of it.
    pub(super) fn turn(&mut self, out: &mut Surroundings, life: Life, core: CoreId) -> Turned {
        let now = self.time(out);
        let Self { process: Some(process), disk, answers, id, .. } = self else {
            return Turned::Nothing;
        };
        // An earlier life's turn: this one may not even have such a core.
        if process.life != life {
            return Turned::Nothing;
        }
        if process.stands_still() {
            process.core(core).waking = false;
            return Turned::Nothing;
        }
        let lives = process.turn(core, &mut Reach { out, disk, answers, now });
        plan_disk(*id, disk, out);
        if lives { Turned::Done } else { Turned::Died }
    }

    /// A letter from another core arrives.
    pub(super) fn letter(
        &mut self,
        out: &mut Surroundings,
        (life, core): (Life, CoreId),
        letter: Letter,
    ) {
        if let Some(process) = self.alive(life) {
            process.give(out, core, letter);
        }
    }

    /// The process looks at its clock.
    pub(super) fn tick(&mut self, out: &mut Surroundings, life: Life) {
        let now = self.time(out);
        let Self { process: Some(process), incarnations, .. } = self else { return };
        if process.life != life || process.stands_still() {
            return;
        }
        let next = process.tick(out, incarnations, now);
        let at = self.clock.when(next).max(out.now + Micros(1));
        out.schedule.plan(at, Event::Tick { node: self.id, life });
    }

    /// The disk is done with something. Returns whether the process died of it.
    pub(super) fn disk_done(&mut self, out: &mut Surroundings, at: Time) -> bool {
        if self.disk.deadline() != Some(at) {
            return false;
        }
        while let Some((core, done)) = self.disk.poll(out.now) {
            if done == Done::WriteFailed {
                return self.kill(out);
            }
            if let Some(process) = &mut self.process {
                process.give(out, core, Letter::Disk(done));
            }
        }
        plan_disk(self.id, &self.disk, out);
        false
    }

    /// Something arrives from the network.
    pub(super) fn deliver(&mut self, out: &mut Surroundings, delivery: Delivery) {
        let Delivery { wire, side, packet, .. } = delivery;
        let now = self.time(out);
        if !self.powered {
            return out.network.darken(wire, side);
        }
        let Self { process, incarnations, disk, .. } = self;
        match process {
            Some(process) if matches!(packet, Packet::Call) => process.accept(out, now, wire),
            Some(process) if process.has(wire) => {
                process.take(out, &mut Registry { now, incarnations, disk }, wire, packet);
            }
            // No process knows this connection.
            _ => {
                assert!(side == Side::Callee || !matches!(packet, Packet::Call));
                out.close(wire, side);
            }
        }
    }
}

fn is_certain(reactor: &Reactor) -> bool {
    reactor.replicas().all(|replica| replica.certain)
}

/// Has the disk looked at when it is done with something.
fn plan_disk(node: NodeId, disk: &Disk, out: &mut Surroundings) {
    if let Some(at) = disk.deadline() {
        out.schedule.plan(at.max(out.now), Event::Disk { node, at });
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::World;
    use super::*;

    #[test]
    fn a_turn_of_an_earlier_life_means_nothing_to_one_with_fewer_cores() {
        let id = NodeId(1);
        let mut shape = Shape::small(1, 1);
        shape.cores = vec![3];
        let mut world = World::new(7, shape);
        let step_until = |world: &mut World, done: &dyn Fn(&Node) -> bool| {
            while !done(&world.nodes[&id]) {
                world.step();
            }
        };
        step_until(&mut world, &|node| node.process.is_some());
        let late = world.now() + Micros::from_secs(1);
        let World { nodes, out, .. } = &mut world;
        let node = nodes.get_mut(&id).expect("the only one");
        let process = node.process.as_mut().expect("it runs");
        process.core(CoreId(2)).busy_until = late;
        process.wake(out, CoreId(2));
        let earlier = process.life;
        node.set_smp(1, false);
        world.kill(id);
        world.restart_in(Micros(1), id);
        let runs_anew = |process: &Process| process.life != earlier && process.smp() == 1;
        step_until(&mut world, &|node| node.process.as_ref().is_some_and(runs_anew));
        assert!(world.now() < late, "the turn is still to come");
        while world.now() <= late {
            world.step();
        }
    }
}
