//! A node's disk: hard state, a log, and the newest snapshot beside it.

use sunstar::base::{Index, Term};
use sunstar::raft::{
    Configuration, Doubt, Entry, EntryKind, HardState, Message, SnapshotMeta, Stored,
};

/// What a crash leaves.
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    /// Written beside the log: it may be ahead of what the log has durably.
    pub(crate) snapshot: SnapshotMeta,
    /// The place before the first entry of `log`.
    base: (Term, Index),
    pub(crate) log: Vec<Entry>,
    /// What it may have forgotten, until the replica says that it does not matter any more.
    pub(crate) doubt: Option<Doubt>,
    /// What it has forgotten, while that matters: acknowledgements of it may still be counted.
    forgotten: Vec<Entry>,
    /// What a snapshot covered that is lost, in the same way.
    lost: Index,
}

/// One write: what one step asked for.
pub(crate) struct Write {
    pub(crate) hard_state: Option<HardState>,
    pub(crate) entries: Vec<Entry>,
    /// The replica is certain again.
    pub(crate) doubt_ended: bool,
    /// A snapshot from the leader: the log begins anew after it.
    pub(crate) snapshot: Option<SnapshotMeta>,
    /// What leaves when this is durable.
    pub(crate) messages: Vec<Message>,
}

impl Disk {
    pub(crate) fn new(configuration: &Configuration) -> Self {
        let snapshot =
            SnapshotMeta { configuration: configuration.clone(), ..SnapshotMeta::default() };
        let (hard_state, base, log) = (HardState::default(), Default::default(), Vec::new());
        Self {
            hard_state,
            snapshot,
            base,
            log,
            doubt: None,
            forgotten: Vec::new(),
            lost: Index::ZERO,
        }
    }

    /// Forgets the entries from `from` on, beyond the snapshot; votes too, if that is what is in doubt,
    /// or everything.
    pub(crate) fn forget(&mut self, doubt: Doubt, from: Index, first: &Configuration) {
        let whole = self.doubt.is_some_and(|known| known != Doubt::Entries);
        self.doubt = Some(if whole && doubt == Doubt::Entries { Doubt::Votes } else { doubt });
        let kept = if doubt == Doubt::Blank { 0 } else { self.position(from).unwrap_or(0) };
        self.forgotten.extend(self.log.drain(kept.min(self.log.len())..));
        if doubt != Doubt::Entries {
            self.hard_state = HardState::default();
        }
        if doubt == Doubt::Blank {
            let (doubt, forgotten) = (self.doubt, std::mem::take(&mut self.forgotten));
            let lost = self.snapshot.index;
            *self = Self { doubt, forgotten, lost, ..Self::new(first) };
        }
    }

    /// What a replica starts from. A log that lacks the snapshot's last entry is an older one.
    pub(crate) fn recover(&mut self) -> Stored {
        let covered = (self.snapshot.term, self.snapshot.index);
        if !self.has(covered.0, covered.1) {
            self.log.clear();
            self.base = covered;
        }
        let entries = self.log.iter().filter(|entry| entry.index > covered.1).cloned().collect();
        Stored {
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            entries,
            doubt: self.doubt,
        }
    }

    /// The last entry of the log.
    pub(crate) fn last_place(&self) -> (Term, Index) {
        self.log.last().map_or(self.base, |entry| (entry.term, entry.index))
    }

    /// The latest term that a restart will know of: entries and snapshot tell of it too.
    pub(crate) fn term(&self) -> Term {
        self.hard_state.term.max(self.last_place().0).max(self.snapshot.term)
    }

    /// Whether the log has the entry, or begins right after it.
    pub(crate) fn has(&self, term: Term, index: Index) -> bool {
        if index == self.base.1 {
            return term == self.base.0;
        }
        self.position(index).is_some_and(|at| self.log.get(at).is_some_and(|e| e.term == term))
    }

    /// Whether the entry is safe here, itself or in a snapshot. What is forgotten is, in a way: until
    /// it is here again, this replica helps to elect nobody.
    pub(crate) fn keeps(&self, term: Term, index: Index) -> bool {
        let forgotten = |entry: &Entry| (entry.term, entry.index) == (term, index);
        index <= self.snapshot.index.max(self.lost)
            || self.has(term, index)
            || self.forgotten.iter().any(forgotten)
    }

    /// A write is durable.
    pub(crate) fn complete(&mut self, write: &Write) {
        if let Some(hard_state) = write.hard_state {
            assert!(hard_state.term >= self.hard_state.term, "forgets a term");
            self.hard_state = hard_state;
        }
        if let Some(snapshot) = &write.snapshot {
            self.base = (snapshot.term, snapshot.index);
            self.log.clear();
            // The node may have taken a later one itself meanwhile.
            if snapshot.index > self.snapshot.index {
                self.snapshot = snapshot.clone();
            }
        }
        for entry in &write.entries {
            let position = self.position(entry.index).expect("after the log's begin");
            assert!(position <= self.log.len(), "a gap before {}", entry.index);
            self.log.truncate(position);
            self.log.push(entry.clone());
        }
        if write.doubt_ended {
            self.doubt = None;
            self.forgotten.clear();
            self.lost = Index::ZERO;
        }
    }

    /// The first entry of the log.
    pub(crate) fn first_index(&self) -> Index {
        self.base.1.next()
    }

    /// At most `count` entries from `from` on; none if the first is not there.
    pub(crate) fn entries_from(&self, from: Index, count: usize) -> Vec<Entry> {
        let Some(position) = self.position(from) else { return Vec::new() };
        self.log.iter().skip(position).take(count).cloned().collect()
    }

    /// Every configuration that a restart may find: that of the snapshot, and those in the log.
    pub(crate) fn configurations(&self) -> Vec<Configuration> {
        let changes = self.log.iter().filter(|entry| entry.kind == EntryKind::Configuration);
        let changes = changes.map(|entry| Configuration::decode(&entry.payload).expect("encoded"));
        std::iter::once(self.snapshot.configuration.clone()).chain(changes).collect()
    }

    fn position(&self, index: Index) -> Option<usize> {
        let offset = index.0.checked_sub(self.base.1.0)?.checked_sub(1)?;
        usize::try_from(offset).ok()
    }
}
