//! What clients saw, and whether that could be.
//!
//! A history holds one [`Record`] for each command that any client gave: what it asked, when, and what
//! it was told. Times of all records are of one clock.

mod record;

pub use record::{Answer, Begun, Operation, Outcome, Place, Record, Status};
