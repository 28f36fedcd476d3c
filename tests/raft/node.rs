//! One virtual host: a replica, a disk that completes writes when told to, and a state machine.

use std::collections::VecDeque;

use crate::disk::{Disk, Write};
use crate::notation;
use sunstar::base::{GroupId, Incarnation, Index, NodeId, Term, Time};
use sunstar::raft::{
    Configuration, Doubt, Entry, Lease, Message, Raft, RaftConfig, ReadState, SnapshotMeta,
};

/// One node of a `World`.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) config: RaftConfig,
    /// `None` while crashed.
    pub(crate) raft: Option<Raft>,
    /// What a crash leaves.
    pub(crate) disk: Disk,
    /// What it knows of the group before it has heard anything: so it begins again with a blank disk.
    first: Configuration,
    /// Given to the disk, not durable yet; completed in order.
    pub(crate) writes: VecDeque<Write>,
    /// Whether writes wait for the script instead of completing at once.
    pub(crate) disk_held: bool,
    /// Whether completions of writes are reported late and in any order.
    pub(crate) completions_held: bool,
    /// The state machine: how far it is.
    pub(crate) applied: SnapshotMeta,
    /// Given to the state machine, not applied yet.
    pub(crate) to_apply: VecDeque<Entry>,
    /// Whether entries wait for the script instead of being applied at once.
    pub(crate) apply_held: bool,
    /// Confirmed reads that wait until the state machine is far enough.
    pub(crate) reads: Vec<ReadState>,
    /// Ticks of this node's clock per thousand of the world's.
    pub(crate) clock_rate: u64,
    /// Lives so far: seeds the next one.
    pub(crate) lives: u64,
}

impl Node {
    pub(crate) fn new(id: NodeId, configuration: &Configuration) -> Self {
        let disk = Disk::new(configuration);
        Self {
            id,
            config: RaftConfig::new(GroupId(1), id),
            raft: None,
            applied: disk.snapshot.clone(),
            disk,
            first: configuration.clone(),
            writes: VecDeque::new(),
            disk_held: false,
            to_apply: VecDeque::new(),
            apply_held: false,
            completions_held: false,
            reads: Vec::new(),
            clock_rate: 1_000,
            lives: 0,
        }
    }

    /// What this node's clock shows.
    pub(crate) fn clock(&self, now: Time) -> Time {
        Time(now.0 / 1_000 * self.clock_rate)
    }

    /// When, by the world's clock, this node wants a tick.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        let deadline = self.raft.as_ref()?.deadline();
        let wait = deadline.0.checked_add(self.clock_rate - 1)?;
        Some(Time(wait / self.clock_rate * 1_000))
    }

    /// Starts from what the disk holds.
    pub(crate) fn start(&mut self, now: Time) {
        self.lives += 1;
        self.applied = self.disk.snapshot.clone();
        let config =
            RaftConfig { seed: self.config.seed ^ (self.lives << 20), ..self.config.clone() };
        self.raft = Some(Raft::new(self.clock(now), config, self.disk.recover()));
    }

    /// Stops at once. Of the writes under way the first `survivors` reached the disk, though
    /// nobody heard of it.
    pub(crate) fn crash(&mut self, survivors: usize) {
        self.raft = None;
        self.reads.clear();
        self.to_apply.clear();
        for write in std::mem::take(&mut self.writes).into_iter().take(survivors) {
            self.disk.complete(&write);
        }
    }

    /// The disk of a stopped node loses what it had durably, and it shows.
    pub(crate) fn forget(&mut self, doubt: Doubt, from: Index) {
        assert!(self.raft.is_none(), "{} runs", self.id);
        self.disk.forget(doubt, from, &self.first);
    }

    /// A stopped node gets an empty disk.
    pub(crate) fn wipe(&mut self, incarnation: Incarnation) {
        assert!(self.raft.is_none(), "{} runs", self.id);
        self.disk = Disk::new(&self.first);
        self.disk.doubt = Some(Doubt::Blank);
        self.config.incarnation = Some(incarnation);
    }

    /// The oldest write completes: its messages, and the last durable entry's place.
    pub(crate) fn complete_write(&mut self) -> Option<(Vec<Message>, Term, Index)> {
        let write = self.writes.pop_front()?;
        self.disk.complete(&write);
        let (term, index) = self.disk.last_place();
        Some((write.messages, term, index))
    }

    /// The state machine takes the next entry in, if there is one.
    pub(crate) fn apply_next(&mut self) -> Option<Entry> {
        let entry = self.to_apply.pop_front()?;
        assert_eq!(entry.index, self.applied.index.next(), "{} applies out of order", self.id);
        (self.applied.index, self.applied.term) = (entry.index, entry.term);
        self.applied.timestamp = entry.timestamp;
        Some(entry)
    }

    /// Takes a snapshot of the state machine, durable at once.
    pub(crate) fn take_snapshot(&mut self) -> SnapshotMeta {
        if let Some(raft) = &self.raft {
            self.applied.configuration = raft.configuration_at(self.applied.index).clone();
        }
        self.disk.snapshot = self.applied.clone();
        self.applied.clone()
    }
}

/// What a script may set for all nodes.
pub(crate) fn set_option(config: &mut RaftConfig, name: &str, value: &str) {
    let number = || value.parse::<usize>().unwrap_or_else(|_| panic!("{name}={value}"));
    match name {
        "pre-vote" => config.pre_vote = value == "on",
        "check-quorum" => config.check_quorum = value == "on",
        "window" => config.in_flight_messages_max = number(),
        "window-bytes" => config.in_flight_bytes_max = number(),
        "message-bytes" => config.message_bytes_max = number(),
        "uncommitted-bytes" => config.uncommitted_bytes_max = number(),
        "promote" => config.promote_learners = value == "on",
        "promotion-lag" => config.promotion_lag_max = number() as u64,
        "message-entries" => config.message_entries_max = number(),
        "waiters" => config.waiters_max = number(),
        "apply-bytes" => config.apply_bytes_max = number(),
        "preferred" => config.preferred_leader = Some(notation::node(value)),
        "shared-detector" => config.shared_detector = value == "on",
        "lease-drift" => {
            config.lease = Some(Lease { drift_percent: number() as u64 });
        }
        _ => panic!("unknown option {name}"),
    }
}
