//! Bytes of a key or value in 24 bytes of their own, with storage on the heap only when they are long.
//!
//! Most keys and many values are short: held in place they cost no allocation, no pointer to follow
//! and no allocator overhead.

/// Bytes held in place, at most.
const INLINE_MAX: usize = 22;

/// Heap storage comes in multiples of it, as allocators hand it out.
const GRAIN: usize = 16;

const _: () = assert!(size_of::<Compact>() == 24, "tag, length and bytes share three words");

/// Owned bytes, short ones in place.
#[derive(Clone, Debug)]
pub(super) enum Compact {
    /// The first `length` of `bytes`.
    Inline {
        /// At most `INLINE_MAX`.
        length: u8,
        /// The rest is whatever it was.
        bytes: [u8; INLINE_MAX],
    },
    /// The first `length` of `storage`.
    Heap {
        /// At most `storage.len()`.
        length: u32,
        /// Longer than `length` where an append left room for more.
        storage: Box<[u8]>,
    },
}

impl Compact {
    /// No bytes.
    pub(super) const EMPTY: Self = Self::Inline { length: 0, bytes: [0; INLINE_MAX] };

    /// A copy of `content`.
    pub(super) fn copy_of(content: &[u8]) -> Self {
        if content.len() > INLINE_MAX {
            return Self::on_heap(content, content.len());
        }
        let mut bytes = [0; INLINE_MAX];
        bytes[..content.len()].copy_from_slice(content);
        Self::Inline { length: short(content.len()), bytes }
    }

    /// The bytes.
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Self::Heap { length, storage } => &storage[..*length as usize],
        }
    }

    /// How many bytes there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Inline { length, .. } => usize::from(*length),
            Self::Heap { length, .. } => *length as usize,
        }
    }

    /// Replaces the bytes, in the storage at hand if they fit and do not leave most of it unused.
    pub(super) fn set(&mut self, content: &[u8]) {
        match self {
            Self::Inline { length, bytes } if content.len() <= INLINE_MAX => {
                bytes[..content.len()].copy_from_slice(content);
                *length = short(content.len());
            }
            Self::Heap { length, storage }
                if content.len() <= storage.len()
                    && storage.len() <= 2 * content.len() + 4 * GRAIN =>
            {
                storage[..content.len()].copy_from_slice(content);
                *length = long(content.len());
            }
            _ => *self = Self::copy_of(content),
        }
    }

    /// Puts `tail` behind the bytes; storage grows by half, so that many appends cost one copy each
    /// on average.
    pub(super) fn append(&mut self, tail: &[u8]) {
        let old = self.len();
        let new = old + tail.len();
        match self {
            Self::Inline { length, bytes } if new <= INLINE_MAX => {
                bytes[old..new].copy_from_slice(tail);
                *length = short(new);
            }
            Self::Inline { .. } => {
                *self = Self::on_heap(self.as_slice(), new + new / 2);
                self.append(tail);
            }
            Self::Heap { length, storage } => {
                if new > storage.len() {
                    grow(storage, new + new / 2);
                }
                storage[old..new].copy_from_slice(tail);
                *length = long(new);
            }
        }
    }

    /// A copy of `content` on the heap, with room for `room` bytes or a little more.
    fn on_heap(content: &[u8], room: usize) -> Self {
        let room = room.next_multiple_of(GRAIN);
        let mut storage = Vec::with_capacity(room);
        storage.extend_from_slice(content);
        storage.resize(room, 0);
        Self::Heap { length: long(content.len()), storage: storage.into_boxed_slice() }
    }
}

/// Gives `storage` room for `room` bytes or a little more.
fn grow(storage: &mut Box<[u8]>, room: usize) {
    let room = room.next_multiple_of(GRAIN);
    let mut bytes = std::mem::take(storage).into_vec();
    bytes.reserve_exact(room - bytes.len());
    bytes.resize(room, 0);
    *storage = bytes.into_boxed_slice();
}

fn short(length: usize) -> u8 {
    u8::try_from(length).expect("at most INLINE_MAX")
}

fn long(length: usize) -> u32 {
    u32::try_from(length).expect("keys and values are bounded far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_a_vector_would() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut compact, mut model) = (Compact::copy_of(b""), Vec::new());
        for step in 0..20_000 {
            let content: Vec<u8> = (0..rng.usize(..80)).map(|_| rng.u8(..)).collect();
            if rng.u8(..4) == 0 {
                compact.set(&content);
                model.clone_from(&content);
            } else {
                compact.append(&content);
                model.extend_from_slice(&content);
            }
            assert_eq!(compact.as_slice(), model, "step {step}");
            assert_eq!(compact.clone().as_slice(), model, "step {step}");
        }
    }

    #[test]
    fn storage_is_reused_while_it_fits_and_given_back_when_mostly_unused() {
        let room = |compact: &Compact| match compact {
            Compact::Inline { .. } => 0,
            Compact::Heap { storage, .. } => storage.len(),
        };
        let mut compact = Compact::copy_of(&[1; 1000]);
        let before = compact.as_slice().as_ptr();
        compact.set(&[2; 600]);
        assert_eq!(compact.as_slice().as_ptr(), before, "reused");
        compact.set(&[3; 100]);
        assert_eq!(room(&compact), 112);
        compact.set(&[4; 5]);
        compact.set(b"");
        assert!(room(&compact) <= 112);
    }
}
