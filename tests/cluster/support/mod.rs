//! What the tests stand on: nodes as processes, their status, a raw connection, a proxy that loses
//! replies, a load of appends, and the command line that tells them what to do.

pub(crate) mod appends;
mod cluster;
mod ctl;
mod http;
mod node;
mod place;
mod proxy;
mod raw;
mod status;
mod wait;

pub(crate) use appends::{Ledger, Progress, append_during, assert_all_found, work_during};
pub(crate) use cluster::{Cluster, Shape, free_port};
pub(crate) use ctl::{await_health, ctl, done};
pub(crate) use node::{Node, NodePlan};
pub(crate) use place::server;
pub(crate) use proxy::{Losses, Proxy};
pub(crate) use raw::{RawConnection, RawReply, key_of};
pub(crate) use status::GroupStatus;
pub(crate) use wait::{wait_for, wait_until};
