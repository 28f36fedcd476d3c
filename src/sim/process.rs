//! A running process of a node: its cores, its connections, its failure detector.
//!
//! It does to the reactors what `io` does: hands them what arrives, in turns, and performs what they ask.

use std::collections::BTreeMap;

use super::event::{Event, Life, Place};
use super::letter::Letter;
use super::links::{Link, PeerNode};
use super::network::{Side, Wire};
use super::packet::{Hello, Packet, Purpose, Welcome};
use super::registry::Registry;
use super::surroundings::Surroundings;
use crate::base::{AlignedBuf, ClusterId, CoreId, Incarnation, Micros, NodeId, PeerCore, Time};
use crate::peering::{Detector, Incarnations};
use crate::reactor::Reactor;

/// How often a process looks at its clock while it has something to do, and while it has not.
const TICK_INTERVAL: Micros = Micros::from_millis(10);
const IDLE_TICK_INTERVAL: Micros = Micros::from_millis(40);
/// How long a handshake may take.
const GREETING_TIME: Micros = Micros::from_secs(5);
/// How long a core takes to wake up, at most.
const WAKING_MAX: u64 = 20;

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) node: NodeId,
    pub(super) life: Life,
    pub(super) cluster: ClusterId,
    pub(super) incarnation: Incarnation,
    pub(super) election_timeout: Micros,
    cores: Vec<Core>,
    sockets: BTreeMap<Wire, Socket>,
    pub(super) detectors: BTreeMap<NodeId, Detector<Wire>>,
    /// A core did something since the last tick.
    busy: bool,
    /// It stands still (SIGSTOP): what arrives waits in its sockets.
    backlog: Option<Vec<(Wire, Packet)>>,
    /// It dies before it has done so many things more.
    doom: Option<u32>,
    /// It was told to stop.
    leaving: bool,
    /// Too much waits between its cores: none is given a client's command for another.
    pub(super) mesh_full: bool,
}

/// One core.
pub(super) struct Core {
    pub(super) reactor: Reactor,
    /// What its next turn takes in.
    pub(super) inbox: Vec<Letter>,
    /// A turn is planned.
    pub(super) waking: bool,
    /// The reactor was given something since its last turn ended.
    pub(super) stepped: bool,
    /// The last turn takes until then, in true time.
    pub(super) busy_until: Time,
    /// What the failure detector said of each other node.
    pub(super) peers: BTreeMap<NodeId, PeerNode>,
    /// Links to other nodes' cores, made when first needed.
    pub(super) links: BTreeMap<PeerCore, Link>,
    /// The connection that carries each peer core's batches to this core: the newest wins.
    links_in: BTreeMap<PeerCore, Wire>,
}

/// A connection, seen from this end.
#[derive(Debug)]
struct Socket {
    side: Side,
    role: Role,
    /// Received, and not yet a whole frame.
    input: AlignedBuf,
    /// A handshake has to be done by then.
    deadline: Time,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Somebody called, a client or a node, and has not said who.
    Greeting(CoreId),
    Client(CoreId),
    LinkIn(CoreId, PeerCore),
    LinkCalling(CoreId, PeerCore),
    LinkOut(CoreId, PeerCore),
    DetectorIn(NodeId),
    DetectorCalling(NodeId),
    DetectorOut(NodeId),
}

impl Process {
    /// A process whose cores have recovered.
    pub(super) fn new(
        (node, incarnation): (NodeId, Incarnation),
        (cluster, election_timeout): (ClusterId, Micros),
        life: Life,
        others: impl Iterator<Item = NodeId>,
        reactors: Vec<Reactor>,
    ) -> Self {
        let cores = reactors.into_iter().map(Core::new).collect();
        let detectors = others.map(|other| (other, Detector::default())).collect();
        let sockets = BTreeMap::new();
        Self {
            backlog: None,
            doom: None,
            leaving: false,
            mesh_full: false,
            node,
            life,
            cluster,
            incarnation,
            election_timeout,
            cores,
            sockets,
            detectors,
            busy: true,
        }
    }

    pub(super) fn core(&mut self, core: CoreId) -> &mut Core {
        &mut self.cores[usize::from(core.0)]
    }

    pub(super) fn cores(&self) -> impl Iterator<Item = &Core> {
        self.cores.iter()
    }

    pub(super) fn smp(&self) -> u16 {
        u16::try_from(self.cores.len()).expect("cores are numbered by u16")
    }

    pub(super) fn place(&self, core: CoreId) -> Place {
        Place { node: self.node, life: self.life, core }
    }

    /// Gives a core something for its next turn.
    pub(super) fn give(&mut self, out: &mut Surroundings, core: CoreId, letter: Letter) {
        self.core(core).inbox.push(letter);
        self.wake(out, core);
    }

    /// Gives every core something: core 0 at once, the others by letter.
    pub(super) fn tell_cores(&mut self, out: &mut Surroundings, letter: impl Fn() -> Letter) {
        for core in (1..self.smp()).map(CoreId) {
            out.post(self.place(core), letter());
        }
        self.give(out, CoreId(0), letter());
    }

    /// Has a core take a turn soon.
    pub(super) fn wake(&mut self, out: &mut Surroundings, core: CoreId) {
        let place = self.place(core);
        let own = self.core(core);
        if !std::mem::replace(&mut own.waking, true) {
            let soon = out.now + Micros(out.random.u64(1..=WAKING_MAX));
            out.schedule.plan(soon.max(own.busy_until), Event::Turn(place));
        }
    }

    /// Looks at its clock, which shows `now`. Returns by what time of that clock to do so again.
    pub(super) fn tick(
        &mut self,
        out: &mut Surroundings,
        incarnations: &Incarnations,
        now: Time,
    ) -> Time {
        self.watch_peers(out, incarnations, now);
        self.expire_greetings(out, now);
        for core in (0..self.smp()).map(CoreId) {
            if self.core(core).reactor.deadline() <= now {
                self.wake(out, core);
            }
        }
        let busy = std::mem::take(&mut self.busy);
        now + if busy { TICK_INTERVAL } else { IDLE_TICK_INTERVAL }
    }

    pub(super) fn keep_busy(&mut self) {
        self.busy = true;
    }

    fn expire_greetings(&mut self, out: &mut Surroundings, now: Time) {
        let late = |socket: &Socket| socket.role.is_greeting() && socket.deadline <= now;
        let late = self.sockets.iter().filter(|(_, socket)| late(socket));
        for wire in late.map(|(&wire, _)| wire).collect::<Vec<_>>() {
            self.close(out, now, wire);
        }
    }

    /// Somebody calls: its system accepts.
    pub(super) fn accept(&mut self, out: &mut Surroundings, now: Time, wire: Wire) {
        let core = CoreId(out.random.u16(0..self.smp()));
        self.insert(now, wire, Side::Callee, Role::Greeting(core));
        self.send(out, wire, Packet::Accepted);
    }

    /// This process calls.
    pub(super) fn calls(&mut self, now: Time, wire: Wire, role: Role) {
        self.insert(now, wire, Side::Caller, role);
    }

    fn insert(&mut self, now: Time, wire: Wire, side: Side, role: Role) {
        let input = AlignedBuf::new();
        self.sockets.insert(wire, Socket { side, role, input, deadline: now + GREETING_TIME });
    }

    pub(super) fn set_role(&mut self, wire: Wire, role: Role) {
        if let Some(socket) = self.sockets.get_mut(&wire) {
            socket.role = role;
        }
    }

    /// The connections whose role is so.
    pub(super) fn wires(&self, wanted: impl Fn(&Role) -> bool) -> Vec<Wire> {
        let sockets = self.sockets.iter().filter(|(_, socket)| wanted(&socket.role));
        sockets.map(|(&wire, _)| wire).collect()
    }

    /// All connections, and on which side it is.
    pub(super) fn all_wires(&self) -> Vec<(Wire, Side)> {
        self.sockets.iter().map(|(&wire, socket)| (wire, socket.side)).collect()
    }

    pub(super) fn send(&self, out: &mut Surroundings, wire: Wire, packet: Packet) {
        if let Some(socket) = self.sockets.get(&wire) {
            out.send(wire, socket.side, packet);
        }
    }

    pub(super) fn send_bytes(&self, out: &mut Surroundings, wire: Wire, bytes: &[u8]) {
        if let Some(socket) = self.sockets.get(&wire) {
            out.send_bytes(wire, socket.side, bytes);
        }
    }

    /// It stands still from now on. Returns whether it ran before.
    pub(super) fn pause(&mut self) -> bool {
        let ran = self.backlog.is_none();
        self.backlog.get_or_insert_default();
        ran
    }

    /// It goes on, with what arrived meanwhile. Returns whether it stood still.
    pub(super) fn resume(&mut self, out: &mut Surroundings, registry: &mut Registry<'_>) -> bool {
        let Some(backlog) = self.backlog.take() else { return false };
        for (wire, packet) in backlog {
            self.take(out, registry, wire, packet);
        }
        (0..self.smp()).for_each(|core| self.wake(out, CoreId(core)));
        true
    }

    pub(super) fn stands_still(&self) -> bool {
        self.backlog.is_some()
    }

    /// It dies before it has done so many things more.
    pub(super) fn doom(&mut self, after: u32) {
        self.doom = Some(after);
    }

    /// It was told to stop.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
    }

    /// Whether it ends before long, by what was done to it.
    pub(super) fn is_to_end(&self) -> bool {
        self.leaving || self.doom.is_some()
    }

    /// Whether it dies before it does one thing more.
    pub(super) fn meets_its_doom(&mut self) -> bool {
        match &mut self.doom {
            Some(0) => true,
            Some(after) => {
                *after -= 1;
                false
            }
            None => false,
        }
    }

    /// What arrived on one of its connections.
    pub(super) fn take(
        &mut self,
        out: &mut Surroundings,
        registry: &mut Registry<'_>,
        wire: Wire,
        packet: Packet,
    ) {
        let Some(role) = self.sockets.get(&wire).map(|socket| socket.role) else { return };
        if let Some(backlog) = &mut self.backlog {
            return backlog.push((wire, packet));
        }
        let stays = match (role, packet) {
            (_, Packet::Call | Packet::Accepted) => true,
            (_, Packet::End) => false,
            (Role::Greeting(_), Packet::Hello(hello)) => {
                self.greet_peer(out, registry, wire, &hello)
            }
            (Role::Greeting(core), Packet::Bytes(bytes)) => {
                self.take_bytes(out, core, wire, &bytes, true)
            }
            (Role::Client(core), Packet::Bytes(bytes)) => {
                self.take_bytes(out, core, wire, &bytes, false)
            }
            (Role::LinkIn(core, from), Packet::Batch(bytes)) => {
                self.give(out, core, Letter::Batch { from, bytes });
                true
            }
            (Role::LinkCalling(core, peer), Packet::Welcome(welcome)) => {
                let incarnation = welcome.incarnation;
                self.give(out, core, Letter::LinkUp { peer, wire, incarnation });
                welcome.node == peer.node && !welcome.refused
            }
            (Role::DetectorCalling(node), Packet::Welcome(welcome)) => {
                self.detector_answered(out, registry, wire, node, &welcome)
            }
            (Role::DetectorIn(_), Packet::Ping(replaced)) => {
                self.send(out, wire, Packet::Pong);
                self.learn_replaced(out, registry, &replaced);
                true
            }
            (Role::DetectorOut(node), Packet::Pong) => {
                self.take_pong(registry.now, node);
                true
            }
            (role, packet) => panic!("{}: {packet:?} for {role:?}", self.node),
        };
        if !stays {
            self.close(out, registry.now, wire);
        }
    }

    /// A node says who it is. Returns whether it may stay.
    fn greet_peer(
        &mut self,
        out: &mut Surroundings,
        registry: &mut Registry<'_>,
        wire: Wire,
        hello: &Hello,
    ) -> bool {
        let Hello { from, incarnation, wanted, purpose } = *hello;
        assert_eq!(wanted.node, self.node, "called by its address");
        let known = wanted.core.0 < self.smp();
        let refused = !known || !registry.admit(from.node, incarnation);
        let (node, smp, own) = (self.node, self.smp(), self.incarnation);
        let welcome = Welcome { node, incarnation: own, smp, refused };
        self.send(out, wire, Packet::Welcome(welcome));
        if refused {
            return false;
        }
        match purpose {
            Purpose::Detector => self.set_role(wire, Role::DetectorIn(from.node)),
            Purpose::Link => self.take_link(out, registry.now, wire, (wanted.core, from)),
        }
        true
    }

    /// From now on `from` is heard on this connection alone.
    fn take_link(
        &mut self,
        out: &mut Surroundings,
        now: Time,
        wire: Wire,
        (core, from): (CoreId, PeerCore),
    ) {
        self.set_role(wire, Role::LinkIn(core, from));
        if let Some(older) = self.core(core).links_in.insert(from, wire) {
            self.close(out, now, older);
            self.core(core).links_in.insert(from, wire);
        }
    }

    /// Closes a connection and tells whom it concerns.
    pub(super) fn close(&mut self, out: &mut Surroundings, now: Time, wire: Wire) {
        let Some(socket) = self.sockets.remove(&wire) else { return };
        out.close(wire, socket.side);
        match socket.role {
            Role::Client(core) => self.client_closed(out, core, wire),
            Role::LinkIn(core, from) => {
                let links_in = &mut self.core(core).links_in;
                if links_in.get(&from) == Some(&wire) {
                    links_in.remove(&from);
                }
            }
            Role::LinkCalling(core, peer) | Role::LinkOut(core, peer) => {
                if let Some(link) = self.core(core).links.get_mut(&peer) {
                    link.ended(now);
                }
            }
            Role::DetectorCalling(node) | Role::DetectorOut(node) => {
                self.detector_closed(out, now, node);
            }
            Role::Greeting(_) | Role::DetectorIn(_) => {}
        }
    }

    /// The bytes of a client's connection that wait for more.
    pub(super) fn input_mut(&mut self, wire: Wire) -> Option<&mut AlignedBuf> {
        self.sockets.get_mut(&wire).map(|socket| &mut socket.input)
    }

    /// Whether that connection still is.
    pub(super) fn has(&self, wire: Wire) -> bool {
        self.sockets.contains_key(&wire)
    }
}

impl Role {
    fn is_greeting(self) -> bool {
        matches!(self, Self::Greeting(_) | Self::LinkCalling(..))
    }
}

impl Core {
    fn new(reactor: Reactor) -> Self {
        Self {
            reactor,
            inbox: Vec::new(),
            waking: false,
            stepped: false,
            busy_until: Time(0),
            peers: BTreeMap::new(),
            links: BTreeMap::new(),
            links_in: BTreeMap::new(),
        }
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}
