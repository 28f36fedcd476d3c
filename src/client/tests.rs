//! What the tests of the core, the drivers and the load engine share: a cluster of one struct, and
//! real sockets in front of it.

pub(crate) mod cluster;
pub(crate) mod serve;
