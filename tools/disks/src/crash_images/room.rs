//! The files of one check: gone after it, unless something was lost.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A directory for disks and what is known of them.
#[derive(Debug)]
pub(crate) struct Room {
    directory: RefCell<Option<TempDir>>,
    path: PathBuf,
    /// What is being looked at.
    note: RefCell<String>,
    succeeded: Cell<bool>,
}

impl Room {
    /// An empty one, beside the server's binary: on a real disk.
    ///
    /// # Errors
    /// If the file system refuses.
    pub(crate) fn new() -> io::Result<Self> {
        let us = std::env::current_exe()?;
        let beside_us = us.parent().expect("a file is in a directory");
        let directory = tempfile::Builder::new().prefix("crash-images-").tempdir_in(beside_us)?;
        let path = directory.path().to_owned();
        let directory = RefCell::new(Some(directory));
        Ok(Self { directory, path, note: RefCell::default(), succeeded: Cell::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The disk before anything happened to it.
    pub(crate) fn formatted(&self) -> PathBuf {
        self.path.join("formatted")
    }

    /// Where the nodes find their data.
    pub(crate) fn mounted(&self) -> PathBuf {
        self.path.join("mounted")
    }

    /// Notes what is looked at next.
    pub(crate) fn note(&self, what: String) {
        *self.note.borrow_mut() = what;
    }

    /// Nothing here is needed any more.
    pub(crate) fn succeeded(&self) {
        self.succeeded.set(true);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let note = self.note.borrow();
        if self.succeeded.get() || note.is_empty() {
            return;
        }
        if let Some(directory) = self.directory.borrow_mut().take() {
            let kept = directory.keep();
            eprintln!("{note}: the disk and its write log are kept in {}", kept.display());
        }
    }
}
