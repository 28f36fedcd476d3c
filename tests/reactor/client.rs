//! A client that sends one batch at a time, by hand.

use sunstar::base::{ConnectionId, GroupId, NodeId, Sequence, SessionId, Slot};
use sunstar::wire::client::{
    Answer, Operation, OperationKind, Outcome, RequestBuilder, Status, encode_open_session,
    parse_reply,
};

use super::cluster::{Cluster, for_each_frame};

/// Rounds within which a healthy group answers.
const ROUNDS: usize = 2_000;

/// A reply, owned.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) outcome: Outcome,
    pub(crate) leader: NodeId,
    pub(crate) session: SessionId,
    pub(crate) answers: Vec<(Answer, Vec<u8>)>,
}

/// One client with one session in one group.
pub(crate) struct Client {
    pub(crate) group: GroupId,
    pub(crate) session: SessionId,
    pub(crate) sequence: u64,
    requests: u64,
    connections: u64,
    number: u64,
}

impl Client {
    /// Opens a session in `group`.
    pub(crate) fn open(cluster: &mut Cluster, number: u64, group: GroupId) -> Self {
        let session = SessionId(0);
        let mut client = Self { group, session, sequence: 0, requests: 0, connections: 0, number };
        let reply = client.until_applied(cluster, |request, out| {
            encode_open_session(request, group, out);
        });
        client.session = reply.session;
        client
    }

    /// A client that only reads.
    pub(crate) fn reader(number: u64, group: GroupId) -> Self {
        Self { group, session: SessionId(0), sequence: 0, requests: 0, connections: 0, number }
    }

    /// One write, retried until a leader has applied it.
    pub(crate) fn write(
        &mut self,
        cluster: &mut Cluster,
        kind: OperationKind,
        key: &str,
        value: &[u8],
    ) -> Answer {
        self.sequence += 1;
        let frame = self.frame(kind, key, value);
        let reply = self.until_applied(cluster, |request, out| frame(request, out));
        reply.answers[0].0
    }

    /// Puts many keys with one frame, retried until a leader has applied it.
    pub(crate) fn write_all(&mut self, cluster: &mut Cluster, keys: &[String], value: &[u8]) {
        let (group, session, first) = (self.group, self.session, Sequence(self.sequence + 1));
        self.sequence += keys.len() as u64;
        self.until_applied(cluster, |request, out| {
            let (mut builder, kind) = (RequestBuilder::new(), OperationKind::Put);
            for (key, sequence) in keys.iter().zip(first.0..) {
                let (sequence, key, expected) = (Sequence(sequence), key.as_bytes(), &[][..]);
                builder.push(&Operation { sequence, kind, flags: 0, key, value, expected });
            }
            builder.encode_write(request, group, session, first, out);
        });
    }

    /// The write numbered `self.sequence`, as a frame with any request number.
    pub(crate) fn frame(
        &self,
        kind: OperationKind,
        key: &str,
        value: &[u8],
    ) -> impl Fn(u64, &mut Vec<u8>) + use<> {
        let (group, session, sequence) = (self.group, self.session, Sequence(self.sequence));
        let (key, value) = (key.as_bytes().to_vec(), value.to_vec());
        move |request, out| {
            let mut builder = RequestBuilder::new();
            let (key, value, expected) = (&key[..], &value[..], &[][..]);
            builder.push(&Operation { sequence, kind, flags: 0, key, value, expected });
            builder.encode_write(request, group, session, sequence, out);
        }
    }

    /// A linearizable read by `node`.
    pub(crate) fn read(&mut self, cluster: &mut Cluster, node: NodeId, key: &str) -> Reply {
        let mut builder = RequestBuilder::new();
        builder.push_get(key.as_bytes());
        self.requests += 1;
        let mut bytes = Vec::new();
        builder.encode_read(self.requests, self.group, &mut bytes);
        let connection = self.connect();
        cluster.send(node, connection, bytes);
        Self::answer(cluster, connection, ROUNDS).expect("a read is answered")
    }

    /// Reads at the leader until a leader answers.
    pub(crate) fn get(&mut self, cluster: &mut Cluster, key: &str) -> Option<Vec<u8>> {
        loop {
            let group = self.group;
            cluster.run_until(ROUNDS, |cluster| cluster.leader(group).is_some());
            let leader = cluster.leader(group).expect("waited for above");
            let reply = self.read(cluster, leader, key);
            if reply.outcome == Outcome::Ok {
                let (answer, value) = &reply.answers[0];
                return (answer.status == Status::Ok).then(|| value.clone());
            }
        }
    }

    /// Sends a frame to `node` on a new connection.
    pub(crate) fn send(
        &mut self,
        cluster: &mut Cluster,
        node: NodeId,
        frame: &dyn Fn(u64, &mut Vec<u8>),
    ) -> ConnectionId {
        self.requests += 1;
        let mut bytes = Vec::new();
        frame(self.requests, &mut bytes);
        let connection = self.connect();
        cluster.send(node, connection, bytes);
        connection
    }

    /// Waits for the reply on `connection`.
    pub(crate) fn answer(
        cluster: &mut Cluster,
        connection: ConnectionId,
        rounds: usize,
    ) -> Option<Reply> {
        for _ in 0..rounds {
            if let Some(bytes) = cluster.replies.remove(&connection) {
                return Some(reply_of(&bytes));
            }
            cluster.round();
        }
        None
    }

    fn connect(&mut self) -> ConnectionId {
        self.connections += 1;
        ConnectionId(self.number * 1_000_000 + self.connections)
    }

    pub(crate) fn until_applied(
        &mut self,
        cluster: &mut Cluster,
        frame: impl Fn(u64, &mut Vec<u8>),
    ) -> Reply {
        for _ in 0..100 {
            let group = self.group;
            cluster.run_until(ROUNDS, |cluster| cluster.leader(group).is_some());
            let leader = cluster.leader(group).expect("waited for above");
            let connection = self.send(cluster, leader, &frame);
            match Self::answer(cluster, connection, ROUNDS) {
                Some(reply) if reply.outcome == Outcome::Ok => return reply,
                _ => cluster.round(),
            }
        }
        panic!("no leader applied it");
    }
}

/// A key that `group` owns.
pub(crate) fn key_of(cluster: &Cluster, group: GroupId, prefix: &str) -> String {
    (0..1_000_000)
        .map(|i| format!("{prefix}-{i}"))
        .find(|key| cluster.map().group_of(Slot::of_key(key.as_bytes())) == group)
        .expect("every group owns slots")
}

/// The reply that `bytes` hold.
pub(crate) fn reply_of(bytes: &[u8]) -> Reply {
    let mut reply = None;
    for_each_frame(bytes, |frame| {
        let frame = sunstar::wire::frame::scan_trusted(frame).expect("a whole frame");
        let view = parse_reply(&frame).expect("a reply");
        reply = Some(Reply {
            outcome: view.head.outcome,
            leader: view.head.leader,
            session: view.head.session,
            answers: view.answers().map(|(answer, value)| (answer, value.to_vec())).collect(),
        });
    });
    reply.expect("one frame at least")
}
