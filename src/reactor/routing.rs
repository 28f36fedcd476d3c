//! Where a client's frame goes: into a group's queue here, to the core that has the group, or back
//! with the name of the node that has it.

use super::Reactor;
use super::answers::Context;
use super::effects::{CoreMessage, CoreSend};
use super::queue::Waiting;
use super::replies::Origin;
use crate::base::{AlignedBuf, ConnectionId, CoreId, GroupId, Mistake, Time, makes};
use crate::placement::{META, ShardMap};
use crate::wire::client::{OperationKind, Outcome, Request, parse_request};
use crate::wire::frame::{self, Frame};
use crate::wire::map::{ClusterView, GroupView, NodeView, SlotRun};

impl Reactor {
    /// A frame from a client of this core, or of another core of this node.
    pub(super) fn client_frame(&mut self, origin: Origin, bytes: &[u8]) {
        let parsed = frame::scan_trusted(bytes);
        let request = parsed.as_ref().map(parse_request);
        match (parsed, request) {
            (Some(frame), Some(Ok(request))) => self.request(origin, &frame, request),
            (_, Some(Err(error))) => self.malformed(origin, error.to_string()),
            _ => self.malformed(origin, "not a frame".to_owned()),
        }
    }

    /// A message from another core of this node.
    pub(super) fn core_message(&mut self, now: Time, from: CoreId, message: CoreMessage) {
        match message {
            CoreMessage::Request { connection, frame } => {
                self.client_frame(Origin { core: Some(from), connection }, &frame);
            }
            CoreMessage::Reply { connection, bytes } => {
                let origin = Origin { core: None, connection };
                self.core.replies.buffer(origin).extend_from_slice(&bytes);
            }
            CoreMessage::Whereabouts { group, told } => _ = self.learn(group, &told),
            CoreMessage::Map { bytes } => self.adopt_map(now, &bytes),
            CoreMessage::Movement { group, bytes } => self.movement_told(group, &bytes),
        }
    }

    fn request(&mut self, origin: Origin, frame: &Frame<'_>, request: Request<'_>) {
        match request {
            Request::Map { request } => self.map(Waiting { origin, request }),
            Request::Read(batch) => {
                let waiting = Waiting { origin, request: batch.request };
                self.read(waiting, batch.group, frame);
            }
            Request::Write(batch) => {
                let waiting = Waiting { origin, request: batch.request };
                let shrinks = |kind| matches!(kind, OperationKind::Delete | OperationKind::Compare);
                let grows = || !batch.operations().all(|operation| shrinks(operation.kind));
                let refused = self.is_memory_full() && grows();
                self.write(waiting, batch.group, frame, refused);
            }
            // Without a session nobody could delete.
            Request::OpenSession { request, group }
            | Request::CloseSession { request, group, .. } => {
                self.write(Waiting { origin, request }, group, frame, false);
            }
        }
    }

    /// Where a replica is in the tables that clients may use, if it is here.
    fn served_position(&self, group: GroupId) -> Option<usize> {
        self.position(group).filter(|_| group != META)
    }

    /// A frame that belongs into the log; `too_much`: there is no memory for it.
    fn write(&mut self, waiting: Waiting, group: GroupId, frame: &Frame<'_>, too_much: bool) {
        let Some(i) = self.served_position(group) else {
            return self.elsewhere(waiting, group, frame);
        };
        let length = frame.bytes.len();
        let crowded = self.is_crowded(length);
        let replica = &mut self.replicas[i];
        let leads = replica.is_leader() || replica.awaits_leader();
        let refusal = if !leads || replica.is_quarantined() {
            Some(Outcome::NotLeader)
        } else if too_much {
            Some(Outcome::MemoryFull)
        } else if crowded || replica.queue.is_full(length) {
            Some(Outcome::Overloaded)
        } else {
            None
        };
        if let Some(outcome) = refusal {
            return replica.refuse_all(&mut self.core, &[waiting], outcome);
        }
        if !replica.has_to_propose() {
            self.queued.push(i);
        }
        replica.queue.push(waiting, frame.bytes);
        self.count(i);
    }

    /// Reads are served by any replica that can reach its leader.
    fn read(&mut self, waiting: Waiting, group: GroupId, frame: &Frame<'_>) {
        let Some(i) = self.served_position(group) else {
            return self.elsewhere(waiting, group, frame);
        };
        let behind = self.core.persistence.is_reserve_low();
        let crowded = self.is_crowded(frame.bytes.len());
        let replica = self.touch(i);
        // Its log stands still: what the leader has committed by now it may never see.
        let stands = behind && !replica.is_leader() && !replica.awaits_leader();
        let wrong = replica.is_quarantined() && !makes(Mistake::QuarantinedServes);
        let refusal = if stands || wrong {
            Some(Outcome::NotLeader)
        } else if crowded || replica.reads.is_full(frame.bytes.len()) {
            Some(Outcome::Overloaded)
        } else {
            None
        };
        if let Some(outcome) = refusal {
            return self.replicas[i].refuse_all(&mut self.core, &[waiting], outcome);
        }
        replica.reads.push(waiting, frame.bytes);
        self.count(i);
    }

    /// The group lives on another core, or on other nodes only.
    fn elsewhere(&mut self, waiting: Waiting, group: GroupId, frame: &Frame<'_>) {
        let config = &self.core.config;
        let home = ShardMap::home_core(group, config.smp);
        let known = self.core.directory.find(group);
        let member = known.is_some_and(|known| known.configuration.is_member(config.node));
        let is_here = member && group != META;
        if is_here && home != config.core && waiting.origin.core.is_none() {
            let connection = waiting.origin.connection;
            let frame = AlignedBuf::copy_of(frame.bytes);
            let message = CoreMessage::Request { connection, frame };
            self.forwards.push(CoreSend { to: home, message });
            return;
        }
        let leader = known.map(|known| known.leader);
        let context = Context { group, epoch: self.core.map.epoch, leader };
        let (answers, replies) = (&mut self.core.answers, &mut self.core.replies);
        answers.refuse(waiting, Outcome::WrongGroup, None, context, replies);
    }

    /// Too much waits for the core that this frame was to go to.
    pub(super) fn not_forwarded(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let frame = frame::scan_trusted(bytes).expect("it was a frame when it left");
        let (request, group) = match parse_request(&frame) {
            Ok(Request::Read(batch)) => (batch.request, batch.group),
            Ok(Request::Write(batch)) => (batch.request, batch.group),
            Ok(
                Request::OpenSession { request, group }
                | Request::CloseSession { request, group, .. },
            ) => (request, group),
            Ok(Request::Map { .. }) | Err(_) => unreachable!("nothing else is for another core"),
        };
        let waiting = Waiting { origin: Origin { core: None, connection }, request };
        let leader = self.core.known_leader(group);
        let context = Context { group, epoch: self.core.map.epoch, leader };
        let (answers, replies) = (&mut self.core.answers, &mut self.core.replies);
        answers.refuse(waiting, Outcome::Overloaded, None, context, replies);
    }

    /// Answers with the shard map, and who leads as far as is known here.
    fn map(&mut self, waiting: Waiting) {
        let config = &self.core.config;
        let map = &self.core.map;
        let leader =
            |group: GroupId| self.position(group).and_then(|i| self.replicas[i].raft.leader());
        let smp = |node| {
            if node == config.node { config.smp } else { self.core.peers.smp(node).unwrap_or(0) }
        };
        let view = ClusterView {
            cluster: config.cluster,
            epoch: map.epoch,
            nodes: map
                .nodes
                .iter()
                .map(|node| NodeView {
                    node: node.id,
                    client_address: node.client_address.clone(),
                    smp: smp(node.id),
                })
                .collect(),
            groups: map
                .groups
                .iter()
                .map(|group| {
                    let known = self.core.directory.find(group.id).expect("a group of the map");
                    GroupView {
                        group: group.id,
                        members: known.configuration.members().collect(),
                        leader: leader(group.id).unwrap_or(known.leader),
                    }
                })
                .collect(),
            slots: map
                .ranges()
                .into_iter()
                .map(|(first, last, group)| SlotRun { first, last, group })
                .collect(),
        };
        view.encode(waiting.request, self.core.replies.buffer(waiting.origin));
    }

    /// Bytes that no client of ours sends: the connection is closed.
    fn malformed(&mut self, origin: Origin, reason: String) {
        match origin.core {
            None => self.core.replies.close(origin.connection, reason),
            Some(core) => tracing::error!(%core, reason, "a core forwarded a malformed frame"),
        }
    }
}
