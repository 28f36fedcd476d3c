//! Building frames.

use flatbuffers::{FlatBufferBuilder, Vector, WIPOffset};

use super::{ALIGNMENT, FrameKind, HEADER, Header};

/// Appends a frame with this body to `out`.
///
/// `out`: holds whole frames only, so that the new one begins at a multiple of eight bytes.
///
/// # Panics
/// If `out` ends in the middle of a frame.
pub fn append_frame(kind: FrameKind, body: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    assert!(start.is_multiple_of(ALIGNMENT), "{start} bytes are not whole frames");
    let body_start = start + HEADER;
    out.reserve(HEADER + body.len().next_multiple_of(ALIGNMENT));
    out.resize(body_start, 0);
    out.extend_from_slice(body);
    out.resize(body_start + body.len().next_multiple_of(ALIGNMENT), 0);
    let header = Header::of(kind, body.len(), &out[body_start..]);
    out[start..body_start].copy_from_slice(&header);
}

/// Builds bodies in storage it keeps, so that encoding allocates nothing once it is warm.
pub(in crate::wire) struct FrameEncoder {
    /// Empty between frames; its storage grows with the largest of them, `KEPT_MAX` or less.
    body: FlatBufferBuilder<'static>,
}

impl Default for FrameEncoder {
    fn default() -> Self {
        Self { body: FlatBufferBuilder::with_capacity(STORAGE_AT_FIRST) }
    }
}

impl FrameEncoder {
    /// The builder of the body; `finish` ends it.
    pub(in crate::wire) fn body(&mut self) -> &mut FlatBufferBuilder<'static> {
        &mut self.body
    }

    /// A vector of bytes for the body.
    pub(in crate::wire) fn bytes(&mut self, bytes: &[u8]) -> WIPOffset<Vector<'static, u8>> {
        // `create_vector` copies element by element; this copies all at once. It leaves a zero after
        // the vector, which does no harm.
        WIPOffset::new(self.body.create_byte_string(bytes).value())
    }

    /// Bytes of the body so far.
    pub(in crate::wire) fn body_length(&self) -> usize {
        self.body.unfinished_data().len()
    }

    /// Appends the frame whose root table is `root` to `out`, and is empty again.
    pub(in crate::wire) fn finish<T>(
        &mut self,
        kind: FrameKind,
        root: WIPOffset<T>,
        out: &mut Vec<u8>,
    ) {
        self.body.finish_minimal(root);
        let body = self.body.finished_data();
        append_frame(kind, body, out);
        if body.len() > KEPT_MAX { *self = Self::default() } else { self.body.reset() }
    }
}

/// Bytes of storage an encoder begins with: most handshakes and answers fit.
const STORAGE_AT_FIRST: usize = 256;

/// The storage of a body larger than this is given back: one rare large frame would otherwise hold
/// its memory for ever, in every encoder that met one.
const KEPT_MAX: usize = 1 << 20;
