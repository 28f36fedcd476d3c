//! Where the three nodes live: a folder given, or a temporary one on a file system that can do it.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The folder that holds the nodes' configuration files, data and logs.
pub(crate) struct Folder {
    path: PathBuf,
    /// Removes the folder when dropped.
    temporary: Option<TempDir>,
}

impl Folder {
    /// The folder at `path`, made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn given(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Ok(Self { path: path.canonicalize()?, temporary: None })
    }

    /// A new folder: where temporary files belong, else in the current directory if that one is on
    /// a file system in memory, which knows no direct I/O. Removed when dropped, unless `keep`.
    ///
    /// # Errors
    /// If it cannot be made, or both places are in memory.
    pub(crate) fn temporary(keep: bool) -> io::Result<Self> {
        let places = [std::env::temp_dir(), PathBuf::from(".")];
        let Some(place) = places.iter().find(|place| !is_in_memory(place)) else {
            return Err(io::Error::other(format!(
                "{} and the current directory are on file systems in memory, without O_DIRECT: \
                 name a directory on a disk with --dir",
                places[0].display()
            )));
        };
        let made = tempfile::Builder::new().prefix("sunstar-dev-").tempdir_in(place)?;
        let path = made.path().canonicalize()?;
        if keep {
            return Ok(Self { path: made.keep().canonicalize()?, temporary: None });
        }
        Ok(Self { path, temporary: Some(made) })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it goes when we go.
    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }
}

/// Source: statfs(2), the types of tmpfs and ramfs.
fn is_in_memory(path: &Path) -> bool {
    const TMPFS: i128 = 0x0102_1994;
    const RAMFS: i128 = 0x8584_58f6;
    rustix::fs::statfs(path).is_ok_and(|found| [TMPFS, RAMFS].contains(&i128::from(found.f_type)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_and_a_kept_one_stays() {
        let gone = Folder::temporary(false).expect("made");
        let path = gone.path().to_owned();
        assert!(path.is_dir() && gone.is_temporary());
        drop(gone);
        assert!(!path.exists());

        let kept = Folder::temporary(true).expect("made");
        let path = kept.path().to_owned();
        drop(kept);
        std::fs::remove_dir(&path).expect("still there");
    }

    #[test]
    fn memory_file_systems_are_told_apart() {
        assert!(is_in_memory(Path::new("/dev/shm")) || !Path::new("/dev/shm").exists());
        assert!(!is_in_memory(Path::new("/proc")));
    }
}
