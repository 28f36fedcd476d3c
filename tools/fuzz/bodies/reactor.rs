//! A whole core whose disk works, and clients and peers that say anything in frames that are right.
//!
//! It is alone, and so leads and executes what clients send; or it is one of three, and the other two are
//! whatever the input makes of them.

use std::collections::BTreeMap;

use sunstar::base::{
    AlignedBuf, ClusterId, ConnectionId, CoreId, GroupId, Incarnation, Index, Micros, NodeId,
    PeerCore, Sequence, SessionId, Term, Time,
};
use sunstar::placement::{NodeInfo, ShardMap};
use sunstar::reactor::{Effects, Input, Reactor, ReactorConfig, Recovered};
use sunstar::wal::{BLOCK, Recovery, SegmentId};
use sunstar::wire::client::{
    Operation, OperationKind, RequestBuilder, encode_close_session, encode_open_session,
};
use sunstar::wire::frame::{FrameKind, append_frame};
use sunstar::wire::peer::{AppendHead, PeerBatchBuilder, PeerBody, PeerEntry, StateMessage};

use super::cursor::Cursor;

/// A core from its first start through arbitrary frames.
pub(super) fn turns(input: &[u8]) {
    let mut cursor = Cursor(input);
    let mut host = Host::new(if cursor.flag() { 3 } else { 1 });
    while !cursor.is_empty() {
        match cursor.below(8) {
            0 => host.now = host.now + Micros::from_millis(u64::from(cursor.byte())),
            1..4 => host.client_frame(&mut cursor),
            4 => host.node(&mut cursor),
            _ => host.peer_frame(&mut cursor),
        }
        if cursor.below(3) > 0 {
            host.turn();
        }
    }
    for _ in 0..8 {
        host.turn();
    }
}

struct Host {
    reactor: Reactor,
    now: Time,
    segments: BTreeMap<SegmentId, Vec<u8>>,
}

const SEGMENT_BYTES: usize = 64 * BLOCK;

impl Host {
    fn new(nodes: u64) -> Self {
        let info = |id| NodeInfo {
            id: NodeId(id),
            client_address: format!("127.0.0.1:{}", 7_000 + id),
            peer_address: format!("127.0.0.1:{}", 8_000 + id),
        };
        let shard_map = ShardMap::initial((1..=nodes).map(info).collect(), 2).expect("a valid map");
        let config = ReactorConfig {
            cluster: ClusterId(7),
            node: NodeId(1),
            incarnation: Incarnation(1),
            core: CoreId(0),
            smp: 1,
            shard_map,
            seed: 1,
            wall_offset: 1_700_000_000_000_000,
            election_timeout: Micros::from_millis(100),
            heartbeat_interval: Micros::from_millis(10),
            lease: None,
            segment_bytes: SEGMENT_BYTES as u64,
            log_seed: 2,
            log_writes_in_flight_max: 4,
            live_segments_max: 2,
            entries_memory_max: 1 << 20,
            memory_max: 1 << 20,
            piece_bytes: 256 << 10,
        };
        let log = Recovery::new(config.log_config()).finish().expect("a blank disk");
        let recovered = Recovered { log, snapshots: Vec::new(), snapshots_lost: Vec::new() };
        let now = Time(1_000_000);
        let reactor = Reactor::new(now, config, recovered).expect("a blank disk");
        let mut host = Self { reactor, now, segments: BTreeMap::new() };
        for node in 2..=nodes {
            let (node, incarnation) = (NodeId(node), Incarnation(node));
            let up = Input::NodeUp { node, incarnation, first: true, smp: 1 };
            host.reactor.step(host.now, up);
        }
        for _ in 0..40 {
            host.now = host.now + Micros::from_millis(10);
            host.turn();
        }
        host
    }

    /// A turn, and everything that it asks of the host.
    fn turn(&mut self) {
        self.now = self.now + Micros::from_millis(1);
        self.reactor.step(self.now, Input::Tick);
        let mut effects = Effects::default();
        self.reactor.finish_turn(self.now, &mut effects);
        self.reactor.check_invariants();
        for prepare in effects.prepare_segments {
            self.segments.insert(prepare.segment, vec![0; SEGMENT_BYTES]);
            self.reactor.step(self.now, Input::SegmentReady { segment: prepare.segment });
        }
        for write in effects.log_writes {
            let offset = usize::try_from(write.offset).expect("within a segment");
            let file = self.segments.get_mut(&write.segment).expect("prepared before");
            file[offset..offset + write.bytes.len()].copy_from_slice(&write.bytes);
            self.reactor.step(self.now, Input::LogWritten { write: write.write });
        }
        for read in effects.log_reads {
            let offset = usize::try_from(read.offset).expect("within a segment");
            let bytes = &self.segments[&read.segment][offset..offset + read.length];
            self.reactor.step(self.now, Input::LogReadDone { read: read.read, bytes });
        }
        for write in effects.snapshot_writes {
            // A piece is answered when it is the last.
            if write.last {
                self.reactor.step(self.now, Input::SnapshotWritten { snapshot: write.snapshot });
            }
        }
        for group in effects.snapshot_removals {
            self.reactor.step(self.now, Input::SnapshotsRemoved { group });
        }
    }

    fn client_frame(&mut self, cursor: &mut Cursor<'_>) {
        let connection = ConnectionId(u64::from(cursor.below(3)));
        if cursor.below(16) == 0 {
            return self.reactor.step(self.now, Input::ClientClosed { connection });
        }
        let (request, group) = (cursor.number(), GroupId(u32::from(cursor.below(4))));
        // Sessions are named after the entry that opened them.
        let session = SessionId((cursor.number() << 16) + u64::from(cursor.below(2)));
        let mut frame = Vec::new();
        let mut builder = RequestBuilder::new();
        match cursor.below(8) {
            0 => encode_open_session(request, group, &mut frame),
            1 => encode_close_session(request, group, session, &mut frame),
            2 => {
                for _ in 0..=cursor.below(3) {
                    builder.push_get(&[b'k', cursor.below(8)]);
                }
                builder.encode_read(request, group, &mut frame);
            }
            3 => {
                let kinds = [1, 2, 3, 4, 5, 6, 7, 8, 9].map(FrameKind::from_number);
                let kind = kinds[usize::from(cursor.below(9))].expect("a client's");
                append_frame(kind, cursor.bytes(200), &mut frame);
            }
            _ => {
                let first = cursor.number().min(1 << 40);
                let lowest = Sequence(cursor.number());
                let atomic = cursor.flag();
                for offset in 0..=cursor.below(4) {
                    let kind = OperationKind::from_number(cursor.below(8));
                    let (sequence, flags) = (Sequence(first + u64::from(offset)), cursor.below(2));
                    let (letter, value) = (cursor.below(8), cursor.bytes(12));
                    // An atomic batch has one slot.
                    let key: &[u8] =
                        if atomic { &[b'{', b'k', b'}', letter] } else { &[b'k', letter] };
                    let value = if kind == OperationKind::Increment { &[1; 8][..] } else { value };
                    let compares =
                        matches!(kind, OperationKind::Compare | OperationKind::CompareAndSet);
                    let expected = if compares { value } else { &[] };
                    builder.push(&Operation { sequence, kind, flags, key, value, expected });
                }
                if atomic {
                    builder.make_atomic();
                }
                builder.encode_write(request, group, session, lowest, &mut frame);
            }
        }
        let frame = AlignedBuf::copy_of(&frame);
        self.reactor.step(self.now, Input::ClientFrame { connection, frame: &frame });
    }

    fn node(&mut self, cursor: &mut Cursor<'_>) {
        let node = NodeId(2 + u64::from(cursor.below(3)));
        let input = match cursor.below(3) {
            0 => Input::NodeDown { node },
            1 => Input::PeerLinkReset { peer: PeerCore { node, core: CoreId(0) } },
            _ => {
                let incarnation = Incarnation(node.0 + u64::from(cursor.below(2)));
                Input::NodeUp { node, incarnation, first: cursor.flag(), smp: 1 }
            }
        };
        self.reactor.step(self.now, input);
    }

    fn peer_frame(&mut self, cursor: &mut Cursor<'_>) {
        let from = PeerCore { node: NodeId(2 + u64::from(cursor.below(3))), core: CoreId(0) };
        let mut frame = Vec::new();
        if cursor.below(8) == 0 {
            append_frame(FrameKind::PeerBatch, cursor.bytes(200), &mut frame);
        } else {
            let mut builder = PeerBatchBuilder::new();
            for _ in 0..=cursor.below(3) {
                push_message(&mut builder, cursor);
            }
            builder.finish(&mut frame);
        }
        let frame = AlignedBuf::copy_of(&frame);
        self.reactor.step(self.now, Input::PeerFrame { from, frame: &frame });
    }
}

fn push_message(builder: &mut PeerBatchBuilder, cursor: &mut Cursor<'_>) {
    let (group, term) = (GroupId(u32::from(cursor.below(4))), Term(cursor.number()));
    let body = match cursor.below(24) {
        0 | 1 => return push_append(builder, group, term, cursor),
        kind => body(kind, cursor),
    };
    builder.push(group, term, &body);
}

fn push_append(
    builder: &mut PeerBatchBuilder,
    group: GroupId,
    term: Term,
    cursor: &mut Cursor<'_>,
) {
    let head = AppendHead {
        previous_index: Index(cursor.number()),
        previous_term: Term(cursor.number()),
        commit_index: Index(cursor.number()),
    };
    let entries: Vec<PeerEntry<'_>> = (0..cursor.below(4))
        .map(|_| {
            let (entry_term, timestamp) = (Term(cursor.number()), cursor.number());
            let kind = cursor.below(4);
            PeerEntry { term: entry_term, timestamp, kind, payload: cursor.bytes(60) }
        })
        .collect();
    builder.push_append(group, term, head, entries.into_iter());
}

fn body<'a>(kind: u8, cursor: &mut Cursor<'a>) -> PeerBody<'a> {
    let index = Index(cursor.number());
    let provisional = cursor.below(4) == 0;
    match kind {
        2 => PeerBody::PreVote { last_index: index, last_term: Term(cursor.number()) },
        3 => PeerBody::PreVoteResponse { granted: cursor.flag() },
        4 => PeerBody::Vote {
            last_index: index,
            last_term: Term(cursor.number()),
            transfer: cursor.flag(),
        },
        5 => PeerBody::VoteResponse { granted: cursor.flag() },
        6 => PeerBody::AppendResponse { match_index: index, provisional },
        7 => PeerBody::AppendReject {
            rejected_index: index,
            hint_index: Index(cursor.number()),
            hint_term: Term(cursor.number()),
            provisional,
        },
        8 => PeerBody::Heartbeat { commit_index: index, round: cursor.number() },
        9 => PeerBody::HeartbeatResponse {
            round: cursor.number(),
            commit_index: index,
            promised: Micros(cursor.number()),
            clock: Time(cursor.number()),
            provisional,
        },
        10 => PeerBody::ReadIndex { request: cursor.number() },
        11 => PeerBody::ReadIndexResponse {
            request: cursor.number(),
            index: cursor.flag().then_some(index),
        },
        12 => PeerBody::TimeoutNow,
        13 => PeerBody::WhoLeads,
        14 => PeerBody::Propose {
            request: cursor.number(),
            kind: cursor.below(4),
            payload: cursor.bytes(60),
        },
        15 => PeerBody::Survey { request: cursor.number() },
        16 => PeerBody::SurveyResponse {
            request: if cursor.flag() { 0 } else { cursor.number() },
            certain: cursor.flag(),
            blank: cursor.flag(),
            last: cursor.flag().then(|| (Term(cursor.number()), index)),
        },
        17 | 18 => PeerBody::SnapshotChunk {
            transfer: cursor.number(),
            index,
            term: Term(cursor.number()),
            offset: cursor.number(),
            last: cursor.flag(),
            data: cursor.bytes(100),
        },
        19 => PeerBody::SnapshotAck {
            transfer: cursor.number(),
            next_offset: cursor.number(),
            failed: cursor.flag(),
        },
        20 => PeerBody::Whereabouts {
            committed: (Term(cursor.number()), index),
            leader: NodeId(cursor.number()),
            configuration: cursor.bytes(60),
        },
        21 => PeerBody::AdminRequest { request: cursor.number(), body: cursor.bytes(60) },
        22 => PeerBody::AdminReply { request: cursor.number(), body: cursor.bytes(60) },
        _ => PeerBody::State(match cursor.below(6) {
            0 => StateMessage::Ask { index },
            1 => StateMessage::Answer { index, hash: cursor.number() },
            2 => StateMessage::Quarantined { index },
            3 => StateMessage::Verdict { index, hash: cursor.number() },
            4 => StateMessage::Undecided { index, hash: cursor.number() },
            _ => StateMessage::Wants,
        }),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    super::raft::seeds()
}
