//! Sunstar: a linearizable, durable, sharded key-value server, thread-per-core on `io_uring`.
//!
//! Dependencies point one way (`a ← b`: b imports a; `tests/architecture` enforces it):
//!
//! ```text
//! base ← raft wal wire kv placement ← reactor ← io ← server (binary)
//! base, wire ← peering ← io, sim
//! base ← history
//! base, wire, placement, history ← client ← load ← server, tools, bench
//! base, raft, wal, wire, kv, placement, reactor, client, history ← sim
//! ```
//!
//! Only `io` sees the runtime, sockets, files, threads and clocks on the server's side; everything
//! to its left is deterministic and builds without the `server` feature.

pub mod base;
pub mod client;
pub mod history;
#[cfg(feature = "server")]
pub mod io;
pub mod kv;
pub mod load;
pub mod peering;
pub mod placement;
pub mod raft;
pub mod reactor;
#[cfg(feature = "server")]
pub mod server;
pub mod sim;
pub mod wal;
pub mod wire;

/// The README's example, compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
