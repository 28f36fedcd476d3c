//! A world with short ways to say what a test does. Node ids are plain numbers here.

use sunstar::base::{Bytes, Index, Micros, NodeId, Term, WallTime};
use sunstar::raft::{
    Configuration, Entry, EntryKind, Input, Message, MessageBody, Raft, RaftConfig, RoleKind,
};

use crate::world::World;

/// A group of started nodes 1, 2, 3…
pub(crate) struct Group {
    pub(crate) world: World,
}

impl Group {
    /// Without pre-vote and check-quorum: as the paper has it.
    pub(crate) fn of(voters: u64) -> Self {
        Self::with(voters, 0, |config| (config.pre_vote, config.check_quorum) = (false, false))
    }

    /// With `spares` more nodes that belong to no group yet, and settings for all.
    pub(crate) fn with(voters: u64, spares: u64, settings: impl Fn(&mut RaftConfig)) -> Self {
        let mut world = World::new(&Configuration::new((1..=voters).map(NodeId)));
        (voters + 1..=voters + spares).for_each(|id| world.add_spare(NodeId(id)));
        for at in 0..world.nodes.len() {
            settings(&mut world.nodes[at].config);
            world.start(at);
        }
        Self { world }
    }

    pub(crate) fn at(&self, id: u64) -> usize {
        self.world.position(NodeId(id))
    }

    pub(crate) fn raft(&self, id: u64) -> &Raft {
        self.world.nodes[self.at(id)].raft.as_ref().expect("is up")
    }

    pub(crate) fn role(&self, id: u64) -> RoleKind {
        self.raft(id).role()
    }

    pub(crate) fn term(&self, id: u64) -> u64 {
        self.raft(id).term().0
    }

    pub(crate) fn commit(&self, id: u64) -> u64 {
        self.raft(id).commit_index().0
    }

    pub(crate) fn applied(&self, id: u64) -> u64 {
        self.world.nodes[self.at(id)].applied.index.0
    }

    /// The terms of a node's log on disk, entry by entry.
    pub(crate) fn log(&self, id: u64) -> Vec<u64> {
        self.world.nodes[self.at(id)].disk.log.iter().map(|entry| entry.term.0).collect()
    }

    pub(crate) fn campaign(&mut self, id: u64) {
        let at = self.at(id);
        self.world.step(at, Input::Campaign);
    }

    /// Makes a node leader, with everybody's knowledge.
    pub(crate) fn lead(&mut self, id: u64) {
        self.campaign(id);
        self.settle();
        assert_eq!(self.role(id), RoleKind::Leader, "{id} was to lead: {:?}", self.world.states());
    }

    /// Returns whether it was taken.
    pub(crate) fn propose(&mut self, id: u64, text: &str) -> bool {
        let at = self.at(id);
        self.world.propose(at, text).is_some_and(|result| result.is_ok())
    }

    /// Delivers everything in flight, and what comes of it.
    pub(crate) fn settle(&mut self) {
        self.settle_but(|_| false);
    }

    /// The same, but some messages are lost.
    pub(crate) fn settle_but(&mut self, lost: impl Fn(&Message) -> bool) {
        for _ in 0..10_000 {
            let Some(message) = self.world.in_flight.first() else { return };
            if lost(message) {
                self.world.in_flight.remove(0);
            } else {
                self.world.deliver(0);
            }
        }
        panic!("does not settle");
    }

    /// Time passes; nodes wake when they want to, messages arrive at once.
    pub(crate) fn run(&mut self, millis: u64) {
        let end = self.world.now + Micros::from_millis(millis);
        self.settle();
        while let Some(wake) = self.world.next_wake().filter(|&wake| wake <= end) {
            self.world.now = self.world.now.max(wake);
            (0..self.world.nodes.len()).for_each(|at| self.world.tick(at));
            self.settle();
        }
        self.world.now = end;
    }

    /// A message out of nowhere reaches a node; returns its answers, which go nowhere.
    pub(crate) fn send(
        &mut self,
        from: u64,
        to: u64,
        term: u64,
        body: MessageBody,
    ) -> Vec<Message> {
        self.world.in_flight.clear();
        let (from, to, term) = (NodeId(from), NodeId(to), Term(term));
        self.world.hand_over(Message { from, to, term, body });
        std::mem::take(&mut self.world.in_flight)
    }

    /// Everything in flight, which is lost by it.
    pub(crate) fn take_in_flight(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.world.in_flight)
    }

    pub(crate) fn isolate(&mut self, id: u64) {
        let at = self.at(id);
        self.world.isolate(at, true, true);
    }

    pub(crate) fn heal(&mut self) {
        self.world.cuts.clear();
    }

    pub(crate) fn crash(&mut self, id: u64) {
        let at = self.at(id);
        self.world.crash(at, 0);
    }

    pub(crate) fn restart(&mut self, id: u64) {
        let at = self.at(id);
        self.world.start(at);
    }

    /// Changes the voters, by the leader.
    pub(crate) fn reconfigure(&mut self, id: u64, voters: impl IntoIterator<Item = u64>) -> bool {
        let (at, target) = (self.at(id), Configuration::new(voters.into_iter().map(NodeId)));
        self.world.reconfigure(at, &target).is_some_and(|result| result.is_ok())
    }

    /// Takes a snapshot and forgets everything it covers.
    pub(crate) fn compact(&mut self, id: u64) {
        let at = self.at(id);
        self.world.compact(at, 0);
    }

    /// Moves every snapshot that was asked for, until nothing more happens.
    pub(crate) fn settle_with_snapshots(&mut self) {
        self.settle();
        while let Some(&(from, to)) = self.world.snapshots_wanted.first() {
            let (from, to) = (self.world.position(from), self.world.position(to));
            self.world.transfer_snapshot(from, to);
            self.settle();
        }
    }
}

/// An append of entries of these terms after the entry at (term, index).
pub(crate) fn append(after: (u64, u64), terms: &[u64], commit: u64) -> MessageBody {
    let entry = |(index, &term): (u64, &u64)| Entry {
        term: Term(term),
        index: Index(index),
        timestamp: WallTime(0),
        kind: EntryKind::Command,
        payload: Bytes::copy_of(format!("{term}/{index}").as_bytes()),
    };
    MessageBody::Append {
        previous_index: Index(after.1),
        previous_term: Term(after.0),
        commit_index: Index(commit),
        entries: (after.1 + 1..).zip(terms).map(entry).collect(),
    }
}

/// A request for a vote, with the candidate's last entry (term, index).
pub(crate) fn vote(last: (u64, u64)) -> MessageBody {
    let (last_term, last_index) = (Term(last.0), Index(last.1));
    MessageBody::Vote { last_index, last_term, transfer: false }
}

pub(crate) fn is_vote_request(message: &Message) -> bool {
    matches!(message.body, MessageBody::Vote { .. })
}

/// Whether a vote was given, if that is what the only answer says.
pub(crate) fn granted(answers: &[Message]) -> Option<bool> {
    match answers {
        [Message { body: MessageBody::VoteResponse { granted }, .. }] => Some(*granted),
        _ => None,
    }
}

/// What an acknowledgement covers, if that is what the only answer says.
pub(crate) fn acknowledged(answers: &[Message]) -> Option<u64> {
    match answers {
        [Message { body: MessageBody::AppendResponse { match_index, .. }, .. }] => {
            Some(match_index.0)
        }
        _ => None,
    }
}
