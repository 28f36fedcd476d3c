//! What a run makes outside of its process, and how that is taken down when the run itself could not.
//!
//! All of it is named for the process of its run: a folder with images and logs, file systems mounted in it,
//! loop devices of images in it, network namespaces, control groups. Nodes end with their run.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use sunstar_disks::{filesystem, programs};

use crate::throttle;
use crate::trouble::{Trouble, at};

/// What all names begin with; the number of a process follows.
const PREFIX: &str = "sunstar-nemesis-";

/// What this run's things are called.
pub(crate) fn prefix() -> String {
    format!("{PREFIX}{}", std::process::id())
}

/// A folder for everything of a run; removed with all in it when dropped.
#[derive(Debug)]
pub(crate) struct Room(PathBuf);

impl Room {
    /// Makes it in `parent`.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn make(parent: &Path, prefix: &str) -> Result<Self, Trouble> {
        let path = parent.join(prefix);
        std::fs::create_dir_all(&path).map_err(at("create", &path))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Not across file systems: what is still mounted stays, and says so.
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

/// Takes down what runs left behind that are no more; what that was.
///
/// # Errors
/// If the system refuses.
pub(crate) fn clean(parent: &Path) -> Result<Vec<String>, Trouble> {
    let mut removed = Vec::new();
    let networks = entries("/run/netns");
    for name in networks.iter().filter_map(|path| path.file_name()?.to_str()) {
        // A node that was stopped when its run ended has not noticed.
        for process in programs::run("ip", &["netns", "pids", name])?.split_whitespace() {
            removed.extend(end(process).then(|| format!("ended the process {process}")));
        }
    }
    for directory in mounts() {
        filesystem::unmount(&directory)?;
        removed.push(format!("unmounted {}", directory.display()));
    }
    for device in loop_devices() {
        programs::run("losetup", &["--detach", &device])?;
        removed.push(format!("detached {device}"));
    }
    for name in networks.iter().filter_map(|path| path.file_name()?.to_str()) {
        programs::run("ip", &["netns", "delete", name])?;
        removed.push(format!("deleted the network {name}"));
    }
    for group in throttle::left_over(PREFIX).into_iter().filter(|path| is_orphan(path)) {
        throttle::remove(&group);
        removed.push(format!("removed {}", group.display()));
    }
    for path in entries(parent) {
        std::fs::remove_dir_all(&path).map_err(at("remove", &path))?;
        removed.push(format!("removed {}", path.display()));
    }
    Ok(removed)
}

/// Whether there was such a process; it is no more.
fn end(process: &str) -> bool {
    let process = process.parse().ok().and_then(Pid::from_raw);
    process.is_some_and(|process| kill_process(process, Signal::KILL).is_ok())
}

/// File systems mounted in folders of runs that are no more.
fn mounts() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let disks = mounts.lines().filter(|line| line.starts_with("/dev/"));
    let directories = disks.filter_map(|line| line.split(' ').nth(1));
    directories.map(PathBuf::from).filter(|path| is_orphan(path)).collect()
}

/// Devices whose images are in such folders.
fn loop_devices() -> Vec<String> {
    let devices = std::fs::read_dir("/sys/block").into_iter().flatten();
    let image = |path: &Path| std::fs::read_to_string(path.join("loop/backing_file"));
    devices
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| image(path).is_ok_and(|image| is_orphan(Path::new(image.trim()))))
        .filter_map(|path| Some(format!("/dev/{}", path.file_name()?.to_string_lossy())))
        .collect()
}

/// What is in a folder and belongs to a run that is no more.
fn entries(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_orphan(path)).collect()
}

/// Whether a part of a path is named for a run that is no more.
fn is_orphan(path: &Path) -> bool {
    let names = path.components().map(|part| part.as_os_str().to_string_lossy());
    names.into_iter().filter_map(|name| process_of(&name)).any(|process| !is_running(process))
}

/// The process in a name: `sunstar-nemesis-12`, `sunstar-nemesis-12-n1`.
fn process_of(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(PREFIX)?;
    rest.split('-').next()?.parse().ok()
}

fn is_running(process: u32) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm"));
    name.is_ok_and(|name| PREFIX.starts_with(name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_whose_they_are() {
        assert_eq!(process_of("sunstar-nemesis-12"), Some(12));
        assert_eq!(process_of("sunstar-nemesis-12-n1"), Some(12));
        assert_eq!(process_of("sunstar"), None);
    }

    #[test]
    fn only_what_nobody_uses_is_an_orphan() {
        // No process has the number zero; ours has another name.
        assert!(is_orphan(Path::new("/tmp/sunstar-nemesis-0/n1")));
        assert!(!is_orphan(Path::new("/tmp/other/n1")));
    }
}
