//! Whole clusters: real processes, real sockets, real disks. Needs nothing but the server's binary.
//!
//! Nothing here waits by the clock: each step waits for a condition, and a deadline, generous enough
//! for a small machine with a slow disk, only ends what has failed. A failed test prints the ends of
//! its nodes' logs.

mod cores;
mod exactly_once;
mod first_start;
mod garbage;
mod history;
mod inspect;
mod kill;
mod lifecycle;
mod membership;
mod memory;
mod nodes;
mod quorum;
mod replacement;
mod rot;
mod routing;
mod support;
