use super::*;
use crate::base::limits::{HANDSHAKE_BODY_MAX, NODES_MAX};
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
