//! One node: its disk, its clock, its network, and the process that runs it, if one does.

use std::fmt;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{self, NodeClock};
use crate::cut::Place;
use crate::disk::Disk;
use crate::trouble::{Trouble, at};

/// What all nodes have in common.
#[derive(Clone, Debug)]
pub(crate) struct NodePlan {
    /// The server's binary.
    pub(crate) server: PathBuf,
    pub(crate) smp: usize,
    /// `--initial-nodes`.
    pub(crate) initial_nodes: String,
    /// `--join` instead: where another node is administered.
    pub(crate) join: Option<String>,
}

/// A node; its process is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    position: usize,
    plan: NodePlan,
    /// Where the kernel shows its network.
    network: PathBuf,
    log: PathBuf,
    process: Option<Child>,
    /// Whether a SIGSTOP was the last signal.
    stopped: bool,
    /// It asks to be taken in, and was not ready since: a start that fails is repeated, as whoever
    /// supervises it would do.
    is_joining: bool,
    /// How often it was started again because of that.
    restarts: u32,
    /// It lost its disk at some time.
    lost_disk: bool,
    pub(crate) disk: Disk,
    /// None: the machine's own clocks.
    pub(crate) clock: Option<NodeClock>,
}

/// The ports of every node.
pub(crate) const CLIENT_PORT: u16 = 7400;
const PEER_PORT: u16 = 7401;
const ADMIN_PORT: u16 = 7402;

/// `--initial-nodes` for so many.
pub(crate) fn initial_nodes(nodes: usize) -> String {
    let one = |position: usize| {
        let address = Place::Node(position).address();
        format!("n{}={address}:{PEER_PORT}/{address}:{CLIENT_PORT}", position + 1)
    };
    (0..nodes).map(one).collect::<Vec<_>>().join(",")
}

/// Where the node at `position` is administered.
pub(crate) fn admin_address(position: usize) -> String {
    format!("{}:{ADMIN_PORT}", Place::Node(position).address())
}

/// How the node at `position` is called.
pub(crate) fn name(position: usize) -> String {
    format!("n{}", position + 1)
}

/// Nodes by their names.
pub(crate) struct Names<'a>(pub(crate) &'a [usize]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|position| name(*position)).collect();
        f.write_str(&names.join(" "))
    }
}

impl Node {
    /// A node whose process does not run yet. `log`: where its output goes.
    pub(crate) fn new(
        position: usize,
        plan: NodePlan,
        (network, log): (PathBuf, PathBuf),
        disk: Disk,
        clock: Option<NodeClock>,
    ) -> Self {
        let is_joining = plan.join.is_some();
        Self {
            position,
            plan,
            network,
            log,
            process: None,
            stopped: false,
            is_joining,
            restarts: 0,
            lost_disk: false,
            disk,
            clock,
        }
    }

    /// Starts its process; its id.
    ///
    /// # Errors
    /// If it cannot be started.
    ///
    /// # Panics
    /// If one runs already.
    pub(crate) fn start(&mut self) -> Result<u32, Trouble> {
        assert!(self.process.is_none(), "{} runs already", name(self.position));
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(at("open", &self.log))?;
        let errors = log.try_clone().map_err(at("open", &self.log))?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.network.display())).arg("env");
        command.args(self.clock.iter().flat_map(NodeClock::environment));
        command.arg(&self.plan.server).args(self.arguments());
        // Ctrl-C is for this program alone.
        command.process_group(0);
        let process = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let process = process.map_err(at("run", &self.plan.server))?;
        let pid = process.id();
        self.process = Some(process);
        Ok(pid)
    }

    fn arguments(&self) -> Vec<String> {
        let address = Place::Node(self.position).address();
        vec![
            "start".into(),
            "--overprovisioned".into(),
            format!("--exit-with-parent={}", std::process::id()),
            format!("--node-id={}", name(self.position)),
            format!("--data-dir={}", self.disk.data().display()),
            format!("--client-addr={address}:{CLIENT_PORT}"),
            format!("--peer-addr={address}:{PEER_PORT}"),
            format!("--admin-addr={address}:{ADMIN_PORT}"),
            format!("--smp={}", self.plan.smp),
            "--memory=512MiB".into(),
            "--log-segment-bytes=32MiB".into(),
            "--cluster-name=nemesis".into(),
            match &self.plan.join {
                Some(address) => format!("--join={address}"),
                None => format!("--initial-nodes={}", self.plan.initial_nodes),
            },
        ]
    }

    /// Whether it asks to be taken in, and is not ready.
    pub(crate) const fn is_joining(&self) -> bool {
        self.is_joining
    }

    /// It is ready: from now on it must not end by itself.
    pub(crate) fn has_joined(&mut self) {
        self.is_joining = false;
    }

    /// Everything on its disk is gone; its process must not run. One that joined has to do so again, asking
    /// the node at `through`; and so has any that is not told so, where those are gone that it would know.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn lose_disk(&mut self, through: usize, knows_nobody: bool) -> Result<(), Trouble> {
        if knows_nobody || self.plan.join.is_some() {
            self.plan.join = Some(admin_address(through));
            self.is_joining = true;
        }
        self.lost_disk = true;
        self.disk.wipe()
    }

    /// Whether it ever lost its disk.
    pub(crate) const fn has_lost_disk(&self) -> bool {
        self.lost_disk
    }

    /// SIGKILL, whether it stands still or not.
    ///
    /// # Errors
    /// If it ended by itself before.
    pub(crate) fn kill(&mut self) -> Result<(), Trouble> {
        self.check_alive()?;
        self.end();
        Ok(())
    }

    fn end(&mut self) {
        self.stopped = false;
        if let Some(mut process) = self.process.take() {
            // It may be gone already.
            let _ = process.kill();
            let _ = process.wait();
            clock::forget(process.id());
        }
    }

    /// SIGTERM; it is to hand over and end by itself.
    ///
    /// # Errors
    /// If it ended before.
    pub(crate) fn ask_to_stop(&mut self) -> Result<(), Trouble> {
        self.check_alive()?;
        self.signal(Signal::TERM);
        Ok(())
    }

    /// Whether it has ended after it was asked to.
    ///
    /// # Errors
    /// If it did not end well.
    pub(crate) fn has_stopped(&mut self) -> Result<Option<()>, Trouble> {
        let Some(process) = &mut self.process else { return Ok(Some(())) };
        let ended = process.try_wait().map_err(at("wait for", &self.plan.server))?;
        let Some(status) = ended else { return Ok(None) };
        self.process = None;
        if status.success() {
            return Ok(Some(()));
        }
        Err(Trouble::Broken(format!("{} was asked to stop: {status}", name(self.position))))
    }

    /// SIGSTOP: it stands still, and does not know.
    ///
    /// # Errors
    /// If it ended by itself before.
    pub(crate) fn stop(&mut self) -> Result<(), Trouble> {
        self.check_alive()?;
        self.stopped = true;
        self.signal(Signal::STOP);
        Ok(())
    }

    /// SIGCONT.
    pub(crate) fn go_on(&mut self) {
        self.stopped = false;
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("a node that runs");
        let pid = Pid::from_raw(i32::try_from(process.id()).expect("as the kernel gave it out"));
        kill_process(pid.expect("not zero"), signal).expect("it is our child");
    }

    /// Demands that its process, if one was started, has not ended by itself.
    ///
    /// # Errors
    /// If it has.
    pub(crate) fn check_alive(&mut self) -> Result<(), Trouble> {
        let Some(process) = &mut self.process else { return Ok(()) };
        match process.try_wait().map_err(at("wait for", &self.plan.server))? {
            None => Ok(()),
            // Refused, or nobody took it in.
            Some(status)
                if self.is_joining
                    && matches!(status.code(), Some(1 | 3))
                    && self.restarts < RESTARTS_MAX =>
            {
                self.restarts += 1;
                self.end();
                self.start().map(drop)
            }
            Some(status) => Err(Trouble::Broken(format!(
                "{} ended by itself ({status}): see {}",
                name(self.position),
                self.log.display()
            ))),
        }
    }
}

/// More often nobody starts a node that is refused.
const RESTARTS_MAX: u32 = 200;

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}
