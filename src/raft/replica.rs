//! The replica: takes inputs in, sends each to the rule it belongs to, and knows when it wants to
//! be woken. The rules themselves are in the files next to this one.

use std::cmp::Ordering;

use super::contacts::Contacts;
use super::doubt::{Doubt, Doubting};
use super::forwarding::{Forwarded, Forwarding};
use super::lease::Promise;
use super::liveness::Liveness;
use super::log::Log;
use super::membership::Membership;
use super::planted::Bug;
use super::progress::Progress;
use super::replication::{Heard, Rejection, Sender};
use super::role::{Follower, Leader, Role};
use super::waiters::Waiters;
use super::{
    Configuration, Entry, HardState, Input, Message, MessageBody, Output, RaftConfig, RoleKind,
    Stored, quorum,
};
use crate::base::{Index, Micros, NodeId, Term, Time};

/// One replica of one Raft group. See the module's documentation for how to drive it.
#[derive(Debug)]
pub struct Raft {
    /// Settings; never change.
    pub(super) config: RaftConfig,
    /// Where randomness comes from.
    pub(super) random: fastrand::Rng,
    /// Term and vote. Handed out whenever it changes; the term never falls.
    pub(super) hard_state: HardState,
    /// The log and how far it is committed.
    pub(super) log: Log,
    /// Who counts. Changes with the log.
    pub(super) membership: Membership,
    /// What this replica is in its term.
    pub(super) role: Role,
    /// Who is alive, as the host's failure detector says.
    pub(super) liveness: Liveness,
    /// Whom this replica's vote is promised to.
    pub(super) promise: Promise,
    /// Nodes outside the configuration that may be answered.
    pub(super) contacts: Contacts,
    /// What this replica may have forgotten, and how far it is in finding out; `None` if nothing.
    /// While there is, it is a follower that does not vote. Ended by `reconsider_doubt` only.
    pub(super) doubting: Option<Doubting>,
    /// The number of the last read sent to a leader; outlives roles, so that a late answer never
    /// fits a new question.
    pub(super) read_requests: u64,
    /// What was submitted here and has its place in some log.
    pub(super) waiters: Waiters,
    /// What was submitted here and has no place yet; what others forwarded here.
    pub(super) forwarding: Forwarding,
    /// The host will not have this replica lead. Set by `bar` alone.
    pub(super) barred: bool,
}

impl Raft {
    /// Starts a replica from what its disk holds. Everything in `stored` is durable.
    ///
    /// `config.seed` should differ between starts, or a read's answer that was on its way when the
    /// process died could fit a question of its successor.
    ///
    /// # Panics
    /// If the stored entries do not follow the snapshot and each other: recovery checks them.
    pub fn new(now: Time, config: RaftConfig, stored: Stored) -> Self {
        let random = fastrand::Rng::with_seed(config.seed);
        let mut membership =
            Membership::new(stored.snapshot.index, stored.snapshot.configuration.clone());
        stored.entries.iter().for_each(|entry| membership.append(entry));
        let log = Log::new(stored.snapshot, stored.entries);
        let mut hard_state = stored.hard_state;
        if hard_state.term < log.last_term() {
            // Entries came to the disk without their term: then no vote of that term left either.
            hard_state = HardState { term: log.last_term(), vote: None };
        }
        let lease = config.lease.filter(|_| !config.has(Bug::RestartedVoterVotesAtOnce));
        let promise = Promise::at_start(now, lease, config.election_timeout);
        let mut raft = Self {
            role: Role::Follower(Follower::new(now)),
            config,
            random,
            hard_state,
            log,
            membership,
            liveness: Liveness::default(),
            promise,
            contacts: Contacts::default(),
            doubting: None,
            read_requests: 0,
            waiters: Waiters::default(),
            forwarding: Forwarding::new(0, hard_state.term),
            barred: false,
        };
        raft.wait_for_leader(now);
        // The upper half stays free: the counter never overflows.
        raft.read_requests = u64::from(raft.random.u32(..)) << 31;
        raft.forwarding = Forwarding::new(raft.read_requests, hard_state.term);
        let votes_at_once = raft.config.has(Bug::BlankReplicaVotesAtOnce);
        let doubt = stored.doubt.filter(|doubt| *doubt != Doubt::Blank || !votes_at_once);
        raft.doubting = doubt.map(|doubt| Doubting::new(now, doubt, raft.random.u64(1..)));
        raft
    }

    /// Takes one input in. The only way in besides `propose` and `read`. Appends to `output`,
    /// never clears it.
    ///
    /// # Panics
    /// If the host breaks the order of its duties (module documentation). Messages never cause a panic,
    /// whatever they hold.
    pub fn step(&mut self, now: Time, input: Input, output: &mut Output) {
        match input {
            Input::Tick => self.tick(now, output),
            Input::Message(message) => self.receive(now, message, output),
            Input::Appended { term, index } => self.appended(now, term, index, output),
            Input::Applied { index } => self.applied(index, output),
            Input::Compacted { snapshot, keep_from } => self.compacted(snapshot, keep_from),
            Input::Evicted { keep_from, stored_from } => self.evicted(keep_from, stored_from),
            Input::EntriesRead { to, from, entries } => {
                self.entries_read(now, to, from, entries, output);
            }
            Input::SnapshotInstalled { from, snapshot } => {
                self.snapshot_installed(now, from, snapshot, output);
            }
            Input::SnapshotRefused { from } => self.snapshot_refused(from, output),
            Input::SnapshotFailed { to } => self.snapshot_failed(now, to),
            Input::Campaign => self.campaign(now, output),
            Input::PeerReset { peer } => self.peer_reset(now, peer, output),
            Input::PeerUp { peer, incarnation } => self.peer_up(now, peer, incarnation, output),
            Input::PeerDown { peer } => self.peer_down(now, peer, output),
        }
        if self.is_provisional() {
            self.reconsider_doubt(now, output);
        }
    }

    /// When `Input::Tick` is wanted next; `Time(u64::MAX)` if never.
    pub fn deadline(&self) -> Time {
        let waiters = self.waiters_deadline().min(self.forwarding.deadline());
        waiters.min(self.role_deadline())
    }

    fn role_deadline(&self) -> Time {
        match &self.role {
            Role::Follower(follower) => {
                let stands = self.may_stand() && !self.is_content();
                let election = if stands { follower.election_at } else { NEVER };
                let hangs = self.config.has(Bug::LostForwardedReadHangs);
                let reads = follower.reads.deadline().filter(|_| !hangs);
                reads.map_or(election, |reads| reads.min(election)).min(self.survey_due())
            }
            Role::PreCandidate(candidacy) | Role::Candidate(candidacy) => candidacy.election_at,
            Role::Leader(leader) if leader.quiet => NEVER,
            Role::Leader(leader) => {
                let round = leader.reads.awaited_round();
                let interval = self.config.heartbeat_interval;
                let due = leader.peers.iter().map(|peer| peer.heartbeat_due(interval, round));
                let given_up = leader.transfer.map_or(NEVER, |transfer| transfer.deadline);
                due.fold(self.lost_quorum_at(leader).min(given_up), Time::min)
            }
        }
    }

    /// Keeps this replica from standing for election, or no longer does, for a reason that only the
    /// host knows. It votes, acknowledges and applies as before; one that leads is to hand over.
    pub fn bar(&mut self, barred: bool) {
        self.barred = barred;
    }

    /// The entries after `after` and up to `upto`; nothing if not all of them are in memory.
    ///
    /// # Panics
    /// If the log does not reach `upto`.
    pub fn entries_between(
        &self,
        after: Index,
        upto: Index,
    ) -> Option<impl Iterator<Item = &Entry>> {
        let last = self.log.last_index();
        assert!(upto <= last, "entries up to {upto}, of {last}");
        let entries = self.log.after(after).take_while(move |entry| entry.index <= upto);
        (after >= self.log.base_index()).then_some(entries)
    }

    /// The settings it was made with.
    pub fn config(&self) -> &RaftConfig {
        &self.config
    }

    /// Another node ought to lead from now on, or none in particular: see [`RaftConfig::preferred_leader`].
    pub fn set_preferred_leader(&mut self, node: Option<NodeId>) {
        self.config.preferred_leader = node;
    }

    /// What this replica is in its term.
    pub fn role(&self) -> RoleKind {
        self.role.kind()
    }

    /// The latest term seen; perhaps not durable yet.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// Term and vote; perhaps not durable yet.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Who leads in this term, as far as is known.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(follower) => follower.leader,
            Role::PreCandidate(_) | Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.config.node),
        }
    }

    /// The last entry known to be committed.
    pub fn commit_index(&self) -> Index {
        self.log.commit_index()
    }

    /// The last entry of the log; perhaps not durable yet.
    pub fn last_index(&self) -> Index {
        self.log.last_index()
    }

    /// The first entry still held in memory: what lies before it is applied.
    pub fn first_index(&self) -> Index {
        self.log.first_index()
    }

    /// The entry at `index`, if it is in memory.
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.log.entry(index)
    }

    /// Bytes of the entries in memory, about.
    pub fn entries_bytes(&self) -> usize {
        self.log.bytes()
    }

    /// The term of the entry at `index`, if that is in memory or directly before what is.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// Asserts what always holds between two steps.
    ///
    /// # Panics
    /// If something does not hold: a bug.
    pub fn check_invariants(&self) {
        self.log.check_invariants();
        let (term, last_term) = (self.hard_state.term, self.log.last_term());
        assert!(term >= last_term, "term {term}, but an entry of {last_term}");
        let vote = self.hard_state.vote;
        let follows = matches!(self.role, Role::Follower(_));
        assert!(follows || !self.is_provisional(), "{:?} in doubt", self.role.kind());
        match &self.role {
            Role::Follower(follower) => {
                assert_ne!(follower.leader, Some(self.config.node), "follows itself");
            }
            Role::PreCandidate(_) => {}
            Role::Candidate(_) => assert_eq!(vote, Some(self.config.node), "votes for itself"),
            Role::Leader(leader) => self.check_leader(leader),
        }
    }

    fn check_leader(&self, leader: &Leader) {
        let last = self.log.last_index();
        assert!(leader.durable_index <= last, "durable {}, last {last}", leader.durable_index);
        let wanted = self.wanted_peers();
        assert!(leader.peers.iter().map(|peer| peer.node).eq(wanted), "a progress per member");
        for peer in &leader.peers {
            peer.check_invariants(last);
        }
    }

    fn tick(&mut self, now: Time, output: &mut Output) {
        self.expire_waiters(now, output);
        self.survey_if_due(now, output);
        let stands = self.may_stand() && !self.is_content();
        match &mut self.role {
            Role::Follower(follower) => {
                let hangs = self.config.has(Bug::LostForwardedReadHangs);
                let unanswered = !hangs && follower.reads.expire(now, output);
                if stands && now >= follower.election_at {
                    self.miss_leader(now, output);
                } else if unanswered {
                    self.doubt_leader(now, output);
                }
            }
            Role::PreCandidate(candidacy) | Role::Candidate(candidacy) => {
                if now >= candidacy.election_at {
                    self.campaign(now, output);
                }
            }
            Role::Leader(leader) => {
                let lost_at = lost_quorum_at(&self.config, self.membership.current(), leader);
                if now >= lost_at {
                    return self.become_follower(now, None, output);
                }
                self.expire_transfer(now, output);
                if !self.maybe_fall_silent(now) {
                    self.send_due_heartbeats(now, output);
                }
            }
        }
    }

    /// Takes a message in. Source: Raft, figure 2, "Rules for servers"; what differs with pre-vote
    /// and check-quorum is etcd's `Step`.
    fn receive(&mut self, now: Time, message: Message, output: &mut Output) {
        if !self.is_admissible(&message) {
            return;
        }
        self.note_contact(now, message.from);
        self.wake(now);
        if self.is_abdication(&message) {
            self.leader_lost(now, output);
        }
        match message.term.cmp(&self.hard_state.term) {
            Ordering::Less if message.body.outlives_its_term() => {}
            Ordering::Less if self.counts_though_old(&message) => {}
            Ordering::Less => return self.answer_lower_term(now, &message, output),
            Ordering::Greater => {
                if self.is_undisturbed_by(now, &message) {
                    return self.answer_disturber(now, message.from, output);
                }
                if self.is_term_adopted_from(&message.body) {
                    let leader = message.body.is_from_leader().then_some(message.from);
                    self.adopt_term(now, message.term, leader, output);
                }
            }
            Ordering::Equal if self.is_promised_to_another(now, &message) => return,
            Ordering::Equal => {}
        }
        self.dispatch(now, message, output);
    }

    /// Whether the later term in a message is one to adopt.
    fn is_term_adopted_from(&self, body: &MessageBody) -> bool {
        match body {
            MessageBody::PreVote { .. } if self.config.has(Bug::PreVoteRaisesTerms) => true,
            MessageBody::PreVoteResponse { .. }
                if self.config.has(Bug::PreVoteRefusalTeachesNothing) =>
            {
                false
            }
            _ => body.moves_term(),
        }
    }

    /// Only bugs count what was said in an earlier term.
    fn counts_though_old(&self, message: &Message) -> bool {
        match message.body {
            MessageBody::VoteResponse { .. } => {
                self.config.has(Bug::OwnVoteOfAnyTerm) && message.from == self.config.node
            }
            MessageBody::AppendResponse { .. } => self.config.has(Bug::AckOfAnyTerm),
            _ => false,
        }
    }

    fn dispatch(&mut self, now: Time, message: Message, output: &mut Output) {
        let Message { from, term, body, .. } = message;
        match body {
            MessageBody::PreVote { last_index, last_term } => {
                self.handle_pre_vote(from, term, (last_index, last_term), output);
            }
            MessageBody::PreVoteResponse { granted } => {
                self.handle_pre_vote_response(now, from, term, granted, output);
            }
            MessageBody::Vote { last_index, last_term, .. } => {
                self.handle_vote(now, from, (last_index, last_term), output);
            }
            MessageBody::VoteResponse { granted } => {
                self.handle_vote_response(now, from, granted, output);
            }
            MessageBody::Append { previous_index, previous_term, commit_index, entries } => {
                let place = (previous_index, previous_term);
                self.handle_append(now, from, place, commit_index, entries, output);
            }
            MessageBody::AppendResponse { match_index, provisional } => {
                self.handle_append_response(now, from, match_index, provisional, output);
            }
            MessageBody::AppendReject { rejected_index, hint_index, hint_term, provisional } => {
                let rejection = Rejection { rejected_index, hint_index, hint_term, provisional };
                self.handle_append_reject(now, from, rejection, output);
            }
            MessageBody::Heartbeat { commit_index, round } => {
                self.handle_heartbeat(now, from, commit_index, round, output);
            }
            MessageBody::HeartbeatResponse {
                round,
                commit_index,
                promised,
                clock,
                provisional,
            } => {
                let answer = Heard { round, commit_index, promised, clock, provisional };
                self.handle_heartbeat_response(now, from, answer, output);
            }
            MessageBody::ReadIndex { request } => {
                self.handle_read_index(now, from, request, output);
            }
            MessageBody::ReadIndexResponse { request, index } => {
                self.handle_read_index_response(from, request, index, output);
            }
            MessageBody::TimeoutNow => self.handle_timeout_now(now, from, output),
            MessageBody::Propose { request, kind, payload } => {
                let forwarded = Forwarded { from, request, kind, payload };
                self.handle_propose(term, forwarded, output);
            }
            MessageBody::ProposeResponse { request, result } => {
                self.handle_propose_response(now, from, request, result, output);
            }
            MessageBody::WhoLeads => self.show_leadership(now, from, output),
            MessageBody::Survey { request } => self.handle_survey(from, request, output),
            MessageBody::SurveyResponse { request, standing } => {
                self.handle_survey_response(now, (from, term), request, standing, output);
            }
        }
    }

    /// Whether a message can be meant for this replica at all.
    ///
    /// A sender outside the configuration is heard: this replica's own configuration may be the
    /// one that is out of date. Whoever counts answers looks at the configuration.
    fn is_admissible(&self, message: &Message) -> bool {
        let own_vote = matches!(message.body, MessageBody::VoteResponse { .. });
        let node = self.config.node;
        message.to == node && (message.from != node || own_vote) && message.term <= TERM_MAX
    }

    /// Tells a sender that it is behind. A leader or candidate that was cut off for a while frees
    /// itself by it; without an answer a group with pre-vote can stay leaderless for ever
    /// (etcd#8501).
    fn answer_lower_term(&mut self, now: Time, message: &Message, output: &mut Output) {
        let body = match message.body {
            MessageBody::WhoLeads => return self.show_leadership(now, message.from, output),
            MessageBody::PreVote { .. } if self.config.has(Bug::LowerTermPreVoteUnanswered) => {
                return;
            }
            MessageBody::PreVote { .. } => MessageBody::PreVoteResponse { granted: false },
            MessageBody::Vote { .. } => MessageBody::VoteResponse { granted: false },
            _ if message.body.is_from_leader()
                && self.config.has(Bug::LowerTermLeaderUnanswered) =>
            {
                return;
            }
            MessageBody::Append { .. } | MessageBody::Heartbeat { .. } => {
                let commit_index = self.log.commit_index();
                MessageBody::HeartbeatResponse {
                    round: 0,
                    commit_index,
                    promised: Micros(0),
                    clock: now,
                    provisional: self.is_provisional(),
                }
            }
            MessageBody::ReadIndex { request } => {
                MessageBody::ReadIndexResponse { request, index: None }
            }
            _ => return,
        };
        output.messages_after_durable.push(self.message(message.from, body));
    }

    /// After a start: whoever ought to lead does not wait for long.
    fn wait_for_leader(&mut self, now: Time) {
        let preferred = self.config.preferred_leader == Some(self.config.node);
        let soon = preferred.then_some(self.config.heartbeat_interval);
        let election_at = now + soon.unwrap_or_else(|| self.random_election_timeout());
        self.role = Role::Follower(Follower { election_at, ..Follower::new(now) });
    }

    /// Becomes a follower in a later term.
    pub(super) fn adopt_term(
        &mut self,
        now: Time,
        term: Term,
        leader: Option<NodeId>,
        output: &mut Output,
    ) {
        self.leave_role(now, output);
        self.hard_state = HardState { term, vote: None };
        if !self.config.has(Bug::TermNotStored) {
            output.hard_state = Some(self.hard_state);
        }
        self.enter_follower(now, leader);
    }

    /// Becomes a follower in the current term.
    pub(super) fn become_follower(
        &mut self,
        now: Time,
        leader: Option<NodeId>,
        output: &mut Output,
    ) {
        self.leave_role(now, output);
        self.enter_follower(now, leader);
    }

    /// A follower without a leader keeps the election it already waits for: were it put off by
    /// every candidate's term, one that cannot win could keep all others from standing.
    fn enter_follower(&mut self, now: Time, leader: Option<NodeId>) {
        let election_at = match &self.role {
            Role::Follower(follower) if leader.is_none() => follower.election_at,
            _ => now + self.election_timeout_after(leader),
        };
        let leader_life = leader.and_then(|leader| self.liveness.life(leader));
        let follower = Follower::new(now);
        self.role = Role::Follower(Follower { leader, leader_life, election_at, ..follower });
    }

    /// Ends what depends on the role. Everything that waits gets its answer now, in this term.
    pub(super) fn leave_role(&mut self, now: Time, output: &mut Output) {
        match &mut self.role {
            Role::Follower(follower) => follower.reads.fail_all(output),
            Role::PreCandidate(_) | Role::Candidate(_) => {}
            Role::Leader(_) => {
                self.fail_read_rounds(output);
                self.waiters_lose_their_leader(now, output);
            }
        }
    }

    /// What happened to the link says what may have been lost on it.
    pub(super) fn peer_reset(&mut self, now: Time, peer: NodeId, output: &mut Output) {
        self.forwarding.reset(peer, output);
        self.survey_anew(peer, output);
        match &mut self.role {
            Role::Follower(follower) if follower.leader == Some(peer) => {
                follower.reads.fail_all(output);
            }
            Role::Follower(_) => {}
            Role::PreCandidate(_) | Role::Candidate(_) => self.ask_for_vote_again(peer, output),
            Role::Leader(_) => self.reset_peer(now, peer, output),
        }
    }

    pub(super) fn message(&self, to: NodeId, body: MessageBody) -> Message {
        Message { from: self.config.node, to, term: self.hard_state.term, body }
    }

    /// Sends an answer that says nothing of log or vote: it need not wait for the disk, unless the
    /// term it carries is new.
    pub(super) fn answer(&self, to: NodeId, body: MessageBody, output: &mut Output) {
        let message = self.message(to, body);
        if output.hard_state.is_some() {
            output.messages_after_durable.push(message);
        } else {
            output.messages.push(message);
        }
    }

    /// The leader's own state apart from what it only reads while sending; `None` if not leader.
    pub(super) fn as_leader(&mut self) -> Option<(&mut Leader, Sender<'_>)> {
        let Role::Leader(leader) = &mut self.role else { return None };
        let sender = Sender { config: &self.config, log: &self.log, term: self.hard_state.term };
        Some((leader, sender))
    }

    pub(super) fn random_election_timeout(&mut self) -> Micros {
        self.election_timeout_after(self.leader())
    }

    /// How long to wait before standing when `leader` falls silent. Source: Raft, section 9.3.
    pub(super) fn election_timeout_after(&mut self, leader: Option<NodeId>) -> Micros {
        let timeout = self.config.election_timeout.0;
        let random = self.random.u64(0..timeout.max(1));
        Micros(timeout + random + self.deference(leader).0)
    }

    fn lost_quorum_at(&self, leader: &Leader) -> Time {
        lost_quorum_at(&self.config, self.membership.current(), leader)
    }
}

/// When a leader that hears nothing more must step down. Source: thesis, section 6.2.
fn lost_quorum_at(config: &RaftConfig, members: &Configuration, leader: &Leader) -> Time {
    let silence_matters = config.check_quorum && !config.has(Bug::SilenceKeepsTheLeader);
    if !silence_matters || leader.quiet {
        return NEVER;
    }
    let heard_at = |node| {
        if node == config.node {
            return NEVER;
        }
        leader.peer(node).map_or(Time::default(), |peer: &Progress| peer.heard_at)
    };
    quorum::reached(members, heard_at).map_or(NEVER, |heard| heard + config.election_timeout)
}

pub(super) const NEVER: Time = Time(u64::MAX);

/// The highest term that a message can bring. Elections raise terms one by one, so none comes near it, and
/// what is left above is room for every election that is still to come.
const TERM_MAX: Term = Term(u64::MAX >> 1);

#[cfg(test)]
mod tests;
