//! Replicas come and go with their group's configuration.
//!
//! ```text
//!             leader's message          no member, and that is committed
//!   Absent ──────────────────▶ Here ◀──────────────────────────────────▶ Leaving
//!     ▲                                                                     │ a pause
//!     └──────── snapshots removed ──────── Going ◀──────── log told ────────┘
//! ```
//!
//! - A node that a leader sends a group's log to begins an empty replica. Without a configuration it
//!   can neither vote nor stand; log or snapshot make it a member.
//! - A replica that is out has been told so, by its log or by another node (`directory`). After a
//!   pause, in which those who are behind may still ask it, it gives its state up.
//! - What is never given up is term and vote: a node that leaves and comes back must not vote twice
//!   in a term. They stay in the log, and here.
//! - What it does give up, it may have acknowledged. Should it come back, it is in doubt (`raft::Doubt`)
//!   until its log is as long as its leader's: the first that it is sent may be older than the change
//!   that put it out, and by a configuration of then it might win an election without what it knew.
//! - Nothing of a life before may be mixed up with the next: a replica comes back only when the log
//!   has it durably that it left, and its snapshot files are gone. Until then it is deaf, as if it
//!   were down.

use super::Reactor;
use super::directory::Whereabouts;
use super::effects::{CoreMessage, CoreSend};
use super::losses;
use super::recovery;
use super::replica::Replica;
use crate::base::{CoreId, GroupId, Micros, NodeId, Time};
use crate::placement::{META, ShardMap};
use crate::raft::{HardState, RoleKind};
use crate::wal::SnapshotMark;
use crate::wire::peer::{PeerBody, PeerMessage};

/// Election timeouts that a replica stays after it has learnt that it is out.
const PAUSE_TIMEOUTS: u64 = 4;

/// When to look again at a replica that could not go: a snapshot of it was being written.
const BUSY_FOR: Micros = Micros::from_secs(1);

/// Whether a replica is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is.
    Here,
    /// It is, but is no member of its group, and goes unless that changes.
    Leaving {
        /// Since when no leader wrote to it: one that is being brought up to date is not about to leave.
        since: Time,
    },
    /// It is not: the disk is being told.
    Going,
    /// It is not: the group's place in the tables is kept, with term and vote.
    Absent,
}

impl Replica {
    /// Whether messages and clients reach it.
    pub(super) fn is_here(&self) -> bool {
        matches!(self.presence, Presence::Here | Presence::Leaving { .. })
    }

    /// Whether its group goes on without it.
    fn is_out(&self, node: NodeId, reactor: &super::core::Core) -> bool {
        let raft = &self.raft;
        let forgotten = reactor.map.group(self.group).is_none();
        let (_, committed) = raft.committed_configuration();
        let member = raft.configuration().is_member(node) || committed.is_member(node);
        let place = raft.configuration_place();
        let excluded = !member || reactor.directory.excludes(self.group, node, place);
        forgotten || raft.role() != RoleKind::Leader && excluded
    }
}

impl Reactor {
    /// Where a replica of `group` is in the tables, if it is here.
    pub(super) fn position(&self, group: GroupId) -> Option<usize> {
        self.positions.get(&group).copied().filter(|&i| self.replicas[i].is_here())
    }

    /// Makes room for a group that has none here, if it is its leader who says so. Returns where it
    /// is in the tables.
    pub(super) fn take_in(&mut self, now: Time, message: &PeerMessage<'_>) -> Option<usize> {
        let (group, term) = (message.group, message.term);
        let config = &self.core.config;
        let here = ShardMap::home_core(group, config.smp) == config.core;
        let known = self.core.directory.find(group)?;
        let stale = term < known.term && !known.configuration.is_member(config.node);
        if !says_who_leads(message) || !here || stale {
            return None;
        }
        let i = match self.positions.get(&group) {
            Some(&i) if self.replicas[i].presence == Presence::Going => return None,
            Some(&i) => i,
            None => self.add_vacant(now, group),
        };
        tracing::info!(%group, core = %self.core.config.core, "a replica begins, empty");
        self.core.persistence.log_mut().stage_reset(group, SnapshotMark::default());
        self.replicas[i].presence = Presence::Leaving { since: now };
        for node in self.core.peers.nodes() {
            let input = self.core.peers.liveness(node);
            self.step_raft(now, i, input);
        }
        self.look_for_departures_at(now + self.pause());
        Some(i)
    }

    /// Looks whether a replica still belongs here; it may have learnt something this turn.
    pub(super) fn update_presence(&mut self, now: Time, i: usize) {
        let replica = &mut self.replicas[i];
        let out = replica.is_here() && replica.is_out(self.core.config.node, &self.core);
        match replica.presence {
            Presence::Here if out => {
                replica.presence = Presence::Leaving { since: now };
                self.look_for_departures_at(now + self.pause());
            }
            Presence::Leaving { .. } if !out => replica.presence = Presence::Here,
            Presence::Here | Presence::Leaving { .. } | Presence::Going | Presence::Absent => {}
        }
    }

    /// The leader wrote to a replica: whatever that has heard, it is counted on.
    pub(super) fn claimed(&mut self, now: Time, i: usize, leader: NodeId) {
        let replica = &mut self.replicas[i];
        if replica.raft.leader() == Some(leader)
            && let Presence::Leaving { since } = &mut replica.presence
        {
            *since = now;
        }
    }

    /// Gives up the replicas whose pause is over.
    pub(super) fn retire_departed(&mut self, now: Time) {
        if self.departures_at.is_none_or(|at| at > now) {
            return;
        }
        self.departures_at = None;
        for i in 0..self.replicas.len() {
            let Presence::Leaving { since } = self.replicas[i].presence else { continue };
            let due = since + self.pause();
            if due > now {
                self.look_for_departures_at(due);
            } else if self.core.has_snapshot_under_way(self.replicas[i].group) {
                self.look_for_departures_at(now + BUSY_FOR);
            } else {
                self.retire(now, i);
            }
        }
    }

    /// The log has it that a group is gone: its snapshots may go too.
    pub(super) fn retired(&mut self, group: GroupId) {
        self.core.snapshot_removals.push(group);
    }

    /// The snapshots of a group that is gone are gone.
    pub(super) fn snapshots_removed(&mut self, group: GroupId) {
        if let Some(&i) = self.positions.get(&group) {
            let presence = &mut self.replicas[i].presence;
            assert_eq!(*presence, Presence::Going, "{group}");
            *presence = Presence::Absent;
        }
    }

    /// Tells whom it concerns where the group of a replica is, if that has changed.
    pub(super) fn tell_whereabouts(&mut self, i: usize) {
        let replica = &mut self.replicas[i];
        let Some(leader) = replica.raft.leader() else { return };
        let (index, configuration) = replica.raft.committed_configuration();
        let committed = replica.raft.commit_place();
        // Told again once something of the term is committed: that settles more.
        let story = (index, replica.raft.term(), committed.0);
        if replica.told == story || configuration.voters.is_empty() || !replica.is_here() {
            return;
        }
        replica.told = story;
        let (configuration, group) = (configuration.clone(), replica.group);
        let told = Whereabouts { committed, configuration, term: story.1, leader };
        self.learn(group, &told);
        if leader == self.core.config.node {
            let others = self.core.peers.nodes();
            for node in others {
                self.tell_node(node, group, &told);
            }
        }
        self.tell_cores(group, &told);
    }

    /// Tells a node that came up where the groups are that this one leads.
    pub(super) fn tell_all_whereabouts(&mut self, node: NodeId) {
        for i in 0..self.replicas.len() {
            let replica = &self.replicas[i];
            let (group, told) = (replica.group, self.core.directory.find(replica.group));
            if replica.is_leader()
                && let Some(told) = told.filter(|told| told.term == replica.raft.term()).cloned()
            {
                self.tell_node(node, group, &told);
            }
        }
    }

    /// A replica that finds no leader may have left its group without hearing of it, and those it
    /// would ask for their votes may have left too; or it is in doubt and asks for none. It says to all
    /// what it knows: whoever knows more answers.
    pub(super) fn ask_whereabouts(&mut self, now: Time, i: usize) {
        let (replica, timeout) = (&mut self.replicas[i], self.core.config.election_timeout);
        let doubts = replica.raft.doubt().is_some() && replica.raft.leader().is_none();
        let seeks = doubts || replica.raft.role() == RoleKind::PreCandidate;
        if !seeks || !replica.is_here() || now < replica.asked_at + timeout {
            return;
        }
        replica.asked_at = now;
        let group = replica.group;
        self.inquire(group);
    }

    /// Asks all nodes where a group is, by telling them what is known here.
    pub(super) fn inquire(&mut self, group: GroupId) {
        let Some(known) = self.core.directory.find(group).cloned() else { return };
        for node in self.core.peers.nodes() {
            self.send_whereabouts(node, group, &known);
        }
    }

    /// Another node tells where a group is, as far as it knows.
    pub(super) fn whereabouts_told(&mut self, from: NodeId, group: GroupId, told: &Whereabouts) {
        if self.learn(group, told) {
            self.tell_cores(group, told);
            if let Some(i) = self.position(group) {
                self.touch(i);
            }
        }
        let newer =
            |known: &&Whereabouts| known.committed > told.committed || known.term > told.term;
        if let Some(known) = self.core.directory.find(group).filter(newer).cloned() {
            self.tell_node(from, group, &known);
        }
    }

    /// Takes in where a group is. Returns whether anything of it is new.
    pub(super) fn learn(&mut self, group: GroupId, told: &Whereabouts) -> bool {
        let news = self.core.directory.learn(group, told);
        if news && group == META {
            // Another leader of the meta group knows nothing of what was reported to the last one.
            self.report_movements();
        }
        news
    }

    /// Members know by themselves.
    fn tell_node(&mut self, node: NodeId, group: GroupId, told: &Whereabouts) {
        if !told.configuration.is_member(node) {
            self.send_whereabouts(node, group, told);
        }
    }

    fn send_whereabouts(&mut self, node: NodeId, group: GroupId, told: &Whereabouts) {
        let configuration = &told.configuration.encode();
        let (committed, leader) = (told.committed, told.leader);
        let body = PeerBody::Whereabouts { committed, leader, configuration };
        self.core.peers.send_body(node, group, told.term, &body);
    }

    fn tell_cores(&mut self, group: GroupId, told: &Whereabouts) {
        let config = &self.core.config;
        for to in (0..config.smp).map(CoreId).filter(|&core| core != config.core) {
            let message = CoreMessage::Whereabouts { group, told: told.clone() };
            self.forwards.push(CoreSend { to, message });
        }
    }

    /// Adds an entry to the tables for a group never seen here.
    fn add_vacant(&mut self, now: Time, group: GroupId) -> usize {
        let salt = self.core.next_transfer();
        let hard_state = HardState::default();
        let replica = recovery::vacant(now, &self.core.config, group, (hard_state, None), salt);
        self.add(replica)
    }

    /// Adds a replica to the tables.
    pub(super) fn add(&mut self, mut replica: Replica) -> usize {
        let (i, group) = (self.replicas.len(), replica.group);
        replica.follow(&self.core.map);
        self.timers.insert(replica.timer, i);
        self.positions.insert(group, i);
        self.replicas.push(replica);
        self.count(i);
        i
    }

    /// Gives a replica up. All that it wanted of this turn was performed.
    fn retire(&mut self, now: Time, i: usize) {
        let salt = self.core.next_transfer();
        let replica = &mut self.replicas[i];
        let (group, hard_state) = (replica.group, replica.raft.hard_state());
        let votes = (hard_state, losses::after_leaving(replica.raft.doubt()));
        assert!(replica.output.hard_state.is_none(), "{group}: term and vote are in the log");
        replica.turn_everyone_away(&mut self.core);
        self.core.persistence.stage_retirement(group);
        let mut vacant = recovery::vacant(now, &self.core.config, group, votes, salt);
        vacant.follow(&self.core.map);
        let replaced = std::mem::replace(replica, vacant);
        // Its places on the turn's list and in the timer table are still the same.
        (replica.touched, replica.timer) = (replaced.touched, replaced.timer);
        replica.counted = replaced.counted;
        replica.presence = Presence::Going;
        self.count(i);
        tracing::info!(%group, core = %self.core.config.core, "the replica is out of its group: it goes");
    }

    fn pause(&self) -> Micros {
        Micros(PAUSE_TIMEOUTS * self.core.config.election_timeout.0)
    }

    fn look_for_departures_at(&mut self, at: Time) {
        self.departures_at = Some(self.departures_at.map_or(at, |known| known.min(at)));
    }
}

/// Whether only a leader says so.
pub(super) fn says_who_leads(message: &PeerMessage<'_>) -> bool {
    matches!(message.body, PeerBody::Append { .. } | PeerBody::Heartbeat { .. })
}
