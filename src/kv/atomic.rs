//! Commands that happen all, or none of them.
//!
//! ```text
//!   new to the session? ──▶ rehearsed: each judged by what those before it would leave
//!        │ no                  │ all done                    │ one fails
//!        ▼                     ▼                             ▼
//!   what is remembered      executed, one after another    nothing is changed: it says why,
//!                                                          the others are `Aborted`
//! ```
//!
//! Nothing comes between two of them, for they stand in one entry, and nothing sees a part of them, for
//! whatever reads does so between two entries. They share one slot, hence one group and one fate when the
//! slot moves: `WrongSlot` is said of all.
//!
//! The session remembers each by its own number, and all of them in one step: a retry finds all or none.
//! A client that gives up some and asks for the others again is beyond its rights, and gets `Aborted` for
//! what is not remembered.

use std::collections::BTreeMap;

use super::command::{Answer, Command, Place, Status};
use super::execute::{Outcome, execute, judge};
use super::machine::Batch;
use super::session::{Recall, Remembered};
use super::slot_tables::SlotTables;
use crate::base::{Mistake, Slot, makes};

impl Batch<'_> {
    /// Executes all of the commands or none, unless the session has seen their sequences: then the
    /// answers are what the session remembers. `None` stands for a command of unknown kind. The first
    /// command's place is `first`, and the others follow it.
    ///
    /// Any status but those of [`Status::is_done`] means that nothing was changed by any of them.
    ///
    /// # Panics
    /// If `first` is not in the entry that was begun, or the keys lie in more than one slot, or a
    /// sequence stands twice.
    pub fn apply_atomic(&mut self, first: Place, commands: &[Option<Command<'_>>]) -> Vec<Answer> {
        assert!(first.index == self.index, "{first:?} applied in entry {}", self.index);
        let places = (first.position..).map(|position| Place { position, ..first });
        let Some(known) = commands.iter().copied().collect::<Option<Vec<_>>>() else {
            let rows = places.zip(commands);
            return rows.map(|(place, command)| unknown_kind(place, command.as_ref())).collect();
        };
        let mut recalls = known.iter().map(|command| self.session.recall(command.sequence));
        let outcomes = if recalls.all(|recall| matches!(recall, Recall::New)) {
            execute_all(self.tables, &known)
        } else {
            vec![(Status::Aborted, 0); known.len()]
        };
        let rows = places.zip(&known).zip(outcomes);
        rows.map(|((place, command), outcome)| self.answer(place, command, outcome)).collect()
    }

    /// What is remembered of the command, or else that this was its outcome, which is remembered.
    fn answer(&mut self, place: Place, command: &Command<'_>, outcome: Outcome) -> Answer {
        let refused = |status| Answer { status, number: 0, place, repeated: false };
        match self.session.recall(command.sequence) {
            Recall::Known(result) => result.answer(true),
            Recall::Forgotten => refused(Status::Forgotten),
            Recall::WindowExceeded => refused(Status::WindowExceeded),
            Recall::New => {
                let (Place { index, position }, (status, number)) = (place, outcome);
                let result = Remembered { number, index, position, status };
                self.sums.remember(self.session, command.sequence, result);
                result.answer(false)
            }
        }
    }
}

/// The answer to a command of a batch in which one is of unknown kind; this one is, if it is `None`.
const fn unknown_kind(place: Place, command: Option<&Command<'_>>) -> Answer {
    let status = if command.is_some() { Status::Aborted } else { Status::UnknownCommand };
    Answer { status, number: 0, place, repeated: false }
}

fn execute_all(tables: &mut SlotTables, commands: &[Command<'_>]) -> Vec<Outcome> {
    let slots = commands.iter().map(|command| Slot::of_key(command.operation.key()));
    let Some(slot) = one_of(slots) else { return Vec::new() };
    if !tables.serves(slot) {
        return vec![(Status::WrongSlot, 0); commands.len()];
    }
    if let Err(failure) = rehearse(tables, slot, commands) {
        let failed = |at| if at == failure.position { failure.status } else { Status::Aborted };
        if makes(Mistake::HalfBatch) {
            commands.iter().take(failure.position).for_each(|command| {
                execute(tables, &command.operation);
            });
        }
        return (0..commands.len()).map(|at| (failed(at), 0)).collect();
    }
    let outcomes = commands.iter().map(|command| execute(tables, &command.operation));
    let outcomes: Vec<Outcome> = outcomes.collect();
    let done = outcomes.iter().all(|(status, _)| status.is_done());
    assert!(done, "a batch of {slot} that was rehearsed went otherwise: {outcomes:?}");
    outcomes
}

/// The slot that all of `slots` are; `None` if there are none.
fn one_of(mut slots: impl Iterator<Item = Slot>) -> Option<Slot> {
    let first = slots.next()?;
    let other = slots.find(|&slot| slot != first);
    assert!(other.is_none(), "an atomic batch of slots {first} and {other:?}");
    Some(first)
}

/// The first command that fails.
struct Failure {
    position: usize,
    status: Status,
}

/// Judges each command by what those before it would leave, and changes nothing.
fn rehearse(tables: &SlotTables, slot: Slot, commands: &[Command<'_>]) -> Result<(), Failure> {
    // What the keys touched so far would hold.
    let mut drafts: BTreeMap<&[u8], Option<Vec<u8>>> = BTreeMap::new();
    for (position, Command { operation, .. }) in commands.iter().enumerate() {
        let draft = drafts.get(operation.key());
        let held = draft.map_or_else(|| tables.get(slot, operation.key()), Option::as_deref);
        let ((status, _), change) = judge(operation, || held);
        if !status.is_done() {
            return Err(Failure { position, status });
        }
        let draft = change.draft(held);
        drafts.insert(operation.key(), draft);
    }
    Ok(())
}
