//! What must hold in every run, checked after every step. Source: Raft, figure 3.

use std::collections::BTreeMap;

use sunstar::base::{Index, NodeId, Term};
use sunstar::raft::{Configuration, Entry, Message, MessageBody, Output, Raft, RoleKind};

use crate::node::Node;
use crate::submissions::Submissions;

/// What the whole world has seen, over all lives of all nodes.
#[derive(Default)]
pub(crate) struct Laws {
    /// Who was elected in each term.
    leaders: BTreeMap<Term, NodeId>,
    /// Who got each voter's vote in each term.
    votes: BTreeMap<(Term, NodeId), NodeId>,
    /// Every entry ever handed out, and the term of the one before it.
    entries: BTreeMap<(Index, Term), (Term, Entry)>,
    /// The entry that was committed at each index.
    pub(crate) committed: BTreeMap<Index, Entry>,
    /// Reads under way, by node and context: what they must at least see.
    reads: BTreeMap<(NodeId, u64), Index>,
    /// What was submitted.
    pub(crate) submissions: Submissions,
    /// How often things happened: a run in which nothing does proves nothing.
    pub(crate) elections: u64,
    /// Reads confirmed.
    pub(crate) reads_confirmed: u64,
    /// Of those, reads that a leader answered under its lease.
    pub(crate) reads_leased: u64,
}

impl Laws {
    /// The last entry committed anywhere.
    pub(crate) fn last_committed(&self) -> Index {
        self.committed.last_key_value().map_or(Index::ZERO, |(&index, _)| index)
    }

    /// A read begins: what is committed now, it must see.
    pub(crate) fn read_begins(&mut self, node: NodeId, context: u64) {
        let begun = self.reads.insert((node, context), self.last_committed());
        assert!(begun.is_none(), "{node}: context {context} is taken");
    }

    /// A node crashed: who waited there is gone.
    pub(crate) fn forget_waiting(&mut self, node: NodeId) {
        self.submissions.forget(node);
        self.reads.retain(|key, _| key.0 != node);
    }

    /// Checks one step of `raft`.
    pub(crate) fn check_step(&mut self, id: NodeId, raft: &Raft, output: &Output) {
        raft.check_invariants();
        self.check_log_matching(id, raft, &output.entries);
        if raft.role() == RoleKind::Leader {
            self.check_leader(id, raft);
        }
        for read in &output.reads {
            let at_least = self.reads.remove(&(id, read.context)).expect("asked for, once");
            assert!(read.index >= at_least, "{id}: stale read {} of {at_least}", read.index);
            self.reads_confirmed += 1;
        }
        for context in &output.reads_failed {
            self.reads.remove(&(id, *context)).expect("asked for, once");
        }
    }

    /// A message leaves `node`: what it vouches for must be on its disk.
    pub(crate) fn check_message(&mut self, node: &Node, message: &Message) {
        let id = node.id;
        match message.body {
            MessageBody::VoteResponse { granted: true } => {
                let key = (message.term, message.from);
                let candidate = *self.votes.entry(key).or_insert(message.to);
                assert_eq!(candidate, message.to, "{id} votes twice in {}", message.term);
                let on_disk = node.disk.hard_state;
                let kept = on_disk.term > message.term || on_disk.vote == Some(message.to);
                assert!(kept, "{id}: a vote left before it was durable: {on_disk:?}");
            }
            MessageBody::AppendResponse { match_index } => {
                let (_, last) = node.disk.last_place();
                assert!(match_index <= last, "{id} vouches for {match_index}, durable {last}");
                let term = node.disk.term();
                assert!(term >= message.term, "{id}: term {} is not durable", message.term);
            }
            _ => {}
        }
    }

    /// What is newly committed is on a quorum's disks: of the configuration in force, or of the one
    /// before if it changed in the same step.
    pub(crate) fn check_commit(
        &mut self,
        id: NodeId,
        raft: &Raft,
        before: &Configuration,
        nodes: &[Node],
    ) {
        while self.last_committed() < raft.commit_index() {
            let index = self.last_committed().next();
            let term = raft.term_at(index).unwrap_or_else(|| panic!("{id}: a gap at {index}"));
            let (_, entry) = &self.entries[&(index, term)];
            let durable = |node: &&Node| node.disk.keeps(term, index);
            let keepers: Vec<NodeId> = nodes.iter().filter(durable).map(|node| node.id).collect();
            let enough = [before, raft.configuration()].iter().any(|c| is_quorum(c, &keepers));
            assert!(enough, "{id}: {index} committed on {keepers:?}, {:?}", raft.configuration());
            self.submissions.committed(entry);
            self.committed.insert(index, entry.clone());
        }
    }

    /// What is said about submissions is true.
    pub(crate) fn check_outcomes(&mut self, id: NodeId, raft: &Raft, output: &Output) {
        for &(context, outcome) in &output.outcomes {
            self.submissions.told(raft, (id, context), outcome);
        }
    }

    /// An entry is applied: everywhere the same one.
    pub(crate) fn check_applied(&self, id: NodeId, entry: &Entry) {
        let committed = self.committed.get(&entry.index);
        assert_eq!(committed, Some(entry), "{id} applies something else");
    }

    /// If two logs hold an entry with one index and term, they are equal up to it.
    fn check_log_matching(&mut self, id: NodeId, raft: &Raft, entries: &[Entry]) {
        for entry in entries {
            let previous = raft.term_at(entry.index.previous()).expect("before a new entry");
            let known = self
                .entries
                .entry((entry.index, entry.term))
                .or_insert_with(|| (previous, entry.clone()));
            assert_eq!(known, &(previous, entry.clone()), "{id}: logs differ");
        }
    }

    fn check_leader(&mut self, id: NodeId, raft: &Raft) {
        let term = raft.term();
        let Some(&known) = self.leaders.get(&term) else {
            self.leaders.insert(term, id);
            self.elections += 1;
            return self.check_completeness(id, raft);
        };
        assert_eq!(known, id, "two leaders in term {term}");
    }

    /// What is committed is in every later leader's log.
    fn check_completeness(&self, id: NodeId, raft: &Raft) {
        for (&index, entry) in self.committed.range(raft.first_index()..) {
            assert_eq!(raft.term_at(index), Some(entry.term), "{id} leads without {index}");
        }
    }
}

fn is_quorum(configuration: &Configuration, nodes: &[NodeId]) -> bool {
    let majority = |half: &Vec<NodeId>| {
        let count = half.iter().filter(|voter| nodes.contains(voter)).count();
        half.is_empty() || count > half.len() / 2
    };
    majority(&configuration.voters) && majority(&configuration.outgoing)
}
