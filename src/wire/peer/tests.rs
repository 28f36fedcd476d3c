use super::*;
use crate::base::limits::{CLIENT_FRAME_BODY_MAX, ENTRY_BYTES_MAX, PEER_FRAME_BODY_MAX};
use crate::wire::WireError;
use crate::wire::frame::{FrameEncoder, FrameKind};
use crate::wire::generated::peer as schema;
use crate::wire::tests::{encoded, sample_bodies, sole_frame};

const HEAD: AppendHead =
    AppendHead { previous_index: Index(3), previous_term: Term(1), commit_index: Index(2) };

fn entry(payload: &[u8]) -> PeerEntry<'_> {
    PeerEntry { term: Term(2), timestamp: 3, kind: 0, payload }
}

#[test]
fn every_message_arrives_as_it_was_sent() {
    let mut builder = PeerBatchBuilder::new();
    for round in 0..3 {
        for (position, body) in sample_bodies().iter().enumerate() {
            let group = u32::try_from(position).expect("few");
            builder.push(GroupId(group), Term(round), body);
        }
        assert_eq!(builder.len(), sample_bodies().len());
        let buffer = encoded(|out| builder.finish(out));
        assert!(builder.is_empty());
        let frame = sole_frame(&buffer);
        let batch = parse_peer_batch(&frame).expect("a batch");
        assert_eq!(batch.len(), sample_bodies().len());
        for ((position, sent), message) in sample_bodies().iter().enumerate().zip(batch.messages())
        {
            assert_eq!(message.group.0 as usize, position);
            assert_eq!(message.term, Term(round));
            assert_eq!(format!("{:?}", message.body), format!("{sent:?}"));
        }
    }
}

#[test]
fn entries_arrive_as_they_were_sent() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut builder = PeerBatchBuilder::new();
    for _ in 0..200 {
        let appends: Vec<Vec<(u64, u8, Vec<u8>)>> = (0..random.usize(1..10))
            .map(|_| {
                (0..random.usize(..10))
                    .map(|_| {
                        let payload = (0..random.usize(..300)).map(|_| random.u8(..)).collect();
                        (random.u64(..), random.u8(..), payload)
                    })
                    .collect()
            })
            .collect();
        let entry = |(number, kind, payload): &(u64, u8, Vec<u8>)| PeerEntry {
            term: Term(number ^ 1),
            timestamp: *number,
            kind: *kind,
            payload: payload.clone().leak(),
        };
        for append in &appends {
            builder.push_append(GroupId(1), Term(9), HEAD, append.iter().map(entry));
        }
        let buffer = encoded(|out| builder.finish(out));
        let frame = sole_frame(&buffer);
        let batch = parse_peer_batch(&frame).expect("a batch");
        assert_eq!(batch.len(), appends.len());
        for (message, sent) in batch.messages().zip(&appends) {
            // A view can be pushed again as it is.
            builder.push(message.group, message.term, &message.body);
            let PeerBody::Append { previous_index, previous_term, commit_index, entries } =
                message.body
            else {
                panic!("no append")
            };
            assert_eq!(AppendHead { previous_index, previous_term, commit_index }, HEAD);
            assert_eq!(entries.len(), sent.len());
            assert!(entries.eq(sent.iter().map(entry)));
        }
        assert_eq!(encoded(|out| builder.finish(out)), buffer);
    }
}

#[test]
fn nothing_said_is_no_frame() {
    assert!(encoded(|out| PeerBatchBuilder::new().finish(out)).is_empty());
}

/// The verifier's bounds must not refuse what is small and honest: thousands of messages and entries.
#[test]
fn many_small_messages_and_entries_pass() {
    let mut builder = PeerBatchBuilder::new();
    for group in 0..20_000 {
        builder.push(GroupId(group), Term(0), &PeerBody::TimeoutNow);
        let response = PeerBody::AppendResponse { match_index: Index(1), provisional: false };
        builder.push(GroupId(0), Term(0), &response);
        builder.push_append(GroupId(1), Term(1), HEAD, [entry(b""); 4].into_iter());
    }
    let buffer = encoded(|out| builder.finish(out));
    let frame = sole_frame(&buffer);
    assert_eq!(parse_peer_batch(&frame).expect("a batch").len(), 60_000);
    let nothing = PeerEntry { term: Term(0), timestamp: 0, kind: 0, payload: &[] };
    builder.push_append(GroupId(0), Term(0), HEAD, std::iter::repeat_n(nothing, 100_000));
    let buffer = encoded(|out| builder.finish(out));
    assert!(parse_peer_batch(&sole_frame(&buffer)).is_ok());
}

#[test]
fn what_fits_is_accepted_to_the_last_byte() {
    let mut builder = PeerBatchBuilder::new();
    let largest = vec![7; ENTRY_BYTES_MAX + CLIENT_FRAME_BODY_MAX];
    let mut count = 0;
    while builder.fits(1, largest.len()) {
        builder.push_append(GroupId(1), Term(1), HEAD, std::iter::once(entry(&largest)));
        count += 1;
    }
    assert_eq!(count, 3);
    while builder.fits(1, 0) {
        builder.push_append(GroupId(1), Term(1), HEAD, std::iter::once(entry(b"")));
    }
    let estimate = builder.len_bytes();
    let buffer = encoded(|out| builder.finish(out));
    let frame = sole_frame(&buffer);
    assert!(frame.body.len() <= estimate, "{} > {estimate}", frame.body.len());
    assert!(frame.body.len() > PEER_FRAME_BODY_MAX - 1_000);
    assert!(parse_peer_batch(&frame).is_ok());
}

fn forged(entries: usize, payload: &[u8]) -> crate::base::AlignedBuf {
    let mut encoder = FrameEncoder::default();
    let payload = Some(encoder.bytes(payload));
    let body = encoder.body();
    let args = schema::EntryArgs { payload, ..Default::default() };
    let entries: Vec<_> = (0..entries).map(|_| schema::Entry::create(body, &args)).collect();
    let entries = Some(body.create_vector(&entries));
    let append =
        schema::Append::create(body, &schema::AppendArgs { entries, ..Default::default() });
    let args = schema::MessageArgs {
        body_type: schema::Body::Append,
        body: Some(append.as_union_value()),
        ..Default::default()
    };
    let messages = [schema::Message::create(body, &args)];
    let messages = Some(body.create_vector(&messages));
    let root = schema::PeerBatch::create(body, &schema::PeerBatchArgs { messages });
    encoded(|out| encoder.finish(FrameKind::PeerBatch, root, out))
}

#[test]
fn entries_that_share_a_payload_are_refused() {
    assert!(parse_peer_batch(&sole_frame(&forged(1, &[1; 10_000]))).is_ok());
    let error = parse_peer_batch(&sole_frame(&forged(3, &[1; 10_000]))).map(|_| ());
    assert!(matches!(error, Err(WireError::DataLength { claimed: 30_000, .. })), "{error:?}");
    let error = parse_peer_batch(&sole_frame(&forged(1_000, &[1; 10_000]))).map(|_| ());
    assert!(matches!(error, Err(WireError::Structure(_))), "{error:?}");
}

#[test]
fn a_message_of_a_newer_kind_is_passed_on_as_unknown() {
    let mut encoder = FrameEncoder::default();
    let body = encoder.body();
    let newer = schema::TimeoutNow::create(body, &schema::TimeoutNowArgs {}).as_union_value();
    let args = schema::MessageArgs {
        group: 4,
        body_type: schema::Body(99),
        body: Some(newer),
        ..Default::default()
    };
    let messages = [schema::Message::create(body, &args)];
    let messages = Some(body.create_vector(&messages));
    let root = schema::PeerBatch::create(body, &schema::PeerBatchArgs { messages });
    let buffer = encoded(|out| encoder.finish(FrameKind::PeerBatch, root, out));
    let frame = sole_frame(&buffer);
    let message = parse_peer_batch(&frame).expect("a batch").messages().next();
    let message = message.expect("one message");
    assert!(matches!(message.body, PeerBody::Unknown { kind: 99 }), "{message:?}");
}
