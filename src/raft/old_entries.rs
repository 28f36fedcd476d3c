//! Entries that are not in memory any more, for followers that are behind.
//!
//! ```text
//!            on the host's disk                 in memory
//!   ────────┤──────────────────────────────┤──────────────────┤
//!           stored_from                    base               last
//!                  ▲ next_index: entries wanted ─▶ host reads ─▶ appends
//! ```
//!
//! A host may take applied entries out of memory long before a snapshot covers them
//! ([`Input::Evicted`]): its disk has them. A follower whose next entry is among them is not sent a
//! snapshot: the host is asked for the entries (`Output::entries_wanted`), answers with
//! [`Input::EntriesRead`], and they leave as any others do, within the same window. One question per
//! follower is open at a time. When the answer is that they are gone, the follower needs a snapshot
//! after all.
//!
//! An append says which entry it follows, and of which term. Of the last entry sent from the disk
//! that is remembered, so that each is read once; where nothing is remembered, the entry before the
//! next one is read with it.
//!
//! What leaves memory is applied, hence committed, hence the same for ever: it does not matter how long
//! the host takes, or whether this replica ceased to lead meanwhile and leads again.
//!
//! [`Input::Evicted`]: super::Input::Evicted
//! [`Input::EntriesRead`]: super::Input::EntriesRead

use super::progress::Progress;
use super::replication::Sender;
use super::{Entry, Output, Raft};
use crate::base::{Index, NodeId, Term, Time};

/// Entries to be read from the disk for a follower: answered by `Input::EntriesRead`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntriesRequest {
    /// The follower.
    pub to: NodeId,
    /// The first one wanted; those that follow it are welcome.
    pub from: Index,
    /// How many bytes of payload make a message. More are sent in several.
    pub bytes_max: usize,
}

/// What a leader knows of the entries that it reads from the disk for one follower.
#[derive(Debug, Default)]
pub(super) struct Fetch {
    /// The first entry the host was asked for; until it answers.
    asked: Option<Index>,
    /// The last entry that was read, and its term: the next append may follow it.
    place: Option<(Index, Term)>,
}

impl Fetch {
    /// The term of the entry at `index`, if it was the last one read or is before all.
    fn term_at(&self, index: Index) -> Option<Term> {
        let first = (Index::ZERO, Term(0));
        let known = self.place.into_iter().chain([first]).find(|place| place.0 == index);
        known.map(|place| place.1)
    }
}

impl Raft {
    /// The host takes the entries before `keep_from` out of memory; those from `stored_from` on are on
    /// its disk.
    ///
    /// # Panics
    /// If one of them is not applied yet.
    pub(super) fn evicted(&mut self, keep_from: Index, stored_from: Index) {
        self.log.evict(keep_from, stored_from);
        self.membership.forget_before(self.log.base_index());
    }

    /// The host has read entries, consecutive ones from `from` on; none if they are gone.
    ///
    /// # Panics
    /// If the entries do not follow each other from `from` on.
    pub(super) fn entries_read(
        &mut self,
        now: Time,
        to: NodeId,
        from: Index,
        mut entries: Vec<Entry>,
        output: &mut Output,
    ) {
        let consecutive = (from.0..).zip(&entries).all(|(index, entry)| entry.index.0 == index);
        assert!(consecutive, "entries read are not those from {from} on");
        if entries.is_empty() {
            self.log.gone_before(from.next());
        }
        let Some((leader, sender)) = self.as_leader() else { return };
        let Some(peer) = leader.peer_mut(to) else { return };
        if peer.fetch.asked.take_if(|asked| *asked == from).is_none() {
            return;
        }
        // What is in memory may have been replaced since it was read.
        entries.retain(|entry| entry.index <= sender.log.base_index());
        sender.send_read(peer, &entries, now, output);
        sender.send_appends(peer, now, output);
    }
}

impl Sender<'_> {
    /// Has the entries that a follower lacks read, if they are on the disk; else asks for a snapshot.
    pub(super) fn fetch(&self, peer: &mut Progress, now: Time, output: &mut Output) {
        if peer.fetch.asked.is_some() {
            return;
        }
        let previous = peer.next_index.previous();
        let known = peer.fetch.term_at(previous).is_some();
        let from = if known { peer.next_index } else { previous };
        if !self.log.is_stored(from) {
            return Self::request_snapshot(peer, now, output);
        }
        peer.fetch.asked = Some(from);
        let bytes_max = self.config.message_bytes_max;
        output.entries_wanted.push(EntriesRequest { to: peer.node, from, bytes_max });
    }

    /// The term of the entry at `index`, if it is in memory or was read for this follower.
    pub(super) fn term_known(&self, peer: &Progress, index: Index) -> Option<Term> {
        self.log.term_at(index).or_else(|| peer.fetch.term_at(index))
    }

    /// Sends what was read, as far as it goes on where the follower is and its window allows.
    fn send_read(&self, peer: &mut Progress, read: &[Entry], now: Time, output: &mut Output) {
        let at = |index: Index| read.iter().find(|entry| entry.index == index);
        if let Some(before) = at(peer.next_index.previous()) {
            peer.fetch.place = Some((before.index, before.term));
        }
        while peer.may_send(self.config) {
            let previous_index = peer.next_index.previous();
            let Some(previous_term) = peer.fetch.term_at(previous_index) else { return };
            let rest = read.partition_point(|entry| entry.index < peer.next_index);
            let entries = self.fitting(&read[rest..]);
            let Some(last) = entries.last().filter(|_| entries[0].index == peer.next_index) else {
                return;
            };
            peer.fetch.place = Some((last.index, last.term));
            peer.append_sent(now, last.index, entries.iter().map(Entry::cost).sum());
            let append = self.append(previous_index, previous_term, entries.to_vec());
            output.messages.push(self.message(peer.node, append));
        }
    }

    /// As many of `entries` as make a message; at least one, if there is one.
    fn fitting<'a>(&self, entries: &'a [Entry]) -> &'a [Entry] {
        let (bytes_max, entries_max) =
            (self.config.message_bytes_max, self.config.message_entries_max);
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.cost();
            bytes <= bytes_max
        };
        let count = entries.iter().take_while(fits).count().min(entries_max).max(1);
        &entries[..count.min(entries.len())]
    }
}
