//! Appends that have not left yet take in what is proposed meanwhile.
//!
//! ```text
//!   propose a, b, c ──▶ Append [a]  Append [b]  Append [c]        one by one
//!                       Append [a b c]                            in one turn of the host
//! ```
//!
//! A host that gives a replica several proposals before it looks at the output would send a message
//! for each: costs that do not depend on the payload, at the leader, at the follower and on the
//! way back, and places in the window. What waits in the output is the host's batch already; here
//! it becomes one message. There is no call to make at the end of a turn, and so none to forget.
//!
//! Only the last message to a follower is extended: no entry overtakes anything.

use super::progress::Progress;
use super::replication::Sender;
use super::{Entry, Message, MessageBody, Output};
use crate::base::{Index, NodeId, Term};

impl Sender<'_> {
    /// Adds what a follower lacks to the last message to it, if that is an append which has not
    /// left yet and ends where the follower's next entry begins.
    pub(super) fn join_last(&self, peer: &mut Progress, output: &mut Output) {
        if self.log.entry(peer.next_index).is_none() {
            return;
        }
        let Some(room) = peer.room_in_last(self.config) else { return };
        let previous = peer.next_index.previous();
        let last = last_message_to(peer.node, output);
        let Some(entries) = last.and_then(|last| entries_up_to(last, self.term, previous)) else {
            return;
        };
        let count = entries.len();
        let entries_max = self.config.message_entries_max;
        let bytes = self.log.read(peer.next_index, room, entries_max, entries);
        let added = entries.len() - count;
        if added > 0 {
            peer.append_extended(previous.plus(added as u64), bytes);
        }
    }
}

/// The last message to `node`, if it is among the last few: a leader that proposes sends to all in
/// turn.
fn last_message_to(node: NodeId, output: &mut Output) -> Option<&mut Message> {
    output.messages.iter_mut().rev().take(LOOK_BACK).find(|message| message.to == node)
}

/// The entries of an append in `term` whose last one is at `index`.
fn entries_up_to(message: &mut Message, term: Term, index: Index) -> Option<&mut Vec<Entry>> {
    match &mut message.body {
        MessageBody::Append { previous_index, entries, .. } => {
            let ends_there = previous_index.plus(entries.len() as u64) == index;
            (message.term == term && !entries.is_empty() && ends_there).then_some(entries)
        }
        _ => None,
    }
}

/// How many messages are looked at: more members than groups have, mostly.
const LOOK_BACK: usize = 8;
