//! The native client: routing, sessions and retries as a pure machine, with thin drivers around it.
//!
//! The problem: a command must happen exactly once although leaders fail, connections break and
//! replies are lost, and the caller must learn with certainty what became of it. The model:
//!
//! ```text
//!  submit(ticket, command)                              completion (ticket, outcome)
//!        │                                                        ▲
//!        ▼                                                        │
//!  ┌ core::Core ───────────────────────────────────────────────────────────┐
//!  │ Routing: slot → group      Lane, one per group:                        │
//!  │                              staged ─seal→ in flight ─reply→ settled   │
//!  │                              session, sequences, target, back-off      │
//!  │ Link, one per connection: frames out, frames in                        │
//!  └────────────────────────────────────────────────────────────────────────┘
//!        │ Connect, Send, Close            ▲ connected, bytes, closed, time
//!        ▼                                 │
//!      blocking (epoll over std sockets)  ·  asynchronous (futures-io, any runtime)
//! ```
//!
//! Whatever was submitted for one group between two polls travels as one frame, so batches grow by
//! themselves under load. The frame's bytes are kept until it is settled and are what is sent again:
//! the same session and sequences, so that the group answers a repetition with the first result.
//!
//! A group that is asked for a slot it does not serve says who does: the command is sent on, under a
//! new number in the other group's session, while the newer map is fetched. That is safe, for a
//! number is decided by the log of the one group that it was sent to: an attempt of unknown fate is
//! settled there first, and `WrongSlot` is remembered there with the number, so that no copy of the
//! frame still on its way can happen once the slot is back. While a slot is on its way its commands
//! wait, others do not.
//!
//! Commands outstanding at the same time have no order among each other, of the same key neither: a
//! later one may be answered while an earlier one is sent again or on. Wait for one before submitting
//! another that must come later.
//!
//! [`core`] sees no socket, clock or thread: the same calls give the same actions.

mod answer;
pub mod asynchronous;
mod batch;
pub mod blocking;
mod command;
mod completions;
pub mod core;
mod detours;
mod lane;
mod link;
mod multi;
mod options;
mod outcome;
mod recorded;
mod routing;
mod shared;
#[cfg(test)]
pub(crate) mod tests;

pub use answer::{Answer, At, ClientError};
pub use command::{Command, CommandError};
pub use completions::Completion;
pub use multi::{Multi, MultiAnswer};
pub use options::Options;
pub use outcome::{Applied, Doubt, Effect, Evidence, Outcome, Place, Rejection};
