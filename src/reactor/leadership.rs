//! Leadership as the host of a replica sees it: to whom it goes when the node stops, how it comes
//! back to the node that leads by preference, and what clients' requests do in between.
//!
//! ```text
//!   leads ──hand over──▶ transfer under way ──successor stands──▶ nobody known ──▶ successor known
//!                        └──────────── requests wait ───────────────────────────┘   they are sent there
//! ```
//!
//! Requests wait rather than being refused: the successor is known in a moment, and a client sent
//! away before that would ask in circles. They wait an election timeout at most, since a transfer
//! is given up then, and a fraction of it where nobody is known to lead.
//!
//! Source: thesis, section 3.10; preferred leaders as in `placement`.

use super::Reactor;
use super::core::Core;
use super::replica::Replica;
use crate::base::{Micros, NodeId, Time};
use crate::raft::Raft;

/// How long leadership and the preferred node must have been steady before it goes back there, in
/// election timeouts: a node that comes and goes is not followed.
const STEADY_TIMEOUTS: u64 = 5;

/// Entries that the preferred node may lack when it is asked to lead: requests wait until it has
/// them.
const LAG_MAX: u64 = 64;

/// How often leadership is looked at, in fractions of an election timeout; also how long requests
/// wait where nobody is known to lead.
const LOOKS_PER_TIMEOUT: u64 = 4;

/// Attempts at handing over one group's leadership when the node stops: of nodes that stop at the
/// same time each would pass it on to the next for ever.
const LEAVING_ATTEMPTS_MAX: u32 = 2;

/// After so many failed attempts the pause before the next grows no longer.
const PAUSE_DOUBLINGS_MAX: u32 = 6;

/// What a replica remembers of who leads. Advanced with every step of its Raft.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    /// Since when this replica leads; nothing while it does not.
    leads_since: Option<Time>,
    /// Whether somebody is known to lead.
    known: bool,
    /// Somebody was known until just now: until when requests wait for the next.
    waits_until: Option<Time>,
    /// How often this replica tried to give it back to the preferred node since it leads.
    attempts: u32,
    /// How often it was handed over since the node stops.
    leaving_attempts: u32,
    /// No attempt at giving it back to the preferred node, or away from a full disk, before.
    next_attempt_at: Time,
    /// Whom this leader has asked to take over since its disk is full.
    asked: Vec<NodeId>,
}

impl Leadership {
    /// Takes note of what Raft says after a step.
    pub(super) fn observe(&mut self, now: Time, leads: bool, raft: &Raft) {
        if !leads {
            self.leads_since = None;
            self.asked.clear();
        } else if self.leads_since.is_none() {
            self.leads_since = Some(now);
            self.attempts = 0;
        }
        let known = raft.leader().is_some();
        if known {
            self.waits_until = None;
        } else if self.known {
            self.waits_until = Some(now + patience(raft.config().election_timeout));
        }
        self.known = known;
    }

    /// Whether a leader may be known in a moment.
    fn waits(&self) -> bool {
        self.waits_until.is_some()
    }

    /// Ends a wait that took too long. Returns whether it did.
    fn expire(&mut self, now: Time) -> bool {
        self.waits_until.take_if(|until| *until <= now).is_some()
    }

    /// Whether this replica has led for so long.
    fn is_steady(&self, now: Time, steady: Micros) -> bool {
        self.leads_since.is_some_and(|since| now.since(since) >= steady)
    }

    /// Whether the pause after the last attempt is over.
    pub(super) fn is_due(&self, now: Time) -> bool {
        now >= self.next_attempt_at
    }

    /// Whether `node` was asked to take over from a full disk.
    pub(super) fn has_asked(&self, node: NodeId) -> bool {
        self.asked.contains(&node)
    }

    /// `node` is asked to take over from a full disk.
    pub(super) fn asked(&mut self, node: NodeId) {
        self.asked.push(node);
    }

    /// Everybody was asked, in vain.
    pub(super) fn all_declined(&mut self, now: Time, pause: Micros) {
        self.asked.clear();
        self.attempted(now, pause);
    }

    /// An attempt begins: the next comes later, and later each time.
    fn attempted(&mut self, now: Time, pause: Micros) {
        self.next_attempt_at = now + Micros(pause.0 << self.attempts.min(PAUSE_DOUBLINGS_MAX));
        self.attempts += 1;
    }
}

impl Replica {
    /// Whether requests wait for the next leader, or for a transfer to fail.
    pub(super) fn awaits_leader(&self) -> bool {
        self.leadership.waits() || self.raft.transfer_target().is_some()
    }

    /// Whether time may change something: requests wait, or the preferred node may come to lead, or
    /// any other, the disk here being `full`.
    pub(super) fn is_to_be_looked_at(&self, full: bool) -> bool {
        let config = self.raft.config();
        let preferred = config.preferred_leader == Some(config.node);
        self.awaits_leader() || (self.is_leader() && (full || !preferred))
    }

    /// Hands the leadership to the voter that is up and lacks least, if there is one.
    pub(super) fn hand_over(&mut self, core: &Core, now: Time) {
        if !self.is_leader() || self.leadership.leaving_attempts >= LEAVING_ATTEMPTS_MAX {
            return;
        }
        let may = |node| core.peers.is_up(node) && !self.agreement.distrusts(node);
        if let Some(successor) = self.raft.successor(may) {
            self.leadership.leaving_attempts += u32::from(!self.is_quarantined());
            self.transfer(successor, now);
        }
    }

    /// Hands the leadership back to `preferred`, if all is steady and that node is ready.
    fn give_back(&mut self, core: &Core, preferred: NodeId, now: Time) {
        let steady = Micros(core.config.election_timeout.0 * STEADY_TIMEOUTS);
        let ready = self.raft.configuration().is_incoming(preferred)
            && !self.agreement.distrusts(preferred)
            && self.raft.lag(preferred).is_some_and(|lag| lag <= LAG_MAX)
            && core.peers.up_since(preferred).is_some_and(|since| now.since(since) >= steady);
        let due = self.leadership.is_due(now) && self.leadership.is_steady(now, steady);
        if ready && due {
            self.leadership.attempted(now, steady);
            self.transfer(preferred, now);
        }
    }

    pub(super) fn transfer(&mut self, to: NodeId, now: Time) {
        match self.raft.transfer(now, to, &mut self.output) {
            Ok(()) => tracing::info!(group = %self.group, %to, "handing the leadership over"),
            Err(error) => tracing::debug!(group = %self.group, %to, %error, "not handed over"),
        }
    }

    /// Whether, on a node that stops, nothing more can be done for the group to have a leader
    /// elsewhere.
    fn has_handed_over(&self) -> bool {
        if self.is_leader() {
            self.raft.transfer_target().is_none()
        } else {
            !self.leadership.waits()
        }
    }
}

impl Reactor {
    /// Whether, after `Input::HandOver`, every group led here is led elsewhere or cannot be.
    pub fn has_handed_over(&self) -> bool {
        self.replicas.iter().all(Replica::has_handed_over)
    }

    /// The node is about to stop: leadership goes to others now.
    pub(super) fn leave(&mut self, now: Time) {
        if !self.leaving {
            self.leaving = true;
            self.look_again(now);
            for i in 0..self.replicas.len() {
                self.touch(i);
                self.replicas[i].hand_over(&self.core, now);
            }
        }
    }

    /// Now and then: hands over what is led here and ought not to be, and ends waits.
    pub(super) fn look_at_leadership(&mut self, now: Time) {
        if now < self.leadership_at {
            return;
        }
        let full = self.core.persistence.is_full();
        let again = |replica: &Replica| replica.is_to_be_looked_at(full);
        let again = self.leaving || self.replicas.iter().any(again);
        self.leadership_at = Time(u64::MAX);
        if again {
            self.look_again(now);
        }
        for i in 0..self.replicas.len() {
            let replica = &mut self.replicas[i];
            if replica.leadership.expire(now) {
                self.touch(i);
            } else if replica.is_leader() && replica.raft.transfer_target().is_none() {
                self.review(i, now);
            }
        }
    }

    /// Leadership is to be looked at before long: never while all is as it ought to be, so that an
    /// idle core sleeps.
    pub(super) fn look_again(&mut self, now: Time) {
        let at = now + patience(self.core.config.election_timeout);
        self.leadership_at = self.leadership_at.min(at);
    }

    /// Whether the group's leadership ought to be elsewhere; if so, hands it over.
    fn review(&mut self, i: usize, now: Time) {
        let (node, group) = (self.core.config.node, self.replicas[i].group);
        let preferred = self.core.map.group(group).map(|info| info.preferred_leader);
        if self.leaving {
            self.touch(i);
            self.replicas[i].hand_over(&self.core, now);
        } else if self.core.persistence.is_full() {
            self.touch(i);
            self.replicas[i].move_off(&self.core, now);
        } else if let Some(preferred) = preferred.filter(|preferred| *preferred != node) {
            self.touch(i);
            self.replicas[i].give_back(&self.core, preferred, now);
        }
    }
}

fn patience(election_timeout: Micros) -> Micros {
    Micros(election_timeout.0 / LOOKS_PER_TIMEOUT)
}
