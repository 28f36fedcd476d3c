use expect_test::expect_file;

use super::*;
use crate::base::limits::{HANDSHAKE_BODY_MAX, NODES_MAX};
use crate::base::{AlignedBuf, hex_dump};
use crate::wire::frame::PROTOCOL_VERSION;
use crate::wire::tests::{encoded, sole_frame};

#[test]
fn hellos_arrive_as_they_were_sent() {
    let mut random = fastrand::Rng::with_seed(6);
    for _ in 0..100 {
        let hello = PeerHello {
            protocol: PROTOCOL_VERSION,
            cluster: ClusterId(random.u64(..)),
            node: NodeId(random.u64(..)),
            incarnation: Incarnation(random.u64(..)),
            core: CoreId(random.u16(..)),
            wanted_core: CoreId(random.u16(..)),
            smp: random.u16(..),
            wanted_node: NodeId(random.u64(..)),
            purpose: if random.bool() { PeerPurpose::Link } else { PeerPurpose::Detector },
        };
        let buffer = encoded(|out| hello.encode(out));
        assert_eq!(PeerHello::parse(&sole_frame(&buffer)), Ok(hello.clone()));

        let PeerHello { protocol, cluster, node, incarnation, core, smp, .. } = hello;
        let refusal = random.bool().then(|| "another cluster, «ü»".to_owned());
        let reply = PeerHelloReply { protocol, cluster, node, incarnation, smp, refusal };
        let buffer = encoded(|out| reply.encode(out));
        assert_eq!(PeerHelloReply::parse(&sole_frame(&buffer)), Ok(reply.clone()));

        let reply = ClientHelloReply { protocol, cluster, node, core, smp, refusal: reply.refusal };
        let buffer = encoded(|out| reply.encode(out));
        assert_eq!(ClientHelloReply::parse(&sole_frame(&buffer)), Ok(reply));

        let hello = ClientHello { protocol, cluster, group: GroupId(random.u32(..)) };
        let buffer = encoded(|out| hello.encode(out));
        assert_eq!(ClientHello::parse(&sole_frame(&buffer)), Ok(hello));
    }
}

#[test]
fn a_ping_and_its_pong_differ_in_kind_alone() {
    let (node, incarnation) = (NodeId(2), Incarnation(u64::MAX));
    let replaced = vec![Replaced { node, incarnation, generation: 1 }; NODES_MAX];
    let ping = Ping { number: u64::MAX, replaced };
    let question = encoded(|out| ping.encode(out));
    let answer = encoded(|out| ping.encode_pong(out));
    assert_eq!(sole_frame(&question).kind, FrameKind::Ping);
    assert_eq!(sole_frame(&answer).kind, FrameKind::Pong);
    assert!(question.len() < HANDSHAKE_BODY_MAX, "however many were replaced");
    assert_eq!(Ping::parse(&sole_frame(&question)).as_ref(), Ok(&ping));
    assert_eq!(Ping::parse(&sole_frame(&answer)), Ok(ping));
}

#[test]
fn an_unknown_purpose_is_refused() {
    let mut encoder = FrameEncoder::default();
    let args = schema::PeerHelloArgs { purpose: 2, ..Default::default() };
    let root = schema::PeerHello::create(encoder.body(), &args);
    let buffer = encoded(|out| encoder.finish(FrameKind::PeerHello, root, out));
    assert_eq!(PeerHello::parse(&sole_frame(&buffer)), Err(WireError::UnknownPurpose(2)));
}

/// A change of these bytes keeps old and new nodes, and old clients, apart.
#[test]
fn the_bytes_are_those_written_down() {
    let cluster = ClusterId(0x0102_0304_0506_0708);
    let (node, incarnation) = (NodeId(2), Incarnation(0x1112_1314_1516_1718));
    let protocol = PROTOCOL_VERSION;
    let client = ClientHello { protocol, cluster, group: GroupId(5) };
    let refusal = Some("no".to_owned());
    let to_client = ClientHelloReply {
        protocol,
        cluster,
        node,
        core: CoreId(1),
        smp: 4,
        refusal: refusal.clone(),
    };
    let peer = PeerHello {
        protocol,
        cluster,
        node,
        incarnation,
        core: CoreId(1),
        wanted_core: CoreId(3),
        smp: 4,
        wanted_node: NodeId(7),
        purpose: PeerPurpose::Detector,
    };
    let to_peer = PeerHelloReply { protocol, cluster, node, incarnation, smp: 4, refusal };
    let replaced = vec![Replaced { node: NodeId(3), incarnation, generation: 1 }];
    let ping = Ping { number: 9, replaced };
    let frames = [
        encoded(|out| client.encode(out)),
        encoded(|out| to_client.encode(out)),
        encoded(|out| peer.encode(out)),
        encoded(|out| to_peer.encode(out)),
        encoded(|out| ping.encode(out)),
        encoded(|out| ping.encode_pong(out)),
    ];
    let written: Vec<u8> = frames.iter().flat_map(|frame| frame.iter().copied()).collect();
    expect_file!["../../../schema/handshake.hex"].assert_eq(&hex_dump::of(&written));

    let mut rest = hex_dump::bytes(include_str!("../../../schema/handshake.hex"), written.len());
    let mut next = |length: usize| AlignedBuf::copy_of(&rest.drain(..length).collect::<Vec<_>>());
    let [a, b, c, d, ..] = frames.each_ref().map(|frame| next(frame.len()));
    assert_eq!(ClientHello::parse(&sole_frame(&a)), Ok(client));
    assert_eq!(ClientHelloReply::parse(&sole_frame(&b)), Ok(to_client));
    assert_eq!(PeerHello::parse(&sole_frame(&c)), Ok(peer));
    assert_eq!(PeerHelloReply::parse(&sole_frame(&d)), Ok(to_peer));
}
