//! Which incarnation of each other node was seen: a node that comes back with an empty disk is not
//! the node that voted, and must not pass for it.
//!
//! Kept by core 0 and written to `<data>/peers` before an incarnation is first believed: one line per
//! node, `n2 00c0ffee00c0ffee`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::data_dir::{DataDirError, at, replace_file};
use crate::base::{Incarnation, NodeId};

/// The incarnations seen.
#[derive(Debug)]
pub(super) struct Registry {
    data_dir: PathBuf,
    /// Grows only: an incarnation once seen is never replaced.
    seen: BTreeMap<NodeId, Incarnation>,
}

/// A node of a known name with another disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "node {node} was known as incarnation {known:016x} and now claims {claimed:016x}: its data \
     directory was formatted anew. Give the new directory a node id of its own, or restore the old one"
)]
pub(super) struct OtherIncarnation {
    node: NodeId,
    known: u64,
    claimed: u64,
}

const FILE: &str = "peers";

impl Registry {
    /// Reads what earlier runs saw.
    ///
    /// # Errors
    /// If the file cannot be read or makes no sense.
    pub(super) fn open(data_dir: &Path) -> Result<Self, DataDirError> {
        let path = data_dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(at("read", &path))?,
        };
        let seen = text.lines().map(parse).collect::<Option<_>>().ok_or_else(|| {
            at("make sense of", &path)(io::Error::from(io::ErrorKind::InvalidData))
        })?;
        Ok(Self { data_dir: data_dir.into(), seen })
    }

    /// Whether `incarnation` is the one of `node` that was seen before, if one was.
    ///
    /// # Errors
    /// If it is another.
    pub(super) fn admit(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
    ) -> Result<(), OtherIncarnation> {
        match self.seen.get(&node) {
            Some(&known) if known == incarnation => Ok(()),
            Some(&Incarnation(known)) => {
                Err(OtherIncarnation { node, known, claimed: incarnation.0 })
            }
            None => {
                self.seen.insert(node, incarnation);
                self.save();
                Ok(())
            }
        }
    }

    /// Writes the file. Happens once in the life of each pair of nodes, so it may block the core.
    fn save(&self) {
        use std::fmt::Write;

        let mut text = String::new();
        for (node, Incarnation(incarnation)) in &self.seen {
            writeln!(text, "{node} {incarnation:016x}").expect("strings take all");
        }
        if let Err(error) = replace_file(&self.data_dir, FILE, text.as_bytes()) {
            super::disk::die("remembering a node's incarnation", &error);
        }
    }
}

fn parse(line: &str) -> Option<(NodeId, Incarnation)> {
    let (node, incarnation) = line.split_once(' ')?;
    Some((node.parse().ok()?, Incarnation(u64::from_str_radix(incarnation, 16).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_once_seen_stays_the_only_one() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut registry = Registry::open(directory.path()).expect("nothing there");
        assert_eq!(registry.admit(NodeId(2), Incarnation(0xA)), Ok(()));
        assert_eq!(registry.admit(NodeId(3), Incarnation(0xB)), Ok(()));
        assert_eq!(registry.admit(NodeId(2), Incarnation(0xA)), Ok(()));

        let mut reopened = Registry::open(directory.path()).expect("what was written");
        let error = reopened.admit(NodeId(2), Incarnation(0xC)).expect_err("another disk");
        assert_eq!((error.known, error.claimed), (0xA, 0xC));
        assert_eq!(reopened.admit(NodeId(3), Incarnation(0xB)), Ok(()));
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join(FILE), "n2 zzz\n").expect("written");
        assert!(Registry::open(directory.path()).is_err());
    }
}
