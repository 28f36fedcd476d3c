//! The Raft library driven from outside, as a host would: golden scripts, and clusters that suffer.
//!
//! - `scripts`: every file under `tests/scripts/raft` is run and compared with what it says.
//!   `UPDATE_EXPECT=1 cargo test --test raft` rewrites them.
//! - `storms`: randomised clusters with drops, reordering, crashes, cuts and changing members, each
//!   with a climate of its own, checked after every step and for progress afterwards.
//!   `SUNSTAR_RAFT_SEEDS=from..to cargo test --test raft storm` runs others than usual.
//! - `paper`: what the Raft paper says, sentence by sentence.
//! - `matrix`: scenarios of replication, each with and without drops, pre-vote, a shared failure
//!   detector, and disks and state machines that take their time.
//! - `planted`: with the feature `planted-bugs`, storms must find every mistake made on purpose.

mod calm;
mod climate;
mod disk;
mod group;
mod laws;
mod matrix;
mod node;
mod notation;
mod paper;
#[cfg(feature = "planted-bugs")]
mod planted;
mod scripts;
mod storm;
mod storms;
mod submissions;
mod tally;
mod world;
