//! Keys whose values only grow: all that may have been done to them are appends.
//!
//! Whatever such a key holds at any moment, every value read before is a beginning of it, and it is a
//! beginning of every value read later. So the longest value read says in which order the appends came,
//! and a search that strays from it can turn back at once. Without this, a list with many appends of
//! unknown outcome would be searched for all their orders.

use super::record::{Operation, Outcome, Record};

/// What is known of the values of a key before any search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth<'a> {
    /// The longest value read, if the key's values only grow.
    longest: Option<&'a [u8]>,
}

impl<'a> Growth<'a> {
    pub(super) fn of(records: &[&'a Record]) -> Self {
        let is_growing = records.iter().all(|record| {
            matches!(record.outcome, Outcome::Rejected { .. })
                || matches!(record.operation, Operation::Get | Operation::Append { .. })
        });
        if !is_growing {
            return Self { longest: None };
        }
        let values = records.iter().filter_map(|record| record.answer()?.value.as_deref());
        Self { longest: values.max_by_key(|value| value.len()) }
    }

    /// Whether the key can have held this at some moment.
    pub(super) fn allows(self, held: Option<&[u8]>) -> bool {
        let (Some(longest), Some(held)) = (self.longest, held) else { return true };
        let common = longest.len().min(held.len());
        longest[..common] == held[..common]
    }
}
