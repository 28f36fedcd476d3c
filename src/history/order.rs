//! The order check: whether the places that the answers carry can be one order of all commands.
//!
//! Each group executes its commands one after another and says so: a write was the `position`th command
//! of entry `index`, a read saw every write up to `index`. Whatever the values were,
//!
//! - no two writes have one place, no two writes of a session one sequence;
//! - a key has all its places in one group (slots do not move while a history is recorded);
//! - a command that was over before another of its group began stands before it, reads at one index
//!   excepted, which see the same.
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
use crate::base::{GroupId, Sequence, SessionId};

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
        let mut home: Option<&Record> = None;
        for &record in records {
            let Some(answer) = record.answer() else { continue };
            finding.checked += 1;
            let group = answer.place.group;
            match home.and_then(Record::answer) {
                Some(first) if first.place.group != group => {
                    finding.contradiction("one key, two groups:", home.into_iter().chain([record]));
                    continue;
                }
                _ => home = home.or(Some(record)),
            }
            let position = *position_of.entry(group).or_insert_with(|| {
                groups.push((group, Vec::new()));
                groups.len() - 1
            });
            groups[position].1.push(Ranked { rank: Rank::of(record, answer.place), record });
        }
    }
    groups.sort_unstable_by_key(|&(group, _)| group);
    for (_, mut commands) in groups {
        refuse_shared_places(&mut commands, &mut finding);
        refuse_shared_sequences(&mut commands, &mut finding);
        refuse_reversed_time(&mut commands, &mut finding);
    }
    finding
}

/// An answered command and where it stands.
#[derive(Clone, Copy)]
struct Ranked<'a> {
    rank: Rank,
    record: &'a Record,
}

fn refuse_shared_places(commands: &mut [Ranked<'_>], finding: &mut Finding) {
    commands.sort_by_key(|command| command.rank);
    for pair in commands.windows(2) {
        if pair[0].rank == pair[1].rank && !pair[0].record.operation.is_read() {
            finding.contradiction("two writes in one place:", [pair[0].record, pair[1].record]);
        }
    }
}

fn refuse_shared_sequences(commands: &mut [Ranked<'_>], finding: &mut Finding) {
    let identity = |command: &Ranked<'_>| -> (SessionId, Sequence) {
        (command.record.session, command.record.sequence)
    };
    commands.sort_by_key(identity);
    for pair in commands.windows(2) {
        if identity(&pair[0]) == identity(&pair[1]) && pair[0].record.session.0 != 0 {
            let text = "two writes under one sequence of a session:";
            finding.contradiction(text, [pair[0].record, pair[1].record]);
        }
    }
}

fn refuse_reversed_time(commands: &mut [Ranked<'_>], finding: &mut Finding) {
    let mut ended = commands.to_vec();
    ended.sort_by_key(|command| command.record.completed);
    commands.sort_by_key(|command| command.record.invoked);
    let mut ended = ended.into_iter().peekable();
    // Of all commands over by now, the one that stands last.
    let mut latest: Option<Ranked<'_>> = None;
    for begun in commands.iter() {
        while let Some(over) = ended.next_if(|over| over.record.completed < begun.record.invoked) {
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
