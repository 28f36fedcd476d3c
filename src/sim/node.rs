//! A node: a machine with a clock and a disk, and a process that runs on it or does not.

use super::clock::NodeClock;
use super::disk::{Disk, Done, Refusal, Settings, Speed, Start};
use super::event::{Event, Life};
use super::letter::Letter;
use super::network::{Delivery, Side};
use super::packet::Packet;
use super::process::Process;
use super::registry::Registry;
use super::shape::Shape;
use super::surroundings::Surroundings;
use super::turn::Reach;
use crate::base::{ClusterId, CoreId, Micros, NodeId, Time};
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
    /// Which incarnations of the others were seen.
    registry: Registry,
    smp: u16,
    pub(super) process: Option<Process>,
    /// What administrators are answered.
    pub(super) answers: Vec<AdminAnswer>,
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
        shape: &Shape,
        clock: NodeClock,
        random: &mut fastrand::Rng,
    ) -> Self {
        let smp = shape.cores[usize::try_from(id.0 - 1).expect("few nodes")];
        Self {
            id,
            clock,
            disk: Disk::new(Speed::default(), random.fork()),
            registry: Registry::default(),
            smp,
            process: None,
            answers: Vec::new(),
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
    pub(super) fn start(
        &mut self,
        out: &mut Surroundings,
        shape: &Shape,
        map: &ShardMap,
    ) -> Result<(), Failure> {
        assert!(self.process.is_none(), "{} runs", self.id);
        let now = self.time(out);
        let settings = Settings {
            cluster: CLUSTER,
            node: self.id,
            map,
            smp: self.smp,
            segment_bytes: shape.segment_bytes,
        };
        let Start { superblock, cores, .. } = self.disk.start(&settings)?;
        let mut reactors = Vec::new();
        for (core, recovered) in (0..).map(CoreId).zip(cores) {
            let config = self.config(core, now, (shape, map), &superblock);
            reactors.push(Reactor::new(now, config, recovered)?);
        }
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
            smp: self.smp,
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
        }
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

    /// A core takes a turn. Returns whether it did.
    pub(super) fn turn(&mut self, out: &mut Surroundings, life: Life, core: CoreId) -> bool {
        let now = self.time(out);
        let Self { process: Some(process), disk, answers, id, .. } = self else { return false };
        if process.life != life {
            return false;
        }
        process.turn(core, &mut Reach { out, disk, answers, now });
        plan_disk(*id, disk, out);
        true
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
        let Self { process: Some(process), .. } = self else { return };
        if process.life != life {
            return;
        }
        let next = process.tick(out, now);
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
        match &mut self.process {
            Some(process) if matches!(packet, Packet::Call) => process.accept(out, now, wire),
            Some(process) if process.has(wire) => {
                process.take(out, (now, &mut self.registry), wire, packet);
            }
            // No process knows this connection.
            _ => {
                assert!(side == Side::Callee || !matches!(packet, Packet::Call));
                out.close(wire, side);
            }
        }
    }
}

/// Has the disk looked at when it is done with something.
fn plan_disk(node: NodeId, disk: &Disk, out: &mut Surroundings) {
    if let Some(at) = disk.deadline() {
        out.schedule.plan(at, Event::Disk { node, at });
    }
}
