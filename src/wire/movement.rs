//! Slots on their way between groups. Format: `schema/movement.fbs`.
//!
//! [`Order`]s stand in entries of a group's log, each a frame of its own, where commands of clients stand
//! else; [`Message`]s go from the leader of one group to that of another.

use super::WireError;
use super::error::verified_root;
use super::frame::{Frame, FrameEncoder, FrameKind};
use super::generated::movement as schema;
use super::map::SlotRun;
use crate::base::{GroupId, Index, SLOT_COUNT, Slot};

/// What a group's log has its replicas do, beside the commands of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order<'a> {
    /// The group goes on to the next epoch.
    BeginEpoch {
        /// Which.
        epoch: u64,
        /// The slots that it is to have, and of whom.
        gained: Vec<SlotRun>,
        /// The slots that it is to give up, and to whom.
        lost: Vec<SlotRun>,
    },
    /// A piece of a slot that arrives.
    Piece {
        /// In which epoch.
        epoch: u64,
        /// See `schema/slot.md`.
        bytes: &'a [u8],
    },
    /// A slot has arrived.
    Serve {
        /// In which epoch.
        epoch: u64,
        /// The slot.
        slot: Slot,
        /// The arrival's name.
        arrival: Index,
    },
    /// What came of a slot goes, and it arrives anew.
    RestartArrival {
        /// In which epoch.
        epoch: u64,
        /// The slot.
        slot: Slot,
        /// The arrival's name.
        arrival: Index,
    },
    /// A slot is served no longer.
    Freeze {
        /// In which epoch.
        epoch: u64,
        /// The slot.
        slot: Slot,
    },
    /// The new owner serves a slot: it goes.
    Drop {
        /// In which epoch.
        epoch: u64,
        /// The slot.
        slot: Slot,
        /// The freeze's name.
        freeze: Index,
    },
    /// The group has the members that the map of this epoch gave it.
    MembersSettled {
        /// Which.
        epoch: u64,
    },
    /// A command of the shard master. In the meta group only.
    Govern {
        /// See `schema/map.fbs`; nothing asks only.
        command: &'a [u8],
    },
    /// The shard master begins. In the meta group only.
    FoundMaster {
        /// The map of the first epoch: see `schema/map.fbs`.
        map: &'a [u8],
    },
}

/// What the leader of one group says to that of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// To the meta group: what does this epoch mean for my group?
    TransitionWanted {
        /// Who asks.
        group: GroupId,
        /// Which.
        epoch: u64,
    },
    /// The answer.
    Transition {
        /// Which.
        epoch: u64,
        /// The slots that the group is to have, and of whom.
        gained: Vec<SlotRun>,
        /// The slots that it is to give up, and to whom.
        lost: Vec<SlotRun>,
    },
    /// To the old owner: the next piece of a slot, please.
    Pull {
        /// In which epoch.
        epoch: u64,
        /// The new owner, who asks.
        group: GroupId,
        /// The slot.
        slot: Slot,
        /// The arrival's name.
        arrival: Index,
        /// The piece's number.
        next: u64,
    },
    /// The piece.
    PieceSent {
        /// In which epoch.
        epoch: u64,
        /// The slot.
        slot: Slot,
        /// The arrival's name.
        arrival: Index,
        /// See `schema/slot.md`.
        bytes: &'a [u8],
    },
    /// Nothing is known any more of what that arrival has: it has to begin anew.
    ArrivalUnknown {
        /// In which epoch.
        epoch: u64,
        /// The slot.
        slot: Slot,
        /// The arrival's name.
        arrival: Index,
    },
    /// To the new owner: are these slots served?
    TakenAsked {
        /// In which epoch.
        epoch: u64,
        /// The old owner, who asks.
        group: GroupId,
        /// Which.
        slots: Vec<SlotRun>,
    },
    /// These slots are served by the new owner.
    Taken {
        /// In which epoch.
        epoch: u64,
        /// Which.
        slots: Vec<SlotRun>,
    },
    /// To the meta group: how far a group is.
    Progress {
        /// Which.
        group: GroupId,
        /// Its epoch.
        epoch: u64,
        /// The members of which epoch it has.
        members_epoch: u64,
        /// Slots on their way in.
        arriving: u32,
        /// Slots not given up yet.
        leaving: u32,
    },
}

/// The fields of all kinds.
#[derive(Default)]
struct Fields<'a> {
    kind: schema::Kind,
    epoch: u64,
    group: GroupId,
    slot: Slot,
    name: Index,
    next: u64,
    arriving: u32,
    leaving: u32,
    gained: &'a [SlotRun],
    lost: &'a [SlotRun],
    data: &'a [u8],
}

impl Order<'_> {
    /// Appends the order's frame to `out`, which holds whole frames only.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.fields().encode(FrameKind::Order, out);
    }

    fn fields(&self) -> Fields<'_> {
        use schema::Kind;
        let none = Fields::default();
        match *self {
            Order::BeginEpoch { epoch, ref gained, ref lost } => {
                Fields { kind: Kind::BeginEpoch, epoch, gained, lost, ..none }
            }
            Order::Piece { epoch, bytes } => {
                Fields { kind: Kind::Piece, epoch, data: bytes, ..none }
            }
            Order::Serve { epoch, slot, arrival } => {
                Fields { kind: Kind::Serve, epoch, slot, name: arrival, ..none }
            }
            Order::RestartArrival { epoch, slot, arrival } => {
                Fields { kind: Kind::RestartArrival, epoch, slot, name: arrival, ..none }
            }
            Order::Freeze { epoch, slot } => Fields { kind: Kind::Freeze, epoch, slot, ..none },
            Order::Drop { epoch, slot, freeze } => {
                Fields { kind: Kind::Drop, epoch, slot, name: freeze, ..none }
            }
            Order::MembersSettled { epoch } => Fields { kind: Kind::MembersSettled, epoch, ..none },
            Order::FoundMaster { map } => Fields { kind: Kind::FoundMaster, data: map, ..none },
            Order::Govern { command } => Fields { kind: Kind::Govern, data: command, ..none },
        }
    }
}

impl Message<'_> {
    /// Appends the message's frame to `out`, which holds whole frames only.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.fields().encode(FrameKind::Movement, out);
    }

    fn fields(&self) -> Fields<'_> {
        use schema::Kind;
        let none = Fields::default();
        match *self {
            Message::TransitionWanted { group, epoch } => {
                Fields { kind: Kind::TransitionWanted, epoch, group, ..none }
            }
            Message::Transition { epoch, ref gained, ref lost } => {
                Fields { kind: Kind::Transition, epoch, gained, lost, ..none }
            }
            Message::Pull { epoch, group, slot, arrival, next } => {
                Fields { kind: Kind::Pull, epoch, group, slot, name: arrival, next, ..none }
            }
            Message::PieceSent { epoch, slot, arrival, bytes } => {
                Fields { kind: Kind::PieceSent, epoch, slot, name: arrival, data: bytes, ..none }
            }
            Message::ArrivalUnknown { epoch, slot, arrival } => {
                Fields { kind: Kind::ArrivalUnknown, epoch, slot, name: arrival, ..none }
            }
            Message::TakenAsked { epoch, group, ref slots } => {
                Fields { kind: Kind::TakenAsked, epoch, group, lost: slots, ..none }
            }
            Message::Taken { epoch, ref slots } => {
                Fields { kind: Kind::Taken, epoch, gained: slots, ..none }
            }
            Message::Progress { group, epoch, members_epoch, arriving, leaving } => {
                let (kind, name) = (Kind::Progress, Index(members_epoch));
                Fields { kind, epoch, group, name, arriving, leaving, ..none }
            }
        }
    }
}

impl Fields<'_> {
    fn encode(&self, kind: FrameKind, out: &mut Vec<u8>) {
        let mut encoder = FrameEncoder::default();
        let run = |run: &SlotRun| schema::Run::new(run.first, run.last, run.group.0);
        let gained: Vec<_> = self.gained.iter().map(run).collect();
        let lost: Vec<_> = self.lost.iter().map(run).collect();
        let data = (!self.data.is_empty()).then(|| encoder.bytes(self.data));
        let body = encoder.body();
        let args = schema::StepArgs {
            kind: self.kind,
            epoch: self.epoch,
            group: self.group.0,
            slot: self.slot.number(),
            name: self.name.0,
            next: self.next,
            arriving: self.arriving,
            leaving: self.leaving,
            gained: (!gained.is_empty()).then(|| body.create_vector(&gained)),
            lost: (!lost.is_empty()).then(|| body.create_vector(&lost)),
            data,
        };
        let root = schema::Step::create(body, &args);
        encoder.finish(kind, root, out);
    }
}

/// Reads an order; nothing if it is of a kind that is not known here.
///
/// # Errors
/// If the frame is no order, breaks the schema, or names what is no slot, or more runs than there are slots.
pub fn parse_order<'a>(frame: &Frame<'a>) -> Result<Option<Order<'a>>, WireError> {
    use schema::Kind;
    let step = verified_root::<schema::Step<'_>>(frame.body_of(FrameKind::Order)?)?;
    let (epoch, name, slot) = (step.epoch(), Index(step.name()), slot_of(&step)?);
    let data = step.data().map_or(&[][..], |data| data.bytes());
    Ok(Some(match step.kind() {
        Kind::BeginEpoch => Order::BeginEpoch {
            epoch,
            gained: runs_of(step.gained())?,
            lost: runs_of(step.lost())?,
        },
        Kind::Piece => Order::Piece { epoch, bytes: data },
        Kind::Serve => Order::Serve { epoch, slot, arrival: name },
        Kind::RestartArrival => Order::RestartArrival { epoch, slot, arrival: name },
        Kind::Freeze => Order::Freeze { epoch, slot },
        Kind::Drop => Order::Drop { epoch, slot, freeze: name },
        Kind::MembersSettled => Order::MembersSettled { epoch },
        Kind::Govern => Order::Govern { command: data },
        Kind::FoundMaster => Order::FoundMaster { map: data },
        _ => return Ok(None),
    }))
}

/// Reads a message; nothing if it is of a kind that is not known here.
///
/// # Errors
/// As for [`parse_order`].
pub fn parse_message<'a>(frame: &Frame<'a>) -> Result<Option<Message<'a>>, WireError> {
    use schema::Kind;
    let step = verified_root::<schema::Step<'_>>(frame.body_of(FrameKind::Movement)?)?;
    let (epoch, name, slot) = (step.epoch(), Index(step.name()), slot_of(&step)?);
    let (group, next) = (GroupId(step.group()), step.next());
    let data = step.data().map_or(&[][..], |data| data.bytes());
    Ok(Some(match step.kind() {
        Kind::TransitionWanted => Message::TransitionWanted { group, epoch },
        Kind::Transition => {
            let (gained, lost) = (runs_of(step.gained())?, runs_of(step.lost())?);
            Message::Transition { epoch, gained, lost }
        }
        Kind::Pull => Message::Pull { epoch, group, slot, arrival: name, next },
        Kind::PieceSent => Message::PieceSent { epoch, slot, arrival: name, bytes: data },
        Kind::ArrivalUnknown => Message::ArrivalUnknown { epoch, slot, arrival: name },
        Kind::TakenAsked => Message::TakenAsked { epoch, group, slots: runs_of(step.lost())? },
        Kind::Taken => Message::Taken { epoch, slots: runs_of(step.gained())? },
        Kind::Progress => Message::Progress {
            group,
            epoch,
            members_epoch: name.0,
            arriving: step.arriving(),
            leaving: step.leaving(),
        },
        _ => return Ok(None),
    }))
}

fn slot_of(step: &schema::Step<'_>) -> Result<Slot, WireError> {
    let number = step.slot();
    Slot::new(number).ok_or(WireError::SlotRange { first: number, last: number })
}

fn runs_of(runs: Option<flatbuffers::Vector<'_, schema::Run>>) -> Result<Vec<SlotRun>, WireError> {
    let Some(runs) = runs else { return Ok(Vec::new()) };
    let (count, max) = (runs.len(), usize::from(SLOT_COUNT));
    if count > max {
        return Err(WireError::TooMany { what: "runs of slots", count, max });
    }
    let mut free_from = 0;
    let run = |run: &schema::Run| {
        let SlotRun { first, last, group } =
            SlotRun { first: run.first(), last: run.last(), group: GroupId(run.group()) };
        if free_from > first || first > last || last >= SLOT_COUNT {
            return Err(WireError::SlotRange { first, last });
        }
        free_from = last + 1;
        Ok(SlotRun { first, last, group })
    };
    runs.iter().map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::AlignedBuf;
    use crate::wire::frame::scan_trusted;

    fn run(first: u16, last: u16, group: u32) -> SlotRun {
        SlotRun { first, last, group: GroupId(group) }
    }

    #[test]
    fn what_is_written_is_read() {
        let (slot, name) = (Slot::new(7).expect("a slot"), Index(11));
        let (gained, lost) = (vec![run(0, 3, 2), run(9, 9, 3)], vec![run(4, 8, 1)]);
        let orders = [
            Order::BeginEpoch { epoch: 3, gained: gained.clone(), lost: lost.clone() },
            Order::Piece { epoch: 3, bytes: b"piece" },
            Order::Serve { epoch: 3, slot, arrival: name },
            Order::RestartArrival { epoch: 3, slot, arrival: name },
            Order::Freeze { epoch: 3, slot },
            Order::Drop { epoch: 3, slot, freeze: name },
            Order::MembersSettled { epoch: 3 },
            Order::Govern { command: b"join" },
            Order::Govern { command: b"" },
            Order::FoundMaster { map: b"map" },
        ];
        for order in orders {
            let mut frame = Vec::new();
            order.encode(&mut frame);
            let frame = AlignedBuf::copy_of(&frame);
            let frame = scan_trusted(&frame).expect("of our own encoding");
            assert_eq!(parse_order(&frame), Ok(Some(order)));
        }
        let group = GroupId(5);
        let messages = [
            Message::TransitionWanted { group, epoch: 3 },
            Message::Transition { epoch: 3, gained, lost: lost.clone() },
            Message::Pull { epoch: 3, group, slot, arrival: name, next: 2 },
            Message::PieceSent { epoch: 3, slot, arrival: name, bytes: b"piece" },
            Message::ArrivalUnknown { epoch: 3, slot, arrival: name },
            Message::TakenAsked { epoch: 3, group, slots: lost.clone() },
            Message::Taken { epoch: 3, slots: lost },
            Message::Progress { group, epoch: 3, members_epoch: 2, arriving: 1, leaving: 4 },
        ];
        for message in messages {
            let mut frame = Vec::new();
            message.encode(&mut frame);
            let frame = AlignedBuf::copy_of(&frame);
            let frame = scan_trusted(&frame).expect("of our own encoding");
            assert_eq!(parse_message(&frame), Ok(Some(message)));
        }
    }

    #[test]
    fn runs_that_overlap_or_are_no_slots_are_refused() {
        for wrong in [vec![run(3, 2, 1)], vec![run(0, 4, 1), run(4, 5, 1)], vec![run(0, 16_384, 1)]]
        {
            let mut frame = Vec::new();
            Message::Taken { epoch: 1, slots: wrong }.encode(&mut frame);
            let frame = AlignedBuf::copy_of(&frame);
            let frame = scan_trusted(&frame).expect("of our own encoding");
            let read = parse_message(&frame).map(|_| ());
            assert!(matches!(read, Err(WireError::SlotRange { .. })), "{read:?}");
        }
    }
}
