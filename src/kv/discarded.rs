//! Tables that were dropped whole and whose memory is given back in steps.
//!
//! A slot may hold millions of keys, and to free each one's storage takes time: some 50 ns where keys or
//! values lie on the heap, that is 50 ms for a million of them, during which the core would do nothing
//! else. So a large table is taken out of the state at once, and freed by a bounded number of keys a call.
//!
//! A table that a snapshot or an export still holds is kept until they let go of it: if they were the
//! last, they would free it in one go.
//!
//! This is no part of the state: replicas may free at different paces.

use std::collections::VecDeque;

use super::table::Table;

/// A table of so many keys is freed at once.
const AT_ONCE: usize = 1_024;

/// Tables waiting to be freed.
#[derive(Default)]
pub(super) struct Discarded(VecDeque<Table>);

impl Discarded {
    /// Has `table` freed: at once if it is small, by [`Self::free`] else.
    pub(super) fn push(&mut self, table: Table) {
        if table.len() > AT_ONCE {
            self.0.push_back(table);
        }
    }

    /// Frees about `keys_max` keys, or all there are; tables held by others are left alone. Returns
    /// whether there is more that can be freed now.
    pub(super) fn free(&mut self, keys_max: usize) -> bool {
        let mut left = keys_max;
        for _ in 0..self.0.len() {
            let Some(mut table) = self.0.pop_front() else { break };
            if table.is_shared() {
                self.0.push_back(table);
                continue;
            }
            let before = table.len();
            table.truncate(before.saturating_sub(left));
            left -= (before - table.len()).min(left);
            if table.len() > 0 {
                self.0.push_front(table);
                break;
            }
        }
        self.0.iter().any(|table| !table.is_shared())
    }

    /// Keys whose memory is not given back yet.
    pub(super) fn keys(&self) -> usize {
        self.0.iter().map(Table::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(keys: usize) -> Table {
        let mut table = Table::new();
        (0..keys).for_each(|key| {
            table.push(&key.to_le_bytes(), b"v");
        });
        table
    }

    #[test]
    fn large_tables_are_freed_in_steps_once_nobody_else_holds_them() {
        let mut discarded = Discarded::default();
        discarded.push(table(AT_ONCE));
        assert_eq!(discarded.keys(), 0);
        let (first, second) = (table(3_000), table(2_000));
        let held = first.clone();
        discarded.push(first);
        discarded.push(second);
        assert!(discarded.free(1_500));
        assert_eq!(discarded.keys(), 3_500 + 4, "a block of eight keys is freed as a whole or not");
        assert!(!discarded.free(1_500), "what is left is held elsewhere");
        assert_eq!((discarded.keys(), held.len()), (3_000, 3_000));
        assert_eq!(held.entries().count(), 3_000);
        drop(held);
        assert!(discarded.free(2_000));
        assert!(!discarded.free(2_000));
        assert_eq!(discarded.keys(), 0);
    }
}
