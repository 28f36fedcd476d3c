//! Disks: one for each node, a file with ext4 on a loop device, so that it can be full, slow or lost alone.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use sunstar_disks::create_image;
use sunstar_disks::filesystem::{self, Mounted};
use sunstar_disks::loop_device::LoopDevice;

use crate::trouble::{Trouble, at};

/// A node's disk.
#[derive(Debug)]
pub(crate) struct Disk {
    mounted: Mounted,
    /// Its device, as `/dev/loopN`.
    device: PathBuf,
}

/// Some segments and snapshots fit.
const IMAGE_BYTES: u64 = 768 << 20;

impl Disk {
    /// Makes an empty one called `name` in `room`.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn make(room: &Path, name: &str) -> Result<Self, Trouble> {
        let image = room.join(format!("{name}.image"));
        create_image(&image, IMAGE_BYTES)?;
        let device = LoopDevice::attach(&image)?;
        filesystem::format(&device)?;
        let path = device.path().to_owned();
        let mounted = Mounted::mount(device, &room.join(name))?;
        Ok(Self { mounted, device: path })
    }

    /// The data directory of its node.
    pub(crate) fn data(&self) -> PathBuf {
        self.mounted.directory().join("data")
    }

    /// Its device.
    pub(crate) fn device(&self) -> &Path {
        &self.device
    }

    /// Everything on it is gone.
    ///
    /// # Errors
    /// If the system refuses. The node must not run.
    pub(crate) fn wipe(&self) -> Result<(), Trouble> {
        let data = self.data();
        std::fs::remove_dir_all(&data).map_err(at("remove", &data))
    }

    /// Takes all the room that is left.
    ///
    /// # Errors
    /// If not even a name can be written.
    pub(crate) fn fill(&self) -> Result<(), Trouble> {
        let path = self.ballast();
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(at("create", &path))?;
        // What was free before is ballast already.
        let mut at_byte = file.metadata().map_err(at("look at", &path))?.len();
        let mut length = IMAGE_BYTES;
        while length >= BLOCK {
            match fallocate(&file, FallocateFlags::empty(), at_byte, length) {
                Ok(()) => at_byte += length,
                Err(_) => length /= 2,
            }
        }
        Ok(())
    }

    /// There is room again.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn empty(&self) -> Result<(), Trouble> {
        let path = self.ballast();
        std::fs::remove_file(&path).map_err(at("remove", &path))
    }

    fn ballast(&self) -> PathBuf {
        self.mounted.directory().join("ballast")
    }
}

/// What ext4 gives out at least.
const BLOCK: u64 = 4 << 10;
