//! What must hold in every run, checked after every step. Source: Raft, figure 3.

use std::collections::BTreeMap;

use sunstar::base::{Index, NodeId, Term};
use sunstar::raft::{Configuration, Entry, Message, MessageBody, Output, Raft, RoleKind};

use crate::node::Node;

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
    /// How often things happened: a run in which nothing does proves nothing.
    pub(crate) elections: u64,
    /// Reads confirmed.
    pub(crate) reads_confirmed: u64,
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

    /// A node crashed: its reads are gone.
    pub(crate) fn forget_reads(&mut self, node: NodeId) {
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

    /// An entry is applied: everywhere the same one, and on a quorum's disks the first time.
    ///
    /// `configurations`: in force before the step that committed it, and after.
    pub(crate) fn check_applied(
        &mut self,
        id: NodeId,
        entry: &Entry,
        configurations: [&Configuration; 2],
        nodes: &[Node],
    ) {
        if let Some(committed) = self.committed.get(&entry.index) {
            assert_eq!(committed, entry, "{id} applies something else");
            return;
        }
        assert_eq!(entry.index, self.last_committed().next(), "{id}: a gap");
        let durable = |voter: &&NodeId| {
            let node = nodes.iter().find(|node| node.id == **voter);
            node.is_some_and(|node| node.disk.keeps(entry.term, entry.index))
        };
        let enough = |half: &Vec<NodeId>| {
            half.is_empty() || half.iter().filter(durable).count() > half.len() / 2
        };
        let agreed = |c: &&Configuration| enough(&c.voters) && enough(&c.outgoing);
        let safe = configurations.iter().any(agreed);
        assert!(safe, "{id}: {} committed without a quorum of {configurations:?}", entry.index);
        self.committed.insert(entry.index, entry.clone());
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
