//! Where a node notes which incarnation of each other node counts, as `io/registry.rs` does.

use super::disk::{Disk, FileName};
use crate::base::{Incarnation, NodeId, Time};
use crate::peering::{Incarnations, Known};
use crate::wire::handshake::Replaced;

/// What a process goes by when it meets another node: its clock, what it knows, and where it notes that.
pub(super) struct Registry<'a> {
    /// By its own clock.
    pub(super) now: Time,
    pub(super) incarnations: &'a mut Incarnations,
    pub(super) disk: &'a mut Disk,
}

/// What was noted by earlier processes.
pub(super) fn noted(disk: &Disk) -> Incarnations {
    let bytes = disk.get(FileName::Peers).unwrap_or_default();
    let text = String::from_utf8(bytes).expect("written as text");
    Incarnations::parse(&text).expect("as it was written")
}

impl Registry<'_> {
    /// Whether that is the incarnation which counts, or could be noted as the first one met.
    pub(super) fn admit(&mut self, node: NodeId, incarnation: Incarnation) -> bool {
        match self.incarnations.admit(self.now, node, incarnation) {
            Ok(None) => true,
            Ok(Some(first)) => self.store(node, first),
            Err(_) => false,
        }
    }

    /// Lets an incarnation in, at a second of the wall clock. Returns whether it counts now, and whether
    /// another one did.
    pub(super) fn replace(
        &mut self,
        second: u64,
        node: NodeId,
        incarnation: Incarnation,
    ) -> (bool, bool) {
        match self.incarnations.replacement(second, node, incarnation) {
            None => (true, false),
            Some(known) => {
                let stored = self.store(node, known);
                (stored, stored)
            }
        }
    }

    /// Another node tells of a replaced one. Returns whether that changes who counts.
    pub(super) fn learn(&mut self, told: &Replaced) -> bool {
        match self.incarnations.news(told) {
            None => false,
            Some((known, changes)) => self.store(told.node, known) && changes,
        }
    }

    /// Takes note durably, unless there is no room.
    fn store(&mut self, node: NodeId, known: Known) -> bool {
        if self.disk.is_full() {
            return false;
        }
        let mut noted = self.incarnations.clone();
        noted.believe(node, known);
        self.disk.put(FileName::Peers, noted.to_string().as_bytes());
        self.disk.sync_root();
        *self.incarnations = noted;
        true
    }
}
