//! Some nodes that know each other, under one temporary directory.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

use super::node::{Node, NodePlan};
use super::place;
use super::wait::{wait_for, wait_until};

/// What a cluster consists of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    /// Cores of each node.
    pub(crate) smp: usize,
}

/// A cluster; its processes are killed and its directory removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Dropped first: the processes end before their files go.
    nodes: Vec<Node>,
    directory: TempDir,
}

impl Cluster {
    /// Starts all nodes on new directories and waits until each group has a leader that all know.
    pub(crate) fn start(shape: Shape) -> Self {
        Self::start_with(shape, &[])
    }

    /// The same, with further arguments for every node.
    pub(crate) fn start_with(shape: Shape, arguments: &[&str]) -> Self {
        let mut cluster = Self::prepare(shape);
        for node in &mut cluster.nodes {
            node.pass(arguments);
        }
        cluster.start_all();
        cluster
    }

    /// Starts all nodes and waits until each group has a leader that all know.
    pub(crate) fn start_all(&mut self) {
        self.nodes.iter_mut().for_each(Node::start);
        self.await_leaders();
    }

    /// Lays out directories and addresses; starts nothing.
    pub(crate) fn prepare(shape: Shape) -> Self {
        let directory = Self::new_directory();
        let mut plans: Vec<_> = (1..=shape.nodes)
            .map(|id| NodePlan {
                id: id as u64,
                data_dir: directory.path().join(format!("n{id}")),
                client: free_port(),
                peer: free_port(),
                admin: free_port(),
                smp: shape.smp,
                initial_nodes: String::new(),
                cluster_name: "tested".to_owned(),
                further: Vec::new(),
                log: directory.path().join(format!("n{id}.log")),
            })
            .collect();
        if shape.nodes > 1 {
            let initial: Vec<_> = plans
                .iter()
                .map(|plan| format!("n{}={}/{}", plan.id, plan.peer, plan.client))
                .collect();
            for plan in &mut plans {
                plan.initial_nodes = initial.join(",");
            }
        }
        Self::of(plans, directory)
    }

    /// What a further node would be started with, to join this cluster.
    pub(crate) fn plan_to_join(&self, id: u64, smp: usize) -> NodePlan {
        let through = self.nodes.last().expect("some node").plan();
        NodePlan {
            id,
            data_dir: self.directory.path().join(format!("n{id}")),
            client: free_port(),
            peer: free_port(),
            admin: free_port(),
            smp,
            initial_nodes: String::new(),
            further: vec![format!("--join={}", through.admin)],
            log: self.directory.path().join(format!("n{id}.log")),
            ..through.clone()
        }
    }

    /// Has a further node join, and waits until it is ready.
    pub(crate) fn join(&mut self, id: u64, smp: usize) {
        let mut node = Node::new(self.plan_to_join(id, smp));
        node.start();
        wait_until(&format!("node {id} is ready"), || {
            assert!(node.is_running(), "node {id} has ended");
            node.is_ready()
        });
        self.nodes.push(node);
    }

    /// Stops a node that is not needed any more; how it ended.
    pub(crate) fn dismiss(&mut self, position: usize) -> ExitStatus {
        self.nodes.remove(position).terminate()
    }

    /// Nodes that are started by these plans, in this directory.
    pub(crate) fn of(plans: Vec<NodePlan>, directory: TempDir) -> Self {
        Self { nodes: plans.into_iter().map(Node::new).collect(), directory }
    }

    /// Where a cluster may be laid out.
    pub(crate) fn new_directory() -> TempDir {
        let builder = tempfile::Builder::new().prefix("cluster-").tempdir_in(place::room());
        builder.expect("cargo's directory for tests")
    }

    /// Where everything lies.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    pub(crate) fn node(&mut self, position: usize) -> &mut Node {
        &mut self.nodes[position]
    }

    pub(crate) fn all(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn nodes(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// Client addresses of all nodes.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.plan().client.to_string()).collect()
    }

    /// Waits until all nodes are ready and agree on a leader for each group.
    pub(crate) fn await_leaders(&mut self) {
        for node in &mut self.nodes {
            let what = format!("node {} is ready", node.plan().id);
            wait_until(&what, || {
                assert!(node.is_running(), "node {} has ended", node.plan().id);
                node.is_ready()
            });
        }
        wait_until("all nodes agree on all leaders", || self.leaders().is_some());
    }

    /// Who leads each group, once all replicas say the same.
    fn leaders(&self) -> Option<BTreeMap<u32, u64>> {
        let mut leaders = BTreeMap::new();
        for node in &self.nodes {
            let status = node.status(false)?;
            for group in status.groups() {
                let leader = group.leader?;
                if *leaders.entry(group.group).or_insert(leader) != leader {
                    return None;
                }
            }
        }
        (!leaders.is_empty()).then_some(leaders)
    }

    /// Who leads each group, as all replicas say.
    pub(crate) fn await_leader_of_each(&self) -> BTreeMap<u32, u64> {
        wait_for("all nodes agree on all leaders", || self.leaders())
    }

    /// Which node, by position, leads most groups.
    pub(crate) fn busiest_leader(&self) -> usize {
        let led = |node: &Node| node.status(false).map_or(0, |status| status.led().len());
        (0..self.nodes.len()).max_by_key(|position| led(&self.nodes[*position])).expect("some node")
    }

    /// Waits until all replicas of every group have applied the same, and demands the same state of
    /// them. There must be no load.
    pub(crate) fn assert_replicas_agree(&self) {
        let mut last = String::new();
        wait_until("all replicas of each group apply the same index", || {
            let Some(replicas) = self.replicas() else { return false };
            last = format!("{replicas:?}");
            replicas.values().all(|views| {
                views.len() == self.nodes.len().min(3)
                    && views.iter().all(|(applied, _)| *applied == views[0].0)
            }) && {
                for (group, views) in &replicas {
                    assert!(views.iter().all(|view| view == &views[0]), "{group}: {views:?}");
                }
                true
            }
        });
        assert!(!last.is_empty());
    }

    /// (applied index, state hash) of each replica of each group.
    fn replicas(&self) -> Option<BTreeMap<u32, Vec<(u64, String)>>> {
        let mut replicas: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        for node in &self.nodes {
            for group in node.status(true)?.groups() {
                let hash = group.state_hash.clone().expect("asked for");
                replicas.entry(group.group).or_default().push((group.applied_index, hash));
            }
        }
        Some(replicas)
    }
}

/// Returns a loopback address that is free and that no other test of this process was given.
///
/// The ports lie below those the kernel picks for outgoing connections, so that a node finds its
/// own free again after a restart; processes begin at different ones.
pub(crate) fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 10_000 + u16::try_from(std::process::id() % 200).expect("below 200") * 100;
    for _ in 0..PORTS {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port in {PORTS} from {base}");
}

const PORTS: u16 = 2_000;
