//! A vector shared by pieces: a clone copies references, and the first write to a piece copies that
//! piece alone.
//!
//! What a snapshot costs the writes beside it is what they copy. A slot may hold many keys with large
//! values; to copy all of them for one write would be felt.

use std::mem;
use std::rc::Rc;

/// Items of one piece.
pub(super) const CHUNK: usize = 8;

/// Items by position, dense.
#[derive(Clone)]
pub(super) struct Chunks<T> {
    /// Full ones, but for the last. None is without items.
    chunks: Vec<Rc<[T; CHUNK]>>,
    /// Items in use; those after it in the last piece are empty.
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T: Clone + Default> Chunks<T> {
    /// How many items there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The item at `position`.
    #[inline]
    pub(super) fn get(&self, position: usize) -> Option<&T> {
        (position < self.len).then(|| &self.chunks[position / CHUNK][position % CHUNK])
    }

    /// The item at `position`, to change.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub(super) fn get_mut(&mut self, position: usize) -> &mut T {
        assert!(position < self.len, "item {position} of {}", self.len);
        &mut Rc::make_mut(&mut self.chunks[position / CHUNK])[position % CHUNK]
    }

    /// Puts an item behind the last.
    pub(super) fn push(&mut self, item: T) {
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Rc::default());
        }
        self.len += 1;
        *self.get_mut(self.len - 1) = item;
    }

    /// How many pieces there are.
    pub(super) const fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The items of the piece numbered `number`; none if there is no such piece.
    pub(super) fn chunk(&self, number: usize) -> &[T] {
        let Some(chunk) = self.chunks.get(number) else { return &[] };
        &chunk[..(self.len - number * CHUNK).min(CHUNK)]
    }

    /// Whether the piece numbered `number` is the same one in `other`: then its items are the same,
    /// since whoever writes to a shared piece copies it first.
    pub(super) fn shares_chunk(&self, other: &Self, number: usize) -> bool {
        let (here, there) = (self.chunks.get(number), other.chunks.get(number));
        here.zip(there).is_some_and(|(here, there)| Rc::ptr_eq(here, there))
    }

    /// Lets go of the last pieces, those that are not needed for the first `len` items.
    pub(super) fn truncate_chunks(&mut self, len: usize) {
        self.chunks.truncate(len.div_ceil(CHUNK));
        self.len = self.len.min(self.chunks.len() * CHUNK);
    }

    /// Removes the item at `position`; the last one takes its place.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn swap_remove(&mut self, position: usize) {
        let last = mem::take(self.get_mut(self.len - 1));
        self.len -= 1;
        if position != self.len {
            assert!(position < self.len, "item {position} of {}", self.len + 1);
            *self.get_mut(position) = last;
        }
        self.chunks.truncate(self.len.div_ceil(CHUNK));
        if self.chunks.len() * 4 < self.chunks.capacity() {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(chunks: &Chunks<String>) -> Vec<String> {
        (0..chunks.len()).map(|at| chunks.get(at).expect("below len").clone()).collect()
    }

    #[test]
    fn holds_what_a_vector_would_and_clones_stay_as_they_are() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (mut chunks, mut model) = (Chunks::default(), Vec::new());
        let mut frozen = (chunks.clone(), model.clone());
        for step in 0..4_000 {
            let grows = step / 500 % 2 == 0;
            match rng.u8(..8) {
                0..4 if grows => {
                    chunks.push(step.to_string());
                    model.push(step.to_string());
                }
                0..6 if !model.is_empty() => {
                    let at = rng.usize(..model.len());
                    chunks.swap_remove(at);
                    model.swap_remove(at);
                }
                6 if !model.is_empty() => {
                    let at = rng.usize(..model.len());
                    chunks.get_mut(at).push('x');
                    model[at].push('x');
                }
                _ => {}
            }
            assert_eq!(chunks.get(model.len()), None);
            if step % 64 == 0 {
                assert_eq!(items(&chunks), model, "step {step}");
                assert_eq!(items(&frozen.0), frozen.1, "step {step}");
                frozen = (chunks.clone(), model.clone());
            }
        }
    }

    #[test]
    fn a_write_copies_its_piece_alone() {
        let mut chunks = Chunks::default();
        (0..3 * CHUNK).for_each(|number| chunks.push(number));
        let frozen = chunks.clone();
        *chunks.get_mut(CHUNK) = 0;
        let shared = |at: usize| Rc::ptr_eq(&chunks.chunks[at], &frozen.chunks[at]);
        assert_eq!([0, 1, 2].map(shared), [true, false, true]);
    }
}
