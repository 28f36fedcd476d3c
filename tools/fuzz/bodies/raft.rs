//! One replica and a world that says anything: messages from members, strangers and itself, with terms and
//! indices small or as large as can be. The host does its duties; messages never cause a panic.

use sunstar::base::{Bytes, GroupId, Incarnation, Index, Micros, NodeId, Term, Time, WallTime};
use sunstar::raft::{
    Configuration, Doubt, Entry, EntryKind, HardState, Input, Lease, Message, MessageBody, Output,
    Raft, RaftConfig, Refusal, SnapshotMeta, Standing, Stored, WaitFor,
};

use super::cursor::Cursor;

/// A replica, from an arbitrary start through arbitrary events.
pub(super) fn step(input: &[u8]) {
    let mut cursor = Cursor(input);
    let mut host = Host::new(&mut cursor);
    while !cursor.is_empty() {
        host.event(&mut cursor);
        host.raft.check_invariants();
        if cursor.below(4) > 0 {
            host.perform();
            host.raft.check_invariants();
        }
    }
}

struct Host {
    raft: Raft,
    now: Time,
    output: Output,
    next_context: u64,
}

/// This replica; the others are 2 and 3, and whoever else turns up.
const SELF: NodeId = NodeId(1);

impl Host {
    fn new(cursor: &mut Cursor<'_>) -> Self {
        let mut config = RaftConfig::new(GroupId(1), SELF);
        let flags = cursor.byte();
        config.pre_vote = flags & 1 == 0;
        config.check_quorum = flags & 2 == 0;
        config.shared_detector = flags & 4 != 0;
        config.lease = (flags & 8 != 0).then_some(Lease { drift_percent: 10 });
        config.promote_learners = flags & 16 == 0;
        config.message_entries_max = 3;
        config.uncommitted_bytes_max = 200;
        config.apply_bytes_max = 100;
        config.waiters_max = 4;
        config.incarnation = (flags & 32 != 0).then_some(Incarnation(7));
        let configuration = configuration(cursor);
        let configuration = if configuration.check().is_ok() {
            configuration
        } else {
            Configuration::new([SELF, NodeId(2), NodeId(3)])
        };
        let snapshot = SnapshotMeta { configuration, ..SnapshotMeta::default() };
        let entries = (1..=u64::from(cursor.below(4))).map(|index| entry(1, index, b"old"));
        let doubt = match cursor.below(6) {
            0 => Some(Doubt::Entries),
            1 => Some(Doubt::Votes),
            2 => Some(Doubt::Blank),
            _ => None,
        };
        let hard_state = HardState { term: Term(1), vote: None };
        let stored = Stored { hard_state, snapshot, entries: entries.collect(), doubt };
        let raft = Raft::new(Time(1), config, stored);
        Self { raft, now: Time(1), output: Output::default(), next_context: 0 }
    }

    fn event(&mut self, cursor: &mut Cursor<'_>) {
        let (now, wall, output) = (self.now, WallTime(self.now.0), &mut self.output);
        self.next_context += 1;
        let context = self.next_context;
        match cursor.below(20) {
            0 | 1 => {
                self.now = self.now + Micros::from_millis(u64::from(cursor.byte()) * 10);
                self.raft.step(self.now, Input::Tick, output);
            }
            2 => self.raft.step(now, Input::Campaign, output),
            3 => {
                let _ = self.raft.propose(now, wall, Bytes::copy_of(cursor.bytes(60)), output);
            }
            4 => {
                let _ = self.raft.read(now, context, output);
            }
            5 => {
                let _ = self.raft.transfer(now, node(cursor), output);
            }
            6 => {
                let target = configuration(cursor);
                let _ = self.raft.change_members(now, wall, &target, output);
            }
            7 => {
                let payload = Bytes::copy_of(cursor.bytes(20));
                self.raft.submit(now, wall, payload, WaitFor::Applied, context, output);
            }
            8 => {
                let (peer, incarnation) = (node(cursor), u64::from(cursor.below(3)));
                self.raft.step(now, Input::PeerUp { peer, incarnation }, output);
            }
            9 => self.raft.step(now, Input::PeerDown { peer: node(cursor) }, output),
            10 => self.raft.step(now, Input::PeerReset { peer: node(cursor) }, output),
            11 => self.raft.step(now, Input::SnapshotFailed { to: node(cursor) }, output),
            12 => self.compact(cursor),
            13 => self.install(cursor),
            _ => {
                let message = self.message(cursor);
                self.raft.step(now, Input::Message(message), output_of(&mut self.output));
            }
        }
    }

    /// The host's own snapshot, of what is applied.
    fn compact(&mut self, cursor: &mut Cursor<'_>) {
        self.perform();
        let index = self.raft.applied_index();
        let (Some(term), Some(timestamp)) =
            (self.raft.term_at(index), self.raft.entry(index).map(|entry| entry.timestamp))
        else {
            return;
        };
        let configuration = self.raft.configuration_at(index).clone();
        let snapshot = SnapshotMeta { index, term, timestamp, configuration };
        let keep_from = Index(index.0 + 1 - u64::from(cursor.below(2)));
        self.raft.step(self.now, Input::Compacted { snapshot, keep_from }, &mut self.output);
    }

    /// A snapshot from a leader, if it is wanted.
    fn install(&mut self, cursor: &mut Cursor<'_>) {
        let (index, term) = (Index(cursor.number()), Term(cursor.number()));
        let configuration = configuration(cursor);
        // The host has checked the snapshot, and no leader gets that far.
        let is_absurd = index.0.max(term.0) > 1 << 40;
        if is_absurd || configuration.check().is_err() || !self.raft.wants_snapshot(index) {
            let from = node(cursor);
            return self.raft.step(self.now, Input::SnapshotRefused { from }, &mut self.output);
        }
        self.perform();
        if !self.raft.wants_snapshot(index) {
            return;
        }
        // Two logs with one term at an index have one entry there.
        let same = self.raft.entry(index).filter(|entry| entry.term == term);
        let timestamp = same.map_or_else(|| WallTime(cursor.number()), |entry| entry.timestamp);
        let snapshot = SnapshotMeta { index, term, timestamp, configuration };
        let from = node(cursor);
        self.raft.step(self.now, Input::SnapshotInstalled { from, snapshot }, &mut self.output);
    }

    /// Everything asked for is done at once.
    fn perform(&mut self) {
        for _ in 0..100 {
            if self.output.is_empty() {
                return;
            }
            let output = std::mem::take(&mut self.output);
            if let Some(last) = output.entries.last() {
                let (term, index) = (last.term, last.index);
                self.raft.step(self.now, Input::Appended { term, index }, &mut self.output);
            }
            if let Some(last) = output.committed.last() {
                self.raft.step(self.now, Input::Applied { index: last.index }, &mut self.output);
            }
            let wall = WallTime(self.now.0);
            for forwarded in output.forwarded {
                self.raft.accept(self.now, wall, forwarded, &mut self.output);
            }
            for request in output.snapshots {
                let failed = Input::SnapshotFailed { to: request.to };
                self.raft.step(self.now, failed, &mut self.output);
            }
            for request in output.entries_wanted {
                let (to, from) = (request.to, request.from);
                let gone = Input::EntriesRead { to, from, entries: Vec::new() };
                self.raft.step(self.now, gone, &mut self.output);
            }
        }
        panic!("one output leads to the next without end");
    }

    fn message(&self, cursor: &mut Cursor<'_>) -> Message {
        let from = node(cursor);
        let to = if cursor.below(16) == 0 { node(cursor) } else { SELF };
        // Around the replica's own term most has an effect.
        let term = match cursor.below(4) {
            0 => Term(cursor.number()),
            1 => Term(self.raft.term().0.saturating_add(1)),
            _ => self.raft.term(),
        };
        Message { from, to, term, body: self.body(term, cursor) }
    }

    fn body(&self, term: Term, cursor: &mut Cursor<'_>) -> MessageBody {
        let index = |cursor: &mut Cursor<'_>| match cursor.below(3) {
            0 => Index(cursor.number()),
            1 => self.raft.commit_index(),
            _ => self.raft.last_index(),
        };
        match cursor.below(17) {
            0 => MessageBody::PreVote { last_index: index(cursor), last_term: term },
            1 => MessageBody::PreVoteResponse { granted: cursor.flag() },
            2 => MessageBody::Vote {
                last_index: index(cursor),
                last_term: Term(cursor.number()),
                transfer: cursor.flag(),
            },
            3 => MessageBody::VoteResponse { granted: cursor.flag() },
            4..=6 => self.append(term, cursor),
            7 => MessageBody::AppendResponse {
                match_index: index(cursor),
                provisional: cursor.flag(),
            },
            8 => MessageBody::AppendReject {
                rejected_index: index(cursor),
                hint_index: index(cursor),
                hint_term: Term(cursor.number()),
                provisional: cursor.flag(),
            },
            9 => MessageBody::Heartbeat { commit_index: index(cursor), round: cursor.number() },
            10 => MessageBody::HeartbeatResponse {
                round: cursor.number(),
                commit_index: index(cursor),
                promised: Micros(cursor.number()),
                clock: Time(cursor.number()),
                provisional: cursor.flag(),
            },
            11 => MessageBody::ReadIndex { request: cursor.number() },
            12 => {
                let index = cursor.flag().then(|| index(cursor));
                MessageBody::ReadIndexResponse { request: cursor.number(), index }
            }
            13 => {
                if cursor.flag() {
                    MessageBody::TimeoutNow
                } else {
                    MessageBody::WhoLeads
                }
            }
            14 => {
                let (request, kind) = (cursor.number(), kind(cursor));
                let payload = Bytes::copy_of(cursor.bytes(60));
                MessageBody::Propose { request, kind, payload }
            }
            15 => {
                let request = cursor.number();
                let result =
                    if cursor.flag() { Ok((term, index(cursor))) } else { Err(Refusal::NotReady) };
                MessageBody::ProposeResponse { request, result }
            }
            _ if cursor.flag() => MessageBody::Survey { request: cursor.number() },
            _ => {
                let (certain, blank) = (cursor.flag(), cursor.flag());
                let last = cursor.flag().then(|| (Term(cursor.number()), index(cursor)));
                let standing = Standing { certain, blank, last };
                MessageBody::SurveyResponse { request: cursor.number(), standing }
            }
        }
    }

    /// Mostly one that fits the log here, else one that does not.
    fn append(&self, term: Term, cursor: &mut Cursor<'_>) -> MessageBody {
        let fits = cursor.below(4) > 0;
        let last = self.raft.last_index();
        let previous_index = if fits { last } else { Index(cursor.number()) };
        let previous_term = match self.raft.term_at(previous_index) {
            Some(term) if fits || cursor.flag() => term,
            _ => Term(cursor.number()),
        };
        let mut entries: Vec<Entry> = Vec::new();
        for offset in 1..=u64::from(cursor.below(4)) {
            let entry_term = if cursor.below(8) > 0 { term } else { Term(cursor.number()) };
            let index = if cursor.below(16) > 0 { offset } else { cursor.number() };
            let kind = kind(cursor);
            let payload = match kind {
                EntryKind::Configuration => {
                    let configuration = configuration(cursor);
                    match configuration.check() {
                        Ok(()) => configuration.encode(),
                        Err(_) => Bytes::copy_of(cursor.bytes(40)),
                    }
                }
                _ => Bytes::copy_of(cursor.bytes(40)),
            };
            entries.push(Entry {
                term: entry_term,
                index: Index(previous_index.0.wrapping_add(index)),
                timestamp: WallTime(cursor.number()),
                kind,
                payload,
            });
        }
        let commit_index =
            if cursor.flag() { Index(cursor.number()) } else { self.raft.last_index() };
        MessageBody::Append { previous_index, previous_term, commit_index, entries }
    }
}

/// So that `self` may be read while a message is made.
fn output_of(output: &mut Output) -> &mut Output {
    output
}

fn entry(term: u64, index: u64, payload: &[u8]) -> Entry {
    let (term, index, timestamp) = (Term(term), Index(index), WallTime(index));
    Entry { term, index, timestamp, kind: EntryKind::Command, payload: Bytes::copy_of(payload) }
}

fn kind(cursor: &mut Cursor<'_>) -> EntryKind {
    match cursor.below(6) {
        0 => EntryKind::Configuration,
        1 => EntryKind::Noop,
        _ => EntryKind::Command,
    }
}

fn node(cursor: &mut Cursor<'_>) -> NodeId {
    NodeId(match cursor.below(16) {
        0 => 0,
        1 => 1,
        byte @ 2..=7 => 2 + u64::from(byte % 2),
        byte @ 8..=13 => 2 + u64::from(byte % 3),
        _ => cursor.number(),
    })
}

/// Members 1 to 5, each in any of the lists.
fn configuration(cursor: &mut Cursor<'_>) -> Configuration {
    let mut list = || {
        let marks = cursor.byte();
        let is_marked = move |&node: &u64| marks >> node & 1 == 1;
        (1..=5).filter(is_marked).map(NodeId).collect::<Vec<_>>()
    };
    let (mut voters, outgoing, learners, next) = (list(), list(), list(), list());
    if cursor.flag() {
        voters = vec![SELF, NodeId(2), NodeId(3)];
    }
    let simple = cursor.below(4) > 0;
    let told = cursor.below(8) == 0;
    Configuration {
        incarnations: if told { vec![(SELF, Incarnation(7))] } else { Vec::new() },
        learners: learners.into_iter().filter(|node| !voters.contains(node)).collect(),
        outgoing: if simple { Vec::new() } else { outgoing },
        voters_next: if simple { Vec::new() } else { next },
        voters,
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    (1..=12_u64)
        .map(|seed| {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                u8::try_from(state >> 56).expect("a byte")
            };
            (0..400).map(|_| next()).collect()
        })
        .collect()
}
