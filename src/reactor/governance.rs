//! What an administrator asks of the shard master: nodes, groups, and who owns which slots.
//!
//! ```text
//!  any node ──▶ meta group's leader: Order::Govern in its log ──applied──▶ Master: the next epoch, or a refusal
//!      ◀──────────── answer ──────────────────────────────────────────────────┘ └──▶ the map, to all nodes
//! ```
//!
//! Whatever is asked goes through the meta group's log, questions too: so an answer is that of the newest
//! epoch there was when it was asked for. The meta group begins without a shard master: its first leader
//! has the log say which map it was started with.

mod words;

use std::collections::{BTreeMap, VecDeque};

pub use self::words::{
    EpochView, GroupPlacement, GroupProgress, NodePlacement, PlacementAnswer, PlacementOperation,
    PlacementView,
};
use self::words::{command_of, refused_by_master};
use super::Reactor;
use super::admin::{AdminAnswer, AdminOutcome, Asked, Asker, GroupReason, GroupRefusal, refusal};
use super::convert::map::{
    MapBytesError, decode_command, decode_map, decode_master, encode_command, encode_map,
    encode_master,
};
use super::movement::{Hosted, runs_of};
use crate::base::{AlignedBuf, Bytes, GroupId, Index, Micros, NodeId, Term, Time};
use crate::kv::Machine;
use crate::placement::{
    FIRST_EPOCH, GroupInfo, META, Master, NodeInfo, Refusal, ShardMap, Transition,
};
use crate::wire::map::SlotRun;
use crate::wire::movement::{Message, Order};
use crate::wire::peer::PeerBody;

/// How often a node is told the map that has not said to have it.
const TELL_EVERY: Micros = Micros::from_millis(200);

/// What the core that has the meta group's replica remembers of it. Nothing of it is durable.
#[derive(Debug, Default)]
pub(super) struct Governance {
    /// What was proposed here and not applied yet, the oldest first.
    pending: VecDeque<Pending>,
    /// How far each group is, as its leader said last. Forgotten with the leadership of the meta group.
    progress: BTreeMap<GroupId, GroupProgress>,
    /// Which epoch's map each node was told last, and when. Forgotten with the leadership of the meta
    /// group, and when the node comes up or its link was lost.
    told: BTreeMap<NodeId, (u64, Time)>,
    /// Which epoch's map each node said to have. Forgotten like `told`.
    known: BTreeMap<NodeId, u64>,
    /// When nodes that have not said so are told again.
    pub tell_at: Option<Time>,
    /// The term in which this replica leads the meta group, if it does.
    leads: Option<Term>,
    /// The term in which it had the log say which map the shard master begins with.
    founded_in: Option<Term>,
}

/// A request in the meta group's log.
#[derive(Debug)]
struct Pending {
    term: Term,
    index: Index,
    asker: Asker,
    operation: PlacementOperation,
}

/// What became of an entry that asked something of the shard master.
#[derive(Debug)]
pub(super) struct Governed {
    term: Term,
    index: Index,
    /// Nothing was to change, or the epoch that began, or why none did.
    result: Result<Option<u64>, Refusal>,
}

/// The shard master that the state of the meta group holds; none of any other group, and before it began.
///
/// # Errors
/// If the annex is none of this version's.
pub(super) fn master_of(machine: &Machine) -> Result<Option<Box<Master>>, MapBytesError> {
    let annex = machine.annex();
    if machine.group() != META || annex.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(decode_master(annex)?)))
}

/// Applying what the meta group's log says.
impl Hosted<'_> {
    /// The shard master begins with this map, unless there is one.
    pub(super) fn found_master(&mut self, map: &[u8]) {
        if self.master.is_some() {
            return;
        }
        match decode_map(map) {
            Ok(map) => {
                *self.master = Some(Box::new(Master::new(map)));
                self.keep_master();
            }
            Err(error) => tracing::error!(%error, "a first shard map that is none is passed over"),
        }
    }

    /// The shard master obeys a command, or refuses. An empty one is a question.
    pub(super) fn govern(&mut self, command: &[u8]) {
        let Some(master) = self.master.as_mut() else { return };
        let (index, term, at) = self.machine.applied();
        let result = if command.is_empty() {
            Ok(None)
        } else {
            match decode_command(command) {
                Ok(command) => master.apply(&command, at).map(Some),
                Err(error) => {
                    return tracing::error!(%index, %error, "a command that is none is passed over");
                }
            }
        };
        if result.as_ref().is_ok_and(Option::is_some) {
            self.keep_master();
        }
        self.governed.push(Governed { term, index, result });
    }

    fn keep_master(&mut self) {
        let master = self.master.as_ref().expect("there is one");
        let bytes = encode_master(master);
        self.machine.set_annex(Bytes::copy_of(&bytes));
    }
}

impl Reactor {
    /// This node's administrator asks something of the shard master.
    pub(super) fn govern(&mut self, now: Time, ticket: u64, operation: PlacementOperation) {
        self.asked_to_govern(now, Asker::Here(ticket), operation);
    }

    /// An administrator asks something of the shard master.
    pub(super) fn asked_to_govern(
        &mut self,
        now: Time,
        asker: Asker,
        operation: PlacementOperation,
    ) {
        let leader = self.position(META).filter(|&i| self.replicas[i].is_leader());
        let begun = match (leader, asker) {
            (Some(i), _) => self.propose_governing(now, i, asker, operation),
            // A leader does not know it of itself that it was replaced.
            (None, Asker::Here(ticket)) => self
                .check_first(&operation)
                .and_then(|()| self.ask_leader(ticket, (META, Asked::Placement), &operation)),
            (None, Asker::Node(..)) => {
                let message = format!("{} does not lead the meta group", self.core.config.node);
                Err(refusal(GroupReason::NoLeader, message))
            }
        };
        if let Err(refusal) = begun {
            self.answer_governing(asker, Err(refusal));
        }
    }

    /// The leader of another group asks what an epoch means for it, or says how far it is.
    pub(super) fn master_told(&mut self, i: usize, message: &Message<'_>) {
        match *message {
            Message::TransitionWanted { group, epoch } => {
                let Some(master) = &self.replicas[i].master else { return };
                let Some((gained, lost)) = transition(master, group, epoch) else { return };
                let mut frame = Vec::new();
                Message::Transition { epoch, gained, lost }.encode(&mut frame);
                self.send_to_leader(group, AlignedBuf::copy_of(&frame));
            }
            Message::Progress { group, epoch, members_epoch, arriving, leaving }
                if self.governance.leads.is_some() =>
            {
                let progress = GroupProgress { epoch, members_epoch, arriving, leaving };
                self.governance.progress.insert(group, progress);
            }
            _ => {}
        }
    }

    /// Whether it is for this node to tell every other one the newest map, again and again.
    pub(super) fn tells_maps(&self) -> bool {
        self.governance.leads.is_some()
    }

    /// A node may have missed what it was told.
    pub(super) fn forget_told(&mut self, node: NodeId) {
        self.governance.told.remove(&node);
        self.governance.known.remove(&node);
    }

    /// A node says the map of which epoch it has.
    pub(super) fn map_known(&mut self, node: NodeId, epoch: u64) {
        if self.governance.leads.is_some() {
            self.governance.known.insert(node, epoch);
        }
    }

    /// Tells the map again to those that do not have it.
    pub(super) fn tell_map_again(&mut self, now: Time) {
        if self.governance.tell_at.is_some_and(|at| at <= now)
            && let Some(i) = self.position(META)
        {
            self.tell_map(now, i);
        }
    }

    /// Has the meta group's log say which map it begins with, if nobody has yet.
    pub(super) fn found_meta_group(&mut self, now: Time) {
        let Some(i) = self.position(META).filter(|&i| self.replicas[i].touched) else { return };
        let replica = &self.replicas[i];
        let term = replica.raft.term();
        let wanted = replica.is_leader() && replica.master.is_none();
        if !wanted || self.governance.founded_in == Some(term) || self.core.persistence.is_full() {
            return;
        }
        let map = encode_map(&self.core.map);
        if self.propose_order(now, i, &Order::FoundMaster { map: &map }).is_ok() {
            self.governance.founded_in = Some(term);
        }
    }

    /// After a turn's entries were applied: answers, and tells the map to those that have an older one.
    pub(super) fn note_governing(&mut self, now: Time, i: usize) {
        if self.replicas[i].group != META {
            return;
        }
        let replica = &mut self.replicas[i];
        let governed = std::mem::take(&mut replica.governed);
        let leads = replica.is_leader().then(|| replica.raft.term());
        if self.governance.leads != leads {
            self.governance.progress.clear();
            self.governance.told.clear();
            self.governance.known.clear();
            self.governance.leads = leads;
            if leads.is_some() {
                self.say_progress_again();
            }
        }
        self.settle_governing(i, &governed);
        self.tell_map(now, i);
    }

    /// Proposes what is asked, unless it is refused as things stand.
    fn propose_governing(
        &mut self,
        now: Time,
        i: usize,
        asker: Asker,
        operation: PlacementOperation,
    ) -> Result<(), GroupRefusal> {
        self.check_governing(i, &operation)?;
        let command = command_of(&operation)?;
        let bytes = command.as_ref().map(encode_command).unwrap_or_default();
        let (term, index) = self.propose_order(now, i, &Order::Govern { command: &bytes })?;
        self.governance.pending.push_back(Pending { term, index, asker, operation });
        Ok(())
    }

    /// Puts an order into the log of a group that is led here.
    fn propose_order(
        &mut self,
        now: Time,
        i: usize,
        order: &Order<'_>,
    ) -> Result<(Term, Index), GroupRefusal> {
        if self.core.persistence.is_full() {
            let message = "the disk of the meta group's leader is full".to_owned();
            return Err(refusal(GroupReason::NoRoom, message));
        }
        let mut payload = Vec::new();
        order.encode(&mut payload);
        let wall = self.core.config.wall(now);
        let replica = self.touch(i);
        let payload = Bytes::copy_of(&payload);
        replica.raft.propose(now, wall, payload, &mut replica.output).map_err(|error| {
            let message = format!("the meta group takes nothing now: {error}");
            refusal(GroupReason::NoLeader, message)
        })
    }

    /// What cannot be told from the map alone.
    fn check_governing(
        &self,
        i: usize,
        operation: &PlacementOperation,
    ) -> Result<(), GroupRefusal> {
        let Some(master) = &self.replicas[i].master else {
            let message = "the shard master is not there yet".to_owned();
            return Err(refusal(GroupReason::NotReady, message));
        };
        let map = master.latest();
        match operation {
            // A new group begins when all that found it have met.
            PlacementOperation::Join { .. } => {
                self.check_first(operation)?;
                let hosts = map.nodes.iter().filter(|node| !map.draining.contains(&node.id));
                hosts.map(|node| node.id).try_for_each(|node| self.check_reachable_in(map, node))
            }
            PlacementOperation::RemoveNode { node } => {
                self.check_nothing_pends(i)?;
                self.check_gone(map, *node)
            }
            PlacementOperation::Forget { group } => {
                self.check_nothing_pends(i)?;
                self.check_left(map, *group)
            }
            _ => Ok(()),
        }
    }

    /// That no host lost its disk and was let in again, if a group is to begin: answers of such a node count
    /// where the group's configuration names it (`replacement`), and the first one names nobody. The
    /// group would wait for it for ever, and with it the slots that the map gives it.
    fn check_first(&self, operation: &PlacementOperation) -> Result<(), GroupRefusal> {
        let PlacementOperation::Join { .. } = operation else { return Ok(()) };
        let map = &self.core.map;
        let replaced = |node: &&NodeInfo| {
            let identity = self.core.peers.identity(node.id);
            !map.draining.contains(&node.id) && identity.is_some_and(|(_, first)| !first)
        };
        let Some(NodeInfo { id, .. }) = map.nodes.iter().find(replaced) else { return Ok(()) };
        Err(GroupRefusal {
            reason: GroupReason::Refused,
            message: format!("{id} lost its disk and was let in again: no group can begin on it"),
            remedy: format!(
                "have another node join in its place, and `sunstar ctl drain {id}` before; or move slots to \
                 the groups that there are"
            ),
        })
    }

    /// That the map is the one that the next command meets: it may give slots or replicas to what goes.
    fn check_nothing_pends(&self, i: usize) -> Result<(), GroupRefusal> {
        let replica = &self.replicas[i];
        if replica.applied_index() == replica.raft.last_index() {
            return Ok(());
        }
        let message = "what was asked of the shard master before is not done yet".to_owned();
        Err(refusal(GroupReason::NotReady, message))
    }

    fn check_reachable_in(&self, map: &ShardMap, node: NodeId) -> Result<(), GroupRefusal> {
        let here = node == self.core.config.node;
        if map.node(node).is_some() && !here && !self.core.peers.is_up(node) {
            return Err(refusal(GroupReason::NodeDown, format!("{node} cannot be reached")));
        }
        Ok(())
    }

    /// That a drained node holds no replica any more.
    fn check_gone(&self, map: &ShardMap, node: NodeId) -> Result<(), GroupRefusal> {
        let holds = |info: &&GroupInfo| {
            let known = self.core.directory.find(info.id);
            known.is_some_and(|known| known.configuration.is_member(node))
        };
        match map.all_groups().find(holds) {
            Some(info) if map.draining.contains(&node) => {
                let message = format!("{node} still belongs to {}", info.id);
                let remedy = "wait until others hold it: `sunstar ctl decommission` does";
                Err(GroupRefusal {
                    remedy: remedy.to_owned(),
                    ..refusal(GroupReason::UnderWay, message)
                })
            }
            _ => Ok(()),
        }
    }

    /// That a group which leaves has given all its slots away.
    fn check_left(&self, map: &ShardMap, group: GroupId) -> Result<(), GroupRefusal> {
        let progress = self.governance.progress.get(&group);
        let left = |at: &GroupProgress| at.epoch == map.epoch && at.arriving + at.leaving == 0;
        if map.leaving.contains(&group) && !progress.is_some_and(left) {
            let message = format!("{group} has not given all its slots away, as far as is known");
            let remedy =
                "wait until its slots are elsewhere: `sunstar ctl groups --watch` shows it";
            return Err(GroupRefusal {
                remedy: remedy.to_owned(),
                ..refusal(GroupReason::UnderWay, message)
            });
        }
        Ok(())
    }

    /// Answers those whose entries were applied, or replaced.
    fn settle_governing(&mut self, i: usize, governed: &[Governed]) {
        let applied = self.replicas[i].applied_index();
        while let Some(pending) = self.governance.pending.pop_front_if(|it| it.index <= applied) {
            let Pending { term, index, asker, operation } = pending;
            let found = governed.iter().find(|it| (it.term, it.index) == (term, index));
            let answer = match (found.map(|governed| &governed.result), &self.replicas[i].master) {
                (Some(Ok(_)), Some(master)) => self.view(master, &operation),
                (Some(Err(refused)), _) => Err(refused_by_master(refused)),
                _ => {
                    let message = "another node took over; nothing was done here".to_owned();
                    Err(refusal(GroupReason::NoLeader, message))
                }
            };
            self.answer_governing(asker, answer);
        }
    }

    fn answer_governing(&mut self, asker: Asker, answer: PlacementAnswer) {
        match asker {
            Asker::Here(ticket) => self.placement_answered(ticket, answer),
            Asker::Node(node, request) => {
                let body = &serde_json::to_vec(&answer).expect("an answer is plain data");
                let reply = PeerBody::AdminReply { request, body };
                self.core.peers.send_body(node, META, Term(0), &reply);
            }
        }
    }

    /// The shard master's answer, for this node's administrator.
    pub(super) fn placement_answered(&mut self, ticket: u64, answer: PlacementAnswer) {
        if answer.as_ref().is_err_and(|refused| refused.reason == GroupReason::NoLeader) {
            // For the next time it is asked.
            self.inquire(META);
        }
        let answer = AdminOutcome::Placement(answer);
        self.administration.answers.push(AdminAnswer { ticket, answer });
    }

    /// Tells the newest map to this node and, leading, to all that are up.
    fn tell_map(&mut self, now: Time, i: usize) {
        self.governance.tell_at = None;
        let Some(epoch) = self.replicas[i].master.as_ref().map(|it| it.latest().epoch) else {
            return;
        };
        let mut nodes = match self.governance.leads {
            Some(_) => self.core.peers.nodes(),
            None => Vec::new(),
        };
        nodes.retain(|node| self.governance.known.get(node).is_none_or(|known| *known < epoch));
        if !nodes.is_empty() {
            self.governance.tell_at = Some(now + TELL_EVERY);
        }
        let due = |&(told, at): &(u64, Time)| told < epoch || at + TELL_EVERY <= now;
        nodes.retain(|node| self.governance.told.get(node).is_none_or(due));
        if nodes.is_empty() && self.newest_map() >= epoch {
            return;
        }
        let master = self.replicas[i].master.as_ref().expect("looked at above");
        let bytes = encode_map(master.latest());
        self.map_told(now, epoch, &bytes);
        for node in nodes {
            let body = PeerBody::Map { epoch, body: &bytes };
            if self.core.peers.send_body(node, META, Term(0), &body) {
                self.governance.told.insert(node, (epoch, now));
            }
        }
    }

    /// What is asked for, as the shard master sees it.
    fn view(&self, master: &Master, operation: &PlacementOperation) -> PlacementAnswer {
        let asked = match operation {
            PlacementOperation::Query { epoch } => epoch.unwrap_or(master.latest().epoch),
            _ => master.latest().epoch,
        };
        let Some(map) = master.query(asked) else {
            let newest = master.latest().epoch;
            let message =
                format!("epoch {asked} never was, or is too long ago; the newest is {newest}");
            let remedy = "`sunstar ctl epochs` lists them".to_owned();
            return Err(GroupRefusal { remedy, ..refusal(GroupReason::Refused, message) });
        };
        let history = match operation {
            PlacementOperation::History { last } => {
                let skipped = master.history().len().saturating_sub(*last);
                let changes = master.history().skip(skipped);
                changes
                    .map(|change| EpochView {
                        epoch: change.epoch,
                        at_ms: change.at.0 / 1_000,
                        what: change.reason.to_string(),
                    })
                    .collect()
            }
            _ => Vec::new(),
        };
        let nodes = map.nodes.iter().map(|node| NodePlacement {
            node: node.id,
            client_address: node.client_address.clone(),
            peer_address: node.peer_address.clone(),
            draining: map.draining.contains(&node.id),
        });
        Ok(PlacementView {
            epoch: map.epoch,
            nodes: nodes.collect(),
            meta: self.group_view(&map, &map.meta),
            groups: map.groups.iter().map(|info| self.group_view(&map, info)).collect(),
            history,
        })
    }

    fn group_view(&self, map: &ShardMap, info: &GroupInfo) -> GroupPlacement {
        let ranges = map.ranges();
        let own = ranges.iter().filter(|range| range.2 == info.id);
        let slots: Vec<(u16, u16)> = own.map(|range| (range.0, range.1)).collect();
        let count = |&(first, last): &(u16, u16)| usize::from(last - first) + 1;
        GroupPlacement {
            group: info.id,
            members: info.members.clone(),
            members_epoch: info.members_epoch,
            preferred_leader: info.preferred_leader,
            leaving: map.leaving.contains(&info.id),
            slot_count: slots.iter().map(count).sum(),
            slots,
            progress: self.governance.progress.get(&info.id).copied(),
        }
    }
}

/// What an epoch gives a group and takes from it; nothing if the epoch has not begun, or is too long ago.
fn transition(master: &Master, group: GroupId, epoch: u64) -> Option<(Vec<SlotRun>, Vec<SlotRun>)> {
    let after = master.query(epoch)?;
    if epoch == FIRST_EPOCH {
        return Some((first_slots(&after, group), Vec::new()));
    }
    let Transition { gained, lost } = Transition::between(&master.query(epoch - 1)?, &after, group);
    Some((runs_of(gained), runs_of(lost)))
}

/// The slots that the map of the first epoch gives a group: nobody had them.
pub(super) fn first_slots(map: &ShardMap, group: GroupId) -> Vec<SlotRun> {
    runs_of(map.owned(group).iter().map(|slot| (slot, META)))
}
