//! A whole node in this process, spoken to through its ports.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use super::*;
use crate::base::NodeId;
use crate::base::limits::HANDSHAKE_BODY_MAX;
use crate::base::{AlignedBuf, ClusterId, GroupId, Incarnation, Micros};
use crate::placement::{NodeInfo, ShardMap};
use crate::wal::SEGMENT_BYTES_MIN;
use crate::wire::frame::{FrameKind, PROTOCOL_VERSION, Scan, append_frame, scan};
use crate::wire::handshake::{
    ClientHello, ClientHelloReply, PeerHello, PeerHelloReply, PeerPurpose, Ping,
};

/// A node that serves in threads of this process.
struct Served {
    config: NodeConfig,
    node: Arc<Node>,
    thread: JoinHandle<Result<(), RunError>>,
    /// Removed when the test is over.
    directory: Option<tempfile::TempDir>,
}

impl Served {
    /// Node n1 of two; the other is not there.
    fn start() -> Self {
        let tree = env!("CARGO_MANIFEST_DIR");
        let directory = tempfile::tempdir_in(tree).expect("the tree is writable");
        let config = config(directory.path().join("data"));
        let mut served = Self::start_with(config);
        served.directory = Some(directory);
        served
    }

    fn start_with(config: NodeConfig) -> Self {
        let (started, starting) = mpsc::channel();
        let its_config = config.clone();
        let serving = move || {
            serve(its_config, |node| {
                started.send(node).expect("the test waits");
                Ok(|| {})
            })
        };
        let thread = thread::Builder::new().spawn(serving).expect("threads are left");
        let Ok(node) = starting.recv() else {
            panic!("it does not start: {:?}", thread.join());
        };
        Self { config, node, thread, directory: None }
    }

    fn stop(self) {
        self.node.stop();
        self.thread.join().expect("no panic").expect("stopped in order");
    }

    fn client(&self) -> Line {
        Line::to(self.config.client_addr)
    }

    fn peer(&self) -> Line {
        Line::to(self.config.peer_addr)
    }
}

/// A port that was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

fn config(data_dir: PathBuf) -> NodeConfig {
    let node = |id| NodeInfo {
        id: NodeId(id),
        client_address: "127.0.0.1:1".to_owned(),
        peer_address: "127.0.0.1:1".to_owned(),
    };
    NodeConfig {
        node: NodeId(1),
        cluster: ClusterId(7),
        data_dir,
        client_addr: free_address(),
        peer_addr: free_address(),
        admin_addr: Some(free_address()),
        smp: 2,
        cpuset: vec![],
        overprovisioned: true,
        memory: 1 << 30,
        shard_map: ShardMap::initial(vec![node(1), node(2)], 4).expect("two nodes"),
        groups: 4,
        election_timeout: Micros::from_secs(1),
        heartbeat_interval: Micros::from_millis(100),
        lease_drift_percent: 0,
        segment_bytes: SEGMENT_BYTES_MIN,
        idle_poll_time_us: 0,
        task_quota_ms: 10,
        blocked_reactor_notify_ms: 0,
    }
}

/// One connection of the test's.
struct Line {
    stream: TcpStream,
    received: AlignedBuf,
}

impl Line {
    fn to(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).expect("it listens"),
            received: AlignedBuf::new(),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it takes what it is sent");
    }

    /// The next frame's kind and bytes; nothing once the node has closed the connection.
    fn receive(&mut self) -> Option<AlignedBuf> {
        loop {
            let scanned = scan(&self.received, HANDSHAKE_BODY_MAX).expect("the node speaks well");
            if let Scan::Frame(frame) = scanned {
                let length = frame.bytes.len();
                let copy = AlignedBuf::copy_of(frame.bytes);
                self.received.consume(length);
                return Some(copy);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
            }
        }
    }

    fn greet_client(&mut self, cluster: u64, group: u32) -> ClientHelloReply {
        let mut bytes = Vec::new();
        ClientHello {
            protocol: PROTOCOL_VERSION,
            cluster: ClusterId(cluster),
            group: GroupId(group),
        }
        .encode(&mut bytes);
        self.send(&bytes);
        let reply = self.receive().expect("answered");
        with_frame(&reply, |frame| ClientHelloReply::parse(frame).expect("a reply"))
    }

    fn greet_peer(&mut self, change: impl FnOnce(&mut PeerHello)) -> PeerHelloReply {
        let mut hello = PeerHello {
            protocol: PROTOCOL_VERSION,
            cluster: ClusterId(7),
            node: NodeId(2),
            incarnation: Incarnation(22),
            core: CoreId(0),
            wanted_core: CoreId(0),
            smp: 1,
            wanted_node: NodeId(1),
            purpose: PeerPurpose::Detector,
        };
        change(&mut hello);
        let mut bytes = Vec::new();
        hello.encode(&mut bytes);
        self.send(&bytes);
        let reply = self.receive().expect("answered");
        with_frame(&reply, |frame| PeerHelloReply::parse(frame).expect("a reply"))
    }

    fn is_closed(&mut self) -> bool {
        self.receive().is_none()
    }
}

fn with_frame<T>(bytes: &AlignedBuf, read: impl FnOnce(&crate::wire::frame::Frame<'_>) -> T) -> T {
    match scan(bytes, HANDSHAKE_BODY_MAX) {
        Ok(Scan::Frame(frame)) => read(&frame),
        other => panic!("not a frame: {other:?}"),
    }
}

#[test]
fn a_client_is_served_by_the_core_of_the_group_it_names() {
    let served = Served::start();
    for group in [1, 2, 3, 4, 1] {
        let mut line = served.client();
        let reply = line.greet_client(7, group);
        assert_eq!(reply.refusal, None);
        assert_eq!((reply.node, reply.smp), (NodeId(1), 2));
        assert_eq!(u32::from(reply.core.0), group % 2, "the home of group {group}");
        let mut request = Vec::new();
        // A request that breaks the schema, to see that the frame reached a reactor.
        append_frame(FrameKind::MapRequest, b"no such table", &mut request);
        line.send(&request);
        assert!(line.is_closed());
    }
    assert_eq!(served.client().greet_client(0, 0).refusal, None, "any cluster, any core");
    let refused = served.client().greet_client(8, 1).refusal.expect("another cluster");
    assert!(refused.contains("cluster"), "{refused}");
    served.stop();
}

#[test]
fn malformed_bytes_close_the_connection_on_every_port() {
    let served = Served::start();
    let mut oversized = Vec::new();
    append_frame(FrameKind::ClientHello, &[0; HANDSHAKE_BODY_MAX + 1], &mut oversized);
    let mut misplaced = Vec::new();
    append_frame(FrameKind::PeerBatch, &[0; 16], &mut misplaced);
    for bytes in [&[0; 64][..], b"GET / HTTP/1.1\r\n\r\n", &oversized, &misplaced] {
        for mut line in [served.client(), served.peer()] {
            line.send(bytes);
            assert!(line.is_closed());
        }
    }
    assert_eq!(served.client().greet_client(7, 1).refusal, None, "it still serves");
    served.stop();
}

#[test]
fn a_node_is_known_by_its_incarnation_also_after_a_restart() {
    let mut served = Served::start();
    let mut line = served.peer();
    let reply = line.greet_peer(|_| {});
    assert_eq!((reply.refusal, reply.node, reply.smp), (None, NodeId(1), 2));
    let mut question = Vec::new();
    Ping { number: 5, ..Ping::default() }.encode(&mut question);
    line.send(&question);
    let pong = line.receive().expect("answered");
    with_frame(&pong, |frame| {
        assert_eq!(frame.kind, FrameKind::Pong);
        assert_eq!(Ping::parse(frame).expect("intact").number, 5);
    });
    let other = |hello: &mut PeerHello| hello.incarnation = Incarnation(23);
    let refused = served.peer().greet_peer(other).refusal.expect("another disk");
    assert!(refused.contains("formatted anew"), "{refused}");

    let (config, directory) = (served.config.clone(), served.directory.take());
    served.stop();
    let again = Served::start_with(config);
    assert!(again.peer().greet_peer(other).refusal.is_some(), "it remembers");
    let to_core_1 = |hello: &mut PeerHello| {
        hello.purpose = PeerPurpose::Link;
        hello.wanted_core = CoreId(1);
    };
    assert_eq!(again.peer().greet_peer(to_core_1).refusal, None);
    again.stop();
    drop(directory);
}

#[test]
fn the_administration_port_tells_how_the_node_is() {
    let served = Served::start();
    let get = |path: &str| {
        let address = served.config.admin_addr.expect("given");
        let mut stream = TcpStream::connect(address).expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: n1\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    };
    assert!(get("/livez").starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").starts_with("HTTP/1.1 503"), "a majority is missing");
    assert!(get("/nowhere").starts_with("HTTP/1.1 404"));
    let status = get("/status?hash=1");
    let body = status.split("\r\n\r\n").nth(1).expect("a body");
    let status: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(status["node"], 1);
    assert_eq!(status["peers"][0]["up"], false);
    assert_eq!(status["cores"].as_array().expect("cores").len(), 2);
    assert!(status["cores"][1]["groups"][0]["state_hash"].is_string());
    served.stop();
}

#[test]
fn a_second_node_in_the_same_place_does_not_start() {
    let served = Served::start();
    let mut config = served.config.clone();
    let refused = |config: &NodeConfig| {
        let started = serve(config.clone(), |_| Ok(|| {}));
        started.expect_err("the first one serves").to_string()
    };
    assert!(refused(&config).contains("in use by another process"));
    config.data_dir = config.data_dir.with_extension("2");
    assert!(refused(&config).contains("--client-addr"));
    served.stop();
}
