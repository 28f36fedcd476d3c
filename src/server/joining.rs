//! `sunstar start --join`: a node that joins a cluster that runs.
//!
//! ```text
//!   settings and disk are in order
//!   ─▶ GET /map of a node of the cluster      nobody else has this id, or listens here
//!   ─▶ POST /placement: add this node         again, while no leader is there to do it
//!   ─▶ GET /map until this node is in it      with the cluster's id
//!   ─▶ formats the directory, keeps the map, starts
//! ```
//!
//! What was done up to any point is done again at the next start, to the same end. A node whose directory
//! holds the map has joined, and just starts: it asks for a newer map if the other one is there, lest it
//! know only nodes that are no more, and does without if not. One that the cluster has removed is not
//! added again by being restarted.

use std::time::Duration;

use super::asking::{Pauses, Unanswered, ask};
use super::config::Config;
use super::failure::Failure;
use super::membership::Joining;
use super::start::{Home, node_of};
use super::{http, status};
use crate::base::{ClusterId, NodeId};
use crate::io::{self, GroupReason, KeptMap, NodeConfig, PlacementOperation, PlacementView};
use crate::placement::{NodeInfo, ShardMap};

/// How long a cluster is asked to take the node in.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long one answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(12);
/// How long a newer map is waited for by a node that can do without.
const NEWS_TIME: Duration = Duration::from_secs(1);
/// Pauses between two lines about what is waited for.
const PAUSES_BETWEEN_LINES: u128 = 50;

/// Has the cluster take the node in, unless it has; what the node is to start with then.
///
/// # Errors
/// If the node cannot start here, or the cluster does not take it in.
pub(crate) fn join(config: &Config, joining: &Joining) -> Result<NodeConfig, Failure> {
    let kept = KeptMap::read(&config.data_dir).map_err(Failure::failed)?;
    let home = |KeptMap { cluster, map }| Home { cluster, groups: 0, shard_map: map };
    let told = match kept.map(|kept| newest(kept, joining)) {
        Some(kept) if is_settled(&kept.map, &joining.node) => kept,
        kept => {
            let cluster = kept.as_ref().map(|kept| kept.cluster);
            check_here(config, joining, cluster)?;
            let may_move = kept.is_some();
            Asking { joining, may_move, is_added: false }.carry_out()?
        }
    };
    let node = node_of(config, home(told)).map_err(Failure::usage)?;
    io::preflight(&node).map_err(Failure::failed)?;
    Ok(node)
}

/// What is kept, or something newer that the other node knows at once.
fn newest(kept: KeptMap, joining: &Joining) -> KeptMap {
    match map_of(&joining.through, NEWS_TIME) {
        Ok(told) if told.cluster == kept.cluster && told.map.epoch > kept.map.epoch => told,
        _ => kept,
    }
}

/// Whether there is nothing to ask the cluster for: the map has this node where it is, or no more.
fn is_settled(map: &ShardMap, me: &NodeInfo) -> bool {
    map.node(me.id).is_none_or(|listed| is_same(listed, me))
}

fn is_same(one: &NodeInfo, other: &NodeInfo) -> bool {
    (&one.client_address, &one.peer_address) == (&other.client_address, &other.peer_address)
}

/// That the node could start here, before the cluster hears of it.
fn check_here(
    config: &Config,
    joining: &Joining,
    cluster: Option<ClusterId>,
) -> Result<(), Failure> {
    let found = io::identity_of(&config.data_dir).map(|superblock| superblock.cluster);
    let shard_map = ShardMap::initial(vec![joining.node.clone()], 1).map_err(Failure::usage)?;
    let cluster = cluster.or(found).unwrap_or(ClusterId(1));
    let node = node_of(config, Home { cluster, groups: 0, shard_map }).map_err(Failure::usage)?;
    io::preflight(&node).map_err(Failure::failed)
}

/// A node that asks to be taken in.
struct Asking<'a> {
    joining: &'a Joining,
    /// It was there before, and may be elsewhere now.
    may_move: bool,
    /// The shard master has said so.
    is_added: bool,
}

impl Asking<'_> {
    /// Asks until the node is in the map.
    fn carry_out(mut self) -> Result<KeptMap, Failure> {
        let mut pauses = Pauses::within(PATIENCE);
        loop {
            let waits_for = match self.step()? {
                Ok(map) => return Ok(map),
                Err(waits_for) => waits_for,
            };
            if pauses.left().is_multiple_of(PAUSES_BETWEEN_LINES) {
                tracing::info!(through = self.joining.through, "joining: {waits_for}");
            }
            if !pauses.take_one() {
                return Err(Failure::unreachable(format!(
                    "{waits_for}: the cluster has not taken the node in for {} s. Check --join; a \
                     majority of the nodes that hold the shard master (g0) must be up",
                    PATIENCE.as_secs()
                )));
            }
        }
    }

    /// Does what can be done now: the map with this node in it, or what is waited for.
    fn step(&mut self) -> Result<Result<KeptMap, String>, Failure> {
        let told = match map_of(&self.joining.through, ANSWER_TIME) {
            Ok(told) => told,
            Err(cause) => return Ok(Err(cause)),
        };
        let me = &self.joining.node;
        if !self.is_added {
            self.check_free(&told.map)?;
        }
        if told.map.node(me.id).is_some_and(|listed| is_same(listed, me)) {
            return Ok(Ok(told));
        }
        if self.is_added {
            return Ok(Err("the node that was asked does not know yet of this one".to_owned()));
        }
        let waits_for = match self.add() {
            Ok(_) => None,
            Err(Unanswered::Silent(cause)) => Some(cause),
            Err(Unanswered::Refused(refusal)) => match refusal.reason {
                GroupReason::NoChange => None,
                GroupReason::NoLeader | GroupReason::NotReady => Some(refusal.message),
                _ => return Err(Failure::failed(Unanswered::Refused(refusal).text())),
            },
        };
        self.is_added = waits_for.is_none();
        Ok(Err(waits_for.unwrap_or_else(|| "it was added".to_owned())))
    }

    /// Has the shard master list this node.
    fn add(&self) -> Result<PlacementView, Unanswered> {
        let NodeInfo { id, client_address, peer_address } = self.joining.node.clone();
        let operation = PlacementOperation::AddNode { node: id, client_address, peer_address };
        let body = serde_json::to_string(&operation).expect("an operation is plain data");
        ask(&self.joining.through, "/placement", &body, ANSWER_TIME)
    }

    /// That no other node is called so, or listens here.
    fn check_free(&self, map: &ShardMap) -> Result<(), Failure> {
        let (me, through) = (&self.joining.node, &self.joining.through);
        let taken = |other: &&NodeInfo| {
            other.id != me.id
                && (other.peer_address == me.peer_address
                    || other.client_address == me.client_address)
        };
        if let Some(other) = map.nodes.iter().find(taken) {
            return Err(Failure::failed(format!(
                "{} has one of the addresses {} and {} already: check --node-id and the addresses",
                other.id, me.peer_address, me.client_address
            )));
        }
        let Some(listed) = map.node(me.id) else { return Ok(()) };
        let (node, peer, client) = (me.id, &listed.peer_address, &listed.client_address);
        if is_up(node, through)? {
            return Err(Failure::failed(format!(
                "{node} is in the cluster already, at {peer} and {client}, and up: take another \
                 --node-id, or stop that one first"
            )));
        }
        if self.may_move || is_same(listed, me) {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "{node} is in the cluster already, at {peer} and {client}, and this data directory is not \
             its: take another --node-id, or check --data-dir. If its data is lost, start it where it \
             was, and let it in with `sunstar ctl member replace {node}`"
        )))
    }
}

/// Whether a node is up, as another one sees it.
fn is_up(node: NodeId, through: &str) -> Result<bool, Failure> {
    let status = status::ask(through, false).map_err(Failure::unreachable)?;
    let is_it = |json: &serde_json::Value| json["node"].as_u64() == Some(node.0);
    let peers = status.json["peers"].as_array();
    let is_up = |peer: &serde_json::Value| is_it(peer) && peer["up"].as_bool() == Some(true);
    Ok(is_it(&status.json) || peers.is_some_and(|peers| peers.iter().any(is_up)))
}

/// The map that a node goes by.
fn map_of(address: &str, patience: Duration) -> Result<KeptMap, String> {
    let (code, bytes) = http::get_bytes(address, "/map", patience)
        .map_err(|error| format!("{address}: {error}"))?;
    if code != 200 {
        let said = String::from_utf8_lossy(&bytes);
        return Err(format!("{address} answers {code}: {}", said.trim()));
    }
    KeptMap::decode(&bytes).map_err(|error| format!("{address} tells no map: {error}"))
}
