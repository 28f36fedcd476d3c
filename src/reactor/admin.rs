//! What an administrator asks of a group: who belongs to it, and to change that.
//!
//! ```text
//!  any node: home core of the group ──AdminRequest──▶ the leader's node: home core of the group
//!            answers its administrator ◀──AdminReply──┘  decides, by what the group is now
//! ```
//!
//! What is asked for is a step ("add n4") and not a whole configuration, and the leader applies it to
//! the configuration in force: of two administrators neither undoes what the other has just done.
//! An answer says that the change has begun; how far it is shows in the members.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Reactor;
use super::governance::{PlacementAnswer, PlacementOperation};
use crate::base::{GroupId, Incarnation, Index, NodeId, Term, Time};
use crate::placement::META;
use crate::raft::{Configuration, ReconfigureError, TransferError};
use crate::wire::peer::PeerBody;

/// Requests that may wait for another node's answer; whoever asked gives up by himself.
const WAITING_MAX: usize = 256;

/// What is asked of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GroupOperation {
    /// Who belongs to it?
    Members {},
    /// Take a node in.
    Add {
        /// The node.
        node: NodeId,
        /// It is to receive the log only, and not to vote.
        #[serde(default)]
        learner: bool,
    },
    /// Put a node out.
    Remove {
        /// The node.
        node: NodeId,
    },
    /// Let a learner vote, once it has caught up.
    Promote {
        /// The node.
        node: NodeId,
    },
    /// Make these the voters, all in one change, once the new ones among them have caught up and a majority
    /// of them can decide. The present voters undo a change that waits for that.
    Set {
        /// The nodes, in any order.
        voters: Vec<NodeId>,
    },
    /// Put another incarnation of a node in the place of the one that is a member.
    Replace {
        /// The node.
        node: NodeId,
        /// What its new data directory is.
        incarnation: Incarnation,
    },
    /// Hand the leadership to a voter.
    Transfer {
        /// The node.
        node: NodeId,
    },
}

/// A group, as its leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMembers {
    /// The group.
    pub group: GroupId,
    /// Who leads.
    pub leader: NodeId,
    /// The term.
    pub term: Term,
    /// The last entry of its log.
    pub last_index: Index,
    /// The last committed entry.
    pub commit_index: Index,
    /// Whether the members below are committed.
    pub committed: bool,
    /// The voters.
    pub voters: Vec<NodeId>,
    /// The voters that a change under way replaces.
    pub outgoing: Vec<NodeId>,
    /// Members that do not vote.
    pub learners: Vec<NodeId>,
    /// The voters to be, once they have caught up.
    pub voters_next: Vec<NodeId>,
    /// Which incarnation of a member counts, where that is told.
    pub incarnations: BTreeMap<NodeId, Incarnation>,
    /// How far each member is.
    pub replicas: Vec<MemberProgress>,
}

/// How far a member's log is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberProgress {
    /// The member.
    pub node: NodeId,
    /// Whether the leader's node can reach it.
    pub up: bool,
    /// Up to where its log is known to equal the leader's, durably.
    pub match_index: Index,
    /// Entries it lacks.
    pub lag: u64,
}

/// Why something was not begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRefusal {
    /// The reason, for programs.
    pub reason: GroupReason,
    /// The reason, for people.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// Reasons for not beginning something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupReason {
    /// There is no such group.
    UnknownGroup,
    /// There is no such node.
    UnknownNode,
    /// The node cannot be reached.
    NodeDown,
    /// The node is there, as the incarnation that is to be replaced.
    NodeUp,
    /// Nobody is known to lead the group, or it cannot be reached, or it is handing over.
    NoLeader,
    /// The leader has just been elected.
    NotReady,
    /// Another change is under way.
    UnderWay,
    /// It is so already.
    NoChange,
    /// The node does not belong to the group.
    NotAMember,
    /// The node is no learner of the group.
    NotALearner,
    /// The node does not vote in the group.
    NotAVoter,
    /// Without this node nobody would vote.
    LastVoter,
    /// What is asked for makes no sense.
    Invalid,
    /// The shard master says why.
    Refused,
    /// The disk has no room to take note of it.
    NoRoom,
}

/// What became of a request.
pub type GroupAnswer = Result<GroupMembers, GroupRefusal>;

/// The answer to `Input::Administer` or `Input::Govern`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAnswer {
    /// As in the request.
    pub ticket: u64,
    /// What became of it.
    pub answer: AdminOutcome,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminOutcome {
    /// One to a group.
    Group(GroupAnswer),
    /// One to the shard master.
    Placement(PlacementAnswer),
}

/// Who asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    /// This node's administrator, with a ticket.
    Here(u64),
    /// Another node, with its number.
    Node(NodeId, u64),
}

/// What kind of thing is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A [`GroupOperation`].
    Group,
    /// A [`PlacementOperation`].
    Placement,
}

/// Requests on their way, and answers on their way out.
#[derive(Debug, Default)]
pub(super) struct Administration {
    /// Requests sent to leaders, by number: the ticket of each, and of whom what is asked.
    waiting: BTreeMap<u64, (u64, (GroupId, Asked))>,
    /// Numbers requests.
    numbered: u64,
    /// To be handed out at the end of the turn.
    pub answers: Vec<AdminAnswer>,
}

impl Reactor {
    /// This node's administrator asks.
    pub(super) fn administer(
        &mut self,
        now: Time,
        ticket: u64,
        group: GroupId,
        operation: &GroupOperation,
    ) {
        let leads = self.position(group).is_some_and(|i| self.replicas[i].is_leader());
        let answer = if leads {
            self.operate(now, group, operation)
        } else {
            match self.ask_leader(ticket, (group, Asked::Group), operation) {
                Ok(()) => return,
                Err(refusal) => Err(refusal),
            }
        };
        self.answer_admin(Asker::Here(ticket), group, answer);
    }

    /// Another node's administrator asks.
    pub(super) fn admin_requested(
        &mut self,
        now: Time,
        from: NodeId,
        group: GroupId,
        request: u64,
        body: &[u8],
    ) {
        if group == META
            && let Ok(operation) = serde_json::from_slice::<PlacementOperation>(body)
        {
            return self.asked_to_govern(now, Asker::Node(from, request), operation);
        }
        let answer = match serde_json::from_slice(body) {
            Ok(operation) => self.operate(now, group, &operation),
            Err(error) => Err(refusal(GroupReason::Invalid, error.to_string())),
        };
        self.answer_admin(Asker::Node(from, request), group, answer);
    }

    /// A leader answers.
    pub(super) fn admin_replied(&mut self, request: u64, body: &[u8]) {
        let Some((ticket, (group, asked))) = self.administration.waiting.remove(&request) else {
            return;
        };
        match asked {
            Asked::Group => self.answer_admin(Asker::Here(ticket), group, answer_of(body)),
            Asked::Placement => self.placement_answered(ticket, answer_of(body)),
        }
    }

    /// Sends a request to whoever leads `group`.
    pub(super) fn ask_leader(
        &mut self,
        ticket: u64,
        (group, asked): (GroupId, Asked),
        operation: &impl Serialize,
    ) -> Result<(), GroupRefusal> {
        let known = self.core.known_leader(group).ok_or_else(|| unknown_group(group))?;
        let replica = self.position(group).and_then(|i| self.replicas[i].raft.leader());
        let leader = replica.unwrap_or(known);
        let body = &serde_json::to_vec(operation).expect("an operation is plain data");
        let administration = &mut self.administration;
        administration.numbered += 1;
        let request = administration.numbered;
        let question = PeerBody::AdminRequest { request, body };
        let node = self.core.config.node;
        if leader == node {
            let message = format!("{node} led {group} last, and leads it no longer");
            return Err(refusal(GroupReason::NoLeader, message));
        }
        if !self.core.peers.send_body(leader, group, Term(0), &question) {
            let message = format!("{leader} led {group} last and cannot be reached");
            return Err(refusal(GroupReason::NoLeader, message));
        }
        administration.waiting.insert(request, (ticket, (group, asked)));
        if administration.waiting.len() > WAITING_MAX {
            administration.waiting.pop_first();
        }
        Ok(())
    }

    fn answer_admin(&mut self, asker: Asker, group: GroupId, answer: GroupAnswer) {
        match asker {
            Asker::Here(ticket) => {
                let lost = |refusal: &GroupRefusal| refusal.reason == GroupReason::NoLeader;
                if answer.as_ref().is_err_and(lost) {
                    // For the next time it is asked.
                    self.inquire(group);
                }
                let answer = AdminOutcome::Group(answer);
                self.administration.answers.push(AdminAnswer { ticket, answer });
            }
            Asker::Node(node, request) => {
                let body = &serde_json::to_vec(&answer).expect("an answer is plain data");
                let reply = PeerBody::AdminReply { request, body };
                self.core.peers.send_body(node, group, Term(0), &reply);
            }
        }
    }

    /// Does what is asked, if the group's leader is here.
    fn operate(&mut self, now: Time, group: GroupId, operation: &GroupOperation) -> GroupAnswer {
        let leads = |&i: &usize| self.replicas[i].is_leader();
        let Some(i) = self.position(group).filter(leads) else {
            let message = format!("{} does not lead {group}", self.core.config.node);
            return Err(refusal(GroupReason::NoLeader, message));
        };
        match operation {
            GroupOperation::Members {} => {}
            GroupOperation::Transfer { node } => self.hand_over(now, i, *node)?,
            GroupOperation::Replace { node, incarnation } => {
                self.replace_member(now, i, *node, *incarnation)?;
            }
            change => {
                let target = self.target(i, change)?;
                self.change_members(now, i, &target)?;
            }
        }
        Ok(self.members(i))
    }

    fn hand_over(&mut self, now: Time, i: usize, to: NodeId) -> Result<(), GroupRefusal> {
        if to == self.core.config.node {
            return Ok(());
        }
        self.check_reachable(to)?;
        let replica = self.touch(i);
        replica.raft.transfer(now, to, &mut replica.output).map_err(|error| {
            let reason = match error {
                TransferError::NotLeader { .. } => GroupReason::NoLeader,
                TransferError::NotAnotherVoter => GroupReason::NotAVoter,
                TransferError::UnderWay { .. } => GroupReason::UnderWay,
            };
            refusal(reason, format!("{to} cannot lead: {error}"))
        })
    }

    pub(super) fn change_members(
        &mut self,
        now: Time,
        i: usize,
        target: &Configuration,
    ) -> Result<(), GroupRefusal> {
        let present = self.replicas[i].raft.configuration();
        let new: Vec<NodeId> = target.members().filter(|&node| !present.is_member(node)).collect();
        new.into_iter().try_for_each(|node| self.check_reachable(node))?;
        let wall = self.core.config.wall(now);
        let replica = self.touch(i);
        let changed = replica.raft.change_members(now, wall, target, &mut replica.output);
        changed.map(|_| ()).map_err(|error| not_changed(&error))
    }

    /// The configuration that a step leads to from the one in force.
    fn target(&self, i: usize, operation: &GroupOperation) -> Result<Configuration, GroupRefusal> {
        let replica = &self.replicas[i];
        let (group, mut target) = (replica.group, replica.raft.configuration().without_staging());
        let is_learner = |target: &Configuration, node| target.learners.contains(&node);
        let is_voter = |target: &Configuration, node| target.voters.contains(&node);
        match *operation {
            GroupOperation::Members {}
            | GroupOperation::Transfer { .. }
            | GroupOperation::Replace { .. } => {}
            GroupOperation::Add { node, .. } if is_voter(&target, node) => {
                let message = format!("{node} votes in {group} already");
                return Err(refusal(GroupReason::NoChange, message));
            }
            GroupOperation::Add { node, learner: true } => put(&mut target.learners, node),
            GroupOperation::Promote { node } if !is_learner(&target, node) => {
                let message = format!("{node} is no learner of {group}");
                return Err(refusal(GroupReason::NotALearner, message));
            }
            GroupOperation::Add { node, .. } | GroupOperation::Promote { node } => {
                target.learners.retain(|&learner| learner != node);
                put(&mut target.voters, node);
            }
            GroupOperation::Remove { node } if !replica.raft.configuration().is_member(node) => {
                let message = format!("{node} does not belong to {group}");
                return Err(refusal(GroupReason::NotAMember, message));
            }
            GroupOperation::Remove { node } => {
                target.learners.retain(|&learner| learner != node);
                target.voters.retain(|&voter| voter != node);
            }
            GroupOperation::Set { ref voters } => target = self.with_voters(i, voters),
        }
        if target.voters.is_empty() {
            let message = format!("nobody would vote in {group}");
            return Err(refusal(GroupReason::LastVoter, message));
        }
        self.name_incarnations(i, &mut target);
        Ok(target)
    }

    /// The configuration in force, but with these voters, in any order.
    pub(super) fn with_voters(&self, i: usize, voters: &[NodeId]) -> Configuration {
        let present = self.replicas[i].raft.configuration();
        let mut target = present.without_staging();
        target.voters.clear();
        for &voter in voters {
            put(&mut target.voters, voter);
        }
        // Who was being prepared to vote, and is not to, has no part in this any more.
        let staged = &present.voters_next;
        target.learners.retain(|it| !voters.contains(it) && !staged.contains(it));
        target
    }

    fn check_reachable(&self, node: NodeId) -> Result<(), GroupRefusal> {
        if self.core.map.node(node).is_none() {
            return Err(refusal(GroupReason::UnknownNode, format!("there is no {node}")));
        }
        if node != self.core.config.node && !self.core.peers.is_up(node) {
            return Err(refusal(GroupReason::NodeDown, format!("{node} cannot be reached")));
        }
        Ok(())
    }

    fn members(&self, i: usize) -> GroupMembers {
        let replica = &self.replicas[i];
        let (raft, own) = (&replica.raft, self.core.config.node);
        let (configuration, last_index) = (raft.configuration().clone(), raft.last_index());
        let progress = |node| {
            let match_index =
                if node == own { last_index } else { raft.match_index(node).unwrap_or_default() };
            MemberProgress {
                node,
                up: node == own || self.core.peers.is_up(node),
                match_index,
                lag: last_index.0.saturating_sub(match_index.0),
            }
        };
        GroupMembers {
            group: replica.group,
            leader: own,
            term: raft.term(),
            last_index,
            commit_index: raft.commit_index(),
            committed: raft.is_configuration_committed(),
            incarnations: configuration.incarnations.iter().copied().collect(),
            replicas: configuration.members().map(progress).collect(),
            voters: configuration.voters,
            outgoing: configuration.outgoing,
            learners: configuration.learners,
            voters_next: configuration.voters_next,
        }
    }
}

/// What a leader answers.
fn answer_of<T: DeserializeOwned>(body: &[u8]) -> Result<T, GroupRefusal> {
    serde_json::from_slice(body).unwrap_or_else(|error| {
        Err(refusal(GroupReason::Invalid, format!("the leader's answer: {error}")))
    })
}

fn put(list: &mut Vec<NodeId>, node: NodeId) {
    if let Err(at) = list.binary_search(&node) {
        list.insert(at, node);
    }
}

/// Why Raft did not begin a change.
pub(super) fn not_changed(error: &ReconfigureError) -> GroupRefusal {
    let reason = match error {
        ReconfigureError::NotLeader { .. } => GroupReason::NoLeader,
        ReconfigureError::NotReady => GroupReason::NotReady,
        ReconfigureError::UnderWay => GroupReason::UnderWay,
        ReconfigureError::NoChange => GroupReason::NoChange,
        ReconfigureError::Invalid(_) => GroupReason::Invalid,
    };
    refusal(reason, error.to_string())
}

fn unknown_group(group: GroupId) -> GroupRefusal {
    refusal(GroupReason::UnknownGroup, format!("there is no {group}"))
}

pub(super) fn refusal(reason: GroupReason, message: String) -> GroupRefusal {
    let remedy = match reason {
        GroupReason::UnknownGroup => "`sunstar ctl groups` lists the groups",
        GroupReason::UnknownNode => "`sunstar ctl nodes` lists the nodes",
        GroupReason::NodeDown => "start the node, or see why the others cannot reach it",
        GroupReason::NodeUp => "stop it first: what runs on its old data need not be replaced",
        GroupReason::NoLeader => {
            "ask again shortly; if it stays so, most of its voters are down or cut off: start them"
        }
        GroupReason::NotReady => "ask again shortly",
        GroupReason::UnderWay => {
            "wait until it is done; one that waits for a node is undone by `sunstar ctl group set` to \
             the present voters"
        }
        GroupReason::NoChange => "nothing is left to do",
        GroupReason::NotAMember => "`sunstar ctl group members` lists who does",
        GroupReason::NotALearner => "add it as a learner first, or as a voter at once",
        GroupReason::NotAVoter => "let it vote first: `sunstar ctl group add` or `promote`",
        GroupReason::LastVoter => "add another voter first",
        GroupReason::Invalid => "see `sunstar ctl --help`",
        GroupReason::Refused => "see what the message says",
        GroupReason::NoRoom => "make room on the disk, or ask another node",
    };
    GroupRefusal { reason, message, remedy: remedy.to_owned() }
}
