//! The client as a pure machine.
//!
//! Call order, as for any protocol state machine:
//! - **Commands**: `submit`, `shut_down`.
//! - **Events**, from the driver: `handle_connected`, `handle_bytes`, `handle_closed`,
//!   `handle_timeout`. Each names the moment; moments never go back.
//! - **Actions**, after any of these: `poll_action` until `None`, then `poll_completion` until
//!   `None`; submit more; poll again; then wait for events until `deadline`.
//!
//! For `Action::Send` the driver writes from `unsent` and says by `handle_sent` how much went.

mod courses;
mod map;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::command::{Caller, Command, CommandError, Stray, check_batch};
use super::completions::Completion;
use super::detours::Detours;
use super::lane::Lane;
use super::link::{Phase, Purpose};
use super::options::Options;
use super::outcome::{Evidence, Outcome, Rejection};
use super::shared::Shared;
use crate::base::limits::CLIENT_FRAME_BODY_MAX;
use crate::base::{ConnectionId, GroupId, Time};
use crate::wire::client::parse_reply;
use crate::wire::frame::{Frame, FrameKind, Scan, scan};
use map::MapFetch;

pub use super::shared::Counters;

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin a connection; report `handle_connected` or `handle_closed`.
    Connect {
        /// Names the connection from now on.
        connection: ConnectionId,
        /// `host:port`.
        address: String,
    },
    /// There are bytes in `unsent`.
    Send {
        /// On which connection.
        connection: ConnectionId,
    },
    /// Close the connection, without reporting it.
    Close {
        /// Which.
        connection: ConnectionId,
    },
}

/// One client: its routing, its sessions, its outstanding commands.
#[derive(Debug)]
pub struct Core {
    shared: Shared,
    /// One per group that the newest map lists or that has a command in doubt; a group keeps its
    /// position as long as it has one.
    lanes: Vec<Lane>,
    /// Positions in `lanes` without a group, to be given to the next ones.
    vacant: Vec<usize>,
    /// A group's position in `lanes`.
    by_group: BTreeMap<GroupId, usize>,
    /// Lanes that may have something to send; each at most once, marked by `Lane::queued`.
    to_pump: Vec<usize>,
    map: MapFetch,
    /// Slots for which groups named another group than the map does.
    detours: Detours,
    /// Commands whose slots have no known group: they wait for a map.
    unmapped: Vec<Stray>,
    /// Set by `shut_down`: nothing is taken any more.
    closing: bool,
    /// Replies to `CloseSession` still awaited.
    farewells: usize,
}

impl Core {
    /// A client that learns the shard map from any of `seeds` (`host:port`).
    ///
    /// # Panics
    /// If `seeds` is empty.
    pub fn new(seeds: &[String], options: Options) -> Self {
        assert!(!seeds.is_empty(), "a client needs an address to begin with");
        let mut shared = Shared::new(options);
        let map = MapFetch::new(seeds, &mut shared.random);
        Self {
            shared,
            lanes: Vec::new(),
            vacant: Vec::new(),
            by_group: BTreeMap::new(),
            to_pump: Vec::new(),
            map,
            detours: Detours::default(),
            unmapped: Vec::new(),
            closing: false,
            farewells: 0,
        }
    }

    /// Takes a command; its outcome will come with `ticket`.
    ///
    /// # Errors
    /// If no server would accept it; then no outcome will come.
    pub fn submit(
        &mut self,
        now: Time,
        ticket: u64,
        command: Command<'_>,
    ) -> Result<(), CommandError> {
        let mut delta = [0; 8];
        let fields = command.fields(&mut delta);
        fields.check()?;
        self.shared.advance(now);
        if self.closing {
            let outcome = Outcome::Rejected(Rejection::Closed);
            self.shared.completions.failed(ticket, outcome, Evidence::default());
            return Ok(());
        }
        let deadline = self.shared.now + self.shared.options.operation_timeout;
        self.route(&[fields], Caller { ticket, deadline });
        Ok(())
    }

    /// Takes commands that happen all or not at all, on keys of one slot; the outcome of each will
    /// come, with `ticket` and those that follow it.
    ///
    /// They see what those before them do. If one of them fails, that one's outcome says why, and the
    /// others' that they were [aborted](Rejection::Aborted).
    ///
    /// # Errors
    /// If no server would accept them; then no outcome will come.
    pub fn submit_multi(
        &mut self,
        now: Time,
        ticket: u64,
        commands: &[Command<'_>],
    ) -> Result<(), CommandError> {
        let mut deltas = vec![[0; 8]; commands.len()];
        let commands = commands.iter().zip(&mut deltas);
        let commands: Vec<_> = commands.map(|(command, delta)| command.fields(delta)).collect();
        check_batch(&commands)?;
        self.shared.advance(now);
        let deadline = self.shared.now + self.shared.options.operation_timeout;
        let caller = Caller { ticket, deadline };
        if self.closing {
            self.reject_all(&[Stray::new(&commands, caller)], Rejection::Closed);
        } else {
            self.route(&commands, caller);
        }
        Ok(())
    }

    /// Whether a shard map is known. Before, commands wait.
    pub const fn is_ready(&self) -> bool {
        self.shared.routing.is_some()
    }

    /// How many nodes the shard map names.
    pub fn node_count(&self) -> usize {
        self.shared.routing.as_ref().map_or(0, |routing| routing.addresses.len())
    }

    /// What this client went through.
    pub const fn counters(&self) -> Counters {
        self.shared.counters
    }

    /// When `handle_timeout` is to be called, if nothing else happens.
    pub const fn deadline(&self) -> Option<Time> {
        self.shared.wake_at
    }

    /// The connection stands.
    pub fn handle_connected(&mut self, connection: ConnectionId, now: Time) {
        self.shared.advance(now);
        let cluster = self.shared.routing.as_ref().map(|routing| routing.cluster);
        let Some(link) = self.shared.links.get_mut(&connection) else { return };
        let group = match link.purpose {
            Purpose::Map => GroupId::default(),
            Purpose::Lane(position) => self.lanes[position].group,
        };
        link.greet(cluster.unwrap_or_default(), group);
        self.shared.output(connection);
    }

    /// Bytes came in, in order.
    pub fn handle_bytes(&mut self, connection: ConnectionId, bytes: &[u8], now: Time) {
        self.shared.advance(now);
        let Some(link) = self.shared.links.get_mut(&connection) else { return };
        link.input.extend_from_slice(bytes);
        // Out of the link, so that handling a frame may change anything, this link included.
        let mut input = std::mem::take(&mut link.input);
        match self.handle_frames(connection, &input) {
            Ok(taken) => {
                if let Some(link) = self.shared.links.get_mut(&connection) {
                    input.consume(taken);
                    link.input = input;
                }
            }
            Err(Distrust) => self.give_up(connection),
        }
    }

    /// The connection is gone, or never came to be.
    pub fn handle_closed(&mut self, connection: ConnectionId, now: Time) {
        self.shared.advance(now);
        if let Some(link) = self.shared.links.remove(&connection) {
            self.shared.counters.connections_lost += 1;
            self.after_loss(connection, link.purpose);
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.shared.advance(now);
        if self.shared.wake_at.is_none_or(|wake| self.shared.now < wake) {
            return;
        }
        self.shared.wake_at = None;
        self.expire_links();
        self.expire_strays();
        for position in 0..self.lanes.len() {
            self.lanes[position].expire(&mut self.shared);
            self.queue(position);
        }
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        if self.shared.actions.is_empty() {
            self.pump();
        }
        let action = self.shared.actions.pop_front();
        if let Some(Action::Send { connection }) = action
            && let Some(link) = self.shared.links.get_mut(&connection)
        {
            link.announced = false;
        }
        action
    }

    /// The next outcome, if any; its value is to be read before the next call.
    pub fn poll_completion(&mut self) -> Option<Completion<'_>> {
        self.shared.completions.take()
    }

    /// Whether outcomes are waiting to be taken.
    pub fn has_completions(&self) -> bool {
        !self.shared.completions.is_empty()
    }

    /// What is to be sent on `connection`; empty if it is gone.
    pub fn unsent(&self, connection: ConnectionId) -> &[u8] {
        self.shared.links.get(&connection).map_or(&[], |link| link.unsent())
    }

    /// The first `count` bytes of `unsent` went out.
    ///
    /// # Panics
    /// If there were fewer: a bug of the driver's.
    pub fn handle_sent(&mut self, connection: ConnectionId, count: usize) {
        if let Some(link) = self.shared.links.get_mut(&connection) {
            link.consume(count);
        }
    }

    /// Ends the client: everything outstanding gets an outcome, and the groups are asked to forget
    /// its sessions. Drive it on until `is_closed`, or drop it and let the sessions expire.
    pub fn shut_down(&mut self, now: Time) {
        self.shared.advance(now);
        self.closing = true;
        self.reject_strays();
        for lane in &mut self.lanes {
            self.farewells += usize::from(lane.shut_down(&mut self.shared));
        }
    }

    /// Whether nothing more needs to be sent or awaited after `shut_down`.
    pub const fn is_closed(&self) -> bool {
        self.closing && self.farewells == 0
    }

    fn queue(&mut self, position: usize) {
        let lane = &mut self.lanes[position];
        lane.hand_back(&mut self.shared);
        if !lane.queued {
            lane.queued = true;
            self.to_pump.push(position);
        }
    }

    fn pump(&mut self) {
        self.route_strays();
        for at in 0..self.to_pump.len() {
            let position = self.to_pump[at];
            let lane = &mut self.lanes[position];
            lane.queued = false;
            lane.pump(&mut self.shared);
            if lane.is_over() {
                self.vacate(position);
            }
        }
        self.to_pump.clear();
        if !self.closing {
            self.map.pump(&mut self.shared);
        }
    }

    /// Handles every whole frame of `input`; how many bytes these were.
    fn handle_frames(&mut self, connection: ConnectionId, input: &[u8]) -> Result<usize, Distrust> {
        let mut taken = 0;
        loop {
            match scan(&input[taken..], CLIENT_FRAME_BODY_MAX) {
                Ok(Scan::Incomplete { .. }) => return Ok(taken),
                Ok(Scan::Frame(frame)) => {
                    taken += frame.bytes.len();
                    self.handle_frame(connection, &frame)?;
                }
                Err(error) => {
                    tracing::debug!(%connection, %error, "unreadable frame from a server");
                    return Err(Distrust);
                }
            }
        }
    }

    fn handle_frame(
        &mut self,
        connection: ConnectionId,
        frame: &Frame<'_>,
    ) -> Result<(), Distrust> {
        // A frame before it may have closed the connection.
        let Some(link) = self.shared.links.get_mut(&connection) else { return Ok(()) };
        match (link.phase, link.purpose) {
            (Phase::Greeting, purpose) => {
                if !link.welcome(frame) {
                    return Err(Distrust);
                }
                self.on_ready(connection, purpose);
                Ok(())
            }
            (Phase::Ready, Purpose::Map) if frame.kind == FrameKind::MapReply => {
                self.on_map(connection, frame)
            }
            (Phase::Ready, Purpose::Lane(position)) if frame.kind == FrameKind::Reply => {
                self.on_reply(connection, position, frame)
            }
            _ => Err(Distrust),
        }
    }

    fn on_ready(&mut self, connection: ConnectionId, purpose: Purpose) {
        match purpose {
            Purpose::Map => MapFetch::ask(connection, &mut self.shared),
            Purpose::Lane(position) => self.queue(position),
        }
    }

    fn on_reply(
        &mut self,
        connection: ConnectionId,
        position: usize,
        frame: &Frame<'_>,
    ) -> Result<(), Distrust> {
        let reply = parse_reply(frame).map_err(|_| Distrust)?;
        if self.closing {
            self.farewells = self.farewells.saturating_sub(1);
            return Ok(());
        }
        let lane = &mut self.lanes[position];
        lane.on_reply(connection, &reply, &mut self.shared).map_err(|_| Distrust)?;
        self.queue(position);
        self.send_on();
        let known = self.shared.routing.as_ref().map_or(0, |routing| routing.epoch);
        self.shared.map_stale |= reply.head.epoch > known;
        Ok(())
    }

    /// Ends a connection whose other end does not speak as it should.
    fn give_up(&mut self, connection: ConnectionId) {
        let Some(link) = self.shared.links.get(&connection) else { return };
        let purpose = link.purpose;
        self.shared.counters.connections_lost += 1;
        self.shared.close(connection);
        self.after_loss(connection, purpose);
    }

    fn after_loss(&mut self, connection: ConnectionId, purpose: Purpose) {
        match purpose {
            Purpose::Map => self.map.on_closed(connection, &mut self.shared),
            Purpose::Lane(position) => {
                self.farewells = self.farewells.saturating_sub(1);
                self.lanes[position].on_closed(connection, &mut self.shared);
                self.queue(position);
            }
        }
    }

    /// Gives up connections that take too long to come about, or to answer with a map.
    fn expire_links(&mut self) {
        let now = self.shared.now;
        let mut late = Vec::new();
        let mut earliest: Option<Time> = None;
        for (&connection, link) in &self.shared.links {
            if link.phase == Phase::Ready && link.purpose != Purpose::Map {
                continue;
            }
            if link.deadline <= now {
                late.push(connection);
            } else {
                earliest = Some(earliest.map_or(link.deadline, |time| time.min(link.deadline)));
            }
        }
        if let Some(time) = earliest {
            self.shared.wake_before(time);
        }
        for connection in late {
            self.give_up(connection);
        }
    }
}

/// The other end of a connection does not speak as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Distrust;
