//! Commands that happen all, or none of them.

use super::answer::{Answer, ClientError};
use super::command::Command;
use super::outcome::{Effect, Rejection};

/// Commands on keys of one slot that happen all or not at all, in this order and with nothing between
/// them: a transaction on one slot. Keys share a slot if they are the same or have a common `{tag}`.
///
/// Conditions are commands like the others ([`compare`](Self::compare),
/// [`compare_and_set`](Self::compare_and_set)): if one does not hold, nothing happens.
///
/// ```
/// use sunstar::client::Multi;
///
/// let transfer = Multi::new()
///     .compare(b"{alice}account", Some(b"open"))
///     .increment(b"{alice}euros", -5)
///     .append(b"{alice}journal", b"-5;");
/// assert_eq!(transfer.commands().len(), 3);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Multi<'a> {
    commands: Vec<Command<'a>>,
}

/// What became of a batch that was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiAnswer {
    /// All of it happened: an answer for each command, in order.
    Done(Vec<Answer>),
    /// Nothing happened: a key did not hold what the command at this position, from 0, expects.
    CompareFailed(usize),
}

impl<'a> Multi<'a> {
    /// A batch without commands.
    #[must_use]
    pub const fn new() -> Self {
        Self { commands: Vec::new() }
    }

    /// Only if the key then holds `expected` (`None`: is absent).
    #[must_use]
    pub fn compare(self, key: &'a [u8], expected: Option<&'a [u8]>) -> Self {
        self.and(Command::Compare { key, expected })
    }

    /// Sets a value.
    #[must_use]
    pub fn put(self, key: &'a [u8], value: &'a [u8]) -> Self {
        self.and(Command::Put { key, value })
    }

    /// Adds to a value's end.
    #[must_use]
    pub fn append(self, key: &'a [u8], value: &'a [u8]) -> Self {
        self.and(Command::Append { key, value })
    }

    /// Removes a key; an absent one is no failure.
    #[must_use]
    pub fn delete(self, key: &'a [u8]) -> Self {
        self.and(Command::Delete { key })
    }

    /// Sets a value, and only if the key then holds `expected` (`None`: is absent).
    #[must_use]
    pub fn compare_and_set(
        self,
        key: &'a [u8],
        expected: Option<&'a [u8]>,
        value: &'a [u8],
    ) -> Self {
        self.and(Command::CompareAndSet { key, expected, value })
    }

    /// Adds to a decimal integer value; what is no such value, or leaves its range, fails the batch.
    #[must_use]
    pub fn increment(self, key: &'a [u8], delta: i64) -> Self {
        self.and(Command::Increment { key, delta })
    }

    /// One more command; a batch with a get is refused.
    #[must_use]
    pub fn and(mut self, command: Command<'a>) -> Self {
        self.commands.push(command);
        self
    }

    /// The commands, in order.
    pub fn commands(&self) -> &[Command<'a>] {
        &self.commands
    }
}

impl MultiAnswer {
    /// Of the outcomes of a batch's commands, in order.
    ///
    /// # Errors
    /// If the batch was not, or not certainly, executed, or failed for another reason than a compare.
    pub fn of(outcomes: Vec<Result<Answer, ClientError>>) -> Result<Self, ClientError> {
        let failed = |outcome: &Result<Answer, ClientError>| matches!(outcome, Ok(answer) if answer.effect == Effect::CompareFailed);
        if let Some(position) = outcomes.iter().position(failed) {
            return Ok(Self::CompareFailed(position));
        }
        let aborted = ClientError::Rejected(Rejection::Aborted);
        let mut errors = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        if let Some(&reason) = errors.find(|&&error| error != aborted) {
            return Err(reason);
        }
        outcomes.into_iter().collect::<Result<_, _>>().map(Self::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Doubt, Place};

    fn answer(effect: Effect) -> Answer {
        Answer { effect, number: 0, value: Vec::new(), place: Place::default() }
    }

    #[test]
    fn the_command_that_fails_speaks_for_all() {
        let aborted = || Err(ClientError::Rejected(Rejection::Aborted));
        let overflow = || Err(ClientError::Rejected(Rejection::Overflow));
        let unknown = || Err(ClientError::Unknown(Doubt::TimedOut));
        let done = vec![answer(Effect::Done), answer(Effect::NotFound)];
        let outcomes = done.iter().cloned().map(Ok).collect();
        assert_eq!(MultiAnswer::of(outcomes), Ok(MultiAnswer::Done(done)));
        let failed = vec![aborted(), Ok(answer(Effect::CompareFailed)), aborted()];
        assert_eq!(MultiAnswer::of(failed), Ok(MultiAnswer::CompareFailed(1)));
        let failed = vec![aborted(), overflow(), aborted()];
        assert_eq!(MultiAnswer::of(failed), Err(ClientError::Rejected(Rejection::Overflow)));
        let doubt = Err(ClientError::Unknown(Doubt::TimedOut));
        assert_eq!(MultiAnswer::of(vec![unknown(), unknown()]), doubt);
    }
}
