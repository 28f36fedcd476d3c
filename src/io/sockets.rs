//! One core's sockets: a table of plain state on one epoll descriptor.
//!
//! Edge-triggered: an event says that something changed, so a socket is read until it has nothing
//! left and written until it takes no more. Bytes are received into one buffer that all sockets of the
//! core share; only the rest of an incomplete frame is kept with its socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use super::buffers::{Buffers, Held};
use crate::base::limits::{CLIENT_FRAME_BODY_MAX, HANDSHAKE_BODY_MAX, PEER_FRAME_BODY_MAX};
use crate::base::{AlignedBuf, NodeId, PeerCore, Time};
use crate::wire::WireError;
use crate::wire::frame::{FrameError, HEADER};

/// A socket's name: unique on its core for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(pub(super) u64);

/// Low bits of a token: the place in the table. The rest counts the uses of that place.
const PLACE_BITS: u32 = 24;
/// Sockets of one core, at most.
pub(super) const SOCKETS_MAX: usize = 64 << 10;
/// A socket with more unsent bytes than this is not read until it has less.
const PAUSE_BYTES: usize = 1 << 20;
/// Bytes by which the buffer of a large frame grows: a length in a header is a claim until its bytes
/// are there.
const LARGE_STEP: usize = 1 << 20;
/// Buffers handed to the system in one call.
const SLICES_MAX: usize = 16;

const _: () = assert!(SOCKETS_MAX < 1 << PLACE_BITS, "every place has a number");

impl Token {
    fn place(self) -> usize {
        usize::try_from(self.0 & ((1 << PLACE_BITS) - 1)).expect("24 bits fit")
    }
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Accepted from a client, which has not introduced itself.
    ClientGreeting,
    /// A client's.
    Client,
    /// Accepted from a node, which has not introduced itself.
    PeerGreeting,
    /// Carries batches from another node's core to this one.
    LinkIn(PeerCore),
    /// Another node's failure detector.
    DetectorIn(NodeId),
    /// Called another node's core, which has not answered.
    LinkCalling(PeerCore),
    /// Carries batches to another node's core.
    LinkOut(PeerCore),
    /// This node's failure detector, which was not answered.
    DetectorCalling(NodeId),
    /// This node's failure detector.
    DetectorOut(NodeId),
}

impl Role {
    /// Whether the other side has not said who it is.
    pub(super) const fn is_greeting(self) -> bool {
        matches!(
            self,
            Self::ClientGreeting
                | Self::PeerGreeting
                | Self::LinkCalling(_)
                | Self::DetectorCalling(_)
        )
    }

    /// Bytes of a frame's body that may arrive, at most.
    pub(super) const fn body_max(self) -> usize {
        match self {
            Self::Client => CLIENT_FRAME_BODY_MAX,
            Self::LinkIn(_) => PEER_FRAME_BODY_MAX,
            _ => HANDSHAKE_BODY_MAX,
        }
    }
}

/// Why a socket is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CloseReason {
    #[error("closed by the other side")]
    Ended,
    #[error("ended in the middle of a frame, after {0} bytes of it")]
    Truncated(usize),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("malformed bytes: {0}")]
    Frame(#[from] FrameError),
    #[error("malformed message: {0}")]
    Wire(#[from] WireError),
    #[error("a {0} was not expected here")]
    Unexpected(&'static str),
    #[error("refused: {0}")]
    Refused(String),
    #[error("refused by the other side: {0}")]
    RefusedThere(String),
    #[error("no handshake in time")]
    Silent,
    #[error("nothing heard in time")]
    Lost,
    #[error("{0} bytes of replies were not taken")]
    TooSlow(usize),
    #[error(
        "it held {0} bytes, more than any other, when clients' connections held more than they may \
         together: take replies sooner, or raise --memory"
    )]
    Crowded(usize),
    #[error("{0}")]
    Reactor(String),
    #[error("the node was removed from the cluster")]
    Removed,
    #[error("another connection took its place")]
    Superseded,
}

impl CloseReason {
    /// The same, seen after the first `kept` bytes of a frame.
    fn after(self, kept: usize) -> Self {
        match self {
            Self::Ended if kept > 0 => Self::Truncated(kept),
            other => other,
        }
    }

    /// Whether this happens in normal operation to a socket with such a role: connections end, and
    /// nodes that are down do not answer calls.
    pub(super) fn is_ordinary(&self, role: Role) -> bool {
        let calling = matches!(role, Role::LinkCalling(_) | Role::DetectorCalling(_));
        match self {
            Self::Ended | Self::Removed | Self::Superseded => true,
            Self::Io(_) | Self::Silent | Self::Lost => calling,
            _ => false,
        }
    }
}

/// One connection.
pub(super) struct Socket {
    stream: TcpStream,
    /// The other end.
    pub(super) address: SocketAddr,
    /// What it is for.
    pub(super) role: Role,
    /// The beginning of a frame whose rest has not arrived.
    partial: AlignedBuf,
    /// Bytes `partial` must have before it can tell more.
    needed: usize,
    /// `partial` came with the socket from another core and was not looked at.
    unscanned: bool,
    /// What the other side has not taken yet, oldest first.
    output: VecDeque<Vec<u8>>,
    /// Bytes of the first of `output` already sent.
    sent: usize,
    /// Bytes in `output` not yet sent.
    pub(super) unsent: usize,
    /// Bytes in `partial` and `output`.
    held: Held,
    /// To be closed once `output` is empty, and why.
    pub(super) closing: Option<String>,
}

/// A socket on its way to another core: nothing is registered, what was read of the next frame is
/// in `rest`.
pub(super) struct Handed {
    pub(super) stream: TcpStream,
    pub(super) address: SocketAddr,
    pub(super) rest: AlignedBuf,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// So many bytes in the shared buffer, the kept beginning included.
    Shared { filled: usize, more: bool },
    /// A large frame is whole, in `take_large`.
    Large { more: bool },
    /// A large frame grew.
    Growing { more: bool },
    /// Nothing arrived.
    Nothing,
}

/// One core's sockets.
pub(super) struct Sockets {
    epoll: OwnedFd,
    places: Vec<Place>,
    /// Places not in use.
    free: Vec<usize>,
    /// What all sockets hold.
    pub(super) buffers: Buffers,
}

struct Place {
    /// Uses of this place so far: part of the token, so that an old token finds nothing.
    uses: u64,
    socket: Option<Socket>,
}

impl Sockets {
    pub(super) fn new(epoll: OwnedFd) -> Self {
        Self { epoll, places: Vec::new(), free: Vec::new(), buffers: Buffers::default() }
    }

    /// Takes in a connected or connecting socket.
    ///
    /// # Errors
    /// If there are too many, or the system refuses.
    pub(super) fn insert(&mut self, handed: Handed, role: Role) -> io::Result<Token> {
        let Handed { stream, address, rest } = handed;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let token = self.reserve()?;
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        if let Err(error) =
            epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(token.0), flags)
        {
            self.free.push(token.place());
            return Err(error.into());
        }
        let mut socket = Socket {
            stream,
            address,
            role,
            unscanned: !rest.is_empty(),
            partial: rest,
            needed: HEADER,
            output: VecDeque::new(),
            sent: 0,
            unsent: 0,
            held: self.buffers.begin(role),
            closing: None,
        };
        socket.count();
        self.places[token.place()].socket = Some(socket);
        Ok(token)
    }

    /// Begins to connect to `address`. Bytes sent before the connection is there wait for it.
    ///
    /// # Errors
    /// If the system refuses at once.
    pub(super) fn connect(&mut self, address: SocketAddr, role: Role) -> io::Result<Token> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let handed = Handed { stream: socket.into(), address, rest: AlignedBuf::new() };
        self.insert(handed, role)
    }

    pub(super) fn get(&self, token: Token) -> Option<&Socket> {
        let place = self.places.get(token.place())?;
        if place.uses == token.0 >> PLACE_BITS { place.socket.as_ref() } else { None }
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Socket> {
        let place = self.places.get_mut(token.place())?;
        if place.uses == token.0 >> PLACE_BITS { place.socket.as_mut() } else { None }
    }

    /// Takes a socket out of the table and closes it.
    pub(super) fn remove(&mut self, token: Token) -> Option<Socket> {
        self.get(token)?;
        let place = &mut self.places[token.place()];
        let socket = place.socket.take();
        self.free.push(token.place());
        socket
    }

    /// Takes a socket out of the table, alive, with `rest`, what was read of its next frames.
    pub(super) fn hand_over(&mut self, token: Token, rest: &[u8]) -> Option<Handed> {
        let socket = self.remove(token)?;
        // Without this the old core would go on hearing of it.
        epoll::delete(&self.epoll, &socket.stream).ok()?;
        let rest = AlignedBuf::copy_of(rest);
        Some(Handed { stream: socket.stream, address: socket.address, rest })
    }

    /// Whether no client waits for bytes that were not sent.
    pub(super) fn all_sent(&self) -> bool {
        let sent = |socket: &Socket| socket.role != Role::Client || socket.unsent == 0;
        self.places.iter().all(|place| place.socket.as_ref().is_none_or(sent))
    }

    /// The client's socket that holds most, and how many bytes that is.
    pub(super) fn heaviest_client(&self) -> Option<(Token, usize)> {
        let sockets = self.places.iter().enumerate().filter_map(|(number, place)| {
            let socket = place.socket.as_ref()?;
            let is_client = matches!(socket.role, Role::ClientGreeting | Role::Client);
            is_client.then(|| (token(place.uses, number), socket.held.bytes()))
        });
        sockets.max_by_key(|&(_, held)| held)
    }

    /// How many sockets there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The sockets for which `wanted` holds.
    pub(super) fn tokens(&self, wanted: impl Fn(&Socket) -> bool) -> Vec<Token> {
        let mut tokens = Vec::new();
        for (number, place) in self.places.iter().enumerate() {
            if place.socket.as_ref().is_some_and(&wanted) {
                tokens.push(token(place.uses, number));
            }
        }
        tokens
    }

    fn reserve(&mut self) -> io::Result<Token> {
        if let Some(number) = self.free.pop() {
            let place = &mut self.places[number];
            place.uses += 1;
            return Ok(token(place.uses, number));
        }
        let number = self.places.len();
        if number >= SOCKETS_MAX {
            return Err(io::Error::other(format!("{SOCKETS_MAX} connections on this core")));
        }
        self.places.push(Place { uses: 1, socket: None });
        Ok(token(1, number))
    }
}

fn token(uses: u64, number: usize) -> Token {
    Token(uses << PLACE_BITS | number as u64)
}

impl Socket {
    /// Reads what is there, after what is kept, into `shared` (or, for a frame that does not fit it,
    /// into a buffer of its own).
    ///
    /// # Errors
    /// If the connection ended or failed.
    pub(super) fn fill(&mut self, shared: &mut AlignedBuf) -> Result<Filled, CloseReason> {
        if self.unsent > PAUSE_BYTES {
            return Ok(Filled::Nothing);
        }
        if self.needed > shared.len() {
            let filled = self.fill_large();
            self.count();
            return filled;
        }
        let kept = self.partial.len();
        let buffer = shared.as_mut_slice();
        buffer[..kept].copy_from_slice(&self.partial);
        let received = receive(&self.stream, &mut buffer[kept..]);
        let arrived = match received.map_err(|reason| reason.after(kept))? {
            Some(arrived) => arrived,
            None if self.unscanned => 0,
            None => return Ok(Filled::Nothing),
        };
        self.unscanned = false;
        self.partial.clear();
        self.count();
        Ok(Filled::Shared { filled: kept + arrived, more: kept + arrived == shared.len() })
    }

    fn fill_large(&mut self) -> Result<Filled, CloseReason> {
        let kept = self.partial.len();
        let room = self.needed.min(kept + LARGE_STEP);
        self.partial.resize(room);
        let result = receive(&self.stream, &mut self.partial.as_mut_slice()[kept..]);
        let arrived = result.as_ref().map_or(0, |arrived| arrived.unwrap_or(0));
        self.partial.resize(kept + arrived);
        if result.map_err(|reason| reason.after(kept))?.is_none() {
            return Ok(Filled::Nothing);
        }
        let more = kept + arrived == room;
        Ok(if kept + arrived == self.needed {
            Filled::Large { more }
        } else {
            Filled::Growing { more }
        })
    }

    /// The whole large frame.
    pub(super) fn take_large(&mut self) -> AlignedBuf {
        self.needed = HEADER;
        let frame = std::mem::take(&mut self.partial);
        self.count();
        frame
    }

    /// Takes note of what it holds.
    fn count(&mut self) {
        self.held.set(self.partial.len() + self.unsent);
    }

    /// Keeps the beginning of a frame that needs `needed` bytes.
    pub(super) fn keep(&mut self, rest: &[u8], needed: usize) {
        self.needed = needed;
        if rest.is_empty() {
            // An idle connection holds no buffer.
            self.partial = AlignedBuf::new();
        } else {
            self.partial = AlignedBuf::copy_of(rest);
        }
        self.count();
    }

    /// Sends `bytes`, at once if the socket takes them.
    ///
    /// # Errors
    /// If the connection failed.
    pub(super) fn send(&mut self, bytes: Vec<u8>) -> Result<(), CloseReason> {
        let mut taken = 0;
        if self.output.is_empty() {
            taken = self.send_now(&[IoSlice::new(&bytes)])?;
            if taken == bytes.len() {
                return Ok(());
            }
            self.sent = taken;
        }
        self.unsent += bytes.len() - taken;
        self.output.push_back(bytes);
        self.count();
        Ok(())
    }

    /// Sends what waits. Returns whether a paused socket may be read again.
    ///
    /// # Errors
    /// If the connection failed.
    pub(super) fn flush(&mut self) -> Result<bool, CloseReason> {
        let was_paused = self.unsent > PAUSE_BYTES;
        while self.unsent > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut offset = self.sent;
            for (slice, bytes) in slices.iter_mut().zip(&self.output) {
                *slice = IoSlice::new(&bytes[std::mem::take(&mut offset)..]);
            }
            let count = self.output.len().min(SLICES_MAX);
            let taken = self.send_now(&slices[..count])?;
            if taken == 0 {
                break;
            }
            self.forget_sent(taken);
        }
        self.count();
        Ok(was_paused && self.unsent <= PAUSE_BYTES)
    }

    /// Why connecting failed, if it did.
    pub(super) fn take_error(&self) -> Result<(), CloseReason> {
        match self.stream.take_error()? {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Bytes the system took, 0 if it takes none now.
    fn send_now(&self, slices: &[IoSlice<'_>]) -> Result<usize, CloseReason> {
        loop {
            match (&self.stream).write_vectored(slices) {
                Ok(taken) => return Ok(taken),
                Err(error) => match error.kind() {
                    // A socket that is still connecting says the latter.
                    io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => return Ok(0),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }

    fn forget_sent(&mut self, mut taken: usize) {
        self.unsent -= taken;
        while let Some(first) = self.output.front() {
            let left = first.len() - self.sent;
            if taken < left {
                self.sent += taken;
                return;
            }
            taken -= left;
            self.sent = 0;
            self.output.pop_front();
        }
    }
}

/// Bytes received; nothing if none are there.
fn receive(mut stream: &TcpStream, buffer: &mut [u8]) -> Result<Option<usize>, CloseReason> {
    loop {
        match stream.read(buffer) {
            Ok(0) => return Err(CloseReason::Ended),
            Ok(arrived) => return Ok(Some(arrived)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => return Ok(None),
                io::ErrorKind::Interrupted => {}
                _ => return Err(error.into()),
            },
        }
    }
}

/// A deadline for a socket that must introduce itself or be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Greeting {
    pub(super) token: Token,
    pub(super) deadline: Time,
}

impl AsFd for Sockets {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

#[cfg(test)]
mod tests;
