//! A state frozen at one entry, written out in pieces while the machine goes on.
//!
//! The bytes are laid out in `schema/state.md`. They are the same on every replica.

use std::rc::Rc;

use super::annex::Annex;
use super::machine::Applied;
use super::ownership::{Arrival, Ownership, SlotState, hash_of};
use super::session::{Remembered, SessionList};
use super::slot_tables::{PAGE_SLOTS, PAGES, Page, Pages};
use super::table::Entry;
use crate::base::{GroupId, Index, Mistake, Sequence, Slot, Term, WallTime, makes};

/// Version of the format.
pub(super) const FORMAT: u16 = 3;

/// Kinds of records; each begins with its kind in one byte.
pub(super) mod kind {
    pub(in crate::kv) const HEADER: u8 = 1;
    pub(in crate::kv) const SESSION: u8 = 2;
    pub(in crate::kv) const RESULT: u8 = 3;
    pub(in crate::kv) const SLOT: u8 = 4;
    pub(in crate::kv) const ENTRY: u8 = 5;
    pub(in crate::kv) const END: u8 = 6;
    pub(in crate::kv) const SERVED: u8 = 7;
    pub(in crate::kv) const FROZEN: u8 = 8;
    pub(in crate::kv) const ARRIVING: u8 = 9;
    pub(in crate::kv) const ANNEX: u8 = 10;
}

/// Flags of an arriving slot.
pub(super) mod flag {
    pub(in crate::kv) const FINAL: u8 = 1;
    pub(in crate::kv) const WHOLE: u8 = 2;
}

/// A state frozen at one entry. Dropped or written out, it lets go of what it shares.
pub struct Snapshot {
    group: GroupId,
    applied: Applied,
    /// Keys in `pages`, for the end record.
    keys: u64,
    /// What the host keeps in the state, let go once written.
    annex: Annex,
    /// The states of all slots.
    ownership: Ownership,
    /// The tables; a page is let go once written.
    pages: Pages,
    /// The sessions, let go together once written.
    sessions: SessionList,
    /// How many sessions there were, for the end record.
    session_count: u64,
    /// The hash of the state, for the end record.
    state_hash: u64,
    /// What the hashes of the annex, slots' states, sessions, keys and values add up to.
    content: u64,
    /// What the hashes of those written so far add up to: `content` at the end.
    written: u64,
    /// What is to be written next.
    next: Next,
}

/// What is to be written next.
#[derive(Clone, Copy, Debug)]
enum Next {
    Header,
    /// The annex, from this byte on.
    Annex(usize),
    /// The first run of served slots at or after this one.
    Served(Slot),
    /// The first slot at or after this one that is frozen or arriving.
    Moving(Slot),
    /// The session at this place of the list.
    Session(usize),
    /// The results of that session, from this place of its window on.
    Results(usize, usize),
    /// The slot of this number, from this entry of its table on.
    Slot(usize, usize),
    End,
    Nothing,
}

impl Snapshot {
    pub(super) fn new(
        group: GroupId,
        applied: Applied,
        keys: u64,
        (annex, ownership, sessions, pages): (Annex, Ownership, SessionList, Pages),
        (state_hash, content): (u64, u64),
    ) -> Self {
        Self {
            group,
            applied,
            keys,
            annex,
            ownership,
            pages,
            session_count: sessions.len() as u64,
            sessions,
            state_hash,
            content,
            written: 0,
            next: Next::Header,
        }
    }

    /// Index and term of the last entry that is part of it, and the latest time stamp up to there.
    pub const fn applied(&self) -> (Index, Term, WallTime) {
        (self.applied.index, self.applied.term, self.applied.timestamp)
    }

    /// The next piece: of at least `about_bytes` unless it is the last one, and longer than that by
    /// one key with its value at most. `None` after the last one.
    ///
    /// # Panics
    /// If what was written is not what the machine's hash stands for: then memory is damaged, and such
    /// a state must not take the place of what the disk holds.
    pub fn next_chunk(&mut self, about_bytes: usize) -> Option<Vec<u8>> {
        let mut chunk = Vec::with_capacity(about_bytes);
        while !matches!(self.next, Next::Nothing) && (chunk.is_empty() || chunk.len() < about_bytes)
        {
            self.next = self.write_next(&mut chunk);
        }
        (!chunk.is_empty()).then_some(chunk)
    }

    /// Writes one record or none, and says what comes after it.
    fn write_next(&mut self, out: &mut Vec<u8>) -> Next {
        match self.next {
            Next::Header => self.write_header(out),
            Next::Annex(at) => self.write_annex(out, at),
            Next::Served(from) => self.write_served(out, from),
            Next::Moving(from) => self.write_moving(out, from),
            Next::Session(at) => self.write_session(out, at),
            Next::Results(at, from) => self.write_result(out, at, from),
            Next::Slot(slot, from) => self.write_slot(out, slot, from),
            Next::End => self.write_end(out),
            Next::Nothing => Next::Nothing,
        }
    }

    fn write_header(&self, out: &mut Vec<u8>) -> Next {
        out.push(kind::HEADER);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.group.0.to_le_bytes());
        for word in [self.applied.index.0, self.applied.term.0, self.applied.timestamp.0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        Next::Annex(0)
    }

    fn write_annex(&mut self, out: &mut Vec<u8>, at: usize) -> Next {
        let part = self.annex.part(at);
        if part.is_empty() {
            self.written = self.written.wrapping_add(self.annex.recomputed_hash());
            self.annex = Annex::default();
            return Next::Served(Slot::default());
        }
        let length = u32::try_from(part.len()).expect("a part is of moderate size");
        out.push(kind::ANNEX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(part);
        Next::Annex(at + part.len())
    }

    fn write_served(&mut self, out: &mut Vec<u8>, from: Slot) -> Next {
        let Some((first, last)) = self.ownership.served_run(from) else {
            return Next::Moving(Slot::default());
        };
        for slot in (first.number()..=last.number()).filter_map(Slot::new) {
            self.written = self.written.wrapping_add(hash_of(slot, SlotState::Served));
        }
        out.push(kind::SERVED);
        out.extend_from_slice(&first.number().to_le_bytes());
        out.extend_from_slice(&last.number().to_le_bytes());
        Slot::new(last.number() + 1).map_or(Next::Moving(Slot::default()), Next::Served)
    }

    fn write_moving(&mut self, out: &mut Vec<u8>, from: Slot) -> Next {
        let Some((slot, state)) = self.ownership.moving_from(from).next() else {
            return Next::Session(0);
        };
        self.written = self.written.wrapping_add(hash_of(slot, state));
        encode_moving(out, slot, state);
        Slot::new(slot.number() + 1).map_or(Next::Session(0), Next::Moving)
    }

    fn write_session(&mut self, out: &mut Vec<u8>, at: usize) -> Next {
        let Some((id, session)) = self.sessions.get(at) else {
            self.sessions = SessionList::new();
            return Next::Slot(0, 0);
        };
        self.written = self.written.wrapping_add(session.recomputed_content_hash());
        out.push(kind::SESSION);
        for word in [id.0, session.last_use().0, session.lowest().0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        if makes(Mistake::SnapshotWithoutResults) {
            Next::Session(at + 1)
        } else {
            Next::Results(at, 0)
        }
    }

    fn write_result(&self, out: &mut Vec<u8>, at: usize, from: usize) -> Next {
        match self.sessions[at].1.result_from(from) {
            Some((position, sequence, result)) => {
                encode_result(out, sequence, &result);
                Next::Results(at, position + 1)
            }
            None => Next::Session(at + 1),
        }
    }

    fn write_slot(&mut self, out: &mut Vec<u8>, slot: usize, from: usize) -> Next {
        let (number, place) = (slot / PAGE_SLOTS, slot % PAGE_SLOTS);
        let Some(page) = self.pages.get_mut(number) else { return Next::End };
        match page.as_deref().and_then(|page| page.entry(place, from)) {
            Some(entry) => {
                if from == 0 {
                    encode_slot(out, slot);
                }
                encode_entry(out, entry);
                self.written = self.written.wrapping_add(entry.content_hash());
                Next::Slot(slot, from + 1)
            }
            None if page.is_none() || place + 1 == PAGE_SLOTS => {
                *page = None::<Rc<Page>>;
                Next::Slot((number + 1) * PAGE_SLOTS, 0)
            }
            None => Next::Slot(slot + 1, 0),
        }
    }

    fn write_end(&self, out: &mut Vec<u8>) -> Next {
        let (written, held) = (self.written, self.content);
        assert!(written == held, "{}: content changed by itself in memory", self.group);
        out.push(kind::END);
        out.extend_from_slice(&self.session_count.to_le_bytes());
        out.extend_from_slice(&self.keys.to_le_bytes());
        out.extend_from_slice(&self.state_hash.to_le_bytes());
        Next::Nothing
    }
}

fn encode_result(out: &mut Vec<u8>, sequence: Sequence, result: &Remembered) {
    out.push(kind::RESULT);
    out.extend_from_slice(&sequence.0.to_le_bytes());
    out.extend_from_slice(&result.number.to_le_bytes());
    out.extend_from_slice(&result.index.0.to_le_bytes());
    out.extend_from_slice(&result.position.to_le_bytes());
    out.push(result.status.code());
}

fn encode_moving(out: &mut Vec<u8>, slot: Slot, state: SlotState) {
    let mut begin = |kind: u8, since: Index| {
        out.push(kind);
        out.extend_from_slice(&slot.number().to_le_bytes());
        out.extend_from_slice(&since.0.to_le_bytes());
    };
    match state {
        SlotState::Absent | SlotState::Served => {}
        SlotState::Frozen { since } => begin(kind::FROZEN, since),
        SlotState::Arriving(Arrival { since, next, target, is_final, is_whole }) => {
            begin(kind::ARRIVING, since);
            out.extend_from_slice(&next.to_le_bytes());
            out.extend_from_slice(&target.to_le_bytes());
            let (is_final, is_whole) = (u8::from(is_final), u8::from(is_whole));
            out.push((is_final * flag::FINAL) | (is_whole * flag::WHOLE));
        }
    }
}

fn encode_slot(out: &mut Vec<u8>, slot: usize) {
    let number = u16::try_from(slot).expect("a page's slots are below SLOT_COUNT");
    out.push(kind::SLOT);
    out.extend_from_slice(&number.to_le_bytes());
}

fn encode_entry(out: &mut Vec<u8>, entry: &Entry) {
    let (key, value) = (entry.key(), entry.value());
    out.push(kind::ENTRY);
    for part in [key, value] {
        let length = u32::try_from(part.len()).expect("keys and values are far below 4 GiB");
        out.extend_from_slice(&length.to_le_bytes());
    }
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

const _: () = assert!(PAGES * PAGE_SLOTS <= u16::MAX as usize, "a slot's number takes two bytes");
