//! The replay check: the answers, against the specification, in the order of their places.
//!
//! Commands on different keys do not meet, so each key is replayed by itself: its answered commands by
//! place, O(n log n) for the sorting.
//!
//! What this can say. If every write of a key was answered, the replay is exact: the answers are those of
//! the specification in that order, or the finding names the first that is not. Together with the order
//! check it then is linearizability.
//!
//! A write of unknown outcome has no place. It may stand anywhere behind the commands that were over when
//! it began, once, or nowhere. The replay keeps all [worlds](super::worlds) that the answers leave
//! possible, so that it never blames an answer that some choice of open writes explains, and does blame
//! what none explains: a write of unknown outcome seen twice, or seen before it began.
//!
//! What it cannot say. When a key has more worlds than are kept (many open writes, none of which shows),
//! the replay forgets what it knew of that key until an answer says what it holds; answers in between are
//! counted as not decided, and an open write used before may be used again. It also takes the places for
//! true: that is the order check's business. And of a key that was in several groups, since slots move, it
//! says nothing at all: places of different groups have no order. The [search](super::search) uses neither places nor worlds.

use std::fmt::Write as _;

use super::finding::{Finding, held_text};
use super::growth::Growth;
use super::keys::Keys;
use super::open::OpenWrites;
use super::order::Rank;
use super::record::{Answer, Record};
use super::specification::Execution;
use super::worlds::{Step, Worlds};
use crate::base::Time;

/// Replays every key.
pub fn check_replay(keys: &Keys<'_>) -> Finding {
    let mut finding = Finding::of("replay");
    for (_, records) in keys.iter() {
        replay_key(records, &mut finding);
    }
    finding
}

fn replay_key(records: &[&Record], finding: &mut Finding) {
    let answered = in_order(records);
    let mut groups = answered.iter().map(|answered| answered.answer.place.group);
    if let Some(first) = groups.next()
        && groups.any(|group| group != first)
    {
        finding.unchecked += answered.len() as u64;
        return;
    }
    let open = OpenWrites::of(records);
    let growth = Growth::of(records);
    let earliest_end = earliest_ends(&answered);
    let mut worlds = Worlds::new(&open);
    let mut last: Option<&Answered<'_>> = None;
    for (this, until) in answered.iter().zip(earliest_end) {
        let is_next = last.is_some_and(|last| last.rank.touches(this.rank));
        match worlds.step((&open, growth), (!is_next).then_some(until), this.record, this.answer) {
            Step::Agrees => finding.checked += 1,
            Step::Undecided => finding.unchecked += 1,
            Step::Contradicts => {
                let text = explanation(&worlds, open.count(), this);
                let last = last.map(|last| last.record);
                finding.contradiction(text, last.into_iter().chain([this.record]));
                return;
            }
        }
        last = Some(this);
    }
}

/// An answered command and where it stands.
struct Answered<'a> {
    rank: Rank,
    record: &'a Record,
    answer: &'a Answer,
}

fn in_order<'a>(records: &[&'a Record]) -> Vec<Answered<'a>> {
    let answered = |&record: &&'a Record| {
        let answer = record.answer()?;
        Some(Answered { rank: Rank::of(record, answer.place), record, answer })
    };
    let mut answered: Vec<Answered<'_>> = records.iter().filter_map(answered).collect();
    answered.sort_by_key(|answered| answered.rank);
    answered
}

/// For each command, when the first of it and all behind it was over: what began later cannot stand
/// before it.
fn earliest_ends(answered: &[Answered<'_>]) -> Vec<Time> {
    let mut earliest = Time(u64::MAX);
    let mut ends: Vec<Time> = answered
        .iter()
        .rev()
        .map(|answered| {
            earliest = earliest.min(answered.record.completed);
            earliest
        })
        .collect();
    ends.reverse();
    ends
}

fn explanation(worlds: &Worlds, open_count: usize, this: &Answered<'_>) -> String {
    let Worlds::Known(worlds) = worlds else { unreachable!("what is lost contradicts nothing") };
    let held = worlds[0].held.as_deref();
    let should = Execution::of(&this.record.operation, held);
    let mut text = format!(
        "the last command finds {} behind the one before it and should have said {}",
        held_text(held),
        should.status.name()
    );
    if should.number != 0 {
        write!(text, " {}", should.number).expect("memory");
    }
    if open_count > 0 {
        let also = "; nor do the writes of unknown outcome explain it, of which there are";
        write!(text, "{also} {open_count}").expect("memory");
    }
    text + ":"
}
