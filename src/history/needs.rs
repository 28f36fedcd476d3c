//! What an answer needs to find, and whether writes of unknown outcome may bring it about.
//!
//! An open write that nobody ever saw may as well not have happened. So a search has to put open writes only
//! in front of an answered command that does not fit without them, and only if it may fit with them. Without
//! this, wherever a search has gone wrong it would try every order of every set of open writes before it
//! turned back.
//!
//! Where it is not certain that nothing can come of them, the answer is yes.

use super::record::{Answer, Operation, Record, Status};
use super::specification::Execution;

/// The open writes that may come next and leave something of what they find: others, coming after an open
/// write, would hide it.
#[derive(Debug, Default)]
pub(super) struct Builders<'a> {
    /// What appends put behind what they find.
    tails: Vec<&'a [u8]>,
    /// What compare-and-sets leave.
    values: Vec<&'a [u8]>,
    /// Whether any increments.
    add: bool,
}

impl<'a> Builders<'a> {
    pub(super) fn of(open: impl Iterator<Item = &'a Operation>) -> Self {
        let mut builders = Self::default();
        for operation in open {
            match operation {
                Operation::Append { value } => builders.tails.push(value),
                Operation::CompareAndSet { value, .. } => builders.values.push(value),
                Operation::Increment { .. } => builders.add = true,
                Operation::Get
                | Operation::Put { .. }
                | Operation::Delete
                | Operation::Compare { .. } => {}
            }
        }
        builders
    }

    const fn is_empty(&self) -> bool {
        self.tails.is_empty() && self.values.is_empty() && !self.add
    }

    /// Whether the record, an answered one, fits where the key holds `held`, or may fit after some of
    /// these.
    pub(super) fn may_lead_to(
        &self,
        record: &Record,
        answer: &Answer,
        held: Option<&[u8]>,
    ) -> bool {
        fits(record, answer, held) || !self.is_empty() && self.may_satisfy(record, answer, held)
    }

    fn may_satisfy(&self, record: &Record, answer: &Answer, held: Option<&[u8]>) -> bool {
        match (&record.operation, answer.status) {
            // None of them removes anything.
            (_, Status::NotFound) => false,
            (Operation::Get, _) => self.may_leave(answer.value.as_deref(), held, DEPTH_MAX),
            (
                Operation::CompareAndSet { expected, .. } | Operation::Compare { expected },
                Status::Done,
            ) => self.may_leave(expected.as_deref(), held, DEPTH_MAX),
            // A number may be spelled in several ways; all of them end in a digit.
            (Operation::Increment { .. }, Status::Done | Status::Overflow) => {
                let ends = |text: &&[u8]| text.last().is_none_or(u8::is_ascii_digit);
                let mut others = self.values.iter().chain(&self.tails);
                self.may_be_a_number(held) && (self.add || others.any(ends))
            }
            (Operation::Append { value }, Status::Done) => {
                let found = usize::try_from(answer.number).ok();
                let found = found.and_then(|length| length.checked_sub(value.len()));
                found.is_some_and(|found| self.may_leave_length(found, held))
            }
            _ => true,
        }
    }

    /// Whether some of them may turn `held` into `wanted`. Looks so many appends back.
    fn may_leave(&self, wanted: Option<&[u8]>, held: Option<&[u8]>, depth: u32) -> bool {
        if wanted == held || depth == 0 {
            return true;
        }
        let Some(wanted) = wanted else { return false };
        let is_end = |tail: &&[u8]| {
            wanted.strip_suffix(*tail).is_some_and(|rest| {
                // Before the first append the key may have been absent; appending nothing leads nowhere else.
                rest.is_empty() && held.is_none()
                    || !tail.is_empty() && self.may_leave(Some(rest), held, depth - 1)
            })
        };
        self.add && is_like_a_number(wanted) && self.may_be_a_number(held)
            || self.values.contains(&wanted)
            || self.tails.iter().any(is_end)
    }

    /// What is none does not become one by appending.
    fn may_be_a_number(&self, held: Option<&[u8]>) -> bool {
        held.is_none_or(is_like_a_number) || self.values.iter().any(|value| is_like_a_number(value))
    }

    fn may_leave_length(&self, wanted: usize, held: Option<&[u8]>) -> bool {
        let room = wanted.checked_sub(held.unwrap_or_default().len());
        self.add
            || self.values.iter().any(|value| value.len() <= wanted)
            || room.is_some_and(|room| self.tails.iter().any(|tail| tail.len() <= room))
    }
}

/// Appends that are looked back for a value wanted, at most.
const DEPTH_MAX: u32 = 6;

/// Whether the record's answer is that of a key holding `held`.
pub(super) fn fits(record: &Record, answer: &Answer, held: Option<&[u8]>) -> bool {
    Execution::of(&record.operation, held).agrees(&record.operation, held, answer)
}

/// Whether what happened just before it makes no difference afterwards, given that it fits there: it leaves
/// what it leaves, or all that it found shows in its answer. An append tells no more than a length.
pub(super) const fn hides(operation: &Operation) -> bool {
    !matches!(operation, Operation::Append { .. })
}

/// Whether it is the beginning of a number, at least.
fn is_like_a_number(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'+' | b'-' | b'0'..=b'9'))
}
