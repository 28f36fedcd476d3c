//! Byte buffers that are aligned to eight bytes, so that FlatBuffers in them can be read in place.
//!
//! The FlatBuffers verifier refuses a table at a misaligned address. Were an entry's bytes in a
//! plain `Vec<u8>`, replicas could differ in whether they can read it: here alignment is the type.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

const WORD: usize = 8;

/// A growable byte buffer whose first byte is aligned to eight bytes.
#[derive(Clone, Default)]
pub struct AlignedBuf {
    /// Storage; `words.len() * 8 >= length`.
    words: Vec<u64>,
    /// Bytes in use.
    length: usize,
}

impl AlignedBuf {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: Vec::new(), length: 0 }
    }

    /// An empty buffer with room for `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { words: Vec::with_capacity(bytes.div_ceil(WORD)), length: 0 }
    }

    /// A buffer holding a copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::with_capacity(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer
    }

    /// The bytes in use.
    pub fn as_slice(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }

    /// The bytes in use, to change in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.length]
    }

    /// Appends a copy of `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let start = self.length;
        self.resize(start + bytes.len());
        self.as_mut_slice()[start..].copy_from_slice(bytes);
    }

    /// Appends zeros until the length is a multiple of eight.
    pub fn pad_to_word(&mut self) {
        self.resize(self.length.next_multiple_of(WORD));
    }

    /// Sets the length; bytes gained are zero.
    pub fn resize(&mut self, length: usize) {
        let old = self.length;
        self.words.resize(length.div_ceil(WORD), 0);
        self.length = length;
        if length < old {
            // The last word may hold stale bytes past the end: a later growth must find zeros.
            let tail = length.div_ceil(WORD) * WORD;
            bytemuck::cast_slice_mut::<u64, u8>(&mut self.words)[length..tail].fill(0);
        }
    }

    /// Removes the first `count` bytes, moving the rest to the front.
    ///
    /// # Panics
    /// If `count` exceeds the length.
    pub fn consume(&mut self, count: usize) {
        let length = self.length;
        assert!(count <= length, "consume {count} of {length}");
        self.as_mut_slice().copy_within(count.., 0);
        self.resize(length - count);
    }

    /// Empties the buffer; its storage stays.
    pub fn clear(&mut self) {
        self.resize(0);
    }

    /// Bytes of storage held.
    pub fn capacity(&self) -> usize {
        self.words.capacity() * WORD
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.length)
    }
}

impl PartialEq for AlignedBuf {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for AlignedBuf {}

/// Immutable bytes shared within one core: an entry's payload, held by the Raft log, the log write,
/// the messages to followers and the state machine at once. Cloning copies a pointer.
///
/// Counted without atomics: it never leaves its core.
#[derive(Clone, Default)]
pub struct Bytes(Option<Rc<Content>>);

/// What is shared. A few bytes stand beside their count: one allocation, not two.
enum Content {
    Few { length: u8, words: [u64; FEW_WORDS] },
    Many(AlignedBuf),
}

/// So that `Content` is no larger for it.
const FEW_WORDS: usize = 4;

const _: () = assert!(size_of::<Content>() == size_of::<AlignedBuf>() + WORD);

impl Bytes {
    /// No bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        if bytes.is_empty() || bytes.len() > FEW_WORDS * WORD {
            return AlignedBuf::copy_of(bytes).into();
        }
        let mut words = [0; FEW_WORDS];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        let length = u8::try_from(bytes.len()).expect("a few");
        Self(Some(Rc::new(Content::Few { length, words })))
    }
}

impl From<AlignedBuf> for Bytes {
    fn from(buffer: AlignedBuf) -> Self {
        Self((!buffer.is_empty()).then(|| Rc::new(Content::Many(buffer))))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.0.as_deref() {
            None => &[],
            Some(Content::Few { length, words }) => {
                &bytemuck::cast_slice(words)[..usize::from(*length)]
            }
            Some(Content::Many(buffer)) => buffer.as_slice(),
        }
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self) {
            Ok(text) if text.len() <= 64 => write!(f, "{text:?}"),
            _ => write!(f, "Bytes({} bytes)", self.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_equal_and_aligned_whatever_their_length() {
        let text: Vec<u8> = (0..100).collect();
        for length in 0..text.len() {
            let bytes = Bytes::copy_of(&text[..length]);
            assert_eq!(&bytes[..], &text[..length]);
            assert_eq!(bytes, Bytes::from(AlignedBuf::copy_of(&text[..length])));
            assert!(length == 0 || bytes.as_ptr().align_offset(WORD) == 0, "{length}");
        }
    }

    #[test]
    fn growth_after_shrinking_finds_zeros() {
        let mut buffer = AlignedBuf::copy_of(b"0123456789");
        buffer.resize(3);
        buffer.resize(10);
        assert_eq!(&buffer[..], b"012\0\0\0\0\0\0\0");
    }

    #[test]
    fn consuming_keeps_the_rest_aligned_at_the_front() {
        let mut buffer = AlignedBuf::copy_of(b"0123456789abcdef!");
        buffer.consume(16);
        assert_eq!(&buffer[..], b"!");
        assert_eq!(buffer.as_ptr().align_offset(WORD), 0);
    }

    #[test]
    fn padding_reaches_the_next_word_and_stops() {
        let mut buffer = AlignedBuf::copy_of(b"123");
        buffer.pad_to_word();
        assert_eq!(&buffer[..], b"123\0\0\0\0\0");
        buffer.pad_to_word();
        assert_eq!(buffer.len(), 8);
    }
}
