//! Where a node's cores have their directories: which ones count, and which are left over.
//!
//! ```text
//! <data>/core-<c>/            layout 0, made at the first start
//! <data>/layout-<n>/core-<c>/  layout n, written when the number of cores changed (`rehoming`)
//! <data>/*.old                 what was a layout once, being removed
//! ```
//! The superblock says which layout counts; the others are left-overs of a change that a crash cut
//! short, before or after the switch. They are removed only when the one that counts was seen to be
//! there: a superblock older than the data beside it, brought back from a copy, must cost nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::data_dir::{DataDirError, at, sync_directory};

/// One of the layouts of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    data_dir: PathBuf,
    number: u32,
}

impl Layout {
    pub(super) fn new(data_dir: &Path, number: u32) -> Self {
        Self { data_dir: data_dir.into(), number }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The one that a change of this one leads to.
    pub(super) fn next(&self) -> Self {
        Self { data_dir: self.data_dir.clone(), number: self.number + 1 }
    }

    /// What holds the cores' directories.
    pub(super) fn root(&self) -> PathBuf {
        match self.number {
            0 => self.data_dir.clone(),
            number => self.data_dir.join(format!("{LAYOUT}{number}")),
        }
    }

    /// The directory of core number `core`.
    pub(super) fn core_dir(&self, core: u16) -> PathBuf {
        self.root().join(format!("{CORE}{core}"))
    }

    /// Whether the directories of `cores` cores are there.
    ///
    /// # Errors
    /// If one is not: then nothing here may be taken for left over.
    pub(super) fn check(&self, cores: u16) -> Result<(), DataDirError> {
        match (0..cores).map(|core| self.core_dir(core)).find(|path| !path.is_dir()) {
            Some(path) => Err(DataDirError::CoreMissing { path }),
            None => Ok(()),
        }
    }

    /// Removes all layouts but this one. A crash on the way leaves nothing that looks like one.
    ///
    /// # Errors
    /// If the file system fails.
    pub(super) fn discard_others(&self) -> Result<(), DataDirError> {
        let others = self.others()?;
        if others.is_empty() {
            return Ok(());
        }
        let mut doomed = Vec::new();
        for path in others {
            let old = path.with_extension(OLD);
            if path != old {
                tracing::info!(path = %path.display(), "removing a layout that does not count");
                fs::rename(&path, &old).map_err(at("rename", &path))?;
            }
            doomed.push(old);
        }
        sync_directory(&self.data_dir)?;
        for path in doomed {
            fs::remove_dir_all(&path).map_err(at("remove", &path))?;
        }
        sync_directory(&self.data_dir)
    }

    /// The directories of other layouts.
    fn others(&self) -> Result<Vec<PathBuf>, DataDirError> {
        let ours = self.root();
        let is_other = |path: &PathBuf| match kind(path) {
            Some(Kind::Core) => self.number > 0,
            Some(Kind::Layout) => *path != ours,
            Some(Kind::Old) => true,
            None => false,
        };
        Ok(directories(&self.data_dir)?.into_iter().filter(is_other).collect())
    }
}

/// What holds the cores' directories in the layout of this number.
pub fn core_root(data_dir: &Path, layout: u32) -> PathBuf {
    Layout::new(data_dir, layout).root()
}

/// Whether any core's directory, of any layout, holds something.
///
/// # Errors
/// If the file system fails.
pub(super) fn holds_log(data_dir: &Path) -> Result<bool, DataDirError> {
    for path in directories(data_dir)? {
        let holds = match kind(&path) {
            Some(Kind::Core) => fs::read_dir(&path).map_err(at("list", &path))?.next().is_some(),
            Some(Kind::Layout) => holds_log(&path)?,
            Some(Kind::Old) | None => false,
        };
        if holds {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a directory is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Core,
    Layout,
    Old,
}

fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    let (name, old) = match name.strip_suffix(".old") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let is_numbered = |prefix| {
        name.strip_prefix(prefix).is_some_and(|number: &str| number.parse::<u32>().is_ok())
    };
    let kind = match (is_numbered(CORE), is_numbered(LAYOUT)) {
        (true, _) => Kind::Core,
        (_, true) => Kind::Layout,
        _ => return None,
    };
    Some(if old { Kind::Old } else { kind })
}

fn directories(path: &Path) -> Result<Vec<PathBuf>, DataDirError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.path().is_dir() {
                paths.push(entry.path());
            }
        }
        paths.sort();
        Ok(paths)
    };
    list().map_err(at("list", path))
}

const CORE: &str = "core-";
const LAYOUT: &str = "layout-";
const OLD: &str = "old";

#[cfg(test)]
mod tests {
    use super::*;

    fn made(paths: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for path in paths {
            fs::create_dir_all(directory.path().join(path)).expect("made");
        }
        directory
    }

    fn left(directory: &Path) -> Vec<String> {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        directories(directory).expect("listed").into_iter().map(name).collect()
    }

    const ALL: [&str; 7] =
        ["core-0", "core-1", "core-2.old", "core-x", "layout-1/core-0", "layout-2/core-0", "lost"];

    #[test]
    fn only_other_layouts_are_left_over() {
        for (number, expected) in [
            (0, vec!["core-0", "core-1", "core-x", "lost"]),
            (1, vec!["core-x", "layout-1", "lost"]),
            (2, vec!["core-x", "layout-2", "lost"]),
        ] {
            let directory = made(&ALL);
            Layout::new(directory.path(), number).discard_others().expect("removed");
            assert_eq!(left(directory.path()), expected);
        }
    }

    #[test]
    fn a_layout_is_there_with_all_its_cores() {
        let directory = made(&ALL);
        let layout = |number| Layout::new(directory.path(), number);
        layout(0).check(2).expect("both are there");
        let error = layout(0).check(3).expect_err("the third is not");
        assert!(error.to_string().contains("core-2"), "{error}");
        layout(3).check(1).expect_err("never made");
    }

    #[test]
    fn a_log_is_found_in_any_layout() {
        for (paths, expected) in [
            (&["core-0", "layout-1/core-0"][..], false),
            (&["core-0/segment-0.log"], true),
            (&["core-0", "layout-1/core-1/1-1.snap"], true),
            (&["core-0.old/segment-0.log"], false),
        ] {
            assert_eq!(holds_log(made(paths).path()).expect("listed"), expected, "{paths:?}");
        }
    }
}
