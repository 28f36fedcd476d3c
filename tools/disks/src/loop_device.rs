//! A file as a block device.
//!
//! The loop driver writes to the file buffered, not directly. Under an image that is an ordinary file
//! this changes nothing, since a flush of the device syncs the file. Under an [`crate::export`] it is
//! needed: FUSE writes through its cache, so the daemon still sees each write when it is made and each
//! flush after it, but one write at a time. With several in flight at once, as direct I/O has them,
//! qemu up to 10.0 overwrites the data of one request with the next and the disk is garbage.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{DiskError, at, programs};

/// A block device over a file; detached when dropped.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    /// Makes a device of `file`.
    ///
    /// # Errors
    /// If there is no free device or the file cannot be used.
    pub fn attach(file: &Path) -> Result<Self, DiskError> {
        let arguments = [OsStr::new("--find"), OsStr::new("--show"), file.as_os_str()];
        let said = programs::run("losetup", &arguments)?;
        Ok(Self { path: said.trim().into() })
    }

    /// Has the kernel read far ahead: each request waits for a thread that takes turns with all others.
    ///
    /// # Errors
    /// If the device has no such setting.
    pub fn read_ahead(&self, kib: u32) -> Result<(), DiskError> {
        let name = self.path.file_name().unwrap_or_default();
        let setting = Path::new("/sys/block").join(name).join("queue/read_ahead_kb");
        std::fs::write(&setting, kib.to_string()).map_err(at("write", &setting))
    }

    /// The device's node in `/dev`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let arguments = [OsStr::new("--detach"), self.path.as_os_str()];
        if let Err(error) = programs::run("losetup", &arguments) {
            eprintln!("{} stays attached: {error}", self.path.display());
        }
    }
}
