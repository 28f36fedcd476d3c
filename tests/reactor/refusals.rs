//! Frames of which a part could be served and a part could not: which are refused whole, and which are
//! answered one by one.

use sunstar::base::{ConnectionId, GroupId, NodeId, Sequence, SessionId};
use sunstar::wire::client::{
    Operation, OperationKind, Outcome, RequestBuilder, Status, encode_open_session,
};

use super::client::{Client, key_of, reply_of};
use super::cluster::{Cluster, for_each_frame};

const G1: GroupId = GroupId(1);
const G2: GroupId = GroupId(2);
const ONE: NodeId = NodeId(1);
const CONNECTION: ConnectionId = ConnectionId(7);
const PUT: OperationKind = OperationKind::Put;
const DELETE: OperationKind = OperationKind::Delete;

/// One node with two groups, a client's session in the first, and three keys in it.
struct Setting {
    cluster: Cluster,
    session: SessionId,
    sequence: u64,
    requests: u64,
    keys: [String; 3],
    /// Frames to be sent in one go.
    frames: Vec<u8>,
}

impl Setting {
    fn new(seed: u64) -> Self {
        let mut cluster = Cluster::new(1, 2, 256 << 10, seed);
        cluster.run_until(2_000, is_led);
        let mut client = Client::open(&mut cluster, 1, G1);
        let keys = ["a", "b", "c"].map(|prefix| key_of(&cluster, G1, prefix));
        for key in &keys {
            client.write(&mut cluster, PUT, key, b"before");
        }
        let (session, sequence) = (client.session, client.sequence);
        Self { cluster, session, sequence, requests: 0, keys, frames: Vec::new() }
    }

    fn write(&mut self, group: GroupId, operations: &[(OperationKind, &str)]) {
        let mut builder = RequestBuilder::new();
        let lowest = Sequence(self.sequence + 1);
        for &(kind, key) in operations {
            self.sequence += 1;
            let (sequence, key) = (Sequence(self.sequence), key.as_bytes());
            let value: &[u8] = if kind == DELETE { b"" } else { b"after" };
            builder.push(&Operation { sequence, kind, flags: 0, key, value, expected: &[] });
        }
        self.requests += 1;
        builder.encode_write(self.requests, group, self.session, lowest, &mut self.frames);
    }

    fn read(&mut self, keys: &[&str]) {
        let mut builder = RequestBuilder::new();
        for key in keys {
            builder.push_get(key.as_bytes());
        }
        self.requests += 1;
        builder.encode_read(self.requests, G1, &mut self.frames);
    }

    fn open_session(&mut self) {
        self.requests += 1;
        encode_open_session(self.requests, G1, &mut self.frames);
    }

    /// Sends all frames at once: the outcome of each in the order they were sent, with what became of
    /// each command.
    fn outcomes(&mut self) -> Vec<(Outcome, Vec<Status>)> {
        self.cluster.send(ONE, CONNECTION, std::mem::take(&mut self.frames));
        let mut outcomes = std::collections::BTreeMap::new();
        let expected = self.requests;
        for _ in 0..200 {
            self.cluster.round();
            for_each_frame(
                &self.cluster.replies.remove(&CONNECTION).unwrap_or_default(),
                |frame| {
                    let (request, reply) = reply_of_request(frame);
                    outcomes.insert(request, reply);
                },
            );
        }
        assert_eq!(outcomes.len() as u64, expected, "each frame is answered once");
        self.requests = 0;
        outcomes.into_values().collect()
    }
}

fn is_led(cluster: &mut Cluster) -> bool {
    [G1, G2].iter().all(|group| cluster.leader(*group).is_some()) && cluster.is_settled()
}

fn reply_of_request(frame: &[u8]) -> (u64, (Outcome, Vec<Status>)) {
    let scanned = sunstar::wire::frame::scan_trusted(frame).expect("a whole frame");
    let request = sunstar::wire::client::parse_reply(&scanned).expect("a reply").head.request;
    let reply = reply_of(frame);
    let statuses = reply.answers.iter().map(|(answer, _)| answer.status).collect();
    (request, (reply.outcome, statuses))
}

/// A frame that takes memory is refused whole, deletes in it and all; the others beside it are served.
#[test]
fn without_memory_each_frame_has_its_own_fate() {
    let mut setting = Setting::new(1);
    setting.cluster.memory_max = 1;
    setting.cluster.restart_all();
    setting.cluster.run_until(2_000, is_led);
    let [a, b, c] = setting.keys.clone();
    setting.write(G1, &[(DELETE, &a), (PUT, &b)]);
    setting.sequence -= 2;
    setting.write(G1, &[(DELETE, &c)]);
    setting.read(&[&a, &b, &c]);
    setting.open_session();
    setting.write(GroupId(77), &[(PUT, &a)]);
    setting.sequence -= 1;
    let outcomes = setting.outcomes();
    assert_eq!(outcomes[0], (Outcome::MemoryFull, vec![]), "refused whole");
    assert_eq!(outcomes[1], (Outcome::Ok, vec![Status::Ok]), "deletes make room");
    assert_eq!(outcomes[2].0, Outcome::Ok);
    assert_eq!(outcomes[2].1[..2], [Status::Ok; 2], "nothing of the first frame happened");
    assert_eq!(outcomes[3].0, Outcome::Ok, "without a session nobody could delete");
    assert_eq!(outcomes[4], (Outcome::WrongGroup, vec![]));
    setting.read(&[&a, &b, &c]);
    let after = vec![Status::Ok, Status::Ok, Status::NotFound];
    assert_eq!(setting.outcomes(), [(Outcome::Ok, after)]);
}

/// Without room in the log nothing can be written, not even that something is deleted.
#[test]
fn without_room_on_the_disk_writes_are_refused_and_reads_are_not() {
    let mut setting = Setting::new(2);
    setting.cluster.full.insert(ONE);
    let [a, b, _] = setting.keys.clone();
    for _ in 0..1_000 {
        if setting.cluster.status(ONE).disk_full {
            break;
        }
        setting.write(G1, &[(PUT, &a), (PUT, &b)]);
        setting.outcomes();
    }
    assert!(setting.cluster.status(ONE).disk_full);
    setting.write(G1, &[(DELETE, &a), (PUT, &b)]);
    setting.sequence -= 2;
    setting.write(G1, &[(DELETE, &a)]);
    setting.sequence -= 1;
    setting.read(&[&a, &b]);
    setting.open_session();
    let outcomes = setting.outcomes();
    for refused in [0, 1, 3] {
        assert_eq!(outcomes[refused], (Outcome::DiskFull, vec![]), "frame {refused}");
    }
    assert_eq!(outcomes[2], (Outcome::Ok, vec![Status::Ok; 2]));
}

/// A key of another group is a matter of its command alone.
#[test]
fn keys_of_another_group_are_answered_one_by_one() {
    let mut setting = Setting::new(3);
    let [a, b, _] = setting.keys.clone();
    let foreign = key_of(&setting.cluster, G2, "f");
    setting.write(G1, &[(PUT, &a), (PUT, &foreign), (DELETE, &b)]);
    setting.read(&[&a, &foreign, &b]);
    let outcomes = setting.outcomes();
    assert_eq!(outcomes[0], (Outcome::Ok, vec![Status::Ok, Status::WrongSlot, Status::Ok]));
    assert_eq!(outcomes[1].0, Outcome::Ok);
    assert_eq!(outcomes[1].1[1], Status::WrongSlot);
}
