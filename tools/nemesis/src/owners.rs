//! Who served which slot, and when: never two groups at a time.
//!
//! Every answer names the group that gave it, and every epoch of the map the owner of each slot. So each slot
//! has a list of periods, one owner each, and every answered command must fit into one of its group's, such
//! that of two commands of which one began after the other had ended, the later one is in no earlier period:
//!
//! ```text
//!   epochs     g1 ─────────┬─ g2 ──────┬─ g1 ──▶        time ──▶
//!   answers    [g1] [g1]     [g2] [g2]   [g1]           fits
//!   answers    [g1] [g2] [g1] [g2]                      does not: both served it
//! ```
//!
//! The earliest period that fits is the best for all that follow, so one pass in the order of time decides.

use std::collections::BTreeMap;

use sunstar::base::{Slot, Time};
use sunstar::history::{Outcome, Record};

use crate::map::Map;

/// The owner of each slot, epoch by epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epochs {
    owners: BTreeMap<u64, Vec<u32>>,
}

impl Epochs {
    /// The map of an epoch was told.
    pub(crate) fn insert(&mut self, map: &Map) {
        self.owners.entry(map.epoch).or_insert_with(|| map.owners());
    }

    /// The last epoch that is known with all before it.
    pub(crate) fn known(&self) -> u64 {
        let in_order = (1..).zip(self.owners.keys()).take_while(|(due, epoch)| due == *epoch);
        in_order.last().map_or(0, |(epoch, _)| epoch)
    }

    /// Who owned a slot, one after the other.
    fn of(&self, slot: Slot) -> Vec<u32> {
        let mut periods: Vec<u32> =
            self.owners.values().map(|owners| owners[slot.position()]).collect();
        periods.dedup();
        periods
    }
}

/// An answer.
#[derive(Debug)]
struct Served<'a> {
    record: &'a Record,
    group: u32,
}

/// Looks for a slot that two groups served at a time. Returns how many answers were looked at.
///
/// # Errors
/// What contradicts what, for people.
pub(crate) fn check_owners(records: &[Record], epochs: &Epochs) -> Result<u64, String> {
    let mut slots: BTreeMap<u16, Vec<Served<'_>>> = BTreeMap::new();
    let mut count = 0;
    for record in records {
        if let Outcome::Applied(answer) = &record.outcome {
            let served = Served { record, group: answer.place.group.0 };
            slots.entry(Slot::of_key(&record.key).number()).or_default().push(served);
            count += 1;
        }
    }
    for (number, mut answers) in slots {
        let slot = Slot::new(number).expect("a key's slot");
        answers.sort_by_key(|served| served.record.invoked);
        check_slot(slot, &answers, &epochs.of(slot))?;
    }
    Ok(count)
}

/// `answers`: by the time at which they were asked for.
fn check_slot(slot: Slot, answers: &[Served<'_>], periods: &[u32]) -> Result<(), String> {
    // By when each ended: which period was certainly over by then, and by whose word.
    let mut ended: Vec<(Time, usize, &Served<'_>)> = Vec::new();
    let mut placed: Vec<(Time, usize, &Served<'_>)> = Vec::new();
    for served in answers {
        let begun = served.record.invoked;
        ended.extend(placed.extract_if(.., |(completed, ..)| *completed < begun));
        let latest = ended.iter().max_by_key(|(_, period, _)| *period).copied();
        ended = latest.into_iter().collect();
        let from = latest.map_or(0, |(_, period, _)| period);
        let fits = (from..periods.len()).find(|period| periods[*period] == served.group);
        let Some(period) = fits else {
            let before = latest.map_or("at first".to_owned(), |(.., it)| format!("after {it:?}"));
            return Err(format!(
                "slot {slot:?} was served by two groups, or by one that never had it: its owners were \
                 {periods:?}, but {served:?} came {before}",
            ));
        };
        placed.push((served.record.completed, period, served));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sunstar::base::{GroupId, Index, Sequence, SessionId};
    use sunstar::history::{Answer, Operation, Place, Status};

    use super::*;
    use crate::map::tests::map;

    /// One key's answers: by whom, from when to when.
    fn history(answers: &[(u32, u64, u64)]) -> Vec<Record> {
        let record = |&(group, invoked, completed): &(u32, u64, u64)| {
            let place = Place { group: GroupId(group), index: Index(1), position: 0 };
            let answer = Answer { status: Status::Done, number: 0, value: None, place };
            Record {
                client: 1,
                session: SessionId::default(),
                sequence: Sequence::default(),
                key: b"k".to_vec(),
                operation: Operation::Get,
                invoked: Time(invoked),
                completed: Time(completed),
                outcome: Outcome::Applied(answer),
            }
        };
        answers.iter().map(record).collect()
    }

    fn epochs(owners: &[u32]) -> Epochs {
        let mut epochs = Epochs::default();
        for (epoch, owner) in (1..).zip(owners) {
            epochs.insert(&map(epoch, &[(*owner, &[1, 2, 3], &[(0, 16_383)])]));
        }
        epochs
    }

    fn fits(owners: &[u32], answers: &[(u32, u64, u64)]) -> bool {
        check_owners(&history(answers), &epochs(owners)).is_ok()
    }

    #[test]
    fn a_slot_that_moves_is_served_by_one_after_the_other() {
        assert!(fits(&[1, 2], &[(1, 0, 5), (1, 6, 7), (2, 8, 9), (2, 10, 11)]));
        assert!(fits(&[1, 2, 2, 1], &[(1, 0, 5), (2, 8, 9), (1, 10, 11)]));
        // What an answer waited for may have been before: a retry gets the first result.
        assert!(fits(&[1, 2], &[(1, 0, 20), (2, 8, 9), (2, 10, 11)]));
        // Not even asked while it was the owner, as far as clients can tell.
        assert!(fits(&[1, 2, 3], &[(1, 0, 5), (3, 6, 7)]));
    }

    #[test]
    fn two_owners_at_a_time_are_found() {
        assert!(!fits(&[1, 2], &[(1, 0, 5), (2, 8, 9), (1, 10, 11)]), "the old one serves on");
        assert!(!fits(&[1, 2], &[(2, 0, 5), (1, 8, 9)]), "the new one serves too soon");
        assert!(!fits(&[1, 2, 1], &[(1, 0, 1), (2, 2, 3), (1, 4, 5), (2, 6, 7)]), "both do");
        assert!(!fits(&[1], &[(1, 0, 5), (2, 8, 9)]), "it never had it");
    }

    #[test]
    fn epochs_are_known_up_to_a_gap() {
        let mut epochs = epochs(&[1, 1]);
        assert_eq!(epochs.known(), 2);
        epochs.insert(&map(4, &[]));
        assert_eq!(epochs.known(), 2);
    }
}
