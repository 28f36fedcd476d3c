//! What changed hands of late, epoch by epoch: so that a group can name the owner of a slot that it has not.
//!
//! ```text
//!  epoch      4        5        6        7        8, the newest
//!  owner      A ─────▶ B ─────▶ C ─────▶ A ─────▶ D
//!                               └ has it still: B is done with it, A and D have yet to get it
//! ```
//!
//! Groups go through the epochs each at its own pace, so a slot may be several hand-overs behind the newest
//! map. A group that is to own it names the owner before its own next turn, every other one the newest owner.
//! Where the answers lead, they lead from there on back from turn to turn, and end with the one who has it:
//! all later ones have their turn before them still. By the newest map alone they lead in circles.

use std::collections::VecDeque;

use super::{PlacementError, ShardMap, SlotRange};
use crate::base::{GroupId, SLOT_COUNT, Slot};

/// Epochs in which slots changed hands that a map remembers, at most.
pub const HANDOVERS_KEPT: usize = 256;

/// Runs of slots in all of them, at most: any one epoch fits.
pub const HANDOVER_RUNS_KEPT: usize = SLOT_COUNT as usize;

/// The slots that changed hands when an epoch began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The epoch.
    pub epoch: u64,
    /// They, and whose they were before; ascending.
    pub ranges: Vec<SlotRange>,
}

/// The latest epochs in which slots changed hands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Handovers {
    /// The oldest first, none of them empty.
    list: VecDeque<Handover>,
    /// Runs in all of them; `HANDOVER_RUNS_KEPT` at most.
    runs: usize,
}

impl Handovers {
    /// Those that another node told with the map of `epoch`.
    pub(super) fn leading_to(epoch: u64, list: Vec<Handover>) -> Result<Self, PlacementError> {
        let mut free_from = 2;
        for handover in &list {
            if !(free_from..=epoch).contains(&handover.epoch) || !handover.can_be() {
                return Err(PlacementError::Handover(handover.epoch));
            }
            free_from = handover.epoch + 1;
        }
        let runs = list.iter().map(|handover| handover.ranges.len()).sum();
        if list.len() > HANDOVERS_KEPT || runs > HANDOVER_RUNS_KEPT {
            return Err(PlacementError::Handover(epoch));
        }
        Ok(Self { list: list.into(), runs })
    }

    /// The oldest first.
    pub(super) fn list(&self) -> impl DoubleEndedIterator<Item = &Handover> {
        self.list.iter()
    }

    /// An epoch began in which these changed hands, which were whose the ranges say.
    pub(super) fn push(&mut self, epoch: u64, ranges: &[SlotRange]) {
        if ranges.is_empty() {
            return;
        }
        self.runs += ranges.len();
        self.list.push_back(Handover { epoch, ranges: ranges.to_vec() });
        while self.list.len() > HANDOVERS_KEPT || self.runs > HANDOVER_RUNS_KEPT {
            let Some(oldest) = self.list.pop_front() else { break };
            self.runs -= oldest.ranges.len();
        }
    }

    /// As if that epoch, the newest, had not begun.
    pub(super) fn undo(&mut self, epoch: u64) {
        if let Some(undone) = self.list.pop_back_if(|newest| newest.epoch == epoch) {
            self.runs -= undone.ranges.len();
        }
    }
}

impl Handover {
    /// Whose `slot` was before, if it changed hands.
    fn former_owner(&self, slot: Slot) -> Option<GroupId> {
        let number = slot.number();
        let at = self.ranges.partition_point(|&(_, last, _)| last < number);
        let &(first, _, owner) = self.ranges.get(at)?;
        (first <= number).then_some(owner)
    }

    fn can_be(&self) -> bool {
        let mut free_from = 0;
        let is_behind = |&(first, last, _): &SlotRange| {
            let fits = free_from <= first && first <= last && last < SLOT_COUNT;
            free_from = last.saturating_add(1);
            fits
        };
        !self.ranges.is_empty() && self.ranges.iter().all(is_behind)
    }
}

impl ShardMap {
    /// Whom to ask for `slot` instead of `group`, which has come to `epoch` and has not got it. Nothing if
    /// that is longer ago than is remembered.
    ///
    /// What that epoch itself has moved is nothing that is on its way still: of that the group's own log knows.
    pub fn whom_to_ask(&self, slot: Slot, (group, epoch): (GroupId, u64)) -> Option<GroupId> {
        let mut owner = self.group_of(slot);
        let mut named = Some(owner).filter(|&owner| owner != group);
        let to_come = self.handovers().rev().take_while(|handover| handover.epoch > epoch);
        for former in to_come.filter_map(|handover| handover.former_owner(slot)) {
            if owner == group {
                named = Some(former);
            }
            owner = former;
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{NodeId, WallTime};
    use crate::placement::{Command, Master, NodeInfo};

    const SLOT: Slot = Slot::new(7).expect("a slot");
    const OTHER: Slot = Slot::new(9_000).expect("a slot");
    const GROUPS: u32 = 4;

    fn master() -> Master {
        let (client_address, peer_address) = ("host:1".to_owned(), "host:2".to_owned());
        let node = NodeInfo { id: NodeId(1), client_address, peer_address };
        Master::new(ShardMap::initial(vec![node], GROUPS).expect("valid"))
    }

    /// Nothing happens if it is there.
    fn move_to(master: &mut Master, slot: Slot, to: u32) {
        _ = master.apply(&Command::Move { slots: vec![slot], to: GroupId(to) }, WallTime(0));
    }

    /// One slot, and how far each group is.
    struct World {
        master: Master,
        epochs: Vec<u64>,
        has_it: GroupId,
        /// The epoch that gave it to that one.
        since: u64,
    }

    impl World {
        fn epoch(&self, group: GroupId) -> u64 {
            self.epochs[group.0 as usize - 1]
        }

        /// Whose the slot was before the epoch, and whose it is in it.
        fn owners(&self, epoch: u64) -> (GroupId, GroupId) {
            let of = |epoch| self.master.query(epoch).map(|map| map.group_of(SLOT));
            let is = of(epoch).expect("remembered");
            (of(epoch - 1).unwrap_or(is), is)
        }

        /// One group goes on, if it can.
        fn go_on(&mut self, random: &mut fastrand::Rng) {
            let group = GroupId(random.u32(1..=GROUPS));
            let epoch = self.epoch(group);
            let (was, is) = self.owners(epoch);
            if was != is && [was, is].contains(&group) && epoch > self.since {
                if self.has_it == was && [was, is].map(|group| self.epoch(group)) == [epoch; 2] {
                    (self.has_it, self.since) = (is, epoch);
                }
            } else if epoch < self.master.latest().epoch {
                self.epochs[group.0 as usize - 1] += 1;
            }
        }

        /// Whom a group names that has not got it.
        fn named_by(&self, group: GroupId) -> GroupId {
            let epoch = self.epoch(group);
            match self.owners(epoch) {
                (was, is) if was != is && is == group && epoch > self.since => was,
                _ => self.master.latest().whom_to_ask(SLOT, (group, epoch)).expect("remembered"),
            }
        }
    }

    #[test]
    fn whoever_is_asked_first_the_answers_lead_to_the_one_who_has_it() {
        let (mut far, mut newest_is_wrong) = (0, 0);
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let master = master();
            let has_it = master.latest().group_of(SLOT);
            let mut world = World { master, epochs: vec![1; GROUPS as usize], has_it, since: 1 };
            for _ in 0..100 {
                if random.u32(0..4) == 0 && world.master.latest().epoch < 12 {
                    let slot = if random.u32(0..4) == 0 { OTHER } else { SLOT };
                    move_to(&mut world.master, slot, random.u32(1..=GROUPS));
                }
                world.go_on(&mut random);
                newest_is_wrong += u32::from(world.master.latest().group_of(SLOT) != world.has_it);
                for first in (1..=GROUPS).map(GroupId) {
                    let (mut asked, mut hops) = (first, 0);
                    while asked != world.has_it {
                        asked = world.named_by(asked);
                        hops += 1;
                        assert!(hops <= 13, "seed {seed}: from {first} in a circle");
                    }
                    far = far.max(hops);
                }
            }
        }
        assert!(far > 1 && newest_is_wrong > 1_000, "{far} {newest_is_wrong}");
    }

    #[test]
    fn what_is_too_long_ago_is_forgotten() {
        let mut master = master();
        for turn in 0..2 * HANDOVERS_KEPT as u64 {
            move_to(&mut master, SLOT, u32::try_from(turn % 2).expect("small") + 2);
        }
        let map = master.latest();
        assert_eq!(map.handovers().count(), HANDOVERS_KEPT);
        assert_eq!(map.group_of(SLOT), GroupId(3));
        assert_eq!(map.whom_to_ask(SLOT, (GroupId(3), 1)), Some(GroupId(2)));
        assert_eq!(map.whom_to_ask(SLOT, (GroupId(1), 1)), Some(GroupId(3)));
        let before = master.query(map.epoch - 1).expect("remembered");
        assert_eq!(before.handovers().count(), HANDOVERS_KEPT - 1);
        let parts = before.parts();
        assert_eq!(ShardMap::from_parts(parts), Ok(before));
    }

    #[test]
    fn strange_ones_are_refused() {
        let mut master = master();
        move_to(&mut master, SLOT, 2);
        move_to(&mut master, SLOT, 3);
        let parts = master.latest().parts();
        let harms: [fn(&mut Vec<Handover>); 7] = [
            |list| list[1].epoch = 4,
            |list| list[0].epoch = 1,
            |list| list.swap(0, 1),
            |list| list[0].ranges.clear(),
            |list| list[0].ranges[0] = (7, 3, GroupId(1)),
            |list| list[0].ranges[0] = (7, SLOT_COUNT, GroupId(1)),
            |list| list[0].ranges.push((7, 7, GroupId(1))),
        ];
        for (place, harm) in harms.into_iter().enumerate() {
            let mut parts = parts.clone();
            harm(&mut parts.handovers);
            let refused = ShardMap::from_parts(parts);
            assert!(matches!(refused, Err(PlacementError::Handover(_))), "{place}: {refused:?}");
        }
    }
}
