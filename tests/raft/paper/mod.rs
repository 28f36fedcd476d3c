//! What the Raft paper says must happen, sentence by sentence: *In Search of an Understandable
//! Consensus Algorithm (extended version)*, sections 5 to 8. Each test quotes its sentence.
//!
//! | section | where |
//! |---|---|
//! | 5.1 basics, 5.2 leader election | `elections` |
//! | 5.3 log replication | `replication` |
//! | 5.4 safety, 5.5 crashes, 5.6 timing | `safety` |
//! | 6 membership changes | `membership` |
//! | 7 log compaction, 8 clients | `snapshots_and_clients` |
//!
//! Where this library does more than the paper (pre-vote, check-quorum), the tests switch it off;
//! where it does otherwise, they say so. Not covered, since the host does it: redirecting clients
//! (8), writing snapshots (7), retrying lost requests for ever (5.5: the next heartbeat does).

mod elections;
mod membership;
mod replication;
mod safety;
mod snapshots_and_clients;
