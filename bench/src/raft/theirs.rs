//! TiKV's library (crate `raft`), driven as its documents say.
//!
//! With its in-memory storage, and set up as TiKV does where that is not the default: no message
//! that only announces a commit (ours sends none either), pre-vote, check-quorum. One of its
//! options joins the appends of one turn into one message; both ways are measured.

use raft::eraftpb::{ConfState, Message};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};

use super::cluster::{
    ELECTION_TICKS, Effects, IN_FLIGHT_MAX, MESSAGE_BYTES_MAX, NODES, PAYLOAD, Place, Replica,
    TRAILING_ENTRIES,
};

/// A replica with what its host knows of it.
pub(super) struct Theirs {
    node: RawNode<MemStorage>,
    /// The last applied entry.
    applied: u64,
    /// The first entry still in the log.
    kept_from: u64,
}

/// What is left open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Join the appends of one turn.
    pub(super) batch_append: bool,
}

impl Replica for Theirs {
    type Message = Message;
    type Settings = Settings;

    fn new(place: Place, settings: &Settings) -> Self {
        let config = Config {
            id: node_id(place.node),
            election_tick: usize::try_from(ELECTION_TICKS).expect("small"),
            heartbeat_tick: 1,
            max_size_per_msg: u64::from(MESSAGE_BYTES_MAX),
            max_inflight_msgs: usize::from(IN_FLIGHT_MAX),
            pre_vote: true,
            check_quorum: true,
            skip_bcast_commit: true,
            batch_append: settings.batch_append,
            ..Config::default()
        };
        let voters: Vec<u64> = (0..NODES).map(node_id).collect();
        let storage = MemStorage::new_with_conf_state(ConfState::from((voters, Vec::new())));
        let silent = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, storage, &silent).expect("a sound configuration");
        let applied = node.raft.raft_log.applied;
        Self { node, applied, kept_from: applied + 1 }
    }

    fn receiver(message: &Message) -> usize {
        usize::try_from(message.to - 1).expect("one of three")
    }

    fn campaign(&mut self, _now_ms: u64) {
        self.node.campaign().expect("a voter");
    }

    fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    fn propose(&mut self, _now_ms: u64, count: usize) {
        for _ in 0..count {
            self.node.propose(Vec::new(), PAYLOAD.to_vec()).expect("leads");
        }
    }

    fn step(&mut self, _now_ms: u64, message: Message) {
        self.node.step(message).expect("a message of its own kind");
    }

    fn tick(&mut self, _now_ms: u64) -> bool {
        self.node.tick()
    }

    fn perform(&mut self, _now_ms: u64, effects: &mut Effects<'_, Message>) {
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            effects.send::<Self>(ready.take_messages().into_iter());
            self.apply(&ready.take_committed_entries(), effects);
            self.node.store().wl().append(ready.entries()).expect("in memory");
            if let Some(hard_state) = ready.hs() {
                self.node.store().wl().set_hardstate(hard_state.clone());
            }
            effects.send::<Self>(ready.take_persisted_messages().into_iter());
            let mut rest = self.node.advance(ready);
            if let Some(commit) = rest.commit_index() {
                self.node.store().wl().mut_hard_state().set_commit(commit);
            }
            effects.send::<Self>(rest.take_messages().into_iter());
            self.apply(&rest.take_committed_entries(), effects);
            self.node.advance_apply();
        }
        self.compact();
    }
}

impl Theirs {
    fn apply(&mut self, entries: &[raft::eraftpb::Entry], effects: &mut Effects<'_, Message>) {
        for entry in entries {
            assert_eq!(entry.index, self.applied + 1, "entries apply in order");
            effects.applied().apply(&entry.data);
            self.applied = entry.index;
        }
    }

    fn compact(&mut self) {
        if self.applied < self.kept_from + 2 * TRAILING_ENTRIES {
            return;
        }
        self.kept_from = self.applied - TRAILING_ENTRIES;
        self.node.store().wl().compact(self.kept_from).expect("applied");
    }
}

fn node_id(node: usize) -> u64 {
    node as u64 + 1
}
