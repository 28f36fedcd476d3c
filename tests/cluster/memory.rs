//! The bound on memory: writes past it are refused, reads and deletes go on, and deletes make room. What
//! connections hold is bounded, too, and who holds most pays for it.

use sunstar::base::GroupId;
use sunstar::client::blocking::Client;
use sunstar::client::{ClientError, Options, Rejection};
use sunstar::wire::client::Outcome;
use sunstar::wire::frame::{FrameKind, append_frame};

use crate::support::{Cluster, RawConnection, Shape, key_of, wait_until};

/// Of which about a hundred fill the memory that these nodes are given.
static VALUE: [u8; 300 << 10] = [b'v'; 300 << 10];

#[test]
fn writes_past_the_bound_are_refused_until_deletes_make_room() {
    let cluster = Cluster::start_with(Shape { nodes: 3, smp: 1 }, &["--memory=32MiB"]);
    let mut client = Client::connect(&cluster.targets(), Options::default()).expect("it serves");
    let written = (0..1_000)
        .find(|number| match client.put(key(*number).as_bytes(), &VALUE) {
            Ok(_) => false,
            Err(ClientError::Rejected(Rejection::MemoryFull)) => true,
            Err(error) => panic!("{error}"),
        })
        .expect("the memory fills up");
    assert!(written > 32, "refused after {written} values of 300 KiB");
    for node in cluster.all() {
        let core = &node.status(false).expect("it runs").cores[0];
        assert_eq!(core.memory_max, 32 << 20);
        assert!(core.state_bytes <= core.memory_max + (2 << 20), "{core:?}");
        assert!(!core.disk_full, "{core:?}");
    }

    let found = client.get(key(0).as_bytes()).expect("reads go on").value;
    assert_eq!(found.as_deref(), Some(&VALUE[..]));
    let refused = client.put(key(1).as_bytes(), &VALUE).expect_err("there is no memory for it");
    assert!(refused.to_string().contains("--memory"), "the remedy is named: {refused}");
    // Another client opens a session of its own for it.
    let mut other = Client::connect(&cluster.targets(), Options::default()).expect("it serves");
    for number in 0..written / 2 {
        other.delete(key(number).as_bytes()).expect("deletes go on");
    }
    // What a follower has not applied yet does not matter: the leader has.
    client.put(key(0).as_bytes(), b"room again").expect("a write below the bound");
    let found = client.get(key(0).as_bytes()).expect("a read").value;
    assert_eq!(found.as_deref(), Some(&b"room again"[..]));
    wait_until("all nodes hold less than they may", || {
        cluster.all().iter().all(|node| {
            let core = &node.status(false).expect("it runs").cores[0];
            core.state_bytes < core.memory_max
        })
    });
    cluster.assert_replicas_agree();
}

/// Frames that never end and replies that nobody takes, from many connections: together some ten times
/// what the node may hold of them.
#[test]
fn many_connections_hold_no_more_than_one_bound() {
    const GREEDY: usize = 96;
    const MIB: usize = 1 << 20;
    static LARGE: [u8; MIB] = [b'v'; MIB];
    let mut cluster = Cluster::start_with(Shape { nodes: 1, smp: 1 }, &["--memory=32MiB"]);
    let address = cluster.node(0).plan().client;
    let mut client = Client::connect(&cluster.targets(), Options::default()).expect("it serves");
    let (mut asking, _) = RawConnection::greet(address, GroupId(1));
    let key = key_of(&asking.map(), GroupId(1));
    client.put(&key, &LARGE).expect("there is memory for it");
    let before = cluster.node(0).resident_bytes();

    let mut frame = Vec::new();
    append_frame(FrameKind::Write, &vec![0; 4 * MIB - 1], &mut frame);
    let mut greedy = Vec::new();
    for number in 0..GREEDY {
        let (mut connection, _) = RawConnection::greet(address, GroupId(1));
        // It may be closed while it sends.
        if number % 2 == 0 {
            let _ = connection.send(&frame[..3 * MIB]);
        } else {
            for request in 0..8 {
                let _ = connection.try_send_read(request, GroupId(1), &key);
            }
        }
        greedy.push(connection);
        let core = &cluster.node(0).status(false).expect("it runs").cores[0];
        assert!(core.client_buffers_bytes <= core.client_buffers_max, "{core:?}");
    }
    let core = &cluster.node(0).status(false).expect("it runs").cores[0];
    assert_eq!(core.client_buffers_max, 32 << 20);
    assert!(core.client_buffers_bytes > core.client_buffers_max / 4, "it was not tried: {core:?}");
    assert!(cluster.node(0).log().contains("more than any other"), "the log names who was closed");
    let grown = cluster.node(0).resident_bytes().saturating_sub(before);
    // Twice what buffers may hold, since they grow by doubling; a turn's replies; and what the allocator
    // keeps of what was freed (`io/memory.rs`), for its next use, in pieces: less than a third of what
    // was tried.
    let grown_max = (2 * 32 + 16 + 64 + 16) * MIB;
    assert!(grown < grown_max as u64, "{} MiB more than before", grown >> 20);

    let read = asking.read(1, GroupId(1), &key);
    assert_eq!((read.outcome, read.value.len()), (Outcome::Ok, MIB), "who holds little is served");
    client.put(&key, b"and so is a write").expect("it serves");
    drop(greedy);
    wait_until("nothing is held any more", || {
        cluster.node(0).status(false).expect("it runs").cores[0].client_buffers_bytes == 0
    });
}

fn key(number: usize) -> String {
    format!("{{k}}{number}")
}
