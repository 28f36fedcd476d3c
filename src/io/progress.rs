//! How far a node's recovery is: counted by its cores (and before them by a change of layout), read by
//! whoever wants to know.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::base::Micros;

/// How far a node's recovery is. Its counters only grow.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Cores of the node.
    cores: usize,
    /// Of them those that have recovered.
    recovered: AtomicUsize,
    /// Bytes that there are to read (or to write, when logs are written anew), as far as is known.
    expected: AtomicU64,
    /// Of them those that were.
    done: AtomicU64,
}

impl Progress {
    pub(super) fn new(cores: usize) -> Self {
        Self { cores, ..Self::default() }
    }

    /// There are so many bytes more.
    pub(super) fn expect(&self, bytes: u64) {
        self.expected.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many of them were read, or written.
    pub(super) fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A core has recovered; true for the last one.
    pub(super) fn core_recovered(&self) -> bool {
        self.recovered.fetch_add(1, Ordering::SeqCst) + 1 == self.cores
    }

    /// Whether all cores have recovered.
    pub(super) fn is_done(&self) -> bool {
        self.recovered.load(Ordering::SeqCst) == self.cores
    }

    /// How far it is, `since` it began.
    pub(super) fn at(&self, since: Micros) -> Standing {
        Standing {
            cores: self.cores,
            recovered: self.recovered.load(Ordering::Relaxed),
            expected: self.expected.load(Ordering::Relaxed),
            done: self.done.load(Ordering::Relaxed),
            since,
        }
    }
}

/// How far a recovery is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    cores: usize,
    recovered: usize,
    expected: u64,
    done: u64,
    since: Micros,
}

impl Standing {
    /// Megabytes (10⁶) per second.
    pub(super) fn rate(&self) -> u64 {
        self.done / self.since.0.max(1)
    }

    /// Seconds left at this rate, at least; nothing while there is no telling.
    fn left_seconds(&self) -> Option<u64> {
        let left = self.expected.saturating_sub(self.done);
        let micros = u128::from(left) * u128::from(self.since.0) / u128::from(self.done.max(1));
        (self.done > 0).then(|| u64::try_from(micros / 1_000_000).unwrap_or(u64::MAX))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.done
    }
}

/// `1 of 4 cores, 512 of 2048 MB, 256 MB/s, 6 s left`.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, expected) = (self.done / MB, self.expected / MB);
        write!(f, "{} of {} cores", self.recovered, self.cores)?;
        write!(f, ", {done} of {expected} MB, {} MB/s", self.rate())?;
        match self.left_seconds() {
            Some(seconds) => write!(f, ", {seconds} s left"),
            None => Ok(()),
        }
    }
}

const MB: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_is_done_and_what_is_left() {
        let progress = Progress::new(4);
        let text = |seconds| progress.at(Micros::from_secs(seconds)).to_string();
        assert_eq!(text(0), "0 of 4 cores, 0 of 0 MB, 0 MB/s");
        progress.expect(2_048 * MB);
        progress.advance(512 * MB);
        assert!(!progress.core_recovered());
        assert_eq!(text(2), "1 of 4 cores, 512 of 2048 MB, 256 MB/s, 6 s left");
        progress.advance(1_536 * MB);
        assert!(!progress.core_recovered() && !progress.core_recovered() && !progress.is_done());
        assert!(progress.core_recovered() && progress.is_done());
        assert_eq!(text(8), "4 of 4 cores, 2048 of 2048 MB, 256 MB/s, 0 s left");
    }
}
