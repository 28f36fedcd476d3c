//! Frames of clients, servers and peers: a kind and a body, put into a frame that is right outside.

use sunstar::base::limits::{CLIENT_FRAME_BODY_MAX, PEER_FRAME_BODY_MAX};
use sunstar::base::{AlignedBuf, GroupId, Index, NodeId, Sequence, SessionId, Term};
use sunstar::wire::client::{
    Answer, Operation, OperationKind, Outcome, ReplyBuilder, ReplyHead, Request, RequestBuilder,
    Status, encode_close_session, encode_map_request, encode_open_session, parse_reply,
    parse_request, route,
};
use sunstar::wire::frame::{Frame, FrameKind, HEADER, Scan, append_frame, scan};
use sunstar::wire::handshake::{ClientHello, ClientHelloReply, PeerHello, PeerHelloReply, Ping};
use sunstar::wire::map::parse_map_reply;
use sunstar::wire::peer::{PeerBatchBuilder, PeerBody, parse_peer_batch};

/// What a server reads from a client, and a client from a server.
pub(super) fn client(input: &[u8]) {
    as_received(input, CLIENT_FRAME_BODY_MAX, |frame| {
        if let Ok(request) = parse_request(frame) {
            match request {
                Request::Write(batch) => {
                    assert_eq!(batch.operations().count(), batch.len());
                    assert!(batch.operations().all(|operation| !operation.key.is_empty()));
                    assert!(route(frame).is_ok(), "what can be executed can be routed");
                }
                Request::Read(batch) => assert_eq!(batch.operations().count(), batch.len()),
                _ => {}
            }
        }
        if let Ok(reply) = parse_reply(frame) {
            assert_eq!(reply.answers().count(), reply.len());
        }
        let _ = route(frame);
        let _ = parse_map_reply(frame);
        let _ = ClientHello::parse(frame);
        let _ = ClientHelloReply::parse(frame);
    });
}

/// What a node reads from another.
pub(super) fn peer(input: &[u8]) {
    as_received(input, PEER_FRAME_BODY_MAX, |frame| {
        if let Ok(batch) = parse_peer_batch(frame) {
            let mut messages = 0;
            for message in batch.messages() {
                messages += 1;
                if let PeerBody::Append { entries, .. } = message.body {
                    let bytes: usize = entries.map(|entry| entry.payload.len()).sum();
                    assert!(bytes <= frame.body.len(), "{bytes} bytes of entries");
                }
            }
            assert_eq!(messages, batch.len());
        }
        let _ = PeerHello::parse(frame);
        let _ = PeerHelloReply::parse(frame);
        let _ = Ping::parse(frame);
    });
}

/// Scans the input itself, then a frame made of it: its first byte is the kind, the rest the body.
fn as_received(input: &[u8], body_max: usize, look: impl Fn(&Frame<'_>)) {
    let aligned = AlignedBuf::copy_of(input);
    if let Ok(Scan::Frame(frame)) = scan(&aligned, body_max) {
        assert!(frame.bytes.len() <= input.len());
        look(&frame);
    }
    let Some((&kind, body)) = input.split_first() else { return };
    let Some(kind) = FrameKind::from_number(kind) else { return };
    let mut bytes = Vec::new();
    append_frame(kind, body, &mut bytes);
    let aligned = AlignedBuf::copy_of(&bytes);
    match scan(&aligned, body_max) {
        Ok(Scan::Frame(frame)) => {
            assert_eq!((frame.kind, frame.body), (kind, body));
            look(&frame);
        }
        other => panic!("a frame of our own making is {other:?}"),
    }
}

/// The input that makes this frame.
fn input_of(frame: &[u8]) -> Vec<u8> {
    let aligned = AlignedBuf::copy_of(frame);
    let Ok(Scan::Frame(frame)) = scan(&aligned, PEER_FRAME_BODY_MAX) else {
        panic!("a frame of our own making")
    };
    let mut input = vec![frame.bytes[HEADER_KIND]];
    input.extend_from_slice(frame.body);
    input
}

/// Where a header has its kind.
const HEADER_KIND: usize = 4;

const _: () = assert!(HEADER_KIND < HEADER);

pub(super) fn client_seeds() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut add = |encode: &mut dyn FnMut(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        encode(&mut frame);
        frames.push(input_of(&frame));
        frames.push(frame);
    };
    let (group, session) = (GroupId(1), SessionId(65_536));
    add(&mut |out| ClientHello::default().encode(out));
    add(&mut |out| ClientHelloReply::default().encode(out));
    add(&mut |out| encode_open_session(1, group, out));
    add(&mut |out| encode_close_session(2, group, session, out));
    add(&mut |out| encode_map_request(3, out));
    let mut builder = RequestBuilder::new();
    for (sequence, kind) in (1..).zip([OperationKind::Put, OperationKind::CompareAndSet]) {
        let sequence = Sequence(sequence);
        let (key, value, expected) = (&b"key"[..], &b"value"[..], &b"old"[..]);
        builder.push(&Operation { sequence, kind, flags: 0, key, value, expected });
    }
    add(&mut |out| builder.encode_write(4, group, session, Sequence(1), out));
    builder.push_get(b"a");
    builder.push_get(b"b");
    add(&mut |out| builder.encode_read(5, group, out));
    let mut replies = ReplyBuilder::new();
    let (status, number, index, position) = (Status::Ok, 7, Index(9), 1);
    replies.push(Answer { status, number, index, position }, Some(b"found"));
    let head =
        ReplyHead { request: 5, outcome: Outcome::Ok, leader: NodeId(1), session, epoch: 1, group };
    add(&mut |out| replies.encode(&head, out));
    add(&mut |out| replies.encode_refusal(&head, Some("why"), out));
    frames
}

pub(super) fn peer_seeds() -> Vec<Vec<u8>> {
    let mut builder = PeerBatchBuilder::new();
    let (last_index, last_term) = (Index(4), Term(2));
    builder.push(GroupId(1), Term(3), &PeerBody::Vote { last_index, last_term, transfer: false });
    builder.push(GroupId(1), Term(3), &PeerBody::Heartbeat { commit_index: Index(4), round: 9 });
    let mut batch = Vec::new();
    builder.finish(&mut batch);
    let mut frames = vec![batch];
    frames.push(Vec::new());
    PeerHello::default().encode(frames.last_mut().expect("just pushed"));
    frames.push(Vec::new());
    PeerHelloReply::default().encode(frames.last_mut().expect("just pushed"));
    frames.push(Vec::new());
    Ping::default().encode(frames.last_mut().expect("just pushed"));
    frames.iter().map(|frame| input_of(frame)).collect()
}
