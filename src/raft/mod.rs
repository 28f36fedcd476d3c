//! The Raft library: replicates a log, pure and deterministic, usable alone.
//!
//! # Problem
//! Several replicas must agree on one sequence of commands and keep it, while messages are lost,
//! reordered and repeated, and replicas stop and return with nothing but what their disks hold.
//!
//! # Model
//! [`Raft`] is one replica of one group: a state machine without clock, disk, network or
//! randomness of its own. The same inputs give the same outputs, byte for byte.
//!
//! ```text
//!               messages, ticks, completions
//!                           │
//!     propose ──▶ ┌─────────▼─────────┐ ──▶ messages
//!     read    ──▶ │  Raft  (term,     │ ──▶ hard state, entries: to be made durable
//!                 │  vote, log, role) │ ──▶ messages after that
//!    deadline ◀── └───────────────────┘ ──▶ committed entries, confirmed reads
//! ```
//!
//! - *Inputs*: [`Raft::step`] takes an [`Input`]; [`Raft::submit`], [`Raft::propose`],
//!   [`Raft::read`] and their like are inputs with an answer.
//! - *Outputs*: each appends to an [`Output`], which the host performs.
//! - *Queries*: [`Raft::deadline`] says when a tick is wanted; the others look without changing.
//!
//! # Embedding
//! The host brings everything that touches the world; each part can be anything that keeps its rule:
//!
//! | part | rule |
//! |---|---|
//! | transport | delivers messages as they were sent, or late, twice, in another order, or never; where it knows that it lost some, [`Input::PeerReset`] saves time |
//! | disk | what it reports durable survives; writes complete in the order they were given |
//! | clock | one that does not go back, for [`Time`], and runs nearly like the others' where leases are on; any for [`WallTime`], which only stamps entries |
//! | state machine | the same entries in the same order give the same state everywhere |
//! | failure detector | none is needed; where all groups of a host share one ([`Input::PeerUp`], [`Input::PeerDown`]), quiet groups send nothing and losses are known at once. It may be late and wrong |
//! | randomness | a seed that differs between replicas, and between starts of one |
//!
//! After every input the host performs what the [`Output`] asks for, in this order:
//!
//! 1. `messages` leave. They may overtake the disk.
//! 2. `hard_state` and `entries` are given to the disk; entries may replace the log's tail.
//! 3. When that, and all that was given to it before, is durable: `messages_after_durable` leave, and
//!    [`Input::Appended`] reports the last entry. Votes, terms and acknowledgements are among them: a
//!    replica that forgot one after a crash would break its word. Those to oneself are stepped in.
//! 4. `committed` entries go to the state machine, at its own pace; [`Input::Applied`] reports how
//!    far it is.
//! 5. `reads` are answered once everything up to their index is applied; `reads_failed` were not
//!    confirmed and may be asked again.
//! 6. `forwarded` come back in by [`Raft::accept`]: a leader stamps proposals by the host's clock.
//! 7. `outcomes` go to those who submitted.
//! 8. `snapshots` names followers that need the state itself: taking, sending and loading it is the
//!    host's, who reports [`Input::Compacted`], [`Input::SnapshotInstalled`] and the rest.
//! 9. `entries_wanted` names entries to read back from the disk, only from a host that keeps fewer in
//!    memory than on its disk, and said so by [`Input::Evicted`]; [`Input::EntriesRead`] answers.
//!
//! Nothing of it has to be waited for before the next input, but the order within each kind holds:
//! writes in the order given, entries in the order of their index. A leader sends entries while its
//! own disk still writes them, and counts itself only when that is done.
//!
//! What must be durable before what: a snapshot before [`Input::Compacted`] and
//! [`Input::SnapshotInstalled`]; hard state with or before the entries of its term. After a crash
//! [`Raft::new`] gets what the disk holds, and the state machine begins at the snapshot. Where the disk
//! has lost something, the host says so ([`Stored::doubt`]), at every start until `doubt_ended` is durable.
//!
//! # Example
//! Three replicas of a list of words, with everything around them in memory. A follower takes a
//! command, another one answers a linearizable read, the leader is lost and comes back.
//!
//! ```
//! use std::collections::{BTreeMap, VecDeque};
//!
//! use sunstar::base::{Bytes, GroupId, Index, NodeId, Time, WallTime};
//! use sunstar::raft::{
//!     Configuration, EntryKind, Input, Message, Outcome, Output, Raft, RaftConfig, ReadState,
//!     Stored, WaitFor,
//! };
//!
//! /// One replica and what it needs around it.
//! struct Host {
//!     raft: Raft,
//!     /// What the inputs asked for and nobody has performed yet.
//!     output: Output,
//!     /// What a crash leaves. This one is always as fast as it is asked.
//!     disk: Stored,
//!     /// The state machine, and how far it is.
//!     words: Vec<String>,
//!     applied: Index,
//!     reads: Vec<ReadState>,
//!     outcomes: Vec<(u64, Outcome)>,
//! }
//!
//! impl Host {
//!     fn start(node: NodeId, now: Time, disk: Stored) -> Self {
//!         // Differs between replicas, and between starts of one.
//!         let seed = node.0 << 32 | now.0;
//!         let config = RaftConfig { seed, ..RaftConfig::new(GroupId(1), node) };
//!         Self {
//!             raft: Raft::new(now, config, disk.clone()),
//!             output: Output::default(),
//!             // There are no snapshots here: the state machine begins with nothing.
//!             words: Vec::new(),
//!             applied: disk.snapshot.index,
//!             disk,
//!             reads: Vec::new(),
//!             outcomes: Vec::new(),
//!         }
//!     }
//!
//!     /// Performs the host's duties. Performing may ask for more.
//!     fn perform(&mut self, node: NodeId, now: Time, network: &mut VecDeque<Message>) {
//!         while !self.output.is_empty() {
//!             let todo = std::mem::take(&mut self.output);
//!             // 1. What may overtake the disk leaves.
//!             network.extend(todo.messages);
//!             // 2. The disk: entries may replace the tail.
//!             self.disk.hard_state = todo.hard_state.unwrap_or(self.disk.hard_state);
//!             self.disk.doubt.take_if(|_| todo.doubt_ended);
//!             let written = todo.entries.last().map(|entry| (entry.term, entry.index));
//!             for entry in todo.entries {
//!                 self.disk.entries.retain(|older| older.index < entry.index);
//!                 self.disk.entries.push(entry);
//!             }
//!             // 3. All is durable now.
//!             for message in todo.messages_after_durable {
//!                 if message.to == node {
//!                     self.raft.step(now, Input::Message(message), &mut self.output);
//!                 } else {
//!                     network.push_back(message);
//!                 }
//!             }
//!             if let Some((term, index)) = written {
//!                 self.raft.step(now, Input::Appended { term, index }, &mut self.output);
//!             }
//!             // 4. The state machine.
//!             for entry in todo.committed {
//!                 if entry.kind == EntryKind::Command {
//!                     self.words.push(String::from_utf8_lossy(&entry.payload).into_owned());
//!                 }
//!                 self.applied = entry.index;
//!             }
//!             self.raft.step(now, Input::Applied { index: self.applied }, &mut self.output);
//!             // 5. to 7.
//!             self.reads.extend(todo.reads);
//!             for forwarded in todo.forwarded {
//!                 self.raft.accept(now, WallTime(now.0), forwarded, &mut self.output);
//!             }
//!             self.outcomes.extend(todo.outcomes);
//!             // 8. Nothing is ever compacted here.
//!             assert!(todo.snapshots.is_empty() && todo.entries_wanted.is_empty());
//!         }
//!     }
//! }
//!
//! /// Hosts, the messages between them, and one clock.
//! struct Cluster {
//!     hosts: BTreeMap<NodeId, Host>,
//!     network: VecDeque<Message>,
//!     now: Time,
//! }
//!
//! impl Cluster {
//!     fn run_until(&mut self, done: impl Fn(&BTreeMap<NodeId, Host>) -> bool) {
//!         loop {
//!             for (&node, host) in &mut self.hosts {
//!                 host.perform(node, self.now, &mut self.network);
//!             }
//!             if let Some(message) = self.network.pop_front() {
//!                 // To a node that is down: lost.
//!                 if let Some(host) = self.hosts.get_mut(&message.to) {
//!                     host.raft.step(self.now, Input::Message(message), &mut host.output);
//!                 }
//!             } else if done(&self.hosts) {
//!                 return;
//!             } else {
//!                 // Nothing happens by itself any more: time passes until somebody wants a tick.
//!                 let deadlines = self.hosts.values().map(|host| host.raft.deadline());
//!                 self.now = self.now.max(deadlines.min().expect("hosts"));
//!                 for host in self.hosts.values_mut() {
//!                     if host.raft.deadline() <= self.now {
//!                         host.raft.step(self.now, Input::Tick, &mut host.output);
//!                     }
//!                 }
//!             }
//!         }
//!     }
//!
//!     /// Waits until all that are up follow one leader; that leader and a follower.
//!     fn leader_and_follower(&mut self) -> (NodeId, NodeId) {
//!         self.run_until(|hosts| {
//!             let leader = hosts.values().next().and_then(|host| host.raft.leader());
//!             leader.is_some_and(|leader| hosts.contains_key(&leader))
//!                 && hosts.values().all(|host| host.raft.leader() == leader)
//!         });
//!         let leader = self.hosts.values().find_map(|host| host.raft.leader()).expect("agreed on");
//!         (leader, *self.hosts.keys().find(|&&node| node != leader).expect("a follower"))
//!     }
//!
//!     /// Submits a word anywhere, and waits until it can be seen there.
//!     fn submit(&mut self, at: NodeId, word: &str, context: u64) -> Outcome {
//!         let (now, wall) = (self.now, WallTime(self.now.0));
//!         let host = self.hosts.get_mut(&at).expect("is up");
//!         let payload = Bytes::copy_of(word.as_bytes());
//!         host.raft.submit(now, wall, payload, WaitFor::Applied, context, &mut host.output);
//!         self.run_until(|hosts| hosts[&at].outcomes.iter().any(|told| told.0 == context));
//!         self.hosts[&at].outcomes.last().expect("told").1
//!     }
//! }
//!
//! let mut disk = Stored::default();
//! disk.snapshot.configuration = Configuration::new([1, 2, 3].map(NodeId));
//! let start = |node| (NodeId(node), Host::start(NodeId(node), Time(0), disk.clone()));
//! let hosts = [1, 2, 3].map(start).into_iter().collect();
//! let mut cluster = Cluster { hosts, network: VecDeque::new(), now: Time(0) };
//!
//! // The group elects a leader; a follower takes a command.
//! let (leader, follower) = cluster.leader_and_follower();
//! let outcome = cluster.submit(follower, "hello", 7);
//! assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
//!
//! // The third replica reads: what was done before it must be seen.
//! let third = *cluster.hosts.keys().find(|&&n| n != leader && n != follower).expect("three");
//! let host = cluster.hosts.get_mut(&third).expect("is up");
//! host.raft.read(cluster.now, 8, &mut host.output)?;
//! cluster.run_until(|hosts| {
//!     let host = &hosts[&third];
//!     host.reads.iter().any(|read| read.context == 8 && read.index <= host.applied)
//! });
//! assert_eq!(cluster.hosts[&third].words, ["hello"]);
//!
//! // The leader is lost, with all but its disk. The others elect another and go on.
//! let disk = cluster.hosts.remove(&leader).expect("was up").disk;
//! let (_, follower) = cluster.leader_and_follower();
//! let outcome = cluster.submit(follower, "world", 9);
//! assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
//!
//! // It comes back and catches up.
//! cluster.hosts.insert(leader, Host::start(leader, cluster.now, disk));
//! cluster.run_until(|hosts| hosts.values().all(|host| host.words == ["hello", "world"]));
//! # Ok::<(), sunstar::raft::ReadError>(())
//! ```
//!
//! [`Time`]: crate::base::Time
//! [`WallTime`]: crate::base::WallTime
//!
//! # Sources
//! Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm* (extended version):
//! "Raft". Ongaro, *Consensus: Bridging Theory and Practice*: "thesis". Numbers such as etcd#7331
//! name public issues of implementations whose mistakes are avoided here; "raft#" is etcd-io/raft.
//!
//! # Deliberately absent
//! Bytes: how messages and entries are encoded is the host's. Threads, retries, connections. More
//! than one group: a host runs as many replicas as it likes and merges their outputs.

mod append;
mod apply;
mod config;
mod configuration_bytes;
mod contacts;
mod doubt;
mod election;
mod entry;
mod error;
mod forwarding;
mod io;
mod joining;
mod lease;
mod liveness;
mod log;
mod lost_quorum;
mod membership;
mod message;
mod old_entries;
mod pace;
mod planted;
mod progress;
mod quiet;
mod quorum;
mod read_index;
mod reconfiguration;
mod replacement;
mod replica;
mod replication;
mod role;
mod snapshot;
mod staging;
mod transfer;
mod waiters;

pub use config::{Configuration, RaftConfig};
pub use configuration_bytes::ConfigurationError;
pub use doubt::{Doubt, Standing};
pub use entry::{Entry, EntryKind};
pub use error::{ProposeError, ReadError, ReconfigureError, Refusal, TransferError};
pub use forwarding::Forwarded;
pub use io::{Input, Output, ReadState, SnapshotRequest};
pub use lease::Lease;
pub use lost_quorum::ForceError;
pub use message::{Message, MessageBody};
pub use old_entries::EntriesRequest;
#[cfg(feature = "planted-bugs")]
pub use planted::Bug;
pub use replica::Raft;
pub use waiters::{Outcome, WaitFor};

use crate::base::{Index, NodeId, Term, WallTime};

/// What must survive a crash besides the entries: one atomic record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term seen.
    pub term: Term,
    /// Who got this replica's vote in that term.
    pub vote: Option<NodeId>,
}

/// Where a snapshot stands in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last entry the snapshot covers.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// That entry's time stamp: stamps never decrease along a log, across a snapshot too.
    pub timestamp: WallTime,
    /// The configuration at that entry.
    pub configuration: Configuration,
}

/// What a replica finds on its disk when it starts.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// The hard state; default on first start.
    pub hard_state: HardState,
    /// The snapshot the state machine was restored from; on first start index 0 and the initial configuration.
    pub snapshot: SnapshotMeta,
    /// The entries after the snapshot, without gaps. None if the log's own entry at the snapshot's
    /// index is missing or of another term: that log is older than the snapshot, which may have
    /// been taken before the log's last writes were durable. Nor is anything behind what is damaged.
    pub entries: Vec<Entry>,
    /// What else may have been here and is lost. Kept by the host over restarts, until
    /// `Output::doubt_ended`.
    pub doubt: Option<Doubt>,
}

/// What this replica is in its current term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether an election could be won, without disturbing anyone.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads the group.
    Leader,
}
