//! Where commands go: slot → lane, node → address, as the newest shard map says.

use std::collections::BTreeMap;

use crate::base::{ClusterId, NodeId, Slot};

/// What the newest shard map says.
#[derive(Debug, Default)]
pub(super) struct Routing {
    /// The cluster the map came from; another cluster's map is refused.
    pub(super) cluster: ClusterId,
    /// The map's number.
    pub(super) epoch: u64,
    /// Each node's address for clients.
    pub(super) addresses: BTreeMap<NodeId, String>,
    /// Runs of slots in order, without overlap.
    pub(super) runs: Vec<SlotRun>,
}

/// A run of slots that belong to one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotRun {
    pub(super) first: u16,
    /// Inclusive.
    pub(super) last: u16,
    /// The position of the group's lane.
    pub(super) lane: usize,
}

impl Routing {
    /// The lane of the group that owns `slot`, if any does.
    pub(super) fn lane_of(&self, slot: Slot) -> Option<usize> {
        let number = slot.number();
        let run = self.runs.get(self.runs.partition_point(|run| run.last < number))?;
        (run.first <= number).then_some(run.lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_belongs_to_its_run_or_to_nobody() {
        let runs = vec![
            SlotRun { first: 0, last: 99, lane: 2 },
            SlotRun { first: 100, last: 100, lane: 0 },
            SlotRun { first: 200, last: 16_383, lane: 1 },
        ];
        let routing = Routing { runs, ..Routing::default() };
        let lane = |number| routing.lane_of(Slot::new(number).expect("below SLOT_COUNT"));
        assert_eq!(lane(0), Some(2));
        assert_eq!(lane(99), Some(2));
        assert_eq!(lane(100), Some(0));
        assert_eq!(lane(101), None);
        assert_eq!(lane(200), Some(1));
        assert_eq!(lane(16_383), Some(1));
    }
}
