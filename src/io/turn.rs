//! A turn: everything that waits is taken in, the reactor does its work, everything it asks is done.

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::core::{ADMIN_LISTENER, BELL, CLIENT_LISTENER, Core, PEER_LISTENER};
use super::inbox::Event;
use super::mesh::Letter;
use super::sockets::{CloseReason, Filled, Role, Token};
use crate::base::{AlignedBuf, ConnectionId, CoreId, Time};
use crate::reactor::{Close, CoreMessage, CoreSend, Effects, Input, Reply};
use crate::wire::frame::{Frame, Scan, scan};

/// Letters taken from one core in one turn, at most.
const LETTERS_MAX: usize = 1_024;
/// Reads of one socket in one turn, at most: others want their turn.
const READS_MAX: usize = 4;
/// A client that has not taken so many bytes of replies is closed.
const UNSENT_MAX: usize = 16 << 20;

/// What becomes of a socket after a frame.
pub(super) enum Verdict {
    /// More frames may follow.
    Stay,
    /// It moves to another core, together with what was read of its next frames.
    HandOver(HandOver),
}

/// What one read of a socket brought.
enum Progress {
    Nothing,
    Read { more: bool },
}

/// Where a socket moves and what it is to be there.
#[derive(Clone, Copy, Debug)]
pub(super) enum HandOver {
    Client(CoreId),
    Peer(CoreId, super::peers::Admitted),
}

impl Core {
    /// One turn.
    pub(super) fn turn(&mut self) {
        let began = self.node.clock.now();
        self.now = began;
        self.mesh.wake_up();
        self.maybe_begin_draining();
        if self.inbox.take_tick() {
            self.on_tick();
        }
        self.take_letters();
        self.take_inbox();
        self.take_unread();
        if self.inbox.take_sockets_ready() {
            self.take_sockets();
        }
        self.finish_turn();
        self.complain_of_long_turn(began);
    }

    fn finish_turn(&mut self) {
        // Not before anything that came in this turn: a read may not be answered by a lease that
        // had run out when it was sent.
        self.now = self.node.clock.now();
        if self.reactor.deadline() <= self.now {
            self.step(Input::Tick);
        }
        if !std::mem::take(&mut self.stepped) {
            return;
        }
        self.inbox.keep_busy();
        let mut effects = std::mem::take(&mut self.effects);
        self.reactor.finish_turn(self.now, &mut effects);
        self.perform(&mut effects);
        self.effects = effects;
    }

    /// Performs and empties `effects`. After who they are, other nodes first: their disks can begin while
    /// ours does.
    fn perform(&mut self, effects: &mut Effects) {
        if let Some(map) = effects.map_adopted.take() {
            self.adopt_map(map);
        }
        for send in effects.peer_sends.drain(..) {
            self.send_to_peer(send);
        }
        for write in effects.log_writes.drain(..) {
            self.disk.write(write);
        }
        for read in effects.log_reads.drain(..) {
            self.disk.read(read);
        }
        for CoreSend { to, message } in effects.core_sends.drain(..) {
            self.send_to_core(to, message);
        }
        for Reply { connection, bytes } in effects.replies.drain(..) {
            self.send(Token(connection.0), bytes);
        }
        for Close { connection, reason } in effects.closes.drain(..) {
            self.close_when_sent(Token(connection.0), reason);
        }
        for prepare in effects.prepare_segments.drain(..) {
            self.disk.prepare(prepare.segment);
        }
        if let Some(segment) = effects.hurried_segment.take() {
            self.disk.hurry(segment);
        }
        for segment in effects.segment_removals.drain(..) {
            self.disk.remove_segment(segment);
        }
        for write in effects.snapshot_writes.drain(..) {
            self.disk.snapshot(write);
        }
        for group in effects.snapshot_removals.drain(..) {
            self.disk.remove_snapshots(group);
        }
        if let Some(write) = effects.map_write.take() {
            self.keep_map(write);
        }
        for answer in effects.admin_answers.drain(..) {
            self.answer_administrator(answer);
        }
    }

    /// Sends to another core of this node, unless too much waits there already.
    fn send_to_core(&mut self, to: CoreId, message: CoreMessage) {
        match message {
            CoreMessage::Request { connection, frame } if self.mesh.is_full(to, frame.len()) => {
                self.step(Input::NotForwarded { connection, frame: &frame });
            }
            message => self.mesh.send(to, Letter::Core(message)),
        }
    }

    fn on_tick(&mut self) {
        if let Some(gap) = self.stalls.tick(self.now) {
            tracing::warn!(core = %self.id, gap_ms = gap.0 / 1_000, "the core stalled");
        }
        self.expire_greetings();
        self.watch_peers();
        self.maybe_keep_map();
        if std::mem::take(&mut self.accept_again) {
            self.accept_clients();
            self.accept_peers();
            self.accept_administrators();
        }
    }

    /// Greetings that took too long.
    fn expire_greetings(&mut self) {
        while let Some(greeting) = self.greetings.front()
            && greeting.deadline <= self.now
        {
            let token = greeting.token;
            self.greetings.pop_front();
            let waits = self.sockets.get(token).is_some_and(|socket| socket.role.is_greeting());
            if waits {
                self.close(token, &CloseReason::Silent);
            }
        }
    }

    fn take_letters(&mut self) {
        for from in 0..self.mesh.cores() {
            for _ in 0..LETTERS_MAX {
                let Some(letter) = self.mesh.receive(from) else { break };
                let from = CoreId(u16::try_from(from).expect("cores are numbered by u16"));
                self.take_letter(from, letter);
            }
        }
    }

    fn take_letter(&mut self, from: CoreId, letter: Letter) {
        match letter {
            Letter::Core(message) => self.step(Input::CoreMessage { from, message }),
            Letter::Client(handed) => self.adopt_client(handed),
            Letter::Peer(handed) => self.adopt_peer(handed),
            Letter::NodeUp { node, incarnation, first, smp } => {
                self.node_up(node, incarnation, first, smp);
            }
            Letter::NodeReplaced { node } => self.part_with(node),
            Letter::NodeDown { node } => self.node_down(node),
            Letter::StatusRequest { ticket, with_hash } => {
                let report = Box::new(self.report(with_hash));
                self.mesh.send(from, Letter::Status { ticket, report });
            }
            Letter::Status { ticket, report } => self.take_report(ticket, *report),
            Letter::Administer { ticket, group, operation } => {
                self.step(Input::Administer { ticket, group, operation });
            }
            Letter::AdminAnswer(answer) => self.answer_administrator(*answer),
        }
    }

    fn take_inbox(&mut self) {
        let mut events = std::mem::take(&mut self.inbox_events);
        self.inbox.take_events(&mut events);
        for event in events.drain(..) {
            match event {
                Event::LogWritten(write) => self.step(Input::LogWritten { write }),
                Event::LogRead(read, result) => {
                    let bytes = result.as_deref().unwrap_or_default();
                    self.step(Input::LogReadDone { read, bytes });
                }
                Event::SegmentReady(segment, file) => {
                    self.disk.opened(segment, file);
                    self.step(Input::SegmentReady { segment });
                }
                Event::SegmentFailed(segment) => self.step(Input::SegmentFailed { segment }),
                Event::SnapshotWritten(snapshot) => self.step(Input::SnapshotWritten { snapshot }),
                Event::SnapshotFailed(snapshot) => self.step(Input::SnapshotFailed { snapshot }),
                Event::Resolved { purpose, to, address } => self.call(purpose, to, address),
                Event::SnapshotsRemoved(group) => self.step(Input::SnapshotsRemoved { group }),
                Event::MapKept { write, is_kept } => self.map_kept(write, is_kept),
                Event::Status(query) => self.collect_status(query),
                Event::AskGroup(query) => self.ask_group(query),
                Event::AskMaster(query) => self.ask_master(query),
                Event::AskMap(answer) => self.tell_map(answer),
                Event::AskMember(query) => self.ask_member(query),
            }
        }
        self.inbox_events = events;
    }

    /// Sockets that the last turn did not read to their end.
    fn take_unread(&mut self) {
        for token in std::mem::take(&mut self.unread) {
            self.read(token, false);
        }
    }

    fn take_sockets(&mut self) {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut events = std::mem::take(&mut self.socket_events);
        let room = spare_capacity(&mut events);
        match epoll::wait(&self.sockets, room, Some(&AT_ONCE)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => super::disk::die("asking for ready sockets", &error),
        }
        for event in events.drain(..) {
            let (flags, token) = (event.flags, event.data.u64());
            match token {
                BELL => {}
                CLIENT_LISTENER => self.accept_clients(),
                PEER_LISTENER => self.accept_peers(),
                ADMIN_LISTENER => self.accept_administrators(),
                socket => self.take_socket_event(Token(socket), flags),
            }
        }
        self.socket_events = events;
    }

    fn take_socket_event(&mut self, token: Token, flags: epoll::EventFlags) {
        let failed = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
        if failed
            && let Some(socket) = self.sockets.get(token)
            && let Err(reason) = socket.take_error()
        {
            self.close(token, &reason);
            return;
        }
        if flags.contains(epoll::EventFlags::OUT) {
            self.flush(token);
        }
        let ended = failed || flags.contains(epoll::EventFlags::RDHUP);
        if ended || flags.contains(epoll::EventFlags::IN) {
            self.read(token, ended);
        }
    }

    /// Sends what waits in a socket.
    fn flush(&mut self, token: Token) {
        let Some(socket) = self.sockets.get_mut(token) else { return };
        if socket.unsent == 0 {
            return;
        }
        match socket.flush() {
            Ok(resumed) => {
                let finished = socket.unsent == 0;
                if let (true, Some(reason)) = (finished, socket.closing.take()) {
                    self.close(token, &CloseReason::Reactor(reason));
                } else if resumed {
                    // What happened while it was not read, its end included, is not told again.
                    self.read(token, true);
                }
            }
            Err(reason) => self.close(token, &reason),
        }
    }

    /// Reads a socket and handles its frames. `to_the_end`: the other side has finished, so that
    /// there is an end to be read.
    pub(super) fn read(&mut self, token: Token, to_the_end: bool) {
        let mut shared = std::mem::take(&mut self.shared);
        let mut reads = 0;
        let more = loop {
            match self.read_once(token, &mut shared) {
                Ok(Progress::Read { more }) if more || to_the_end => {}
                Ok(_) => break false,
                Err(reason) => {
                    self.close(token, &reason);
                    break false;
                }
            }
            reads += 1;
            if reads == READS_MAX {
                break true;
            }
        };
        if more {
            self.unread.push(token);
        }
        self.shared = shared;
        self.relieve_buffers();
    }

    /// Closes the clients that hold most until all together hold no more than they may.
    fn relieve_buffers(&mut self) {
        while self.sockets.buffers.clients() > self.buffers_max
            && let Some((token, held)) = self.sockets.heaviest_client()
        {
            self.close(token, &CloseReason::Crowded(held));
        }
    }

    fn read_once(
        &mut self,
        token: Token,
        shared: &mut AlignedBuf,
    ) -> Result<Progress, CloseReason> {
        let draining = self.draining.is_some();
        let Some(socket) = self.sockets.get_mut(token) else { return Ok(Progress::Nothing) };
        if draining && socket.role == Role::Client {
            return Ok(Progress::Nothing);
        }
        let filled = socket.fill(shared)?;
        // A promise to a leader begins when its message was read, not when the turn began.
        self.now = self.node.clock.now();
        let socket = self.sockets.get_mut(token).expect("it was read just now");
        match filled {
            Filled::Nothing => Ok(Progress::Nothing),
            Filled::Growing { more } => Ok(Progress::Read { more }),
            Filled::Large { more } => {
                let frame = socket.take_large();
                self.take_frames(token, &frame)?;
                Ok(Progress::Read { more })
            }
            Filled::Shared { filled, more } => {
                self.take_frames(token, &shared[..filled])?;
                Ok(Progress::Read { more })
            }
        }
    }

    /// Handles the frames that `bytes` begins with and keeps the rest with the socket.
    fn take_frames(&mut self, token: Token, bytes: &[u8]) -> Result<(), CloseReason> {
        let mut rest = bytes;
        while let Some(socket) = self.sockets.get_mut(token) {
            match scan(rest, socket.role.body_max())? {
                Scan::Incomplete { needed } => {
                    socket.keep(rest, needed);
                    break;
                }
                Scan::Frame(frame) => {
                    rest = &rest[frame.bytes.len()..];
                    let role = socket.role;
                    if let Verdict::HandOver(to) = self.take_frame(token, role, &frame)? {
                        self.hand_over(token, to, rest);
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn take_frame(
        &mut self,
        token: Token,
        role: Role,
        frame: &Frame<'_>,
    ) -> Result<Verdict, CloseReason> {
        match role {
            Role::Client => {
                let connection = ConnectionId(token.0);
                super::clients::check_kind(frame)?;
                self.step(Input::ClientFrame { connection, frame: frame.bytes });
            }
            Role::LinkIn(from) => {
                super::peers::check_kind(frame)?;
                self.step(Input::PeerFrame { from, frame: frame.bytes });
            }
            Role::ClientGreeting => return self.greet_client(token, frame),
            Role::PeerGreeting => return self.greet_peer(token, frame),
            Role::LinkCalling(peer) => self.link_answered(token, peer, frame)?,
            Role::DetectorCalling(node) => self.detector_answered(token, node, frame)?,
            Role::DetectorIn(node) => self.take_ping(token, node, frame)?,
            Role::DetectorOut(node) => self.take_pong(node, frame)?,
            Role::LinkOut(_) => return Err(CloseReason::Unexpected("frame")),
        }
        Ok(Verdict::Stay)
    }

    /// Sends bytes, closing a socket that fails or does not take what it was sent.
    pub(super) fn send(&mut self, token: Token, bytes: Vec<u8>) {
        let Some(socket) = self.sockets.get_mut(token) else { return };
        if let Err(reason) = socket.send(bytes) {
            self.close(token, &reason);
            return;
        }
        let unsent = socket.unsent;
        if unsent > UNSENT_MAX && socket.role == Role::Client {
            self.close(token, &CloseReason::TooSlow(unsent));
        }
        self.relieve_buffers();
    }

    fn close_when_sent(&mut self, token: Token, reason: String) {
        let Some(socket) = self.sockets.get_mut(token) else { return };
        if socket.unsent == 0 {
            self.close(token, &CloseReason::Reactor(reason));
        } else {
            socket.closing = Some(reason);
        }
    }

    /// Closes a socket and tells whom it concerns.
    pub(super) fn close(&mut self, token: Token, reason: &CloseReason) {
        let Some(socket) = self.sockets.remove(token) else { return };
        let (core, address) = (self.id, socket.address);
        if reason.is_ordinary(socket.role) {
            tracing::debug!(%core, %address, role = ?socket.role, %reason, "connection closed");
        } else {
            tracing::warn!(%core, %address, role = ?socket.role, %reason, "connection closed");
        }
        match socket.role {
            Role::Client => {
                self.step(Input::ClientClosed { connection: ConnectionId(token.0) });
            }
            Role::LinkIn(peer) => {
                if self.links_in.get(&peer) == Some(&token) {
                    self.links_in.remove(&peer);
                }
            }
            Role::LinkCalling(peer) | Role::LinkOut(peer) => self.link_closed(peer),
            Role::DetectorCalling(node) | Role::DetectorOut(node) => self.detector_closed(node),
            Role::ClientGreeting | Role::PeerGreeting | Role::DetectorIn(_) => {}
        }
    }

    fn complain_of_long_turn(&self, began: Time) {
        let limit = self.node.config.blocked_reactor_notify_ms;
        if limit == 0 {
            return;
        }
        let took = self.node.clock.now().since(began);
        if took.0 > limit * 1_000 {
            tracing::warn!(core = %self.id, took_ms = took.0 / 1_000, "a turn was long");
        }
    }
}
