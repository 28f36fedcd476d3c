//! A client's connection without a client: what the tests send is what the server gets.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use sunstar::base::limits::CLIENT_FRAME_BODY_MAX;
use sunstar::base::{AlignedBuf, ClusterId, GroupId, Sequence, SessionId, Slot};
use sunstar::wire::client::{
    Operation, OperationKind, Outcome, ReplyView, RequestBuilder, Status, encode_map_request,
    encode_open_session, parse_reply,
};
use sunstar::wire::frame::{Frame, FrameKind, PROTOCOL_VERSION, Scan, scan};
use sunstar::wire::handshake::{ClientHello, ClientHelloReply};
use sunstar::wire::map::{ClusterView, parse_map_reply};

use super::wait::PATIENCE;

/// A reply, its bytes owned.
#[derive(Clone, Debug)]
pub(crate) struct RawReply {
    pub(crate) request: u64,
    pub(crate) outcome: Outcome,
    pub(crate) session: SessionId,
    pub(crate) leader: u64,
    /// Of the first answer.
    pub(crate) status: Option<Status>,
    /// `number` of the first answer.
    pub(crate) number: i64,
    /// The value of the first answer.
    pub(crate) value: Vec<u8>,
}

/// A connection and what has arrived on it.
#[derive(Debug)]
pub(crate) struct RawConnection {
    stream: TcpStream,
    received: AlignedBuf,
}

impl RawConnection {
    /// Connects; says nothing yet.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a server that listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        stream.set_nodelay(true).expect("a live socket");
        Self { stream, received: AlignedBuf::new() }
    }

    /// Connects and greets, wanting the core of `group`.
    pub(crate) fn greet(address: SocketAddr, group: GroupId) -> (Self, ClientHelloReply) {
        let mut connection = Self::open(address);
        let mut hello = Vec::new();
        ClientHello { protocol: PROTOCOL_VERSION, cluster: ClusterId(0), group }.encode(&mut hello);
        connection.send(&hello).expect("a server that reads");
        let reply = connection
            .receive(|frame| ClientHelloReply::parse(frame).expect("the reply to a greeting"));
        assert_eq!(reply.refusal, None);
        (connection, reply)
    }

    /// # Errors
    /// If the server has closed the connection.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Our own end, as the server's log names it.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket")
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish_sending(&self) {
        // It fails if the server was faster, which is all right.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Waits until the server has closed the connection; what it says before is skipped.
    ///
    /// # Panics
    /// If it leaves it open.
    pub(crate) fn assert_closed(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
                Err(error) => panic!("not closed: {error}"),
            }
        }
    }

    /// Asks for the shard map.
    pub(crate) fn map(&mut self) -> ClusterView {
        let mut bytes = Vec::new();
        encode_map_request(5, &mut bytes);
        self.send(&bytes).expect("a server that reads");
        self.receive(|frame| {
            let (request, view) = parse_map_reply(frame).expect("a well-formed map");
            assert_eq!(request, 5);
            view
        })
    }

    /// Opens a session.
    pub(crate) fn open_session(&mut self, request: u64, group: GroupId) -> RawReply {
        let mut bytes = Vec::new();
        encode_open_session(request, group, &mut bytes);
        self.ask(&bytes)
    }

    /// Appends to a key in a session.
    pub(crate) fn append(
        &mut self,
        request: u64,
        group: GroupId,
        session: SessionId,
        sequence: Sequence,
        key: &[u8],
        value: &[u8],
    ) -> RawReply {
        let mut builder = RequestBuilder::new();
        let kind = OperationKind::Append;
        builder.push(&Operation { sequence, kind, flags: 0, key, value, expected: &[] });
        let mut bytes = Vec::new();
        builder.encode_write(request, group, session, sequence, &mut bytes);
        self.ask(&bytes)
    }

    /// Reads a key.
    pub(crate) fn read(&mut self, request: u64, group: GroupId, key: &[u8]) -> RawReply {
        self.send_read(request, group, key);
        self.receive_reply()
    }

    /// Asks for a key, without waiting for the reply.
    pub(crate) fn send_read(&mut self, request: u64, group: GroupId, key: &[u8]) {
        self.try_send_read(request, group, key).expect("a server that reads");
    }

    /// The same of a server that may have had enough.
    ///
    /// # Errors
    /// If it has closed the connection.
    pub(crate) fn try_send_read(
        &mut self,
        request: u64,
        group: GroupId,
        key: &[u8],
    ) -> io::Result<()> {
        let mut builder = RequestBuilder::new();
        builder.push_get(key);
        let mut bytes = Vec::new();
        builder.encode_read(request, group, &mut bytes);
        self.send(&bytes)
    }

    fn ask(&mut self, request: &[u8]) -> RawReply {
        self.send(request).expect("a server that reads");
        self.receive_reply()
    }

    /// Waits for the next reply.
    pub(crate) fn receive_reply(&mut self) -> RawReply {
        self.receive(|frame| {
            assert_eq!(frame.kind, FrameKind::Reply);
            raw_reply(&parse_reply(frame).expect("a well-formed reply"))
        })
    }

    /// Waits for one whole frame.
    fn receive<T>(&mut self, read: impl FnOnce(&Frame<'_>) -> T) -> T {
        loop {
            let scanned = scan(self.received.as_slice(), CLIENT_FRAME_BODY_MAX);
            if let Scan::Frame(frame) = scanned.expect("the server sends frames") {
                let value = read(&frame);
                let length = frame.bytes.len();
                self.received.consume(length);
                return value;
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).expect("a reply in time");
            assert_ne!(count, 0, "the server closed the connection instead of replying");
            self.received.extend_from_slice(&buffer[..count]);
        }
    }
}

/// Returns a key that belongs to `group`.
pub(crate) fn key_of(map: &ClusterView, group: GroupId) -> Vec<u8> {
    let owner = |key: &[u8]| {
        let slot = Slot::of_key(key).number();
        map.slots.iter().find(|run| (run.first..=run.last).contains(&slot)).map(|run| run.group)
    };
    (0..100_000)
        .map(|number| format!("key-{number}").into_bytes())
        .find(|key| owner(key) == Some(group))
        .expect("every group has slots")
}

fn raw_reply(reply: &ReplyView<'_>) -> RawReply {
    let first = reply.answers().next();
    RawReply {
        request: reply.head.request,
        outcome: reply.head.outcome,
        session: reply.head.session,
        leader: reply.head.leader.0,
        status: first.map(|(answer, _)| answer.status),
        number: first.map_or(0, |(answer, _)| answer.number),
        value: first.map_or_else(Vec::new, |(_, value)| value.to_vec()),
    }
}
