//! Bytes that no friend would send, on every port: the connection is closed, the log says why, memory
//! stays, the server serves.

use std::net::SocketAddr;

use sunstar::base::checksum::crc32c;
use sunstar::base::{ClusterId, CoreId, GroupId, Incarnation, NodeId};
use sunstar::client::Options;
use sunstar::client::blocking::Client;
use sunstar::wire::client::encode_open_session;
use sunstar::wire::frame::{FrameKind, PROTOCOL_VERSION};
use sunstar::wire::handshake::{ClientHello, PeerHello, PeerPurpose};

use crate::support::{Cluster, Node, RawConnection, Shape, wait_until};

/// What one connection sends.
#[derive(Debug)]
struct Attack {
    name: &'static str,
    /// A proper greeting before it, or nothing.
    greeting: Vec<u8>,
    bytes: Vec<u8>,
    /// Whether it then says that nothing more will come. Otherwise the server must close by itself.
    finishes: bool,
}

#[test]
fn the_client_port_takes_no_harm() {
    let mut cluster = Cluster::start(Shape { nodes: 1, smp: 2 });
    let address = cluster.node(0).plan().client;
    let mut attacks = on_any_port(&client_hello(PROTOCOL_VERSION, ClusterId(0)));
    attacks.extend([
        attack("another protocol version", client_hello(999, ClusterId(0))),
        attack("another cluster", client_hello(PROTOCOL_VERSION, ClusterId(0xbad))),
        attack("a request before the greeting", open_session()),
    ]);
    withstand(&mut cluster, address, &attacks);
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let mut cluster = Cluster::start(Shape { nodes: 1, smp: 1 });
    let plan = cluster.node(0).plan();
    let mut silent = [RawConnection::open(plan.client), RawConnection::open(plan.peer)];
    for connection in &mut silent {
        connection.assert_closed();
        await_reason(cluster.node(0), "silence", connection.local_address());
    }
}

#[test]
fn the_peer_port_takes_no_harm() {
    let mut cluster = Cluster::start(Shape { nodes: 1, smp: 2 });
    let address = cluster.node(0).plan().peer;
    let stranger = PeerHello {
        protocol: PROTOCOL_VERSION,
        cluster: ClusterId(0xbad),
        node: NodeId(2),
        incarnation: Incarnation(7),
        core: CoreId(0),
        wanted_core: CoreId(0),
        smp: 1,
        wanted_node: NodeId(1),
        purpose: PeerPurpose::Link,
    };
    let mut attacks = on_any_port(&peer_hello(&stranger));
    attacks.extend([
        attack("a node of another cluster", peer_hello(&stranger)),
        attack(
            "a detector of another cluster",
            peer_hello(&PeerHello { purpose: PeerPurpose::Detector, ..stranger.clone() }),
        ),
        attack("another protocol version", peer_hello(&PeerHello { protocol: 9, ..stranger })),
        attack("a client at the wrong door", client_hello(PROTOCOL_VERSION, ClusterId(0))),
    ]);
    // None of them gets past the greeting.
    for attack in &mut attacks {
        attack.greeting.clear();
    }
    withstand(&mut cluster, address, &attacks);
}

#[test]
fn the_administration_port_takes_no_harm() {
    let mut cluster = Cluster::start(Shape { nodes: 1, smp: 1 });
    let address = cluster.node(0).plan().admin;
    let mut endless = b"GET / HTTP/1.1\r\nx: ".to_vec();
    endless.resize(4 << 20, b'x');
    let attacks = [
        attack("random bytes", random(64 << 10)),
        attack("a header without end", endless),
        half("a frame of ours", open_session()),
        half("half a request", b"GET /sta".to_vec()),
    ];
    withstand(&mut cluster, address, &attacks);
}

/// What is wrong on every port that speaks frames. `greeting` is a proper one there.
fn on_any_port(greeting: &[u8]) -> Vec<Attack> {
    let after = |attack| Attack { greeting: greeting.to_vec(), ..attack };
    let mut damaged = greeting.to_vec();
    *damaged.last_mut().expect("not empty") ^= 0x40;
    vec![
        attack("random bytes", random(64 << 10)),
        attack("another protocol", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        attack("a frame said to be huge", header(FrameKind::Write, 1 << 30)),
        attack("a greeting said to be large", header(FrameKind::ClientHello, 1 << 20)),
        half("half a header", greeting[..9].to_vec()),
        half("half a greeting", greeting[..greeting.len() - 8].to_vec()),
        attack("a damaged greeting", damaged),
        after(attack("random bytes later", random(64 << 10))),
        after(attack("a frame said to be huge later", header(FrameKind::Write, 1 << 30))),
        after(half("half a frame later", header(FrameKind::Write, 1 << 20))),
        after(attack("a write of random bytes", whole_frame(FrameKind::Write, &random(4 << 10)))),
        after(attack("a read of random bytes", whole_frame(FrameKind::Read, &random(4 << 10)))),
        after(attack("what only servers send", whole_frame(FrameKind::Reply, &random(256)))),
        after(attack("a peer's frame", whole_frame(FrameKind::PeerBatch, &random(256)))),
    ]
}

/// Makes all attacks, several times over, and demands that nothing comes of them.
fn withstand(cluster: &mut Cluster, address: SocketAddr, attacks: &[Attack]) {
    assert_serves(cluster);
    strike(address, attacks);
    let resident_before = cluster.node(0).resident_bytes();
    for _ in 0..5 {
        for (name, source) in strike(address, attacks) {
            await_reason(cluster.node(0), name, source);
        }
    }
    let grown = cluster.node(0).resident_bytes().saturating_sub(resident_before);
    assert!(grown < GROWTH_MAX, "grown by {grown} bytes");
    assert!(cluster.node(0).is_running());
    assert_serves(cluster);
}

/// Makes each attack once, waiting until its connection is closed; returns where each came from.
fn strike(address: SocketAddr, attacks: &[Attack]) -> Vec<(&'static str, SocketAddr)> {
    attacks
        .iter()
        .map(|attack| {
            let mut connection = RawConnection::open(address);
            // The server may close while we still send: that is its right.
            let _ = connection.send(&attack.greeting);
            let _ = connection.send(&attack.bytes);
            if attack.finishes {
                connection.finish_sending();
            }
            connection.assert_closed();
            (attack.name, connection.local_address())
        })
        .collect()
}

fn await_reason(node: &Node, name: &str, source: SocketAddr) {
    let source = source.to_string();
    wait_until(&format!("the log says why {source} ({name}) was closed"), || {
        node.log().contains(&source)
    });
}

fn assert_serves(cluster: &Cluster) {
    let mut client = Client::connect(&cluster.targets(), Options::default()).expect("it serves");
    client.put(b"key", b"value").expect("a write");
    assert_eq!(client.get(b"key").expect("a read").value.as_deref(), Some(&b"value"[..]));
}

fn attack(name: &'static str, bytes: Vec<u8>) -> Attack {
    Attack { name, greeting: Vec::new(), bytes, finishes: false }
}

/// Only its end shows that it is wrong.
fn half(name: &'static str, bytes: Vec<u8>) -> Attack {
    Attack { finishes: true, ..attack(name, bytes) }
}

fn client_hello(protocol: u32, cluster: ClusterId) -> Vec<u8> {
    let mut bytes = Vec::new();
    ClientHello { protocol, cluster, group: GroupId(1) }.encode(&mut bytes);
    bytes
}

fn peer_hello(hello: &PeerHello) -> Vec<u8> {
    let mut bytes = Vec::new();
    hello.encode(&mut bytes);
    bytes
}

fn open_session() -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_open_session(1, GroupId(1), &mut bytes);
    bytes
}

fn random(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(length as u64);
    (0..length).map(|_| random.u8(..)).collect()
}

/// A frame that only its body gives away: `schema/README.md` has the header's table.
fn whole_frame(kind: FrameKind, body: &[u8]) -> Vec<u8> {
    assert!(body.len().is_multiple_of(8), "no padding");
    let length = u32::try_from(body.len()).expect("small");
    let mut bytes = sealed(kind, length, crc32c(body));
    bytes.extend_from_slice(body);
    bytes
}

/// A header as it should be, of a body that does not come.
fn header(kind: FrameKind, length: u32) -> Vec<u8> {
    sealed(kind, length, 0)
}

fn sealed(kind: FrameKind, length: u32, body_crc: u32) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend([kind as u8, 1, 0, 0]);
    bytes.extend(body_crc.to_le_bytes());
    bytes.extend(crc32c(&bytes).to_le_bytes());
    bytes
}

/// Far below what any one of the frames announced would take.
const GROWTH_MAX: u64 = 8 << 20;
