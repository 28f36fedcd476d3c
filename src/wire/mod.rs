//! Frames, handshakes and messages: bytes in, typed values out.
//!
//! Problem: bytes come from anyone, and a server must read millions of commands a second out of
//! them. So a frame is checked once, from the outside in, and then read in place:
//!
//! ```text
//! bytes ──scan──▶ Frame (header and body intact) ──parse_*──▶ view (fields, lengths and limits hold)
//! values ──*Builder / encode──▶ whole frames appended to a Vec<u8>
//! ```
//!
//! Nothing here panics on what others sent, follows an unchecked offset, or allocates more than a
//! small multiple of the frame it reads. Formats: `schema/README.md` and `schema/*.fbs`.
//!
//! Sources: `FlatBuffers`, "Internals"; RFC 3720, appendix B.4 (CRC32C).

pub mod client;
mod error;
pub mod frame;
pub mod handshake;
pub mod map;
pub mod movement;
pub mod peer;
pub mod placement;

pub use error::WireError;

/// What `flatc` makes of `schema/`; `tools/check-schema` compares.
#[expect(
    warnings,
    unsafe_code,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "written by a program, whose tests are elsewhere"
)]
#[rustfmt::skip]
mod generated {
    mod client_generated;
    mod handshake_generated;
    mod map_generated;
    mod movement_generated;
    mod peer_generated;

    pub(super) use client_generated::sunstar::client;
    pub(super) use handshake_generated::sunstar::handshake;
    pub(super) use map_generated::sunstar::map;
    pub(super) use movement_generated::sunstar::movement;
    pub(super) use peer_generated::sunstar::peer;
}

#[cfg(test)]
mod tests;
