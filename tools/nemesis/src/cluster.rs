//! The nodes under test, with all that can be done to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::NodeClock;
use crate::control::Control;
use crate::cut::{Cut, Place};
use crate::disk::Disk;
use crate::kind::Kind;
use crate::network::Networks;
use crate::node::{CLIENT_PORT, Node, NodePlan, admin_address, initial_nodes, name};
use crate::pace::Pace;
use crate::throttle::Throttles;
use crate::trouble::Trouble;
use crate::wire::{Quality, Wire};

/// What cluster to build.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The server's binary.
    pub(crate) server: PathBuf,
    pub(crate) nodes: usize,
    pub(crate) smp: usize,
    /// Kinds of faults that must be possible.
    pub(crate) kinds: Vec<Kind>,
}

/// A cluster; taken down when dropped, in the order of the fields.
#[derive(Debug)]
pub(crate) struct Cluster {
    wires: Vec<Wire>,
    /// Those that are, or may come to be, nodes of the cluster, by position.
    nodes: BTreeMap<usize, Node>,
    /// None: nobody asked for slow disks.
    throttles: Option<Throttles>,
    networks: Networks,
    /// Where images and logs lie.
    room: PathBuf,
    plan: NodePlan,
    /// Whether clocks may be wrong.
    with_clocks: bool,
    pub(crate) control: Control,
}

impl Cluster {
    /// Lays networks and disks in `room`, which only this run knows as `prefix`; starts nothing. The calling
    /// thread is in the hub's network from now on.
    ///
    /// # Errors
    /// If the system refuses, or a fault cannot be done on this machine.
    pub(crate) fn build(shape: &Shape, prefix: &str, room: &Path) -> Result<Self, Trouble> {
        let wants = |kinds: &[Kind]| shape.kinds.iter().any(|kind| kinds.contains(kind));
        let throttles = wants(&[Kind::SlowDisk]).then(|| Throttles::make(prefix));
        let plan = NodePlan {
            server: shape.server.clone(),
            smp: shape.smp,
            initial_nodes: initial_nodes(shape.nodes),
            join: None,
        };
        let mut cluster = Self {
            wires: Vec::new(),
            nodes: BTreeMap::new(),
            throttles: throttles.transpose()?,
            networks: Networks::lay(prefix)?,
            room: room.to_owned(),
            plan: plan.clone(),
            with_clocks: wants(&[Kind::ClockJump, Kind::ClockRate]),
            control: Control { server: shape.server.clone() },
        };
        (0..shape.nodes).try_for_each(|position| cluster.add(position, plan.clone()))?;
        Ok(cluster)
    }

    /// A further machine, on which nothing runs.
    fn add(&mut self, position: usize, plan: NodePlan) -> Result<(), Trouble> {
        let called = name(position);
        self.networks.add(position)?;
        if let Some(throttles) = &mut self.throttles {
            throttles.add(position)?;
        }
        let clock = self.with_clocks.then(|| NodeClock::make(&self.room, &called)).transpose()?;
        let disk = Disk::make(&self.room, &called)?;
        let log = self.room.join(format!("{called}.log"));
        let paths = (self.networks.of(position).path(), log);
        self.nodes.insert(position, Node::new(position, plan, paths, disk, clock));
        Ok(())
    }

    /// Has a further node join, by asking the one at `through`.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn add_joining(&mut self, position: usize, through: usize) -> Result<(), Trouble> {
        let join = Some(admin_address(through));
        self.add(position, NodePlan { join, ..self.plan.clone() })?;
        self.start_node(position)
    }

    /// Stops a node that belongs to the cluster no more, and gives its machine back.
    ///
    /// # Errors
    /// If it does not end well.
    pub(crate) fn dismiss(&mut self, position: usize, pace: &Pace) -> Result<(), Trouble> {
        self.node(position).ask_to_stop()?;
        let has_stopped = || self.nodes.get_mut(&position).expect("it is there").has_stopped();
        pace.wait_for("a node ends that was removed", STOPPED_MAX, has_stopped)?;
        self.nodes.remove(&position);
        self.networks.remove(position);
        Ok(())
    }

    /// Starts all nodes and waits until they serve.
    ///
    /// # Errors
    /// If they do not.
    pub(crate) fn start(&mut self, pace: &Pace) -> Result<(), Trouble> {
        self.positions().into_iter().try_for_each(|position| self.start_node(position))?;
        self.await_ready(pace).map(drop)
    }

    /// Waits until all nodes say that they serve.
    ///
    /// # Errors
    /// If they do not, or one has ended by itself.
    pub(crate) fn await_ready(&mut self, pace: &Pace) -> Result<Duration, Trouble> {
        let positions = self.positions();
        let (taken, ()) = pace.wait_for("all nodes are ready", READY_MAX, || {
            self.check_alive()?;
            let answers = self.control.status(&positions, false)?;
            Ok(answers.iter().all(|answer| answer.ready).then_some(()))
        })?;
        Ok(taken)
    }

    /// Starts the process of a node.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start_node(&mut self, position: usize) -> Result<(), Trouble> {
        let pid = self.node(position).start()?;
        match &self.throttles {
            Some(throttles) => throttles.take_in(position, pid),
            None => Ok(()),
        }
    }

    /// A node, by position.
    ///
    /// # Panics
    /// If it is gone.
    pub(crate) fn node(&mut self, position: usize) -> &mut Node {
        self.nodes.get_mut(&position).expect("a node that is there")
    }

    /// Where there are nodes, ascending.
    pub(crate) fn positions(&self) -> Vec<usize> {
        self.nodes.keys().copied().collect()
    }

    /// Cuts as told, and nowhere else.
    ///
    /// # Errors
    /// If nftables refuses.
    pub(crate) fn cut(&self, cut: &Cut) -> Result<(), Trouble> {
        self.networks.apply(cut)
    }

    /// Puts a bad wire before a node.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn lay_wire(
        &mut self,
        position: usize,
        quality: Quality,
        seed: u64,
        pace: &Pace,
    ) -> Result<(), Trouble> {
        let wire = Wire::lay(position, quality, seed, pace)?;
        self.wires.push(wire);
        Ok(())
    }

    /// Takes all bad wires out.
    pub(crate) fn take_out_wires(&mut self) {
        self.wires.clear();
    }

    /// Lets the disk of a node do so many requests a second; `None`: as many as it can.
    ///
    /// # Errors
    /// If the kernel refuses.
    ///
    /// # Panics
    /// If nobody asked for slow disks.
    pub(crate) fn throttle(&self, position: usize, requests: Option<u32>) -> Result<(), Trouble> {
        let throttles = self.throttles.as_ref().expect("made for this kind of fault");
        throttles.limit(position, self.nodes[&position].disk.device(), requests)
    }

    /// Demands that no process has ended by itself.
    ///
    /// # Errors
    /// If one has.
    pub(crate) fn check_alive(&mut self) -> Result<(), Trouble> {
        self.nodes.values_mut().try_for_each(Node::check_alive)
    }

    /// Where clients find the nodes that have joined.
    pub(crate) fn targets(&self) -> Vec<String> {
        let joined = self.nodes.iter().filter(|(_, node)| !node.is_joining());
        let address = |position| format!("{}:{CLIENT_PORT}", Place::Node(position).address());
        joined.map(|(position, _)| address(*position)).collect()
    }
}

const STOPPED_MAX: Duration = Duration::from_secs(30);

/// A start reads its log first.
const READY_MAX: Duration = Duration::from_mins(2);
