//! How nodes know each other, decided without I/O: what `io` does with sockets and files, and what the
//! simulator does without them.

mod incarnations;

pub use incarnations::{Incarnations, Known, OtherIncarnation, REFUSED_FOR, REFUSED_MAX};
