//! Reactors in one thread, with no runtime at all: elections, writes, reads, lost nodes, crashes.
//!
//! Time, disks and network are values of the test: see [`cluster`].

mod agreement;
mod atomic;
mod bit_rot;
mod client;
mod cluster;
mod disk_full;
mod first_start;
mod governance;
mod holdings;
mod leadership;
mod membership;
mod movement;
mod quiet;
mod refusals;
mod replacement;
mod rot;
mod scenarios;
mod storm;
mod transfers;
