//! Commands and outcomes as a history records them.

use super::command::Command;
use super::completions::Completion;
use super::outcome::{Applied, Effect, Evidence, Outcome, Place, Rejection};
use crate::base::Time;
use crate::history;

impl Command<'_> {
    /// The command as a history records its beginning.
    pub fn begun(&self, client: u64, invoked: Time) -> history::Begun {
        let (key, operation) = (self.key().to_vec(), self.recorded());
        history::Begun { client, key, operation, invoked }
    }

    fn recorded(&self) -> history::Operation {
        match *self {
            Self::Get { .. } => history::Operation::Get,
            Self::Put { value, .. } => history::Operation::Put { value: value.to_vec() },
            Self::Append { value, .. } => history::Operation::Append { value: value.to_vec() },
            Self::Delete { .. } => history::Operation::Delete,
            Self::CompareAndSet { expected, value, .. } => history::Operation::CompareAndSet {
                expected: expected.map(<[u8]>::to_vec),
                value: value.to_vec(),
            },
            Self::Increment { delta, .. } => history::Operation::Increment { delta },
            Self::Compare { expected, .. } => {
                history::Operation::Compare { expected: expected.map(<[u8]>::to_vec) }
            }
        }
    }
}

impl Completion<'_> {
    /// The record of the command that was `begun` under this ticket and has now come to its end.
    ///
    /// `completed` is to be read off the clock after the completion was taken, `invoked` before the command
    /// was submitted: a command that seems shorter than it was is taken for one that came before others.
    pub fn record(&self, begun: history::Begun, completed: Time) -> history::Record {
        let Evidence { session, sequence, place, atomic } = self.evidence;
        let outcome = match refusal(&self.outcome) {
            Some(reason) if atomic => history::Outcome::Rejected { reason },
            _ => recorded(&self.outcome, place, begun.operation.is_read()),
        };
        begun.ended(session, sequence, completed, outcome)
    }
}

/// Why a command was executed and failed, if it did. Of one in an atomic batch that is no answer: it was
/// judged by what the commands before it would have left, and says nothing of what the key held.
fn refusal(outcome: &Outcome<'_>) -> Option<String> {
    match outcome {
        Outcome::Applied(Applied { effect: Effect::CompareFailed, .. }) => {
            Some("the key holds something else".to_owned())
        }
        Outcome::Rejected(reason) => Some(reason.to_string()),
        _ => None,
    }
}

/// An outcome as a history records it. A refusal for what the key held was decided at a place of its own
/// and is an answer like any other: it says something of the key.
fn recorded(outcome: &Outcome<'_>, place: Place, is_read: bool) -> history::Outcome {
    let answer = |status, number, value| {
        let place =
            history::Place { group: place.group, index: place.index, position: place.position };
        history::Outcome::Applied(history::Answer { status, number, value, place })
    };
    match *outcome {
        Outcome::Applied(Applied { effect, number, value, .. }) => match effect {
            Effect::Done => answer(history::Status::Done, number, is_read.then(|| value.to_vec())),
            Effect::NotFound => answer(history::Status::NotFound, number, None),
            Effect::CompareFailed => answer(history::Status::CompareFailed, number, None),
        },
        Outcome::Rejected(Rejection::NotANumber) => answer(history::Status::NotANumber, 0, None),
        Outcome::Rejected(Rejection::Overflow) => answer(history::Status::Overflow, 0, None),
        Outcome::Rejected(Rejection::ValueTooLarge) => {
            answer(history::Status::ValueTooLarge, 0, None)
        }
        Outcome::Rejected(reason) => history::Outcome::Rejected { reason: reason.to_string() },
        Outcome::Unknown(doubt) => history::Outcome::Unknown { reason: doubt.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{GroupId, Index, Sequence, SessionId};

    fn record(command: Command<'_>, outcome: Outcome<'_>) -> history::Record {
        let place = Place { group: GroupId(1), index: Index(7), position: 2 };
        let (session, sequence) = (SessionId(5), Sequence(3));
        let evidence = Evidence { session, sequence, place, atomic: false };
        let completion = Completion { ticket: 0, outcome, evidence };
        completion.record(command.begun(4, Time(10)), Time(20))
    }

    #[test]
    fn an_answer_keeps_its_identity_and_place() {
        let place = Place { group: GroupId(1), index: Index(7), position: 2 };
        let applied = Applied { effect: Effect::Done, number: 3, value: b"", place };
        let record =
            record(Command::Append { key: b"k", value: b"abc" }, Outcome::Applied(applied));
        assert_eq!((record.client, record.key.as_slice()), (4, &b"k"[..]));
        assert_eq!((record.session, record.sequence), (SessionId(5), Sequence(3)));
        assert_eq!((record.invoked, record.completed), (Time(10), Time(20)));
        let answer = record.answer().expect("applied");
        assert_eq!((answer.number, &answer.value), (3, &None));
        let place = history::Place { group: GroupId(1), index: Index(7), position: 2 };
        assert_eq!(answer.place, place);
    }

    #[test]
    fn an_empty_value_is_not_an_absent_one() {
        let place = Place::default();
        let applied = |effect| Outcome::Applied(Applied { effect, number: 0, value: b"", place });
        let found = record(Command::Get { key: b"k" }, applied(Effect::Done));
        assert_eq!(found.answer().expect("applied").value, Some(Vec::new()));
        let absent = record(Command::Get { key: b"k" }, applied(Effect::NotFound));
        assert_eq!(absent.answer().expect("applied").value, None);
    }

    #[test]
    fn what_the_key_refused_is_an_answer_and_what_never_ran_is_none() {
        let increment = Command::Increment { key: b"k", delta: 1 };
        let refused = record(increment, Outcome::Rejected(Rejection::Overflow));
        assert_eq!(refused.answer().expect("executed").status, history::Status::Overflow);
        let rejected = record(increment, Outcome::Rejected(Rejection::DiskFull));
        assert_eq!(rejected.answer(), None);
        assert!(!rejected.is_open());
    }
}
