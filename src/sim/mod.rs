//! A whole cluster in one thread, from one seed: the reactors that ship, under virtual time, on a
//! simulated network and simulated disks.
//!
//! ```text
//!   clients (client::core::Core) ◀──bytes──▶ network ◀──▶ process ─ cores ─ reactors
//!                                            ways cut       │  what `io` does, turn by turn
//!                                            packets late   ▼
//!                                                         disk · clock
//! ```
//!
//! - Time jumps from event to event ([`World::step`]): there are no rounds, and what sleeps costs nothing.
//! - Everything random comes from the seed; a run is the same every time, which [`World::trace_hash`]
//!   shows.
//! - What `io` decides is decided here as there: turns, links and their handshakes, the failure detector,
//!   which incarnation counts, what is durable when.
//!
//! Sources: "`FoundationDB`: A Distributed Unbundled Transactional Key Value Store" (SIGMOD 2021), section
//! 4; `TigerBeetle`'s simulator.

mod admission;
pub mod atlas;
mod churn;
mod client;
mod clock;
mod cuts;
mod detector;
pub mod disk;
mod event;
mod faults;
mod governor;
mod harm;
mod illness;
mod invariants;
mod letter;
mod links;
mod network;
mod node;
mod owners;
mod packet;
mod plan;
mod process;
mod registry;
mod replacement;
mod run;
mod schedule;
mod serving;
mod shape;
mod shrink;
mod steady;
mod surroundings;
mod swarm;
mod trace;
mod turn;
mod verdict;
mod weather;
mod workload;
mod world;

pub use faults::{Fault, Tally};
pub use run::{Seen, Watch, run};
pub use shape::Shape;
pub use shrink::{Smallest, shrink};
pub use verdict::{Commands, Failure, Limits, Report};
pub use weather::Weather;
pub use world::{Happened, World};
