//! How nodes know each other, decided without I/O: what `io` does with sockets and files, and what the
//! simulator does without them.

mod call;
mod detector;
mod incarnations;

pub use call::Call;
pub use detector::{Detector, Wish, silence_max};
pub use incarnations::{Incarnations, Known, OtherIncarnation, REFUSED_FOR, REFUSED_MAX};
