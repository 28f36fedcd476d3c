//! The Raft library driven from outside, as a host would: golden scripts, and clusters that suffer.
//!
//! - `scripts`: every file under `tests/scripts/raft` is run and compared with what it says.
//!   `UPDATE_EXPECT=1 cargo test --test raft` rewrites them.
//! - `storms`: randomised clusters with drops, reordering, crashes, cuts and changing members,
//!   checked after every step. `SUNSTAR_RAFT_SEEDS=from..to cargo test --test raft storm` runs others than usual.

mod disk;
mod laws;
mod node;
mod notation;
mod scripts;
mod storms;
mod submissions;
mod world;
