//! What a log keeps of a group: entries, hard states, restarts.

use super::damage::Loss;
use super::field::{put, u32_at, u64_at};
use crate::base::{Bytes, GroupId, Index, Mistake, NodeId, Term, WallTime, makes};

/// One entry of a group's Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRecord {
    /// The term of the leader that appended it.
    pub term: Term,
    /// Its position in the group's log.
    pub index: Index,
    /// The leader's time stamp.
    pub timestamp: WallTime,
    /// What it is for; opaque here.
    pub kind: u8,
    /// Its bytes; opaque here.
    pub payload: Bytes,
}

/// What a replica must not forget beside its entries. Source: Raft, figure 2, "Persistent state".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardStateRecord {
    /// The latest term seen.
    pub term: Term,
    /// Who got this replica's vote in it.
    pub vote: Option<NodeId>,
}

/// The last entry that an installed snapshot covers: the group's log restarts after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMark {
    /// The entry's position.
    pub index: Index,
    /// The entry's term.
    pub term: Term,
}

/// What a group's replica may have forgotten, noted until its peers have made up for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoubtRecord {
    /// Of what: [`Self::ENTRIES`], [`Self::VOTES`] or [`Self::EVERYTHING`].
    pub kind: u8,
    /// The group's log goes on after this entry: what was read behind it is dropped. The highest
    /// there is: nothing is.
    pub resume_after: Index,
}

impl DoubtRecord {
    /// Entries it acknowledged.
    pub const ENTRIES: u8 = 1;
    /// Votes it gave, and perhaps entries.
    pub const VOTES: u8 = 2;
    /// All of it, if there was anything: the disk was blank.
    pub const EVERYTHING: u8 = 3;

    /// What a group is in doubt about that left, `before` being what it was in doubt about then.
    pub fn of_retired(before: Option<Self>) -> Option<Self> {
        let entries = Self { kind: Self::ENTRIES, resume_after: Index(u64::MAX) };
        before.or(Some(entries).filter(|_| !makes(Mistake::LeavesWithoutDoubt)))
    }
}

/// One record of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupRecord {
    pub(super) group: GroupId,
    pub(super) record: Record,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// An entry; one at or below an earlier index replaces everything from there on.
    Entry(EntryRecord),
    /// An entry that is in the log already, written again so that the segment it lies in can be given
    /// up: replaces nothing, and changes nothing of what the log says.
    Copy(EntryRecord),
    /// The hard state from here on.
    HardState(HardStateRecord),
    /// All earlier entries are gone; the log restarts after the mark.
    Reset(SnapshotMark),
    /// A reset that happened before this segment, repeated in its preamble; entries stay. Where that
    /// reset is lost, this one does what it did.
    Standing(SnapshotMark),
    /// The group is not held here any more: all earlier entries are gone, the hard state stays. Ends
    /// with the next reset, but for the doubt: what it had acknowledged is forgotten.
    Retired,
    /// The group's replica may have forgotten something; and one loss that was known when it was written:
    /// damage done since is not.
    Doubt(DoubtRecord, Loss),
    /// It has forgotten nothing any more that matters.
    Certain,
}

impl GroupRecord {
    /// Bytes that the record takes in a batch.
    pub(super) fn length(&self) -> usize {
        DESCRIPTOR_BYTES + self.payload().len()
    }

    /// Whether it is an entry written again.
    pub(super) fn is_copy(&self) -> bool {
        matches!(self.record, Record::Copy(_))
    }

    /// The record's bytes in the payload section.
    pub(super) fn payload(&self) -> &[u8] {
        match &self.record {
            Record::Entry(entry) | Record::Copy(entry) => &entry.payload,
            _ => &[],
        }
    }

    /// The record's line in the descriptor table.
    pub(super) fn descriptor(&self) -> [u8; DESCRIPTOR_BYTES] {
        let (kind, term, index) = match &self.record {
            Record::Entry(entry) => (KIND_ENTRY, entry.term, entry.index.0),
            Record::Copy(entry) => (KIND_COPY, entry.term, entry.index.0),
            Record::HardState(state) => {
                (KIND_HARD_STATE, state.term, state.vote.map_or(0, |vote| vote.0))
            }
            Record::Reset(mark) => (KIND_RESET, mark.term, mark.index.0),
            Record::Standing(mark) => (KIND_STANDING, mark.term, mark.index.0),
            Record::Retired => (KIND_RETIRED, Term(0), 0),
            Record::Doubt(doubt, _) => (KIND_DOUBT, Term(0), doubt.resume_after.0),
            Record::Certain => (KIND_CERTAIN, Term(0), 0),
        };
        let mut bytes = [0; DESCRIPTOR_BYTES];
        put(&mut bytes, AT_GROUP, &self.group.0.to_le_bytes());
        bytes[AT_KIND] = kind;
        put(&mut bytes, AT_TERM, &term.0.to_le_bytes());
        put(&mut bytes, AT_INDEX, &index.to_le_bytes());
        if let Record::Doubt(doubt, loss) = &self.record {
            bytes[AT_ENTRY_KIND] = doubt.kind;
            put(&mut bytes, AT_TIMESTAMP, &loss.0.to_le_bytes());
        }
        if let Record::Entry(entry) | Record::Copy(entry) = &self.record {
            let length = u32::try_from(entry.payload.len()).expect("an entry fits a segment");
            bytes[AT_ENTRY_KIND] = entry.kind;
            put(&mut bytes, AT_TIMESTAMP, &entry.timestamp.0.to_le_bytes());
            put(&mut bytes, AT_LENGTH, &length.to_le_bytes());
        }
        bytes
    }
}

/// A line of the descriptor table, as read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor<'a>(pub(super) &'a [u8]);

impl Descriptor<'_> {
    /// The group.
    pub(super) fn group(self) -> GroupId {
        GroupId(u32_at(self.0, AT_GROUP))
    }

    /// The entry's index, if it is an entry, be it written again.
    pub(super) fn entry_index(self) -> Option<Index> {
        matches!(self.0[AT_KIND], KIND_ENTRY | KIND_COPY).then(|| self.index())
    }

    /// Whether it is an entry written again.
    pub(super) fn is_copy(self) -> bool {
        self.0[AT_KIND] == KIND_COPY
    }

    /// Whether it says that something may be forgotten.
    pub(super) fn is_doubt(self) -> bool {
        self.0[AT_KIND] == KIND_DOUBT
    }

    /// Bytes in the payload section.
    pub(super) fn payload_length(self) -> usize {
        u32_at(self.0, AT_LENGTH) as usize
    }

    /// The record, or nothing if its kind is unknown.
    pub(super) fn record(self, payload: &[u8]) -> Option<GroupRecord> {
        let record = match self.0[AT_KIND] {
            KIND_ENTRY => Record::Entry(self.entry(payload)),
            KIND_COPY => Record::Copy(self.entry(payload)),
            KIND_HARD_STATE => Record::HardState(HardStateRecord {
                term: self.term(),
                vote: (self.index().0 != 0).then(|| NodeId(self.index().0)),
            }),
            KIND_RESET => Record::Reset(self.mark()),
            KIND_STANDING => Record::Standing(self.mark()),
            KIND_RETIRED => Record::Retired,
            KIND_DOUBT => {
                let doubt = DoubtRecord { kind: self.0[AT_ENTRY_KIND], resume_after: self.index() };
                Record::Doubt(doubt, Loss(u64_at(self.0, AT_TIMESTAMP)))
            }
            KIND_CERTAIN => Record::Certain,
            _ => return None,
        };
        Some(GroupRecord { group: self.group(), record })
    }

    fn entry(self, payload: &[u8]) -> EntryRecord {
        EntryRecord {
            term: self.term(),
            index: self.index(),
            timestamp: self.timestamp(),
            kind: self.entry_kind(),
            payload: Bytes::copy_of(payload),
        }
    }

    /// What it is, for people.
    pub(super) fn kind_name(self) -> &'static str {
        match self.0[AT_KIND] {
            KIND_ENTRY => "entry",
            KIND_COPY => "copy",
            KIND_HARD_STATE => "hard state",
            KIND_RESET => "reset",
            KIND_STANDING => "standing reset",
            KIND_RETIRED => "retired",
            KIND_DOUBT => "doubt",
            KIND_CERTAIN => "certain",
            _ => "unknown",
        }
    }

    /// What an entry is for; of a doubt, what may be forgotten.
    pub(super) fn entry_kind(self) -> u8 {
        self.0[AT_ENTRY_KIND]
    }

    /// An entry's time stamp.
    pub(super) fn timestamp(self) -> WallTime {
        WallTime(u64_at(self.0, AT_TIMESTAMP))
    }

    fn mark(self) -> SnapshotMark {
        SnapshotMark { index: self.index(), term: self.term() }
    }

    /// The term.
    pub(super) fn term(self) -> Term {
        Term(u64_at(self.0, AT_TERM))
    }

    /// The index, or what stands in its place.
    pub(super) fn index(self) -> Index {
        Index(u64_at(self.0, AT_INDEX))
    }
}

/// Bytes of a line of the descriptor table.
pub(super) const DESCRIPTOR_BYTES: usize = 40;

const AT_GROUP: usize = 0;
const AT_KIND: usize = 4;
const AT_ENTRY_KIND: usize = 5;
const AT_TERM: usize = 8;
const AT_INDEX: usize = 16;
const AT_TIMESTAMP: usize = 24;
const AT_LENGTH: usize = 32;

const KIND_ENTRY: u8 = 1;
const KIND_HARD_STATE: u8 = 2;
const KIND_RESET: u8 = 3;
const KIND_STANDING: u8 = 4;
const KIND_RETIRED: u8 = 5;
const KIND_COPY: u8 = 6;
const KIND_DOUBT: u8 = 7;
const KIND_CERTAIN: u8 = 8;
