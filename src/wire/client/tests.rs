use super::*;
use crate::base::limits::{CLIENT_FRAME_BODY_MAX, FRAME_COMMANDS_MAX, KEY_MAX, VALUE_MAX};
use crate::base::{AlignedBuf, GroupId, Index, NodeId, Sequence, SessionId};
use crate::wire::WireError;
use crate::wire::frame::{Frame, FrameEncoder, FrameKind};
use crate::wire::generated::client as schema;
use crate::wire::tests::{encoded, sole_frame};

const HEAD: ReplyHead = ReplyHead {
    request: 1,
    group: GroupId(2),
    outcome: Outcome::Ok,
    session: SessionId(0),
    leader: NodeId(0),
    epoch: 3,
};

const ANSWER: Answer = Answer { status: Status::Ok, number: 0, index: Index(1), position: 0 };

/// A command of somebody's own making, whose bytes the test keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Command {
    sequence: u64,
    kind: u8,
    flags: u8,
    key: Vec<u8>,
    value: Vec<u8>,
    expected: Vec<u8>,
}

impl Command {
    fn random(random: &mut fastrand::Rng) -> Self {
        let mut bytes =
            |range| -> Vec<u8> { (0..random.usize(range)).map(|_| random.u8(..)).collect() };
        let (key, value, expected) = (bytes(1..40), bytes(0..200), bytes(0..20));
        let (sequence, kind, flags) = (random.u64(..), random.u8(..8), random.u8(..2));
        Self { sequence, kind, flags, key, value, expected }
    }

    fn operation(&self) -> Operation<'_> {
        Operation {
            sequence: Sequence(self.sequence),
            kind: OperationKind::from_number(self.kind),
            flags: self.flags,
            key: &self.key,
            value: &self.value,
            expected: &self.expected,
        }
    }
}

fn write_of<'a>(frame: &Frame<'a>) -> WriteBatch<'a> {
    let Ok(Request::Write(batch)) = parse_request(frame) else { panic!("no write") };
    batch
}

#[test]
fn writes_arrive_as_they_were_sent() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut builder = RequestBuilder::new();
    for request in 0..300 {
        let commands: Vec<Command> =
            (0..random.usize(..100)).map(|_| Command::random(&mut random)).collect();
        builder.clear();
        for command in &commands {
            builder.push(&command.operation());
        }
        assert_eq!(builder.len(), commands.len());
        let (group, session) = (GroupId(random.u32(..)), SessionId(random.u64(..)));
        let lowest = Sequence(random.u64(..));
        let buffer = encoded(|out| builder.encode_write(request, group, session, lowest, out));
        let frame = sole_frame(&buffer);
        let batch = write_of(&frame);
        assert_eq!((batch.request, batch.group, batch.session), (request, group, session));
        assert_eq!((batch.lowest_awaited, batch.len()), (lowest, commands.len()));
        assert!(!batch.atomic);
        assert!(batch.operations().eq(commands.iter().map(Command::operation)));
        assert_eq!(route(&frame), Ok((request, group)));
    }
}

/// Puts of `keys` under `sequences`, as an atomic batch.
fn atomic(keys: &[&[u8]], sequences: &[u64]) -> AlignedBuf {
    let mut builder = RequestBuilder::new();
    for (&key, &sequence) in keys.iter().zip(sequences) {
        let (sequence, kind) = (Sequence(sequence), OperationKind::Put);
        builder.push(&Operation { sequence, kind, flags: 0, key, value: b"v", expected: &[] });
    }
    builder.make_atomic();
    encoded(|out| builder.encode_write(1, GroupId(2), SessionId(3), Sequence(1), out))
}

#[test]
fn an_atomic_batch_has_one_slot_and_no_gaps() {
    let refusal = |buffer: &AlignedBuf| parse_request(&sole_frame(buffer)).err();
    let tagged: [&[u8]; 3] = [b"{t}a", b"{t}b", b"{t}a"];
    assert!(write_of(&sole_frame(&atomic(&tagged, &[7, 8, 9]))).atomic);
    assert_eq!(refusal(&atomic(&[], &[])), None);
    assert_eq!(refusal(&atomic(&[b"k", b"k"], &[0, 1])), None);
    let gap = |position| Some(WireError::SequenceGap { position });
    assert_eq!(refusal(&atomic(&tagged, &[7, 8, 10])), gap(2));
    assert_eq!(refusal(&atomic(&tagged, &[7, 7, 8])), gap(1));
    assert_eq!(refusal(&atomic(&tagged, &[u64::MAX, 0, 1])), gap(1));
    let crossing = atomic(&[b"{t}a", b"{t}b", b"{u}a"], &[7, 8, 9]);
    assert_eq!(refusal(&crossing), Some(WireError::CrossSlot { position: 2 }));
}

/// What clients wrote before there were atomic batches is what they write now, and means the same.
#[test]
fn a_frame_without_the_flag_is_not_atomic() {
    let row = schema::Operation::new(5, 1, 0, 1, OperationKind::Put.number(), 0, 0);
    let before = encoded(|out| {
        let mut encoder = FrameEncoder::default();
        let data = encoder.bytes(b"kv");
        let body = encoder.body();
        let operations = body.create_vector(&[row]);
        let mut write = schema::WriteBuilder::new(body);
        write.add_lowest_awaited(4);
        write.add_session(3);
        write.add_request(1);
        write.add_data(data);
        write.add_operations(operations);
        write.add_group(2);
        let root = write.finish();
        encoder.finish(FrameKind::Write, root, out);
    });
    assert!(!write_of(&sole_frame(&before)).atomic);
    let mut builder = RequestBuilder::new();
    let (sequence, kind, flags) = (Sequence(5), OperationKind::Put, 0);
    builder.push(&Operation { sequence, kind, flags, key: b"k", value: b"v", expected: b"" });
    let now = encoded(|out| {
        builder.encode_write(1, GroupId(2), SessionId(3), Sequence(4), out);
    });
    assert_eq!(now[..], before[..]);
}

#[test]
fn reads_arrive_as_they_were_sent() {
    let mut builder = RequestBuilder::new();
    builder.push_get(b"one");
    builder.push_get(b"two");
    let buffer = encoded(|out| builder.encode_read(9, GroupId(4), out));
    let frame = sole_frame(&buffer);
    assert_eq!(route(&frame), Ok((9, GroupId(4))));
    let Ok(Request::Read(batch)) = parse_request(&frame) else { panic!("no read") };
    assert!(batch.operations().map(|operation| operation.key).eq([&b"one"[..], b"two"]));
    assert!(batch.operations().all(|operation| operation.kind == OperationKind::Get));
    assert_eq!((batch.request, batch.group, batch.len()), (9, GroupId(4), 2));
}

#[test]
fn sessions_and_maps_are_asked_for() {
    let (group, session) = (GroupId(7), SessionId(8));
    let open = encoded(|out| encode_open_session(1, group, out));
    let close = encoded(|out| encode_close_session(2, group, session, out));
    let map = encoded(|out| encode_map_request(3, out));
    let [open, close, map] = [&open, &close, &map].map(sole_frame);
    let read = |frame| format!("{:?}", parse_request(frame).expect("a request"));
    assert_eq!(read(&open), "OpenSession { request: 1, group: GroupId(7) }");
    assert_eq!(
        read(&close),
        "CloseSession { request: 2, group: GroupId(7), session: SessionId(8) }"
    );
    assert_eq!(read(&map), "Map { request: 3 }");
    let routes = [&open, &close, &map].map(|frame| route(frame).expect("a route"));
    assert_eq!(routes, [(1, group), (2, group), (3, GroupId(0))]);
}

#[test]
fn a_write_among_reads_is_refused_and_an_unknown_command_is_not() {
    for kind in 0..10 {
        let command = Command { kind, ..Command::random(&mut fastrand::Rng::with_seed(2)) };
        let mut builder = RequestBuilder::new();
        builder.push_get(b"key");
        builder.push(&command.operation());
        let buffer = encoded(|out| builder.encode_read(9, GroupId(4), out));
        match parse_request(&sole_frame(&buffer)) {
            Ok(_) => assert!(kind == 0 || kind > 6, "kind {kind}"),
            Err(error) => {
                assert!((1..=6).contains(&kind), "kind {kind}");
                assert_eq!(error, WireError::NotARead { position: 1 });
            }
        }
    }
}

/// A `Write` with these rows and data, whatever they are.
fn forged(rows: &[schema::Operation], data: &[u8]) -> AlignedBuf {
    let mut encoder = FrameEncoder::default();
    let data = Some(encoder.bytes(data));
    let operations = Some(encoder.body().create_vector(rows));
    let args = schema::WriteArgs { operations, data, ..Default::default() };
    let root = schema::Write::create(encoder.body(), &args);
    encoded(|out| encoder.finish(FrameKind::Write, root, out))
}

fn row(key: u16, value: u32, expected: u32) -> schema::Operation {
    schema::Operation::new(1, value, expected, key, 1, 0, 0)
}

fn refusal(rows: &[schema::Operation], data: &[u8]) -> String {
    let buffer = forged(rows, data);
    parse_request(&sole_frame(&buffer)).expect_err("forged").to_string()
}

#[test]
fn lengths_that_lie_are_refused() {
    assert!(parse_request(&sole_frame(&forged(&[row(1, 1, 1)], b"kve"))).is_ok());
    assert_eq!(
        refusal(&[row(1, 1, 1)], b"kv"),
        "the lengths in the frame add up to 3 bytes, but it holds 2"
    );
    assert_eq!(
        refusal(&[row(1, 1, 1)], b"kvex"),
        "the lengths in the frame add up to 3 bytes, but it holds 4"
    );
    assert_eq!(
        refusal(&[row(1, 0, 0), row(0, 0, 0)], b"k"),
        "command 1 of the frame: its key has 0 bytes; 1 to 16384 are accepted"
    );
    assert_eq!(
        refusal(&[row(16_385, 0, 0)], &vec![0; 16_385]),
        "command 0 of the frame: its key has 16385 bytes; 1 to 16384 are accepted"
    );
    assert_eq!(
        refusal(&[row(1, u32::MAX, 0)], b"k"),
        "command 0 of the frame: its value has 4294967295 bytes; 0 to 1048576 are accepted"
    );
    assert_eq!(
        refusal(&[row(1, 0, 1_048_577)], b"k"),
        "command 0 of the frame: its expected value has 1048577 bytes; 0 to 1048576 are accepted"
    );
    let many = vec![row(1, 0, 0); FRAME_COMMANDS_MAX + 1];
    assert_eq!(
        refusal(&many, &vec![b'k'; FRAME_COMMANDS_MAX + 1]),
        "16385 commands in one frame; at most 16384 are accepted"
    );
}

#[test]
fn a_full_frame_passes_and_nothing_fits_after_it() {
    let mut builder = RequestBuilder::new();
    for _ in 0..FRAME_COMMANDS_MAX {
        assert!(builder.fits(1));
        builder.push_get(b"k");
    }
    assert!(!builder.fits(1));
    let buffer = encoded(|out| builder.encode_read(1, GroupId(1), out));
    assert!(parse_request(&sole_frame(&buffer)).is_ok());

    builder.clear();
    let (key, value) = (vec![1; KEY_MAX], vec![2; VALUE_MAX]);
    let operation = Operation {
        sequence: Sequence(1),
        kind: OperationKind::Put,
        flags: 0,
        key: &key,
        value: &value,
        expected: &[],
    };
    while builder.fits(KEY_MAX + VALUE_MAX) {
        builder.push(&operation);
    }
    let short = Operation { key: &key[..1], ..operation };
    let mut room = VALUE_MAX;
    while !builder.fits(1 + room) {
        room -= 1;
    }
    builder.push(&Operation { value: &value[..room], ..short });
    let buffer = encoded(|out| builder.encode_write(1, GroupId(1), SessionId(1), Sequence(1), out));
    let frame = sole_frame(&buffer);
    assert!(frame.body.len() <= CLIENT_FRAME_BODY_MAX, "{}", frame.body.len());
    assert!(frame.body.len() > CLIENT_FRAME_BODY_MAX - 200, "{}", frame.body.len());
    assert_eq!(write_of(&frame).len(), builder.len());
}

#[test]
#[should_panic(expected = "a key of 0 bytes")]
fn an_empty_key_is_not_sent() {
    RequestBuilder::new().push_get(b"");
}

#[test]
fn replies_arrive_as_they_were_sent() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut builder = ReplyBuilder::new();
    for _ in 0..300 {
        let head = ReplyHead {
            request: random.u64(..),
            group: GroupId(random.u32(..)),
            outcome: Outcome::from_number(random.u8(..12)),
            session: SessionId(random.u64(..)),
            leader: NodeId(random.u64(..)),
            epoch: random.u64(..),
        };
        let answers: Vec<(Answer, Vec<u8>)> = (0..random.usize(..50))
            .map(|_| {
                let answer = Answer {
                    status: Status::from_number(random.u8(..13)),
                    number: random.i64(..),
                    index: Index(random.u64(..)),
                    position: random.u32(..),
                };
                (answer, (0..random.usize(..50)).map(|_| random.u8(..)).collect())
            })
            .collect();
        for (answer, value) in &answers {
            builder.push(*answer, (!value.is_empty()).then_some(value));
        }
        let buffer = encoded(|out| builder.encode(&head, out));
        assert!(builder.is_empty());
        let frame = sole_frame(&buffer);
        let reply = parse_reply(&frame).expect("a reply");
        assert_eq!((reply.head, reply.detail, reply.len()), (head, "", answers.len()));
        let read = reply.answers().map(|(answer, value)| (answer, value.to_vec()));
        assert!(read.eq(answers));
    }
}

#[test]
fn a_refusal_says_why_and_drops_the_answers() {
    let head = ReplyHead { outcome: Outcome::NotLeader, leader: NodeId(3), ..HEAD };
    let mut builder = ReplyBuilder::new();
    builder.push(ANSWER, Some(b"value"));
    let long = "ü".repeat(2_000);
    for (detail, read) in [(None, ""), (Some("why"), "why"), (Some(&*long), &long[..1024])] {
        let buffer = encoded(|out| builder.encode_refusal(&head, detail, out));
        let frame = sole_frame(&buffer);
        let reply = parse_reply(&frame).expect("a reply");
        assert_eq!((reply.head, reply.detail, reply.is_empty()), (head, read, true));
    }
}

#[test]
fn values_that_do_not_fit_a_reply_are_asked_for_again() {
    let mut builder = ReplyBuilder::new();
    let value = vec![7; VALUE_MAX];
    for _ in 0..5 {
        builder.push(ANSWER, Some(&value));
    }
    builder.push(ANSWER, Some(b"small enough"));
    while builder.len() < FRAME_COMMANDS_MAX {
        builder.push(ANSWER, None);
    }
    let buffer = encoded(|out| builder.encode(&HEAD, out));
    let frame = sole_frame(&buffer);
    assert!(frame.body.len() <= CLIENT_FRAME_BODY_MAX, "{}", frame.body.len());
    let reply = parse_reply(&frame).expect("a reply");
    let lengths: Vec<usize> = reply.answers().map(|(_, value)| value.len()).take(6).collect();
    assert_eq!(lengths, [VALUE_MAX, VALUE_MAX, VALUE_MAX, 0, 0, 12]);
    let full = reply.answers().filter(|(answer, _)| answer.status == Status::ReplyFull).count();
    assert_eq!(full, 2);
}

#[test]
fn a_reply_whose_lengths_lie_is_refused() {
    let mut encoder = FrameEncoder::default();
    let body = encoder.body();
    let answers = [ANSWER.to_schema(4), ANSWER.to_schema(1 << 20)];
    let args = schema::ReplyArgs {
        answers: Some(body.create_vector(&answers)),
        data: Some(body.create_vector(b"four")),
        ..Default::default()
    };
    let root = schema::Reply::create(body, &args);
    let buffer = encoded(|out| encoder.finish(FrameKind::Reply, root, out));
    assert_eq!(
        parse_reply(&sole_frame(&buffer)).expect_err("forged"),
        WireError::DataLength { claimed: 4 + (1 << 20), present: 4 }
    );
}

#[test]
fn every_number_is_kept() {
    for number in 0..=u8::MAX {
        assert_eq!(OperationKind::from_number(number).number(), number);
        assert_eq!(Outcome::from_number(number).number(), number);
        assert_eq!(Status::from_number(number).number(), number);
    }
    assert_eq!(Outcome::from_number(200), Outcome::Other(200));
    assert_eq!(Status::from_number(10), Status::ReplyFull);
    assert_eq!(OperationKind::from_number(7), OperationKind::Unknown(7));
}
