//! One node: its directory, its addresses, and the process that runs it, if one does.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::http;
use super::place;
use super::status::NodeStatus;
use super::wait::wait_for;

/// What a node is started with, each time.
#[derive(Clone, Debug)]
pub(crate) struct NodePlan {
    pub(crate) id: u64,
    pub(crate) data_dir: PathBuf,
    pub(crate) client: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) smp: usize,
    /// `--initial-nodes`; empty for a cluster of this node alone.
    pub(crate) initial_nodes: String,
    pub(crate) cluster_name: String,
    /// Arguments besides, or instead.
    pub(crate) further: Vec<String>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

impl NodePlan {
    /// Starts a process by this plan, whose output is appended to the log.
    ///
    /// # Panics
    /// If it cannot be started; what happens to it then is the caller's to see.
    pub(crate) fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(&self.log).expect("the log");
        let errors = log.try_clone().expect("a second handle");
        Command::new(place::server())
            .args(["start", "--overprovisioned"])
            .arg(format!("--exit-with-parent={}", std::process::id()))
            .args(self.arguments())
            .args(&self.further)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("the server's binary runs")
    }

    /// Runs another command of the binary with this node's settings and `more`: how it ended, and
    /// all it said.
    pub(crate) fn run(&self, command: &str, more: &[&str]) -> (ExitStatus, String) {
        let output = Command::new(place::server())
            .args([command, "--overprovisioned"])
            .args(self.arguments())
            .args(more)
            .output()
            .expect("the server's binary runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8(said).expect("text"))
    }

    fn arguments(&self) -> Vec<String> {
        let pairs = [
            ("node-id", format!("n{}", self.id)),
            ("data-dir", self.data_dir.display().to_string()),
            ("client-addr", self.client.to_string()),
            ("peer-addr", self.peer.to_string()),
            ("admin-addr", self.admin.to_string()),
            ("smp", self.smp.to_string()),
            ("memory", "512MiB".to_owned()),
            ("log-segment-bytes", "32MiB".to_owned()),
            ("cluster-name", self.cluster_name.clone()),
            ("initial-nodes", self.initial_nodes.clone()),
        ];
        let given = |flag: &str| {
            let flag = format!("--{flag}=");
            self.further.iter().any(|argument| argument.starts_with(&flag))
        };
        pairs
            .into_iter()
            .filter(|(flag, value)| !value.is_empty() && !given(flag))
            .map(|(flag, value)| format!("--{flag}={value}"))
            .collect()
    }
}

/// A node; its process is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    plan: NodePlan,
    process: Option<Child>,
    /// How long the log was when the process was started last.
    log_before: usize,
}

impl Node {
    /// A node whose process does not run yet.
    pub(crate) fn new(plan: NodePlan) -> Self {
        Self { plan, process: None, log_before: 0 }
    }

    pub(crate) fn pass(&mut self, arguments: &[&str]) {
        self.plan.further.extend(arguments.iter().map(ToString::to_string));
    }

    /// Cores from the next start on.
    pub(crate) fn set_smp(&mut self, smp: usize) {
        self.plan.smp = smp;
    }

    pub(crate) fn plan(&self) -> &NodePlan {
        &self.plan
    }

    /// Starts its process, on the directory that the last one left.
    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "node {} runs already", self.plan.id);
        self.log_before = self.log().len();
        self.process = Some(self.plan.spawn());
    }

    /// SIGKILL: as if the power of this node failed, but for what the kernel holds.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("a node that runs");
        process.kill().expect("it is our child");
        process.wait().expect("it is our child");
    }

    /// SIGTERM; returns how the process ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.await_exit()
    }

    /// SIGSTOP: it stands still, and does not know.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("as the kernel gave it out"));
        kill_process(pid.expect("not zero"), signal).expect("it is our child");
    }

    /// Waits for the process to end by itself.
    pub(crate) fn await_exit(&mut self) -> ExitStatus {
        let process = self.process.as_mut().expect("a node that runs");
        let what = format!("node {} ends", self.plan.id);
        let status = wait_for(&what, || process.try_wait().expect("it is our child"));
        self.process = None;
        status
    }

    /// Whether a process was started and has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| process.try_wait().expect("it is our child").is_none())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("a node that runs").id()
    }

    /// What it says of itself; nothing while it cannot be asked, or recovers.
    pub(crate) fn status(&self, with_hash: bool) -> Option<NodeStatus> {
        let path = if with_hash { "/status?hash=1" } else { "/status" };
        let (code, body) = http::get(self.plan.admin, path).ok()?;
        if code == 503 && body.starts_with("recovering") {
            return None;
        }
        assert_eq!(code, 200, "{body}");
        Some(serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    /// What its administration port answers.
    pub(crate) fn ask(&self, path: &str) -> (u16, String) {
        http::get(self.plan.admin, path).expect("it runs")
    }

    /// Whether `/readyz` says so.
    pub(crate) fn is_ready(&self) -> bool {
        http::get(self.plan.admin, "/readyz").is_ok_and(|(code, _)| code == 200)
    }

    /// Memory of its process that is resident, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("a process that runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("proc(5)");
        kib << 10
    }

    pub(crate) fn log(&self) -> String {
        read_log(&self.plan.log)
    }

    /// What it has logged since it was started last.
    pub(crate) fn log_of_this_life(&self) -> String {
        self.log().split_off(self.log_before)
    }

    /// Waits until it has said several times that it waits for another node alone: for more than ten
    /// seconds, many election timeouts.
    pub(crate) fn waits_for(&self, other: &str) {
        let line = format!("waiting for {other} at");
        wait_for(&format!("n{}: {line}", self.plan.id), || {
            (self.log_of_this_life().matches(&line).count() > 1).then_some(())
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Both fail only when it is gone already, which is what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the log of node {} ends:\n{}", self.plan.id, tail(&self.log()));
        }
    }
}

fn read_log(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
