//! ext4 on a block device.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::loop_device::LoopDevice;
use super::{DiskError, at, programs};

/// A mounted file system; unmounted when dropped, its device detached after it.
#[derive(Debug)]
pub struct Mounted {
    directory: PathBuf,
    /// Nothing once it was taken out.
    device: Option<LoopDevice>,
}

/// Makes an empty ext4 of a device, without blocks that only root may use: full is full.
///
/// # Errors
/// If it fails.
pub fn format(device: &LoopDevice) -> Result<(), DiskError> {
    let options = ["-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
    let arguments: Vec<_> =
        options.iter().map(OsStr::new).chain([device.path().as_os_str()]).collect();
    programs::run("mkfs.ext4", &arguments).map(drop)
}

impl Mounted {
    /// Mounts the file system of `device` at `directory`, which is created if need be.
    ///
    /// # Errors
    /// If it fails; the device is detached then.
    pub fn mount(device: LoopDevice, directory: &Path) -> Result<Self, DiskError> {
        std::fs::create_dir_all(directory).map_err(at("create", directory))?;
        programs::run("mount", &[device.path(), directory])?;
        Ok(Self { directory: directory.into(), device: Some(device) })
    }

    /// Where it is mounted.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Unmounts it and leaves the device attached.
    ///
    /// # Errors
    /// If it is in use.
    pub fn unmount(mut self) -> Result<LoopDevice, DiskError> {
        unmount(&self.directory)?;
        Ok(self.device.take().expect("only taken here"))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.device.is_none() {
            return;
        }
        if let Err(error) = unmount(&self.directory) {
            eprintln!("{} stays mounted: {error}", self.directory.display());
        }
    }
}

/// Unmounts what is mounted at `directory`, once nobody uses it.
///
/// A killed process is gone before its `io_uring` is: that one holds its files for a moment.
///
/// # Errors
/// If somebody uses it for long.
#[expect(clippy::disallowed_methods, reason = "between two attempts, not instead of one")]
pub fn unmount(directory: &Path) -> Result<(), DiskError> {
    let attempt = || programs::run("umount", &[directory]).map(drop);
    for _ in 0..BUSY_ATTEMPTS {
        if attempt().is_ok() {
            return Ok(());
        }
        std::thread::sleep(BETWEEN_ATTEMPTS);
    }
    attempt()
}

/// How long a file system may stay in use by processes that are gone.
const BUSY_ATTEMPTS: u32 = 500;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);
