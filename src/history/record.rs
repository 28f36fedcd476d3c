//! One command as its client saw it.

use crate::base::{GroupId, Index, Sequence, SessionId, Time};

/// One command as its client saw it: what it asked, when, and what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose command it was; unique within a history.
    pub client: u64,
    /// The session it travelled in; zero: none that is known (a read, or never sent).
    pub session: SessionId,
    /// Its number in that session; zero with `session`.
    pub sequence: Sequence,
    /// The key it concerned.
    pub key: Vec<u8>,
    /// What was asked.
    pub operation: Operation,
    /// When it was handed to the client: it cannot have happened before.
    pub invoked: Time,
    /// When the client told its outcome. Applied: it cannot have happened later. Unknown: says only when
    /// the client lost patience.
    pub completed: Time,
    /// What the client told.
    pub outcome: Outcome,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Reads the value.
    Get,
    /// Sets the value.
    Put {
        /// The new value.
        value: Vec<u8>,
    },
    /// Adds to the value's end.
    Append {
        /// What to add.
        value: Vec<u8>,
    },
    /// Removes the key.
    Delete,
    /// Sets the value if the key holds what is expected.
    CompareAndSet {
        /// What the key must hold; `None`: it must be absent.
        expected: Option<Vec<u8>>,
        /// The new value.
        value: Vec<u8>,
    },
    /// Adds to a decimal number.
    Increment {
        /// What to add.
        delta: i64,
    },
    /// Changes nothing: the other commands of its atomic batch happen only if the key holds what is
    /// expected.
    Compare {
        /// What the key must hold; `None`: it must be absent.
        expected: Option<Vec<u8>>,
    },
}

/// What the client told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was executed, once, with this answer.
    Applied(Answer),
    /// It did not and will not happen.
    Rejected {
        /// Why, in words.
        reason: String,
    },
    /// It may have happened, once, at any time after it was invoked; or will; or never.
    Unknown {
        /// Why, in words.
        reason: String,
    },
}

/// The answer to an executed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it went.
    pub status: Status,
    /// Append: the new length. Increment: the sum. Delete: 1 if the key was there. Otherwise 0.
    pub number: i64,
    /// Get: the value found; otherwise `None`.
    pub value: Option<Vec<u8>>,
    /// Where it stands among all commands.
    pub place: Place,
}

/// How an executed command went. All but `Done` changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It did what it says.
    Done,
    /// Get, delete: the key is absent.
    NotFound,
    /// Compare, compare-and-set: the key holds something else.
    CompareFailed,
    /// Increment: the value is not a decimal 64-bit integer.
    NotANumber,
    /// Increment: the sum leaves the 64-bit range.
    Overflow,
    /// The value would exceed the limit.
    ValueTooLarge,
}

/// Where a command stands in its group's order: writes by (index, position) of their first execution, a
/// read behind every write up to `index`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The group that executed it.
    pub group: GroupId,
    /// The log entry, or for a read the applied index.
    pub index: Index,
    /// The place within the entry, from 0; zero for a read.
    pub position: u32,
}

/// A command under way: a record without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// As in [`Record`].
    pub client: u64,
    /// As in [`Record`].
    pub key: Vec<u8>,
    /// As in [`Record`].
    pub operation: Operation,
    /// As in [`Record`].
    pub invoked: Time,
}

impl Begun {
    /// The record of it, since the client never told how it went: the client, or the recording, ended.
    pub fn unanswered(self, completed: Time) -> Record {
        let outcome = Outcome::Unknown { reason: "outstanding when the record ended".to_owned() };
        self.ended(SessionId::default(), Sequence::default(), completed, outcome)
    }

    /// The record of it.
    pub fn ended(
        self,
        session: SessionId,
        sequence: Sequence,
        completed: Time,
        outcome: Outcome,
    ) -> Record {
        let Self { client, key, operation, invoked } = self;
        Record { client, session, sequence, key, operation, invoked, completed, outcome }
    }
}

impl Operation {
    /// Whether it cannot change anything.
    pub const fn is_read(&self) -> bool {
        matches!(self, Self::Get)
    }
}

impl Record {
    /// The answer, if there was one.
    pub const fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Applied(answer) => Some(answer),
            Outcome::Rejected { .. } | Outcome::Unknown { .. } => None,
        }
    }

    /// Whether it may have happened without anybody having been told: an unknown write.
    pub const fn is_open(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown { .. }) && !self.operation.is_read()
    }

    /// Whether it was over, and known to have happened, before `other` began. Equal moments are taken
    /// for concurrent.
    pub const fn precedes(&self, other: &Self) -> bool {
        matches!(self.outcome, Outcome::Applied(_)) && self.completed.0 < other.invoked.0
    }
}
