//! Which applied entries are still in memory, for followers that are a little behind: the last so many
//! bytes of all that this core applied, whatever group it was of.
//!
//! Entries that leave memory stay on the disk until a snapshot covers them, and longer; a follower
//! that needs them has them read back (`old_entries`). So the bound can be the core's: a group that is
//! written rarely keeps its entries until they are old, not for ever.

use std::collections::VecDeque;

use crate::base::{GroupId, Index};

/// Bytes of entries that are let go together, about.
const STRETCH_BYTES: u64 = 256 << 10;

/// Applied entries in memory, in the order they were applied.
#[derive(Debug, Default)]
pub(super) struct Trailing {
    stretches: VecDeque<Stretch>,
    /// The sum of their bytes.
    bytes: u64,
}

/// Entries of one group, applied one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub group: GroupId,
    /// The last of them.
    pub upto: Index,
    bytes: u64,
}

impl Trailing {
    /// Entries of `group` up to `upto` were applied, which cost `bytes`.
    pub(super) fn applied(&mut self, group: GroupId, upto: Index, bytes: u64) {
        self.bytes += bytes;
        match self.stretches.back_mut() {
            Some(last) if last.group == group && last.bytes < STRETCH_BYTES => {
                last.upto = upto;
                last.bytes += bytes;
            }
            _ => self.stretches.push_back(Stretch { group, upto, bytes }),
        }
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The oldest entries, if all together cost more than `bytes_max`.
    pub(super) fn excess(&self, bytes_max: u64) -> Option<Stretch> {
        self.stretches.front().copied().filter(|_| self.bytes > bytes_max)
    }

    /// The oldest entries were let go.
    pub(super) fn let_go(&mut self) {
        let oldest = self.stretches.pop_front().expect("there is something to let go");
        self.bytes -= oldest.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G1: GroupId = GroupId(1);
    const G2: GroupId = GroupId(2);

    #[test]
    fn what_was_applied_first_goes_first() {
        let mut trailing = Trailing::default();
        trailing.applied(G1, Index(3), STRETCH_BYTES);
        trailing.applied(G2, Index(1), 10);
        trailing.applied(G1, Index(4), 5);
        trailing.applied(G1, Index(9), 5);
        assert_eq!(trailing.excess(STRETCH_BYTES + 20), None);
        let oldest = trailing.excess(STRETCH_BYTES).expect("too much");
        assert_eq!((oldest.group, oldest.upto), (G1, Index(3)));
        trailing.let_go();
        assert_eq!(trailing.excess(20), None);
        trailing.let_go();
        let last = trailing.excess(0).expect("ten bytes");
        assert_eq!((last.group, last.upto), (G1, Index(9)), "two turns, one stretch");
        trailing.let_go();
        assert_eq!(trailing.excess(0), None);
    }
}
