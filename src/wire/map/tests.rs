use super::*;
use crate::wire::tests::{encoded, sample_map, sole_frame};

fn through_the_wire(view: &ClusterView) -> Result<(u64, ClusterView), WireError> {
    let buffer = encoded(|out| view.encode(42, out));
    parse_map_reply(&sole_frame(&buffer))
}

#[test]
fn a_map_arrives_as_it_was_sent() {
    for view in [sample_map(), ClusterView::default()] {
        assert_eq!(through_the_wire(&view), Ok((42, view)));
    }
}

#[test]
fn the_largest_map_passes() {
    let mut view = sample_map();
    let (members, slots) = (view.groups[0].members.clone(), 0..SLOT_COUNT);
    view.nodes = (1..=64)
        .map(|id| NodeView { node: NodeId(id), client_address: "[::1]:7000".into(), smp: 256 })
        .collect();
    view.groups = (1..=16_384)
        .map(|id| GroupView { group: GroupId(id), members: members.clone(), leader: NodeId(1) })
        .collect();
    view.slots = slots
        .map(|slot| SlotRun { first: slot, last: slot, group: GroupId(u32::from(slot) + 1) })
        .collect();
    let buffer = encoded(|out| view.encode(42, out));
    let frame = sole_frame(&buffer);
    assert!(frame.body.len() <= crate::base::limits::CLIENT_FRAME_BODY_MAX);
    assert_eq!(parse_map_reply(&frame), Ok((42, view)));
}

#[test]
fn slots_that_do_not_fit_together_are_refused() {
    let run = |first, last, group| SlotRun { first, last, group: GroupId(group) };
    let bad = [
        vec![run(5, 4, 1)],
        vec![run(0, 10, 1), run(10, 20, 2)],
        vec![run(11, 20, 1), run(0, 10, 2)],
        vec![run(0, SLOT_COUNT, 1)],
        vec![run(u16::MAX, u16::MAX, 1)],
        vec![run(0, 10, 3)],
    ];
    for slots in bad {
        let SlotRun { first, last, .. } = *slots.last().expect("at least one");
        let view = ClusterView { slots, ..sample_map() };
        assert_eq!(through_the_wire(&view), Err(WireError::SlotRange { first, last }));
    }
    let holes = ClusterView { slots: vec![run(1, 2, 2), run(4, 4, 1)], ..sample_map() };
    assert!(through_the_wire(&holes).is_ok());
}

#[test]
fn more_nodes_or_members_than_a_cluster_has_are_refused() {
    let mut view = sample_map();
    view.groups[0].members = vec![NodeId(1); NODES_MAX + 1];
    let error = through_the_wire(&view).expect_err("too many");
    assert_eq!(error.to_string(), "65 members of a group in one frame; at most 64 are accepted");
    let mut view = sample_map();
    view.nodes = vec![view.nodes[0].clone(); NODES_MAX + 1];
    assert!(through_the_wire(&view).is_err());
}

/// Many nodes that share one long address would be many copies of it in memory.
#[test]
fn a_map_does_not_unfold_into_more_than_it_is() {
    let mut encoder = FrameEncoder::default();
    let body = encoder.body();
    let client_address = Some(body.create_string(&"x".repeat(100_000)));
    let args = schema::NodeArgs { id: 1, client_address, smp: 1 };
    let nodes: Vec<_> = (0..60).map(|_| schema::Node::create(body, &args)).collect();
    let nothing: [u64; 0] = [];
    let args = schema::MapReplyArgs {
        nodes: Some(body.create_vector(&nodes)),
        groups: Some(flatbuffers::WIPOffset::new(body.create_vector(&nothing).value())),
        slots: Some(flatbuffers::WIPOffset::new(body.create_vector(&nothing).value())),
        ..Default::default()
    };
    let root = schema::MapReply::create(body, &args);
    let buffer = encoded(|out| encoder.finish(FrameKind::MapReply, root, out));
    let error = parse_map_reply(&sole_frame(&buffer)).expect_err("it unfolds");
    assert!(error.to_string().contains("Apparent size too large"), "{error}");
}
