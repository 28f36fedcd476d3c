//! Nodes, the messages between them, and one clock. Nothing happens by itself.

use std::collections::BTreeSet;

use sunstar::base::{Bytes, Incarnation, Index, NodeId, Term, Time, WallTime};
use sunstar::raft::{
    Configuration, Entry, ForceError, Input, Message, Output, ProposeError, Raft, ReadError,
    ReconfigureError, RoleKind, TransferError, WaitFor,
};

use crate::disk::Write;
use crate::laws::Laws;
use crate::node::Node;
use crate::notation;

/// A group of replicas with everything around it.
pub(crate) struct World {
    pub(crate) now: Time,
    /// By node id.
    pub(crate) nodes: Vec<Node>,
    /// Sent, not delivered; in the order of sending.
    pub(crate) in_flight: Vec<Message>,
    /// Directions in which nothing gets through.
    pub(crate) cuts: BTreeSet<(NodeId, NodeId)>,
    /// Reports of durable writes that were held back.
    pub(crate) completions: Vec<Completion>,
    /// Snapshots the leaders were asked for: (leader, follower).
    pub(crate) snapshots_wanted: BTreeSet<(NodeId, NodeId)>,
    /// Entries the leaders asked their disks for: (leader, follower, from), in order.
    pub(crate) entries_wanted: Vec<(NodeId, NodeId, Index)>,
    pub(crate) laws: Laws,
    /// What happened since it was last taken, for scripts; `None` where nobody reads it.
    pub(crate) trace: Option<Vec<String>>,
    /// Whether a node's entries are being applied further up the stack.
    applying: bool,
}

/// A node's writes up to here are durable, and it was not told.
#[derive(Clone, Copy)]
pub(crate) struct Completion {
    node: NodeId,
    term: Term,
    index: Index,
}

impl World {
    /// A world of nodes that have not started.
    pub(crate) fn new(configuration: &Configuration) -> Self {
        let nodes: Vec<Node> =
            configuration.members().map(|id| Node::new(id, configuration)).collect();
        Self {
            now: Time(0),
            nodes,
            in_flight: Vec::new(),
            cuts: BTreeSet::new(),
            completions: Vec::new(),
            snapshots_wanted: BTreeSet::new(),
            entries_wanted: Vec::new(),
            laws: Laws::new(configuration),
            trace: None,
            applying: false,
        }
    }

    /// Adds a node that belongs to no group yet.
    pub(crate) fn add_spare(&mut self, id: NodeId) {
        self.nodes.push(Node::new(id, &Configuration::default()));
        self.nodes.sort_by_key(|node| node.id);
    }

    pub(crate) fn position(&self, id: NodeId) -> usize {
        self.nodes.iter().position(|node| node.id == id).unwrap_or_else(|| panic!("no {id}"))
    }

    pub(crate) fn start(&mut self, at: usize) {
        let now = self.now;
        self.nodes[at].start(now);
    }

    pub(crate) fn crash(&mut self, at: usize, survivors: usize) {
        let id = self.nodes[at].id;
        self.nodes[at].crash(survivors);
        self.laws.crashed(id);
        self.completions.retain(|completion| completion.node != id);
        self.snapshots_wanted.retain(|wanted| wanted.0 != id);
        self.entries_wanted.retain(|wanted| wanted.0 != id);
    }

    /// A node that does not run loses its disk, and gets another.
    pub(crate) fn wipe(&mut self, at: usize, incarnation: Incarnation) {
        self.nodes[at].wipe(incarnation);
        self.laws.wiped(self.nodes[at].id);
    }

    pub(crate) fn step(&mut self, at: usize, input: Input) {
        self.with(at, |raft, now, output| raft.step(now, input, output));
    }

    pub(crate) fn propose(
        &mut self,
        at: usize,
        text: &str,
    ) -> Option<Result<(Term, Index), ProposeError>> {
        let wall = WallTime(self.now.0);
        let payload = Bytes::copy_of(text.as_bytes());
        self.with(at, |raft, now, output| raft.propose(now, wall, payload, output))
    }

    /// Proposes several commands before anyone looks at the output, as a host does that has them at
    /// once. Nothing if the node is down; what is refused is.
    pub(crate) fn propose_together(&mut self, at: usize, texts: &[&str]) {
        let wall = WallTime(self.now.0);
        self.with(at, |raft, now, output| {
            for text in texts {
                _ = raft.propose(now, wall, Bytes::copy_of(text.as_bytes()), output);
            }
        });
    }

    /// Submits a command at any node. Nothing if it is down.
    pub(crate) fn submit(&mut self, at: usize, text: &str, wait_for: WaitFor, context: u64) {
        let (id, wall) = (self.nodes[at].id, WallTime(self.now.0));
        if self.nodes[at].raft.is_none() {
            return;
        }
        let payload = Bytes::copy_of(text.as_bytes());
        self.laws.submissions.begins((id, context), wait_for, Some(&payload));
        self.with(at, |raft, now, output| {
            raft.submit(now, wall, payload, wait_for, context, output);
        });
    }

    /// Submits a change of the members at any node. Nothing if it is down.
    pub(crate) fn submit_change(
        &mut self,
        at: usize,
        target: &Configuration,
        wait_for: WaitFor,
        context: u64,
    ) {
        let (id, wall) = (self.nodes[at].id, WallTime(self.now.0));
        if self.nodes[at].raft.is_none() {
            return;
        }
        self.laws.submissions.begins((id, context), wait_for, None);
        self.with(at, |raft, now, output| {
            raft.submit_change(now, wall, target, wait_for, context, output);
        });
    }

    pub(crate) fn read(&mut self, at: usize, context: u64) -> Option<Result<(), ReadError>> {
        let id = self.nodes[at].id;
        let raft = self.nodes[at].raft.as_ref()?;
        let leased = raft.holds_lease(self.nodes[at].clock(self.now));
        if leased {
            self.laws.tally.count("reads under a lease");
        }
        self.laws.read_begins(id, context);
        self.with(at, |raft, now, output| {
            let result = raft.read(now, context, output);
            if result.is_err() {
                // Refused at once: the laws hear of it as of any other failure.
                output.reads_failed.push(context);
            }
            result
        })
    }

    pub(crate) fn transfer(&mut self, at: usize, to: NodeId) -> Option<Result<(), TransferError>> {
        self.with(at, |raft, now, output| raft.transfer(now, to, output))
    }

    pub(crate) fn force(&mut self, at: usize, voters: &[NodeId]) -> Option<Result<(), ForceError>> {
        self.with(at, |raft, _, output| raft.force_configuration(voters, output))
    }

    pub(crate) fn reconfigure(
        &mut self,
        at: usize,
        target: &Configuration,
    ) -> Option<Result<(Term, Index), ReconfigureError>> {
        let wall = WallTime(self.now.0);
        self.with(at, |raft, now, output| raft.reconfigure(now, wall, target, output))
    }

    pub(crate) fn change_members(
        &mut self,
        at: usize,
        target: &Configuration,
    ) -> Option<Result<(Term, Index), ReconfigureError>> {
        let wall = WallTime(self.now.0);
        self.with(at, |raft, now, output| raft.change_members(now, wall, target, output))
    }

    pub(crate) fn replace_member(
        &mut self,
        at: usize,
        replaced: (NodeId, Incarnation),
    ) -> Option<Result<(Term, Index), ReconfigureError>> {
        let wall = WallTime(self.now.0);
        self.with(at, |raft, now, output| raft.replace_member(now, wall, replaced, output))
    }

    /// Runs one step of a node's replica and performs what it asks for. Nothing if it is down.
    fn with<R>(
        &mut self,
        at: usize,
        call: impl FnOnce(&mut Raft, Time, &mut Output) -> R,
    ) -> Option<R> {
        let node = &mut self.nodes[at];
        let now = node.clock(self.now);
        let raft = node.raft.as_mut()?;
        let configuration = raft.configuration().clone();
        let show = |raft: &Raft| (notation::state(raft), raft.configuration().clone());
        let before = self.trace.as_ref().map(|_| show(raft));
        let mut output = Output::default();
        let result = call(raft, now, &mut output);
        let (id, raft) = (node.id, self.nodes[at].raft.as_ref()?);
        self.laws.check_step(id, raft, &output);
        self.laws.check_commit(id, raft, &configuration, &self.nodes);
        self.laws.check_outcomes(id, raft, &output);
        if let (Some((state, members)), Some(trace)) = (before, &mut self.trace) {
            let after = show(raft);
            if members != after.1 {
                trace.push(format!("  {id} members {}", notation::configuration(&after.1)));
            }
            if state != after.0 {
                trace.push(format!("  {id} {}", after.0));
            }
        }
        self.perform(at, output, None);
        self.laws.check_node(&self.nodes[at]);
        Some(result)
    }

    /// Delivers the message at a position of `in_flight`.
    pub(crate) fn deliver(&mut self, position: usize) {
        let message = self.in_flight.remove(position);
        self.hand_over(message);
    }

    /// Gives a message to its receiver, if the way is free.
    pub(crate) fn hand_over(&mut self, message: Message) {
        let lost = self.cuts.contains(&(message.from, message.to));
        let at = self.nodes.iter().position(|node| node.id == message.to);
        let up = at.filter(|&at| !lost && self.nodes[at].raft.is_some());
        let suffix = if up.is_some() { "" } else { "  (lost)" };
        if self.trace.is_some() {
            self.note(format!("{}{suffix}", notation::message(&message)));
        }
        if let Some(at) = up {
            self.laws.is_asked(&self.nodes[at], &message);
            self.step(at, Input::Message(message));
        }
    }

    /// The oldest write of a node becomes durable. Returns whether there was one.
    pub(crate) fn complete_write(&mut self, at: usize) -> bool {
        let Some((messages, term, index)) = self.nodes[at].complete_write() else { return false };
        for message in messages {
            self.send(at, message);
        }
        let node = self.nodes[at].id;
        if self.nodes[at].completions_held {
            self.completions.push(Completion { node, term, index });
        } else {
            self.step(at, Input::Appended { term, index });
        }
        true
    }

    /// Reports a completion that was held back; perhaps it will be reported `again`.
    pub(crate) fn report(&mut self, position: usize, again: bool) {
        let completion = self.completions[position];
        if !again {
            self.completions.remove(position);
        }
        let Completion { node, term, index } = completion;
        self.step(self.position(node), Input::Appended { term, index });
    }

    /// Cuts a node's links, those to it and those from it.
    pub(crate) fn isolate(&mut self, at: usize, inwards: bool, outwards: bool) {
        let node = self.nodes[at].id;
        for other in self.nodes.iter().map(|other| other.id) {
            self.cuts.extend(inwards.then_some((other, node)));
            self.cuts.extend(outwards.then_some((node, other)));
        }
    }

    /// Wakes a node if its time has come by its own clock.
    pub(crate) fn tick(&mut self, at: usize) {
        let node = &self.nodes[at];
        let due = node.raft.as_ref().is_some_and(|raft| raft.deadline() <= node.clock(self.now));
        if due {
            self.step(at, Input::Tick);
        }
    }

    /// When the next node wants to be woken.
    pub(crate) fn next_wake(&self) -> Option<Time> {
        self.nodes.iter().filter_map(Node::wakes_at).min()
    }

    /// Takes a snapshot and forgets what lies more than `trailing` entries before it.
    pub(crate) fn compact(&mut self, at: usize, trailing: u64) {
        if self.nodes[at].raft.is_none() {
            return;
        }
        let snapshot = self.nodes[at].take_snapshot();
        let keep_from = Index((snapshot.index.0 + 1).saturating_sub(trailing));
        self.step(at, Input::Compacted { snapshot, keep_from });
    }

    /// Keeps only the last `keep` applied entries in memory: the others are on the disk.
    pub(crate) fn evict(&mut self, at: usize, keep: u64) {
        let node = &self.nodes[at];
        let (applied, term) = (node.applied.index, node.applied.term);
        if node.raft.is_none() || !node.disk.has(term, applied) {
            return;
        }
        let keep_from = Index((applied.0 + 1).saturating_sub(keep));
        let stored_from = node.disk.first_index();
        self.laws.tally.count("evictions");
        self.step(at, Input::Evicted { keep_from, stored_from });
    }

    /// A leader's disk answers the oldest question for entries, of this follower if one is given: with
    /// at most `count`, none if they are said to be gone.
    pub(crate) fn read_entries(&mut self, to: Option<(NodeId, NodeId)>, count: usize) {
        let asked =
            |wanted: &&(NodeId, NodeId, Index)| to.is_none_or(|to| to == (wanted.0, wanted.1));
        let Some(&wanted) = self.entries_wanted.iter().find(asked) else { return };
        self.entries_wanted.retain(|other| *other != wanted);
        let (leader, to, from) = wanted;
        let at = self.position(leader);
        let entries = self.nodes[at].disk.entries_from(from, count);
        self.laws.tally.count(if entries.is_empty() {
            "old entries gone"
        } else {
            "old entries read"
        });
        if let Some(trace) = &mut self.trace {
            let what = entries.first().zip(entries.last());
            let what = what.map_or("nothing".to_owned(), |(a, b)| notation::range(a, b));
            trace.push(format!("  {leader} reads {what}"));
        }
        self.step(at, Input::EntriesRead { to, from, entries });
    }

    /// Moves a wanted snapshot: the newest the leader has, to the follower.
    pub(crate) fn transfer_snapshot(&mut self, from: usize, to: usize) {
        let (leader, follower) = (self.nodes[from].id, self.nodes[to].id);
        self.snapshots_wanted.remove(&(leader, follower));
        let first = self.nodes[from].raft.as_ref().map(Raft::first_index);
        if first.is_some_and(|first| first > self.nodes[from].disk.snapshot.index.next()) {
            // What lies between is on the disk only: the follower had better get all at once.
            self.compact(from, u64::MAX);
        }
        let snapshot = self.nodes[from].disk.snapshot.clone();
        let now = self.nodes[to].clock(self.now);
        let Some(raft) = &mut self.nodes[to].raft else { return };
        if !raft.wants_snapshot(snapshot.index) {
            return self.note(format!("  {follower} does not want {}", snapshot.index));
        }
        let mut output = Output::default();
        let input = Input::SnapshotInstalled { from: leader, snapshot: snapshot.clone() };
        raft.step(now, input, &mut output);
        self.laws.check_step(follower, raft, &output);
        self.laws.check_outcomes(follower, raft, &output);
        self.laws.tally.count("snapshots installed");
        let line = format!("  {follower} {}", notation::state(raft));
        self.note(line);
        self.nodes[to].applied = snapshot.clone();
        self.nodes[to].to_apply.clear();
        self.perform(to, output, Some(snapshot));
        self.laws.check_node(&self.nodes[to]);
    }

    /// What a failure detector would rightly say: whether one node reaches another and is answered.
    pub(crate) fn is_reachable(&self, from: usize, to: usize) -> bool {
        let (here, there) = (self.nodes[from].id, self.nodes[to].id);
        let cut = self.cuts.contains(&(here, there)) || self.cuts.contains(&(there, here));
        self.nodes[to].raft.is_some() && !cut
    }

    /// A node's failure detector speaks of another, truly or not.
    pub(crate) fn detect(&mut self, at: usize, other: usize, up: bool) {
        let (peer, incarnation) = (self.nodes[other].id, self.nodes[other].lives);
        let input = if up { Input::PeerUp { peer, incarnation } } else { Input::PeerDown { peer } };
        self.step(at, input);
    }

    /// Every failure detector tells the truth about everybody.
    pub(crate) fn detect_all(&mut self) {
        for at in 0..self.nodes.len() {
            for other in (0..self.nodes.len()).filter(|&other| other != at) {
                let up = self.is_reachable(at, other);
                self.detect(at, other, up);
            }
        }
    }

    pub(crate) fn leader(&self) -> Option<usize> {
        let replicas = self.nodes.iter().map(|node| node.raft.as_ref()).enumerate();
        let leaders = replicas.filter_map(|(at, raft)| Some((raft?, at)));
        let leaders = leaders.filter(|(raft, _)| raft.role() == RoleKind::Leader);
        leaders.max_by_key(|(raft, _)| raft.term()).map(|(_, at)| at)
    }

    /// The leader whom all other members but `away` follow, and who has committed all it has.
    pub(crate) fn agreed_leader(&self, away: Option<NodeId>) -> Option<usize> {
        let at = self.leader()?;
        let leader = self.nodes[at].raft.as_ref()?;
        if !leader.configuration().is_voter(self.nodes[at].id) {
            return None;
        }
        let mut members = self.members().filter(|node| Some(node.id) != away);
        let follows = |node: &Node| {
            let raft = node.raft.as_ref();
            raft.is_some_and(|raft| {
                (raft.leader(), raft.term()) == (leader.leader(), leader.term())
            })
        };
        let committed = leader.commit_index() == leader.last_index();
        (committed && members.all(follows)).then_some(at)
    }

    /// Whether a change of the members is still under way.
    pub(crate) fn is_changing(&self, at: usize) -> bool {
        let configuration = self.nodes[at].raft.as_ref().map(Raft::configuration);
        configuration.is_some_and(|members| members.is_joint() || members.is_staged())
    }

    /// The nodes that the latest leader counts as members.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Node> {
        let leader = self.leader().and_then(|at| self.nodes[at].raft.as_ref());
        let configuration = leader.map(|raft| raft.configuration().clone()).unwrap_or_default();
        let member = move |node: &&Node| configuration.members().any(|member| member == node.id);
        self.nodes.iter().filter(member)
    }

    /// Whether no member wants to be woken.
    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
            && self.members().count() > 0
            && self.members().all(|node| node.wakes_at().is_none())
    }

    /// Every node in a few words.
    pub(crate) fn states(&self) -> Vec<String> {
        let state = |node: &Node| {
            let Some(raft) = &node.raft else { return format!("{} down", node.id) };
            format!("{} {}{}", node.id, notation::state(raft), notation::lag(raft))
        };
        self.nodes.iter().map(state).collect()
    }

    pub(crate) fn note(&mut self, line: String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line);
        }
    }

    fn perform(
        &mut self,
        at: usize,
        output: Output,
        snapshot: Option<sunstar::raft::SnapshotMeta>,
    ) {
        let id = self.nodes[at].id;
        for message in output.messages {
            self.send(at, message);
        }
        let write = Write {
            hard_state: output.hard_state,
            doubt_ended: output.doubt_ended,
            entries: output.entries,
            snapshot,
            messages: output.messages_after_durable,
        };
        self.nodes[at].to_apply.extend(output.committed);
        self.apply_at_once(at);
        for context in output.reads_failed {
            self.note(format!("  {id} read {context} failed"));
        }
        for read in output.reads {
            self.note(format!("  {id} read {} at {}", read.context, read.index));
            self.nodes[at].reads.push(read);
        }
        for (context, outcome) in output.outcomes {
            self.note(format!("  {id} submission {context} {}", notation::outcome(outcome)));
        }
        for wanted in output.snapshots {
            self.note(format!("  {id} sends a snapshot to {}", wanted.to));
            self.snapshots_wanted.insert((id, wanted.to));
        }
        for wanted in output.entries_wanted {
            self.note(format!("  {id} wants entries from {} for {}", wanted.from, wanted.to));
            self.entries_wanted.push((id, wanted.to, wanted.from));
        }
        self.write(at, write);
        for forwarded in output.forwarded {
            let wall = WallTime(self.now.0);
            self.with(at, |raft, now, output| raft.accept(now, wall, forwarded, output));
        }
    }

    /// Applies what there is, unless the state machine is held. What a report brings forth is applied
    /// by whoever came here first: were it by the report itself, a long log would need a deep stack.
    fn apply_at_once(&mut self, at: usize) {
        if self.nodes[at].apply_held || self.applying {
            return;
        }
        self.applying = true;
        while self.apply(at, usize::MAX) > 0 {}
        self.applying = false;
    }

    fn write(&mut self, at: usize, write: Write) {
        let empty =
            write.hard_state.is_none() && write.entries.is_empty() && write.snapshot.is_none();
        let empty = empty && !write.doubt_ended;
        if empty && self.nodes[at].writes.is_empty() {
            for message in write.messages {
                self.send(at, message);
            }
            return;
        }
        if empty && write.messages.is_empty() {
            return;
        }
        let id = self.nodes[at].id;
        if !empty && self.trace.is_some() {
            self.note(format!("  {id} writes {}", notation::write(&write)));
        }
        self.nodes[at].writes.push_back(write);
        while !self.nodes[at].disk_held && self.complete_write(at) {}
    }

    fn send(&mut self, at: usize, message: Message) {
        self.laws.check_message(&self.nodes[at], &message);
        if message.to == message.from {
            self.step(at, Input::Message(message));
        } else {
            self.in_flight.push(message);
        }
    }

    /// The state machine of a node takes entries in, as many as there are, at most `count`. Returns
    /// how many.
    pub(crate) fn apply(&mut self, at: usize, count: usize) -> usize {
        let node = &mut self.nodes[at];
        let id = node.id;
        let applied: Vec<Entry> = std::iter::from_fn(|| node.apply_next()).take(count).collect();
        let (Some(first), Some(last)) = (applied.first(), applied.last()) else { return 0 };
        for entry in &applied {
            self.laws.check_applied(id, entry);
        }
        self.note(format!("  {id} applies {}", notation::range(first, last)));
        self.step(at, Input::Applied { index: last.index });
        applied.len()
    }
}
