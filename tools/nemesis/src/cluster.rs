//! The nodes under test, with all that can be done to them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::NodeClock;
use crate::control::Control;
use crate::cut::{Cut, Place};
use crate::disk::Disk;
use crate::kind::Kind;
use crate::network::Networks;
use crate::node::{CLIENT_PORT, Node, NodePlan, initial_nodes, name};
use crate::pace::Pace;
use crate::schedule::Homes;
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
    nodes: Vec<Node>,
    /// None: nobody asked for slow disks.
    throttles: Option<Throttles>,
    networks: Networks,
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
        let throttles = wants(&[Kind::SlowDisk]).then(|| Throttles::make(prefix, shape.nodes));
        let throttles = throttles.transpose()?;
        let networks = Networks::lay(prefix, shape.nodes)?;
        let plan = NodePlan {
            server: shape.server.clone(),
            smp: shape.smp,
            initial_nodes: initial_nodes(shape.nodes),
        };
        let build = |position: usize| {
            let called = name(position);
            let clock = wants(&[Kind::ClockJump, Kind::ClockRate]);
            let clock = clock.then(|| NodeClock::make(room, &called)).transpose()?;
            let disk = Disk::make(room, &called)?;
            let paths = (networks.of(position).path(), room.join(format!("{called}.log")));
            Ok(Node::new(position, plan.clone(), paths, disk, clock))
        };
        let nodes = (0..shape.nodes).map(build).collect::<Result<_, Trouble>>()?;
        let control = Control { server: shape.server.clone() };
        Ok(Self { wires: Vec::new(), nodes, throttles, networks, control })
    }

    /// Starts all nodes and waits until they serve; who votes in which group then.
    ///
    /// # Errors
    /// If they do not.
    pub(crate) fn start(&mut self, pace: &Pace) -> Result<Homes, Trouble> {
        for position in 0..self.nodes.len() {
            self.start_node(position)?;
        }
        self.await_ready(pace)?;
        let groups = self.nodes.len() * self.nodes[0].smp();
        let mut homes = Homes::new();
        for group in 1..=u32::try_from(groups).expect("few groups") {
            homes.insert(group, self.control.voters(group, 0)?);
        }
        Ok(homes)
    }

    /// Waits until all nodes say that they serve.
    ///
    /// # Errors
    /// If they do not, or one has ended by itself.
    pub(crate) fn await_ready(&mut self, pace: &Pace) -> Result<Duration, Trouble> {
        let positions: Vec<_> = (0..self.nodes.len()).collect();
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
        let pid = self.nodes[position].start()?;
        match &self.throttles {
            Some(throttles) => throttles.take_in(position, pid),
            None => Ok(()),
        }
    }

    /// A node, by position.
    pub(crate) fn node(&mut self, position: usize) -> &mut Node {
        &mut self.nodes[position]
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.nodes.len()
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
        throttles.limit(position, self.nodes[position].disk.device(), requests)
    }

    /// Demands that no process has ended by itself.
    ///
    /// # Errors
    /// If one has.
    pub(crate) fn check_alive(&mut self) -> Result<(), Trouble> {
        self.nodes.iter_mut().try_for_each(Node::check_alive)
    }

    /// Where clients find the nodes.
    pub(crate) fn targets(&self) -> Vec<String> {
        let address = |position| format!("{}:{CLIENT_PORT}", Place::Node(position).address());
        (0..self.nodes.len()).map(address).collect()
    }
}

/// A start reads its log first.
const READY_MAX: Duration = Duration::from_mins(2);
