//! What time does to a lane: lost patience, silent nodes, and the end of the client.

use super::reply::settle;
use super::{Lane, Session};
use crate::base::{ConnectionId, Sequence, Time};
use crate::client::batch::{Batch, BatchState, Staged};
use crate::client::outcome::{Doubt, Evidence, Outcome, Rejection};
use crate::client::shared::Shared;
use crate::wire::client::encode_close_session;

impl Lane {
    /// Settles what ran out of time, gives up silent connections and says when to look again.
    pub(in crate::client) fn expire(&mut self, shared: &mut Shared) {
        self.settle_overdue(shared);
        while let Some(link) = self.silent_link(shared) {
            shared.counters.connections_lost += 1;
            shared.close(link);
            self.on_closed(link, shared);
        }
        self.set_wake(shared);
    }

    fn settle_overdue(&mut self, shared: &mut Shared) {
        let now = shared.now;
        let refusal = self.refusal;
        let mut at = 0;
        while let Some(batch) = self.in_flight.get(at) {
            if batch.deadline > now {
                at += 1;
                continue;
            }
            let batch = self.in_flight.remove(at).expect("at is in range");
            let state = batch.state;
            let outcome = last_word(&batch, refusal, Doubt::TimedOut);
            settle(batch, outcome, shared);
            if let BatchState::Sent { on, .. } = state
                && self.link != Some(on)
            {
                self.retire(on, shared);
            }
        }
        for queue in [&mut self.staged_writes, &mut self.staged_reads] {
            // Not in the order of their deadlines: commands from other lanes have waited there.
            if queue.iter().all(|staged| staged.deadline > now) {
                continue;
            }
            for staged in std::mem::take(queue) {
                if staged.deadline <= now {
                    reject_staged(staged, refusal, shared);
                } else {
                    queue.push_back(staged);
                }
            }
        }
    }

    /// A connection on which a frame went unanswered for too long.
    fn silent_link(&self, shared: &Shared) -> Option<ConnectionId> {
        let patience = shared.options.request_timeout;
        let overdue = |at: Time| at + patience <= shared.now;
        if let Session::Opening { on, at, .. } = self.session
            && overdue(at)
        {
            return Some(on);
        }
        self.in_flight.iter().find_map(|batch| match batch.state {
            BatchState::Sent { on, at } if overdue(at) => Some(on),
            _ => None,
        })
    }

    fn set_wake(&self, shared: &mut Shared) {
        let patience = shared.options.request_timeout;
        if let Session::Opening { at, .. } = self.session {
            shared.wake_before(at + patience);
        }
        for batch in &self.in_flight {
            shared.wake_before(batch.deadline);
            if let BatchState::Sent { at, .. } = batch.state {
                shared.wake_before(at + patience);
            }
        }
        for queue in [&self.staged_writes, &self.staged_reads] {
            for staged in queue {
                shared.wake_before(staged.deadline);
            }
        }
    }

    /// The client ends: settles everything and asks the group to forget the session. Whether it was
    /// asked.
    pub(in crate::client) fn shut_down(&mut self, shared: &mut Shared) -> bool {
        for batch in std::mem::take(&mut self.in_flight) {
            let outcome = last_word(&batch, Rejection::Closed, Doubt::Closed);
            settle(batch, outcome, shared);
        }
        for queue in [&mut self.staged_writes, &mut self.staged_reads] {
            for staged in std::mem::take(queue) {
                reject_staged(staged, Rejection::Closed, shared);
            }
        }
        self.close_session(shared)
    }

    /// Settles what waits for a session, with the last refusal. It was never sent.
    pub(super) fn reject_staged_writes(&mut self, shared: &mut Shared) {
        for staged in std::mem::take(&mut self.staged_writes) {
            reject_staged(staged, self.refusal, shared);
        }
        self.next_sequence = Sequence(1);
    }

    fn close_session(&mut self, shared: &mut Shared) -> bool {
        let Session::Open(session) = self.session else { return false };
        let Some(link) = self.link.filter(|&link| shared.is_ready(link)) else { return false };
        self.session = Session::Closed;
        let request = shared.take_request();
        encode_close_session(request, self.group, session, shared.output(link));
        true
    }
}

/// The outcome of a frame whose reply will not be awaited any longer.
fn last_word(batch: &Batch, refusal: Rejection, doubt: Doubt) -> Outcome<'static> {
    let sent = matches!(batch.state, BatchState::Sent { .. });
    match batch.identity {
        Some(_) if sent || batch.in_doubt => Outcome::Unknown(doubt),
        None if sent && refusal != Rejection::Closed => Outcome::Rejected(Rejection::TimedOut),
        _ => Outcome::Rejected(refusal),
    }
}

fn reject_staged(staged: Staged, refusal: Rejection, shared: &mut Shared) {
    let never_sent = staged.callers.iter().map(|caller| (caller, Evidence::default()));
    shared.fail_all(never_sent, Outcome::Rejected(refusal));
    shared.recycle_staged(staged);
}
