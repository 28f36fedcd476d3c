//! The driver: puts reactors on cores and lets them meet sockets, disks, clocks and each other.
//!
//! A reactor is a state machine without I/O. Here each core gets a thread with one glommio executor
//! and on it one *pump*, which owns the reactor and takes turns:
//!
//! ```text
//!        sockets (one epoll)   other cores (mesh)   finished disk writes (inbox)   10 ms tick
//!                 └──────────────────┴──────┬───────────────┴────────────────────────┘
//!                                     reactor.step(…)
//!                                   reactor.finish_turn
//!                 ┌──────────────────┬──────┴───────────────┬────────────────────┐
//!        one write per socket   one wake per core    log writes (io_uring)   snapshot files
//! ```
//!
//! - All sockets of a core hang on one epoll descriptor, and only that descriptor is polled through
//!   the ring: a turn takes in every ready socket for the price of one poll, and connections are
//!   plain state in a table rather than tasks. An idle connection holds no read buffer.
//! - The pump *waits* between turns, it never yields: the executor looks at its rings only when
//!   nothing is runnable. A tick every 10 ms (40 when idle) drives timers and feeds the stall counter; a watchdog
//!   thread wakes a core that misses it, because the executor can park with tasks runnable.
//! - Any core accepts a client; its handshake names a group, and the socket moves to that group's
//!   core. Core 0 accepts peers, runs the failure detector and serves the administration port.
//!
//! Only this module sees sockets, files, threads and clocks on the server's side.

mod admin;
mod administration;
pub mod bench;
mod block_memory;
mod buffers;
mod clients;
mod clock;
mod config;
mod core;
mod data_dir;
mod detector;
mod disk;
mod handshake;
mod inbox;
mod kept_map;
mod layout;
mod links;
mod log_ring;
mod lost_quorum;
mod memory;
mod mesh;
mod neighbours;
mod node;
mod offline_log;
mod peers;
mod preflight;
mod progress;
mod read_ahead;
mod recover;
mod registry;
mod rehoming;
mod replacement;
mod scheduling;
mod signals;
mod snapshots;
mod sockets;
mod stall;
mod starting;
mod turn;
mod watchdog;

// What is said on the administration port.
pub use crate::reactor::{
    EpochView, GroupMembers, GroupOperation, GroupPlacement, GroupProgress, GroupReason,
    GroupRefusal, MemberProgress, NodePlacement, PlacementOperation, PlacementView,
};
pub use config::NodeConfig;
pub use data_dir::{DataDirError, identity_of};
pub use disk::segment_of;
pub use kept_map::{KeptMap, KeptMapError};
pub use layout::core_root;
pub use lost_quorum::{OfflineNode, RecoverQuorumError};
pub use node::{RunError, run};
pub use preflight::{PreflightError, preflight};
pub use recover::RecoverFilesError;
pub use replacement::{GroupReplacement, MemberIdentity, Replacement, ReplacementStep};
pub use snapshots::snapshot_of;

pub use crate::reactor::Survivor;
