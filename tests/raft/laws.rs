//! What must hold in every run, checked after every step. Source: Raft, figure 3.
//!
//! - *Election safety*: one leader in a term, elected by a majority of durable votes (each half's).
//! - *Log matching*: entries of one index and term are equal, and so are those before them.
//! - *Leader completeness*: what is committed is in every later leader's log.
//! - *State machine safety*: an index applies one entry everywhere, on a majority's disks by then.
//! - Order: forgotten ≤ applied ≤ committed ≤ last, snapshot ≤ applied; terms and commitment never
//!   fall. What is forgotten is on the disk, or a snapshot covers it.
//! - What a message vouches for is on its sender's disk.
//! - Reads see what was committed when they began.
//! - Changes of the members: one at a time, after a commit in the term; a committed one is in force.

use std::collections::{BTreeMap, BTreeSet};

use sunstar::base::{Index, NodeId, Term};
use sunstar::raft::{
    Configuration, Entry, EntryKind, Message, MessageBody, Output, Raft, RoleKind,
};

use crate::node::Node;
use crate::submissions::Submissions;
use crate::tally::Tally;

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
    /// The committed configurations by their place, the first one at 0.
    pub(crate) configurations: BTreeMap<Index, Configuration>,
    /// Where each node was after its last step in this life.
    places: BTreeMap<NodeId, Place>,
    /// Nodes that stood because their leader told them to, and the terms they stood in.
    successors: BTreeSet<(Term, NodeId)>,
    /// A question before an election on its way into a node, and that node's term before it.
    asked: Option<(NodeId, Term)>,
    pub(crate) tally: Tally,
}

/// How far a node was.
#[derive(Clone, Copy, Default)]
struct Place {
    term: Term,
    commit: Index,
    last: Index,
}

impl Laws {
    pub(crate) fn new(configuration: &Configuration) -> Self {
        let configurations = BTreeMap::from([(Index::ZERO, configuration.clone())]);
        Self { configurations, ..Self::default() }
    }

    /// The last entry committed anywhere.
    pub(crate) fn last_committed(&self) -> Index {
        self.committed.last_key_value().map_or(Index::ZERO, |(&index, _)| index)
    }

    /// A read begins: what is committed now, it must see.
    pub(crate) fn read_begins(&mut self, node: NodeId, context: u64) {
        let begun = self.reads.insert((node, context), self.last_committed());
        assert!(begun.is_none(), "{node}: context {context} is taken");
    }

    /// Whether a node of these still waits for a read.
    pub(crate) fn is_reading(&self, nodes: impl Fn(NodeId) -> bool) -> bool {
        self.reads.keys().any(|key| nodes(key.0))
    }

    /// A node crashed: its reads are gone, and what it had not written.
    pub(crate) fn crashed(&mut self, node: NodeId) {
        self.submissions.forget(node);
        self.reads.retain(|key, _| key.0 != node);
        self.places.remove(&node);
    }

    /// A node lost its disk: what comes back under its name has given no vote.
    pub(crate) fn wiped(&mut self, node: NodeId) {
        self.votes.retain(|key, _| key.1 != node);
    }

    /// A message is about to arrive.
    pub(crate) fn is_asked(&mut self, node: &Node, message: &Message) {
        let question = matches!(message.body, MessageBody::PreVote { .. });
        let raft = node.raft.as_ref().filter(|_| question);
        self.asked = raft.map(|raft| (node.id, raft.term()));
    }

    /// Checks one step of `raft`.
    pub(crate) fn check_step(&mut self, id: NodeId, raft: &Raft, output: &Output) {
        raft.check_invariants();
        if let Some((asked, term)) = self.asked.take() {
            assert!(asked != id || raft.term() == term, "{id}: a question raised its term");
        }
        self.check_log_matching(id, raft, &output.entries);
        self.check_order(id, raft, &output.entries);
        if raft.role() == RoleKind::Leader {
            self.check_leader(id, raft);
            self.check_changes(id, raft, &output.entries);
        }
        if output.doubt_ended {
            self.tally.count("doubts that ended");
        }
        for message in &output.messages {
            check_transfer(id, raft, message);
        }
        for _ in &output.reads_failed {
            self.tally.count("reads failed");
        }
        for read in &output.reads {
            let at_least = self.reads.remove(&(id, read.context)).expect("asked for, once");
            assert!(read.index >= at_least, "{id}: stale read {} of {at_least}", read.index);
            self.tally.count("reads confirmed");
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
            MessageBody::AppendResponse { match_index, .. } => {
                let (_, last) = node.disk.last_place();
                assert!(match_index <= last, "{id} vouches for {match_index}, durable {last}");
                let term = node.disk.term();
                assert!(term >= message.term, "{id}: term {} is not durable", message.term);
            }
            MessageBody::Vote { transfer, .. } => {
                let on_disk = node.disk.hard_state;
                let kept = on_disk.term > message.term
                    || (on_disk.term, on_disk.vote) == (message.term, Some(id));
                assert!(kept, "{id} stands before its vote is durable: {on_disk:?}");
                if transfer && self.successors.insert((message.term, id)) {
                    self.tally.count("successors that stood");
                }
            }
            MessageBody::AppendReject { .. } => {
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
            let entry = entry.clone();
            self.note_commit(&entry);
            self.committed.insert(index, entry);
        }
    }

    fn note_commit(&mut self, entry: &Entry) {
        self.tally.count("entries committed");
        if entry.kind == EntryKind::Configuration {
            let configuration = Configuration::decode(&entry.payload).expect("encoded");
            if !configuration.is_joint() && !configuration.is_staged() {
                self.tally.count("changes committed");
            }
            self.configurations.insert(entry.index, configuration);
        }
    }

    /// What is said about submissions is true.
    pub(crate) fn check_outcomes(&mut self, id: NodeId, raft: &Raft, output: &Output) {
        for &(context, outcome) in &output.outcomes {
            let told = self.submissions.told(raft, (id, context), outcome);
            self.tally.count(told);
        }
    }

    /// An entry is applied: everywhere the same one.
    pub(crate) fn check_applied(&self, id: NodeId, entry: &Entry) {
        let committed = self.committed.get(&entry.index);
        assert_eq!(committed, Some(entry), "{id} applies something else");
    }

    /// Checks what a node has besides its replica. After a step was performed.
    pub(crate) fn check_node(&self, node: &Node) {
        let Some(raft) = &node.raft else { return };
        let (id, applied, commit) = (node.id, node.applied.index, raft.commit_index());
        let loading = node.writes.iter().filter_map(|write| write.snapshot.as_ref());
        let loading = loading.map(|snapshot| snapshot.index).max().unwrap_or_default();
        let snapshot = node.disk.snapshot.index.max(loading);
        let forgotten = raft.first_index().previous();
        assert!(applied <= commit, "{id} applied {applied}, committed {commit}");
        assert!(snapshot <= applied, "{id}: snapshot {snapshot}, applied {applied}");
        assert!(forgotten <= applied, "{id} forgot {forgotten}, applied {applied}");
        let stored = node.disk.last_place().1;
        let safe = snapshot.max(stored);
        assert!(forgotten <= safe, "{id} forgot {forgotten}, snapshot {snapshot}, stored {stored}");
        self.check_configuration(id, raft);
    }

    /// Nothing goes back while a node lives but the end of its log.
    fn check_order(&mut self, id: NodeId, raft: &Raft, entries: &[Entry]) {
        let place =
            Place { term: raft.term(), commit: raft.commit_index(), last: raft.last_index() };
        let before = self.places.insert(id, place).unwrap_or_default();
        assert!(before.term <= place.term, "{id}: term {} after {}", place.term, before.term);
        let (commit, committed) = (place.commit, before.commit);
        assert!(committed <= commit, "{id}: commit {commit} after {committed}");
        if entries.first().is_some_and(|entry| entry.index <= before.last) {
            self.tally.count("entries replaced");
        }
    }

    /// What is committed is what was committed elsewhere.
    fn check_configuration(&self, id: NodeId, raft: &Raft) {
        let commit = raft.commit_index();
        let known = self.configurations.range(..=commit).next_back();
        // Who joins later does not know the first one.
        if let Some((index, known)) = known.filter(|known| *known.0 > Index::ZERO) {
            let own = raft.configuration_at(commit);
            assert_eq!(own, known, "{id} at {commit}: not the configuration of {index}");
        }
    }

    /// A leader changes the members only when it knows that the last change is done.
    fn check_changes(&self, id: NodeId, raft: &Raft, entries: &[Entry]) {
        let (term, commit) = (raft.term(), raft.commit_index());
        let change = entries.iter().find(|entry| entry.kind == EntryKind::Configuration);
        let Some(change) = change.filter(|entry| entry.term == term) else { return };
        assert_eq!(raft.term_at(commit), Some(term), "{id}: a change before a commit in its term");
        for index in commit.0 + 1..change.index.0 {
            let place = (Index(index), raft.term_at(Index(index)).expect("in memory"));
            let kind = self.entries.get(&place).map(|(_, entry)| entry.kind);
            assert_ne!(kind, Some(EntryKind::Configuration), "{id}: a change at {index} too");
        }
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
            self.tally.count("elections");
            self.check_election(id, raft);
            return self.check_completeness(id, raft);
        };
        assert_eq!(known, id, "two leaders in term {term}");
    }

    /// A majority of each half gave its vote, durably.
    fn check_election(&self, id: NodeId, raft: &Raft) {
        let members = raft.configuration();
        for half in [&members.voters, &members.outgoing] {
            let gave = |voter: &&NodeId| self.votes.get(&(raft.term(), **voter)) == Some(&id);
            let count = half.iter().filter(gave).count();
            let enough = half.is_empty() || count > half.len() / 2;
            assert!(enough, "{id} leads {} by {count} votes of {half:?}", raft.term());
        }
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

/// Only who has everything that is committed is told to stand.
fn check_transfer(id: NodeId, raft: &Raft, message: &Message) {
    if message.body == MessageBody::TimeoutNow {
        let (commit, matched) = (raft.commit_index(), raft.match_index(message.to));
        assert!(matched >= Some(commit), "{id}: {} has {matched:?} of {commit}", message.to);
    }
}
