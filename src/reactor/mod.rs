//! One core's whole machine, without I/O.
//!
//! A [`Reactor`] hosts the replicas of one core: Raft, state machines, sessions, the log's
//! bookkeeping, routing. It sees no socket, file, clock, thread or runtime; the same type runs under
//! [`crate::io`] and under a test or simulator in one thread.
//!
//! # How to drive it
//! - *Inputs*: [`Reactor::step`], any number of times: each takes one [`Input`] in, cheaply.
//! - *Outputs*: [`Reactor::finish_turn`] ends the turn: what came in is proposed, replicated, made
//!   durable, applied and answered together; the [`Effects`] are to be performed, in any order.
//! - *Queries*: [`Reactor::deadline`], [`Reactor::status`], [`Reactor::is_quiescent`].
//!
//! ```text
//!            step × n                         finish_turn
//! inputs ──────────────▶ queues, Raft ──────────────────────────▶ effects
//!                        reads gathered      one entry per group
//!                                            one log write for all groups
//!                                            one frame per peer core
//!                                            one buffer per connection
//! ```
//!
//! Batching is the turn: what arrives while the effects of one turn are performed forms the next.
//! While the log has as many writes in flight as it may, commands wait in their queues, so batches
//! grow by themselves under load.
//!
//! # Determinism
//! Same configuration, same recovered state, same inputs at the same times: same effects, byte for
//! byte. Nothing iterates a hash map, nothing reads a clock; what is random comes from the seed.
//!
//! Slots move between groups beside all that: `movement` has it.

mod admin;
mod agreement;
mod answers;
mod config;
mod convert;
mod core;
mod directory;
mod disk_full;
mod effects;
mod first_start;
mod following;
mod governance;
mod healing;
mod holdings;
mod input;
mod leadership;
mod losses;
mod lost_quorum;
mod map;
mod movement;
mod old_entries;
mod peers;
mod persistence;
mod presence;
mod quarantine;
mod queue;
mod reads;
mod recovery;
mod replacement;
mod replica;
mod replies;
mod rewriting;
mod routing;
mod segment_waits;
mod sendings;
mod snapshots;
mod status;
mod timers;
mod trailing;
mod transfer;

pub use admin::{
    AdminAnswer, AdminOutcome, GroupAnswer, GroupMembers, GroupOperation, GroupReason,
    GroupRefusal, MemberProgress,
};
pub use config::{ReactorConfig, RecoverError, Recovered};
/// The bytes of maps, and of the shard master's words.
pub use convert::map as map_bytes;
pub use directory::Whereabouts;
pub use effects::{
    Close, CoreMessage, CoreSend, Effects, LogRead, LogWrite, MapWrite, PeerSend, PrepareSegment,
    Reply, SnapshotWrite,
};
pub use governance::{
    EpochView, GroupPlacement, GroupProgress, NodePlacement, PlacementAnswer, PlacementOperation,
    PlacementView,
};
pub use input::Input;
pub use lost_quorum::{Offline, Survivor};
pub use snapshots::{LoadedSnapshot, SnapshotLoader};
pub use status::{CoreStatus, DifferenceStatus, GroupStatus, ReplicaView};

use self::admin::Administration;
use self::convert::Incoming;
use self::core::Core;
use self::first_start::FirstStart;
use self::governance::Governance;
use self::map::Maps;
use self::movement::Movement;
use self::persistence::Release;
use self::quarantine::Comparisons;
use self::replica::Replica;
use self::timers::Timers;
use crate::base::collections::Map;
use crate::base::{GroupId, NodeId, PeerCore, Time};
use crate::placement::META;
use crate::raft;
use crate::wire::frame;
use crate::wire::peer::{self, PeerMessage};

/// One core's replicas, log, sessions and routing, as one deterministic state machine.
pub struct Reactor {
    core: Core,
    /// Of this life and of those before, in the order they came; each keeps its place.
    replicas: Vec<Replica>,
    /// Where in `replicas` a group is, whether its replica is here or not.
    positions: Map<GroupId, usize>,
    /// Replicas with something to do at the end of the turn: `replicas[i].touched`.
    touched: Vec<usize>,
    /// Replicas whose commands wait for the log to accept a write, in the order they came.
    queued: Vec<usize>,
    /// When each replica wants a tick.
    timers: Timers,
    /// When to look for replicas that are to go.
    departures_at: Option<Time>,
    /// What administrators ask.
    administration: Administration,
    /// Replicas whose states are to be compared.
    comparisons: Comparisons,
    /// Slots on their way.
    movement: Movement,
    /// What is to be told to other cores of this node.
    forwards: Vec<CoreSend>,
    /// When leadership is looked at next; never while all is as it ought to be.
    leadership_at: Time,
    /// Whether somebody is awaited, and when that is told next.
    first_start: FirstStart,
    /// Shard maps on their way.
    maps: Maps,
    /// What the shard master was asked, and what is told of it.
    governance: Governance,
    /// When members are compared with the map's; never while all are as they ought to be.
    members_at: Option<Time>,
    /// The node is about to stop: nothing is to be led here.
    leaving: bool,
    turns: u64,
}

impl Reactor {
    /// A core as it was when its process ended.
    ///
    /// # Errors
    /// If a snapshot is damaged, or entries are missing between a group's snapshot and its log.
    pub fn new(
        now: Time,
        config: ReactorConfig,
        recovered: Recovered,
    ) -> Result<Self, RecoverError> {
        let (core, replicas) = recovery::recover(now, config, recovered)?;
        let positions = replicas.iter().enumerate().map(|(i, r)| (r.group, i)).collect();
        let mut timers = Timers::default();
        for (i, replica) in replicas.iter().enumerate() {
            timers.insert(replica.timer, i);
        }
        let mut reactor = Self {
            core,
            replicas,
            positions,
            touched: Vec::new(),
            queued: Vec::new(),
            timers,
            departures_at: None,
            administration: Administration::default(),
            comparisons: Comparisons::default(),
            movement: Movement::default(),
            forwards: Vec::new(),
            leadership_at: now,
            first_start: FirstStart::new(now),
            maps: Maps::default(),
            governance: Governance::default(),
            members_at: Some(now),
            leaving: false,
            turns: 0,
        };
        (0..reactor.replicas.len()).for_each(|i| reactor.count(i));
        reactor.campaign_where_preferred(now);
        Ok(reactor)
    }

    /// Takes one input in. Cheap: the work of a turn is done in [`Reactor::finish_turn`].
    pub fn step(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::ClientFrame { connection, frame } => {
                self.client_frame(replies::Origin { core: None, connection }, frame);
            }
            Input::PeerFrame { from, frame } => self.peer_frame(now, from, frame),
            Input::CoreMessage { from, message } => self.core_message(now, from, message),
            Input::NotForwarded { connection, frame } => self.not_forwarded(connection, frame),
            Input::LogWritten { write } => {
                let ready = self.core.persistence.written(write);
                self.release(now, ready);
            }
            Input::LogReadDone { read, bytes } => self.log_read(now, read, bytes),
            Input::SegmentReady { segment } => self.segment_ready(segment),
            Input::SegmentFailed { segment } => self.segment_failed(now, segment),
            Input::SnapshotWritten { snapshot } => self.snapshot_written(now, snapshot),
            Input::SnapshotFailed { snapshot } => self.snapshot_failed(now, snapshot),
            Input::SnapshotsRemoved { group } => self.snapshots_removed(group),
            Input::Administer { ticket, group, operation } => {
                self.administer(now, ticket, group, &operation);
            }
            Input::Govern { ticket, operation } => self.govern(now, ticket, operation),
            Input::MapWritten { epoch } => self.map_written(now, epoch),
            Input::MapTold { epoch, bytes } => self.map_told(now, epoch, bytes),
            Input::NodeUp { node, incarnation, first, smp } => {
                self.core.peers.identified(node, incarnation, first);
                if self.core.peers.up(now, node, (incarnation, smp)) {
                    self.forget_told(node);
                    self.say_map_again(node);
                    self.node_changed(now, node);
                    self.campaign_where_preferred(now);
                    self.tell_all_whereabouts(node);
                    self.compare_with(now, node);
                }
            }
            Input::NodeDown { node } => {
                self.core.peers.down(node);
                self.node_changed(now, node);
            }
            Input::PeerLinkReset { peer } => self.reset_peer(now, peer.node),
            Input::HandOver => self.leave(now),
            // What a closed connection still awaits runs its course: a hang-up undoes no command.
            Input::ClientClosed { .. } | Input::Tick => {}
        }
    }

    /// Ends the turn: proposes, replicates, applies, and adds all that is to be performed to
    /// `effects`.
    pub fn finish_turn(&mut self, now: Time, effects: &mut Effects) {
        self.turns += 1;
        self.tick(now);
        self.move_slots(now);
        self.compare_states(now);
        self.found_meta_group(now);
        self.propose(now);
        self.perform(now);
        self.retire_departed(now);
        self.free_segments(now, effects);
        self.core.persistence.issue(now, effects);
        // With nothing in flight, what was staged without records waits for nothing.
        let ready = self.core.persistence.take_ready();
        if !ready.is_empty() {
            self.release(now, ready);
            self.perform(now);
            self.core.persistence.issue(now, effects);
        }
        self.reclaim(now);
        self.let_go_of_entries(now);
        self.read_old_entries(now, effects);
        self.core.sendings.send(&mut self.core.peers);
        self.core.peers.take(effects);
        self.core.replies.take(effects);
        effects.core_sends.append(&mut self.forwards);
        effects.admin_answers.append(&mut self.administration.answers);
        effects.map_write = self.maps.write.take().or(effects.map_write.take());
        effects.map_adopted = self.maps.adopted.take().or(effects.map_adopted.take());
        effects.snapshot_removals.append(&mut self.core.snapshot_removals);
    }

    /// When a turn is wanted next even if nothing arrives: at once, while entries wait to be
    /// applied.
    pub fn deadline(&self) -> Time {
        if !self.touched.is_empty() {
            return Time(0);
        }
        let timers = self.timers.next().unwrap_or(Time(u64::MAX)).min(self.leadership_at);
        let others = self.core.persistence.deadline().into_iter();
        let others = others.chain(self.core.sendings.deadline()).chain(self.departures_at);
        let others = others.chain(self.members_at).chain(self.governance.tell_at);
        let others = others.chain(self.core.snapshots_pause()).chain(self.comparisons.deadline());
        let others = others.chain(self.movement.deadline());
        others.fold(timers, Time::min)
    }

    /// Whether nothing is in flight: no log bytes, no command or read that awaits its outcome.
    pub fn is_quiescent(&self) -> bool {
        self.core.persistence.is_quiescent()
            && self.core.replies.is_empty()
            && self.replicas.iter().all(Replica::is_quiescent)
    }

    /// A summary for the administration port; `with_hash` computes state hashes, O(state).
    pub fn status(&self, with_hash: bool) -> CoreStatus {
        let counters = self.core.answers.counters;
        CoreStatus {
            core: self.core.config.core,
            groups: self.statuses(with_hash),
            state_bytes: self.core.held.state,
            memory_max: self.core.config.memory_max,
            disk_full: self.core.persistence.is_full(),
            turns: self.turns,
            commands: counters.commands,
            reads: counters.reads,
            deduplicated: counters.deduplicated,
            log_writes: self.core.persistence.batches,
            log_bytes: self.core.persistence.bytes,
            log_segment_waits: self.core.persistence.waits.count,
            log_segment_wait_ms: self.core.persistence.waits.total.0 / 1_000,
            log_segment_wait_max_ms: self.core.persistence.waits.longest.0 / 1_000,
            log_reads: self.core.old_entries.count,
            log_segments: self.core.persistence.log().live_segments() as u64,
            entries_in_memory_bytes: self.core.held.entries,
            under_way_bytes: self.under_way(),
            under_way_max: self.core.config.under_way_max(),
            snapshots_frozen_bytes: self.core.frozen_bytes(),
            snapshots_received_bytes: self.core.held.received,
            unreclaimed_keys: self.unreclaimed_keys(),
            snapshots: self.core.snapshots,
            makes_snapshot: self.core.makes_snapshot(),
            divergences: self.core.divergences,
        }
    }

    /// What its replicas that are here look like from outside, in no order that means anything; cheap.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaView> {
        self.replicas.iter().filter(|replica| replica.is_here()).map(Replica::view)
    }

    /// Asserts what must hold between the parts, after any turn. For tests and simulators.
    pub fn check_invariants(&self) {
        self.replicas.iter().for_each(Replica::check_invariants);
        self.check_holdings();
    }

    fn statuses(&self, with_hash: bool) -> Vec<GroupStatus> {
        let here = self.replicas.iter().filter(|replica| replica.is_here());
        let mut statuses: Vec<_> = here.map(|replica| replica.status(with_hash)).collect();
        statuses.sort_by_key(|status| status.group);
        statuses
    }

    /// Puts a replica on the turn's list.
    fn touch(&mut self, i: usize) -> &mut Replica {
        let replica = &mut self.replicas[i];
        if !replica.touched {
            replica.touched = true;
            self.touched.push(i);
        }
        replica
    }

    fn step_raft(&mut self, now: Time, i: usize, input: raft::Input) {
        self.touch(i).step(now, input);
    }

    fn peer_frame(&mut self, now: Time, from: PeerCore, bytes: &[u8]) {
        let Some(frame) = frame::scan_trusted(bytes) else { return };
        let batch = match peer::parse_peer_batch(&frame) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::warn!(%from, %error, "peer batch refused");
                return;
            }
        };
        for message in batch.messages() {
            self.peer_message(now, from, message);
        }
    }

    fn peer_message(&mut self, now: Time, from: PeerCore, message: PeerMessage<'_>) {
        let (group, term) = (message.group, message.term);
        let i = self.position(group).or_else(|| self.take_in(now, &message));
        let leads = presence::says_who_leads(&message);
        let incoming = convert::incoming(from.node, self.core.config.node, message);
        match (incoming, i) {
            (Some(Incoming::Whereabouts(told)), _) => {
                self.whereabouts_told(from.node, group, &told);
            }
            (Some(Incoming::AdminRequest { request, body }), _) => {
                self.admin_requested(now, from.node, group, request, body);
            }
            (Some(Incoming::AdminReply { request, body }), _) => {
                self.admin_replied(request, body);
            }
            (Some(Incoming::Map { epoch, body }), _) => {
                self.map_message(now, from.node, epoch, body);
            }
            (Some(Incoming::Movement { body }), _) => self.movement_told(group, body),
            (Some(Incoming::Raft(message)), Some(_)) if self.is_declined(&message) => {}
            (Some(Incoming::Raft(message)), Some(i)) if self.counts(i, &message) => {
                self.step_raft(now, i, raft::Input::Message(message));
                if leads {
                    self.claimed(now, i, from.node);
                }
            }
            (Some(Incoming::SnapshotChunk(chunk)), Some(i)) => {
                self.touch(i);
                self.replicas[i].snapshot_chunk(&mut self.core, from.node, term, &chunk, now);
            }
            (Some(Incoming::SnapshotAck(ack)), Some(i)) => {
                self.touch(i);
                self.replicas[i].snapshot_acknowledged(&mut self.core, from.node, ack, now);
            }
            (Some(Incoming::State(message)), Some(i)) => {
                let core = &mut self.core;
                self.replicas[i].state_message(core, now, (from.node, term), message);
                self.touch(i);
            }
            (Some(_), _) => {}
            (None, _) => tracing::warn!(%from, "entry of an unknown kind refused"),
        }
    }

    /// A node came up or went down. Every replica hears of it: one in whose group the node is not
    /// may have it as a member later.
    fn node_changed(&mut self, now: Time, node: NodeId) {
        self.core.sendings.reset(node);
        let input = self.core.peers.liveness(node);
        for i in 0..self.replicas.len() {
            self.step_raft(now, i, input.clone());
        }
    }

    /// What was sent to `node` may be lost: replicas that share a group with it send again.
    fn reset_peer(&mut self, now: Time, node: NodeId) {
        self.core.sendings.reset(node);
        self.forget_told(node);
        self.say_map_again(node);
        for i in 0..self.replicas.len() {
            let meta = self.replicas[i].group == META;
            if meta || self.replicas[i].raft.configuration().is_member(node) {
                self.step_raft(now, i, raft::Input::PeerReset { peer: node });
            }
        }
    }

    /// Where this node leads by preference and nobody is known to, it stands as soon as it can see
    /// a majority: a cluster that starts need not wait for an election timeout.
    fn campaign_where_preferred(&mut self, now: Time) {
        if self.leaving || self.core.persistence.is_full() {
            return;
        }
        for i in 0..self.replicas.len() {
            let replica = &self.replicas[i];
            let Some(info) = self.core.map.group(replica.group) else { continue };
            let node = self.core.config.node;
            let seen = |member: &&NodeId| **member == node || self.core.peers.is_up(**member);
            let majority = info.members.iter().filter(seen).count() * 2 > info.members.len();
            if info.preferred_leader == node && replica.raft.leader().is_none() && majority {
                self.step_raft(now, i, raft::Input::Campaign);
            }
        }
    }

    /// Delivers what has become durable.
    fn release(&mut self, now: Time, ready: Vec<Release>) {
        for release in ready {
            match release {
                Release::Appended(group, term, index) => {
                    let Some(i) = self.position(group) else { continue };
                    self.touch(i).appended(now, term, index);
                }
                Release::Message(group, message) if message.to == self.core.config.node => {
                    let Some(i) = self.position(group) else { continue };
                    self.step_raft(now, i, raft::Input::Message(message));
                }
                // What a replica vouched for that has gone since, it vouches for no longer.
                Release::Message(group, message) if self.position(group).is_some() => {
                    self.core.peers.send(group, &message);
                }
                Release::Message(..) => {}
                Release::Retired(group) => self.retired(group),
            }
        }
    }

    fn tick(&mut self, now: Time) {
        while let Some(i) = self.timers.pop_reached(now) {
            // A timer is not moved when a deadline moves away, only when it is reached: most are
            // pushed back by every heartbeat.
            if self.replicas[i].raft.deadline() <= now {
                self.step_raft(now, i, raft::Input::Tick);
                let next = self.replicas[i].raft.deadline();
                assert!(next > now, "a tick moves the deadline on: {next:?} at {now:?}");
            }
            self.rearm(i);
        }
        for (group, to) in self.core.sendings.check(now) {
            let Some(i) = self.position(group) else { continue };
            self.step_raft(now, i, raft::Input::SnapshotFailed { to });
        }
        self.look_at_leadership(now);
        self.look_at_members(now);
        self.tell_map_again(now);
        self.tell_who_is_awaited(now);
    }

    fn rearm(&mut self, i: usize) {
        let replica = &mut self.replicas[i];
        replica.timer = replica.raft.deadline();
        self.timers.insert(replica.timer, i);
    }

    /// Turns what clients asked into entries and read rounds.
    fn propose(&mut self, now: Time) {
        if self.core.persistence.accepts() || self.core.persistence.is_full() {
            for i in std::mem::take(&mut self.queued) {
                self.touch(i);
                self.replicas[i].propose(&mut self.core, now);
                if self.replicas[i].has_to_propose() {
                    self.queued.push(i);
                }
            }
        }
    }

    /// Performs what the replicas on the turn's list ask for.
    fn perform(&mut self, now: Time) {
        // In the order of touching, which the inputs determine.
        let mut touched = std::mem::take(&mut self.touched);
        let (mut looks, full) = (false, self.core.persistence.is_full());
        for &i in &touched {
            let replica = &mut self.replicas[i];
            replica.touched = false;
            replica.ask(&mut self.core, now);
            replica.perform(&mut self.core, now);
            looks |= replica.is_to_be_looked_at(full);
            if replica.raft.deadline() < replica.timer {
                self.timers.remove(replica.timer, i);
                self.rearm(i);
            }
            self.count(i);
            self.tell_whereabouts(i);
            self.ask_whereabouts(now, i);
            self.update_presence(now, i);
            self.note_comparison(now, i);
            self.note_movement(i);
            self.note_governing(now, i);
            self.note_members(now, i);
        }
        if looks {
            self.look_again(now);
        }
        assert!(self.touched.is_empty(), "performing touches no other replica");
        touched.retain(|&i| {
            let replica = &mut self.replicas[i];
            replica.touched = replica.has_more_to_apply() || replica.has_more_to_answer();
            replica.touched
        });
        // What a turn may spend is not always spent by the same.
        let first = touched.len().min(1);
        touched.rotate_left(first);
        self.touched = touched;
    }

    fn snapshot_written(&mut self, now: Time, number: u64) {
        if let Some(making) = self.core.piece_written(number) {
            let Some(i) = self.position(making.group) else { return };
            self.touch(i);
            self.core.made(making, &mut self.replicas[i], now);
        }
    }

    /// The disk had no room for a snapshot: the one in the making is gone. A received one is to be sent
    /// again, by whoever sent it.
    fn snapshot_failed(&mut self, now: Time, number: u64) {
        let Some(making) = self.core.piece_failed(now, number) else { return };
        if let Some(i) = self.position(making.group) {
            self.touch(i);
            self.core.not_made(making, &mut self.replicas[i]);
        }
    }

    /// Applied entries leave memory, the oldest first, where there are too many.
    fn let_go_of_entries(&mut self, now: Time) {
        while let Some(oldest) = self.core.trailing.excess(self.core.config.entries_memory_max) {
            if let Some(i) = self.position(oldest.group) {
                let stored_from = self.core.persistence.log().first_stored(oldest.group);
                if !self.replicas[i].evict(now, oldest.upto, stored_from) {
                    return;
                }
            }
            self.core.trailing.let_go();
        }
    }
}
