//! What administrators do while all else goes on: leaders are moved, and members come and go.

use super::faults::Fault;
use super::letter::Letter;
use super::world::World;
use crate::base::{GroupId, NodeId};
use crate::placement::{META, ShardMap};
use crate::reactor::{GroupOperation, Input};

/// In every ticket of one who does not wait for answers.
const TICKET: u64 = 1 << 62;

impl World {
    /// Somebody asks some node for a change of some group.
    pub(super) fn change_something(&mut self, fault: Fault, asked: NodeId) {
        let meta = fault == Fault::Transfer;
        let groups = self.out.map.all_groups().map(|group| group.id);
        let groups: Vec<GroupId> = groups.filter(|&group| meta || group != META).collect();
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let moving = self.invariants.moving();
        let random = self.swarm.random(fault);
        let aimed = random.choice(moving).filter(|group| groups.contains(group) && random.bool());
        let group = aimed.unwrap_or(groups[random.usize(0..groups.len())]);
        let node = nodes[random.usize(0..nodes.len())];
        let operation = match fault {
            Fault::Transfer => GroupOperation::Transfer { node },
            _ => change(random, &nodes, node),
        };
        let Self { nodes, out, .. } = self;
        let host = nodes.get_mut(&asked).expect("a node of the cluster");
        host.answers.retain(|answer| answer.ticket & TICKET == 0);
        let Some(process) = &mut host.process else { return };
        out.trace.say(out.now, || format!("{asked} is asked for {group}: {operation:?}"));
        let core = ShardMap::home_core(group, process.smp());
        let input = Input::Administer { ticket: TICKET, group, operation };
        process.give(out, core, Letter::Input(input));
        self.tally.count(fault);
    }
}

/// Some change of a group's members.
fn change(random: &mut fastrand::Rng, nodes: &[NodeId], node: NodeId) -> GroupOperation {
    match random.u32(0..10) {
        0 => GroupOperation::Add { node, learner: true },
        1 => GroupOperation::Promote { node },
        2..4 => GroupOperation::Add { node, learner: false },
        4..6 => GroupOperation::Remove { node },
        _ => {
            let mut voters = nodes.to_vec();
            random.shuffle(&mut voters);
            voters.truncate(random.usize(1..=3));
            GroupOperation::Set { voters }
        }
    }
}
