//! Faults as they are done, and undone.
//!
//! What was done is undone in this order: networks, disks, clocks, processes; then every group must take
//! writes; then lost nodes are replaced, and groups get their voters back. Liveness is promised to a healthy
//! majority, not only to a whole cluster. Changes of the map begin between the faults, and are not undone.

use std::collections::BTreeSet;
use std::time::Duration;

use sunstar::base::Micros;
use sunstar::client::blocking::Client;
use sunstar::client::{Command, Options};

use crate::clock::NodeClock;
use crate::cluster::Cluster;
use crate::control::Patience;
use crate::cut::Cut;
use crate::governor::Governor;
use crate::pace::Pace;
use crate::schedule::{Action, Fault, Known, Round};
use crate::trouble::Trouble;

/// What is to be undone.
#[derive(Debug, Default)]
struct Debts {
    /// What cuts off and lets through again.
    flapping: Option<Cut>,
    is_cut: bool,
    full: BTreeSet<usize>,
    slow: BTreeSet<usize>,
    jumped: BTreeSet<usize>,
    paused: BTreeSet<usize>,
    /// Asked to stop; not to be started before they have.
    stopping: BTreeSet<usize>,
    /// Started anew with right clocks.
    rated: BTreeSet<usize>,
    /// Without a process.
    down: BTreeSet<usize>,
    wiped: BTreeSet<usize>,
    /// Groups with other voters.
    changed: BTreeSet<u32>,
}

/// A round under way.
#[derive(Debug)]
pub(crate) struct Injection<'a> {
    cluster: &'a mut Cluster,
    pace: &'a Pace,
    known: &'a Known,
    /// Bad wires lose what this says.
    seed: u64,
    debts: Debts,
}

impl<'a> Injection<'a> {
    /// Nothing is done yet.
    pub(crate) fn new(
        cluster: &'a mut Cluster,
        pace: &'a Pace,
        known: &'a Known,
        seed: u64,
    ) -> Self {
        Self { cluster, pace, known, seed, debts: Debts::default() }
    }

    /// Does all of a round, and lets it last.
    ///
    /// # Errors
    /// If a fault cannot be done, or Ctrl-C comes.
    pub(crate) fn perform(
        &mut self,
        round: &Round,
        governor: &mut Governor,
    ) -> Result<(), Trouble> {
        for (number, fault) in round.faults.iter().enumerate() {
            self.begin_changes(round, number, governor)?;
            self.inject(fault)?;
            self.pace.pause(round.gap)?;
        }
        self.begin_changes(round, round.faults.len(), governor)?;
        let flapping = self.debts.flapping.clone();
        let until = self.pace.running_time() + round.hold;
        while self.pace.running_time() < until {
            governor.go_on(self.cluster, self.pace, false)?;
            self.pace.pause(FLAP)?;
            if let Some(cut) = &flapping {
                self.cluster.cut(&Cut::default())?;
                self.pace.pause(FLAP)?;
                self.cluster.cut(cut)?;
            }
        }
        Ok(())
    }

    /// Asks for what is wanted after so many faults.
    fn begin_changes(
        &mut self,
        round: &Round,
        after: usize,
        governor: &mut Governor,
    ) -> Result<(), Trouble> {
        for change in round.changes.iter().filter(|change| change.after == after) {
            governor.begin(change, self.known, self.cluster, self.pace)?;
        }
        Ok(())
    }

    fn inject(&mut self, fault: &Fault) -> Result<(), Trouble> {
        match &fault.action {
            Action::Kill(nodes) => nodes.iter().try_for_each(|node| self.kill(*node)),
            Action::Terminate(node) => {
                self.debts.stopping.insert(*node);
                self.cluster.node(*node).ask_to_stop()
            }
            Action::Pause(nodes) => {
                self.debts.paused.extend(nodes);
                nodes.iter().try_for_each(|node| self.cluster.node(*node).stop())
            }
            Action::Cut(cut) => self.cut(cut),
            Action::Flap(cut) => {
                self.debts.flapping = Some(cut.clone());
                self.cut(cut)
            }
            Action::Wire(node, quality) => {
                self.cluster.lay_wire(*node, *quality, self.seed, self.pace)
            }
            Action::Fill(nodes) => self.fill(nodes),
            Action::Wipe(node) => {
                self.kill(*node)?;
                self.debts.wiped.insert(*node);
                let others: Vec<_> = self.known.hosts.iter().filter(|it| *it != node).collect();
                let knows_nobody = others.iter().all(|it| **it >= self.known.nodes_at_first);
                self.cluster.node(*node).lose_disk(*others[0], knows_nobody)
            }
            Action::Slow(node, requests) => {
                self.debts.slow.insert(*node);
                self.cluster.throttle(*node, Some(*requests))
            }
            Action::Jump(node, seconds) => {
                self.debts.jumped.insert(*node);
                self.clock(*node).jump(*seconds)
            }
            Action::Rate(node, percent) => {
                self.debts.rated.insert(*node);
                self.restart_at(*node, *percent)
            }
            Action::Transfer { group, to } => {
                // Refused if the group has no leader just now: that is an answer, too.
                self.cluster.control.transfer(*group, *to, Patience::None).map(drop)
            }
            Action::Change { group, voters } => {
                self.debts.changed.insert(*group);
                let asked = self.known.hosts[0];
                self.cluster.control.set_voters(*group, voters, asked, Patience::None).map(drop)
            }
        }
    }

    fn kill(&mut self, node: usize) -> Result<(), Trouble> {
        self.debts.down.insert(node);
        self.cluster.node(node).kill()
    }

    fn cut(&mut self, cut: &Cut) -> Result<(), Trouble> {
        self.debts.is_cut = true;
        self.cluster.cut(cut)
    }

    fn clock(&mut self, node: usize) -> &mut NodeClock {
        self.cluster.node(node).clock.as_mut().expect("made for this kind of fault")
    }

    fn restart_at(&mut self, node: usize, percent: u32) -> Result<(), Trouble> {
        self.clock(node).set_rate(percent);
        self.cluster.node(node).kill()?;
        self.cluster.start_node(node)
    }

    /// Fills disks, and writes until that is noticed: there is room in what nodes have set aside. What they
    /// give back of that for their snapshots is taken from them, too.
    fn fill(&mut self, nodes: &[usize]) -> Result<(), Trouble> {
        self.debts.full.extend(nodes);
        // Once most replicas of a group refuse to write, the others are never asked to.
        let majority = REPLICAS / 2 + 1;
        let bulk = Bulk { targets: self.cluster.targets(), value: vec![b'b'; BULK_BYTES] };
        self.pace.wait_for("a full disk is noticed", NOTICED_MAX, || {
            for node in nodes {
                self.cluster.node(*node).disk.fill()?;
            }
            bulk.write();
            let answers = self.cluster.control.status(nodes, false)?;
            let full = answers.iter().filter(|answer| answer.is_full()).count();
            Ok((full >= nodes.len().min(majority)).then_some(()))
        })?;
        Ok(())
    }

    /// Undoes what keeps nodes from being a healthy majority.
    ///
    /// # Errors
    /// If the system refuses, or a node does not do as it is told.
    pub(crate) fn heal(&mut self) -> Result<(), Trouble> {
        if std::mem::take(&mut self.debts.is_cut) {
            self.cluster.cut(&Cut::default())?;
        }
        self.cluster.take_out_wires();
        for node in std::mem::take(&mut self.debts.slow) {
            self.cluster.throttle(node, None)?;
        }
        for node in std::mem::take(&mut self.debts.full) {
            self.cluster.node(node).disk.empty()?;
        }
        for node in std::mem::take(&mut self.debts.jumped) {
            self.clock(node).jump(0)?;
        }
        for node in std::mem::take(&mut self.debts.paused) {
            self.cluster.node(node).go_on();
        }
        for node in std::mem::take(&mut self.debts.rated) {
            self.restart_at(node, 100)?;
        }
        for node in std::mem::take(&mut self.debts.stopping) {
            let node_stops = || self.cluster.node(node).has_stopped();
            self.pace.wait_for("a node ends that was asked to", STOPPED_MAX, node_stops)?;
            self.debts.down.insert(node);
        }
        for node in std::mem::take(&mut self.debts.down) {
            self.cluster.start_node(node)?;
        }
        Ok(())
    }

    /// Undoes the rest: lost nodes are let in again, groups get their voters back.
    ///
    /// # Errors
    /// If that does not succeed in time.
    pub(crate) fn repair(&mut self) -> Result<(), Trouble> {
        for node in std::mem::take(&mut self.debts.wiped) {
            self.replace(node)?;
        }
        for group in std::mem::take(&mut self.debts.changed) {
            let (hosts, control) = (&self.known.hosts, &self.cluster.control);
            let mut last = String::new();
            let restored = self.pace.wait_for("a group gets its voters back", REPAIRED_MAX, || {
                // They may be others by now, or the group forgotten.
                let Some(map) = control.map(hosts, None)? else { return Ok(None) };
                let Some(home) = map.members(group) else { return Ok(Some(())) };
                let said = control.set_voters(group, home, hosts[0], Patience::Seconds(5))?;
                last = said.complaint;
                Ok(said.succeeded.then_some(()))
            });
            restored.map_err(|trouble| trouble.with(&last))?;
        }
        self.cluster.check_alive()
    }

    /// Has a node let in again that lost its disk, and waits until nobody keeps it out.
    fn replace(&mut self, node: usize) -> Result<(), Trouble> {
        let nodes = &self.known.nodes;
        let asked = *nodes.iter().find(|other| **other != node).expect("there are three at least");
        let mut last = String::new();
        let replaced = self.pace.wait_for("a lost node is let in again", REPAIRED_MAX, || {
            self.cluster.check_alive()?;
            let control = &self.cluster.control;
            let said = control.replace(node, asked, Patience::Seconds(30))?;
            last = said.complaint;
            let answers = control.status(nodes, false)?;
            let is_in = answers.iter().all(|answer| answer.ready && !answer.refuses());
            if is_in {
                self.cluster.node(node).has_joined();
            }
            Ok((said.succeeded && is_in).then_some(()))
        });
        replaced.map(drop).map_err(|trouble| trouble.with(&last))
    }
}

/// Writes that soon need another segment of the log.
struct Bulk {
    targets: Vec<String>,
    value: Vec<u8>,
}

impl Bulk {
    /// Writes some keys at once, each the same as before. Refused where the disks of a majority are full.
    fn write(&self) {
        let options = Options { operation_timeout: Micros::from_secs(2), ..Options::default() };
        let Ok(mut client) = Client::connect(&self.targets, options) else { return };
        let keys: Vec<String> = (0..BULK_KEYS).map(|key| format!("bulk-{key}")).collect();
        let submit = |key: &String| {
            let command = Command::Put { key: key.as_bytes(), value: &self.value };
            client.submit(command).expect("a sound command")
        };
        let tickets: Vec<_> = keys.iter().map(submit).collect();
        for ticket in tickets {
            let _ = client.wait(ticket);
        }
    }
}

/// Of a group.
const REPLICAS: usize = 3;

/// How long a flapping partition stands, and does not stand.
const FLAP: Duration = Duration::from_millis(300);

/// Some hundred of these fill a segment.
const BULK_BYTES: usize = 256 << 10;
const BULK_KEYS: usize = 16;

const NOTICED_MAX: Duration = Duration::from_mins(1);
const STOPPED_MAX: Duration = Duration::from_secs(30);
const REPAIRED_MAX: Duration = Duration::from_mins(2);
