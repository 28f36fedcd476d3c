//! Our library, driven as `sunstar::raft` says.

use sunstar::base::{Bytes, GroupId, Index, Micros, NodeId, Time, WallTime};
use sunstar::raft::{
    Configuration, Input, Message, Output, Raft, RaftConfig, RoleKind, SnapshotMeta, Stored,
};

use super::cluster::{
    ELECTION_TICKS, Effects, IN_FLIGHT_MAX, MESSAGE_BYTES_MAX, NODES, PAYLOAD, Place, Replica,
    TICK_MS, TRAILING_ENTRIES,
};

/// A replica with what its host knows of it.
pub(super) struct Ours {
    raft: Raft,
    output: Output,
    /// When it is looked at next: pushed on when reached, not whenever the deadline moves away.
    timer: Time,
    /// The last applied entry.
    applied: SnapshotMeta,
    /// The first entry still in the log.
    kept_from: Index,
}

/// What is left open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The host knows which nodes are alive, for all groups at once: quiet groups send nothing.
    pub(super) shared_detector: bool,
}

impl Replica for Ours {
    type Message = Message;
    type Settings = Settings;

    fn new(place: Place, settings: &Settings) -> Self {
        let node = node_id(place.node);
        let configuration = Configuration::new((0..NODES).map(node_id));
        let group = GroupId(place.group);
        let config = RaftConfig {
            election_timeout: Micros::from_millis(TICK_MS * ELECTION_TICKS),
            heartbeat_interval: Micros::from_millis(TICK_MS),
            pre_vote: true,
            check_quorum: true,
            shared_detector: settings.shared_detector,
            in_flight_messages_max: usize::from(IN_FLIGHT_MAX),
            message_bytes_max: MESSAGE_BYTES_MAX as usize,
            ..RaftConfig::new(group, node)
        };
        let snapshot = SnapshotMeta { configuration, ..SnapshotMeta::default() };
        let stored = Stored { snapshot: snapshot.clone(), ..Stored::default() };
        let mut raft = Raft::new(Time(0), config, stored);
        let mut output = Output::default();
        if settings.shared_detector {
            for peer in (0..NODES).filter(|&peer| peer != place.node).map(node_id) {
                raft.step(Time(0), Input::PeerUp { peer, incarnation: 1 }, &mut output);
            }
        }
        let timer = raft.deadline();
        Self { raft, output, timer, applied: snapshot, kept_from: Index(1) }
    }

    fn receiver(message: &Message) -> usize {
        usize::try_from(message.to.0 - 1).expect("one of three")
    }

    fn campaign(&mut self, now_ms: u64) {
        self.raft.step(time(now_ms), Input::Campaign, &mut self.output);
    }

    fn leads(&self) -> bool {
        self.raft.role() == RoleKind::Leader
    }

    fn propose(&mut self, now_ms: u64, count: usize) {
        for _ in 0..count {
            let payload = Bytes::copy_of(&PAYLOAD);
            self.raft
                .propose(time(now_ms), WallTime(now_ms), payload, &mut self.output)
                .expect("leads, and everything before is committed");
        }
    }

    fn step(&mut self, now_ms: u64, message: Message) {
        self.raft.step(time(now_ms), Input::Message(message), &mut self.output);
    }

    fn tick(&mut self, now_ms: u64) -> bool {
        let now = time(now_ms);
        if now < self.timer {
            return false;
        }
        let due = now >= self.raft.deadline();
        if due {
            self.raft.step(now, Input::Tick, &mut self.output);
        }
        self.timer = self.raft.deadline();
        due
    }

    fn perform(&mut self, now_ms: u64, effects: &mut Effects<'_, Message>) {
        let now = time(now_ms);
        loop {
            effects.send::<Self>(self.output.messages.drain(..));
            self.output.hard_state = None;
            let written = self.output.entries.last().map(|entry| (entry.term, entry.index));
            self.output.entries.clear();
            // A candidate's vote for itself takes the way through the mailbox.
            effects.send::<Self>(self.output.messages_after_durable.drain(..));
            let Some((term, index)) = written else { break };
            self.raft.step(now, Input::Appended { term, index }, &mut self.output);
        }
        self.apply(now, effects);
        self.compact(now);
        self.timer = self.timer.min(self.raft.deadline());
    }
}

impl Ours {
    fn apply(&mut self, now: Time, effects: &mut Effects<'_, Message>) {
        while let Some(index) = self.output.committed.last().map(|entry| entry.index) {
            self.apply_committed(effects);
            self.raft.step(now, Input::Applied { index }, &mut self.output);
        }
    }

    fn apply_committed(&mut self, effects: &mut Effects<'_, Message>) {
        for entry in self.output.committed.drain(..) {
            assert_eq!(entry.index, self.applied.index.next(), "entries apply in order");
            effects.applied().apply(&entry.payload);
            (self.applied.index, self.applied.term) = (entry.index, entry.term);
            self.applied.timestamp = entry.timestamp;
        }
    }

    fn compact(&mut self, now: Time) {
        let applied = self.applied.index;
        if applied.0 < self.kept_from.0 + 2 * TRAILING_ENTRIES {
            return;
        }
        self.kept_from = Index(applied.0 - TRAILING_ENTRIES);
        let input = Input::Compacted { snapshot: self.applied.clone(), keep_from: self.kept_from };
        self.raft.step(now, input, &mut self.output);
    }
}

fn node_id(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

fn time(now_ms: u64) -> Time {
    Time(now_ms * 1_000)
}
