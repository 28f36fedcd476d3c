//! Comparing states with the other members of a group, and what becomes of a replica that is wrong.
//!
//! ```text
//!   healthy ──verdict: a majority has another state──▶ quarantined ──the leader's state, caught up──▶ healthy
//!                                                      │ its log is sound: it acknowledges and votes
//!                                                      │ its state is not: no reads, no answers, no
//!                                                      │ leadership, no snapshots of it
//! ```
//!
//! A quarantined replica asks its leader for the state itself, as a snapshot. It goes on applying to its
//! wrong state meanwhile, so that nothing else need know: when the right one is here, durable, it is
//! brought up to the same entry out of the log in memory and takes the wrong one's place. If the log in
//! memory does not reach that far back any more, another one is asked for.
//!
//! Quarantine is not written down. A replica that restarts has the state that its snapshot and its log
//! give: if that is right, the damage was in memory only; if not, it is found again, since whoever comes
//! up is compared.

use std::collections::BTreeMap;

use super::Reactor;
use super::agreement::Judgement;
use super::core::Core;
use super::governance::master_of;
use super::movement::{GroupState, Hosted};
use super::replica::Replica;
use super::snapshots::Install;
use crate::base::{Index, NodeId, Term, Time};
use crate::kv::Machine;
use crate::raft::{EntryKind, SnapshotMeta};
use crate::wire::peer::{PeerBody, StateMessage};

/// A replica whose state is wrong.
#[derive(Default)]
pub(super) struct Quarantine {
    /// The right state, durable here, while it is yet to be brought up to where this replica is.
    healing: Option<(SnapshotMeta, Install)>,
}

/// Groups whose replicas here have something to compare, or to be healed of.
#[derive(Debug, Default)]
pub(super) struct Comparisons {
    /// Where they are in the tables; each once.
    pending: Vec<usize>,
    /// When they are looked at next; never while there are none.
    due: Option<Time>,
}

impl Comparisons {
    /// When `Reactor::compare_states` has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.due
    }
}

impl Replica {
    pub(super) fn is_quarantined(&self) -> bool {
        self.quarantine.is_some()
    }

    /// Whether a state at `index` is wanted in the place of this one. Not one before the newest snapshot
    /// here: that would count again after a restart.
    pub(super) fn wants_state(&self, index: Index) -> bool {
        let heals = self.is_quarantined() && index >= self.snapshot_index;
        self.raft.wants_snapshot(index) || heals
    }

    /// Whether there is something to compare, or to be healed of.
    fn has_to_compare(&self) -> bool {
        let (term, last) = (self.raft.term(), self.raft.last_index());
        let news = self.is_leader() && self.agreement.has_news(term, last);
        self.is_here() && (news || self.is_quarantined())
    }

    /// Asks those whose hashes are wanted, and notes our own. Returns whether it is to be repeated.
    fn compare(&mut self, core: &mut Core, now: Time) -> bool {
        if self.is_quarantined() {
            self.seek_health(core, now);
            return true;
        }
        if !self.is_leader() || !self.is_here() {
            return false;
        }
        let own = core.config.node;
        let members = self.raft.configuration().members();
        let others: Vec<NodeId> =
            members.filter(|&node| node != own && core.peers.is_up(node)).collect();
        let (term, last) = (self.raft.term(), self.raft.last_index());
        let Some((index, unheard)) = self.agreement.ask(term, last, &others) else { return false };
        for member in unheard {
            self.say(core, member, StateMessage::Ask { index });
        }
        self.note_own(core, now, index);
        true
    }

    /// The hash after `index` is wanted of this replica.
    fn note_own(&mut self, core: &mut Core, now: Time, index: Index) {
        let applied = (self.applied_index(), self.machine.state_hash());
        if let Some(hash) = self.agreement.want(index, applied) {
            self.give(core, now, index, hash);
        }
    }

    /// Notes the hash if it is wanted after this entry, which was just applied.
    #[inline]
    pub(super) fn note_applied(&mut self, index: Index) {
        if self.agreement.is_wanted(index) {
            self.agreement.note(index, self.machine.state_hash());
            self.noted = Some(index);
        }
    }

    /// Tells the leader what was noted this turn.
    pub(super) fn tell_noted(&mut self, core: &mut Core, now: Time) {
        let Some(index) = self.noted.take() else { return };
        if let Some(hash) = self.agreement.noted(index) {
            self.give(core, now, index, hash);
        }
    }

    fn give(&mut self, core: &mut Core, now: Time, index: Index, hash: u64) {
        let own = core.config.node;
        match self.raft.leader() {
            Some(leader) if leader == own => self.hear(core, now, own, index, Some(hash)),
            Some(leader) if self.is_quarantined() => {
                self.say(core, leader, StateMessage::Quarantined { index });
            }
            Some(leader) => self.say(core, leader, StateMessage::Answer { index, hash }),
            None => {}
        }
    }

    /// Another member says something about states.
    pub(super) fn state_message(
        &mut self,
        core: &mut Core,
        now: Time,
        (from, term): (NodeId, Term),
        message: StateMessage,
    ) {
        let from_leader = term == self.raft.term() && self.raft.leader() == Some(from);
        match message {
            StateMessage::Ask { index } if from_leader => self.note_own(core, now, index),
            StateMessage::Verdict { index, hash } if from_leader => {
                self.judged(core, now, from, index, hash);
            }
            StateMessage::Undecided { index, hash } if from_leader => {
                self.undecided(core, from, index, hash);
            }
            StateMessage::Answer { index, hash } => self.hear(core, now, from, index, Some(hash)),
            StateMessage::Quarantined { index } => self.hear(core, now, from, index, None),
            StateMessage::Wants if self.is_leader() && !self.is_quarantined() => {
                if self.raft.configuration().is_member(from) {
                    self.begin_sending(core, from, now);
                }
            }
            StateMessage::Ask { .. }
            | StateMessage::Verdict { .. }
            | StateMessage::Undecided { .. }
            | StateMessage::Wants => {}
        }
    }

    /// A member's hash came in, to the leader that asked.
    fn hear(&mut self, core: &mut Core, now: Time, from: NodeId, index: Index, hash: Option<u64>) {
        let own = core.config.node;
        if !self.is_leader() {
            return;
        }
        let is_up = |node| node == own || core.peers.is_up(node);
        let configuration = self.raft.configuration();
        let Some(judgement) = self.agreement.hear(from, index, hash, configuration, is_up) else {
            return;
        };
        self.report(&judgement);
        match judgement {
            Judgement::Equal => {}
            Judgement::Wrong { right, members } => {
                for &member in members.iter().filter(|&&member| member != own) {
                    self.say(core, member, StateMessage::Verdict { index, hash: right });
                }
                if members.contains(&own) {
                    self.quarantine(core, now);
                }
            }
            Judgement::Undecided => {
                core.divergences += 1;
                let Some(hash) = self.agreement.noted(index) else { return };
                let members: Vec<NodeId> = self.raft.configuration().members().collect();
                for member in members.into_iter().filter(|&member| member != own) {
                    self.say(core, member, StateMessage::Undecided { index, hash });
                }
            }
        }
    }

    /// Says loudly that replicas differ.
    fn report(&self, judgement: &Judgement) {
        let Some(difference) = self.agreement.difference() else { return };
        let (group, index) = (self.group, difference.index);
        let hashes = difference.to_string();
        match judgement {
            Judgement::Equal => {}
            Judgement::Wrong { members, .. } => tracing::error!(
                %group,
                %index,
                hashes,
                wrong = ?members,
                "replicas of one group hold different states: those in the minority are quarantined"
            ),
            Judgement::Undecided => tracing::error!(
                %group,
                %index,
                hashes,
                "replicas of one group hold different states, and no majority says which is right: \
                 answers depend on who leads. Compare the replicas, and replace the wrong ones"
            ),
        }
    }

    /// The leader says what a majority of the voters holds.
    fn judged(&mut self, core: &mut Core, now: Time, leader: NodeId, index: Index, right: u64) {
        let Some(own) = self.agreement.noted(index).filter(|own| *own != right) else { return };
        let hashes = BTreeMap::from([(core.config.node, own), (leader, right)]);
        self.agreement.told(index, hashes);
        if !self.is_quarantined() {
            self.quarantine(core, now);
        }
    }

    /// The leader says that nobody can tell who is right.
    fn undecided(&mut self, core: &mut Core, leader: NodeId, index: Index, hash: u64) {
        let Some(own) = self.agreement.noted(index) else { return };
        let hashes = BTreeMap::from([(core.config.node, own), (leader, hash)]);
        self.agreement.told(index, hashes);
        core.divergences += 1;
        self.report(&Judgement::Undecided);
    }

    fn quarantine(&mut self, core: &mut Core, now: Time) {
        let difference = self.agreement.difference().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            group = %self.group,
            core = %core.config.core,
            hashes = difference,
            "the state of this replica is not that of the majority: it serves nothing until it has \
             the leader's. If this comes again, replace this node, and check its memory"
        );
        core.divergences += 1;
        self.quarantine = Some(Quarantine::default());
        self.healing.begin(now, core.config.election_timeout);
        self.raft.bar(true);
        self.turn_everyone_away(core);
        self.hand_over(core, now);
    }

    /// Goes on with what ends the quarantine.
    fn seek_health(&mut self, core: &mut Core, now: Time) {
        if self.is_leader() {
            return self.hand_over(core, now);
        }
        let waits = self.receiving.is_some()
            || core.has_snapshot_under_way(self.group)
            || self.quarantine.as_ref().is_some_and(|it| it.healing.is_some());
        let timeout = core.config.election_timeout;
        if waits {
            return self.healing.put_off(now, timeout);
        }
        if let Some(leader) = self.raft.leader()
            && self.healing.ask(now, timeout)
        {
            self.report_attempt(leader);
            self.say(core, leader, StateMessage::Wants);
        }
    }

    fn report_attempt(&self, leader: NodeId) {
        let (group, attempts) = (self.group, self.healing.attempts());
        if self.healing.is_hopeless() {
            tracing::error!(
                %group,
                %leader,
                attempts,
                "this replica is still quarantined: it asks for the leader's state once more, and \
                 ever less often. Look for what keeps it from healing (no room on the disk, failing \
                 memory), or replace this node"
            );
        } else {
            tracing::warn!(%group, %leader, attempts, "a quarantined replica asks for the leader's state");
        }
    }

    /// The right state is durable here.
    pub(super) fn heal_with(&mut self, meta: SnapshotMeta, install: Install) {
        if let Some(quarantine) = &mut self.quarantine {
            quarantine.healing = Some((meta, install));
        }
    }

    /// Puts the right state in the place of the wrong one, once that has come as far.
    pub(super) fn heal(&mut self, core: &mut Core, now: Time) {
        let applied = self.applied_index();
        let healing = self
            .quarantine
            .as_mut()
            .and_then(|quarantine| quarantine.healing.take_if(|(meta, _)| meta.index <= applied));
        let Some((meta, install)) = healing else { return };
        let Install { from, transfer, bytes, machine } = install;
        let healed = self.caught_up(core, machine);
        if let Some(machine) = healed {
            self.take_state(machine);
            core.persistence.log_mut().trim(self.group, meta.index);
            self.compacted(now, meta);
            self.end_quarantine();
            self.end_receiving(core, (from, transfer, bytes), true);
        } else {
            tracing::warn!(group = %self.group, "the leader's state came too late to go on from");
            self.end_receiving(core, (from, transfer, bytes), false);
        }
    }

    /// Applies to `machine` what this replica has applied since; nothing if that is not in memory.
    fn caught_up(&self, core: &mut Core, mut machine: Machine) -> Option<Machine> {
        let (context, map, group) = (self.context(core), core.map.clone(), self.group);
        let mut slots = GroupState::of(&machine).expect("an annex is read where it is taken in");
        let mut master = master_of(&machine).expect("an annex is read where it is taken in");
        let governed = &mut Vec::new();
        let entries = self.raft.entries_between(machine.applied().0, self.applied_index())?;
        for entry in entries {
            match entry.kind {
                EntryKind::Command => {
                    let (answers, replies) = (&mut core.answers, &mut core.replies);
                    let (machine, slots, map) = (&mut machine, &mut slots, &*map);
                    let (master, governed) = (&mut master, &mut *governed);
                    let hosted = Hosted { group, machine, slots, master, governed, map };
                    answers.apply(hosted, entry, &[], context, replies);
                }
                EntryKind::Noop | EntryKind::Configuration => {
                    machine.begin_entry(entry.index, entry.term, entry.timestamp);
                }
            }
        }
        assert_eq!(machine.applied().0, self.applied_index(), "{}: caught up", self.group);
        Some(machine)
    }

    /// The state is the leader's now.
    pub(super) fn end_quarantine(&mut self) {
        self.agreement.begin_anew();
        self.noted = None;
        if self.quarantine.take().is_some() {
            self.raft.bar(false);
            tracing::warn!(
                group = %self.group,
                index = %self.applied_index(),
                "the state of this replica is the leader's again: it serves"
            );
        }
    }

    fn say(&self, core: &mut Core, to: NodeId, message: StateMessage) {
        let body = PeerBody::State(message);
        core.peers.send_body(to, self.group, self.raft.term(), &body);
    }
}

impl Reactor {
    /// Puts a replica on the list of those with something to compare, if it has.
    pub(super) fn note_comparison(&mut self, now: Time, i: usize) {
        let replica = &mut self.replicas[i];
        if !replica.compares && replica.has_to_compare() {
            replica.compares = true;
            self.comparisons.pending.push(i);
            let due = now + self.core.config.election_timeout;
            self.comparisons.due.get_or_insert(due);
        }
    }

    /// Now and then: asks, and asks again.
    pub(super) fn compare_states(&mut self, now: Time) {
        if self.comparisons.due.is_none_or(|due| due > now) {
            return;
        }
        self.comparisons.due = None;
        for i in std::mem::take(&mut self.comparisons.pending) {
            let replica = self.touch(i);
            replica.compares = false;
            if self.replicas[i].compare(&mut self.core, now) {
                self.replicas[i].compares = true;
                self.comparisons.pending.push(i);
            }
        }
        if !self.comparisons.pending.is_empty() {
            self.comparisons.due = Some(now + self.core.config.election_timeout);
        }
    }

    /// A node came up, perhaps with another state than it went with.
    pub(super) fn compare_with(&mut self, now: Time, node: NodeId) {
        for i in 0..self.replicas.len() {
            let replica = &mut self.replicas[i];
            if replica.is_leader() && replica.raft.configuration().is_member(node) {
                replica.agreement.forget_question();
                self.note_comparison(now, i);
            }
        }
    }
}
