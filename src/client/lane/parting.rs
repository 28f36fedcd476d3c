//! The lane of a group that is gone: it settles what is in doubt there, and is over.

use super::Lane;
use crate::client::batch::{Batch, BatchState};
use crate::client::shared::Shared;

impl Lane {
    /// A newer map does not list the group, unless `update` follows.
    pub(in crate::client) const fn unlist(&mut self) {
        self.listed = false;
    }

    /// Whether the newest map lists the group.
    pub(in crate::client) const fn is_listed(&self) -> bool {
        self.listed
    }

    /// Whether the group is gone and nothing of it is in doubt any more.
    pub(in crate::client) fn is_over(&self) -> bool {
        !self.listed
            && self.in_flight.is_empty()
            && self.staged_writes.is_empty()
            && self.staged_reads.is_empty()
    }

    /// Of a group that is gone, gives back what certainly did not happen, for other groups. What is
    /// in doubt stays: that group alone can say what became of it.
    pub(in crate::client) fn hand_back(&mut self, shared: &mut Shared) {
        if self.listed {
            return;
        }
        self.forget_session(shared);
        for staged in std::mem::take(&mut self.staged_reads) {
            staged.stray(shared);
        }
        let harmless = |batch: &Batch| {
            batch.state == BatchState::Waiting && (batch.identity.is_none() || !batch.in_doubt)
        };
        for batch in std::mem::take(&mut self.in_flight) {
            if harmless(&batch) {
                batch.stray(shared);
            } else {
                self.in_flight.push_back(batch);
            }
        }
    }
}
