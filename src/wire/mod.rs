//! Frames, handshakes and messages: bytes in, typed values out.

#[allow(warnings, clippy::all, clippy::pedantic, unsafe_code, clippy::restriction)]
#[rustfmt::skip]
#[path = "generated/client_generated.rs"]
mod client_generated;
#[allow(warnings, clippy::all, clippy::pedantic, unsafe_code, clippy::restriction)]
#[rustfmt::skip]
#[path = "generated/handshake_generated.rs"]
mod handshake_generated;
#[allow(warnings, clippy::all, clippy::pedantic, unsafe_code, clippy::restriction)]
#[rustfmt::skip]
#[path = "generated/peer_generated.rs"]
mod peer_generated;
