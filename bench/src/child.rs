//! Processes that a benchmark starts: none outlives it.
//!
//! Each is started through this program's own `leashed` command, which asks the kernel for SIGKILL on
//! the parent's death and then becomes the program: so even a killed benchmark leaves nothing running.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::error::BenchError;

/// Set once the user wants an end. Registered before the first child starts, so that Ctrl-C ends
/// the children (they are of the same process group) but leaves this process to clean up.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes SIGINT and SIGTERM over.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn register() -> Result<Self, BenchError> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag))
                .map_err(BenchError::io("taking signals over"))?;
        }
        Ok(Self(flag))
    }

    /// # Errors
    /// `Interrupted` once a signal came.
    pub(crate) fn check(&self) -> Result<(), BenchError> {
        if self.0.load(Ordering::Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
    }

    /// Says `Interrupted` where an error is but the consequence: the children got the signal too.
    ///
    /// # Errors
    /// As `result`, or `Interrupted`.
    pub(crate) fn explain<T>(&self, result: Result<T, BenchError>) -> Result<T, BenchError> {
        result.map_err(|error| self.check().err().unwrap_or(error))
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    /// `Failed` with `what` when `patience` has passed, `Interrupted`, or what `condition` says.
    pub(crate) fn wait_until(
        &self,
        what: &str,
        patience: Duration,
        mut condition: impl FnMut() -> Result<bool, BenchError>,
    ) -> Result<(), BenchError> {
        let deadline = Instant::now() + patience;
        loop {
            self.check()?;
            if condition()? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(BenchError::Failed(format!("{what}: not within {patience:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs a program that dies with the process that started it.
#[derive(Debug, clap::Args)]
pub(crate) struct Leashed {
    /// The process that must be alive.
    parent: i32,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    program: Vec<OsString>,
}

impl Leashed {
    /// Becomes the program; returns only if that fails.
    pub(crate) fn exec(&self) -> BenchError {
        if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
            return BenchError::io("asking for the parent's death")(error.into());
        }
        // The parent may have died before the request took effect.
        let parent = rustix::process::getppid().map_or(0, rustix::process::Pid::as_raw_pid);
        if parent != self.parent {
            return BenchError::Interrupted;
        }
        let (program, arguments) = self.program.split_first().expect("clap requires one");
        let error = Command::new(program).args(arguments).exec();
        BenchError::io(format!("starting {}", program.display()))(error)
    }
}

/// A server process with its output in a file. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Server {
    /// Starts `program`, its output appended to the file `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(
        name: impl Into<String>,
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        log: &Path,
    ) -> Result<Self, BenchError> {
        let name = name.into();
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(BenchError::io(log.display().to_string()))?;
        let errors = output.try_clone().map_err(BenchError::io(log.display().to_string()))?;
        let child = leashed(program)?
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(BenchError::io(format!("starting {name}")))?;
        Ok(Self { child, name, log: log.to_owned() })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop in order.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn terminate(&self) -> Result<(), BenchError> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::TERM)
            .map_err(|error| BenchError::io(self.name.clone())(error.into()))
    }

    /// # Errors
    /// If it has ended, with the end of its log.
    pub(crate) fn check_alive(&mut self) -> Result<(), BenchError> {
        match self.child.try_wait().map_err(BenchError::io(self.name.clone()))? {
            None => Ok(()),
            Some(status) => Err(BenchError::Failed(format!(
                "{} ended with {status}; its log ends:\n{}",
                self.name,
                tail(&self.log)
            ))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One client process, of this very program: says lines on its standard output. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Driver {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Driver {
    /// Starts this program anew with `arguments`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Self, BenchError> {
        let mut child = leashed(&own_program()?)?
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(BenchError::io("starting a client"))?;
        let output = child.stdout.take().expect("asked for a pipe");
        Ok(Self { child, lines: BufReader::new(output).lines() })
    }

    /// Waits for the next line, which must be `wanted`.
    ///
    /// # Errors
    /// If the client says something else, or ends instead: then it has said why on stderr.
    pub(crate) fn expect(&mut self, wanted: &str) -> Result<(), BenchError> {
        let line = self.line()?;
        if line == wanted { Ok(()) } else { Err(misunderstood(&line, &wanted)) }
    }

    /// Waits for the next line, which must be the result.
    ///
    /// # Errors
    /// If the client says something else, or ends instead: then it has said why on stderr.
    pub(crate) fn result<T: DeserializeOwned>(&mut self) -> Result<T, BenchError> {
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|error| misunderstood(&line, &error))
    }

    fn line(&mut self) -> Result<String, BenchError> {
        self.lines
            .next()
            .ok_or_else(|| BenchError::Failed("the client ended early".into()))?
            .map_err(BenchError::io("reading from the client"))
    }
}

fn misunderstood(line: &str, wanted: &dyn Display) -> BenchError {
    BenchError::Failed(format!("the client said {line:?}: {wanted}"))
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Both fail only when it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that runs `program` on this process's leash.
fn leashed(program: &Path) -> Result<Command, BenchError> {
    let mut command = Command::new(own_program()?);
    command.args(["leashed", "--", &std::process::id().to_string()]).arg(program);
    Ok(command)
}

/// This program's file.
///
/// # Errors
/// If the system does not say.
pub(crate) fn own_program() -> Result<PathBuf, BenchError> {
    std::env::current_exe().map_err(BenchError::io("finding this program's file"))
}

/// Makes a directory of its own under `parent`, removed when dropped.
///
/// # Errors
/// If the file system refuses.
pub(crate) fn directory_in(parent: &Path) -> Result<TempDir, BenchError> {
    let what = || BenchError::io(parent.display().to_string());
    std::fs::create_dir_all(parent).map_err(what())?;
    let parent = Path::canonicalize(parent).map_err(what())?;
    tempfile::Builder::new().prefix("sunstar-bench-").tempdir_in(&parent).map_err(what())
}

/// Returns `count` loopback ports that were free a moment ago, all different.
///
/// # Errors
/// If the system has none.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>, BenchError> {
    let listeners: Result<Vec<_>, _> =
        (0..count).map(|_| std::net::TcpListener::bind(("127.0.0.1", 0))).collect();
    listeners
        .and_then(|all| all.iter().map(|one| Ok(one.local_addr()?.port())).collect())
        .map_err(BenchError::io("looking for free ports"))
}

/// Returns the last lines of a log, for an error's text.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

const TAIL_LINES: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_all_different() {
        let mut ports = free_ports(16).expect("ports");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 16);
    }

    #[test]
    fn a_tail_holds_the_last_lines_only() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let lines: Vec<_> = (0..40).map(|line| format!("line {line}")).collect();
        std::fs::write(file.path(), lines.join("\n")).expect("written");
        let tail = tail(file.path());
        assert!(tail.starts_with("line 25\n"), "{tail}");
        assert!(tail.ends_with("line 39"), "{tail}");
    }
}
