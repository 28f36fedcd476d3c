//! Why a log cannot be read.

use super::{BatchNumber, SegmentId};
use crate::base::{GroupId, Index};

/// Why a log cannot be read. None of these is ever answered by forgetting what is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The file does not begin as a segment does, and is not blank either.
    #[error("{segment} has a damaged header")]
    DamagedHeader {
        /// The segment.
        segment: SegmentId,
    },
    /// Written by a version this one does not know.
    #[error("{segment} has format version {found}, this version of sunstar reads {expected}")]
    Version {
        /// The segment.
        segment: SegmentId,
        /// What it says.
        found: u32,
        /// What is known here.
        expected: u32,
    },
    /// The segment belongs to another cluster, node, incarnation or core.
    #[error("{segment} belongs to {what} {found}, not to {what} {expected}")]
    Stranger {
        /// The segment.
        segment: SegmentId,
        /// Which part of the identity differs.
        what: &'static str,
        /// What it says.
        found: u64,
        /// What it ought to say.
        expected: u64,
    },
    /// The file's length is not that of a segment.
    #[error("{segment} has {found} bytes instead of {expected}")]
    Length {
        /// The segment.
        segment: SegmentId,
        /// The file's.
        found: u64,
        /// A segment's.
        expected: u64,
    },
    /// What was durable once is damaged or gone: bit rot, a lost or misdirected write.
    #[error(
        "batch {batch} was durable and is damaged: {segment}, offset {offset}, entries {entries:?}"
    )]
    Corrupt {
        /// Where it is, or ought to be.
        segment: SegmentId,
        /// Where in it.
        offset: u64,
        /// The batch.
        batch: BatchNumber,
        /// The entries in it, as far as its header can be read.
        entries: Vec<(GroupId, Index)>,
    },
    /// No segment begins with the batch that the log is known to begin with: a file is missing.
    #[error(
        "no segment begins with batch {start}, where the log begins: a segment file is missing"
    )]
    Missing {
        /// The batch.
        start: BatchNumber,
    },
    /// Two files say to be the same segment: the header of one went to the other as well.
    #[error(
        "{segment} and {other} bear the same header: it was written to the wrong file as well, or a file \
         was copied"
    )]
    Twice {
        /// One of them.
        segment: SegmentId,
        /// The other.
        other: SegmentId,
    },
    /// The checksums are right and the contents make no sense: written by a faulty process.
    #[error("batch {batch} in {segment} makes no sense: {reason}")]
    Nonsense {
        /// The segment.
        segment: SegmentId,
        /// The batch.
        batch: BatchNumber,
        /// What is wrong with it.
        reason: String,
    },
}
