//! Slow disks: the kernel lets a process do only so many requests a second to a device (blkio).
//!
//! Both generations of control groups do it; which one has the controller is the machine's choice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::trouble::{Trouble, at};

/// A control group for each node; removed when dropped.
#[derive(Debug)]
pub(crate) struct Throttles {
    generation: Generation,
    /// In whose folder they are made.
    root: PathBuf,
    prefix: String,
    groups: BTreeMap<usize, PathBuf>,
}

#[derive(Clone, Copy, Debug)]
enum Generation {
    /// A hierarchy of the controller's own.
    One,
    /// The one hierarchy.
    Two,
}

/// Where the first generation's controller is mounted.
const ONE: &str = "/sys/fs/cgroup/blkio";
/// Where the second generation is.
const TWO: &str = "/sys/fs/cgroup";

impl Throttles {
    /// Groups will be named with `prefix`.
    ///
    /// # Errors
    /// If this kernel has no such controller, or does not let us.
    pub(crate) fn make(prefix: &str) -> Result<Self, Trouble> {
        let (generation, root) = find()?;
        Ok(Self { generation, root, prefix: prefix.to_owned(), groups: BTreeMap::new() })
    }

    /// Makes the group of a node.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn add(&mut self, position: usize) -> Result<(), Trouble> {
        let group = self.root.join(format!("{}-n{}", self.prefix, position + 1));
        std::fs::create_dir(&group).map_err(at("make the control group", &group))?;
        self.groups.insert(position, group);
        Ok(())
    }

    /// Process `pid` runs node `position` from now on.
    ///
    /// # Errors
    /// If it is gone.
    pub(crate) fn take_in(&self, position: usize, pid: u32) -> Result<(), Trouble> {
        write(&self.groups[&position].join("cgroup.procs"), &pid.to_string())
    }

    /// Lets node `position` do so many requests to `device` in a second; `None`: as many as it can.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn limit(
        &self,
        position: usize,
        device: &Path,
        requests: Option<u32>,
    ) -> Result<(), Trouble> {
        let group = &self.groups[&position];
        let name = device.file_name().unwrap_or_default();
        let path = Path::new("/sys/block").join(name).join("dev");
        let numbers = std::fs::read_to_string(&path).map_err(at("read", &path))?;
        let numbers = numbers.trim();
        match self.generation {
            Generation::One => {
                let limit = format!("{numbers} {}", requests.unwrap_or(0));
                write(&group.join("blkio.throttle.write_iops_device"), &limit)?;
                write(&group.join("blkio.throttle.read_iops_device"), &limit)
            }
            Generation::Two => {
                let limit = requests.map_or("max".to_owned(), |count| count.to_string());
                write(&group.join("io.max"), &format!("{numbers} riops={limit} wiops={limit}"))
            }
        }
    }
}

impl Drop for Throttles {
    fn drop(&mut self) {
        for group in self.groups.values() {
            remove(group);
        }
    }
}

/// Removes an empty group.
pub(crate) fn remove(group: &Path) {
    if let Err(error) = std::fs::remove_dir(group) {
        eprintln!("the control group {} stays: {error}", group.display());
    }
}

/// Groups of runs whose names begin with `prefix`.
pub(crate) fn left_over(prefix: &str) -> Vec<PathBuf> {
    let folders = [ONE, TWO].into_iter().filter_map(|root| std::fs::read_dir(root).ok());
    let paths = folders.flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let ours = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    };
    paths.filter(ours).collect()
}

fn find() -> Result<(Generation, PathBuf), Trouble> {
    let unable = |why: &str| Trouble::Unable { kind: "slow-disk", why: why.to_owned() };
    if Path::new(ONE).join("blkio.throttle.write_iops_device").exists() {
        return Ok((Generation::One, ONE.into()));
    }
    let controllers = std::fs::read_to_string(Path::new(TWO).join("cgroup.controllers"));
    let controllers = controllers.map_err(|_| unable("no control groups are mounted"))?;
    if !controllers.split_whitespace().any(|name| name == "io") {
        return Err(unable("the kernel has no block I/O controller"));
    }
    write(&Path::new(TWO).join("cgroup.subtree_control"), "+io")?;
    Ok((Generation::Two, TWO.into()))
}

fn write(path: &Path, text: &str) -> Result<(), Trouble> {
    std::fs::write(path, text).map_err(at("write", path))
}
