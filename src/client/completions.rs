//! Outcomes on their way to the caller: rows beside one blob of values, so that a batch of replies
//! costs no allocation per command.

use std::collections::VecDeque;

use super::outcome::{Applied, Effect, Evidence, Outcome};

/// The outcome of one submitted command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion<'a> {
    /// As given to `submit`.
    pub ticket: u64,
    /// What became of it.
    pub outcome: Outcome<'a>,
    /// How that was decided.
    pub evidence: Evidence,
}

/// A row with its value elsewhere.
#[derive(Debug)]
struct Row {
    ticket: u64,
    /// `Applied::value` is empty here; the bytes are the next `length` of the blob.
    outcome: Outcome<'static>,
    evidence: Evidence,
    length: usize,
}

/// A queue of outcomes.
#[derive(Debug, Default)]
pub(super) struct Completions {
    rows: VecDeque<Row>,
    /// Values of the rows, one after another; emptied once all rows are taken.
    blob: Vec<u8>,
    /// Where in the blob the front row's value begins; advanced by `take`.
    taken: usize,
}

impl Completions {
    /// Queues an execution's answer.
    pub(super) fn applied(
        &mut self,
        ticket: u64,
        (effect, number): (Effect, i64),
        evidence: Evidence,
        value: &[u8],
    ) {
        self.recycle();
        self.blob.extend_from_slice(value);
        let place = evidence.place;
        let outcome = Outcome::Applied(Applied { effect, number, value: &[], place });
        self.rows.push_back(Row { ticket, outcome, evidence, length: value.len() });
    }

    /// Queues an outcome without a value.
    pub(super) fn failed(&mut self, ticket: u64, outcome: Outcome<'static>, evidence: Evidence) {
        self.rows.push_back(Row { ticket, outcome, evidence, length: 0 });
    }

    /// Takes the oldest.
    pub(super) fn take(&mut self) -> Option<Completion<'_>> {
        let Row { ticket, outcome, evidence, length } = self.rows.pop_front()?;
        let start = self.taken;
        self.taken += length;
        let value = &self.blob[start..self.taken];
        let outcome = match outcome {
            Outcome::Applied(applied) => Outcome::Applied(Applied { value, ..applied }),
            other => other,
        };
        Some(Completion { ticket, outcome, evidence })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Frees the blob when nothing refers to it any more.
    fn recycle(&mut self) {
        if self.rows.is_empty() {
            self.blob.clear();
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Rejection;

    #[test]
    fn values_stay_with_their_rows() {
        let mut queue = Completions::default();
        for round in 0..3_u64 {
            queue.applied(round, (Effect::Done, 0), Evidence::default(), b"first");
            let rejected = Outcome::Rejected(Rejection::TimedOut);
            queue.failed(round + 10, rejected, Evidence::default());
            queue.applied(round + 20, (Effect::Done, 0), Evidence::default(), b"2nd");
            let value = |completion: Option<Completion<'_>>| match completion {
                Some(Completion { outcome: Outcome::Applied(applied), .. }) => {
                    applied.value.to_vec()
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(value(queue.take()), b"first");
            assert_eq!(queue.take().expect("queued").ticket, round + 10);
            assert_eq!(value(queue.take()), b"2nd");
            assert!(queue.take().is_none());
        }
        assert!(queue.blob.len() <= 8, "the blob is reused: {}", queue.blob.len());
    }
}
