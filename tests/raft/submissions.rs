//! What was submitted, and whether what is said about it is true.

use std::collections::{BTreeMap, BTreeSet};

use sunstar::base::{Index, NodeId, Term};
use sunstar::raft::{Entry, Outcome, Raft, WaitFor};

/// Everything submitted in a world, over all lives of all nodes.
#[derive(Default)]
pub(crate) struct Submissions {
    /// Who waits for an outcome, by node and context, and for what.
    waiting: BTreeMap<(NodeId, u64), (WaitFor, Vec<u8>)>,
    /// Payloads submitted, each once, and where they were committed.
    places: BTreeMap<Vec<u8>, Option<(Term, Index)>>,
    /// Payloads of which somebody was told that they never happen.
    rejected: BTreeSet<Vec<u8>>,
}

impl Submissions {
    /// A submission begins. Configurations need not be told apart, commands must.
    pub(crate) fn begins(&mut self, key: (NodeId, u64), wait_for: WaitFor, payload: Option<&[u8]>) {
        let text = payload.unwrap_or_default().to_vec();
        let begun = self.waiting.insert(key, (wait_for, text.clone()));
        assert!(begun.is_none(), "context {key:?} is taken");
        if payload.is_some() {
            let known = self.places.insert(text, None);
            assert!(known.is_none(), "{key:?}: submitted before");
        }
    }

    /// A node crashed: nobody waits there any more.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.waiting.retain(|key, _| key.0 != node);
    }

    /// Whether everybody was told something.
    pub(crate) fn nobody_waits(&self) -> bool {
        self.waiting.is_empty()
    }

    /// An entry was committed for the first time.
    pub(crate) fn committed(&mut self, entry: &Entry) {
        let Some(place) = self.places.get_mut(&entry.payload[..]) else { return };
        let before = place.replace((entry.term, entry.index));
        assert_eq!(before, None, "happened twice: {entry:?}");
        assert!(!self.rejected.contains(&entry.payload[..]), "was rejected: {entry:?}");
    }

    /// An outcome is told: once, and it is true. Returns what to call it.
    pub(crate) fn told(
        &mut self,
        raft: &Raft,
        key: (NodeId, u64),
        outcome: Outcome,
    ) -> &'static str {
        let (wait_for, payload) = self.waiting.remove(&key).expect("submitted, and not told yet");
        let place = self.places.get(&payload).copied();
        match outcome {
            Outcome::Done { term, index } => {
                assert!(
                    place.is_none_or(|place| place == Some((term, index))),
                    "{key:?} {place:?}"
                );
                assert_eq!(raft.term_at(index).unwrap_or(term), term, "{key:?} {outcome:?}");
                let reached = match wait_for {
                    WaitFor::Committed => raft.commit_index(),
                    WaitFor::Applied => raft.applied_index(),
                };
                assert!(reached >= index, "{key:?} {outcome:?}, but {wait_for:?} {reached}");
                "submissions done"
            }
            Outcome::Rejected(_) => {
                assert!(place.is_none_or(|place| place.is_none()), "{key:?} {place:?}");
                self.rejected.extend(place.map(|_| payload));
                "submissions rejected"
            }
            Outcome::Unknown => "submissions unknown",
        }
    }
}
