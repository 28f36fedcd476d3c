//! Sessions: what each client was told, so that a retry gets the same answer and no second execution.
//!
//! ```text
//! sequence   … 40   41   42   43   44   45   46 …          SESSION_WINDOW_MAX
//!            forgotten │ ok  none  ok   ok │ none …        │ refused
//!                      lowest              end of `results`
//! ```

use std::collections::VecDeque;
use std::rc::Rc;

use super::command::{Answer, Place, SessionError, Status};
use super::content_hash;
use crate::base::limits::{SESSION_WINDOW_MAX, SESSIONS_MAX};
use crate::base::{Index, Micros, Sequence, SessionId, WallTime};

/// A session unused for longer than this, in log time, makes room when another one is opened.
pub const SESSION_IDLE_MAX: Micros = Micros::from_secs(3_600);

/// What a session costs besides its results, about.
const SESSION_OVERHEAD: u64 = 128;

/// What each sequence in the window costs.
const RESULT_BYTES: u64 = size_of::<Option<Remembered>>() as u64;

const _: () = assert!(RESULT_BYTES == 24, "a result is three words");

/// The result of a command's first and only execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    /// As in `Answer`.
    pub(super) number: i64,
    /// The entry of its execution.
    pub(super) index: Index,
    /// The place within that entry.
    pub(super) position: u32,
    /// As in `Answer`.
    pub(super) status: Status,
}

impl Remembered {
    /// The answer to the command, when it is executed or when it is `repeated`.
    pub(super) const fn answer(self, repeated: bool) -> Answer {
        let place = Place { index: self.index, position: self.position };
        Answer { status: self.status, number: self.number, place, repeated }
    }
}

/// What a session knows of a sequence.
pub(super) enum Recall {
    /// Not executed yet.
    New,
    /// Executed, with this result.
    Known(Remembered),
    /// Below what is remembered.
    Forgotten,
    /// Above what can be remembered.
    WindowExceeded,
}

/// One client's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Its name; never changes.
    id: SessionId,
    /// Log time of the last batch. Never decreases.
    last_use: WallTime,
    /// Every sequence below it is forgotten. At least 1, advanced by the client alone.
    lowest: Sequence,
    /// The result of `lowest + position`, if it was executed; the last one always was. Not longer
    /// than `SESSION_WINDOW_MAX`.
    results: VecDeque<Option<Remembered>>,
    /// The sum of the hashes of `results`.
    results_hash: u64,
}

impl Session {
    /// A session of which nothing is remembered below `lowest`.
    pub(super) fn new(id: SessionId, last_use: WallTime, lowest: Sequence) -> Self {
        let lowest = lowest.max(Sequence(1));
        Self { id, last_use, lowest, results: VecDeque::new(), results_hash: 0 }
    }

    /// Log time of the last batch.
    pub(super) const fn last_use(&self) -> WallTime {
        self.last_use
    }

    /// The lowest sequence that may still be executed or repeated.
    pub(super) const fn lowest(&self) -> Sequence {
        self.lowest
    }

    /// Sequences from `lowest` to the highest one executed.
    pub(super) fn span(&self) -> usize {
        self.results.len()
    }

    /// The remembered result that stands at or after `position` in the window, and where.
    pub(super) fn result_from(&self, position: usize) -> Option<(usize, Sequence, Remembered)> {
        let mut rest = self.results.iter().enumerate().skip(position);
        let (position, result) = rest.find_map(|(at, result)| Some((at, (*result)?)))?;
        Some((position, Sequence(self.lowest.0 + position as u64), result))
    }

    /// What is known of `sequence`.
    #[inline]
    pub(super) fn recall(&self, sequence: Sequence) -> Recall {
        let Some(offset) = sequence.0.checked_sub(self.lowest.0) else { return Recall::Forgotten };
        if offset >= SESSION_WINDOW_MAX {
            return Recall::WindowExceeded;
        }
        match usize::try_from(offset).ok().and_then(|offset| self.results.get(offset)) {
            Some(Some(result)) => Recall::Known(*result),
            _ => Recall::New,
        }
    }

    /// Remembers the result of a sequence that [`Session::recall`] found new; returns by how many
    /// sequences the span grew.
    ///
    /// # Panics
    /// If the sequence was not new: a second execution.
    #[inline]
    pub(super) fn remember(&mut self, sequence: Sequence, result: Remembered) -> usize {
        let before = self.results.len();
        let offset = sequence.0.checked_sub(self.lowest.0).filter(|&at| at < SESSION_WINDOW_MAX);
        let offset = offset.and_then(|offset| usize::try_from(offset).ok());
        let offset = offset.expect("the sequence lies in the window");
        self.results_hash = self.results_hash.wrapping_add(self.result_hash(sequence, &result));
        if offset == before {
            self.results.push_back(Some(result));
        } else {
            self.results.resize(before.max(offset + 1), None);
            let earlier = self.results[offset].replace(result);
            assert!(earlier.is_none(), "sequence {sequence} executed twice: {earlier:?}");
        }
        self.results.len() - before
    }

    /// Forgets every result below `lowest_awaited` and notes the use; returns by how many sequences
    /// the span shrank.
    fn begin_batch(&mut self, lowest_awaited: Sequence, now: WallTime) -> usize {
        self.last_use = self.last_use.max(now);
        let passed = lowest_awaited.0.saturating_sub(self.lowest.0);
        let dropped = usize::try_from(passed).map_or(self.span(), |passed| passed.min(self.span()));
        for offset in 0..dropped {
            let Some(Some(result)) = self.results.pop_front() else { continue };
            let hash = self.result_hash(Sequence(self.lowest.0 + offset as u64), &result);
            self.results_hash = self.results_hash.wrapping_sub(hash);
        }
        self.lowest = self.lowest.max(lowest_awaited);
        // A burst's storage is not kept for ever.
        if self.results.capacity() > 1_024 && self.results.capacity() / 8 > self.span() {
            self.results.shrink_to(2 * self.span());
        }
        dropped
    }

    /// A hash of all that is remembered.
    fn content_hash(&self) -> u64 {
        let head = [self.last_use.0, self.lowest.0];
        content_hash::of_words(self.id.0, &head).wrapping_add(self.results_hash)
    }

    /// The same, by looking at every result.
    pub(super) fn recomputed_content_hash(&self) -> u64 {
        let hashes = self.results.iter().enumerate().filter_map(|(offset, result)| {
            let sequence = Sequence(self.lowest.0 + offset as u64);
            Some(self.result_hash(sequence, result.as_ref()?))
        });
        let head = self.content_hash().wrapping_sub(self.results_hash);
        hashes.fold(head, u64::wrapping_add)
    }

    #[inline]
    fn result_hash(&self, sequence: Sequence, result: &Remembered) -> u64 {
        let kind = u64::from(result.position) << 8 | u64::from(result.status.code());
        let number = result.number.cast_unsigned();
        content_hash::of_words(self.id.0, &[sequence.0, result.index.0, kind, number])
    }
}

/// A session, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its name.
    pub id: SessionId,
    /// Log time of its last batch.
    pub last_use: WallTime,
    /// The lowest sequence it remembers.
    pub lowest: Sequence,
    /// Results it remembers.
    pub results: u64,
}

/// Sessions by id, shared with snapshots.
pub(super) type SessionList = Vec<(SessionId, Rc<Session>)>;

/// What all sessions together come to; kept up to date by whoever changes one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// Of their spans.
    spans: u64,
    /// Of their hashes.
    hash: u64,
}

impl Sums {
    /// Has `session` remember a result: see [`Session::remember`].
    #[inline]
    pub(super) fn remember(
        &mut self,
        session: &mut Session,
        sequence: Sequence,
        result: Remembered,
    ) {
        let before = session.results_hash;
        self.spans += session.remember(sequence, result) as u64;
        let gained = session.results_hash.wrapping_sub(before);
        self.hash = self.hash.wrapping_add(gained);
    }

    fn add(&mut self, session: &Session) {
        self.spans += session.span() as u64;
        self.hash = self.hash.wrapping_add(session.content_hash());
    }

    fn subtract(&mut self, session: &Session) {
        self.spans -= session.span() as u64;
        self.hash = self.hash.wrapping_sub(session.content_hash());
    }
}

/// All sessions of a group.
#[derive(Default)]
pub(super) struct Sessions {
    /// Ascending by id; new ids are always the highest. At most `SESSIONS_MAX`.
    list: SessionList,
    sums: Sums,
    /// No session was last used before this: spares looking for idle ones at every opening.
    used_since: WallTime,
}

impl Sessions {
    /// Opens a session, whose id is higher than any before it.
    ///
    /// # Errors
    /// [`SessionError::Full`] if there are `SESSIONS_MAX`, none of them idle.
    ///
    /// # Panics
    /// If the id is not higher than all that are open: ids are never reused.
    pub(super) fn open(&mut self, id: SessionId, now: WallTime) -> Result<(), SessionError> {
        self.expire_idle(now);
        if self.list.len() >= SESSIONS_MAX {
            return Err(SessionError::Full);
        }
        self.push(Session::new(id, now, Sequence(1)));
        Ok(())
    }

    /// Adds a session whose id is higher than all others'.
    ///
    /// # Panics
    /// If it is not.
    pub(super) fn push(&mut self, session: Session) {
        let (id, highest) = (session.id, self.highest());
        assert!(highest < Some(id), "session {id} opened after {highest:?}");
        self.used_since = self.used_since.min(session.last_use);
        if self.list.is_empty() {
            self.used_since = session.last_use;
        }
        self.sums.add(&session);
        self.list.push((id, Rc::new(session)));
    }

    /// Closes a session, if it is open.
    pub(super) fn close(&mut self, id: SessionId) {
        if let Some(position) = self.position(id) {
            let (_, session) = self.list.remove(position);
            self.sums.subtract(&session);
        }
    }

    /// The session `id`, shared with no snapshot, after forgetting what lies below `lowest_awaited`;
    /// and the sums, for the caller to keep up to date.
    ///
    /// # Errors
    /// [`SessionError::Expired`] if it is not open.
    pub(super) fn begin_batch(
        &mut self,
        id: SessionId,
        lowest_awaited: Sequence,
        now: WallTime,
    ) -> Result<(&mut Session, &mut Sums), SessionError> {
        let position = self.position(id).ok_or(SessionError::Expired)?;
        let session = Rc::make_mut(&mut self.list[position].1);
        self.sums.subtract(session);
        session.begin_batch(lowest_awaited, now);
        self.sums.add(session);
        Ok((session, &mut self.sums))
    }

    /// References to all sessions as they are now.
    pub(super) fn share(&self) -> SessionList {
        self.list.clone()
    }

    /// The newest session, to fill it from a snapshot, and the sums.
    pub(super) fn newest_mut(&mut self) -> Option<(&mut Session, &mut Sums)> {
        let (_, session) = self.list.last_mut()?;
        Some((Rc::make_mut(session), &mut self.sums))
    }

    /// The highest id open.
    pub(super) fn highest(&self) -> Option<SessionId> {
        self.list.last().map(|&(id, _)| id)
    }

    /// All that are open, by id.
    pub(super) fn views(&self) -> impl Iterator<Item = SessionView> {
        self.list.iter().map(|(_, session)| SessionView {
            id: session.id,
            last_use: session.last_use,
            lowest: session.lowest,
            results: session.results.iter().flatten().count() as u64,
        })
    }

    /// How many are open.
    pub(super) const fn len(&self) -> usize {
        self.list.len()
    }

    /// Bytes held, about: a function of content alone.
    pub(super) const fn bytes(&self) -> u64 {
        self.list.len() as u64 * SESSION_OVERHEAD + self.sums.spans * RESULT_BYTES
    }

    /// A hash of all that is remembered.
    pub(super) const fn content_hash(&self) -> u64 {
        self.sums.hash
    }

    /// The same, by looking at every one of them.
    pub(super) fn recomputed_content_hash(&self) -> u64 {
        let hashes = self.list.iter().map(|(_, session)| session.recomputed_content_hash());
        hashes.fold(0, u64::wrapping_add)
    }

    fn position(&self, id: SessionId) -> Option<usize> {
        self.list.binary_search_by_key(&id, |&(id, _)| id).ok()
    }

    /// Closes every session that was not used for longer than `SESSION_IDLE_MAX`.
    fn expire_idle(&mut self, now: WallTime) {
        let idle = |last_use: WallTime| now.0.saturating_sub(last_use.0) > SESSION_IDLE_MAX.0;
        if !idle(self.used_since) {
            return;
        }
        let sums = &mut self.sums;
        self.list.retain(|(_, session)| {
            let stays = !idle(session.last_use);
            if !stays {
                sums.subtract(session);
            }
            stays
        });
        self.used_since = self.list.iter().map(|(_, s)| s.last_use).min().unwrap_or(now);
    }
}

#[cfg(test)]
mod tests;
