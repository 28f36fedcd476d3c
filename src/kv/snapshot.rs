//! A state frozen at one entry, written out in pieces while the machine goes on.
//!
//! The bytes are laid out in `schema/state.md`. They are the same on every replica.

use std::rc::Rc;

use super::machine::Applied;
use super::session::{Remembered, SessionList};
use super::slot_tables::{PAGE_SLOTS, PAGES, Page, Pages};
use super::table::Entry;
use crate::base::{GroupId, Index, Mistake, Sequence, Term, WallTime, makes};

/// Version of the format.
pub(super) const FORMAT: u16 = 1;

/// Kinds of records; each begins with its kind in one byte.
pub(super) mod kind {
    pub(in crate::kv) const HEADER: u8 = 1;
    pub(in crate::kv) const SESSION: u8 = 2;
    pub(in crate::kv) const RESULT: u8 = 3;
    pub(in crate::kv) const SLOT: u8 = 4;
    pub(in crate::kv) const ENTRY: u8 = 5;
    pub(in crate::kv) const END: u8 = 6;
}

/// A state frozen at one entry. Dropped or written out, it lets go of what it shares.
pub struct Snapshot {
    group: GroupId,
    applied: Applied,
    /// Keys in `pages`, for the end record.
    keys: u64,
    /// The tables; a page is let go once written.
    pages: Pages,
    /// The sessions, let go together once written.
    sessions: SessionList,
    /// How many sessions there were, for the end record.
    session_count: u64,
    /// The hash of the state, for the end record.
    state_hash: u64,
    /// What the hashes of sessions, keys and values add up to.
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
        (pages, sessions): (Pages, SessionList),
        (state_hash, content): (u64, u64),
    ) -> Self {
        Self {
            group,
            applied,
            keys,
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
        Next::Session(0)
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
