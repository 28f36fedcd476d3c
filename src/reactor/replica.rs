//! One group's replica on this core: Raft, the state machine, and who waits for what.

use std::collections::VecDeque;

use super::agreement::Agreement;
use super::answers::Context;
use super::core::Core;
use super::governance::{Governed, master_of};
use super::healing::Healing;
use super::holdings::Holdings;
use super::leadership::Leadership;
use super::losses;
use super::movement::{GroupState, Hosted, Moves};
use super::old_entries::Wanted;
use super::presence::Presence;
use super::quarantine::Quarantine;
use super::queue::{Pending, Queue, Waiting};
use super::reads::Reads;
use super::status::{DifferenceStatus, GroupStatus, ReplicaView};
use super::transfer::Receiving;
use crate::base::{Bytes, GroupId, Index, Mistake, Term, Time, makes};
use crate::kv::Machine;
use crate::placement::Master;
use crate::raft::{self, EntryKind, ProposeError, Raft, ReadError, RoleKind};
use crate::wire::client::Outcome;

/// One group's replica.
pub(super) struct Replica {
    pub group: GroupId,
    pub raft: Raft,
    /// What Raft asked for and the turn's end has not performed yet.
    pub output: raft::Output,
    /// State at `machine.applied()`: advanced only by committed entries, in order.
    pub machine: Machine,
    /// What it holds, as the core last counted it: part of `Core::held`.
    pub counted: Holdings,
    /// How far the group is in moving its slots: what the machine's annex says.
    pub slots: GroupState,
    /// What it does about that while it leads.
    pub moves: Moves,
    /// Commands not yet in the log.
    pub queue: Queue,
    /// Orders not yet in the log. In the order of their being given, and dropped if they cannot go there.
    pub orders: Queue,
    /// The last entry of orders that this leader proposed. 0 if it proposed none.
    pub ordered: Index,
    /// Proposed entries whose outcome is awaited here, ascending by index.
    pub pending: VecDeque<Pending>,
    pub reads: Reads,
    /// Whether it is here; see there.
    pub presence: Presence,
    /// What was told last of where the group is: the configuration's index, the leader's term, and that of
    /// the last committed entry.
    pub told: (Index, Term, Term),
    /// When all nodes were last asked where the group is.
    pub asked_at: Time,
    /// Whether this replica is on the turn's list.
    pub touched: bool,
    /// The deadline as it stands in the core's timer table.
    pub timer: Time,
    /// The index the newest durable snapshot covers.
    pub snapshot_index: Index,
    pub receiving: Option<Receiving>,
    /// Who leads, and since when.
    pub leadership: Leadership,
    /// Everything up to here is durable here, as entries or in a snapshot. Never falls.
    durable_index: Index,
    /// How its state compares with the others'.
    pub agreement: Agreement,
    /// After which entry a hash was noted this turn.
    pub noted: Option<Index>,
    /// Whether it is on the core's list of those with something to compare.
    pub compares: bool,
    /// Its state is known to be wrong.
    pub quarantine: Option<Quarantine>,
    /// How often it asked for another.
    pub healing: Healing,
    /// Since which epoch the map names the members that it does.
    pub members_epoch: u64,
    /// The shard master, of the meta group: as of `machine.applied()`, and in its annex.
    pub master: Option<Box<Master>>,
    /// What became of requests to the shard master that were applied this turn.
    pub governed: Vec<Governed>,
}

impl Replica {
    pub(super) fn new(group: GroupId, raft: Raft, machine: Machine) -> Self {
        let (snapshot_index, ..) = machine.applied();
        let timer = raft.deadline();
        let durable_index = raft.last_index();
        let slots = GroupState::of(&machine).expect("an annex is read where it is taken in");
        let master = master_of(&machine).expect("an annex is read where it is taken in");
        Self {
            group,
            raft,
            output: raft::Output::default(),
            machine,
            counted: Holdings::default(),
            slots,
            moves: Moves::default(),
            queue: Queue::default(),
            orders: Queue::default(),
            ordered: Index::ZERO,
            pending: VecDeque::new(),
            reads: Reads::default(),
            presence: Presence::Here,
            told: Default::default(),
            asked_at: Time::default(),
            touched: false,
            timer,
            snapshot_index,
            receiving: None,
            leadership: Leadership::default(),
            durable_index,
            agreement: Agreement::default(),
            noted: None,
            compares: false,
            quarantine: None,
            healing: Healing::default(),
            members_epoch: 0,
            master,
            governed: Vec::new(),
        }
    }

    /// What all answers of this group have in common.
    pub(super) fn context(&self, core: &Core) -> Context {
        Context {
            group: self.group,
            epoch: core.map.epoch,
            leader: self.raft.leader().or_else(|| core.known_leader(self.group)),
        }
    }

    pub(super) fn is_leader(&self) -> bool {
        self.raft.role() == RoleKind::Leader
    }

    pub(super) fn applied_index(&self) -> Index {
        self.machine.applied().0
    }

    pub(super) fn step(&mut self, now: Time, input: raft::Input) {
        self.raft.step(now, input, &mut self.output);
        self.leadership.observe(now, self.is_leader(), &self.raft);
    }

    /// Whether there is something to be made an entry of.
    pub(super) fn has_to_propose(&self) -> bool {
        !self.queue.is_empty() || !self.orders.is_empty()
    }

    /// Turns gathered orders and commands into entries; commands may wait for a leader.
    pub(super) fn propose(&mut self, core: &mut Core, now: Time) {
        self.propose_orders(core, now);
        let unborn = self.is_leader() && !self.slots.is_born();
        if self.awaits_leader() || unborn {
            return;
        }
        if core.persistence.is_full() && self.is_leader() && !makes(Mistake::WritesWhenFull) {
            return self.refuse_for_want_of_room(core);
        }
        let wall = core.config.wall(now);
        while let Some(mut draft) = self.queue.pop() {
            let payload = Bytes::from(std::mem::take(&mut draft.payload));
            match self.raft.propose(now, wall, payload, &mut self.output) {
                Ok((term, index)) => {
                    self.pending.push_back(Pending { term, index, waiting: draft.waiting });
                }
                Err(error) => self.refuse_all(core, &draft.waiting, outcome_of(error)),
            }
        }
    }

    /// Each entry has orders only, or commands only.
    fn propose_orders(&mut self, core: &Core, now: Time) {
        let waits = self.awaits_leader() || core.persistence.is_full();
        while let Some(draft) = self.orders.pop() {
            let (wall, payload) = (core.config.wall(now), Bytes::from(draft.payload));
            if !waits
                && let Ok((_, index)) = self.raft.propose(now, wall, payload, &mut self.output)
            {
                self.ordered = index;
            }
        }
    }

    /// Begins a read round, if one is wanted and someone can be asked.
    pub(super) fn ask(&mut self, core: &mut Core, now: Time) {
        // A round confirmed just now makes room for the next.
        self.confirm_reads(core);
        let Some(context) = self.reads.wants_round() else { return };
        if makes(Mistake::ReadsUnasked) {
            self.reads.begun(context);
            return self.reads.confirmed(context, self.applied_index());
        }
        match self.raft.read(now, context, &mut self.output) {
            Ok(()) => self.reads.begun(context),
            // The leader's first entry is on its way: its commit brings this replica back here.
            Err(ReadError::NotReady) => {}
            Err(ReadError::NoLeader) if self.awaits_leader() => {}
            Err(ReadError::NoLeader) => {
                let round = self.reads.take_gathering();
                self.refuse_all(core, &round.waiting, Outcome::NotLeader);
            }
        }
    }

    /// Proposes what other nodes' replicas forwarded here.
    fn accept_forwarded(&mut self, core: &Core, now: Time) {
        for forwarded in std::mem::take(&mut self.output.forwarded) {
            let wall = core.config.wall(now);
            self.raft.accept(now, wall, forwarded, &mut self.output);
        }
    }

    /// Performs what Raft asked for, short of the log write that `Persistence` makes of all groups.
    pub(super) fn perform(&mut self, core: &mut Core, now: Time) {
        self.accept_forwarded(core, now);
        while makes(Mistake::StepDownSettles) && !self.is_leader() {
            let Some(pending) = self.pending.pop_front() else { break };
            self.refuse_all(core, &pending.waiting, Outcome::NotLeader);
        }
        self.tell_certainty();
        core.persistence.stage(self.group, &mut self.output);
        for message in self.output.messages.drain(..) {
            core.peers.send(self.group, &message);
        }
        self.apply_committed(core, now);
        self.tell_noted(core, now);
        self.heal(core, now);
        self.confirm_reads(core);
        self.answer_reads(core);
        self.end_transfers_of_other_terms(core);
        for request in self.output.entries_wanted.drain(..) {
            let raft::EntriesRequest { to, from, .. } = request;
            core.old_entries.want(Wanted::Entries { group: self.group, from, to });
        }
        for request in std::mem::take(&mut self.output.snapshots) {
            self.begin_sending(core, request.to, now);
        }
    }

    /// A snapshot up to `snapshot` is durable: the log on the disk before it may go. What is in memory
    /// goes when it is old.
    pub(super) fn compacted(&mut self, now: Time, snapshot: raft::SnapshotMeta) {
        self.snapshot_index = self.snapshot_index.max(snapshot.index);
        let keep_from = self.raft.first_index().min(snapshot.index.next());
        self.step(now, raft::Input::Compacted { snapshot, keep_from });
    }

    /// The entry at `index` of that term, and all before it, are durable here.
    pub(super) fn appended(&mut self, now: Time, term: Term, index: Index) {
        if self.raft.term_at(index) == Some(term) {
            self.durable_index = self.durable_index.max(index);
        }
        self.step(now, raft::Input::Appended { term, index });
    }

    /// The applied entries up to `upto` leave memory, if they can be read back by then. Returns whether
    /// they could; `stored_from`: the first entry in the log.
    pub(super) fn evict(&mut self, now: Time, upto: Index, stored_from: Option<Index>) -> bool {
        // A replica that began anew may not have come so far yet.
        let upto = upto.min(self.applied_index());
        if upto > self.durable_index.max(self.snapshot_index) {
            return false;
        }
        let keep_from = upto.next();
        let stored_from = stored_from.unwrap_or(keep_from);
        self.step(now, raft::Input::Evicted { keep_from, stored_from });
        true
    }

    /// Puts a newer state in the place of ours. Whether commands proposed here are part of it cannot
    /// be told: their clients learn just that, and a retry within the session settles it.
    pub(super) fn install(&mut self, machine: Machine, core: &mut Core) {
        self.take_state(machine);
        self.snapshot_index = self.applied_index();
        // Committed in this very turn, and part of the new state already.
        self.output.committed.clear();
        self.end_quarantine();
        while let Some(pending) = self.pending.pop_front_if(|p| p.index <= self.snapshot_index) {
            self.refuse_all(core, &pending.waiting, Outcome::Unknown);
        }
    }

    /// Puts a state in the place of this one.
    pub(super) fn take_state(&mut self, machine: Machine) {
        self.slots = GroupState::of(&machine).expect("an annex is read where it is taken in");
        self.master = master_of(&machine).expect("an annex is read where it is taken in");
        self.moves.forget();
        self.machine = machine;
    }

    /// Whoever waits for anything here waits in vain. What became of commands on their way cannot be
    /// told; a retry within the session settles it.
    pub(super) fn turn_everyone_away(&mut self, core: &mut Core) {
        for pending in std::mem::take(&mut self.pending) {
            self.refuse_all(core, &pending.waiting, Outcome::Unknown);
        }
        while let Some(draft) = self.queue.pop() {
            self.refuse_all(core, &draft.waiting, Outcome::NotLeader);
        }
        for round in std::mem::take(&mut self.reads).take_all() {
            self.refuse_all(core, &round.waiting, Outcome::NotLeader);
        }
    }

    pub(super) fn refuse_all(&self, core: &mut Core, waiting: &[Waiting], outcome: Outcome) {
        let context = self.context(core);
        for &waiting in waiting {
            core.answers.refuse(waiting, outcome, None, context, &mut core.replies);
        }
    }

    /// Whether nothing of a client's waits here.
    pub(super) fn is_quiescent(&self) -> bool {
        self.queue.is_empty() && self.pending.is_empty() && self.reads.is_idle()
    }

    pub(super) fn status(&self, with_hash: bool) -> GroupStatus {
        GroupStatus {
            group: self.group,
            role: match self.raft.role() {
                RoleKind::Follower => "follower",
                RoleKind::PreCandidate => "pre-candidate",
                RoleKind::Candidate => "candidate",
                RoleKind::Leader => "leader",
            },
            term: self.raft.term(),
            leader: self.raft.leader(),
            doubt: self.raft.doubt().map(losses::word),
            awaits: self.raft.unheard().collect(),
            commit_index: self.raft.commit_index(),
            applied_index: self.applied_index(),
            last_index: self.raft.last_index(),
            snapshot_index: self.snapshot_index,
            slots: self.machine.slots(),
            keys: self.machine.keys(),
            sessions: self.machine.sessions() as u64,
            quarantined: self.is_quarantined(),
            heal_attempts: self.healing.attempts(),
            agreed_index: self.agreement.agreed(),
            difference: self.agreement.difference().map(DifferenceStatus::of),
            epoch: self.slots.epoch(),
            arriving: self.slots.arriving().len(),
            leaving: self.slots.leaving().len(),
            state_hash: with_hash.then(|| format!("{:016x}", self.machine.recomputed_state_hash())),
        }
    }

    pub(super) fn view(&self) -> ReplicaView {
        ReplicaView {
            group: self.group,
            term: self.raft.term(),
            leads: self.is_leader(),
            leader: self.raft.leader(),
            certain: self.raft.doubt().is_none(),
            votes: self.raft.configuration().voters.contains(&self.raft.config().node),
            commit_index: self.raft.commit_index(),
            applied_index: self.applied_index(),
            last_index: self.raft.last_index(),
            epoch: self.slots.epoch(),
            members_epoch: self.slots.members_epoch(),
            arriving: self.slots.arriving().len(),
            leaving: self.slots.leaving().len(),
            state_hash: self.machine.state_hash(),
        }
    }

    /// What must hold between the parts after every turn.
    pub(super) fn check_invariants(&self) {
        self.raft.check_invariants();
        let (applied, commit) = (self.applied_index(), self.raft.commit_index());
        assert!(applied <= commit, "{}: applied {applied} > commit {commit}", self.group);
        let snapshot = self.snapshot_index;
        assert!(snapshot <= applied, "{}: snapshot {snapshot} > applied {applied}", self.group);
    }

    /// Whether there is more to apply: Raft hands out what one turn may spend on it.
    pub(super) fn has_more_to_apply(&self) -> bool {
        !self.output.committed.is_empty()
    }

    /// Whether there are more reads to answer than one turn may spend on it.
    pub(super) fn has_more_to_answer(&self) -> bool {
        self.reads.has_applied(self.applied_index())
    }

    fn apply_committed(&mut self, core: &mut Core, now: Time) {
        let Some(last) = self.output.committed.last().map(|entry| entry.index) else { return };
        let (context, map) = (self.context(core), core.map.clone());
        let cost: usize = self.output.committed.iter().map(raft::Entry::cost).sum();
        core.trailing.applied(self.group, last, cost as u64);
        for entry in std::mem::take(&mut self.output.committed) {
            let applied = self.applied_index();
            assert_eq!(entry.index, applied.next(), "{}: entries apply in order", self.group);
            let waiting = self.settle(core, &entry);
            match entry.kind {
                EntryKind::Command => {
                    let Self { group, machine, slots, master, governed, .. } = self;
                    let (group, map) = (*group, &*map);
                    let hosted = Hosted { group, machine, slots, master, governed, map };
                    let replies = &mut core.replies;
                    core.answers.apply(hosted, &entry, &waiting, context, replies);
                }
                EntryKind::Noop | EntryKind::Configuration => {
                    let own = makes(Mistake::OwnTime);
                    let timestamp = if own { core.config.wall(now) } else { entry.timestamp };
                    self.machine.begin_entry(entry.index, entry.term, timestamp);
                }
            }
            self.note_applied(entry.index);
        }
        self.step(now, raft::Input::Applied { index: last });
    }

    /// Who awaits `entry`. Those whose own entry was replaced by it learn that theirs never happens.
    fn settle(&mut self, core: &mut Core, entry: &raft::Entry) -> Vec<Waiting> {
        while let Some(pending) = self.pending.pop_front_if(|p| p.index <= entry.index) {
            let same_term = pending.term == entry.term || makes(Mistake::SettledByIndex);
            if pending.index == entry.index && same_term {
                return pending.waiting;
            }
            self.refuse_all(core, &pending.waiting, Outcome::Superseded);
        }
        Vec::new()
    }

    fn confirm_reads(&mut self, core: &mut Core) {
        while let Some(read) = self.output.reads.pop() {
            self.reads.confirmed(read.context, read.index);
        }
        while let Some(context) = self.output.reads_failed.pop() {
            let Some(round) = self.reads.failed(context) else { continue };
            if self.awaits_leader() {
                self.reads.ask_again(round);
            } else {
                self.refuse_all(core, &round.waiting, Outcome::NotLeader);
            }
        }
    }

    fn answer_reads(&mut self, core: &mut Core) {
        let context = self.context(core);
        let early = makes(Mistake::ReadBeforeApplied);
        let applied = if early { Index(u64::MAX) } else { self.applied_index() };
        let map = core.map.clone();
        let signpost = (&self.slots, &*map);
        while let Some(mut round) = self.reads.pop_applied(applied) {
            if !core.answers.read((&self.machine, signpost), &mut round, context, &mut core.replies)
            {
                return self.reads.put_back(round);
            }
        }
    }
}

fn outcome_of(error: ProposeError) -> Outcome {
    match error {
        ProposeError::NotLeader { .. } => Outcome::NotLeader,
        ProposeError::Overloaded => Outcome::Overloaded,
    }
}
