//! Why a run ends before its time.

use std::io;
use std::path::{Path, PathBuf};

use sunstar_disks::DiskError;

/// Why a run ends before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Disks or networks cannot be made.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The system said no.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// This machine cannot make a fault.
    #[error("{kind} cannot be done on this machine: {why}; leave it out with --without {kind}")]
    Unable {
        /// The fault.
        kind: &'static str,
        /// What is missing.
        why: String,
    },
    /// A promise was broken.
    #[error("BROKEN: {0}")]
    Broken(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// What was typed cannot be done.
    #[error("{0}")]
    Usage(String),
}

impl Trouble {
    /// Says that a promise was broken.
    pub(crate) fn broken(what: impl Into<String>) -> Self {
        Self::Broken(what.into())
    }

    /// What the program exits with: 1 for a broken promise, as for one that is in the report.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Broken(_) => 1,
            Self::Interrupted => 130,
            Self::Disk(_) | Self::Io { .. } | Self::Unable { .. } | Self::Usage(_) => 2,
        }
    }

    /// Adds what was said last to a broken promise.
    pub(crate) fn with(self, said: &str) -> Self {
        match self {
            Self::Broken(what) => Self::Broken(format!("{what}: {}", said.trim())),
            other => other,
        }
    }
}

/// Names the file or program that the system refuses.
pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Trouble {
    let path = path.to_path_buf();
    move |source| Trouble::Io { action, path, source }
}
