//! A request that reaches the wrong core or the wrong node is answered correctly all the same.

use sunstar::base::{GroupId, Sequence};
use sunstar::wire::client::{Outcome, Status};

use crate::support::{Cluster, RawConnection, RawReply, Shape, key_of, wait_until};

#[test]
fn any_core_serves_its_node_and_any_node_names_the_leader() {
    let mut cluster = Cluster::start(Shape { nodes: 3, smp: 2 });
    // Leadership may move between looking and asking: then the whole round is repeated.
    wait_until("one round in which no leadership moved", || {
        let leaders = cluster.await_leader_of_each();
        let ids = leaders.keys().map(|id| GroupId(*id));
        let groups: Vec<_> = ids.collect();
        assert_eq!(groups.len(), 6, "nodes × cores");
        cluster.nodes().iter_mut().all(|node| {
            let (plan, leaders) = (node.plan(), &leaders);
            groups.iter().all(|group| {
                // The core of `group`, and the node's other core.
                [*group, GroupId(group.0 + 1)].into_iter().all(|greeted| {
                    let (mut connection, hello) = RawConnection::greet(plan.client, greeted);
                    assert_eq!(hello.node.0, plan.id);
                    assert_eq!(u32::from(hello.core.0), greeted.0 % 2, "the core wanted");
                    let reply = connection.open_session(77, *group);
                    is_as_leaders_say(&reply, plan.id, leaders[&group.0])
                })
            })
        })
    });
}

fn is_as_leaders_say(reply: &RawReply, node: u64, leader: u64) -> bool {
    assert_eq!(reply.request, 77, "{reply:?}");
    match reply.outcome {
        Outcome::Ok => {
            assert_ne!(reply.session.0, 0, "{reply:?}");
            node == leader
        }
        Outcome::NotLeader => reply.leader == leader && node != leader,
        Outcome::Superseded | Outcome::Unknown => false,
        _ => panic!("{reply:?}"),
    }
}

#[test]
fn a_command_through_the_wrong_core_is_executed_once() {
    let mut cluster = Cluster::start(Shape { nodes: 1, smp: 2 });
    let client = cluster.node(0).plan().client;
    let (mut connection, _) = RawConnection::greet(client, GroupId(1));
    let map = connection.map();
    assert_eq!(map.groups.len(), 2);
    for group in [GroupId(1), GroupId(2)] {
        let key = key_of(&map, group);
        let session = connection.open_session(1, group).session;
        for request in 2..5 {
            // The same sequence again and again: a client that lost the replies.
            let reply = connection.append(request, group, session, Sequence(1), &key, b"once");
            assert_eq!((reply.outcome, reply.status), (Outcome::Ok, Some(Status::Ok)));
            assert_eq!((reply.request, reply.number), (request, 4));
        }
        assert_eq!(connection.read(9, group, &key).value, b"once");
    }
}

#[test]
fn what_a_node_does_not_own_it_refuses_by_name() {
    let mut cluster = Cluster::start(Shape { nodes: 1, smp: 2 });
    let client = cluster.node(0).plan().client;
    let (mut connection, _) = RawConnection::greet(client, GroupId(1));
    let map = connection.map();
    let key = key_of(&map, GroupId(2));
    assert_eq!(connection.open_session(1, GroupId(999)).outcome, Outcome::WrongGroup);
    assert_eq!(connection.read(2, GroupId(1), &key).status, Some(Status::WrongSlot));
    let reply = connection.read(3, GroupId(2), &key);
    assert_eq!((reply.outcome, reply.status), (Outcome::Ok, Some(Status::NotFound)));
}
