//! Programs that make disks, and what is said when one is missing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::DiskError;

/// Programs of this crate and the Debian packages that bring them.
const PACKAGES: [(&str, &str); 9] = [
    ("ip", "iproute2"),
    ("losetup", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("qemu-storage-daemon", "qemu-utils"),
    ("setpriv", "util-linux"),
    ("umount", "mount"),
];

/// Demands root.
///
/// # Errors
/// [`DiskError::NotRoot`].
pub fn require_root() -> Result<(), DiskError> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(DiskError::NotRoot) }
}

/// Demands that all these programs are there: before anything is begun.
///
/// # Errors
/// [`DiskError::Missing`] for the first that is not.
///
/// # Panics
/// If a program is not one of this crate's.
pub fn require(programs: &[&str]) -> Result<(), DiskError> {
    programs.iter().try_for_each(|program| find(program).map(drop))
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// If it is missing or fails.
pub fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Result<String, DiskError> {
    let path = find(program)?;
    let mut command = Command::new(&path);
    command.args(arguments);
    let output = command.output().map_err(super::at("run", &path))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        let status = output.status;
        Err(DiskError::Command { command: format!("{command:?}"), status, said })
    }
}

/// Where a program is: also where only root's `PATH` looks.
pub(super) fn find(program: &str) -> Result<PathBuf, DiskError> {
    let (program, package) =
        PACKAGES.into_iter().find(|(name, _)| *name == program).expect("a program of the table");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories
        .map(|directory| directory.join(program))
        .find(|path| is_file(path))
        .ok_or(DiskError::Missing { program, package })
}

fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let missing = DiskError::Missing { program: "losetup", package: "mount" };
        assert!(missing.to_string().contains("install the package mount"), "{missing}");
    }

    #[test]
    #[should_panic(expected = "a program of the table")]
    fn every_program_has_a_package() {
        let _ = find("fsck.floppy");
    }
}
