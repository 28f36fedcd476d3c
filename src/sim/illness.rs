//! Disks that do what no disk should, and what is done about it: nodes that are ill, until the others have
//! made up for what they lost.
//!
//! Harm comes only to who may be harmed ([`Atlas`]). From then on the node is looked at every half second:
//! it is sound again once it doubts nothing, and would not if it were started from its disk. A start that is
//! refused is answered as an administrator would: with a blank disk, and a replacement (`replacement`).

use super::atlas::{Atlas, Condition, Illness};
use super::disk::{Refusal, WriteHarm};
use super::event::Event;
use super::faults::Fault;
use super::node::Failure;
use super::replacement::Replacements;
use super::swarm::span;
use super::world::World;
use crate::base::{CoreId, Micros, NodeId};

/// How often nodes that are ill are looked at.
const ROUND: Micros = Micros::from_millis(500);
/// Cores of a node, at most.
const CORES_MAX: u16 = 3;
/// How long it takes to put another disk in.
const ABSENCE: (Micros, Micros) = (Micros::from_millis(50), Micros::from_secs(6));

/// Who is ill, and what is done about it.
#[derive(Debug)]
pub(super) struct Ward {
    pub(super) atlas: Atlas,
    pub(super) replacements: Replacements,
    /// Another round is planned: there is one while anybody is ill.
    planned: bool,
    pub(super) random: fastrand::Rng,
}

impl Ward {
    pub(super) fn new(random: fastrand::Rng) -> Self {
        let (atlas, replacements) = Default::default();
        Self { atlas, replacements, planned: false, random }
    }

    /// Whether no node waits for being let in.
    pub(super) fn nobody_is_lost(&self) -> bool {
        self.atlas.ill().all(|(_, illness)| illness != Illness::Lost)
    }
}

impl World {
    /// A node's disk is harmed, if it may be.
    pub(super) fn harm_bytes(&mut self, fault: Fault, id: NodeId) {
        if !self.may_harm(id) {
            return;
        }
        let Some(what) = self.harm_somehow(fault, id) else { return };
        self.tally.count(fault);
        self.out.trace.say(self.out.now, || format!("{id}: {fault}{what}"));
        self.ward.atlas.harmed(id);
        self.plan_round();
    }

    /// Does the harm; returns where, if there was anything to harm.
    fn harm_somehow(&mut self, fault: Fault, id: NodeId) -> Option<String> {
        let core = self.swarm.random(fault).u16(..);
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        let disk = &mut node.disk;
        let core = CoreId(core.checked_rem(disk.cores_laid_out())?);
        match fault {
            Fault::BitRot => {
                let place = disk.choose_place().filter(|&place| disk.rot(place))?;
                Some(format!(" {place:?}"))
            }
            Fault::SectorUnreadable => {
                let place = disk.choose_place()?;
                disk.make_unreadable(place);
                Some(format!(" {place:?}"))
            }
            Fault::WriteLost | Fault::WriteMisdirected => {
                let lost = fault == Fault::WriteLost;
                let harm = if lost { WriteHarm::Lost } else { WriteHarm::Misdirected };
                let is_to_come = node.process.is_some() && disk.harm_write(core, harm);
                is_to_come.then(|| format!(" of {core}, the next"))
            }
            Fault::DiskForgot => {
                disk.examine().ok()?;
                self.lose_power(id);
                self.node_mut(id).disk.forget(core);
                Some(format!(" all of {core}"))
            }
            _ => {
                self.lose_power(id);
                self.lose_disk(id);
                Some(String::new())
            }
        }
    }

    /// Whether the others would make up for it, if a node's disk were harmed. Who doubts something, be it
    /// at its first start, can help nobody.
    fn may_harm(&self, id: NodeId) -> bool {
        let mut atlas = self.ward.atlas.clone();
        if atlas.illness(id) == Some(Illness::Lost) {
            return false;
        }
        for (&other, node) in self.nodes.iter().filter(|(other, _)| **other != id) {
            if !node.would_be_certain(&self.out, &self.shape) {
                atlas.harmed(other);
            }
        }
        atlas.may_harm(id, self.out.map.all_groups().map(|group| group.members.as_slice()))
    }

    /// A node's process dies, and the next one has another number of cores.
    pub(super) fn change_cores(&mut self, id: NodeId) {
        let random = self.swarm.random(Fault::CoresChange);
        let (smp, dies) = (random.u16(1..=CORES_MAX), random.u32(0..3) == 0);
        let Self { nodes, out, .. } = self;
        let node = nodes.get_mut(&id).expect("a node of the cluster");
        if node.smp() == smp || !node.kill(out) {
            return;
        }
        node.set_smp(smp, dies);
        out.trace.say(out.now, || format!("{id} is to have {smp} cores"));
        self.died(id, Fault::CoresChange);
    }

    /// A node's disk, whose process does not run, is gone; it has a blank one.
    fn lose_disk(&mut self, id: NodeId) {
        self.node_mut(id).disk.wipe();
        self.ward.atlas.lost(id);
        self.plan_round();
    }

    /// A node cannot start from what is on its disk.
    ///
    /// # Panics
    /// If nothing was done to it that nodes are not promised to bear.
    pub(super) fn refused(&mut self, id: NodeId, failure: &Failure) {
        if let Failure::Disk(Refusal::Died | Refusal::NoRoom) = failure {
            // Nothing is lost: it is tried again.
            self.out.trace.say(self.out.now, || format!("{id} does not get far: {failure}"));
            let absence = span(&mut self.ward.random, (ABSENCE.0, Micros::from_millis(500)));
            return self.restart_in(absence, id);
        }
        let harmed = self.ward.atlas.illness(id) == Some(Illness::Harmed);
        assert!(harmed, "{id} does not start, and its disk was not harmed: {failure}");
        self.out.trace.say(self.out.now, || format!("{id} cannot start: {failure}"));
        self.tally.count(Fault::StartRefused);
        self.lose_disk(id);
        let absence = span(&mut self.ward.random, ABSENCE);
        self.restart_in(absence, id);
    }

    /// Looks at all who are ill.
    pub(super) fn round(&mut self) {
        self.ward.planned = false;
        self.take_answers();
        let ill: Vec<(NodeId, Illness)> = self.ward.atlas.ill().collect();
        for (id, illness) in ill {
            let votes = illness == Illness::Lost && self.replace(id);
            let condition = self.condition(id, votes);
            let sound = self.ward.atlas.examine(id, condition);
            if sound {
                self.node_mut(id).disk.make_snapshots_good();
            }
            let now = if sound { "is sound again" } else { "is still ill" };
            self.out.trace.say(self.out.now, || format!("{id} {now}: {illness:?}, {condition:?}"));
        }
        if self.ward.atlas.ill().next().is_some() {
            self.plan_round();
        }
    }

    fn condition(&mut self, id: NodeId, votes: bool) -> Condition {
        let Self { nodes, out, shape, .. } = self;
        let node = nodes.get_mut(&id).expect("a node of the cluster");
        let pending = node.disk.is_harm_pending();
        let certain = node.is_certain();
        let would_be_certain = certain && !pending && node.would_be_certain(out, shape);
        Condition { certain, would_be_certain, votes }
    }

    fn plan_round(&mut self) {
        if !std::mem::replace(&mut self.ward.planned, true) {
            self.out.plan_in(ROUND, Event::Round);
        }
    }
}
