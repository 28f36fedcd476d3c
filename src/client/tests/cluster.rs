//! A cluster in one struct, for tests: groups with leaders, sessions and one shared store, which
//! answers frames as servers must and misbehaves as servers may.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::limits::CLIENT_FRAME_BODY_MAX;
use crate::base::{
    AlignedBuf, ClusterId, ConnectionId, CoreId, GroupId, Index, NodeId, SLOT_COUNT, SessionId,
    Slot,
};
use crate::wire::client::{
    Answer, EXPECT_ABSENT, Operation, OperationKind, Outcome as Fate, ReplyBuilder, ReplyHead,
    Request, Status, WriteBatch, parse_request,
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
    /// A slot sets out for another group, or arrives; half of the time the map says so.
    pub(crate) slots_move: u32,
    /// Answers about slots served elsewhere that do not say where.
    pub(crate) owner_unsaid: u32,
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
    /// Who owns each slot.
    owners: Vec<GroupId>,
    /// Who owns each slot as the newest map has it: of the past while `slots_move`.
    map: Vec<GroupId>,
    /// Slots that nobody serves, and where they go.
    on_their_way: BTreeMap<u16, GroupId>,
    /// Slots that were asked for.
    asked: BTreeSet<u16>,
    /// Shared by the groups: what a slot holds is where it is served.
    pub(crate) store: BTreeMap<Vec<u8>, Vec<u8>>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Maps asked for.
    pub(crate) map_requests: u64,
    /// Frames of writes seen, repetitions included.
    pub(crate) write_frames: u64,
    /// Commands found in their session's results.
    pub(crate) repetitions: u64,
}

impl FakeCluster {
    pub(crate) fn new(nodes: u64, groups: u32, seed: u64) -> Self {
        let owner = |slot: u16| GroupId(u32::from(slot) * groups / u32::from(SLOT_COUNT) + 1);
        let owners: Vec<GroupId> = (0..SLOT_COUNT).map(owner).collect();
        let group = |number: u32| Group {
            leader: NodeId(u64::from(number) % nodes + 1),
            members: (1..=nodes).map(NodeId).collect(),
            next_session: 1,
            sessions: BTreeMap::new(),
            index: 0,
        };
        Self {
            random: fastrand::Rng::with_seed(seed),
            faults: Faults::default(),
            nodes,
            addresses: (1..=nodes).map(|node| format!("node-{node}")).collect(),
            epoch: 1,
            groups: (0..groups).map(|number| (GroupId(number + 1), group(number))).collect(),
            map: owners.clone(),
            owners,
            on_their_way: BTreeMap::new(),
            asked: BTreeSet::new(),
            store: BTreeMap::new(),
            connections: BTreeMap::new(),
            map_requests: 0,
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
            Request::Map { request } => {
                self.map_requests += 1;
                self.view().encode(request, out);
            }
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
        let known = self.groups.get(&group).map(|group| (group.leader, &group.members));
        let Some((leader, members)) = known else {
            head.outcome = Fate::WrongGroup;
            return builder.encode_refusal(&head, Some("the group is gone"), out);
        };
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
            self.move_some_slot();
        }
    }

    /// A slot that was asked for goes a step further.
    fn move_some_slot(&mut self) {
        let Some(at) = self.asked.len().checked_sub(1) else { return };
        let slot = *self.asked.iter().nth(self.random.usize(0..=at)).expect("in range");
        if self.on_their_way.contains_key(&slot) {
            self.arrive(slot);
        } else {
            let groups: Vec<GroupId> = self.groups.keys().copied().collect();
            let to = groups[self.random.usize(0..groups.len())];
            self.set_out(slot, to);
        }
        if self.random.bool() {
            self.publish();
        }
    }

    /// The slot is on its way to `group`: neither that nor its owner serves it.
    pub(crate) fn set_out(&mut self, slot: u16, group: GroupId) {
        if self.owners[usize::from(slot)] != group {
            self.on_their_way.insert(slot, group);
        }
    }

    /// The slot arrives where it was on its way to.
    pub(crate) fn arrive(&mut self, slot: u16) {
        if let Some(group) = self.on_their_way.remove(&slot) {
            self.owners[usize::from(slot)] = group;
        }
    }

    /// A new map tells of all movements, finished or not.
    pub(crate) fn publish(&mut self) {
        self.epoch += 1;
        self.map.clone_from(&self.owners);
        for (&slot, &group) in &self.on_their_way {
            self.map[usize::from(slot)] = group;
        }
    }

    /// All slots are owned by `group`, at once; the others are not listed any more and have no
    /// replicas.
    pub(crate) fn merge_into(&mut self, group: GroupId) {
        self.on_their_way.clear();
        self.owners.fill(group);
        self.groups.retain(|&id, _| id == group);
        self.publish();
    }

    /// All slots are owned by the group that follows, round and round.
    pub(crate) fn rotate_owners(&mut self) {
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for owner in &mut self.owners {
            let at = groups.binary_search(owner).expect("a group");
            *owner = groups[(at + 1) % groups.len()];
        }
    }

    fn happens(&mut self, percent: u32) -> bool {
        self.random.u32(0..100) < percent
    }

    /// Whom to ask for `slot` instead of `group`; `None`: nobody, it serves the slot.
    fn elsewhere(&mut self, group: GroupId, key: &[u8]) -> Option<i64> {
        let slot = Slot::of_key(key).number();
        self.asked.insert(slot);
        let owner = self.owners[usize::from(slot)];
        let named = match self.on_their_way.get(&slot) {
            Some(&to) if group == owner => to,
            None if group == owner => return None,
            _ => owner,
        };
        let said = !self.happens(self.faults.owner_unsaid);
        Some(if said { i64::from(named.0) } else { 0 })
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
        let is_new = |operation: Operation<'_>| !results.contains_key(&operation.sequence.0);
        let new = batch.operations().filter(|operation| is_new(*operation)).count();
        assert!(!batch.atomic || new == 0 || new == batch.len(), "{new} of {}", batch.len());
        let failure = if batch.atomic && new > 0 { self.rehearse(id, batch) } else { None };
        for (position, operation) in (0..).zip(batch.operations()) {
            let sequence = operation.sequence.0;
            let answer = if let Some(&first) = results.get(&sequence) {
                self.repetitions += 1;
                first
            } else {
                let aborted = || (Status::Aborted, 0);
                let (status, number) = match failure {
                    Some((at, status, number)) if at == position || status == Status::WrongSlot => {
                        (status, number)
                    }
                    Some(_) => aborted(),
                    None => self.apply(id, &operation),
                };
                Answer { status, number, index, position }
            };
            results.insert(sequence, answer);
            builder.push(answer, None);
        }
        self.groups.get_mut(&id).expect("known").sessions.insert(batch.session, results);
    }

    /// The first command of an atomic batch that fails, and how; nothing is changed.
    fn rehearse(&mut self, group: GroupId, batch: &WriteBatch<'_>) -> Option<(u32, Status, i64)> {
        let before = self.store.clone();
        let failure = (0..).zip(batch.operations()).find_map(|(at, operation)| {
            let (status, number) = self.apply(group, &operation);
            let done = matches!(status, Status::Ok | Status::NotFound);
            (!done).then_some((at, status, number))
        });
        self.store = before;
        failure
    }

    fn apply(&mut self, group: GroupId, operation: &Operation<'_>) -> (Status, i64) {
        if let Some(named) = self.elsewhere(group, operation.key) {
            return (Status::WrongSlot, named);
        }
        let absent = operation.flags & EXPECT_ABSENT != 0;
        let expected = (!absent).then_some(operation.expected);
        let holds = self.store.get(operation.key).map(Vec::as_slice) == expected;
        match operation.kind {
            OperationKind::Compare if holds => return (Status::Ok, 0),
            OperationKind::Compare => return (Status::CompareFailed, 0),
            OperationKind::Delete => {
                let held = self.store.remove(operation.key).is_some();
                return if held { (Status::Ok, 1) } else { (Status::NotFound, 0) };
            }
            _ => {}
        }
        let value = self.store.entry(operation.key.to_vec()).or_default();
        match operation.kind {
            OperationKind::Put => {
                operation.value.clone_into(value);
                return (Status::Ok, 0);
            }
            OperationKind::Append => value.extend_from_slice(operation.value),
            OperationKind::Increment => {
                let text = if value.is_empty() { "0" } else { str::from_utf8(value).unwrap_or("") };
                let Ok(old) = text.parse::<i64>() else { return (Status::NotANumber, 0) };
                let delta = operation.value.try_into().map(i64::from_le_bytes);
                let new = old + delta.expect("eight bytes");
                *value = new.to_string().into_bytes();
                return (Status::Ok, new);
            }
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
        if let Some(named) = self.elsewhere(group, operation.key) {
            (answer.status, answer.number) = (Status::WrongSlot, named);
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
        let mut slots: Vec<SlotRun> = Vec::new();
        for (slot, &group) in (0..SLOT_COUNT).zip(&self.map) {
            match slots.last_mut() {
                Some(run) if run.group == group => run.last = slot,
                _ => slots.push(SlotRun { first: slot, last: slot, group }),
            }
        }
        ClusterView {
            cluster: ClusterId(7),
            epoch: self.epoch,
            nodes: nodes.map(node).collect(),
            groups: self.groups.iter().map(group).collect(),
            slots,
        }
    }
}
