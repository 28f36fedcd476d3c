//! The bound on memory: writes past it are refused, reads and deletes go on, and deletes make room.

use sunstar::client::blocking::Client;
use sunstar::client::{ClientError, Options, Rejection};

use crate::support::{Cluster, Shape, wait_until};

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

fn key(number: usize) -> String {
    format!("{{k}}{number}")
}
