//! An image behind qemu's block layer, as a file that can be made a loop device of.
//!
//! The daemon's graph, which [`Export::break_down`] changes while it is used:
//!
//! ```text
//!   FUSE file ── raw "top" ── blklogwrites "logged" (if asked for) ── file "image"
//!                      └───── blkdebug "broken" ────────────────────┘
//! ```

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::qmp::Qmp;
use super::{DiskError, at, programs};

/// Which requests of a broken disk fail, all with EIO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// All reads.
    Reads,
    /// All writes.
    Writes,
    /// All flushes.
    Flushes,
}

impl Failing {
    fn io_type(self) -> &'static str {
        match self {
            Self::Reads => "read",
            Self::Writes => "write",
            Self::Flushes => "flush",
        }
    }
}

/// A running storage daemon; ended when dropped.
#[derive(Debug)]
pub struct Export {
    process: Child,
    qmp: Qmp,
    file: PathBuf,
    /// The node below "top" while the disk is whole.
    whole: &'static str,
}

impl Export {
    /// Exports `image`. What else is needed lies in `directory`: the exported file `device`, the
    /// daemon's socket and its log. With `write_log`, a file that exists and is long enough, every
    /// write and flush is noted there in order, in the format of the kernel's dm-log-writes.
    ///
    /// # Errors
    /// If the daemon cannot be started or does not export.
    pub fn start(
        directory: &Path,
        image: &Path,
        write_log: Option<&Path>,
    ) -> Result<Self, DiskError> {
        let file = directory.join("device");
        let socket = directory.join("daemon.sock");
        let log_path = directory.join("daemon.log");
        // FUSE mounts over an ordinary file.
        File::create(&file).map_err(at("create", &file))?;
        let log = File::create(&log_path).map_err(at("create", &log_path))?;
        let errors = log.try_clone().map_err(at("share", &log_path))?;
        let whole = if write_log.is_some() { "logged" } else { "image" };
        let nodes = nodes(image, write_log, whole);
        let process = Command::new(programs::find("setpriv")?)
            // The disk goes with those who use it, however they end.
            .args(["--pdeathsig", "KILL"])
            .arg(programs::find("qemu-storage-daemon")?)
            .args(nodes.iter().flat_map(|node| ["--blockdev".to_owned(), node.to_string()]))
            .args([
                "--chardev".to_owned(),
                format!("socket,id=qmp,path={},server=on,wait=off", socket.display()),
            ])
            .args(["--monitor", "chardev=qmp"])
            .args(["--export".to_owned(), export_of(&file)])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(at("run", Path::new("qemu-storage-daemon")))?;
        let mut process = ChildGuard(Some(process));
        let qmp = Qmp::connect(&socket, process.get(), &log_path)?;
        let export = Self { process: process.release(), qmp, file, whole };
        export.check_exported(&log_path)?;
        Ok(export)
    }

    /// The exported file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// From now on requests fail. There is no way back: qemu flushes before it changes the graph,
    /// and a disk that failed is replaced, not trusted. Start another export of the image instead.
    ///
    /// # Errors
    /// If the daemon refuses.
    pub fn break_down(&mut self, failing: Failing) -> Result<(), DiskError> {
        self.qmp.execute("blockdev-add", &broken(failing, self.whole))?;
        let top = json!({ "driver": "raw", "node-name": "top", "file": "broken" });
        self.qmp.execute("blockdev-reopen", &json!({ "options": [top] }))?;
        Ok(())
    }

    /// Whether the file shows the image.
    fn check_exported(&self, log: &Path) -> Result<(), DiskError> {
        let metadata = std::fs::metadata(&self.file).map_err(at("look at", &self.file))?;
        let parent = self.file.parent().map(std::fs::metadata);
        let outside = parent.and_then(Result::ok).map(|parent| parent.dev());
        if outside == Some(metadata.dev()) {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            return Err(DiskError::Daemon(format!("nothing was exported: {said}")));
        }
        Ok(())
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        // Asked nicely it unmounts the file and finishes its log.
        let asked = self.qmp.execute("quit", &json!({}));
        if asked.is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn nodes(image: &Path, write_log: Option<&Path>, whole: &str) -> Vec<Value> {
    let mut nodes = vec![file_node("image", image)];
    if let Some(log) = write_log {
        nodes.push(file_node("log", log));
        nodes.push(json!({
            "driver": "blklogwrites", "node-name": "logged", "file": "image", "log": "log",
        }));
    }
    nodes.push(json!({ "driver": "raw", "node-name": "top", "file": whole }));
    nodes
}

fn file_node(name: &str, path: &Path) -> Value {
    json!({ "driver": "file", "node-name": name, "filename": path })
}

fn broken(failing: Failing, below: &str) -> Value {
    let error = json!({
        "event": "none", "iotype": failing.io_type(), "errno": 5, "once": false, "immediately": true,
    });
    json!({ "driver": "blkdebug", "node-name": "broken", "image": below, "inject-error": [error] })
}

fn export_of(file: &Path) -> String {
    format!("fuse,id=export,node-name=top,mountpoint={},writable=on,growable=off", file.display())
}

/// Ends a daemon that never got as far as serving.
struct ChildGuard(Option<Child>);

impl ChildGuard {
    fn get(&mut self) -> &mut Child {
        self.0.as_mut().expect("not released yet")
    }

    fn release(&mut self) -> Child {
        self.0.take().expect("released once")
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
