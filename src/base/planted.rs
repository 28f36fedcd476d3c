//! Mistakes to be made on purpose in the log, the reactor, the state machine and the client; those of Raft are
//! in `raft::planted`.
//!
//! A test suite that has never failed shows little. With the Cargo feature `planted-bugs` the environment
//! variable `SUNSTAR_MISTAKE` names one of these, and the whole process makes it; the tests must find
//! every one:
//!
//! ```text
//! cargo test --no-default-features --features planted-bugs --test planted -- --nocapture
//! ```
//!
//! Without the feature [`makes`] is a constant `false`, and nothing of this is compiled. The feature
//! builds in no release profile.
//!
//! Not planted, since nothing comes of it: a batch's run left unchecked when it follows another. The run is in
//! the header that the chain is made of, so that a batch of an earlier life hangs on another one anyway.

/// A mistake to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "planted-bugs"),
    expect(unreachable_pub, reason = "public with the feature only")
)]
pub enum Mistake {
    // --- wal: writing ---
    /// A batch counts as durable when its own write completes, be those before it what they may.
    AcksOutOfOrder,
    /// A batch says that all issued before it were durable.
    DurableUptoOfIssued,
    /// No closing batch when the log falls idle: damage to the last one passes for a torn write.
    NoClosingBatch,
    /// The salt of a segment is that of every other: a recycled segment's old batches look like new ones.
    SaltReused,
    /// The next life of the process goes by the number of the last.
    RunReused,
    /// A segment that was given up is written over before a batch says so.
    RecycledTooSoon,
    /// A segment is given up before what freed it is durable.
    GivenUpTooSoon,
    /// One entry more than the snapshot covers is given up.
    TrimsTooFar,
    /// A new segment does not repeat the votes of the old ones.
    PreambleWithoutVotes,
    /// Nor the restarts of groups.
    PreambleWithoutResets,
    /// Nor the doubts.
    PreambleWithoutDoubts,

    // --- wal: reading ---
    /// Headers are believed whatever their checksum.
    HeaderUnchecked,
    /// Payloads are believed whatever their checksum.
    PayloadUnchecked,
    /// Batches of other segments' lives are believed.
    SaltUnchecked,
    /// A batch follows any that has the number before it.
    ChainUnchecked,
    /// Damage to what was durable is cut off like a torn write.
    DamageCutOff,
    /// Entries behind a lost one count.
    HolesIgnored,
    /// A reset drops nothing.
    ResetForgotten,
    /// Entries written again are not found.
    CopiesForgotten,
    /// An entry written again replaces what follows it, like one written first.
    CopyReplaces,
    /// A snapshot's parts are believed whatever the footer says of them.
    FooterUnchecked,

    // --- reactor ---
    /// What waits for a batch to be durable leaves when that is issued.
    ReleasedWhenIssued,
    /// A snapshot counts when its first piece is on the disk.
    SnapshotDoneTooSoon,
    /// A read is answered as soon as it is confirmed.
    ReadBeforeApplied,
    /// Writes are taken although the disk is full.
    WritesWhenFull,
    /// Leaders' entries use up the room that is kept for votes.
    ReserveUsedUp,
    /// Hashes of states are not compared.
    StatesNotCompared,
    /// A quarantined replica serves reads.
    QuarantinedServes,
    /// A damaged snapshot is taken for none.
    LostSnapshotIgnored,
    /// Answers of a replaced member's old disk count.
    AnyIncarnationCounts,
    /// A replica with a blank disk is sure that it never voted.
    BlankDiskVotes,
    /// A replica that left its group and comes back is sure of all that it has.
    LeavesWithoutDoubt,
    /// A waiting client is given the answer to another leader's entry in the place of its own.
    SettledByIndex,
    /// A leader that is none any more says that what it proposed will not happen.
    StepDownSettles,
    /// A replica reads what it has applied and asks nobody.
    ReadsUnasked,
    /// A shard map is gone by before it is durable.
    MapUnkept,
    /// A group takes the next epoch before it has done all of the last one.
    EpochBeginsTooSoon,
    /// A slot's old owner drops it before the new one serves it.
    DropsBeforeTaken,
    /// What changed in a slot while it was read out is not sent.
    SkipsLastRound,

    // --- kv ---
    /// A retry is executed again.
    RetryExecuted,
    /// A session's results are not in the snapshot.
    SnapshotWithoutResults,
    /// Time is the replica's, not the leader's.
    OwnTime,
    /// A retry's answer names the entry that it came in, not the one of its execution.
    RepeatedElsewhere,
    /// What a session has forgotten is executed.
    ForgottenExecuted,
    /// Of an atomic batch, what comes before the command that fails is done.
    HalfBatch,
    /// What is read out of a slot passes for the last of it, though it is served.
    FinalBeforeFrozen,
    /// A frozen slot is read.
    FrozenRead,
    /// An arrival that begins anew goes on with what came before.
    RestartKeepsContent,

    // --- client ---
    /// What was sent on a lost connection is not in doubt.
    DoubtForgotten,
    /// A later attempt's refusal is taken for the first one's.
    RefusalEndsDoubt,
    /// What was in doubt when its session ended is sent again in the next.
    ExpiryEndsDoubt,
    /// What was sent on a lost connection is sent again as something new.
    RetriedAsNew,
    /// A reply is taken for that of the first frame with as many commands.
    ReplyToAnyFrame,
    /// Groups may forget what is still awaited.
    AwaitedForgotten,
}

#[cfg(feature = "planted-bugs")]
impl Mistake {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::AcksOutOfOrder,
        Self::DurableUptoOfIssued,
        Self::NoClosingBatch,
        Self::SaltReused,
        Self::RunReused,
        Self::RecycledTooSoon,
        Self::GivenUpTooSoon,
        Self::TrimsTooFar,
        Self::PreambleWithoutVotes,
        Self::PreambleWithoutResets,
        Self::PreambleWithoutDoubts,
        Self::HeaderUnchecked,
        Self::PayloadUnchecked,
        Self::SaltUnchecked,
        Self::ChainUnchecked,
        Self::DamageCutOff,
        Self::HolesIgnored,
        Self::ResetForgotten,
        Self::CopiesForgotten,
        Self::CopyReplaces,
        Self::FooterUnchecked,
        Self::ReleasedWhenIssued,
        Self::SnapshotDoneTooSoon,
        Self::ReadBeforeApplied,
        Self::WritesWhenFull,
        Self::ReserveUsedUp,
        Self::StatesNotCompared,
        Self::QuarantinedServes,
        Self::LostSnapshotIgnored,
        Self::AnyIncarnationCounts,
        Self::BlankDiskVotes,
        Self::LeavesWithoutDoubt,
        Self::SettledByIndex,
        Self::StepDownSettles,
        Self::ReadsUnasked,
        Self::MapUnkept,
        Self::EpochBeginsTooSoon,
        Self::DropsBeforeTaken,
        Self::SkipsLastRound,
        Self::RetryExecuted,
        Self::SnapshotWithoutResults,
        Self::OwnTime,
        Self::RepeatedElsewhere,
        Self::ForgottenExecuted,
        Self::HalfBatch,
        Self::FinalBeforeFrozen,
        Self::FrozenRead,
        Self::RestartKeepsContent,
        Self::DoubtForgotten,
        Self::RefusalEndsDoubt,
        Self::ExpiryEndsDoubt,
        Self::RetriedAsNew,
        Self::ReplyToAnyFrame,
        Self::AwaitedForgotten,
    ];
}

#[cfg(feature = "planted-bugs")]
mod chosen {
    use std::sync::LazyLock;

    use super::Mistake;

    /// What `SUNSTAR_MISTAKE` names.
    static CHOSEN: LazyLock<Option<Mistake>> = LazyLock::new(|| {
        let name = std::env::var("SUNSTAR_MISTAKE").ok()?;
        let known = Mistake::ALL.iter().copied().find(|mistake| format!("{mistake:?}") == name);
        Some(known.unwrap_or_else(|| panic!("SUNSTAR_MISTAKE={name}: no such mistake")))
    });

    /// Whether this process makes `mistake`.
    pub(crate) fn makes(mistake: Mistake) -> bool {
        *CHOSEN == Some(mistake)
    }
}

#[cfg(feature = "planted-bugs")]
pub(crate) use chosen::makes;

/// Whether this process makes a mistake: no.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn makes(_: Mistake) -> bool {
    false
}
