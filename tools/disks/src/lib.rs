//! Block devices that can be filled, watched and broken, out of files.
//!
//! ```text
//!  a node's data directory
//!       │  ext4                     filesystem::Mounted
//!       ▼
//!  /dev/loopN                       loop_device::LoopDevice
//!       │  (for a full disk the image lies right here)
//!       ▼
//!  a file that is a block device    export::Export: qemu-storage-daemon, FUSE
//!       │  blkdebug: fails requests on command
//!       │  blklogwrites: notes every write and flush in order
//!       ▼
//!  the image, a sparse file
//! ```
//!
//! So the server's own direct I/O through `io_uring` is what is tested: the kernel, the file system and
//! the flushes are those of any machine, only the bottom is ours.
//!
//! All of it needs root, and is taken down again when the values are dropped, in the order of
//! their declaration, last first: nodes before mounts, mounts before devices, devices before exports.

pub mod export;
pub mod filesystem;
pub mod loop_device;
pub mod network;
pub mod programs;
mod qmp;

use std::io;
use std::path::{Path, PathBuf};

pub use programs::{require, require_root};

/// Why a disk could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A program is not installed.
    #[error("`{program}` is missing: install the package {package} (Debian's name)")]
    Missing {
        /// Its name.
        program: &'static str,
        /// What brings it.
        package: &'static str,
    },
    /// Mounts and loop devices are for root.
    #[error("loop devices and mounts need root: run this as root")]
    NotRoot,
    /// A program said no.
    #[error("`{command}` failed ({status}): {said}")]
    Command {
        /// The program and its arguments.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it printed.
        said: String,
    },
    /// The system said no.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The storage daemon does not do what it should.
    #[error("qemu-storage-daemon: {0}")]
    Daemon(String),
}

/// Creates the image of a disk: `bytes` long, taking room only where it is written.
///
/// # Errors
/// If the file system refuses.
pub fn create_image(path: &Path, bytes: u64) -> Result<(), DiskError> {
    std::fs::File::create(path)
        .and_then(|file| file.set_len(bytes))
        .map_err(at("create the image", path))
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_path_buf();
    move |source| DiskError::Io { action, path, source }
}
