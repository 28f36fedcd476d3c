//! Waiting at a first start: who is missing, told in the log.
//!
//! A group forms when all its first members have met once, since a disk that is blank may have been
//! wiped (`raft::Doubt::Blank`). From then on any majority will do. Whoever starts fewer nodes than the
//! group has members is told what for it waits, or thinks that it hangs.

use std::collections::BTreeSet;

use super::Reactor;
use super::replica::Replica;
use crate::base::{Index, Micros, NodeId, Term, Time};
use crate::raft::Doubt;

/// How long nodes that are started together may take to meet, before anything is said.
const FIRST_LINE_AFTER: Micros = Micros::from_secs(1);

/// How often it is said again.
const LINE_INTERVAL: Micros = Micros::from_secs(10);

/// When the log is told next; never once nobody waits.
#[derive(Debug)]
pub(super) struct FirstStart {
    line_at: Option<Time>,
}

impl FirstStart {
    /// At a start.
    pub(super) fn new(now: Time) -> Self {
        Self { line_at: Some(now + FIRST_LINE_AFTER) }
    }
}

impl Replica {
    /// Whether it may be its group's first start.
    fn is_blank(&self) -> bool {
        self.is_here() && self.raft.doubt() == Some(Doubt::Blank)
    }

    /// The log is told when doubt ends, unless it was a first start: then there was nothing to repair.
    pub(super) fn tell_certainty(&self) {
        let (term, last) = (self.raft.term(), self.raft.last_index());
        let begins = term == Term(0) && last == Index::ZERO;
        if self.output.doubt_ended && !begins {
            tracing::info!(group = %self.group, "repaired: the replica counts again");
        }
    }
}

impl Reactor {
    /// Tells whom this core waits for. Replicas in doubt want a tick each election timeout, so that this
    /// needs no timer of its own.
    pub(super) fn tell_who_is_awaited(&mut self, now: Time) {
        if self.first_start.line_at.is_none_or(|at| now < at) {
            return;
        }
        let blank = || self.replicas.iter().filter(|replica| replica.is_blank());
        let groups = blank().count();
        let awaited: BTreeSet<NodeId> =
            blank().flat_map(|replica| replica.raft.unheard()).collect();
        self.first_start.line_at = (groups > 0).then(|| now + LINE_INTERVAL);
        if !awaited.is_empty() {
            let names: Vec<String> = awaited.iter().map(NodeId::to_string).collect();
            tracing::info!(
                core = %self.core.config.core,
                groups,
                "waiting for {} at the first start: a group forms once all its first members have met. \
                 A node whose data directory is lost comes back by `sunstar ctl member replace`",
                names.join(", ")
            );
        }
    }
}
