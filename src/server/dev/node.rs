//! One node of the development cluster: a child process, its files and its addresses.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::interrupt::Interrupt;
use crate::base::NodeId;
use crate::server::command_line::EXIT_WITH_PARENT;
use crate::server::setting::SETTINGS;

/// A node as a child process.
pub(crate) struct Node {
    /// Which.
    pub(crate) id: NodeId,
    /// For clients.
    pub(crate) client_address: String,
    /// For administration.
    pub(crate) admin_address: String,
    /// Its configuration.
    pub(crate) config_path: PathBuf,
    /// What it writes to its standard output and error.
    pub(crate) log_path: PathBuf,
    /// The process; taken when its end was seen.
    child: Option<Child>,
}

/// A node's files and addresses, before it runs.
pub(crate) struct Plan {
    /// Which node.
    pub(crate) id: NodeId,
    /// For clients.
    pub(crate) client_address: String,
    /// For administration.
    pub(crate) admin_address: String,
    /// Its configuration.
    pub(crate) config_path: PathBuf,
}

impl Node {
    /// Starts the node.
    ///
    /// # Errors
    /// If this very program cannot be run again, or the log cannot be written.
    pub(crate) fn start(plan: Plan) -> io::Result<Self> {
        let log_path = plan.config_path.with_extension("log");
        let log = OpenOptions::new().create(true).append(true).open(&log_path)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["start", "--config"])
            .arg(&plan.config_path)
            .arg(format!("--{EXIT_WITH_PARENT}={}", std::process::id()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C in the terminal is ours to pass on: a second signal cuts the stop short.
            .process_group(0);
        // The environment is stronger than the file: what it says of one node must not hit three.
        for setting in SETTINGS.iter().filter(|setting| setting.section != "logging") {
            command.env_remove(setting.variable());
        }
        Ok(Self {
            id: plan.id,
            client_address: plan.client_address,
            admin_address: plan.admin_address,
            config_path: plan.config_path,
            log_path,
            child: Some(command.spawn()?),
        })
    }

    /// The process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How it ended, the first time this is asked after its end.
    pub(crate) fn take_end(&mut self) -> Option<ExitStatus> {
        let end = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(end)
    }

    /// Asks it to stop.
    pub(crate) fn ask_to_stop(&self) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended meanwhile: nothing to ask then.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// The last `count` lines it wrote.
    pub(crate) fn log_tail(&self, count: usize) -> String {
        let text = fs::read(&self.log_path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        format!("    {}", lines[lines.len().saturating_sub(count)..].join("\n    "))
    }
}

/// Stops all nodes: asks, waits, and kills what is still there after ten seconds, or when a signal
/// says that nobody wants to wait any longer.
pub(crate) fn stop(nodes: &mut [Node], interrupt: &mut Interrupt) {
    for node in nodes.iter() {
        node.ask_to_stop();
    }
    for _ in 0..STOP_STEPS {
        let mut running = nodes.iter_mut().filter(|node| node.child.is_some());
        if running.all(|node| node.take_end().is_some()) {
            return;
        }
        if interrupt.wait_for_another(STOP_STEP) {
            break;
        }
    }
    for child in nodes.iter_mut().filter_map(|node| node.child.as_mut()) {
        // Both fail only if it has ended.
        let _ = child.kill();
        let _ = child.wait();
    }
}

const STOP_STEP: Duration = Duration::from_millis(20);

const STOP_STEPS: u32 = 500;
