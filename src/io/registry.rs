//! Where a node notes which incarnation of each other node counts: `<data>/peers`.
//!
//! Kept by core 0. What counts is decided by [`Incarnations`]; here it is written down before it is
//! believed, one line per node.
//!
//! What a full disk has no room to note is not believed: the node is refused, says so, and calls
//! again, until there is room.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::data_dir::{DataDirError, at, put_file, sync_directory};
use super::disk::{die, is_disk_full};
use crate::base::{Incarnation, NodeId, Time};
use crate::peering::{Incarnations, Known, OtherIncarnation};
use crate::wire::handshake::Replaced;

/// The incarnations seen, on disk.
#[derive(Debug)]
pub(super) struct Registry {
    data_dir: PathBuf,
    incarnations: Incarnations,
    /// The last note found no room. It is said once, not at every try.
    full: bool,
}

/// Why a node is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAdmitted {
    /// It has a known name and another disk.
    #[error(transparent)]
    OtherIncarnation(#[from] OtherIncarnation),
    /// Who it is cannot be noted.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// The disk has no room for a note of who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk of the node that was asked is full, and it must take note of {node}'s incarnation \
     first: make room there; it is tried again by itself"
)]
pub(super) struct NoRoom {
    node: NodeId,
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
        let incarnations = Incarnations::parse(&text).ok_or_else(|| {
            at("make sense of", &path)(io::Error::from(io::ErrorKind::InvalidData))
        })?;
        Ok(Self { data_dir: data_dir.into(), incarnations, full: false })
    }

    /// Whether `incarnation` is the one of `node` that counts; the first one met does.
    ///
    /// # Errors
    /// If it is another, or cannot be noted.
    pub(super) fn admit(
        &mut self,
        now: Time,
        node: NodeId,
        incarnation: Incarnation,
    ) -> Result<(), NotAdmitted> {
        match self.incarnations.admit(now, node, incarnation)? {
            None => Ok(()),
            Some(first) => Ok(self.store(node, first)?),
        }
    }

    /// What counts of a node, if it was ever met or spoken of.
    pub(super) fn known(&self, node: NodeId) -> Option<Known> {
        self.incarnations.known(node)
    }

    /// Whether no other incarnation of `node` is known to have been before.
    pub(super) fn is_first(&self, node: NodeId) -> bool {
        self.incarnations.is_first(node)
    }

    /// Who was refused lately.
    pub(super) fn refused(&self, now: Time) -> impl Iterator<Item = (NodeId, Incarnation)> + '_ {
        self.incarnations.refused(now)
    }

    /// From now on, `second` since 1970, `incarnation` counts. Returns whether another one did.
    ///
    /// # Errors
    /// If that cannot be noted: the other one still does.
    pub(super) fn replace(
        &mut self,
        second: u64,
        node: NodeId,
        incarnation: Incarnation,
    ) -> Result<bool, NoRoom> {
        let Some(known) = self.incarnations.replacement(second, node, incarnation) else {
            return Ok(false);
        };
        self.store(node, known)?;
        Ok(true)
    }

    /// Another node knows this of a replaced one. Returns whether another one counted, or it passed for
    /// the first; not if there is no room to note it: it is told again and again.
    pub(super) fn learn(&mut self, told: &Replaced) -> bool {
        let Some((known, changes)) = self.incarnations.news(told) else { return false };
        self.store(told.node, known).is_ok() && changes
    }

    /// All replaced nodes, for others.
    pub(super) fn replaced(&self) -> Vec<Replaced> {
        self.incarnations.replaced()
    }

    /// Takes note, durably. Happens a few times in the life of a pair of nodes, so it may block the
    /// core.
    fn store(&mut self, node: NodeId, known: Known) -> Result<(), NoRoom> {
        let mut noted = self.incarnations.clone();
        noted.believe(node, known);
        self.write(node, noted.to_string().as_bytes())?;
        self.incarnations = noted;
        Ok(())
    }

    /// Until the name is in its place the file is what it was, so that want of room is no failure.
    fn write(&mut self, node: NodeId, text: &[u8]) -> Result<(), NoRoom> {
        let was_full = std::mem::take(&mut self.full);
        let put = put_file(&self.data_dir, FILE, text);
        let written = match put {
            Err(DataDirError::Io { source, .. }) if is_disk_full(&source) => {
                self.full = true;
                if !was_full {
                    tracing::warn!(%node, "the disk is full: who the node is cannot be noted");
                }
                return Err(NoRoom { node });
            }
            put => put.and_then(|()| sync_directory(&self.data_dir)),
        };
        match written {
            Ok(()) => Ok(()),
            Err(error) => die("remembering a node's incarnation", &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Micros;
    use crate::peering::{REFUSED_FOR, REFUSED_MAX};

    const N2: NodeId = NodeId(2);
    const NOW: Time = Time(1_000_000);

    fn told(incarnation: u64, generation: u64) -> Replaced {
        Replaced { node: N2, incarnation: Incarnation(incarnation), generation }
    }

    #[test]
    fn an_incarnation_once_seen_is_the_only_one_until_it_is_replaced() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut registry = Registry::open(directory.path()).expect("nothing there");
        let admit = |registry: &mut Registry, node, number| {
            registry.admit(NOW, NodeId(node), Incarnation(number))
        };
        assert_eq!(admit(&mut registry, 2, 0xA), Ok(()));
        assert_eq!(admit(&mut registry, 3, 0xB), Ok(()));
        assert_eq!(admit(&mut registry, 2, 0xA), Ok(()));

        let mut reopened = Registry::open(directory.path()).expect("what was written");
        let error = admit(&mut reopened, 2, 0xC).expect_err("another disk");
        let (known, claimed) = (Incarnation(0xA), Incarnation(0xC));
        let other = OtherIncarnation { node: N2, known, claimed };
        assert_eq!(error, NotAdmitted::OtherIncarnation(other));
        assert_eq!(admit(&mut reopened, 3, 0xB), Ok(()));
        assert!(reopened.is_first(N2) && reopened.replaced().is_empty());

        assert_eq!(reopened.replace(1, N2, Incarnation(0xC)), Ok(true));
        assert_eq!(reopened.replace(1, N2, Incarnation(0xC)), Ok(false), "it counts already");
        let mut reopened = Registry::open(directory.path()).expect("what was written");
        assert_eq!(admit(&mut reopened, 2, 0xC), Ok(()));
        assert!(admit(&mut reopened, 2, 0xA).is_err(), "the old disk is refused for ever");
        assert_eq!((reopened.is_first(N2), reopened.replaced()), (false, vec![told(0xC, 1)]));
    }

    #[test]
    fn the_higher_generation_holds() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut registry = Registry::open(directory.path()).expect("nothing there");
        registry.admit(NOW, N2, Incarnation(0xA)).expect("the first");
        assert!(!registry.learn(&told(0xF, 0)), "who met it first elsewhere does not matter");
        assert!(registry.learn(&told(0xC, 2)));
        assert!(!registry.learn(&told(0xF, 1)) && !registry.learn(&told(0xC, 2)));
        assert!(!registry.learn(&told(0xB, 2)) && registry.learn(&told(0xD, 2)), "one wins");
        assert_eq!(registry.replace(1, N2, Incarnation(0xE)), Ok(true));
        assert_eq!(registry.replaced(), [told(0xE, 3)], "however early it is by this clock");
        assert!(!registry.learn(&told(0xE, 4)), "the same one, let in elsewhere too");
        assert_eq!(registry.replaced(), [told(0xE, 4)]);
        // What everybody meets first may have been replaced before.
        let other = tempfile::tempdir().expect("a temporary directory");
        let mut registry = Registry::open(other.path()).expect("nothing there");
        registry.admit(NOW, N2, Incarnation(0xE)).expect("the first");
        assert!(registry.is_first(N2) && registry.learn(&told(0xE, 3)) && !registry.is_first(N2));
    }

    /// The first node let 0xE in, and was lost before it told anybody. Without it 0xC was let in later.
    #[test]
    fn one_that_told_nobody_does_not_refuse_the_next_for_ever() {
        let open = |directory: &tempfile::TempDir| Registry::open(directory.path());
        let directories = [(); 2].map(|()| tempfile::tempdir().expect("a temporary directory"));
        let [mut lost, mut other] = directories.each_ref().map(|at| open(at).expect("blank"));
        for registry in [&mut lost, &mut other] {
            registry.admit(NOW, N2, Incarnation(0xA)).expect("the first");
        }
        assert_eq!(lost.replace(1_700_000_000, N2, Incarnation(0xE)), Ok(true));
        assert_eq!(other.replace(1_700_000_600, N2, Incarnation(0xC)), Ok(true));
        let mut back = open(&directories[0]).expect("what was written");
        assert!(!other.learn(&back.replaced()[0]), "it is not believed");
        assert!(back.learn(&other.replaced()[0]), "it is told");
        assert_eq!(back.admit(NOW, N2, Incarnation(0xC)), Ok(()));
        assert!(back.admit(NOW, N2, Incarnation(0xE)).is_err());
    }

    #[test]
    fn the_refused_are_named_while_they_try() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut registry = Registry::open(directory.path()).expect("nothing there");
        registry.admit(NOW, N2, Incarnation(0xA)).expect("the first");
        let refused = |registry: &Registry, at| registry.refused(at).collect::<Vec<_>>();
        for number in 1..200 {
            registry.admit(NOW, N2, Incarnation(0x100 + number)).expect_err("another disk");
        }
        let later = NOW + REFUSED_FOR + Micros(1);
        registry.admit(later, N2, Incarnation(0xC)).expect_err("another disk");
        assert_eq!(refused(&registry, later), [(N2, Incarnation(0xC))]);
        assert!(refused(&registry, NOW).len() <= REFUSED_MAX);
        assert_eq!(registry.replace(1, N2, Incarnation(0xC)), Ok(true));
        assert_eq!(refused(&registry, later), []);
    }

    /// No room for the temporary file: its name leads to where there never is any.
    #[test]
    fn what_cannot_be_noted_is_not_believed_until_there_is_room() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut registry = Registry::open(directory.path()).expect("nothing there");
        registry.admit(NOW, N2, Incarnation(0xA)).expect("the first");
        let full = || {
            let name = directory.path().join("peers.tmp");
            std::os::unix::fs::symlink("/dev/full", name).expect("a new name");
        };
        let n3 = NodeId(3);
        full();
        let error = registry.admit(NOW, n3, Incarnation(0xB)).expect_err("no room");
        assert_eq!(error, NotAdmitted::NoRoom(NoRoom { node: n3 }));
        assert!(error.to_string().contains("make room"), "{error}");
        assert_eq!(registry.known(n3), None);
        full();
        assert_eq!(registry.replace(1, N2, Incarnation(0xC)), Err(NoRoom { node: N2 }));
        full();
        assert!(!registry.learn(&told(0xC, 1)), "it is told again");
        let reopened = Registry::open(directory.path()).expect("as it was");
        assert_eq!((reopened.known(N2), reopened.known(n3)), (registry.known(N2), None));
        assert_eq!(registry.known(N2).map(|known| known.incarnation.0), Some(0xA));

        registry.admit(NOW, n3, Incarnation(0xB)).expect("there is room");
        assert!(registry.learn(&told(0xC, 1)));
        let reopened = Registry::open(directory.path()).expect("what was written");
        assert_eq!(reopened.incarnations.to_string(), registry.incarnations.to_string());
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for bad in ["n2 zzz 0\n", "n2 00c0ffee00c0ffee\n", "n2 00c0ffee00c0ffee 0 0\n"] {
            fs::write(directory.path().join(FILE), bad).expect("written");
            assert!(Registry::open(directory.path()).is_err(), "{bad}");
        }
    }
}
