//! Batches that happen all or not at all, through whole reactors.

use sunstar::base::{GroupId, Sequence};
use sunstar::wire::client::{
    Answer, EXPECT_ABSENT, Operation, OperationKind, RequestBuilder, Status,
};

use super::client::{Client, key_of};
use super::cluster::Cluster;

use OperationKind::{Append, Compare, Delete, Increment, Put};

const G1: GroupId = GroupId(1);
const G2: GroupId = GroupId(2);

/// One command: kind, key, value; a compare expects the value, or nothing where that is empty.
type Part<'a> = (OperationKind, &'a str, &'a [u8]);

/// The parts as an atomic batch of the next sequences, with any request number.
fn batch(client: &mut Client, parts: &[Part<'_>]) -> impl Fn(u64, &mut Vec<u8>) + use<> {
    let first = client.sequence + 1;
    client.sequence += parts.len() as u64;
    let owned = |&(kind, key, value): &Part<'_>| (kind, key.to_owned(), value.to_vec());
    let parts: Vec<_> = parts.iter().map(owned).collect();
    let (group, session) = (client.group, client.session);
    move |request, out| {
        let mut builder = RequestBuilder::new();
        for (sequence, (kind, key, bytes)) in (first..).map(Sequence).zip(&parts) {
            let (key, bytes) = (key.as_bytes(), bytes.as_slice());
            let compares = *kind == Compare;
            let flags = if compares && bytes.is_empty() { EXPECT_ABSENT } else { 0 };
            let (value, expected) = if compares { (&[][..], bytes) } else { (bytes, &[][..]) };
            builder.push(&Operation { sequence, kind: *kind, flags, key, value, expected });
        }
        builder.make_atomic();
        builder.encode_write(request, group, session, Sequence(first), out);
    }
}

/// Has the batch applied, and applied again by another leader: the rows are the same.
fn rows(client: &mut Client, cluster: &mut Cluster, parts: &[Part<'_>]) -> Vec<Answer> {
    let frame = batch(client, parts);
    let mut told = Vec::new();
    for _ in 0..2 {
        let reply = client.until_applied(cluster, &frame);
        told.push(reply.answers.into_iter().map(|(row, _)| row).collect::<Vec<_>>());
        let leader = cluster.leader(client.group).expect("it answered");
        cluster.crash(leader);
        cluster
            .run_until(10_000, |cluster| cluster.leader(G1).is_some_and(|other| other != leader));
        cluster.start(leader);
    }
    assert_eq!(told[0], told[1]);
    told.remove(0)
}

#[test]
fn a_batch_happens_whole_or_not_at_all_and_a_retry_says_the_same() {
    let mut cluster = Cluster::new(3, 2, 256 << 10, 5);
    cluster.run_until(2_000, |cluster| cluster.leader(G1).is_some());
    let mut client = Client::open(&mut cluster, 1, G1);
    let tag = key_of(&cluster, G1, "tag");
    let [text, sum, absent] = ["text", "sum", "absent"].map(|name| format!("{{{tag}}}{name}"));
    let statuses = |rows: &[Answer]| rows.iter().map(|row| row.status).collect::<Vec<_>>();
    let one = 1_i64.to_le_bytes();

    let done = rows(
        &mut client,
        &mut cluster,
        &[
            (Compare, &sum, b""),
            (Increment, &sum, &one),
            (Append, &text, b"ab"),
            (Compare, &sum, b"1"),
            (Delete, &absent, b""),
        ],
    );
    assert_eq!(statuses(&done), [[Status::Ok; 4].as_slice(), &[Status::NotFound]].concat());
    assert_eq!(done.iter().map(|row| row.number).collect::<Vec<_>>(), [0, 1, 2, 0, 0]);
    for pair in done.windows(2) {
        assert_eq!((pair[1].index, pair[1].position), (pair[0].index, pair[0].position + 1));
    }
    let failed = rows(
        &mut client,
        &mut cluster,
        &[
            (Put, &text, b"cd"),
            (Increment, &sum, &one),
            (Compare, &text, b"ab"),
            (Delete, &sum, b""),
        ],
    );
    let expected = [Status::Aborted, Status::Aborted, Status::CompareFailed, Status::Aborted];
    assert_eq!(statuses(&failed), expected);
    assert_eq!(client.get(&mut cluster, &sum), Some(b"1".to_vec()));
    assert_eq!(client.get(&mut cluster, &text), Some(b"ab".to_vec()));

    let elsewhere = key_of(&cluster, G2, "other");
    let elsewhere = [(Put, &elsewhere[..], &b"v"[..]), (Delete, &elsewhere, b"")];
    let refused = rows(&mut client, &mut cluster, &elsewhere);
    assert_eq!(statuses(&refused), [Status::WrongSlot; 2]);
    assert!(refused.iter().all(|row| row.number == 2), "ask group 2: {refused:?}");
    cluster.run_until(10_000, |cluster| cluster.is_settled());
    cluster.assert_replicas_agree();
}
