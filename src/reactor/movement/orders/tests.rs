use super::*;
use crate::base::{AlignedBuf, Index, NodeId, SlotSet, Term, WallTime};
use crate::placement::NodeInfo;
use crate::wire::frame::scan_trusted;

const GROUP: GroupId = GroupId(1);
const OTHER: GroupId = GroupId(2);

/// A group that serves slots 0 to 9 in epoch 1, and its log.
struct Host {
    machine: Machine,
    slots: GroupState,
    map: ShardMap,
}

impl Host {
    fn new() -> Self {
        let served: SlotSet = (0..10).map(slot).collect();
        let (client_address, peer_address) = ("c:1".to_owned(), "p:1".to_owned());
        let node = NodeInfo { id: NodeId(1), client_address, peer_address };
        let map = ShardMap::initial(vec![node], 2).expect("valid");
        let mut machine = Machine::new(GROUP, &served);
        let slots = GroupState::settled(1);
        machine.set_annex(slots.encode());
        Self { machine, slots, map }
    }

    /// An entry with one order. Returns whether that changed anything.
    fn entry(&mut self, order: &Order<'_>) -> bool {
        let (Index(last), ..) = self.machine.applied();
        self.machine.begin_entry(Index(last + 1), Term(1), WallTime(0));
        let before = (self.machine.state_hash(), self.slots.clone());
        let mut frame = Vec::new();
        order.encode(&mut frame);
        let frame = AlignedBuf::copy_of(&frame);
        let frame = scan_trusted(&frame).expect("of our own making");
        let Self { machine, slots, map } = self;
        let (master, governed) = (&mut None, &mut Vec::new());
        Hosted { group: GROUP, machine, slots, master, governed, map }.obey(&frame);
        let mut read = GroupState::of(&self.machine).expect("of our own making");
        read.same_count(&self.slots);
        assert_eq!(read, self.slots, "what is kept and what is worked with are the same");
        let changed = self.machine.state_hash() != before.0;
        assert!(changed || self.slots == before.1);
        changed
    }

    fn state(&self, number: u16) -> SlotState {
        self.machine.slot_state(slot(number))
    }
}

fn slot(number: u16) -> Slot {
    Slot::new(number).expect("a slot")
}

fn run(first: u16, last: u16, group: GroupId) -> SlotRun {
    SlotRun { first, last, group }
}

fn begin(epoch: u64, gained: Vec<SlotRun>, lost: Vec<SlotRun>) -> Order<'static> {
    Order::BeginEpoch { epoch, gained, lost }
}

#[test]
fn epochs_come_one_after_the_other_each_when_the_last_is_done() {
    let mut host = Host::new();
    for epoch in [0, 1, 3, u64::MAX] {
        assert!(!host.entry(&begin(epoch, vec![], vec![])), "{epoch}");
    }
    assert!(host.entry(&begin(2, vec![], vec![])));
    assert!(!host.entry(&begin(2, vec![], vec![])), "again");
    let (gained, lost) = (vec![run(20, 21, OTHER)], vec![run(3, 3, OTHER)]);
    assert!(host.entry(&begin(3, gained, lost)));
    assert!(!host.entry(&begin(4, vec![], vec![])), "there is more to do");
    assert_eq!(host.slots.arriving().len() + host.slots.leaving().len(), 3);
    let since = match host.state(20) {
        SlotState::Arriving(arrival) => arrival.since,
        state => panic!("{state:?}"),
    };
    for number in [20, 21] {
        let source = Machine::new(OTHER, &[slot(number)].into_iter().collect());
        let mut source = source;
        source.begin_entry(Index(1), Term(1), WallTime(0));
        source.freeze_slot(slot(number)).expect("served");
        let mut pieces = source.export(slot(number)).expect("frozen").contents(since);
        let bytes = &pieces.next_piece(100).expect("one at least")[..];
        assert!(!host.entry(&Order::Piece { epoch: 2, bytes }), "of another epoch");
        assert!(host.entry(&Order::Piece { epoch: 3, bytes }));
        assert!(!host.entry(&Order::Serve { epoch: 2, slot: slot(number), arrival: since }));
        assert!(host.entry(&Order::Serve { epoch: 3, slot: slot(number), arrival: since }));
    }
    assert!(!host.entry(&begin(4, vec![], vec![])), "slot 3 is here");
    assert!(!host.entry(&Order::Freeze { epoch: 3, slot: slot(4) }), "it does not leave");
    assert!(!host.entry(&Order::Freeze { epoch: 2, slot: slot(3) }));
    assert!(host.entry(&Order::Freeze { epoch: 3, slot: slot(3) }));
    let SlotState::Frozen { since: freeze } = host.state(3) else { panic!("{:?}", host.state(3)) };
    let other = Index(freeze.0 + 1);
    assert!(!host.entry(&Order::Drop { epoch: 3, slot: slot(3), freeze: other }));
    assert!(host.entry(&Order::Drop { epoch: 3, slot: slot(3), freeze }));
    assert!(!host.slots.is_pending());
    assert!(host.entry(&begin(4, vec![], vec![])));
}

#[test]
fn an_epoch_that_does_not_fit_changes_nothing() {
    let mut host = Host::new();
    let odd = [
        (vec![run(9, 10, OTHER)], vec![]),
        (vec![], vec![run(9, 10, OTHER)]),
        (vec![run(20, 20, OTHER)], vec![run(20, 20, OTHER)]),
        (vec![run(20, 20, OTHER), run(5, 5, NOBODY)], vec![]),
    ];
    for (gained, lost) in odd {
        assert!(!host.entry(&begin(2, gained, lost)));
    }
    assert_eq!(host.state(20), SlotState::Absent);
}

#[test]
fn what_nobody_had_is_served_at_once() {
    let mut host = Host::new();
    assert!(host.entry(&begin(2, vec![run(20, 22, NOBODY)], vec![])));
    assert!((20..=22).all(|number| host.state(number) == SlotState::Served));
    assert!(!host.slots.is_pending());
}

#[test]
fn members_settle_once_and_never_back() {
    let mut host = Host::new();
    assert!(!host.entry(&Order::MembersSettled { epoch: 1 }));
    assert!(host.entry(&Order::MembersSettled { epoch: 4 }));
    assert!(!host.entry(&Order::MembersSettled { epoch: 4 }));
    assert!(!host.entry(&Order::MembersSettled { epoch: 3 }));
    assert_eq!((host.slots.epoch(), host.slots.members_epoch()), (1, 4));
}

#[test]
fn who_asks_for_a_slot_that_is_not_served_is_sent_on() {
    let mut host = Host::new();
    let (from, to) = (GroupId(7), GroupId(8));
    host.entry(&begin(2, vec![run(20, 20, from)], vec![run(3, 3, to)]));
    let of = |host: &Host, number| host.slots.whom_to_ask((GROUP, slot(number)), &host.map);
    assert_eq!((of(&host, 20), of(&host, 3)), (from, to));
    let elsewhere = 16_000;
    assert_eq!(of(&host, elsewhere), OTHER, "whom the map names");
    assert_eq!(of(&host, 30), NOBODY, "the map names this group: it knows no better");
}
