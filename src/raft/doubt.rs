//! Doubt: a replica whose disk may have forgotten what this replica said.
//!
//! Raft rests on replicas that remember. One that forgot an entry it acknowledged may help to elect
//! a leader without it; one that forgot a vote may give a second one. Where the host knows that
//! something may be gone, since a log or a snapshot is damaged or the disk is blank, it starts the replica
//! in doubt (`Stored::doubt`). Such a replica takes entries in as ever, so that its peers repair it; but
//! it neither stands nor votes, and what it answers is *provisional*: its leader counts it nowhere, not
//! for commitment, reads, leases or check-quorum, nor as a successor or as one that has caught up.
//!
//! ```text
//!   in doubt ──Survey──▶ every other voter, and the leader
//!            ◀─SurveyResponse── term; whether it is certain of its own; a leader: where its log ends
//!            ◀─entries── until the log matches the leader's up to there ──▶ certain
//! ```
//!
//! # Why it may end
//! *Votes.* Whoever got a forgotten vote had made that vote's term durable before it asked. So a survey
//! of all voters, each of them certain of its own term, finds a term at least as high. This replica adopts
//! the highest, and leaves doubt with its vote in that term given to itself: in all terms up to it, it
//! votes for nobody any more. (Candidates that are no voters of its configuration cannot win. They
//! would need a majority of an earlier configuration, all of whom refuse who lacks the change that
//! came after it; or one of a later configuration, whose making raised the term of voters surveyed here.)
//!
//! *Entries.* A leader of the term so found holds everything that earlier leaders may commit, this
//! replica's forgotten acknowledgements counted (leader completeness: it was elected before they were
//! forgotten, or by a majority that did not need this replica), and all that it sent itself. Where its log
//! ends *when it is asked* is therefore not before anything that a forgotten acknowledgement speaks of;
//! its commit index would not do, since acknowledgements may still be on their way to it. Once this
//! log has the leader's last entry of then, it has all before it too (log matching).
//!
//! *Answers* count only if they are answers to this life's question, by its number: what was said before
//! the disk forgot, and came late, says nothing.
//!
//! *A first start.* Where all disks are blank nobody leads, and there is nothing to match. A replica
//! that began blank is certain as soon as every other voter says that it is blank too: it is in doubt
//! for the same reason, or it is in no term and has no entry. Then nobody ever had a vote of this replica's.
//! It tells the others, since whoever is to lead can win only when a majority is certain.
//!
//! *Another incarnation.* A disk that was formatted anew is another server than the one whose acts are
//! forgotten (`replacement`): what that one said is counted together with nothing that this one says.
//! And it has said nothing itself, having been in doubt since its first day. So a blank replica need not
//! ask every voter once a committed configuration names its own incarnation. To be safe even where a
//! host calls a disk by the same name that has forgotten everything, it matches its leader's log all the
//! same, and must find itself no voter there: then it has never been one by this name, or is one no
//! longer, and that is committed. Whoever stood by a configuration in which it voted would lack this one,
//! and is refused by those who committed it, this replica now among them.
//!
//! # What it costs
//! A group in which too few are certain has no leader. Two replicas that doubt their votes wait for
//! each other; a member that is gone for good is waited for, until it is removed. Both are for an operator
//! to decide on. The first start of a group takes all its voters, once.
//!
//! Source: "Protocol-Aware Recovery for Consensus-Based Storage" (FAST '18), whose faulty replicas
//! do not vote either; the survey is this library's own.

use super::planted::Bug;
use super::replica::NEVER;
use super::role::Role;
use super::{MessageBody, Output, Raft};
use crate::base::{Index, NodeId, Term, Time};

/// What a replica that starts may have forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Entries that it acknowledged. Term and vote are known.
    Entries,
    /// Votes that it gave, and perhaps entries.
    Votes,
    /// All of it, if there was anything: the disk is blank. So it is at a first start.
    Blank,
}

/// A replica's way out of doubt.
#[derive(Debug)]
pub(super) struct Doubting {
    doubt: Doubt,
    /// The number of this life's question.
    request: u64,
    /// Voters that have answered and are certain of their terms.
    certain: Vec<NodeId>,
    /// Voters that have answered and are blank.
    blank: Vec<NodeId>,
    /// Where the log must be once more. Counts in the term of the leader that said so.
    mark: Option<Mark>,
    /// The leader's term in which it was last asked for the mark.
    asked_in: Term,
    /// When to ask again those who have not answered.
    ask_at: Time,
    /// Voters that were asked because they asked: once on each link, or two would ask each other in
    /// circles while their disks are slow.
    asked_back: Vec<NodeId>,
}

/// The last entry of a leader's log, when it was asked.
#[derive(Clone, Copy, Debug)]
struct Mark {
    leader_term: Term,
    term: Term,
    index: Index,
}

/// What a replica says of itself when it is asked, or became certain at a first start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// It has forgotten no term.
    pub certain: bool,
    /// It has never been in a term, or would not know.
    pub blank: bool,
    /// Of a leader: the last entry's term and index.
    pub last: Option<(Term, Index)>,
}

impl Doubting {
    pub(super) fn new(now: Time, doubt: Doubt, request: u64) -> Self {
        Self {
            doubt,
            request,
            certain: Vec::new(),
            blank: Vec::new(),
            mark: None,
            asked_in: Term::default(),
            ask_at: now,
            asked_back: Vec::new(),
        }
    }

    fn note(&mut self, from: NodeId, standing: Standing) {
        let Standing { certain, blank, .. } = standing;
        for (heard, says_so) in [(&mut self.certain, certain), (&mut self.blank, blank)] {
            if says_so && !heard.contains(&from) {
                heard.push(from);
            }
        }
    }

    /// Whether nothing more is to be learnt from this voter.
    fn has_heard(&self, voter: NodeId) -> bool {
        match self.doubt {
            Doubt::Entries => true,
            Doubt::Votes | Doubt::Blank => self.certain.contains(&voter),
        }
    }
}

impl Raft {
    /// What this replica may have forgotten; nothing once its peers have made it certain.
    pub fn doubt(&self) -> Option<Doubt> {
        self.doubting.as_ref().map(|doubting| doubting.doubt)
    }

    /// Whether answers are to be counted by nobody.
    pub(super) fn is_provisional(&self) -> bool {
        self.doubting.is_some()
    }

    /// When the next question is due.
    pub(super) fn survey_due(&self) -> Time {
        let Some(doubting) = &self.doubting else { return NEVER };
        // Without members there is nobody to ask before a leader writes.
        let knows_any = self.leader().is_some() || !self.configuration().voters.is_empty();
        if knows_any { doubting.ask_at } else { NEVER }
    }

    /// Asks all that have something to say and have not said it. At a tick.
    pub(super) fn survey_if_due(&mut self, now: Time, output: &mut Output) {
        let next = now + self.config.election_timeout;
        let Some(doubting) = self.doubting.as_mut().filter(|it| it.ask_at <= now) else { return };
        doubting.ask_at = next;
        self.look_for_leader(now, output);
        let Some(doubting) = &self.doubting else { return };
        let wanted = |voter: &NodeId| !doubting.has_heard(*voter);
        let voters = self.membership.current().other_voters(self.config.node);
        let unheard: Vec<NodeId> = voters.filter(wanted).collect();
        let leader = self.leader().filter(|leader| !self.has_mark() && !unheard.contains(leader));
        for peer in unheard.into_iter().chain(leader) {
            self.survey(peer, output);
        }
    }

    /// After every step: asks a leader that is new, and ends the doubt if there is no more reason.
    pub(super) fn reconsider_doubt(&mut self, now: Time, output: &mut Output) {
        let (leader, term, marked) = (self.leader(), self.hard_state.term, self.has_mark());
        let Some(doubting) = &mut self.doubting else { return };
        if let Some(leader) = leader.filter(|_| !marked && doubting.asked_in < term) {
            doubting.asked_in = term;
            self.survey(leader, output);
        }
        if self.all_began_blank() {
            self.end_doubt(now, output);
            self.begin_certain(now, output);
        } else if (self.is_surveyed() || self.is_another_server())
            && let Some(matched) = self.matched_mark()
        {
            self.end_doubt(now, output);
            if let Some(leader) = self.leader() {
                self.acknowledge(leader, matched, output);
            }
        }
    }

    /// The link to a peer is new: what it was asked may be lost.
    pub(super) fn survey_anew(&mut self, peer: NodeId, output: &mut Output) {
        if let Some(doubting) = &mut self.doubting {
            doubting.asked_back.retain(|asked| *asked != peer);
        }
        self.survey_again(peer, output);
    }

    /// Whoever asks can answer now, which it perhaps could not when it was asked.
    fn ask_back(&mut self, peer: NodeId, output: &mut Output) {
        let unheard = self.unheard().any(|voter| voter == peer);
        if let Some(doubting) = self.doubting.as_mut().filter(|it| !it.asked_back.contains(&peer))
            && unheard
        {
            doubting.asked_back.push(peer);
            self.survey(peer, output);
        }
    }

    fn survey_again(&self, peer: NodeId, output: &mut Output) {
        let voter = self.membership.current().is_voter(peer);
        let unheard = self.doubting.as_ref().is_some_and(|it| voter && !it.has_heard(peer));
        let wanted = self.leader() == Some(peer) && !self.has_mark();
        if self.is_provisional() && (unheard || wanted) {
            self.survey(peer, output);
        }
    }

    /// A peer is in doubt. What it is told must be durable, as in any answer.
    pub(super) fn handle_survey(&mut self, from: NodeId, request: u64, output: &mut Output) {
        let leads = matches!(self.role, Role::Leader(_));
        if let Role::Leader(leader) = &mut self.role
            && let Some(peer) = leader.peer_mut(from)
        {
            // Keeps a group awake that would have nothing to say to it.
            peer.in_doubt = true;
        }
        let last = (self.log.last_term(), self.log.last_index());
        let (certain, blank) = match self.doubt() {
            None => (true, self.hard_state.term == Term(0) && last.1 == Index::ZERO),
            Some(Doubt::Entries) => (true, false),
            Some(Doubt::Votes) => (false, false),
            Some(Doubt::Blank) => (false, true),
        };
        let standing = Standing { certain, blank, last: leads.then_some(last) };
        let body = MessageBody::SurveyResponse { request, standing };
        output.messages_after_durable.push(self.message(from, body));
        self.ask_back(from, output);
    }

    /// `term`: the sender's, adopted by now if it was higher.
    pub(super) fn handle_survey_response(
        &mut self,
        now: Time,
        (from, term): (NodeId, Term),
        request: u64,
        standing: Standing,
        output: &mut Output,
    ) {
        if request == UNASKED {
            // What was asked of it may be lost: its answer counts, not this.
            self.survey_again(from, output);
            return self.stand_if_preferred(now, output);
        }
        let any = self.config.has(Bug::AnySurveyCounts);
        let current = self.hard_state.term;
        let Some(doubting) = self.doubting.as_mut().filter(|it| any || it.request == request)
        else {
            return;
        };
        doubting.note(from, standing);
        if let Some((last_term, index)) = standing.last.filter(|_| term == current) {
            doubting.mark = Some(Mark { leader_term: term, term: last_term, index });
        }
    }

    fn survey(&self, to: NodeId, output: &mut Output) {
        let Some(doubting) = &self.doubting else { return };
        self.answer(to, MessageBody::Survey { request: doubting.request }, output);
    }

    /// Whether the leader of this term has said where its log ends.
    fn has_mark(&self) -> bool {
        let mark = self.doubting.as_ref().and_then(|doubting| doubting.mark);
        mark.is_some_and(|mark| mark.leader_term == self.hard_state.term)
    }

    /// Whether this replica is in a term as high as any it may have voted in.
    fn is_surveyed(&self) -> bool {
        let Some(doubting) = &self.doubting else { return true };
        let mut voters = self.membership.current().other_voters(self.config.node);
        voters.all(|voter| doubting.has_heard(voter)) || self.config.has(Bug::DoubtNeedsNoSurvey)
    }

    /// Whether what is forgotten was said by another server than this one, of the same node's name.
    fn is_another_server(&self) -> bool {
        let (own, incarnation) = (self.config.node, self.config.incarnation);
        let members = self.membership.current();
        self.doubt() == Some(Doubt::Blank)
            && self.is_configuration_committed()
            && incarnation.is_some()
            && members.incarnation_of(own) == incarnation
            && (!members.is_voter(own) || self.config.has(Bug::NamedReplicaIsCertain))
    }

    /// The leader's last entry of when it was asked, if that is here.
    fn matched_mark(&self) -> Option<Index> {
        let mark = self.doubting.as_ref()?.mark?;
        let here = mark.index <= self.log.commit_index() || self.log.matches(mark.index, mark.term);
        Some(mark.index).filter(|_| here && self.has_mark())
    }

    /// Whether nobody can have a vote or an acknowledgement of this replica's.
    fn all_began_blank(&self) -> bool {
        let Some(doubting) = &self.doubting else { return false };
        let members = self.membership.current();
        let mut others = members.other_voters(self.config.node);
        doubting.doubt == Doubt::Blank
            && members.is_voter(self.config.node)
            && others.all(|voter| doubting.blank.contains(&voter))
    }

    /// Voters of which this replica has not heard what it needs to be certain.
    pub fn unheard(&self) -> impl Iterator<Item = NodeId> + '_ {
        let voters = self.membership.current().other_voters(self.config.node);
        voters.filter(|voter| {
            let heard =
                |doubting: &Doubting| doubting.has_heard(*voter) || doubting.blank.contains(voter);
            self.doubting.as_ref().is_some_and(|doubting| !heard(doubting))
        })
    }

    /// A first start: the others are told, and whoever is to lead stands.
    fn begin_certain(&mut self, now: Time, output: &mut Output) {
        for voter in self.membership.current().other_voters(self.config.node) {
            let standing = Standing { certain: true, blank: true, last: None };
            let body = MessageBody::SurveyResponse { request: UNASKED, standing };
            output.messages_after_durable.push(self.message(voter, body));
        }
        self.stand_if_preferred(now, output);
    }

    /// At a first start nobody leads who could be missed: the replica that ought to lead waits for no
    /// timeout, but stands whenever one more is certain.
    fn stand_if_preferred(&mut self, now: Time, output: &mut Output) {
        let preferred = self.config.preferred_leader == Some(self.config.node);
        if preferred && self.hard_state.term == Term(0) {
            self.campaign(now, output);
        }
    }

    /// Nothing of what was forgotten can do harm any more.
    fn end_doubt(&mut self, now: Time, output: &mut Output) {
        let Some(Doubting { doubt, .. }) = self.doubting.take() else { return };
        if doubt != Doubt::Entries {
            if self.hard_state.term > Term(0) {
                // Perhaps this very term's vote was given: it is nobody's now.
                self.hard_state.vote = self.hard_state.vote.or(Some(self.config.node));
            }
            // In term 0 too: it shows that this disk is blank no more.
            output.hard_state = Some(self.hard_state);
        }
        output.doubt_ended = true;
        self.keep_calm(now);
    }
}

/// The number of an answer that nobody asked for: the sender has become certain at a first start.
const UNASKED: u64 = 0;
