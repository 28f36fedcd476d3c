//! Frames of every kind, honest and damaged, through every parser.

use super::client::{
    self, Answer, Operation, OperationKind, Outcome, ReplyBuilder, ReplyHead, Request,
    RequestBuilder, Status,
};
use super::frame::{Frame, FrameKind, Scan, scan};
use super::handshake::{
    ClientHello, ClientHelloReply, PeerHello, PeerHelloReply, PeerPurpose, Ping, Replaced,
};
use super::map::{ClusterView, GroupView, NodeView, SlotRun, parse_map_reply};
use super::movement;
use super::peer::{
    AppendHead, PeerBatchBuilder, PeerBody, PeerEntry, PeerRefusal, StateMessage, parse_peer_batch,
};
use crate::base::limits::PEER_FRAME_BODY_MAX;
use crate::base::{
    AlignedBuf, ClusterId, CoreId, GroupId, Incarnation, Index, Micros, NodeId, Sequence,
    SessionId, Slot, Term, Time,
};

/// The one frame in `buffer`.
pub(super) fn sole_frame(buffer: &AlignedBuf) -> Frame<'_> {
    let Ok(Scan::Frame(frame)) = scan(buffer, PEER_FRAME_BODY_MAX) else {
        panic!("no frame in {buffer:?}")
    };
    assert_eq!(frame.bytes.len(), buffer.len(), "one frame only");
    frame
}

/// What `encode` appends.
pub(super) fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> AlignedBuf {
    let mut out = Vec::new();
    encode(&mut out);
    AlignedBuf::copy_of(&out)
}

pub(super) fn sample_map() -> ClusterView {
    let node = |id: u64| NodeView {
        node: NodeId(id),
        client_address: format!("10.0.0.{id}:7000"),
        smp: 2,
    };
    let group = |id: u32, leader: u64| GroupView {
        group: GroupId(id),
        members: vec![NodeId(1), NodeId(2), NodeId(3)],
        leader: NodeId(leader),
    };
    ClusterView {
        cluster: ClusterId(77),
        epoch: 5,
        nodes: vec![node(1), node(2), node(3)],
        groups: vec![group(1, 3), group(2, 1)],
        slots: vec![
            SlotRun { first: 0, last: 99, group: GroupId(2) },
            SlotRun { first: 100, last: 16_383, group: GroupId(1) },
        ],
    }
}

pub(super) fn sample_bodies() -> Vec<PeerBody<'static>> {
    let (last_index, last_term) = (Index(8), Term(3));
    vec![
        PeerBody::PreVote { last_index, last_term },
        PeerBody::PreVoteResponse { granted: true },
        PeerBody::Vote { last_index, last_term, transfer: true },
        PeerBody::VoteResponse { granted: false },
        PeerBody::AppendResponse { match_index: Index(9), provisional: true },
        PeerBody::AppendReject {
            rejected_index: Index(9),
            hint_index: Index(4),
            hint_term: Term(2),
            provisional: true,
        },
        PeerBody::Heartbeat { commit_index: Index(7), round: 11 },
        PeerBody::HeartbeatResponse {
            round: 11,
            commit_index: Index(6),
            promised: Micros(0),
            clock: Time(8),
            provisional: true,
        },
        PeerBody::HeartbeatResponse {
            round: 12,
            commit_index: Index(6),
            promised: Micros(7),
            clock: Time(u64::MAX),
            provisional: false,
        },
        PeerBody::Survey { request: 18 },
        PeerBody::SurveyResponse { request: 18, certain: true, blank: false, last: None },
        PeerBody::SurveyResponse {
            request: 18,
            certain: false,
            blank: true,
            last: Some((Term(3), Index(9))),
        },
        PeerBody::ReadIndex { request: 12 },
        PeerBody::ReadIndexResponse { request: 12, index: Some(Index(0)) },
        PeerBody::ReadIndexResponse { request: 13, index: None },
        PeerBody::TimeoutNow,
        PeerBody::WhoLeads,
        PeerBody::Propose { request: 14, kind: 2, payload: b"command" },
        PeerBody::ProposeResponse { request: 14, result: Ok((Term(3), Index(9))) },
        PeerBody::ProposeResponse {
            request: 15,
            result: Err(PeerRefusal { reason: 1, leader: Some(NodeId(2)) }),
        },
        PeerBody::ProposeResponse {
            request: 16,
            result: Err(PeerRefusal { reason: 2, leader: None }),
        },
        PeerBody::Whereabouts {
            committed: (Term(7), Index(8)),
            leader: NodeId(4),
            configuration: b"members",
        },
        PeerBody::AdminRequest { request: 17, body: b"{}" },
        PeerBody::AdminReply { request: 17, body: b"{\"ok\":true}" },
        PeerBody::State(StateMessage::Ask { index: Index(18) }),
        PeerBody::State(StateMessage::Answer { index: Index(18), hash: 19 }),
        PeerBody::State(StateMessage::Quarantined { index: Index(18) }),
        PeerBody::State(StateMessage::Verdict { index: Index(18), hash: 20 }),
        PeerBody::State(StateMessage::Undecided { index: Index(18), hash: 19 }),
        PeerBody::State(StateMessage::Wants),
        PeerBody::Map { epoch: 3, body: b"map" },
        PeerBody::Movement { body: b"said" },
        PeerBody::SnapshotChunk {
            transfer: 1,
            index: Index(5),
            term: Term(2),
            offset: 4096,
            last: true,
            data: b"piece",
        },
        PeerBody::SnapshotAck { transfer: 1, next_offset: 4101, failed: false },
    ]
}

fn sample_requests() -> Vec<AlignedBuf> {
    let mut builder = RequestBuilder::new();
    for (sequence, kind) in [(4, OperationKind::Put), (5, OperationKind::CompareAndSet)] {
        builder.push(&Operation {
            sequence: Sequence(sequence),
            kind,
            flags: 0,
            key: b"a key",
            value: b"the value",
            expected: b"old",
        });
    }
    let (group, session) = (GroupId(3), SessionId(90));
    let write = encoded(|out| builder.encode_write(1, group, session, Sequence(4), out));
    builder.clear();
    builder.push_get(b"a key");
    builder.push_get(b"another");
    vec![
        write,
        encoded(|out| builder.encode_read(2, group, out)),
        encoded(|out| client::encode_open_session(3, group, out)),
        encoded(|out| client::encode_close_session(4, group, session, out)),
        encoded(|out| client::encode_map_request(5, out)),
    ]
}

fn sample_replies() -> Vec<AlignedBuf> {
    let head = ReplyHead {
        request: 1,
        group: GroupId(3),
        outcome: Outcome::Ok,
        session: SessionId(90),
        leader: NodeId(2),
        epoch: 5,
    };
    let answer = Answer { status: Status::Ok, number: -1, index: Index(6), position: 2 };
    let mut builder = ReplyBuilder::new();
    builder.push(answer, Some(b"value"));
    builder.push(answer, None);
    vec![
        encoded(|out| builder.encode(&head, out)),
        encoded(|out| builder.encode_refusal(&head, Some("why"), out)),
    ]
}

fn sample_handshakes() -> Vec<AlignedBuf> {
    let (cluster, node, incarnation) = (ClusterId(7), NodeId(1), Incarnation(9));
    let (smp, refusal) = (2, Some("no".to_owned()));
    let client_reply = ClientHelloReply {
        protocol: 1,
        cluster,
        node,
        core: CoreId(1),
        smp,
        refusal: refusal.clone(),
    };
    let hello = PeerHello {
        protocol: 1,
        cluster,
        node,
        incarnation,
        core: CoreId(1),
        wanted_core: CoreId(3),
        smp,
        wanted_node: NodeId(2),
        purpose: PeerPurpose::Detector,
    };
    let reply = PeerHelloReply { protocol: 1, cluster, node, incarnation, smp, refusal };
    let replaced = vec![Replaced { node, incarnation, generation: 1 }];
    let ping = Ping { number: 8, replaced };
    vec![
        encoded(|out| ClientHello { protocol: 1, cluster, group: GroupId(4) }.encode(out)),
        encoded(|out| client_reply.encode(out)),
        encoded(|out| hello.encode(out)),
        encoded(|out| reply.encode(out)),
        encoded(|out| ping.encode(out)),
        encoded(|out| ping.encode_pong(out)),
    ]
}

fn sample_batch() -> AlignedBuf {
    let mut builder = PeerBatchBuilder::new();
    for body in sample_bodies() {
        builder.push(GroupId(2), Term(3), &body);
    }
    let head =
        AppendHead { previous_index: Index(3), previous_term: Term(1), commit_index: Index(2) };
    let entry =
        |payload| PeerEntry { term: Term(2), timestamp: 1_700_000_000_000_000, kind: 0, payload };
    let entries = [entry(&b"one"[..]), entry(b""), entry(b"three")];
    builder.push_append(GroupId(5), Term(3), head, entries.into_iter());
    encoded(|out| builder.finish(out))
}

/// One frame of every kind there is.
fn sample_frames() -> Vec<AlignedBuf> {
    let mut frames = sample_requests();
    frames.extend(sample_replies());
    frames.extend(sample_handshakes());
    frames.push(encoded(|out| sample_map().encode(6, out)));
    frames.push(sample_batch());
    let run = SlotRun { first: 2, last: 9, group: GroupId(3) };
    let (gained, lost) = (vec![run], vec![SlotRun { first: 11, last: 11, ..run }]);
    let order = movement::Order::BeginEpoch { epoch: 3, gained, lost };
    frames.push(encoded(|out| order.encode(out)));
    let (slot, arrival) = (Slot::default(), Index(8));
    let message = movement::Message::PieceSent { epoch: 3, slot, arrival, bytes: b"piece" };
    frames.push(encoded(|out| message.encode(out)));
    frames
}

/// Parses `frame` and reads all that is in it; the text is equal for equal contents.
fn read_all(frame: &Frame<'_>) -> Result<String, super::WireError> {
    Ok(match frame.kind {
        FrameKind::Write
        | FrameKind::Read
        | FrameKind::OpenSession
        | FrameKind::CloseSession
        | FrameKind::MapRequest => {
            let routed = client::route(frame);
            let request = client::parse_request(frame)?;
            assert!(routed.is_ok(), "what can be parsed can be routed");
            match request {
                Request::Write(batch) => {
                    let operations: Vec<_> = batch.operations().collect();
                    assert_eq!(operations.len(), batch.len());
                    format!("{batch:?} {operations:?}")
                }
                Request::Read(batch) => {
                    let operations: Vec<_> = batch.operations().collect();
                    assert_eq!(operations.len(), batch.len());
                    format!("{batch:?} {operations:?}")
                }
                other => format!("{other:?}"),
            }
        }
        FrameKind::Reply => {
            let reply = client::parse_reply(frame)?;
            let answers: Vec<_> = reply.answers().collect();
            assert_eq!(answers.len(), reply.len());
            format!("{reply:?} {answers:?}")
        }
        FrameKind::Order => format!("{:?}", movement::parse_order(frame)?),
        FrameKind::Movement => format!("{:?}", movement::parse_message(frame)?),
        FrameKind::MapReply => format!("{:?}", parse_map_reply(frame)?),
        FrameKind::ClientHello => format!("{:?}", ClientHello::parse(frame)?),
        FrameKind::ClientHelloReply => format!("{:?}", ClientHelloReply::parse(frame)?),
        FrameKind::PeerHello => format!("{:?}", PeerHello::parse(frame)?),
        FrameKind::PeerHelloReply => format!("{:?}", PeerHelloReply::parse(frame)?),
        FrameKind::Ping | FrameKind::Pong => format!("{:?}", Ping::parse(frame)?),
        FrameKind::PeerBatch => {
            format!("{:?}", parse_peer_batch(frame)?.messages().collect::<Vec<_>>())
        }
    })
}

#[test]
fn the_samples_are_of_every_kind() {
    let frames = sample_frames();
    for number in 0..=u8::MAX {
        let Some(kind) = FrameKind::from_number(number) else { continue };
        assert_eq!(kind as u8, number);
        assert!(frames.iter().any(|frame| sole_frame(frame).kind == kind), "{kind:?}");
    }
    for frame in &frames {
        read_all(&sole_frame(frame)).expect("an honest frame");
    }
}

#[test]
fn damage_to_any_byte_is_noticed() {
    for sample in sample_frames() {
        for position in 0..sample.len() {
            for bit in 0..8 {
                let mut damaged = sample.clone();
                damaged.as_mut_slice()[position] ^= 1 << bit;
                let found = scan(&damaged, PEER_FRAME_BODY_MAX);
                assert!(found.is_err(), "bit {bit} of byte {position}: {found:?}");
            }
        }
    }
}

#[test]
fn a_frame_is_incomplete_until_its_last_byte() {
    for sample in sample_frames() {
        for length in 0..sample.len() {
            let part = AlignedBuf::copy_of(&sample[..length]);
            let needed = if length < 16 { 16 } else { sample.len() };
            assert_eq!(scan(&part, PEER_FRAME_BODY_MAX), Ok(Scan::Incomplete { needed }));
        }
    }
}

#[test]
fn a_body_cut_short_is_refused_or_says_the_same() {
    for sample in sample_frames() {
        let whole = sole_frame(&sample);
        let said = read_all(&whole).expect("an honest frame");
        for length in 0..whole.body.len() {
            let cut = Frame { body: &whole.body[..length], ..whole };
            if let Ok(read) = read_all(&cut) {
                // Only what nothing points to may be missing: the zero after a vector of bytes.
                assert_eq!(read, said, "cut to {length} of {}", whole.body.len());
                assert!(whole.body[length..].iter().all(|&byte| byte == 0));
            }
        }
    }
}

/// Damage that a sender with a fault puts under a good checksum.
#[test]
fn a_body_of_any_content_is_read_or_refused() {
    let mut random = fastrand::Rng::with_seed(20_251_219);
    let mut refused = 0;
    for sample in sample_frames() {
        let whole = sole_frame(&sample);
        let mut body = AlignedBuf::copy_of(whole.body);
        for position in 0..body.len() {
            let honest = body[position];
            for byte in [0, 1, 0x7f, 0x80, 0xff, honest ^ 4, honest.wrapping_add(8), random.u8(..)]
            {
                body.as_mut_slice()[position] = byte;
                refused += usize::from(read_all(&Frame { body: &body, ..whole }).is_err());
            }
            body.as_mut_slice()[position] = honest;
        }
        for _ in 0..2_000 {
            let mut body = AlignedBuf::copy_of(whole.body);
            for _ in 0..random.usize(2..12) {
                let position = random.usize(..body.len());
                body.as_mut_slice()[position] = random.u8(..);
            }
            refused += usize::from(read_all(&Frame { body: &body, ..whole }).is_err());
        }
    }
    assert!(refused > 1_000, "{refused} refused: the damage did no harm");
}

#[test]
fn noise_is_refused() {
    let mut random = fastrand::Rng::with_seed(4);
    let samples = sample_frames();
    for _ in 0..20_000 {
        let noise: Vec<u8> = (0..random.usize(..200)).map(|_| random.u8(..)).collect();
        let noise = AlignedBuf::copy_of(&noise);
        let found = scan(&noise, PEER_FRAME_BODY_MAX);
        assert!(!matches!(found, Ok(Scan::Frame(_))), "{found:?}");
        let whole = sole_frame(&samples[random.usize(..samples.len())]);
        let _ = read_all(&Frame { body: &noise, ..whole });
    }
}

#[test]
fn a_frame_of_another_kind_is_refused() {
    let samples = sample_frames();
    for sample in &samples {
        let frame = sole_frame(sample);
        let refused = [
            (client::parse_request(&frame).is_err(), "parse_request", 3..=9),
            (client::parse_reply(&frame).is_err(), "parse_reply", 7..=7),
            (parse_map_reply(&frame).is_err(), "parse_map_reply", 4..=4),
            (parse_peer_batch(&frame).is_err(), "parse_peer_batch", 34..=34),
            (Ping::parse(&frame).is_err(), "Ping::parse", 35..=36),
            (PeerHello::parse(&frame).is_err(), "PeerHello::parse", 32..=32),
        ];
        for (refused, parser, kinds) in refused {
            assert!(refused || kinds.contains(&(frame.kind as u8)), "{parser} {:?}", frame.kind);
        }
    }
}
