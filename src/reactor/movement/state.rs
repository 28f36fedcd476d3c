//! How far a group is: which epoch it has begun, and what that one gives it and takes from it.
//!
//! Part of the group's replicated state, changed by its log alone. The state machine keeps it as bytes, its
//! *annex* (`schema/state.md`); here it is as the reactor works with it.

use std::collections::BTreeSet;

use crate::base::{Bytes, GroupId, Mistake, SLOT_COUNT, Slot, makes};
use crate::kv::{Machine, SlotState};
use crate::placement::{META, ShardMap};
use crate::wire::map::SlotRun;

/// Version of the annex.
const FORMAT: u32 = 1;

/// Bytes before the runs.
const HEADER_BYTES: usize = 28;

/// Bytes of one run.
const RUN_BYTES: usize = 8;

/// The group that slots come from that nobody had: the meta group, which serves none.
pub(in crate::reactor) const NOBODY: GroupId = META;

/// Why an annex says nothing of a group's slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::reactor) enum StateError {
    /// It is shorter or longer than what it says is in it.
    #[error("the annex of a group has {0} bytes, which is not what it says of itself")]
    Length(usize),
    /// Another version wrote it.
    #[error("the annex of a group has format {0}; this version reads format {FORMAT}")]
    Format(u32),
    /// A run of slots that is none, or not behind the one before it.
    #[error("the annex of a group has a run of slots {first} to {last}, which cannot be there")]
    Run {
        /// Its first slot.
        first: u16,
        /// Its last one.
        last: u16,
    },
}

/// What a group has come to.
///
/// The fields of the first half are replicated, those of the second half made of them and of the states of
/// the slots: `arriving` and `leaving` say what keeps the group from its next epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::reactor) struct GroupState {
    /// The epoch that it has begun: 0 before it was born, then that in which it was. Goes up by one from
    /// then on, when nothing of it is left to do.
    epoch: u64,
    /// The members of which epoch it has, or had last. Never falls.
    members_epoch: u64,
    /// What the epoch gives it, and of whom; ascending.
    gained: Vec<SlotRun>,
    /// What the epoch takes from it, and for whom; ascending.
    lost: Vec<SlotRun>,
    /// Slots gained that are not served yet.
    arriving: BTreeSet<Slot>,
    /// Slots lost that are not dropped yet.
    leaving: BTreeSet<Slot>,
    /// Counts changes in this process's life; for who wants to know whether there was one.
    changes: u64,
}

impl GroupState {
    /// A group that has what the map of `epoch` gave it.
    #[cfg(test)]
    pub(in crate::reactor) fn settled(epoch: u64) -> Self {
        Self { epoch, members_epoch: epoch, ..Self::default() }
    }

    /// What the annex of `machine` says.
    pub(in crate::reactor) fn of(machine: &Machine) -> Result<Self, StateError> {
        if machine.group() == META {
            // Its annex is the shard master's.
            return Ok(Self::default());
        }
        let mut state = Self::decode(machine.annex())?;
        for slot in slots_of(&state.gained).chain(slots_of(&state.lost)).collect::<Vec<_>>() {
            state.look_at(slot, machine);
        }
        Ok(state)
    }

    /// The epoch that it has begun.
    pub(in crate::reactor) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it has begun the epoch in which it came to be.
    pub(in crate::reactor) const fn is_born(&self) -> bool {
        self.epoch > 0
    }

    /// Whether it may begin that epoch next.
    pub(in crate::reactor) fn goes_on_to(&self, epoch: u64) -> bool {
        !self.is_born() && epoch > 0 || self.epoch.checked_add(1) == Some(epoch)
    }

    /// The members of which epoch it has, or had last.
    pub(in crate::reactor) const fn members_epoch(&self) -> u64 {
        self.members_epoch
    }

    /// Slots gained that are not served yet.
    pub(in crate::reactor) const fn arriving(&self) -> &BTreeSet<Slot> {
        &self.arriving
    }

    /// Slots lost that are not dropped yet.
    pub(in crate::reactor) const fn leaving(&self) -> &BTreeSet<Slot> {
        &self.leaving
    }

    /// Whether the epoch has more to do.
    pub(in crate::reactor) fn is_pending(&self) -> bool {
        !self.arriving.is_empty() || !self.leaving.is_empty()
    }

    /// Whether the next epoch may begin.
    pub(in crate::reactor) fn is_done(&self) -> bool {
        !self.is_pending() || makes(Mistake::EpochBeginsTooSoon)
    }

    /// Counts changes: another number, another state.
    pub(in crate::reactor) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Makes as if there had been as many changes as in `other`: for comparing what was read with it.
    #[cfg(test)]
    pub(super) fn same_count(&mut self, other: &Self) {
        self.changes = other.changes;
    }

    /// Of whom the epoch gives it `slot`.
    pub(in crate::reactor) fn source_of(&self, slot: Slot) -> Option<GroupId> {
        group_in(&self.gained, slot)
    }

    /// For whom the epoch takes `slot` from it.
    pub(in crate::reactor) fn target_of(&self, slot: Slot) -> Option<GroupId> {
        group_in(&self.lost, slot)
    }

    /// Whom to ask for a slot that `group`, whose state this is, does not serve; 0 if that is not known.
    pub(in crate::reactor) fn whom_to_ask(
        &self,
        (group, slot): (GroupId, Slot),
        map: &ShardMap,
    ) -> GroupId {
        let source = self.source_of(slot).filter(|_| self.arriving.contains(&slot));
        // Once it is gone it may have gone further, and be on its way back here.
        let leaves = self.leaving.contains(&slot) || map.epoch < self.epoch;
        let target = || self.target_of(slot).filter(|_| leaves);
        let owner = || map.whom_to_ask(slot, (group, self.epoch));
        source.or_else(target).or_else(owner).unwrap_or(NOBODY)
    }

    /// Goes on to the next epoch. Nothing of the one before is left to do.
    pub(super) fn begin(&mut self, epoch: u64, gained: Vec<SlotRun>, lost: Vec<SlotRun>) {
        assert!(!self.is_pending(), "epoch {} has more to do", self.epoch);
        if !self.is_born() {
            self.members_epoch = epoch;
        }
        self.epoch = epoch;
        (self.gained, self.lost) = (gained, lost);
        self.changes += 1;
    }

    /// The group has the members of `epoch`. Returns whether that is news.
    pub(super) fn settle_members(&mut self, epoch: u64) -> bool {
        let news = epoch > self.members_epoch;
        if news {
            self.members_epoch = epoch;
            self.changes += 1;
        }
        news
    }

    /// More of a slot is here.
    pub(super) const fn touch(&mut self) {
        self.changes += 1;
    }

    /// The state of `slot` may have changed.
    pub(super) fn look_at(&mut self, slot: Slot, machine: &Machine) {
        let state = machine.slot_state(slot);
        let arrives = self.source_of(slot).is_some() && state != SlotState::Served;
        let leaves = self.target_of(slot).is_some() && state != SlotState::Absent;
        keep(&mut self.arriving, slot, arrives);
        keep(&mut self.leaving, slot, leaves);
        self.changes += 1;
    }

    /// As the annex has it.
    pub(in crate::reactor) fn encode(&self) -> Bytes {
        let count = |runs: &[SlotRun]| u32::try_from(runs.len()).expect("runs of distinct slots");
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.members_epoch.to_le_bytes());
        out.extend_from_slice(&count(&self.gained).to_le_bytes());
        out.extend_from_slice(&count(&self.lost).to_le_bytes());
        for run in self.gained.iter().chain(&self.lost) {
            out.extend_from_slice(&run.first.to_le_bytes());
            out.extend_from_slice(&run.last.to_le_bytes());
            out.extend_from_slice(&run.group.0.to_le_bytes());
        }
        Bytes::copy_of(&out)
    }

    /// Before its first epoch a group has no annex.
    fn decode(annex: &[u8]) -> Result<Self, StateError> {
        if annex.is_empty() {
            return Ok(Self::default());
        }
        let wrong = StateError::Length(annex.len());
        let (header, runs) = annex.split_at_checked(HEADER_BYTES).ok_or(wrong)?;
        let (runs, rest) = runs.as_chunks::<RUN_BYTES>();
        let word = |at: usize| u32::from_le_bytes(array(header, at));
        if word(0) != FORMAT {
            return Err(StateError::Format(word(0)));
        }
        let (gains, losses) = (word(20) as usize, word(24) as usize);
        if !rest.is_empty() || gains.checked_add(losses) != Some(runs.len()) {
            return Err(wrong);
        }
        let (gained, lost) = runs.split_at(gains);
        Ok(Self {
            epoch: u64::from_le_bytes(array(header, 4)),
            members_epoch: u64::from_le_bytes(array(header, 12)),
            gained: decode_runs(gained)?,
            lost: decode_runs(lost)?,
            ..Self::default()
        })
    }
}

/// All slots of some runs.
pub(super) fn slots_of(runs: &[SlotRun]) -> impl Iterator<Item = Slot> {
    runs.iter().flat_map(|run| run.first..=run.last).filter_map(Slot::new)
}

/// Slots, ascending, as runs that are as long as can be.
pub(in crate::reactor) fn runs_of(
    slots: impl IntoIterator<Item = (Slot, GroupId)>,
) -> Vec<SlotRun> {
    let mut runs: Vec<SlotRun> = Vec::new();
    for (slot, group) in slots {
        let number = slot.number();
        match runs.last_mut() {
            Some(run) if run.group == group && run.last + 1 == number => run.last = number,
            _ => runs.push(SlotRun { first: number, last: number, group }),
        }
    }
    runs
}

fn decode_runs(runs: &[[u8; RUN_BYTES]]) -> Result<Vec<SlotRun>, StateError> {
    let mut free_from = 0;
    let run = |bytes: &[u8; RUN_BYTES]| {
        let first = u16::from_le_bytes(array(bytes, 0));
        let last = u16::from_le_bytes(array(bytes, 2));
        if first < free_from || first > last || last >= SLOT_COUNT {
            return Err(StateError::Run { first, last });
        }
        free_from = last + 1;
        Ok(SlotRun { first, last, group: GroupId(u32::from_le_bytes(array(bytes, 4))) })
    };
    runs.iter().map(run).collect()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("within what was split off")
}

fn group_in(runs: &[SlotRun], slot: Slot) -> Option<GroupId> {
    let number = slot.number();
    let run = runs.get(runs.partition_point(|run| run.last < number))?;
    (run.first <= number).then_some(run.group)
}

fn keep(set: &mut BTreeSet<Slot>, slot: Slot, kept: bool) {
    if kept {
        set.insert(slot);
    } else {
        set.remove(&slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Index, SlotSet, Term, WallTime};

    const GROUP: GroupId = GroupId(1);

    fn run(first: u16, last: u16, group: u32) -> SlotRun {
        SlotRun { first, last, group: GroupId(group) }
    }

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("a slot")
    }

    #[test]
    fn the_annex_says_all_of_it() {
        let served = [slot(7), slot(8)].into_iter().collect::<SlotSet>();
        let mut machine = Machine::new(GROUP, &served);
        machine.begin_entry(Index(4), Term(1), WallTime(1));
        let mut state = GroupState::settled(3);
        state.begin(4, vec![run(0, 2, 5), run(9, 9, 6)], vec![run(7, 7, 5)]);
        machine.begin_arrival(slot(1)).expect("absent");
        for number in [0, 1, 2, 7, 9] {
            state.look_at(slot(number), &machine);
        }
        assert_eq!((state.source_of(slot(9)), state.source_of(slot(3))), (Some(GroupId(6)), None));
        assert_eq!((state.target_of(slot(7)), state.target_of(slot(8))), (Some(GroupId(5)), None));
        machine.set_annex(state.encode());
        let mut read = GroupState::of(&machine).expect("as written");
        read.same_count(&state);
        assert_eq!(read, state);
        assert_eq!(GroupState::of(&Machine::new(GROUP, &served)), Ok(GroupState::default()));
    }

    #[test]
    fn strange_bytes_are_refused() {
        let mut state = GroupState::settled(3);
        state.begin(4, vec![run(0, 2, 5), run(9, 9, 6)], vec![run(7, 7, 5)]);
        let good = state.encode();
        for length in 1..good.len() {
            let cut = GroupState::decode(&good[..length]);
            assert_eq!(cut, Err(StateError::Length(length)));
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            GroupState::decode(&bytes).map(|_| ())
        };
        assert_eq!(with(0, 9), Err(StateError::Format(9)));
        assert_eq!(with(20, 4), Err(StateError::Length(good.len())));
        assert_eq!(with(HEADER_BYTES, 3), Err(StateError::Run { first: 3, last: 2 }));
        assert_eq!(with(HEADER_BYTES + 8, 2), Err(StateError::Run { first: 2, last: 9 }));
        assert_eq!(with(HEADER_BYTES + 11, 64), Err(StateError::Run { first: 9, last: 16_393 }));
    }

    #[test]
    fn slots_make_runs() {
        let slots = [(1, 5), (2, 5), (3, 6), (9, 6)].map(|(s, g)| (slot(s), GroupId(g)));
        let runs = runs_of(slots);
        assert_eq!(runs, [run(1, 2, 5), run(3, 3, 6), run(9, 9, 6)]);
        assert!(slots_of(&runs).eq([1, 2, 3, 9].map(slot)));
    }
}
