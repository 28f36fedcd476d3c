//! One core: its reactor, its sockets, its disk, and the pump that makes them meet.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::task::Poll;
use std::time::Duration;

use glommio::io::PollableFd;
use glommio::timer::sleep;
use rustix::event::epoll;

use super::admin::Collector;
use super::administration::Questions;
use super::buffers::clients_max;
use super::disk::Disk;
use super::inbox::{Event, Inbox};
use super::kept_map::Keeping;
use super::links::{Link, PeerNode};
use super::mesh::Mesh;
use super::neighbours::others;
use super::node::Node;
use super::registry::Registry;
use super::sockets::{Greeting, Sockets, Token};
use super::stall::{IDLE_TICK_INTERVAL, Stalls, TICK_INTERVAL};
use super::watchdog::{Heartbeat, Watched};
use crate::base::limits::HANDSHAKE_BODY_MAX;
use crate::base::{AlignedBuf, CoreId, Micros, NodeId, PeerCore, Time};
use crate::peering::Detector;
use crate::placement::ShardMap;
use crate::reactor::{Effects, Input, Reactor};

/// Bytes of the buffer that all sockets of a core are read into.
const SHARED_BUFFER_BYTES: usize = 1 << 20;
/// Socket events taken in one turn, at most; more wait for the next.
const EVENTS_MAX: usize = 512;
/// How long a stopping core waits for what is in flight.
const DRAIN_TIME_MICROS: u64 = 3_000_000;

const _: () = assert!(SHARED_BUFFER_BYTES >= 2 * HANDSHAKE_BODY_MAX, "a greeting fits at once");

/// What a core's epoll reports beside sockets: tokens that no socket has.
pub(super) const CLIENT_LISTENER: u64 = u64::MAX;
pub(super) const PEER_LISTENER: u64 = u64::MAX - 1;
pub(super) const ADMIN_LISTENER: u64 = u64::MAX - 2;
pub(super) const BELL: u64 = u64::MAX - 3;

/// Everything one core owns.
pub(super) struct Core {
    pub(super) id: CoreId,
    pub(super) node: Arc<Node>,
    pub(super) reactor: Reactor,
    /// When this turn began.
    pub(super) now: Time,
    /// The reactor was given something since its last turn ended.
    pub(super) stepped: bool,
    /// Reused: empty between turns.
    pub(super) effects: Effects,
    pub(super) mesh: Mesh,
    pub(super) disk: Disk,
    pub(super) inbox: Rc<Inbox>,
    /// Reused: empty between turns.
    pub(super) inbox_events: Vec<Event>,

    pub(super) sockets: Sockets,
    /// Bytes that clients' sockets may hold.
    pub(super) buffers_max: usize,
    /// Where sockets are read into; taken out while a socket is read.
    pub(super) shared: AlignedBuf,
    /// Reused: empty between turns.
    pub(super) socket_events: Vec<epoll::Event>,
    /// Sockets that had more to read than one turn takes: the system will not report them again.
    pub(super) unread: Vec<Token>,
    /// Sockets that owe or await a handshake, oldest first.
    pub(super) greetings: VecDeque<Greeting>,
    pub(super) client_listener: Option<TcpListener>,
    /// On core 0.
    pub(super) peer_listener: Option<TcpListener>,
    /// On core 0.
    pub(super) admin_listener: Option<TcpListener>,
    /// Connections to the administration port.
    pub(super) administrators: Rc<Cell<usize>>,
    /// Accepting failed, for want of descriptors perhaps: to be tried again at the next tick.
    pub(super) accept_again: bool,

    /// The shard map that this core goes by: its reactor's, as of the last turn's end.
    pub(super) map: Rc<ShardMap>,
    /// On core 0: maps on their way to the disk.
    pub(super) keeping: Keeping,
    /// What the failure detector says of each other node of the map.
    pub(super) peers: BTreeMap<NodeId, PeerNode>,
    /// Links to other nodes' cores, made when first needed.
    pub(super) links: BTreeMap<PeerCore, Link>,
    /// The connection that carries each peer core's batches to this core: the newest wins.
    pub(super) links_in: BTreeMap<PeerCore, Token>,
    /// On core 0: a detector for each other node of the map.
    pub(super) detectors: BTreeMap<NodeId, Detector<Token>>,
    /// On core 0: which incarnations were seen.
    pub(super) registry: Option<Registry>,
    /// On core 0: status reports being collected.
    pub(super) collector: Collector,
    /// On core 0: what administrators ask of groups.
    pub(super) questions: Questions,

    pub(super) stalls: Stalls,
    /// The node stops, and hands over what is led here. Since when.
    pub(super) leaving: Option<Time>,
    /// Nothing new is accepted or read from clients any more. Since when.
    pub(super) draining: Option<Time>,
    /// This core has nothing in flight, and said so.
    quiescent: bool,
}

/// What a core is made of.
pub(super) struct Parts {
    pub(super) node: Arc<Node>,
    pub(super) reactor: Reactor,
    pub(super) mesh: Mesh,
    pub(super) disk: Disk,
    pub(super) inbox: Rc<Inbox>,
    pub(super) client_listener: TcpListener,
    /// On core 0.
    pub(super) peer_listener: Option<TcpListener>,
    /// On core 0, if anywhere.
    pub(super) admin_listener: Option<TcpListener>,
    /// On core 0.
    pub(super) registry: Option<Registry>,
}

impl Core {
    /// # Errors
    /// If the system refuses a descriptor.
    pub(super) fn new(id: CoreId, epoll: OwnedFd, parts: Parts) -> std::io::Result<Self> {
        let Parts { node, reactor, mesh, disk, inbox, registry, .. } = parts;
        let Parts { client_listener, peer_listener, admin_listener, .. } = parts;
        watch(&epoll, &node.bells[usize::from(id.0)], BELL)?;
        watch(&epoll, &client_listener, CLIENT_LISTENER)?;
        if let Some(listener) = &peer_listener {
            watch(&epoll, listener, PEER_LISTENER)?;
        }
        if let Some(listener) = &admin_listener {
            watch(&epoll, listener, ADMIN_LISTENER)?;
        }
        let now = node.clock.now();
        let map = Rc::new(node.config.shard_map.clone());
        let others = others(&map, node.config.node);
        let mut shared = AlignedBuf::new();
        shared.resize(SHARED_BUFFER_BYTES);
        Ok(Self {
            id,
            reactor,
            now,
            stepped: true,
            effects: Effects::default(),
            mesh,
            disk,
            inbox,
            inbox_events: Vec::new(),
            sockets: Sockets::new(epoll),
            buffers_max: clients_max(node.config.core_memory()),
            shared,
            socket_events: Vec::with_capacity(EVENTS_MAX),
            unread: Vec::new(),
            greetings: VecDeque::new(),
            client_listener: Some(client_listener),
            peer_listener,
            admin_listener,
            administrators: Rc::default(),
            accept_again: true,
            map,
            keeping: Keeping::default(),
            peers: others.iter().map(|&other| (other, PeerNode::default())).collect(),
            links: BTreeMap::new(),
            links_in: BTreeMap::new(),
            detectors: if id == CoreId(0) {
                others.iter().map(|&other| (other, Detector::default())).collect()
            } else {
                BTreeMap::new()
            },
            registry,
            collector: Collector::default(),
            questions: Questions::default(),
            stalls: Stalls::default(),
            leaving: None,
            draining: None,
            quiescent: false,
            node,
        })
    }

    /// Takes turns until the node has stopped.
    pub(super) async fn pump(mut self) {
        loop {
            self.turn();
            if self.is_finished() {
                return;
            }
            self.prepare_to_wait();
            self.inbox.something().await;
        }
    }

    /// Gives the reactor something.
    pub(super) fn step(&mut self, input: Input<'_>) {
        self.stepped = true;
        self.reactor.step(self.now, input);
    }

    /// Makes sure that what is left to do ends the coming wait.
    fn prepare_to_wait(&mut self) {
        self.mesh.publish();
        if self.unread.is_empty() && self.reactor.deadline() > self.now {
            self.mesh.fall_asleep();
        } else {
            self.mesh.ring_myself();
        }
    }

    /// Once the node stops: hands over what is led here, serving as before meanwhile; then stops
    /// accepting and reading clients.
    pub(super) fn maybe_begin_draining(&mut self) {
        if self.draining.is_some() || !self.node.is_stopping() {
            return;
        }
        if self.leaving.is_none() {
            self.step(Input::HandOver);
        }
        let since = *self.leaving.get_or_insert(self.now);
        // An attempt is given up after an election timeout; another may follow.
        let patience = Micros(self.node.config.election_timeout.0 * 2);
        if self.reactor.has_handed_over() || self.now.since(since) >= patience {
            self.begin_draining();
        }
    }

    fn begin_draining(&mut self) {
        self.draining = Some(self.now);
        // Closing a listener takes it out of the epoll.
        self.client_listener = None;
        self.peer_listener = None;
        self.admin_listener = None;
    }

    /// Whether the whole node has nothing in flight any more, or has waited long enough for that.
    fn is_finished(&mut self) -> bool {
        let Some(since) = self.draining else { return false };
        if !self.quiescent && self.reactor.is_quiescent() && self.sockets.all_sent() {
            self.quiescent = true;
            let finished = self.node.quiescent_cores.fetch_add(1, Ordering::SeqCst) + 1;
            if finished == self.mesh.cores() {
                self.node.ring_all();
            }
        }
        let all = self.node.quiescent_cores.load(Ordering::SeqCst) >= self.mesh.cores();
        all || self.now.since(since).0 > DRAIN_TIME_MICROS
    }
}

/// Adds something that is not a socket of the table to a core's epoll, edge-triggered.
fn watch(epoll: &OwnedFd, what: impl std::os::fd::AsFd, token: u64) -> std::io::Result<()> {
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    Ok(epoll::add(epoll, what, epoll::EventData::new_u64(token), flags)?)
}

/// Watches a core's epoll through the ring and tells the pump. The pump looks at all that is ready
/// before the next watch begins.
pub(super) async fn poll_sockets(epoll: OwnedFd, inbox: Rc<Inbox>) {
    let epoll = PollableFd::new(epoll).expect("an executor runs this");
    loop {
        if let Err(error) = epoll.readable().await {
            super::disk::die("polling the core's sockets", &error);
        }
        inbox.announce_sockets();
        inbox.sockets_taken().await;
    }
}

/// Ticks, and has the ticks watched from outside.
pub(super) async fn tick(inbox: Rc<Inbox>, watchdog: Sender<Watched>) {
    let heartbeat = Heartbeat::default();
    let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
    watchdog
        .send(Watched { heartbeat: heartbeat.clone(), waker })
        .expect("the watchdog lives as long as somebody can be watched");
    drop(watchdog);
    loop {
        let interval = if inbox.take_busy() { TICK_INTERVAL } else { IDLE_TICK_INTERVAL };
        sleep(Duration::from_micros(interval.0)).await;
        heartbeat.beat();
        inbox.tick();
    }
}
