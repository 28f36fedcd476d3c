//! Bytes as a source of choices: when they are used up, everything is zero.

/// What is left of an input.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    pub(super) fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Small mostly, for what is small meets what there is; now and then as large as can be.
    pub(super) fn number(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..=239 => u64::from(byte % 24),
            byte @ 240..=247 => u64::MAX - u64::from(byte - 240),
            _ => self.word(),
        }
    }

    pub(super) fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// Up to `most` bytes.
    pub(super) fn bytes(&mut self, most: u8) -> &'a [u8] {
        let count = usize::from(self.below(most)).min(self.0.len());
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }
}
