//! How a node belongs to its cluster: as one of the first, or since it joined.

use super::cluster::{self, check_address};
use super::config::{Reader, nodes_text};
use super::layers::{ConfigError, Origin};
use crate::base::{ClusterId, NodeId};
use crate::placement::{NodeInfo, ShardMap};

/// How a node belongs to its cluster.
#[derive(Clone, Debug)]
pub(crate) enum Membership {
    /// It is one of the nodes that the cluster was made of.
    First(Box<FirstNodes>),
    /// The cluster was there before it.
    Joining(Joining),
}

/// The cluster that some nodes make together, at their first start.
#[derive(Clone, Debug)]
pub(crate) struct FirstNodes {
    /// All of them, sorted by id.
    pub(crate) nodes: Vec<NodeInfo>,
    /// Which cluster it is: follows from name, nodes and groups.
    pub(crate) cluster: ClusterId,
    /// Raft groups.
    pub(crate) groups: u32,
    /// Who owns what.
    pub(crate) shard_map: ShardMap,
}

/// A cluster that a node joins.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    /// The administration address of one of its nodes.
    pub(crate) through: String,
    /// This node, as others are to reach it.
    pub(crate) node: NodeInfo,
}

impl Membership {
    /// The value of the setting called `name`, as one would write it; empty: not set.
    pub(super) fn text(&self, name: &str) -> String {
        match (self, name) {
            (Self::First(first), "cluster.initial_nodes") => nodes_text(&first.nodes),
            (Self::First(first), "cluster.groups") => first.groups.to_string(),
            (Self::Joining(joining), "cluster.join") => joining.through.clone(),
            (Self::Joining(Joining { node, .. }), "cluster.join_as") => {
                format!("{}/{}", node.peer_address, node.client_address)
            }
            _ => String::new(),
        }
    }
}

impl Reader<'_> {
    /// How this node, `here` as far as it knows, belongs to its cluster.
    pub(super) fn membership(&self, here: NodeInfo, smp: usize) -> Result<Membership, ConfigError> {
        if self.text("cluster.join").is_empty() {
            self.first_nodes(here, smp).map(|first| Membership::First(Box::new(first)))
        } else {
            self.joining(here).map(Membership::Joining)
        }
    }

    fn first_nodes(&self, here: NodeInfo, smp: usize) -> Result<FirstNodes, ConfigError> {
        if !self.text("cluster.join_as").is_empty() {
            let cause = "it says how a node that joins is reached: add --join, or drop it";
            return Err(self.error("cluster.join_as", cause));
        }
        let (nodes, is_alone) = self.nodes(here)?;
        let groups = self.groups(nodes.len(), smp)?;
        let named: Vec<(NodeId, &str)> = nodes
            .iter()
            .map(|node| (node.id, if is_alone { "" } else { node.peer_address.as_str() }))
            .collect();
        let cluster = cluster::cluster_id(&self.text("cluster.name"), &named, groups);
        let shard_map = ShardMap::initial(nodes.clone(), groups)
            .map_err(|error| self.error("cluster.groups", &error.to_string()))?;
        Ok(FirstNodes { nodes, cluster, groups, shard_map })
    }

    /// The nodes of the cluster, and whether this one was given no others.
    fn nodes(&self, here: NodeInfo) -> Result<(Vec<NodeInfo>, bool), ConfigError> {
        let name = "cluster.initial_nodes";
        let text = self.text(name);
        if !text.is_empty() {
            let nodes =
                cluster::parse_initial_nodes(&text).map_err(|cause| self.error(name, &cause))?;
            if nodes.iter().all(|other| other.id != here.id) {
                let node = here.id;
                let cause = format!(
                    "this node, {node}, is not among them: add it, set --node-id, or, if the cluster \
                     runs already, --join it instead"
                );
                return Err(self.error(name, &cause));
            }
            return Ok((nodes, false));
        }
        if cluster::is_wildcard(&here.client_address) {
            let cause = "clients must be told where to go, and a wildcard is no destination: name \
                         this node as they reach it, --initial-nodes n1=HOST:PORT/HOST:PORT";
            return Err(self.error("network.client_addr", cause));
        }
        Ok((vec![here], true))
    }

    fn joining(&self, here: NodeInfo) -> Result<Joining, ConfigError> {
        let through = self.text("cluster.join");
        check_address(&through).map_err(|cause| {
            let cause = format!("{cause}; write the administration address of a node that runs");
            self.error("cluster.join", &cause)
        })?;
        if !self.text("cluster.initial_nodes").is_empty() {
            let cause = "a node is one of a new cluster's first, or joins one that runs (--join): \
                         drop this, and it is told the nodes, or drop --join";
            return Err(self.error("cluster.initial_nodes", cause));
        }
        if !matches!(self.origin("cluster.groups"), Origin::Default | Origin::FirstStart(_)) {
            let cause = "the cluster that is joined (--join) has its groups already: drop this; \
                         `sunstar ctl join` adds more";
            return Err(self.error("cluster.groups", cause));
        }
        Ok(Joining { through, node: self.as_reached(here)? })
    }

    /// This node, as others are to reach it.
    fn as_reached(&self, here: NodeInfo) -> Result<NodeInfo, ConfigError> {
        let text = self.text("cluster.join_as");
        if !text.is_empty() {
            let (peer, client) = cluster::parse_addresses(&text)
                .map_err(|cause| self.error("cluster.join_as", &cause))?;
            return Ok(NodeInfo { peer_address: peer, client_address: client, ..here });
        }
        let (client, peer) = ("network.client_addr", "network.peer_addr");
        for (name, address) in [(client, &here.client_address), (peer, &here.peer_address)] {
            if cluster::is_wildcard(address) {
                let cause = "others must be told where to go, and a wildcard is no destination: say \
                             how this node is reached, --join-as HOST:PEERPORT/HOST:CLIENTPORT";
                return Err(self.error(name, cause));
            }
        }
        Ok(here)
    }
}
