use super::*;
use crate::base::GroupId;
use crate::placement::NodeInfo;

fn map() -> ShardMap {
    let node = |id| NodeInfo {
        id: NodeId(id),
        client_address: format!("host{id}:1"),
        peer_address: format!("host{id}:2"),
    };
    ShardMap::initial(vec![node(1), node(2), node(3)], 6).expect("three nodes")
}

fn with_local(check: impl Fn(&Local<'_>)) {
    let shard_map = map();
    check(&Local {
        cluster: ClusterId(7),
        node: NodeId(1),
        incarnation: Incarnation(70),
        smp: 2,
        shard_map: &shard_map,
    });
}

fn hello() -> PeerHello {
    PeerHello {
        protocol: PROTOCOL_VERSION,
        cluster: ClusterId(7),
        node: NodeId(2),
        incarnation: Incarnation(80),
        core: CoreId(1),
        wanted_core: CoreId(1),
        smp: 2,
        wanted_node: NodeId(1),
        purpose: PeerPurpose::Link,
    }
}

fn reply() -> PeerHelloReply {
    PeerHelloReply {
        protocol: PROTOCOL_VERSION,
        cluster: ClusterId(7),
        node: NodeId(2),
        incarnation: Incarnation(80),
        smp: 2,
        refusal: None,
    }
}

#[test]
fn a_fitting_peer_is_admitted() {
    with_local(|local| assert_eq!(local.judge_peer(&hello()), Ok(())));
}

type Change = fn(&mut PeerHello);

#[test]
fn every_misfit_of_a_peer_is_refused_by_its_name() {
    let cases: [(Change, Refusal); 7] = [
        (|hello| hello.protocol = 9, Refusal::Protocol(9)),
        (|hello| hello.cluster = ClusterId(8), Refusal::Cluster { theirs: 8, ours: 7 }),
        (|hello| hello.cluster = ClusterId(0), Refusal::Cluster { theirs: 0, ours: 7 }),
        (
            |hello| hello.wanted_node = NodeId(3),
            Refusal::WrongNode { wanted: NodeId(3), actual: NodeId(1) },
        ),
        (|hello| hello.node = NodeId(1), Refusal::Myself(NodeId(1))),
        (|hello| hello.node = NodeId(9), Refusal::Unknown { node: NodeId(9), epoch: 1 }),
        (|hello| hello.wanted_core = CoreId(2), Refusal::NoSuchCore { wanted: CoreId(2), smp: 2 }),
    ];
    with_local(|local| {
        for (change, refusal) in cases {
            let mut hello = hello();
            change(&mut hello);
            assert_eq!(local.judge_peer(&hello), Err(refusal));
        }
        let detector = PeerHello { purpose: PeerPurpose::Detector, ..hello() };
        assert_eq!(local.judge_peer(&detector), Err(Refusal::DetectorCore(CoreId(1))));
    });
}

#[test]
fn an_answer_must_come_from_the_node_that_was_called() {
    with_local(|local| {
        assert_eq!(local.judge_answer(NodeId(2), &reply()), Ok(()));
        assert_eq!(
            local.judge_answer(NodeId(3), &reply()),
            Err(Refusal::WrongNode { wanted: NodeId(3), actual: NodeId(2) })
        );
        let myself = PeerHelloReply { node: NodeId(1), ..reply() };
        assert_eq!(local.judge_answer(NodeId(2), &myself), Err(Refusal::Myself(NodeId(1))));
    });
}

#[test]
fn a_client_may_not_know_its_cluster_but_not_mistake_it() {
    let hello = |cluster| ClientHello {
        protocol: PROTOCOL_VERSION,
        cluster: ClusterId(cluster),
        group: GroupId(1),
    };
    with_local(|local| {
        assert_eq!(local.judge_client(&hello(0)), Ok(()));
        assert_eq!(local.judge_client(&hello(7)), Ok(()));
        assert_eq!(local.judge_client(&hello(8)), Err(Refusal::Cluster { theirs: 8, ours: 7 }));
    });
}
