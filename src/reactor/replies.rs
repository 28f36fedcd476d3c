//! Where answers go: one buffer per connection and turn, so that each gets one write.

use std::collections::BTreeMap;

use super::effects::{Close, CoreMessage, CoreSend, Effects, Reply};
use super::holdings::ANSWER_BYTES_MAX;
use crate::base::{ConnectionId, CoreId};

/// Who awaits an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    /// The core that holds the connection, if it is another one than ours.
    pub core: Option<CoreId>,
    /// The connection there.
    pub connection: ConnectionId,
}

/// The answers of the turn in progress.
#[derive(Debug, Default)]
pub(super) struct Replies {
    buffers: BTreeMap<Origin, Vec<u8>>,
    closes: Vec<Close>,
    /// Bytes of replies with values read.
    values: usize,
}

impl Replies {
    /// The buffer to append whole frames to.
    pub(super) fn buffer(&mut self, origin: Origin) -> &mut Vec<u8> {
        self.buffers.entry(origin).or_default()
    }

    /// Appends a reply that holds values read.
    pub(super) fn append_values(&mut self, origin: Origin, append: impl FnOnce(&mut Vec<u8>)) {
        let buffer = self.buffer(origin);
        let before = buffer.len();
        append(buffer);
        let appended = buffer.len() - before;
        self.values += appended;
    }

    /// Whether the turn has answered with as many values as it may.
    pub(super) fn is_full(&self) -> bool {
        self.values >= ANSWER_BYTES_MAX
    }

    /// Closes a connection of this core after its replies.
    pub(super) fn close(&mut self, connection: ConnectionId, reason: String) {
        self.closes.push(Close { connection, reason });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffers.is_empty() && self.closes.is_empty()
    }

    /// Hands the turn's answers out.
    pub(super) fn take(&mut self, effects: &mut Effects) {
        while let Some((Origin { core, connection }, bytes)) = self.buffers.pop_first() {
            match core {
                None => effects.replies.push(Reply { connection, bytes }),
                Some(to) => {
                    let message = CoreMessage::Reply { connection, bytes };
                    effects.core_sends.push(CoreSend { to, message });
                }
            }
        }
        effects.closes.append(&mut self.closes);
        self.values = 0;
    }
}
