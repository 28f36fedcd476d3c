//! From committed to applied: how entries reach the host's state machine, at its own pace.
//!
//! ```text
//!   commit advances ──▶ handed out, at most `apply_bytes_max` ──▶ host applies ──▶ Input::Applied
//!                            ▲                                                          │
//!                            └──────────────── room for more ◀──────────────────────────┘
//! ```
//!
//! Committing and applying complete separately. A follower that comes back after an hour learns in
//! one message that everything it was sent is committed; were all of it handed out at once, one
//! turn of the host would last as long as applying it takes, and its leader would hear nothing.
//! What is not handed out yet costs nothing: it stays where it is, in the log.

use super::{Output, Raft};
use crate::base::Index;

impl Raft {
    /// The last entry that the host reported applied.
    pub fn applied_index(&self) -> Index {
        self.log.applied_index()
    }

    /// Commits up to `index`, if that is further than before, hands out what may be applied, and
    /// tells who waited for it.
    pub(super) fn commit_to(&mut self, index: Index, output: &mut Output) {
        let before = self.log.commit_index();
        if index <= before {
            return;
        }
        self.log.commit_to(index);
        self.log.hand_out(self.config.apply_bytes_max, output);
        self.settle_waiters(output);
        if before < self.membership.current_index() {
            self.abandon_waiters_if_removed(output);
        }
    }

    /// The state machine got further: there is room for more.
    ///
    /// # Panics
    /// If `index` was not handed out.
    pub(super) fn applied(&mut self, index: Index, output: &mut Output) {
        if self.log.applied(index) {
            self.log.hand_out(self.config.apply_bytes_max, output);
            self.settle_waiters(output);
        }
    }
}
