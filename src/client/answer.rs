//! Answers that own their bytes: what the drivers hand to their callers.

use super::command::CommandError;
use super::outcome::{Doubt, Effect, Outcome, Place, Rejection};

/// The answer to an executed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it found.
    pub effect: Effect,
    /// Append: the new length. Increment: the sum. Delete: 1 if the key existed. Otherwise 0.
    pub number: i64,
    /// Get: the value; empty if the key is absent.
    pub value: Vec<u8>,
    /// Where in the order of all commands it stands.
    pub place: Place,
}

/// A result and where in the order of all commands it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The result.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// A command without an answer. Only `Unknown` may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No server would accept it; nothing was sent.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// It did not and will not happen: safe to submit again.
    #[error("rejected, did not happen: {0}")]
    Rejected(Rejection),
    /// It may or may not have happened.
    #[error("outcome unknown, may have happened: {0}")]
    Unknown(Doubt),
}

impl Answer {
    /// Of an outcome.
    ///
    /// # Errors
    /// If the command was not, or not certainly, executed.
    pub fn of(outcome: Outcome<'_>) -> Result<Self, ClientError> {
        match outcome {
            Outcome::Applied(applied) => Ok(Self {
                effect: applied.effect,
                number: applied.number,
                value: applied.value.to_vec(),
                place: applied.place,
            }),
            Outcome::Rejected(reason) => Err(ClientError::Rejected(reason)),
            Outcome::Unknown(doubt) => Err(ClientError::Unknown(doubt)),
        }
    }

    /// A get's: the value, if the key is there.
    pub fn into_value(self) -> At<Option<Vec<u8>>> {
        let found = self.effect == Effect::Done;
        At { value: found.then_some(self.value), place: self.place }
    }

    /// A put's: nothing but the place.
    pub const fn into_unit(&self) -> At<()> {
        At { value: (), place: self.place }
    }

    /// An append's or increment's: the new length or the sum.
    pub const fn into_number(&self) -> At<i64> {
        At { value: self.number, place: self.place }
    }

    /// A delete's or compare-and-set's: whether it did something.
    pub fn into_success(&self) -> At<bool> {
        At { value: self.effect == Effect::Done, place: self.place }
    }
}
