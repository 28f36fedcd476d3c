//! One storm: for some time everything goes wrong that can, then everything works again and the
//! group must work too (`calm`). What must hold is checked after every step (`laws`).

use sunstar::base::{Index, Micros, NodeId};
use sunstar::raft::{Configuration, Doubt, Input, Message, RoleKind, WaitFor};

use crate::climate::{self, Climate, Event};
use crate::node::Node;
use crate::world::World;

/// Messages on a long way, at most.
const LATE_MAX: usize = 30;

/// A storm; all of it follows from its seed.
pub(crate) struct Storm {
    pub(crate) world: World,
    pub(crate) random: fastrand::Rng,
    climate: Climate,
    /// Messages on a long way: they may arrive when everything has changed.
    late: Vec<Message>,
    next_context: u64,
    proposals: u64,
}

impl Storm {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let climate = Climate::new(&mut random);
        let mut world = climate::group(&mut random);
        climate::settings(&mut random, &mut world, seed);
        Self { world, random, climate, late: Vec::new(), next_context: 0, proposals: 0 }
    }

    /// Starts the nodes and runs the storm, and the calm after it.
    pub(crate) fn weather(&mut self) {
        if self.climate.begins_blank {
            self.begin_blank();
        }
        for at in 0..self.world.nodes.len() {
            self.world.start(at);
        }
        for _ in 0..self.climate.steps {
            self.gust();
        }
        self.calm();
    }

    /// The disks know nothing yet. Without pre-vote one that is certain first may raise its term alone,
    /// and of five voters two may miss the others' first term: then they wait for each other.
    fn begin_blank(&mut self) {
        let first = self.world.nodes[0].disk.snapshot.configuration.clone();
        if first.voters.len() > 3 || !self.world.nodes[0].config.pre_vote {
            return;
        }
        for node in self.world.nodes.iter_mut().filter(|node| first.is_voter(node.id)) {
            node.disk.doubt = Some(Doubt::Blank);
        }
        self.count("first starts");
    }

    /// One thing happens.
    fn gust(&mut self) {
        let at = self.random.usize(0..self.world.nodes.len());
        match self.climate.draw(&mut self.random) {
            Event::Message => (0..self.climate.haste).for_each(|_| self.move_message()),
            Event::LateMessage => self.move_late_message(),
            Event::Write => _ = self.world.complete_write(at),
            Event::Apply => _ = self.world.apply(at, self.random.usize(1..8)),
            Event::Completion => self.complete(),
            Event::Time => self.pass_time(),
            Event::Propose => self.propose(),
            Event::Submit => self.submit(at),
            Event::Read => self.read(at),
            Event::Detect => self.detect(at),
            Event::Snapshot => self.snapshot(at),
            Event::SnapshotMoves => self.move_snapshot(),
            Event::Evict => self.evict(at),
            Event::EntriesRead => self.read_entries(),
            Event::Reset => self.reset(at),
            Event::Crash => self.crash(at),
            Event::PowerLoss => (0..self.world.nodes.len()).for_each(|at| self.crash(at)),
            Event::Restart => {
                if self.chance(self.climate.forgetful) {
                    self.forget(at);
                }
                self.restart(at);
            }
            Event::Cut => self.cut(at),
            Event::CutLeader => self.cut_leader(),
            Event::Heal => self.world.cuts.clear(),
            Event::Transfer => self.transfer(at),
            Event::Reconfigure => self.reconfigure(),
            Event::Campaign => self.world.step(at, Input::Campaign),
        }
    }

    fn count(&mut self, what: &'static str) {
        self.world.laws.tally.count(what);
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.random.u8(0..100) < percent
    }

    fn move_message(&mut self) {
        let count = self.world.in_flight.len();
        if count == 0 {
            return;
        }
        let reordered = self.chance(self.climate.reordered);
        let position = if reordered { self.random.usize(0..count) } else { 0 };
        if self.chance(self.climate.lost) {
            self.count("messages lost");
            _ = self.world.in_flight.remove(position);
        } else if self.chance(self.climate.doubled) {
            self.count("messages doubled");
            let copy = self.world.in_flight[position].clone();
            self.world.hand_over(copy);
        } else if self.chance(self.climate.late) && self.late.len() < LATE_MAX {
            let message = self.world.in_flight.remove(position);
            self.late.push(message);
        } else {
            self.world.deliver(position);
        }
    }

    fn move_late_message(&mut self) {
        if !self.late.is_empty() {
            let position = self.random.usize(0..self.late.len());
            let message = self.late.swap_remove(position);
            self.world.hand_over(message);
            self.count("messages late");
        }
    }

    /// A completion is reported: any of those held back, perhaps not for the last time.
    pub(crate) fn complete(&mut self) {
        let count = self.world.completions.len();
        if count > 0 {
            let position = self.random.usize(0..count);
            let again = self.chance(10);
            self.count(if position > 0 { "completions out of order" } else { "completions" });
            self.world.report(position, again);
        }
    }

    fn pass_time(&mut self) {
        let span = Micros(self.random.u64(0..self.climate.pause.0));
        self.world.now = self.world.now + span;
        for at in 0..self.world.nodes.len() {
            self.world.tick(at);
        }
    }

    fn propose(&mut self) {
        let Some(leader) = self.world.leader() else { return };
        self.proposals += 1;
        let size = self.random.usize(0..self.climate.payload);
        let text = format!("{}{:size$}", self.proposals, "");
        if self.random.bool() {
            let more = self.random.usize(1..4);
            self.count("proposals together");
            return self.world.propose_together(leader, &[text.as_str(), "b", "c"][..more]);
        }
        let refused = self.world.propose(leader, &text).is_some_and(|result| result.is_err());
        self.count(if refused { "proposals refused" } else { "proposals" });
    }

    fn detect(&mut self, at: usize) {
        let other = self.random.usize(0..self.world.nodes.len());
        let wrong = self.chance(10);
        if at != other {
            let up = self.world.is_reachable(at, other);
            self.world.detect(at, other, up != wrong);
            self.count(if wrong { "detectors wrong" } else { "detectors right" });
        }
    }

    fn submit(&mut self, at: usize) {
        self.next_context += 1;
        let size = self.random.usize(0..self.climate.payload);
        let text = format!("submitted {}{:size$}", self.next_context, "");
        let wait_for = if self.random.bool() { WaitFor::Committed } else { WaitFor::Applied };
        self.world.submit(at, &text, wait_for, self.next_context);
    }

    /// Reads anywhere, but more often where somebody believes to lead: one of them may be wrong.
    fn read(&mut self, at: usize) {
        let leads = |node: &Node| node.raft.as_ref().is_some_and(|r| r.role() == RoleKind::Leader);
        let leaders = (0..self.world.nodes.len()).filter(|&at| leads(&self.world.nodes[at]));
        let leaders: Vec<usize> = leaders.collect();
        if self.random.bool() && !leaders.is_empty() {
            let leader = leaders[self.random.usize(0..leaders.len())];
            return self.read_at(leader);
        }
        self.read_at(at);
    }

    fn read_at(&mut self, at: usize) {
        self.next_context += 1;
        let refused = self.world.read(at, self.next_context).is_none_or(|result| result.is_err());
        self.count(if refused { "reads refused" } else { "reads" });
    }

    fn snapshot(&mut self, at: usize) {
        let trailing = self.random.u64(0..self.climate.trailing);
        self.world.compact(at, trailing);
    }

    fn evict(&mut self, at: usize) {
        let keep = self.random.u64(0..self.climate.trailing);
        self.world.evict(at, keep);
    }

    /// A disk answers: in pieces of any size, and now and then that it has lost what is wanted.
    pub(crate) fn read_entries(&mut self) {
        let count = if self.chance(5) { 0 } else { self.random.usize(1..8) };
        self.world.read_entries(None, count);
    }

    pub(crate) fn move_snapshot(&mut self) {
        let Some(&(leader, follower)) = self.world.snapshots_wanted.first() else { return };
        let (from, to) = (self.world.position(leader), self.world.position(follower));
        let cut = self.world.cuts.contains(&(leader, follower));
        if !cut && self.random.u8(0..3) > 0 && self.world.nodes[to].raft.is_some() {
            self.world.transfer_snapshot(from, to);
            self.count("snapshots moved");
        } else {
            self.world.snapshots_wanted.remove(&(leader, follower));
            // The sender may never hear of it.
            if self.random.bool() {
                self.world.step(from, Input::SnapshotFailed { to: follower });
            }
            self.count("snapshots lost");
        }
    }

    fn reset(&mut self, at: usize) {
        let other = self.random.usize(0..self.world.nodes.len());
        if at == other {
            return;
        }
        let (a, b) = (self.world.nodes[at].id, self.world.nodes[other].id);
        let between = |message: &Message| {
            let ends = (message.from, message.to);
            ends == (a, b) || ends == (b, a)
        };
        self.world.in_flight.retain(|message| !between(message));
        self.world.step(at, Input::PeerReset { peer: b });
        self.world.step(other, Input::PeerReset { peer: a });
        self.count("links reset");
    }

    fn crash(&mut self, at: usize) {
        if self.world.nodes[at].raft.is_none() {
            return;
        }
        let writes = self.world.nodes[at].writes.len();
        let survivors = self.random.usize(0..=writes);
        self.world.crash(at, survivors);
        self.count(match survivors {
            _ if writes == 0 => "crashes with all written",
            0 => "crashes before a write",
            _ if survivors == writes => "crashes after a write",
            _ => "crashes between writes",
        });
    }

    pub(crate) fn restart(&mut self, at: usize) {
        if self.world.nodes[at].raft.is_none() {
            self.world.start(at);
            self.count("restarts");
        }
    }

    /// A disk loses something, if the others can do without this node until it is certain again.
    fn forget(&mut self, at: usize) {
        let id = self.world.nodes[at].id;
        let another =
            self.world.nodes.iter().any(|node| node.id != id && node.disk.doubt.is_some());
        let up = self.world.nodes[at].raft.is_some();
        if up || another || !self.is_dispensable(id) {
            return;
        }
        let (doubt, what) = match self.random.u8(0..6) {
            0..3 => (Doubt::Entries, "disks that forgot entries"),
            3 | 4 => (Doubt::Votes, "disks that forgot votes"),
            _ => (Doubt::Blank, "disks that forgot everything"),
        };
        let last = self.world.nodes[at].disk.last_place().1.0;
        let from = last.saturating_sub(self.random.u64(0..6)) + self.random.u64(0..2);
        self.world.nodes[at].forget(doubt, Index(from));
        self.world.note(format!("{id} forgets {doubt:?} from {from}"));
        self.count(what);
    }

    fn cut(&mut self, at: usize) {
        let other = self.random.usize(0..self.world.nodes.len());
        let (a, b) = (self.world.nodes[at].id, self.world.nodes[other].id);
        self.world.cuts.insert((a, b));
        if self.random.bool() {
            self.world.cuts.insert((b, a));
            self.count("links cut");
        } else {
            self.count("links cut one way");
        }
    }

    fn cut_leader(&mut self) {
        let Some(leader) = self.world.leader() else { return };
        let ways = self.random.u8(1..=3);
        self.world.isolate(leader, ways & 1 > 0, ways & 2 > 0);
        self.count("leaders cut off");
    }

    fn transfer(&mut self, to: usize) {
        let (Some(leader), to) = (self.world.leader(), self.world.nodes[to].id) else { return };
        // A refusal is an answer.
        let started = self.world.transfer(leader, to).is_some_and(|result| result.is_ok());
        self.count(if started { "transfers" } else { "transfers refused" });
    }

    fn reconfigure(&mut self) {
        let Some(leader) = self.world.leader() else { return };
        let target = self.new_members();
        if self.random.u8(0..5) == 0 {
            self.next_context += 1;
            let at = self.random.usize(0..self.world.nodes.len());
            let context = self.next_context;
            return self.world.submit_change(at, &target, WaitFor::Committed, context);
        }
        let staged = self.random.bool();
        let result = if staged {
            self.world.change_members(leader, &target)
        } else {
            self.world.reconfigure(leader, &target)
        };
        self.count(match result {
            Some(Ok(_)) if staged => "changes by stages",
            Some(Ok(_)) => "changes",
            _ => "changes refused",
        });
    }

    /// Any members; or, as often, one more or one less than there are.
    fn new_members(&mut self) -> Configuration {
        let node = self.world.nodes[self.random.usize(0..self.world.nodes.len())].id;
        let leader = self.world.leader().and_then(|at| self.world.nodes[at].raft.as_ref());
        if let Some(raft) = leader.filter(|_| self.random.bool()) {
            let voters = &raft.configuration().voters;
            let others = voters.iter().copied().filter(|&voter| voter != node);
            let more = (!voters.contains(&node)).then_some(node);
            return Configuration::new(others.chain(more));
        }
        let mut target = Configuration::default();
        for node in &self.world.nodes {
            match self.random.u8(0..5) {
                0..3 => target.voters.push(node.id),
                3 => target.learners.push(node.id),
                _ => {}
            }
        }
        target
    }

    /// Everyone but `away` has power, disks and links that work.
    pub(crate) fn repair(&mut self, away: Option<NodeId>) {
        for at in 0..self.world.nodes.len() {
            if Some(self.world.nodes[at].id) != away {
                self.world.nodes[at].disk_held = false;
                self.world.nodes[at].apply_held = false;
                self.restart(at);
                while self.world.complete_write(at) {}
                while self.world.apply(at, usize::MAX) > 0 {}
            }
        }
    }
}
