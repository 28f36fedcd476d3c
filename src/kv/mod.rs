//! The state machine of one group's replica: keys, values and sessions.
//!
//! Raft hands every replica the same entries in the same order. Here they are executed, and each
//! replica must come to the same state and the same answers, bit for bit: no clock, no randomness,
//! no order of a hash map. Time is the stamp that the leader put on the entry.
//!
//! ```text
//! Machine
//! ├─ applied (index, term, time)      set by begin_entry
//! ├─ Sessions ── Session              results remembered per sequence: exactly-once
//! ├─ SlotTables ─┬ Page ── Table      64 slots a page; one table of keys a slot
//! │              │ (Rc)    (Rc)
//! │              └ Ownership          which slots are served, frozen, arriving
//! └─ Annex                            what the host keeps in the state: opaque bytes
//! ```
//!
//! **Exactly-once.** A command carries (session, sequence). The first execution's result is kept in
//! the session until the client says, by `lowest_awaited`, that it has it; a retry gets that result
//! and is not executed again. What is not remembered is not executed either: see [`Status`].
//! Source: Raft, section 8; D. Ongaro, "Consensus: Bridging Theory and Practice", section 6.3.
//!
//! **Snapshots** pause nothing: pages, tables and sessions are reference-counted, [`Snapshot`] holds
//! references, and whoever writes to a shared one copies that one first.
//!
//! The order of keys within a table is set by the commands alone (insertion, with the last key moved
//! into a deleted one's place) and a snapshot keeps it: so replicas agree on snapshot bytes as well.
//!
//! **Slots move** between groups by entries of both groups' logs: `movement` has the calls, `export` the
//! way of the content. What decides when a slot moves, and brings pieces from one group to the other, is
//! not here.
//!
//! **Batches** that happen all or not at all: `atomic`.
//!
//! Deliberately absent so far: expiry of keys, and sharing within a slot's index: the first key that
//! comes or goes beside a snapshot copies it, some 16 bytes for each key of the slot, which is felt where
//! one `{tag}` gathers millions of keys.

mod annex;
mod atomic;
mod chunks;
mod command;
mod compact;
mod content_hash;
mod discarded;
mod execute;
mod export;
mod hash_index;
mod machine;
mod movement;
mod ownership;
mod piece;
mod reader;
mod restore;
mod session;
mod slot_tables;
mod snapshot;
mod table;

pub use command::{Answer, Command, Operation, Place, SessionError, Status, WrongSlot};
pub use export::{SlotExport, SlotPieces};
pub use machine::{Batch, Machine};
pub use movement::SlotError;
pub use ownership::{Arrival, SlotCounts, SlotState};
pub use piece::{PieceError, PiecePlace};
pub use restore::{Restore, RestoreError};
pub use session::{SESSION_IDLE_MAX, SessionView};
pub use snapshot::Snapshot;
