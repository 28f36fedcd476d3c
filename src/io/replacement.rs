//! `/member/<node>` of the administration port: how a node that lost its data directory comes back.
//!
//! ```text
//!   n2, formatted anew ──calls──▶ everyone          refused: it is not the n2 that voted
//!   POST /member/n2 ─────────────▶ any other node
//!      each group of n2:  the old n2 is out, the new one a learner that is to vote   (committed)
//!      here:              the new n2 is let in                                        (durable)
//!      every other node:  is told with the failure detector's next question          (durable)
//!      each group of n2:  it has caught up and votes
//! ```
//!
//! | method | body | answer |
//! |---|---|---|
//! | GET | | which incarnation counts here, and which are refused |
//! | POST | `{}`, or `{"incarnation":"…"}` where several are refused | how far it is, a step further |
//!
//! Each request does what can be done now, and says what is left: asked again, of whichever node, it
//! goes on from what the groups' logs and the nodes' registries say. Nothing is kept in between, so
//! that it does not matter who gives up where.
//!
//! **The order is the safety.** A node is let in only when each group it was in has committed that
//! its old incarnation is out: `raft::replacement` says why nothing of the two is then counted
//! together. One that was down meanwhile refuses the new incarnation until it is told by any node
//! that let it in, which proves the same. What a node answers in a group whose members do not
//! name its incarnation is not given to the replica, in whatever order things arrive (`reactor`). Nor
//! does a node with an empty disk vote before its groups name it, even for one that has lost `<data>/peers`
//! and takes it for the node it always was (`raft::Doubt::Blank`).

use glommio::channels::oneshot;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};

use super::admin::{Answer, in_time, text};
use super::administration::{GroupQuery, body_of, respond};
use super::core::Core;
use super::inbox::{Event, Inbox};
use super::mesh::Letter;
use super::registry::NoRoom;
use super::sockets::{CloseReason, Role};
use crate::base::{GroupId, Incarnation, NodeId};
use crate::peering::Known;
use crate::reactor::{AdminOutcome, GroupMembers, GroupOperation, GroupReason, GroupRefusal};
use crate::wire::handshake::Replaced;

/// Groups asked at once.
const ASKED_AT_ONCE: usize = 64;

/// A node, as this one knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberIdentity {
    /// The node.
    pub node: NodeId,
    /// Whether it is up, as the incarnation that counts.
    pub up: bool,
    /// The incarnation that counts; none if it was never met.
    pub incarnation: Option<Incarnation>,
    /// When it took the place of the one before, in seconds since 1970; 0 for the first one met.
    pub generation: u64,
    /// Those that try to connect and are refused.
    pub refused: Vec<Incarnation>,
}

/// How far a replacement is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// The node.
    pub node: NodeId,
    /// Its new incarnation.
    pub incarnation: Incarnation,
    /// Whether it is let in, at least by the node that was asked.
    pub accepted: bool,
    /// Whether it is up, as that incarnation. One that was let in and is down may have lost its disk once
    /// more, and not have called yet: nobody knows that all is done.
    pub up: bool,
    /// The groups it belongs to.
    pub groups: Vec<GroupReplacement>,
}

/// How far a replacement is in one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReplacement {
    /// The group.
    pub group: GroupId,
    /// How far.
    pub step: ReplacementStep,
    /// Why it does not go on, if it does not.
    pub trouble: Option<GroupRefusal>,
}

/// What a group has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplacementStep {
    /// Nothing yet, or nothing that is committed.
    Begun,
    /// The old incarnation is out; the new one is to catch up.
    OldOut,
    /// The new incarnation is what the old one was.
    Done,
}

impl Replacement {
    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.accepted
            && self.up
            && self.groups.iter().all(|group| group.step == ReplacementStep::Done)
    }
}

/// Somebody asks who a node is, or lets an incarnation of it in.
pub(super) struct MemberQuery {
    node: NodeId,
    /// To be let in.
    accept: Option<Incarnation>,
    /// Nothing if the node is none, or this one.
    answer: oneshot::Sender<Option<Identified>>,
}

/// Who a node is, and all groups; or nobody new can be let in.
type Identified = Result<(MemberIdentity, Vec<GroupId>), NoRoom>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    incarnation: Option<Incarnation>,
}

impl Core {
    /// Says who a node is; lets an incarnation of it in first, if that is asked. On core 0.
    pub(super) fn ask_member(&mut self, query: MemberQuery) {
        let MemberQuery { node, accept, answer } = query;
        let is_other = self.detectors.contains_key(&node);
        // Whoever asked may have gone.
        let _ = answer.send(is_other.then(|| self.identify(node, accept)));
    }

    fn identify(&mut self, node: NodeId, accept: Option<Incarnation>) -> Identified {
        let second = self.node.clock.wall_seconds(self.now);
        if let Some(incarnation) = accept
            && self.registry().replace(second, node, incarnation)?
        {
            self.node_replaced(node);
        }
        let groups = self.map.all_groups().map(|info| info.id).collect();
        Ok((self.identity(node), groups))
    }

    fn identity(&mut self, node: NodeId) -> MemberIdentity {
        let (now, up) = (self.now, self.peers.get(&node).is_some_and(|peer| peer.up));
        let registry = self.registry();
        let known = registry.known(node);
        let refused = registry.refused(now).filter(|refused| refused.0 == node);
        MemberIdentity {
            node,
            up,
            refused: refused.map(|refused| refused.1).collect(),
            incarnation: known.map(|known| known.incarnation),
            generation: known.map_or(0, |known| known.generation),
        }
    }

    /// Another node tells which ones were replaced.
    pub(super) fn learn_replaced(&mut self, from: NodeId, replaced: &[Replaced]) {
        for told in replaced {
            let node = told.node;
            if node == self.node.config.node {
                if told.incarnation != self.node.superblock.incarnation {
                    tracing::warn!(%from, incarnation = %told.incarnation, "this node was replaced");
                }
            } else if self.detectors.contains_key(&node) && self.registry().learn(told) {
                self.node_replaced(node);
            }
        }
    }

    /// Another incarnation of a node counts from now on: connections of the old one end.
    fn node_replaced(&mut self, node: NodeId) {
        let Known { incarnation, generation } = self.registry().known(node).expect("just stored");
        tracing::warn!(%node, %incarnation, generation, "another incarnation of the node is let in");
        if let Some(detector) = self.detectors.get_mut(&node) {
            detector.call_soon();
        }
        self.mesh.broadcast(|| Letter::NodeReplaced { node });
        self.part_with(node);
        let known = self.peers.get(&node).copied().filter(|peer| peer.up);
        let outdated = known.is_some_and(|peer| peer.incarnation != incarnation);
        if outdated {
            let tokens = self.sockets.tokens(|socket| socket.role == Role::DetectorOut(node));
            for token in tokens {
                self.close(token, &CloseReason::Superseded);
            }
        } else if let Some(peer) = known {
            // It was taken for the first one.
            self.mesh.broadcast(|| Letter::NodeUp {
                node,
                incarnation,
                first: false,
                smp: peer.smp,
            });
            self.node_up(node, incarnation, false, peer.smp);
        }
    }

    /// Ends what a node sends: who it is, is to be said anew.
    pub(super) fn part_with(&mut self, node: NodeId) {
        let incoming = self.sockets.tokens(|socket| match socket.role {
            Role::LinkIn(peer) => peer.node == node,
            Role::DetectorIn(from) => from == node,
            _ => false,
        });
        for token in incoming {
            self.close(token, &CloseReason::Superseded);
        }
    }
}

/// Answers a request to `/member/<name>`.
pub(super) async fn member(name: &str, request: Request<Incoming>, inbox: &Inbox) -> Answer {
    let Ok(node) = name.parse::<NodeId>() else {
        return text(StatusCode::NOT_FOUND, format!("`{name}` is no node: try /member/n2\n"));
    };
    match *request.method() {
        Method::GET => respond(&identity_of(node, None, inbox).await.map(|known| known.0)),
        Method::POST => match body_of::<Wanted>(request, "request").await {
            Ok(wanted) => respond(&advance(node, wanted.incarnation, inbox).await),
            Err(cause) => text(StatusCode::BAD_REQUEST, cause),
        },
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "GET or POST\n"),
    }
}

async fn identity_of(
    node: NodeId,
    accept: Option<Incarnation>,
    inbox: &Inbox,
) -> Result<(MemberIdentity, Vec<GroupId>), GroupRefusal> {
    let (answer, answered) = oneshot::oneshot();
    inbox.push(Event::AskMember(MemberQuery { node, accept, answer }));
    let known = in_time(answered).await.flatten();
    let known = known.ok_or_else(|| GroupRefusal {
        reason: GroupReason::UnknownNode,
        message: format!("{node} is no other node of the cluster"),
        remedy: "ask another node than the one that is to be replaced".to_owned(),
    })?;
    known.map_err(|error| GroupRefusal {
        reason: GroupReason::NoRoom,
        message: error.to_string(),
        remedy: "make room, or ask another node: the others learn of it from there".to_owned(),
    })
}

/// Does what can be done now.
async fn advance(
    node: NodeId,
    wanted: Option<Incarnation>,
    inbox: &Inbox,
) -> Result<Replacement, GroupRefusal> {
    let (identity, all) = identity_of(node, None, inbox).await?;
    let incarnation = chosen(&identity, wanted)?;
    let mut groups = Vec::new();
    for some in all.chunks(ASKED_AT_ONCE) {
        let asked: Vec<_> =
            some.iter().map(|&group| ask(group, GroupOperation::Members {}, inbox)).collect();
        for (&group, answered) in some.iter().zip(asked) {
            groups.extend(advance_in(group, (node, incarnation), answered.await, inbox).await?);
        }
    }
    let out = groups.iter().all(|group| group.step >= ReplacementStep::OldOut);
    let mut accepted = identity.generation > 0 && identity.incarnation == Some(incarnation);
    let up = accepted && identity.up;
    if out && !accepted {
        identity_of(node, Some(incarnation), inbox).await?;
        accepted = true;
    }
    Ok(Replacement { node, incarnation, accepted, up, groups })
}

/// Which incarnation is to be let in.
fn chosen(
    identity: &MemberIdentity,
    wanted: Option<Incarnation>,
) -> Result<Incarnation, GroupRefusal> {
    let MemberIdentity { node, incarnation: known, generation, .. } = *identity;
    let replaced = known.filter(|_| generation > 0);
    let refusal = |reason, message, remedy: &str| {
        Err(GroupRefusal { reason, message, remedy: remedy.to_owned() })
    };
    let incarnation = match (wanted, &identity.refused[..]) {
        (Some(wanted), refused) if refused.contains(&wanted) || replaced == Some(wanted) => wanted,
        (Some(wanted), _) => {
            let message = format!("{node} does not try to connect as incarnation {wanted}");
            let remedy = "start it on its new data directory; /status names who is refused";
            return refusal(GroupReason::Invalid, message, remedy);
        }
        (None, &[one]) => one,
        (None, &[]) => {
            // If it was replaced, there is perhaps something left to do.
            let Some(incarnation) = replaced else {
                let message = format!("no other incarnation of {node} is refused here");
                let remedy = "start it on its new data directory, and ask a node that refuses it";
                return refusal(GroupReason::NoChange, message, remedy);
            };
            incarnation
        }
        (None, several) => {
            let names: Vec<String> = several.iter().map(Incarnation::to_string).collect();
            let message = format!("{node} tries to connect as {}", names.join(" and as "));
            return refusal(GroupReason::Invalid, message, "name one with --incarnation");
        }
    };
    match known {
        Some(old) if identity.up && old != incarnation => {
            let message = format!("{node} is up as incarnation {old}");
            refusal(GroupReason::NodeUp, message, "stop it first: its data is not lost")
        }
        _ => Ok(incarnation),
    }
}

/// Goes on in one group; nothing if the node does not belong to it.
async fn advance_in(
    group: GroupId,
    (node, incarnation): (NodeId, Incarnation),
    members: Result<GroupMembers, GroupRefusal>,
    inbox: &Inbox,
) -> Result<Option<GroupReplacement>, GroupRefusal> {
    let begun = ReplacementStep::Begun;
    let members = match members {
        Ok(members) if !belongs(&members, node) => return Ok(None),
        Ok(members) if members.incarnations.get(&node) == Some(&incarnation) => Ok(members),
        Ok(_) => ask(group, GroupOperation::Replace { node, incarnation }, inbox).await,
        Err(refusal) => Err(refusal),
    };
    match members {
        Ok(members) => {
            let step = step_of(&members, (node, incarnation));
            Ok(Some(GroupReplacement { group, step, trouble: None }))
        }
        Err(refusal) if refusal.reason == GroupReason::NodeUp => Err(refusal),
        Err(refusal) => Ok(Some(GroupReplacement { group, step: begun, trouble: Some(refusal) })),
    }
}

fn belongs(members: &GroupMembers, node: NodeId) -> bool {
    [&members.voters, &members.outgoing, &members.learners].iter().any(|list| list.contains(&node))
}

fn step_of(members: &GroupMembers, (node, incarnation): (NodeId, Incarnation)) -> ReplacementStep {
    let settled = members.committed && members.outgoing.is_empty();
    let named = members.incarnations.get(&node) == Some(&incarnation);
    if !named {
        ReplacementStep::Begun
    } else if settled && !members.voters_next.contains(&node) {
        ReplacementStep::Done
    } else if settled || members.voters.contains(&node) {
        // It votes only after what put the old one out was committed.
        ReplacementStep::OldOut
    } else {
        ReplacementStep::Begun
    }
}

/// Asks a group now; the answer can be awaited later.
fn ask(
    group: GroupId,
    operation: GroupOperation,
    inbox: &Inbox,
) -> impl Future<Output = Result<GroupMembers, GroupRefusal>> + use<> {
    let (answer, answered) = oneshot::oneshot();
    inbox.push(Event::AskGroup(GroupQuery { group, operation, answer }));
    async move {
        match in_time(answered).await {
            Some(AdminOutcome::Group(answer)) => answer,
            _ => Err(GroupRefusal {
                reason: GroupReason::NoLeader,
                message: format!("the leader of {group} does not answer"),
                remedy: "ask again shortly".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
