//! What goes wrong in a world: machines, processes, clocks and disks. `cuts.rs` has the network.

use std::collections::BTreeSet;

use super::clock::TRUE_RATE;
use super::disk::WriteHarm;
use super::event::{Event, Life, Relief};
use super::faults::{Fault, Tally};
use super::letter::Letter;
use super::network::Mishaps;
use super::node::{Node, Standing};
use super::process::Process;
use super::swarm::span;
use super::weather::Weather;
use super::world::World;
use crate::base::{CoreId, Micros, NodeId};
use crate::reactor::Input;

/// How long a process is down.
const DOWN: (Micros, Micros) = (Micros::from_millis(5), Micros::from_secs(4));
/// How long it is down when faults stop.
const SOON: Micros = Micros::from_millis(50);
/// How long a process stands still.
const PAUSED: (Micros, Micros) = (Micros::from_millis(5), Micros::from_secs(6));
/// How long a core is busy with something else.
const STALLED: (Micros, Micros) = (Micros(100), Micros::from_millis(500));
/// How long a process has to hand over before it is gone.
const STOPPING: (Micros, Micros) = (Micros::from_millis(1), Micros::from_secs(2));
/// How long a disk is full, slow or held.
const DISK_ILL: (Micros, Micros) = (Micros::from_millis(50), Micros::from_secs(8));
/// How far a clock jumps.
const JUMP: (Micros, Micros) = (Micros::from_millis(1), Micros::from_secs(20));

/// What happens while the shard map changes all the time, and how often.
const UPHEAVAL: &[(Fault, Micros)] = &[
    (Fault::Move, Micros::from_millis(500)),
    (Fault::Join, Micros::from_secs(4)),
    (Fault::Leave, Micros::from_secs(5)),
    (Fault::AddNode, Micros::from_secs(6)),
    (Fault::Drain, Micros::from_secs(5)),
    (Fault::Transfer, Micros::from_millis(1_500)),
    (Fault::Crash, Micros::from_secs(3)),
    (Fault::PowerLoss, Micros::from_secs(6)),
    (Fault::Pause, Micros::from_secs(6)),
    (Fault::Partition, Micros::from_secs(6)),
    (Fault::OneWayCut, Micros::from_secs(6)),
    (Fault::Break, Micros::from_secs(2)),
    (Fault::DiskHeld, Micros::from_secs(6)),
    (Fault::BadWeather, Micros::from_secs(20)),
];

impl World {
    /// From now on faults happen by themselves, as the seed chooses, but none of these.
    pub fn begin_storm(&mut self, without: &BTreeSet<String>) {
        self.swarm.storms = true;
        for &fault in Fault::ALL {
            if without.contains(fault.name()) {
                self.swarm.spare(fault);
            }
            self.plan_harm(fault);
        }
    }

    /// From now on the shard map changes all the time, and what happens beside that concerns those who carry
    /// it out; but none of these.
    pub fn begin_upheaval(&mut self, without: &BTreeSet<String>) {
        for &fault in Fault::ALL {
            self.swarm.spare(fault);
        }
        for &(fault, every) in UPHEAVAL.iter().filter(|(it, _)| !without.contains(it.name())) {
            self.demand(fault, every);
        }
    }

    /// From now on faults of this kind happen too, so often on average.
    pub fn demand(&mut self, fault: Fault, every: Micros) {
        self.swarm.storms = true;
        self.swarm.demand(fault, every);
        self.plan_harm(fault);
    }

    /// No fault happens from now on, and what can be mended is: every process runs before long.
    pub fn heal(&mut self) {
        self.swarm.storms = false;
        self.mend_all();
        self.relieve(Relief::Fair);
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            self.heal_node(id);
        }
        self.bring_to_an_end();
    }

    fn heal_node(&mut self, id: NodeId) {
        let reliefs = [Relief::Room(id), Relief::Release(id), Relief::Fast(id)];
        for relief in reliefs.into_iter().chain([Relief::Drained(id)]) {
            self.relieve(relief);
        }
        self.resume(id, None);
        let Self { nodes, out, shape, .. } = self;
        let node = nodes.get_mut(&id).expect("a node of the cluster");
        if shape.lease.is_none() {
            node.clock.run_at(out.now, TRUE_RATE);
        }
        if node.process.as_ref().is_none_or(Process::is_to_end) {
            node.kill(out);
            self.restart_in(SOON, id);
        }
    }

    /// How often each fault happened so far.
    pub fn faults(&self) -> Tally {
        let mut tally = self.tally.clone();
        let Mishaps { resent, lost, doubled, overtaken, stalled } = self.out.network.mishaps;
        tally.add(Fault::PacketResent, resent);
        tally.add(Fault::BatchLost, lost);
        tally.add(Fault::BatchDoubled, doubled);
        tally.add(Fault::BatchOvertaken, overtaken);
        tally.add(Fault::PacketStalled, stalled);
        tally
    }

    /// A node's process dies, if it runs.
    pub fn kill(&mut self, id: NodeId) {
        let Self { nodes, out, .. } = self;
        if nodes.get_mut(&id).expect("a node of the cluster").kill(out) {
            self.died(id, Fault::Crash);
        }
    }

    /// A machine loses its power.
    pub fn lose_power(&mut self, id: NodeId) {
        let Self { nodes, out, tally, .. } = self;
        let lost = nodes.get_mut(&id).expect("a node of the cluster").lose_power(out);
        out.trace.say(out.now, || format!("{id} loses its power: {lost:?}"));
        tally.add(Fault::SectorTorn, lost.sectors as u64);
        tally.add(Fault::NameLost, lost.names as u64);
        self.died(id, Fault::PowerLoss);
    }

    /// A node's process is started after a while, if none runs then.
    pub fn restart_in(&mut self, after: Micros, node: NodeId) {
        self.out.plan_in(after, Event::Start { node });
    }

    /// A node's clock runs at another rate from now on, in thousandths of the true one.
    pub fn run_clock(&mut self, node: NodeId, rate: u64) {
        self.tally.count(Fault::ClockRate);
        let now = self.out.now;
        self.node_mut(node).clock.run_at(now, rate);
    }

    /// A node's clock jumps ahead.
    pub fn jump_clock(&mut self, node: NodeId, by: Micros) {
        self.tally.count(Fault::ClockJump);
        let now = self.out.now;
        self.node_mut(node).clock.jump(now, by);
    }

    /// A node's wall clock is so far ahead of the true time, as its next process will see.
    pub fn set_wall_clock(&mut self, node: NodeId, ahead: i64) {
        self.tally.count(Fault::ClockSet);
        self.node_mut(node).clock.set_wall(ahead);
    }

    /// A process ended: it is started again, while there are faults.
    pub(super) fn died(&mut self, id: NodeId, fault: Fault) {
        self.out.trace.say(self.out.now, || format!("{id} is down: {fault}"));
        self.tally.count(fault);
        if self.swarm.storms {
            let down = span(self.swarm.random(fault), DOWN);
            self.restart_in(down, id);
        } else if fault == Fault::WriteError {
            // It was coming since before the faults stopped.
            self.restart_in(SOON, id);
        }
    }

    /// A fault of this kind happens.
    pub(super) fn harm(&mut self, fault: Fault) {
        if !self.swarm.storms {
            return;
        }
        self.plan_harm(fault);
        let id = self.some_node(fault);
        match fault {
            Fault::Crash => self.doom(id),
            Fault::CrashAll => self.all_at_once(fault, Self::kill),
            Fault::PowerLoss => self.lose_power(id),
            Fault::PowerLossAll => self.all_at_once(fault, Self::lose_power),
            Fault::Pause => self.pause(id),
            Fault::Stall => self.stall(id),
            Fault::Stop => self.stop(id),
            Fault::Partition | Fault::Bridge | Fault::OneWayCut | Fault::Flap => {
                self.cut_somewhere(fault, id);
            }
            Fault::Break => self.break_somewhere(id),
            Fault::BadWeather => self.spoil_weather(),
            Fault::ClockRate | Fault::ClockJump | Fault::ClockSet => self.harm_clock(fault, id),
            Fault::DiskFull | Fault::DiskSlow | Fault::DiskHeld => self.harm_disk(fault, id),
            Fault::WriteError => self.harm_write(id),
            Fault::Transfer | Fault::Reconfigure => self.change_something(fault, id),
            Fault::Join | Fault::Leave | Fault::Move | Fault::AddNode | Fault::Drain => {
                self.govern(fault);
            }
            Fault::MeshFull => self.fill_mesh(id),
            Fault::CoresChange => self.change_cores(id),
            Fault::BitRot
            | Fault::SectorUnreadable
            | Fault::WriteLost
            | Fault::WriteMisdirected
            | Fault::DiskForgot
            | Fault::DiskLost => self.harm_bytes(fault, id),
            follows => unreachable!("{follows} follows from others"),
        }
    }

    /// A fault ends.
    pub(super) fn relieve(&mut self, relief: Relief) {
        let now = self.out.now;
        match relief {
            Relief::Mend(ways) => {
                for way in ways {
                    self.out.network.mend(now, way);
                }
            }
            Relief::Flap(ways, left) => self.flap(ways, left),
            Relief::Resume(id, life) => self.resume(id, Some(life)),
            Relief::Fair => self.out.network.weather = self.shape.weather,
            Relief::Room(id) => self.node_mut(id).disk.fill(false),
            Relief::Release(id) => {
                let Self { nodes, out, .. } = self;
                nodes.get_mut(&id).expect("a node of the cluster").release_disk(out);
            }
            Relief::Drained(id) => self.set_mesh_full(id, false),
            Relief::Fast(id) => self.node_mut(id).disk.speed_mut().slowness = 1,
        }
    }

    fn resume(&mut self, id: NodeId, life: Option<Life>) {
        let Self { nodes, out, .. } = self;
        nodes.get_mut(&id).expect("a node of the cluster").resume(out, life);
    }

    /// The next fault of this kind is planned, if there is one.
    fn plan_harm(&mut self, fault: Fault) {
        if let Some(after) = self.swarm.next(fault) {
            self.out.plan_in(after, Event::Harm(fault));
        }
    }

    fn all_at_once(&mut self, fault: Fault, harm: impl Fn(&mut Self, NodeId)) {
        self.tally.count(fault);
        for id in self.members() {
            harm(self, id);
        }
    }

    /// The process dies within what it does next, or at once.
    fn doom(&mut self, id: NodeId) {
        let random = self.swarm.random(Fault::Crash);
        let after = random.u32(0..40);
        if random.u32(0..4) == 0 {
            return self.kill(id);
        }
        if let Some(process) = &mut self.node_mut(id).process {
            process.doom(after);
        }
    }

    fn pause(&mut self, id: NodeId) {
        let long = span(self.swarm.random(Fault::Pause), PAUSED);
        if let Some(life) = self.node_mut(id).pause() {
            self.tally.count(Fault::Pause);
            self.out.trace.say(self.out.now, || format!("{id} stands still for {long}"));
            self.out.plan_in(long, Event::Relief(Relief::Resume(id, life)));
        }
    }

    fn stall(&mut self, id: NodeId) {
        let random = self.swarm.random(Fault::Stall);
        let (long, core) = (span(random, STALLED), random.u16(..));
        let until = self.out.now + long;
        let Some(process) = &mut self.node_mut(id).process else { return };
        let core = CoreId(core % process.smp());
        process.core(core).busy_until = until;
        self.tally.count(Fault::Stall);
    }

    /// A process is told to stop, and ends after a while.
    fn stop(&mut self, id: NodeId) {
        let long = span(self.swarm.random(Fault::Stop), STOPPING);
        let Self { nodes, out, .. } = self;
        let node = nodes.get_mut(&id).expect("a node of the cluster");
        let Some(process) = &mut node.process else { return };
        for core in (0..process.smp()).map(CoreId) {
            process.give(out, core, Letter::Input(Input::HandOver));
        }
        out.trace.say(out.now, || format!("{id} is to stop in {long}"));
        process.leave();
        let life = process.life;
        out.plan_in(long, Event::Stop { node: id, life });
        self.tally.count(Fault::Stop);
    }

    fn fill_mesh(&mut self, id: NodeId) {
        let long = span(self.swarm.random(Fault::MeshFull), DISK_ILL);
        if self.nodes[&id].smp() > 1 {
            self.tally.count(Fault::MeshFull);
            self.set_mesh_full(id, true);
            self.out.plan_in(long, Event::Relief(Relief::Drained(id)));
        }
    }

    fn set_mesh_full(&mut self, id: NodeId, full: bool) {
        if let Some(process) = &mut self.node_mut(id).process {
            process.mesh_full = full;
        }
    }

    fn spoil_weather(&mut self) {
        let random = self.swarm.random(Fault::BadWeather);
        let long = span(random, (Micros::from_millis(100), Micros::from_secs(8)));
        self.out.network.weather = Weather::bad(random);
        self.tally.count(Fault::BadWeather);
        self.out.plan_in(long, Event::Relief(Relief::Fair));
    }

    fn harm_clock(&mut self, fault: Fault, id: NodeId) {
        let runs = self.node_mut(id).process.is_some();
        let leases = self.shape.lease.is_some();
        let random = self.swarm.random(fault);
        match fault {
            Fault::ClockRate if leases && runs => {}
            Fault::ClockRate => {
                let rate = random.u64(TRUE_RATE / 2..=2 * TRUE_RATE);
                self.run_clock(id, rate);
            }
            Fault::ClockJump => {
                let by = span(random, JUMP);
                self.jump_clock(id, by);
            }
            _ => {
                let ahead = random.i64(-3_600_000_000..=3_600_000_000);
                self.set_wall_clock(id, ahead);
            }
        }
    }

    fn harm_disk(&mut self, fault: Fault, id: NodeId) {
        let random = self.swarm.random(fault);
        let (long, slowness) = (span(random, DISK_ILL), 1 << random.u32(1..7));
        let disk = &mut self.node_mut(id).disk;
        let relief = match fault {
            Fault::DiskFull => {
                disk.fill(true);
                Relief::Room(id)
            }
            Fault::DiskSlow => {
                disk.speed_mut().slowness = slowness;
                Relief::Fast(id)
            }
            _ => {
                disk.hold(true);
                Relief::Release(id)
            }
        };
        self.tally.count(fault);
        self.out.trace.say(self.out.now, || format!("{id}: {fault} for {long}"));
        self.out.plan_in(long, Event::Relief(relief));
    }

    /// The next log write of a core fails.
    fn harm_write(&mut self, id: NodeId) {
        let core = self.swarm.random(Fault::WriteError).u16(..);
        let node = self.node_mut(id);
        let Some(process) = &node.process else { return };
        node.disk.harm_write(CoreId(core % process.smp()), WriteHarm::Failed);
    }

    fn some_node(&mut self, fault: Fault) -> NodeId {
        let (members, movers) = (self.members(), self.movers());
        let random = self.swarm.random(fault);
        let among = if random.bool() && !movers.is_empty() { movers } else { members };
        random.choice(among).expect("a cluster has members")
    }

    /// Those who lead groups that have slots on their way: worth harming.
    fn movers(&self) -> Vec<NodeId> {
        let mut movers = self.invariants.movers();
        movers.retain(|id| self.nodes[id].process.is_some());
        movers
    }

    /// The nodes that belong to the cluster, running or not.
    pub(super) fn members(&self) -> Vec<NodeId> {
        let members = self.nodes.values().filter(|node| node.standing == Standing::Member);
        members.map(|node| node.id).collect()
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of the cluster")
    }

    /// A process that was told to stop ends.
    pub(super) fn stopped(&mut self, id: NodeId) {
        let Self { nodes, out, .. } = self;
        nodes.get_mut(&id).expect("a node of the cluster").kill(out);
        let down = span(self.swarm.random(Fault::Stop), DOWN);
        self.restart_in(down, id);
    }
}
