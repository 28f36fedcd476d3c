//! What the lanes of one client share: connections, actions, completions, time and chance.

use std::collections::{BTreeMap, VecDeque};

use super::batch::Staged;
use super::command::{Caller, Stray};
use super::completions::Completions;
use super::core::Action;
use super::link::{Link, Phase, Purpose};
use super::options::Options;
use super::outcome::{Evidence, Outcome};
use super::routing::Routing;
use crate::base::{ConnectionId, GroupId, Micros, NodeId, Time};

/// What the lanes of one client share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    /// The newest moment that the driver named; never goes back.
    pub(super) now: Time,
    /// The earliest moment at which something may have run out; may be too early, never too late.
    pub(super) wake_at: Option<Time>,
    pub(super) random: fastrand::Rng,
    /// `None` until a first map came.
    pub(super) routing: Option<Routing>,
    /// Whether a newer map is wanted; cleared when one arrives.
    pub(super) map_stale: bool,
    pub(super) links: BTreeMap<ConnectionId, Link>,
    pub(super) actions: VecDeque<Action>,
    pub(super) completions: Completions,
    /// Commands that find their lanes at the next poll.
    pub(super) strays: Vec<Stray>,
    /// Commands of slots that the lane asked does not serve, for the core to send on: taken at once.
    pub(super) misplaced: Vec<Misplaced>,
    /// The number of the next frame; each is used once.
    pub(super) next_request: u64,
    /// The number of the next connection; each is used once.
    pub(super) next_connection: u64,
    /// Buffers of settled batches, to be filled again.
    pub(super) spare_staged: Vec<Staged>,
    pub(super) spare_frames: Vec<Vec<u8>>,
    pub(super) spare_callers: Vec<Vec<Caller>>,
    pub(super) counters: Counters,
}

/// A command whose slot the group asked does not serve.
#[derive(Debug)]
pub(super) struct Misplaced {
    pub(super) stray: Stray,
    /// The lane asked.
    pub(super) asked: usize,
    /// The group to ask instead; zero: not known.
    pub(super) named: GroupId,
}

/// What a client went through, since its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames of commands sent, repetitions included.
    pub frames_sent: u64,
    /// Frames of commands sent again.
    pub frames_repeated: u64,
    /// Answers that named another leader, or none.
    pub redirects: u64,
    /// Commands sent on to another group, which has their slot.
    pub rerouted: u64,
    /// Connections begun.
    pub connections: u64,
    /// Connections lost.
    pub connections_lost: u64,
}

/// Buffers kept for reuse, at most; what a burst needed beyond is freed.
const SPARES_MAX: usize = 64;

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        Self {
            now: Time(0),
            wake_at: None,
            random: fastrand::Rng::with_seed(options.seed),
            options,
            routing: None,
            map_stale: true,
            links: BTreeMap::new(),
            actions: VecDeque::new(),
            completions: Completions::default(),
            strays: Vec::new(),
            misplaced: Vec::new(),
            next_request: 1,
            next_connection: 1,
            spare_staged: Vec::new(),
            spare_frames: Vec::new(),
            spare_callers: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Time passed; it never goes back.
    pub(super) fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// Something runs out at `time`.
    pub(super) fn wake_before(&mut self, time: Time) {
        if self.wake_at.is_none_or(|wake| time < wake) {
            self.wake_at = Some(time);
        }
    }

    pub(super) fn take_request(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request - 1
    }

    /// Begins a connection to `address`.
    pub(super) fn connect(
        &mut self,
        purpose: Purpose,
        node: NodeId,
        address: String,
    ) -> ConnectionId {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let deadline = self.now + self.options.connect_timeout;
        self.wake_before(deadline);
        self.links.insert(connection, Link::new(purpose, node, deadline));
        self.actions.push_back(Action::Connect { connection, address });
        self.counters.connections += 1;
        connection
    }

    /// Ends a connection; nothing more is heard of it.
    pub(super) fn close(&mut self, connection: ConnectionId) {
        if self.links.remove(&connection).is_some() {
            self.actions.push_back(Action::Close { connection });
        }
    }

    pub(super) fn is_ready(&self, connection: ConnectionId) -> bool {
        self.links.get(&connection).is_some_and(|link| link.phase == Phase::Ready)
    }

    /// Where the bytes for `connection` go; the driver will be told that there are some.
    ///
    /// # Panics
    /// If there is no such connection: a bug of ours.
    pub(super) fn output(&mut self, connection: ConnectionId) -> &mut Vec<u8> {
        let link = self.links.get_mut(&connection).expect("sent on a link that stands");
        if !link.announced {
            link.announced = true;
            self.actions.push_back(Action::Send { connection });
        }
        &mut link.output
    }

    /// A pause for the `failures`th failure in a row: doubling, bounded, drawn from its upper half.
    pub(super) fn pause(&mut self, failures: u32) -> Micros {
        let Options { backoff_min, backoff_max, .. } = self.options;
        let doubled = backoff_min.0.saturating_mul(1 << failures.min(16));
        let longest = doubled.min(backoff_max.0).max(2);
        Micros(self.random.u64(longest / 2..=longest))
    }

    /// Settles every caller's command with the same outcome.
    pub(super) fn fail_all<'a>(
        &mut self,
        callers: impl Iterator<Item = (&'a Caller, Evidence)>,
        outcome: Outcome<'static>,
    ) {
        for (caller, evidence) in callers {
            self.completions.failed(caller.ticket, outcome, evidence);
        }
    }

    pub(super) fn take_staged(&mut self) -> Staged {
        self.spare_staged.pop().unwrap_or_default()
    }

    pub(super) fn recycle_staged(&mut self, mut staged: Staged) {
        if self.spare_staged.len() < SPARES_MAX {
            staged.clear();
            self.spare_staged.push(staged);
        }
    }

    pub(super) fn recycle_batch(&mut self, mut frame: Vec<u8>, mut callers: Vec<Caller>) {
        if self.spare_frames.len() < SPARES_MAX {
            frame.clear();
            self.spare_frames.push(frame);
            callers.clear();
            self.spare_callers.push(callers);
        }
    }
}
