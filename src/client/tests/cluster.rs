//! A cluster in one struct, for tests: groups with leaders, sessions and one shared store, which
//! answers frames as servers must and misbehaves as servers may.

use std::collections::BTreeMap;

use crate::base::limits::CLIENT_FRAME_BODY_MAX;
use crate::base::{
    AlignedBuf, ClusterId, ConnectionId, CoreId, GroupId, Index, NodeId, SLOT_COUNT, SessionId,
    Slot,
};
use crate::wire::client::{
    Answer, Operation, OperationKind, Outcome as Fate, ReplyBuilder, ReplyHead, Request, Status,
    WriteBatch, parse_request,
};
use crate::wire::frame::{Frame, FrameKind, PROTOCOL_VERSION, Scan, scan};
use crate::wire::handshake::{ClientHello, ClientHelloReply};
use crate::wire::map::{ClusterView, GroupView, NodeView, SlotRun};

/// What goes wrong, in percent of frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// No node has room for anything but reads.
    pub(crate) disks_full: bool,
    /// Refused with a fate that says that nothing happened.
    pub(crate) refused: u32,
    /// Answered `Unknown`; half of them are executed nevertheless.
    pub(crate) doubtful: u32,
    /// The leader changes.
    pub(crate) leader_changes: u32,
    /// The group's replicas move to other nodes.
    pub(crate) members_change: u32,
    /// All sessions of the group end.
    pub(crate) sessions_end: u32,
    /// The border between the groups' slots moves.
    pub(crate) slots_move: u32,
}

/// One group.
#[derive(Debug)]
struct Group {
    leader: NodeId,
    /// The nodes that have a replica.
    members: Vec<NodeId>,
    next_session: u64,
    /// Results by sequence.
    sessions: BTreeMap<SessionId, BTreeMap<u64, Answer>>,
    index: u64,
    /// The first slot it owns; it owns all up to the next group's first.
    first_slot: u16,
}

#[derive(Debug, Default)]
struct Connection {
    node: NodeId,
    input: AlignedBuf,
}

pub(crate) struct FakeCluster {
    pub(crate) random: fastrand::Rng,
    pub(crate) faults: Faults,
    nodes: u64,
    /// Each node's address; at first that of node `n` is `node-n`.
    pub(crate) addresses: Vec<String>,
    epoch: u64,
    groups: BTreeMap<GroupId, Group>,
    /// Shared by the groups, as if slots moved in no time.
    pub(crate) store: BTreeMap<Vec<u8>, Vec<u8>>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Frames of writes seen, repetitions included.
    pub(crate) write_frames: u64,
    /// Commands found in their session's results.
    pub(crate) repetitions: u64,
}

impl FakeCluster {
    pub(crate) fn new(nodes: u64, groups: u32, seed: u64) -> Self {
        let width = u32::from(SLOT_COUNT) / groups;
        let group = |number: u32| Group {
            leader: NodeId(u64::from(number) % nodes + 1),
            members: (1..=nodes).map(NodeId).collect(),
            next_session: 1,
            sessions: BTreeMap::new(),
            index: 0,
            first_slot: u16::try_from(number * width).expect("below SLOT_COUNT"),
        };
        Self {
            random: fastrand::Rng::with_seed(seed),
            faults: Faults::default(),
            nodes,
            addresses: (1..=nodes).map(|node| format!("node-{node}")).collect(),
            epoch: 1,
            groups: (0..groups).map(|number| (GroupId(number + 1), group(number))).collect(),
            store: BTreeMap::new(),
            connections: BTreeMap::new(),
            write_frames: 0,
            repetitions: 0,
        }
    }

    /// Someone connects to the node at `address`.
    pub(crate) fn connect(&mut self, connection: ConnectionId, address: &str) {
        let position = self.addresses.iter().position(|own| own == address);
        let node = NodeId(position.expect("an address of this cluster") as u64 + 1);
        self.connections.insert(connection, Connection { node, ..Connection::default() });
    }

    pub(crate) fn disconnect(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
    }

    pub(crate) fn set_leader(&mut self, group: GroupId, leader: NodeId) {
        self.groups.get_mut(&group).expect("known").leader = leader;
    }

    /// The group has replicas on `members` alone; the first leads.
    pub(crate) fn move_group(&mut self, group: GroupId, members: &[NodeId]) {
        self.epoch += 1;
        let group = self.groups.get_mut(&group).expect("known");
        (group.leader, group.members) = (members[0], members.to_vec());
    }

    pub(crate) fn end_sessions(&mut self, group: GroupId) {
        self.groups.get_mut(&group).expect("known").sessions.clear();
    }

    pub(crate) fn session_count(&self) -> usize {
        self.groups.values().map(|group| group.sessions.len()).sum()
    }

    /// Handles what came in; what goes out.
    pub(crate) fn receive(&mut self, connection: ConnectionId, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(state) = self.connections.get_mut(&connection) else { return out };
        state.input.extend_from_slice(bytes);
        let (node, mut input) = (state.node, std::mem::take(&mut state.input));
        let mut taken = 0;
        while let Scan::Frame(frame) =
            scan(&input[taken..], CLIENT_FRAME_BODY_MAX).expect("the client's frames are sound")
        {
            taken += frame.bytes.len();
            self.handle(node, &frame, &mut out);
        }
        input.consume(taken);
        self.connections.get_mut(&connection).expect("looked up above").input = input;
        out
    }

    fn handle(&mut self, node: NodeId, frame: &Frame<'_>, out: &mut Vec<u8>) {
        if frame.kind == FrameKind::ClientHello {
            ClientHello::parse(frame).expect("a sound hello");
            let (protocol, cluster) = (PROTOCOL_VERSION, ClusterId(7));
            let (core, smp, refusal) = (CoreId(0), 1, None);
            return ClientHelloReply { protocol, cluster, node, core, smp, refusal }.encode(out);
        }
        match parse_request(frame).expect("a sound request") {
            Request::OpenSession { request, group } if self.faults.disks_full => {
                self.reply(node, request, group, out, |_, head, _| head.outcome = Fate::DiskFull);
            }
            Request::Write(batch) if self.faults.disks_full => {
                self.reply(node, batch.request, batch.group, out, |_, head, _| {
                    head.outcome = Fate::DiskFull;
                });
            }
            Request::Map { request } => self.view().encode(request, out),
            Request::OpenSession { request, group } => {
                self.reply(node, request, group, out, |this, head, _| {
                    let group = this.groups.get_mut(&group).expect("known");
                    head.session = SessionId(group.next_session);
                    group.next_session += 1;
                    group.sessions.insert(head.session, BTreeMap::new());
                });
            }
            Request::CloseSession { request, group, session } => {
                self.reply(node, request, group, out, |this, _, _| {
                    this.groups.get_mut(&group).expect("known").sessions.remove(&session);
                });
            }
            Request::Write(batch) => {
                self.write_frames += 1;
                self.reply(node, batch.request, batch.group, out, |this, head, builder| {
                    this.write(&batch, head, builder);
                });
            }
            Request::Read(batch) => {
                self.reply(node, batch.request, batch.group, out, |this, _, builder| {
                    for operation in batch.operations() {
                        this.read(batch.group, &operation, builder);
                    }
                });
            }
        }
    }

    /// Answers one frame for `group`, unless something goes wrong.
    fn reply(
        &mut self,
        node: NodeId,
        request: u64,
        group: GroupId,
        out: &mut Vec<u8>,
        execute: impl FnOnce(&mut Self, &mut ReplyHead, &mut ReplyBuilder),
    ) {
        self.disturb(group);
        let mut head = ReplyHead {
            request,
            group,
            outcome: Fate::Ok,
            session: SessionId(0),
            leader: NodeId(0),
            epoch: self.epoch,
        };
        let mut builder = ReplyBuilder::new();
        let Group { leader, ref members, .. } = self.groups[&group];
        if leader != node {
            let member = members.contains(&node);
            head.outcome = if member { Fate::NotLeader } else { Fate::WrongGroup };
            head.leader = if self.random.bool() { leader } else { NodeId(0) };
        } else if self.happens(self.faults.refused) {
            let fates = [Fate::Overloaded, Fate::Superseded, Fate::SessionsFull, Fate::WrongGroup];
            head.outcome = fates[self.random.usize(0..fates.len())];
        } else if self.happens(self.faults.doubtful) {
            if self.random.bool() {
                execute(self, &mut head, &mut builder);
            }
            head.outcome = Fate::Unknown;
        } else {
            execute(self, &mut head, &mut builder);
        }
        if head.outcome == Fate::Ok {
            builder.encode(&head, out);
        } else {
            builder.encode_refusal(&head, Some("for a test"), out);
        }
    }

    fn disturb(&mut self, group: GroupId) {
        if self.happens(self.faults.leader_changes) {
            let members = &self.groups[&group].members;
            let leader = members[self.random.usize(0..members.len())];
            self.set_leader(group, leader);
        }
        if self.happens(self.faults.members_change) {
            let mut members: Vec<NodeId> = (1..=self.nodes).map(NodeId).collect();
            self.random.shuffle(&mut members);
            members.truncate(self.random.usize(1..=members.len()));
            self.move_group(group, &members);
        }
        if self.happens(self.faults.sessions_end) {
            self.end_sessions(group);
        }
        if self.happens(self.faults.slots_move) {
            self.move_border();
        }
    }

    /// Moves the border between the first two groups.
    pub(crate) fn move_border(&mut self) {
        self.epoch += 1;
        let border = self.random.u16(1..SLOT_COUNT / 2);
        self.groups.get_mut(&GroupId(2)).expect("two groups or more").first_slot = border;
    }

    fn happens(&mut self, percent: u32) -> bool {
        self.random.u32(0..100) < percent
    }

    fn owner(&self, slot: Slot) -> GroupId {
        let owned = self.groups.iter().rev().find(|(_, group)| group.first_slot <= slot.number());
        *owned.expect("the first group owns slot 0").0
    }

    fn write(&mut self, batch: &WriteBatch<'_>, head: &mut ReplyHead, builder: &mut ReplyBuilder) {
        let id = batch.group;
        let group = self.groups.get_mut(&id).expect("known");
        group.index += 1;
        let index = Index(group.index);
        let Some(mut results) = group.sessions.remove(&batch.session) else {
            head.outcome = Fate::SessionExpired;
            return;
        };
        results.retain(|&sequence, _| sequence >= batch.lowest_awaited.0);
        for (position, operation) in (0..).zip(batch.operations()) {
            let sequence = operation.sequence.0;
            let answer = if let Some(&first) = results.get(&sequence) {
                self.repetitions += 1;
                first
            } else {
                let (status, number) = self.apply(id, &operation);
                Answer { status, number, index, position }
            };
            results.insert(sequence, answer);
            builder.push(answer, None);
        }
        self.groups.get_mut(&id).expect("known").sessions.insert(batch.session, results);
    }

    fn apply(&mut self, group: GroupId, operation: &Operation<'_>) -> (Status, i64) {
        if self.owner(Slot::of_key(operation.key)) != group {
            return (Status::WrongSlot, 0);
        }
        let value = self.store.entry(operation.key.to_vec()).or_default();
        match operation.kind {
            OperationKind::Put => {
                operation.value.clone_into(value);
                return (Status::Ok, 0);
            }
            OperationKind::Append => value.extend_from_slice(operation.value),
            OperationKind::Increment => return (Status::NotANumber, 0),
            other => panic!("not part of these tests: {other:?}"),
        }
        (Status::Ok, i64::try_from(value.len()).expect("small"))
    }

    fn read(&mut self, group: GroupId, operation: &Operation<'_>, builder: &mut ReplyBuilder) {
        let mut answer = Answer {
            status: Status::Ok,
            number: 0,
            index: Index(self.groups[&group].index),
            position: 0,
        };
        if self.owner(Slot::of_key(operation.key)) != group {
            answer.status = Status::WrongSlot;
            return builder.push(answer, None);
        }
        let value = self.store.get(operation.key);
        if value.is_none() {
            answer.status = Status::NotFound;
        }
        builder.push(answer, value.map(Vec::as_slice));
    }

    fn view(&self) -> ClusterView {
        let nodes = (1..=self.nodes).map(NodeId).zip(&self.addresses);
        let node = |(node, address): (NodeId, &String)| NodeView {
            node,
            client_address: address.clone(),
            smp: 1,
        };
        let group = |(&group, state): (&GroupId, &Group)| GroupView {
            group,
            members: state.members.clone(),
            leader: state.leader,
        };
        let mut last = SLOT_COUNT;
        let mut slots: Vec<SlotRun> = Vec::new();
        for (&group, state) in self.groups.iter().rev() {
            slots.push(SlotRun { first: state.first_slot, last: last - 1, group });
            last = state.first_slot;
        }
        slots.reverse();
        ClusterView {
            cluster: ClusterId(7),
            epoch: self.epoch,
            nodes: nodes.map(node).collect(),
            groups: self.groups.iter().map(group).collect(),
            slots,
        }
    }
}
