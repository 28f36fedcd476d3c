//! Mistakes that implementations of Raft before this one made, to be made again on purpose.
//!
//! A test suite that has never failed shows little. With the Cargo feature `planted-bugs` each
//! mistake is a switch, `RaftConfig::planted`, and the suite must find every one of them; how
//! long that takes says how good the suite is:
//!
//! ```text
//! cargo test --no-default-features --features planted-bugs --test raft planted -- --nocapture
//! ```
//!
//! Without the feature [`RaftConfig::has`] is a constant `false`, and nothing of this is compiled.
//! The feature builds in no release profile. What counts the wrong voters is computed here, so that
//! the places where a bug is planted stay one line each.
//!
//! Not planted, since the shape of this library leaves no place for them: an out-of-date leader's
//! second answer counted twice in `quorum` (it asks each voter what it reached), a pre-candidate
//! that still has a leader (the role holds it), a message of one group given to another.

use std::borrow::Cow;

use super::{Configuration, RaftConfig};
use crate::base::NodeId;

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!("planted-bugs makes a replica lose data: never in a release");

/// A mistake to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "planted-bugs"),
    expect(unreachable_pub, reason = "public with the feature only")
)]
pub enum Bug {
    // --- persistence ---
    /// A vote leaves before it is durable (Raft, figure 2; hashicorp/raft#661): after a crash the
    /// voter votes again.
    VoteBeforeDurable,
    /// A request for votes leaves before the candidate's own vote is durable: after a crash it
    /// stands a second time in the same term.
    RequestBeforeDurable,
    /// An acknowledgement leaves before the entries are durable: what is committed is lost.
    AckBeforeDurable,
    /// A refusal leaves before the term it reveals is durable.
    RejectBeforeDurable,
    /// A vote is not handed out to be made durable.
    VoteNotStored,
    /// A new term is not handed out to be made durable.
    TermNotStored,
    /// The leader counts itself when it appends, not when its disk has the entry (etcd#14370).
    LeaderCountsUnwritten,
    /// A completion counts whatever term it speaks of (etcd, "append ABA race").
    CompletionOfAnyTerm,
    /// A completion that comes late takes back a later one (openraft#1960: a group of one hung).
    LateCompletionTakesBack,
    /// A candidate's own vote of an earlier term counts in this one.
    OwnVoteOfAnyTerm,

    // --- commit and append ---
    /// Entries of earlier terms commit by counting (Raft, section 5.4.2, figure 8).
    OldTermsCommitByCounting,
    /// A new leader appends nothing: what earlier terms left stays uncommitted.
    NoEntryOnTakingOffice,
    /// A follower commits as far as its log goes, beyond what the message proves (scylla#9965).
    FollowerCommitsItsTail,
    /// A heartbeat commits what the follower is not known to have (scylla#10578).
    HeartbeatCommitsUnproven,
    /// A follower acknowledges its whole log instead of what the message proves.
    AckOfWholeLog,
    /// An append before the commit index is refused, for ever (scylla#9552).
    RefusesBelowCommit,
    /// An append removes what follows it though no term conflicts.
    TruncatesWithoutConflict,
    /// An acknowledgement to an earlier term's leader counts.
    AckOfAnyTerm,
    /// A late refusal takes back what was acknowledged.
    RefusalBelowMatch,
    /// Appends that were lost are never sent again (etcd#14633).
    LostAppendsStayLost,
    /// A follower whose next entries are forgotten gets nothing (openraft#1828, raft PR#31).
    ForgottenEntriesNeedNoSnapshot,

    // --- elections ---
    /// A voter does not compare logs (Raft, section 5.4.1).
    VotesForShorterLogs,
    /// A voter votes for everyone who asks.
    VotesTwice,
    /// A question before the election raises the term of those asked.
    PreVoteRaisesTerms,
    /// A question of a lower term is not answered (etcd#8501).
    LowerTermPreVoteUnanswered,
    /// The later term in a refused question is not adopted (openraft#1796).
    PreVoteRefusalTeachesNothing,
    /// Answers to the question count as votes (scylla bd168d5).
    PreVotesCountAsVotes,
    /// Who asks does not answer others who ask (etcd#8334).
    PreCandidateAnswersNobody,
    /// A voter's second answer counts as another vote.
    DuplicateVotesCount,
    /// Votes of both halves of a joint configuration are counted together.
    JointVotesCountTogether,
    /// Learners' votes count.
    LearnersVotesCount,
    /// A leader of a lower term gets no answer: a node with a later one stays outside for ever.
    LowerTermLeaderUnanswered,
    /// A leader that hears from nobody leads on, though it was to step down.
    SilenceKeepsTheLeader,

    // --- transfer ---
    /// A successor is told to stand before it has the whole log.
    TransferToLaggingVoter,
    /// The request to stand is sent once, and waited for without end (openraft#1747).
    LostTransferHangs,

    // --- reads ---
    /// Reads are answered before the leader has committed in its term (etcd#7331, raft PR#105).
    ReadsBeforeCommitInTerm,
    /// Any answer confirms every read (etcd#20418).
    AnyAnswerConfirmsReads,
    /// One half of a joint configuration confirms reads.
    ReadsConfirmedByOneHalf,
    /// A forwarded read whose question or answer was lost waits for ever.
    LostForwardedReadHangs,

    // --- configuration ---
    /// Entries of both halves of a joint configuration are counted together.
    JointEntriesCountTogether,
    /// Learners count for commitment.
    LearnersCount,
    /// A leader outside the configuration counts itself.
    RemovedLeaderCountsItself,
    /// A leader outside the configuration leads on.
    RemovedLeaderStays,
    /// The configuration stays in force when its entry is removed.
    ConfigurationNotRolledBack,
    /// A change begins before the leader has committed in its term.
    ChangeBeforeCommitInTerm,
    /// A change begins while another is under way.
    TwoChangesAtOnce,
    /// A voter that is being removed does not stand (scylla 7533c84).
    RemovedVoterMayNotStand,

    // --- snapshots ---
    /// A snapshot at or below the commit index is installed.
    OldSnapshotInstalled,
    /// The configuration in a snapshot is ignored.
    SnapshotWithoutConfiguration,
    /// The log keeps, beyond a snapshot, what does not follow it.
    SnapshotKeepsTheLog,
    /// A snapshot that was lost is not sent again.
    LostSnapshotStaysLost,

    // --- leases ---
    /// A lease begins when an answer comes, not when its round began.
    LeaseFromReceipt,
    /// A lease outlives the request to a successor to stand (etcd#12704, openraft#1749).
    LeaseKeptOnTransfer,
    /// A lease lasts as long as the promises by any clock.
    LeaseAsLongAsPromise,
    /// The bound on clocks is believed, whatever they show.
    ClocksNotCompared,
    /// A voter gives its vote away although it promised not to.
    LeaseNeedsNoPromise,
    /// A restarted voter does not wait until what it may have promised is over.
    RestartedVoterVotesAtOnce,

    // --- doubt ---
    /// A replica votes although it may have voted already, and forgotten it.
    VotesInDoubt,
    /// What a replica in doubt acknowledges counts.
    ProvisionalAcksCount,
    /// Doubt ends without a survey of the terms.
    DoubtNeedsNoSurvey,
    /// An answer to an earlier life's survey counts.
    AnySurveyCounts,
    /// A replica whose disk is blank takes this for its first start.
    BlankReplicaVotesAtOnce,
    /// A blank replica takes any configuration that names its incarnation for a new beginning,
    /// though it may have voted by that name.
    NamedReplicaIsCertain,

    // --- liveness ---
    /// The loss of a leader of a quiet group goes unnoticed (tikv#16429).
    QuietLeaderStays,
    /// A leader whose process came back is taken for alive.
    AnotherLifeLeads,

    // --- waiting ---
    /// A copy of a forwarded proposal is proposed again.
    CopiesAreProposedAgain,
    /// Who waits for an answer that was lost waits for ever (openraft#1747).
    WaiterHangs,
}

#[cfg(feature = "planted-bugs")]
impl Bug {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::VoteBeforeDurable,
        Self::RequestBeforeDurable,
        Self::AckBeforeDurable,
        Self::RejectBeforeDurable,
        Self::VoteNotStored,
        Self::TermNotStored,
        Self::LeaderCountsUnwritten,
        Self::CompletionOfAnyTerm,
        Self::LateCompletionTakesBack,
        Self::OwnVoteOfAnyTerm,
        Self::OldTermsCommitByCounting,
        Self::NoEntryOnTakingOffice,
        Self::FollowerCommitsItsTail,
        Self::HeartbeatCommitsUnproven,
        Self::AckOfWholeLog,
        Self::RefusesBelowCommit,
        Self::TruncatesWithoutConflict,
        Self::AckOfAnyTerm,
        Self::RefusalBelowMatch,
        Self::LostAppendsStayLost,
        Self::ForgottenEntriesNeedNoSnapshot,
        Self::VotesForShorterLogs,
        Self::VotesTwice,
        Self::PreVoteRaisesTerms,
        Self::LowerTermPreVoteUnanswered,
        Self::PreVoteRefusalTeachesNothing,
        Self::PreVotesCountAsVotes,
        Self::PreCandidateAnswersNobody,
        Self::DuplicateVotesCount,
        Self::JointVotesCountTogether,
        Self::LearnersVotesCount,
        Self::LowerTermLeaderUnanswered,
        Self::SilenceKeepsTheLeader,
        Self::TransferToLaggingVoter,
        Self::LostTransferHangs,
        Self::ReadsBeforeCommitInTerm,
        Self::AnyAnswerConfirmsReads,
        Self::ReadsConfirmedByOneHalf,
        Self::LostForwardedReadHangs,
        Self::JointEntriesCountTogether,
        Self::LearnersCount,
        Self::RemovedLeaderCountsItself,
        Self::RemovedLeaderStays,
        Self::ConfigurationNotRolledBack,
        Self::ChangeBeforeCommitInTerm,
        Self::TwoChangesAtOnce,
        Self::RemovedVoterMayNotStand,
        Self::OldSnapshotInstalled,
        Self::SnapshotWithoutConfiguration,
        Self::SnapshotKeepsTheLog,
        Self::LostSnapshotStaysLost,
        Self::LeaseFromReceipt,
        Self::ClocksNotCompared,
        Self::LeaseKeptOnTransfer,
        Self::LeaseAsLongAsPromise,
        Self::LeaseNeedsNoPromise,
        Self::RestartedVoterVotesAtOnce,
        Self::VotesInDoubt,
        Self::ProvisionalAcksCount,
        Self::DoubtNeedsNoSurvey,
        Self::AnySurveyCounts,
        Self::BlankReplicaVotesAtOnce,
        Self::NamedReplicaIsCertain,
        Self::QuietLeaderStays,
        Self::AnotherLifeLeads,
        Self::CopiesAreProposedAgain,
        Self::WaiterHangs,
    ];
}

impl RaftConfig {
    /// Whether this mistake is to be made.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn has(&self, bug: Bug) -> bool {
        self.planted == Some(bug)
    }

    /// Whether this mistake is to be made: no.
    #[cfg(not(feature = "planted-bugs"))]
    #[expect(clippy::unused_self, reason = "the same call with and without the feature")]
    pub(super) const fn has(&self, _: Bug) -> bool {
        false
    }

    /// Whose votes count: those of `members`, unless a bug says otherwise.
    pub(super) fn electors<'a>(&self, members: &'a Configuration) -> Cow<'a, Configuration> {
        if self.has(Bug::JointVotesCountTogether) {
            return Cow::Owned(together(members));
        }
        if self.has(Bug::LearnersVotesCount) {
            return Cow::Owned(with_voters(members, members.learners.iter().copied()));
        }
        Cow::Borrowed(members)
    }

    /// Whose copies count: those of `members`, unless a bug says otherwise.
    pub(super) fn keepers<'a>(&self, members: &'a Configuration) -> Cow<'a, Configuration> {
        if self.has(Bug::JointEntriesCountTogether) {
            return Cow::Owned(together(members));
        }
        if self.has(Bug::LearnersCount) {
            return Cow::Owned(with_voters(members, members.learners.iter().copied()));
        }
        if self.has(Bug::RemovedLeaderCountsItself) {
            return Cow::Owned(with_voters(members, [self.node]));
        }
        Cow::Borrowed(members)
    }

    /// Who confirms a leadership: `members`, unless a bug says otherwise.
    pub(super) fn witnesses<'a>(&self, members: &'a Configuration) -> Cow<'a, Configuration> {
        if self.has(Bug::ReadsConfirmedByOneHalf) {
            return Cow::Owned(Configuration::new(members.voters.iter().copied()));
        }
        Cow::Borrowed(members)
    }
}

fn together(members: &Configuration) -> Configuration {
    Configuration::new(members.voters.iter().chain(&members.outgoing).copied())
}

fn with_voters(members: &Configuration, more: impl IntoIterator<Item = NodeId>) -> Configuration {
    let voters = members.voters.iter().copied().chain(more);
    Configuration { outgoing: members.outgoing.clone(), ..Configuration::new(voters) }
}
