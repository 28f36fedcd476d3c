//! The order check: whether the places that the answers carry can be one order of all commands.
//!
//! Each group executes its commands one after another and says so: a write was the `position`th command
//! of entry `index`, a read saw every write up to `index`. Whatever the values were,
//!
//! - no two writes have one place, no two writes of a session one sequence;
//! - a command that was over before another of its group began stands before it, reads at one index
//!   excepted, which see the same.
//!
//! A key may have places in several groups, since slots move; groups have no order between them, so what is
//! said here is said of each group by itself.
//!
//! The last is checked for the whole group, not only within keys: O(n log n), one sweep over the commands
//! as they begin, with the latest place of those that were over by then.
//!
//! Source: Herlihy and Wing, "Linearizability: A Correctness Condition for Concurrent Objects", section 2,
//! of which this checks that the order of places extends the order of time.

use super::finding::Finding;
use super::keys::Keys;
use super::record::{Place, Record};
use crate::base::collections::Map;
use crate::base::{GroupId, Sequence, SessionId, Time};

/// Where a command stands in its group: the entry, then the place within it, behind all of which are the
/// reads at that entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    index: u64,
    position: u64,
}

impl Rank {
    pub(super) fn of(record: &Record, place: Place) -> Self {
        let is_read = record.operation.is_read();
        let position = if is_read { u64::MAX } else { u64::from(place.position) };
        Self { index: place.index.0, position }
    }

    /// Whether no other command can stand between the two.
    pub(super) fn touches(self, next: Self) -> bool {
        self.index == next.index && next.position.saturating_sub(self.position) <= 1
    }
}

/// Checks the places of all answers.
pub fn check_order(keys: &Keys<'_>) -> Finding {
    let mut finding = Finding::of("order");
    let mut groups: Vec<(GroupId, Vec<Ranked<'_>>)> = Vec::new();
    let mut position_of: Map<GroupId, usize> = Map::default();
    for (_, records) in keys.iter() {
        for &record in records {
            let Some(answer) = record.answer() else { continue };
            finding.checked += 1;
            let group = answer.place.group;
            let position = *position_of.entry(group).or_insert_with(|| {
                groups.push((group, Vec::new()));
                groups.len() - 1
            });
            groups[position].1.push(Ranked::of(record, answer.place));
        }
    }
    groups.sort_unstable_by_key(|&(group, _)| group);
    for (_, mut commands) in groups {
        refuse_shared_places(&mut commands, &mut finding);
        refuse_shared_sequences(&commands, &mut finding);
        refuse_reversed_time(&mut commands, &mut finding);
    }
    finding
}

/// An answered command and where it stands. What is sorted by is beside it: records lie all over memory.
#[derive(Clone, Copy)]
struct Ranked<'a> {
    rank: Rank,
    invoked: Time,
    completed: Time,
    record: &'a Record,
}

impl<'a> Ranked<'a> {
    fn of(record: &'a Record, place: Place) -> Self {
        let Record { invoked, completed, .. } = *record;
        Self { rank: Rank::of(record, place), invoked, completed, record }
    }
}

fn refuse_shared_places(commands: &mut [Ranked<'_>], finding: &mut Finding) {
    commands.sort_unstable_by_key(|command| (command.rank, command.invoked));
    for pair in commands.windows(2) {
        if pair[0].rank == pair[1].rank && !pair[0].record.operation.is_read() {
            finding.contradiction("two writes in one place:", [pair[0].record, pair[1].record]);
        }
    }
}

fn refuse_shared_sequences(commands: &[Ranked<'_>], finding: &mut Finding) {
    let in_session = commands.iter().filter(|command| command.record.session.0 != 0);
    let mut identities: Vec<(SessionId, Sequence, Time, &Record)> = in_session
        .map(|&Ranked { invoked, record, .. }| (record.session, record.sequence, invoked, record))
        .collect();
    identities
        .sort_unstable_by_key(|&(session, sequence, invoked, _)| (session, sequence, invoked));
    for pair in identities.windows(2) {
        if (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1) {
            finding.contradiction(
                "two writes under one sequence of a session:",
                [pair[0].3, pair[1].3],
            );
        }
    }
}

fn refuse_reversed_time(commands: &mut [Ranked<'_>], finding: &mut Finding) {
    let mut ended = commands.to_vec();
    ended.sort_unstable_by_key(|command| (command.completed, command.rank));
    commands.sort_unstable_by_key(|command| (command.invoked, command.rank));
    let mut ended = ended.into_iter().peekable();
    // Of all commands over by now, the one that stands last.
    let mut latest: Option<Ranked<'_>> = None;
    for begun in commands.iter() {
        while let Some(over) = ended.next_if(|over| over.completed < begun.invoked) {
            if latest.is_none_or(|latest| latest.rank < over.rank) {
                latest = Some(over);
            }
        }
        if let Some(latest) = latest
            && latest.rank > begun.rank
        {
            let text = "the first was over before the second began, yet stands behind it:";
            finding.contradiction(text, [latest.record, begun.record]);
        }
    }
}
