//! Writes of unknown outcome: each may have happened once, at any time after it was invoked, or never.
//!
//! Equal ones cannot be told apart, so they form a class, and of a class only how many have happened
//! matters: the one invoked first can do whatever another could. Without that, fifty unanswered increments
//! by one would be 2^50 possibilities.

use super::record::{Operation, Record};
use crate::base::Time;

/// The open writes of one key.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenWrites<'a> {
    classes: Vec<Class<'a>>,
}

/// Equal open writes.
#[derive(Clone, Debug)]
struct Class<'a> {
    operation: &'a Operation,
    /// When each was invoked, ascending.
    invoked: Vec<Time>,
}

/// How many of each class have happened.
pub(super) type Used = Vec<u32>;

impl<'a> OpenWrites<'a> {
    pub(super) fn of(records: &[&'a Record]) -> Self {
        let mut classes: Vec<Class<'_>> = Vec::new();
        let mut open: Vec<&Record> =
            records.iter().copied().filter(|record| record.is_open()).collect();
        open.sort_by_key(|record| record.invoked);
        for record in open {
            let operation = &record.operation;
            match classes.iter_mut().find(|class| class.operation == operation) {
                Some(class) => class.invoked.push(record.invoked),
                None => classes.push(Class { operation, invoked: vec![record.invoked] }),
            }
        }
        Self { classes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// None of any class has happened.
    pub(super) fn none_used(&self) -> Used {
        vec![0; self.classes.len()]
    }

    /// What those of a class do.
    pub(super) fn operation(&self, class: usize) -> &'a Operation {
        self.classes[class].operation
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.classes.iter().map(|class| class.invoked.len()).sum()
    }

    /// Whether some might leave another value than a longer one or one of their own.
    pub(super) fn have_conditions(&self) -> bool {
        self.classes.iter().any(|class| {
            matches!(class.operation, Operation::CompareAndSet { .. } | Operation::Increment { .. })
        })
    }

    /// The classes of which one more can have happened by `until`, given those `used`.
    pub(super) fn available(
        &self,
        used: &Used,
        until: Time,
    ) -> impl Iterator<Item = (usize, &'a Operation)> {
        self.classes.iter().zip(used).enumerate().filter_map(move |(position, (class, &used))| {
            let next = class.invoked.get(used as usize)?;
            (*next <= until).then_some((position, class.operation))
        })
    }
}

/// Whether what happened before it, unseen, makes no difference after it.
pub(super) const fn is_blind(operation: &Operation) -> bool {
    matches!(operation, Operation::Put { .. } | Operation::Delete)
}

/// Whether `one` is as good as `other` or better: it has used up nothing that `other` has not.
pub(super) fn dominates(one: &Used, other: &Used) -> bool {
    one.iter().zip(other).all(|(one, other)| one <= other)
}
