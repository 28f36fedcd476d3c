//! What the tests stand on: nodes as processes, their status, a raw connection, a load of appends.

pub(crate) mod appends;
mod cluster;
mod http;
mod node;
mod place;
mod raw;
mod status;
mod wait;

pub(crate) use appends::{Ledger, append_during, assert_all_found};
pub(crate) use cluster::{Cluster, Shape, free_port};
pub(crate) use node::{Node, NodePlan};
pub(crate) use place::server;
pub(crate) use raw::{RawConnection, RawReply, key_of};
pub(crate) use status::GroupStatus;
pub(crate) use wait::{wait_for, wait_until};
