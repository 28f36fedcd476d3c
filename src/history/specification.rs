//! What the commands mean, said as plainly as possible.
//!
//! Written apart from `kv`, of which nothing is used here: what is shared cannot be checked.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::record::{Answer, Operation, Status};
use crate::base::limits::VALUE_MAX;

/// What a command finds and does, given what its key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution<'a> {
    /// How it goes.
    pub status: Status,
    /// As in [`Answer`].
    pub number: i64,
    /// What becomes of the key.
    pub change: Change<'a>,
}

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Nothing.
    Keep,
    /// It is gone.
    Remove,
    /// It holds this.
    Set(Cow<'a, [u8]>),
    /// It holds this behind what it held.
    Extend(&'a [u8]),
}

impl<'a> Execution<'a> {
    /// Of `operation` on a key that holds `held`.
    pub fn of(operation: &'a Operation, held: Option<&[u8]>) -> Self {
        let done = |number, change| Self { status: Status::Done, number, change };
        let refused = |status| Self { status, number: 0, change: Change::Keep };
        match operation {
            Operation::Get | Operation::Delete if held.is_none() => refused(Status::NotFound),
            Operation::Delete => done(1, Change::Remove),
            Operation::CompareAndSet { expected, .. } | Operation::Compare { expected }
                if expected.as_deref() != held =>
            {
                refused(Status::CompareFailed)
            }
            Operation::Get | Operation::Compare { .. } => done(0, Change::Keep),
            Operation::Put { value } | Operation::CompareAndSet { value, .. } => {
                if value.len() > VALUE_MAX {
                    return refused(Status::ValueTooLarge);
                }
                done(0, Change::Set(Cow::Borrowed(value)))
            }
            Operation::Append { value } => {
                let length = held.unwrap_or_default().len() + value.len();
                match i64::try_from(length) {
                    Ok(number) if length <= VALUE_MAX => done(number, Change::Extend(value)),
                    _ => refused(Status::ValueTooLarge),
                }
            }
            Operation::Increment { delta } => {
                let Some(number) = number(held.unwrap_or(b"0")) else {
                    return refused(Status::NotANumber);
                };
                match number.checked_add(*delta) {
                    Some(sum) => done(sum, Change::Set(Cow::Owned(sum.to_string().into_bytes()))),
                    None => refused(Status::Overflow),
                }
            }
        }
    }

    /// Whether this is what the client was told; `held`: what the key held before.
    pub fn agrees(&self, operation: &Operation, held: Option<&[u8]>, told: &Answer) -> bool {
        let value = if operation.is_read() { held } else { None };
        self.status == told.status && self.number == told.number && told.value.as_deref() == value
    }
}

impl Change<'_> {
    /// Does it.
    pub fn apply(&self, held: &mut Option<Vec<u8>>) {
        match self {
            Self::Keep => {}
            Self::Remove => *held = None,
            Self::Set(value) => {
                let held = held.get_or_insert_default();
                held.clear();
                held.extend_from_slice(value);
            }
            Self::Extend(tail) => held.get_or_insert_default().extend_from_slice(tail),
        }
    }

    /// Whether the key then holds something else than `held`.
    pub fn alters(&self, held: Option<&[u8]>) -> bool {
        match self {
            Self::Keep => false,
            Self::Remove => held.is_some(),
            Self::Set(value) => held != Some(value),
            Self::Extend(tail) => held.is_none() || !tail.is_empty(),
        }
    }
}

/// A store that obeys: every key and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Specification {
    /// Absent keys are absent.
    pub keys: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Specification {
    /// Executes a command; answers with status, number and, to a read, the value.
    pub fn execute(&mut self, key: &[u8], operation: &Operation) -> (Status, i64, Option<Vec<u8>>) {
        let mut held = self.keys.remove(key);
        let Execution { status, number, change } = Execution::of(operation, held.as_deref());
        let read = if operation.is_read() { held.clone() } else { None };
        change.apply(&mut held);
        if let Some(value) = held {
            self.keys.insert(key.to_vec(), value);
        }
        (status, number, read)
    }
}

/// A value as the number that it spells: a sign and decimal digits, nothing around them.
fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"k";

    fn run(operations: &[Operation]) -> Vec<(Status, i64, Option<Vec<u8>>)> {
        let mut store = Specification::default();
        operations.iter().map(|operation| store.execute(KEY, operation)).collect()
    }

    fn put(value: &str) -> Operation {
        Operation::Put { value: value.into() }
    }

    #[test]
    fn each_command_does_what_its_name_says() {
        let append = |value: &str| Operation::Append { value: value.into() };
        let answers = run(&[
            Operation::Get,
            append("ab"),
            append(""),
            append("c"),
            Operation::Get,
            Operation::Delete,
            Operation::Delete,
            Operation::Get,
        ]);
        let done = |number| (Status::Done, number, None);
        let absent = (Status::NotFound, 0, None);
        let read = (Status::Done, 0, Some(b"abc".to_vec()));
        let expected =
            [absent.clone(), done(2), done(2), done(3), read, done(1), absent.clone(), absent];
        assert_eq!(answers, expected);
    }

    #[test]
    fn an_empty_value_is_not_an_absent_key() {
        let set = |expected: Option<&str>, value: &str| Operation::CompareAndSet {
            expected: expected.map(Into::into),
            value: value.into(),
        };
        let statuses: Vec<Status> =
            run(&[set(Some(""), "a"), set(None, ""), set(None, "b"), set(Some(""), "c")])
                .into_iter()
                .map(|(status, ..)| status)
                .collect();
        let (done, failed) = (Status::Done, Status::CompareFailed);
        assert_eq!(statuses, [failed, done, failed, done]);
    }

    #[test]
    fn numbers_have_edges() {
        let add = |delta| Operation::Increment { delta };
        let answers = run(&[add(-3), put("x"), add(1), put("9223372036854775807"), add(1), add(0)]);
        let seen: Vec<(Status, i64)> =
            answers.into_iter().map(|(status, number, _)| (status, number)).collect();
        assert_eq!(seen[0], (Status::Done, -3));
        assert_eq!(seen[2], (Status::NotANumber, 0));
        assert_eq!(seen[4], (Status::Overflow, 0));
        assert_eq!(seen[5], (Status::Done, i64::MAX));
    }

    #[test]
    fn a_value_has_a_largest_size() {
        let full = "x".repeat(VALUE_MAX);
        let append = |value: &str| Operation::Append { value: value.into() };
        let answers = run(&[put(&full), append("y"), append("")]);
        assert_eq!(answers[1].0, Status::ValueTooLarge);
        assert_eq!(answers[2].0, Status::Done);
    }
}
