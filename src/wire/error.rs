//! Why a frame's body cannot be used.

use flatbuffers::{Follow, InvalidFlatbuffer, Verifiable, VerifierOptions};

use super::frame::FrameKind;
use crate::base::limits::ADDRESS_MAX;

/// An intact frame whose body breaks the protocol: a fault in the program that sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A frame of another kind belongs here.
    #[error("a frame of kind {0:?} does not belong here")]
    UnexpectedKind(FrameKind),
    /// The body is not what its kind says.
    #[error("the body is not a valid message: {0}")]
    Structure(Box<str>),
    /// More of something than one frame may hold.
    #[error("{count} {what} in one frame; at most {max} are accepted")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A key, value or expected value of impossible length.
    #[error(
        "command {position} of the frame: its {what} has {length} bytes; {min} to {max} are accepted"
    )]
    Length {
        /// The command's place in the frame, from 0.
        position: usize,
        /// `key`, `value` or `expected value`.
        what: &'static str,
        /// Its length.
        length: usize,
        /// The smallest length accepted.
        min: usize,
        /// The largest.
        max: usize,
    },
    /// Lengths do not add up.
    #[error("the lengths in the frame add up to {claimed} bytes, but it holds {present}")]
    DataLength {
        /// What the lengths add up to.
        claimed: usize,
        /// The bytes there.
        present: usize,
    },
    /// A frame of reads holds something else.
    #[error("command {position} of a frame of reads is not a read")]
    NotARead {
        /// The command's place in the frame, from 0.
        position: usize,
    },
    /// An atomic batch whose keys lie in more than one slot.
    #[error(
        "command {position} of an atomic batch has a key of another slot than the first: give the keys \
         one {{tag}}"
    )]
    CrossSlot {
        /// The command's place in the frame, from 0.
        position: usize,
    },
    /// An atomic batch whose sequences do not follow one another.
    #[error("command {position} of an atomic batch does not follow the one before it")]
    SequenceGap {
        /// The command's place in the frame, from 0.
        position: usize,
    },
    /// The slots of a map do not fit together.
    #[error(
        "the shard map's slots {first} to {last} overlap others, are no slots, or have no group"
    )]
    SlotRange {
        /// The first slot of the offending run.
        first: u16,
        /// The last.
        last: u16,
    },
    /// A number that stands for nothing known here: from a newer program.
    #[error("{what} {number} is not known here: let the older nodes be upgraded first")]
    Unknown {
        /// What it would stand for.
        what: &'static str,
        /// The number.
        number: u8,
    },
    /// An address that is longer than any.
    #[error("an address of {length} bytes; at most {ADDRESS_MAX} are accepted")]
    LongAddress {
        /// Its bytes.
        length: usize,
    },
    /// A peer connection for something unknown.
    #[error("a peer connection of purpose {0} is not known here")]
    UnknownPurpose(u8),
}

/// The root table of `body`, every offset in it checked.
///
/// Offsets may share what they point to, so that little would unfold into much: tables are counted
/// as often as they are reached, and all bytes reached are bounded by a multiple of the length.
pub(super) fn verified_root<'a, T>(body: &'a [u8]) -> Result<T::Inner, WireError>
where
    T: Follow<'a> + Verifiable + 'a,
{
    let options = VerifierOptions {
        max_depth: DEPTH_MAX,
        max_tables: body.len() / TABLE_BYTES_MIN + 1,
        max_apparent_size: body.len() * UNFOLDING_MAX + UNFOLDING_SLACK,
        ignore_missing_null_terminator: false,
    };
    flatbuffers::root_with_opts::<T>(&options, body)
        .map_err(|error| WireError::Structure(summary(&error)))
}

/// The deepest message: batch, message, append, entry.
const DEPTH_MAX: usize = 4;

/// A table takes its own offset, its vtable's, and the padding between.
const TABLE_BYTES_MIN: usize = 8;

/// The verifier counts a table's vtable twice and once more for each table that shares it.
const UNFOLDING_MAX: usize = 8;
const UNFOLDING_SLACK: usize = 256;

/// That there are no more than `max` of something.
pub(super) fn check_count(what: &'static str, count: usize, max: usize) -> Result<(), WireError> {
    if count <= max { Ok(()) } else { Err(WireError::TooMany { what, count, max }) }
}

/// One line of the several that the library says.
fn summary(error: &InvalidFlatbuffer) -> Box<str> {
    error.to_string().lines().next().unwrap_or_default().into()
}
