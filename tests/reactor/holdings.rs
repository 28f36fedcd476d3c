//! What a core holds is bounded: more is refused, or waits.

use sunstar::base::{ConnectionId, GroupId, NodeId};
use sunstar::wire::client::{OperationKind, Outcome, RequestBuilder, parse_reply};
use sunstar::wire::frame::scan_trusted;

use super::client::{Client, key_of};
use super::cluster::{Cluster, for_each_frame};

const G1: GroupId = GroupId(1);
const G2: GroupId = GroupId(2);
const MIB: usize = 1 << 20;
static VALUE: [u8; MIB] = [7; MIB];

fn started(nodes: u64, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(nodes, 2, 8 * MIB, seed);
    cluster.run_until(2_000, is_led);
    cluster
}

fn is_led(cluster: &mut Cluster) -> bool {
    [G1, G2].iter().all(|group| cluster.leader(*group).is_some()) && cluster.is_settled()
}

/// Outcomes on a connection, by request.
fn outcomes(bytes: &[u8]) -> Vec<(u64, Outcome)> {
    let mut outcomes = Vec::new();
    for_each_frame(bytes, |frame| {
        let frame = scan_trusted(frame).expect("a whole frame");
        let head = parse_reply(&frame).expect("a reply").head;
        outcomes.push((head.request, head.outcome));
    });
    outcomes
}

fn reads(key: &str, count: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for request in 1..=count {
        let mut builder = RequestBuilder::new();
        builder.push_get(key.as_bytes());
        builder.encode_read(request, G1, &mut bytes);
    }
    bytes
}

/// A few bytes can ask for very many.
#[test]
fn large_values_are_answered_over_several_turns() {
    let mut cluster = started(3, 1);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    client.write(&mut cluster, OperationKind::Put, &key, &VALUE);
    let leader = cluster.leader(G1).expect("it wrote just now");
    let (asked, connection) = (100, ConnectionId(99));
    cluster.send(leader, connection, reads(&key, asked));
    let mut answers = Vec::new();
    let mut turns = 0;
    for _ in 0..1_000 {
        cluster.round();
        let Some(bytes) = cluster.replies.remove(&connection) else { continue };
        assert!(bytes.len() < 18 * MIB, "one turn answers with {} bytes", bytes.len());
        turns += 1;
        answers.extend(outcomes(&bytes));
    }
    let expected: Vec<_> = (1..=asked).map(|request| (request, Outcome::Ok)).collect();
    assert_eq!(answers, expected, "each is answered, in order");
    assert!(turns >= 6, "{turns} turns for 100 MiB");
    assert_eq!(cluster.status(leader).under_way_bytes, 0);
}

/// Bytes on their way are counted over all groups of the core.
#[test]
fn what_is_under_way_is_bounded() {
    let mut cluster = started(1, 2);
    let mut clients = [G1, G2].map(|group| Client::open(&mut cluster, u64::from(group.0), group));
    cluster.memory_max = 24 * MIB as u64;
    cluster.restart_all();
    cluster.run_until(5_000, is_led);
    let one = NodeId(1);
    assert_eq!(cluster.status(one).under_way_max, 16 * MIB as u64);
    // No write becomes durable, so that nothing ends.
    cluster.held.insert(one);
    let keys = [G1, G2].map(|group| key_of(&cluster, group, "k"));
    let mut connections = Vec::new();
    for number in 0..40 {
        let client = &mut clients[number % 2];
        client.sequence += 1;
        let frame = client.frame(OperationKind::Put, &keys[number % 2], &VALUE);
        connections.push(client.send(&mut cluster, one, &frame));
        cluster.round();
        let status = cluster.status(one);
        assert!(status.under_way_bytes <= status.under_way_max, "{status:?}");
    }
    let replies = connections.iter().filter_map(|connection| cluster.replies.remove(connection));
    let refused: Vec<_> = replies.map(|bytes| outcomes(&bytes)[0].1).collect();
    assert!((24..=30).contains(&refused.len()), "{} of 40 MiB refused", refused.len());
    assert!(refused.iter().all(|outcome| *outcome == Outcome::Overloaded), "{refused:?}");
    cluster.held.clear();
    cluster.run_until(10_000, |cluster| {
        cluster.is_settled() && cluster.status(one).under_way_bytes == 0
    });
}
