//! Non-blocking sockets of any number of client cores behind one epoll instance.
//!
//! Every socket is registered once, edge-triggered for both directions: in the steady state a turn
//! costs one wait, and a send and a receive per connection that has something to say.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::time::Timespec;

use crate::base::{ConnectionId, Micros, Time};
use crate::client::core::{Action, Core};

/// The sockets of one thread's client cores.
pub struct Sockets {
    epoll: OwnedFd,
    /// By token, the number the kernel returns with an event; tokens are never reused.
    open: BTreeMap<u64, Socket>,
    /// The token of each core's connection.
    tokens: BTreeMap<(usize, ConnectionId), u64>,
    next_token: u64,
    /// What the last wait brought; taken from the back.
    events: Vec<epoll::Event>,
    /// Where received bytes land before the core takes them.
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Socket {
    /// Which core it belongs to.
    owner: usize,
    connection: ConnectionId,
    stream: TcpStream,
    /// Whether the core knows that it stands.
    established: bool,
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sockets({})", self.open.len())
    }
}

/// Something happened to a socket.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    token: u64,
    flags: EventFlags,
    /// The core it belongs to, as given to `perform`.
    pub owner: usize,
}

/// Bytes taken from a socket at once.
const BUFFER: usize = 256 << 10;

/// Events taken at once.
const EVENTS: usize = 256;

impl Sockets {
    /// No sockets yet.
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            open: BTreeMap::new(),
            tokens: BTreeMap::new(),
            next_token: 1,
            events: Vec::with_capacity(EVENTS),
            buffer: vec![0; BUFFER].into_boxed_slice(),
        })
    }

    /// Performs everything that `core`, known here as `owner`, wants done.
    pub fn perform(&mut self, owner: usize, core: &mut Core, now: Time) {
        while let Some(action) = core.poll_action() {
            match action {
                Action::Connect { connection, address } => {
                    if let Err(error) = self.connect(owner, connection, &address) {
                        tracing::debug!(%address, %error, "cannot connect");
                        core.handle_closed(connection, now);
                    }
                }
                Action::Send { connection } => {
                    if let Some(&token) = self.tokens.get(&(owner, connection)) {
                        self.flush(token, core, now);
                    }
                }
                Action::Close { connection } => self.remove(owner, connection),
            }
        }
    }

    /// Waits until something happens or the time is over; `None`: as long as it takes.
    pub fn wait(&mut self, timeout: Option<Micros>) {
        let timeout = timeout.map(|Micros(micros)| Timespec {
            tv_sec: i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(micros % 1_000_000 * 1_000).expect("below a billion"),
        });
        self.events.clear();
        let events = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, events, timeout.as_ref()) {
            // A signal ends the wait early; the caller waits again.
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("waiting for sockets: {error}"),
        }
    }

    /// The next of the last wait's events.
    pub fn take_ready(&mut self) -> Option<Readiness> {
        loop {
            let event = self.events.pop()?;
            let (token, flags) = (event.data.u64(), event.flags);
            // The connection may have been closed since.
            if let Some(socket) = self.open.get(&token) {
                return Some(Readiness { token, flags, owner: socket.owner });
            }
        }
    }

    /// Tells `core` what happened.
    ///
    /// # Panics
    /// If the event belongs to another core.
    pub fn handle(&mut self, ready: Readiness, core: &mut Core, now: Time) {
        let Readiness { token, flags, .. } = ready;
        if !self.establish(token, flags, core, now) {
            return;
        }
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
        {
            self.receive(token, core, now);
        }
        if flags.contains(EventFlags::OUT) {
            self.flush(token, core, now);
        }
    }

    fn connect(&mut self, owner: usize, connection: ConnectionId, address: &str) -> io::Result<()> {
        let token = self.next_token;
        self.next_token += 1;
        // A name may stand for several addresses: each attempt takes another.
        let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
        let attempt = usize::try_from(token).expect("64 bits");
        let Some(&address) = addresses.get(attempt % addresses.len().max(1)) else {
            return Err(ErrorKind::NotFound.into());
        };
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &stream, EventData::new_u64(token), interest)?;
        let socket = Socket { owner, connection, stream, established: false };
        self.open.insert(token, socket);
        self.tokens.insert((owner, connection), token);
        Ok(())
    }

    /// Tells the core once that the connection stands; false if it does not.
    fn establish(&mut self, token: u64, flags: EventFlags, core: &mut Core, now: Time) -> bool {
        let Some(socket) = self.open.get_mut(&token) else { return false };
        if socket.established {
            return true;
        }
        let connection = socket.connection;
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            self.lose(token, core, now);
            return false;
        }
        if flags.contains(EventFlags::OUT) {
            socket.established = true;
            core.handle_connected(connection, now);
            return true;
        }
        false
    }

    /// Hands the core what has arrived.
    fn receive(&mut self, token: u64, core: &mut Core, now: Time) {
        while let Some(socket) = self.open.get_mut(&token) {
            match socket.stream.read(&mut self.buffer) {
                Ok(0) => return self.lose(token, core, now),
                Ok(count) => {
                    core.handle_bytes(socket.connection, &self.buffer[..count], now);
                    if count < self.buffer.len() {
                        // The socket is empty; more will raise another edge.
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.lose(token, core, now),
            }
        }
    }

    /// Sends what the core has for the connection, as far as the socket takes it; the rest goes
    /// when the socket has room again.
    fn flush(&mut self, token: u64, core: &mut Core, now: Time) {
        let Some(socket) = self.open.get_mut(&token) else { return };
        loop {
            let unsent = core.unsent(socket.connection);
            if unsent.is_empty() || !socket.established {
                return;
            }
            match socket.stream.write(unsent) {
                Ok(count) => core.handle_sent(socket.connection, count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.lose(token, core, now),
            }
        }
    }

    /// The connection broke: the core is told.
    fn lose(&mut self, token: u64, core: &mut Core, now: Time) {
        if let Some(socket) = self.open.remove(&token) {
            self.tokens.remove(&(socket.owner, socket.connection));
            core.handle_closed(socket.connection, now);
        }
    }

    /// The core closed the connection; dropping the stream also ends its registration.
    fn remove(&mut self, owner: usize, connection: ConnectionId) {
        if let Some(token) = self.tokens.remove(&(owner, connection)) {
            self.open.remove(&token);
        }
    }
}
