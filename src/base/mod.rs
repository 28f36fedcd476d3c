//! What every other module stands on: identities, integer time, aligned bytes, seeded maps, limits.
//!
//! Nothing here knows of Raft, logs, sockets or clocks.

pub mod bytes;
pub mod checksum;
pub mod collections;
#[cfg(test)]
pub(crate) mod hex_dump;
pub mod ids;
mod incarnation;
pub mod limits;
mod planted;
pub mod slot;
pub mod slot_runs;
pub mod slot_set;
pub mod time;

pub use bytes::{AlignedBuf, Bytes};
pub use ids::{
    ClusterId, ConnectionId, CoreId, GroupId, Index, NodeId, PeerCore, Sequence, SessionId, Term,
};
pub use incarnation::{Incarnation, NotAnIncarnation};
#[cfg(feature = "planted-bugs")]
pub use planted::Mistake;
#[cfg(not(feature = "planted-bugs"))]
pub(crate) use planted::Mistake;
pub(crate) use planted::makes;
pub use slot::{SLOT_COUNT, Slot};
pub use slot_set::SlotSet;
pub use time::{Micros, Time, WallTime};
