//! Clients: accepted by any core, greeted, and moved to the core of the group they name.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::core::Core;
use super::sockets::{CloseReason, Greeting, Handed, Role, Token};
use super::turn::{HandOver, Verdict};
use crate::base::{AlignedBuf, CoreId, GroupId, Micros};
use crate::placement::ShardMap;
use crate::wire::frame::{Frame, FrameKind, PROTOCOL_VERSION};
use crate::wire::handshake::{ClientHello, ClientHelloReply};

/// How long a handshake may take.
pub(super) const GREETING_TIME: Micros = Micros::from_secs(5);
/// Connections accepted in a row, at most.
const ACCEPTS_MAX: usize = 256;

/// A client's socket on its way to the core it is for.
pub(super) struct HandedClient(pub(super) Handed);

/// Whether a client may send such a frame.
pub(super) fn check_kind(frame: &Frame<'_>) -> Result<(), CloseReason> {
    match frame.kind {
        FrameKind::MapRequest
        | FrameKind::Write
        | FrameKind::Read
        | FrameKind::OpenSession
        | FrameKind::CloseSession => Ok(()),
        _ => Err(CloseReason::Unexpected("frame of this kind")),
    }
}

impl Core {
    /// Accepts whoever waits at the client port.
    pub(super) fn accept_clients(&mut self) {
        if let Some(listener) = self.client_listener.take() {
            self.accept(&listener, Role::ClientGreeting);
            self.client_listener = Some(listener);
        }
    }

    /// Accepts whoever waits at a port.
    pub(super) fn accept(&mut self, listener: &TcpListener, role: Role) {
        for _ in 0..ACCEPTS_MAX {
            match listener.accept() {
                Ok((stream, address)) => self.greet(stream, address, role),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        tracing::warn!(core = %self.id, %error, "cannot accept a connection");
                        self.accept_again = true;
                        return;
                    }
                },
            }
        }
        self.accept_again = true;
    }

    fn greet(&mut self, stream: TcpStream, address: SocketAddr, role: Role) {
        let handed = Handed { stream, address, rest: AlignedBuf::new() };
        match self.sockets.insert(handed, role) {
            Ok(token) => self.expect_greeting(token),
            Err(error) => {
                tracing::warn!(core = %self.id, %address, %error, "connection not accepted");
            }
        }
    }

    /// Closes the socket if its handshake is not done in time.
    pub(super) fn expect_greeting(&mut self, token: Token) {
        self.greetings.push_back(Greeting { token, deadline: self.now + GREETING_TIME });
    }

    /// A client's first frame.
    pub(super) fn greet_client(
        &mut self,
        token: Token,
        frame: &Frame<'_>,
    ) -> Result<Verdict, CloseReason> {
        let hello = ClientHello::parse(frame)?;
        if let Err(refusal) = self.local().judge_client(&hello) {
            return Err(self.refuse_client(token, refusal.to_string()));
        }
        let home = self.home_of(hello.group);
        if home != self.id {
            return Ok(Verdict::HandOver(HandOver::Client(home)));
        }
        self.welcome_client(token);
        Ok(Verdict::Stay)
    }

    /// A client's socket from the core that accepted it.
    pub(super) fn adopt_client(&mut self, HandedClient(handed): HandedClient) {
        let address = handed.address;
        match self.sockets.insert(handed, Role::Client) {
            Ok(token) => {
                self.welcome_client(token);
                self.read(token, false);
            }
            Err(error) => {
                tracing::warn!(core = %self.id, %address, %error, "connection not accepted");
            }
        }
    }

    /// Moves a greeted socket to another core.
    pub(super) fn hand_over(&mut self, token: Token, to: HandOver, rest: &[u8]) {
        use super::mesh::Letter;
        use super::peers::HandedPeer;

        let Some(handed) = self.sockets.hand_over(token, rest) else { return };
        match to {
            HandOver::Client(core) => {
                self.mesh.send(core, Letter::Client(HandedClient(handed)));
            }
            HandOver::Peer(core, admitted) => {
                self.mesh.send(core, Letter::Peer(HandedPeer { handed, admitted }));
            }
        }
    }

    fn welcome_client(&mut self, token: Token) {
        if let Some(socket) = self.sockets.get_mut(token) {
            socket.role = Role::Client;
        }
        let reply = self.client_reply(None);
        self.send(token, reply);
    }

    fn refuse_client(&mut self, token: Token, refusal: String) -> CloseReason {
        let reply = self.client_reply(Some(refusal.clone()));
        self.send(token, reply);
        CloseReason::Refused(refusal)
    }

    fn client_reply(&self, refusal: Option<String>) -> Vec<u8> {
        let mut bytes = Vec::new();
        ClientHelloReply {
            protocol: PROTOCOL_VERSION,
            cluster: self.node.config.cluster,
            node: self.node.config.node,
            core: self.id,
            smp: self.node.config.cores(),
            refusal,
        }
        .encode(&mut bytes);
        bytes
    }

    /// The core that a client of `group` belongs on; group 0 is "any".
    fn home_of(&self, group: GroupId) -> CoreId {
        if group == GroupId(0) {
            return self.id;
        }
        ShardMap::home_core(group, self.node.config.cores())
    }
}
