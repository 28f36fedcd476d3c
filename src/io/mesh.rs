//! How the cores of one node talk: a ring for each ordered pair, and a bell for each core.
//!
//! Messages are pushed during a turn and the receivers woken once, at its end. A core that is awake
//! is not rung: it looks at its rings before it sleeps. A full ring queues at the sender and never
//! makes it wait. What may be refused, is, when the bytes under way are too many.
//!
//! The bell's protocol is Dekker's: the sleeper announces itself, then looks at the rings; the sender
//! pushes, then looks for the announcement. With a full fence on both sides at least one of them sees
//! the other.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use rtrb::{Consumer, Producer, PushError, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};

use super::admin::CoreReport;
use super::clients::HandedClient;
use super::peers::HandedPeer;
use crate::base::limits::CLIENT_FRAME_BODY_MAX;
use crate::base::{CoreId, GroupId, Incarnation, NodeId};
use crate::reactor::{AdminAnswer, CoreMessage, GroupOperation};

/// What one core sends another.
pub(super) enum Letter {
    /// From reactor to reactor.
    Core(CoreMessage),
    /// A client's socket, its handshake read, for the core that owns its group.
    Client(HandedClient),
    /// A peer's socket, its handshake done, for the core it named.
    Peer(HandedPeer),
    /// The failure detector reached a node.
    NodeUp { node: NodeId, incarnation: Incarnation, first: bool, smp: u16 },
    /// The failure detector lost a node.
    NodeDown { node: NodeId },
    /// Another incarnation of a node is let in.
    NodeReplaced { node: NodeId },
    /// Core 0 asks for a report.
    StatusRequest { ticket: u64, with_hash: bool },
    /// The report.
    Status { ticket: u64, report: Box<CoreReport> },
    /// Core 0 passes a question to the group's home core.
    Administer { ticket: u64, group: GroupId, operation: GroupOperation },
    /// The answer.
    AdminAnswer(Box<AdminAnswer>),
}

/// Wakes one core; shared by all.
pub(super) struct Bell {
    /// In the core's epoll, edge-triggered: never read.
    eventfd: OwnedFd,
    /// The core sleeps or is about to; whoever resets this must ring.
    asleep: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> std::io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self { eventfd: eventfd(0, flags)?, asleep: AtomicBool::new(false) })
    }

    /// Wakes the core whatever it does.
    pub(super) fn ring(&self) {
        // Fails only when the counter is full: then the bell has been ringing for ages.
        let _ = rustix::io::write(&self.eventfd, bytemuck::bytes_of(&1_u64));
    }

    /// Wakes the core if it sleeps. What it is to find must have been published before.
    fn ring_if_asleep(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

/// One core's ends of all its rings.
pub(super) struct Mesh {
    me: CoreId,
    bells: Arc<[Bell]>,
    /// By sender; nothing from ourselves.
    incoming: Vec<Option<Inlet>>,
    /// By receiver; nothing to ourselves.
    outgoing: Vec<Option<Lane>>,
    /// Lanes with letters pushed or waiting since the last `publish`.
    any_sent: bool,
}

/// The way to one other core.
struct Lane {
    ring: Producer<Letter>,
    /// What the ring had no room for, oldest first; nothing overtakes it.
    waiting: VecDeque<Letter>,
    /// Something was pushed since the last `publish`.
    pushed: bool,
    /// Bytes in both.
    load: Arc<AtomicUsize>,
}

/// The way from one other core.
struct Inlet {
    ring: Consumer<Letter>,
    /// As the sender has it.
    load: Arc<AtomicUsize>,
}

/// Letters under way between two cores, at most; what exceeds it waits at the sender. All rings of a
/// node together hold a bounded number.
fn ring_capacity(cores: usize) -> usize {
    (16_384 / cores).clamp(64, 1_024)
}

/// Bytes of clients' frames under way between two cores, at most, unless it is one frame.
fn load_max(cores: usize) -> usize {
    ((64 << 20) / cores).max(CLIENT_FRAME_BODY_MAX)
}

/// The meshes of all cores of a node with these `bells`.
pub(super) fn mesh(bells: &Arc<[Bell]>) -> Vec<Mesh> {
    let cores = bells.len();
    let mut meshes: Vec<Mesh> = (0..cores).map(|core| Mesh::unconnected(core, bells)).collect();
    for from in 0..cores {
        for to in (0..cores).filter(|&to| to != from) {
            let (ring, consumer) = RingBuffer::new(ring_capacity(cores));
            let load = Arc::new(AtomicUsize::new(0));
            meshes[to].incoming[from] = Some(Inlet { ring: consumer, load: load.clone() });
            meshes[from].outgoing[to] =
                Some(Lane { ring, waiting: VecDeque::new(), pushed: false, load });
        }
    }
    meshes
}

impl Mesh {
    fn unconnected(core: usize, bells: &Arc<[Bell]>) -> Self {
        let cores = bells.len();
        Self {
            me: CoreId(u16::try_from(core).expect("preflight limits the number of cores")),
            bells: bells.clone(),
            incoming: (0..cores).map(|_| None).collect(),
            outgoing: (0..cores).map(|_| None).collect(),
            any_sent: false,
        }
    }

    /// Sends `letter` to `to` when the turn is published.
    ///
    /// # Panics
    /// If `to` is this core or none of this node's.
    pub(super) fn send(&mut self, to: CoreId, letter: Letter) {
        let me = self.me;
        let lane = self.outgoing[usize::from(to.0)]
            .as_mut()
            .unwrap_or_else(|| panic!("core {me} sent a letter to itself"));
        self.any_sent = true;
        lane.send(letter);
    }

    /// Whether `bytes` more for `to` would be too much. What is not refused then waits.
    pub(super) fn is_full(&self, to: CoreId, bytes: usize) -> bool {
        let lane = self.outgoing[usize::from(to.0)].as_ref();
        let load = lane.map_or(0, |lane| lane.load.load(Ordering::Relaxed));
        load > 0 && load + bytes > load_max(self.cores())
    }

    /// Sends what `letter` makes to every other core.
    pub(super) fn broadcast(&mut self, mut letter: impl FnMut() -> Letter) {
        for lane in self.outgoing.iter_mut().flatten() {
            self.any_sent = true;
            lane.send(letter());
        }
    }

    /// Wakes every core that was sent something and sleeps.
    pub(super) fn publish(&mut self) {
        if !std::mem::take(&mut self.any_sent) {
            return;
        }
        for (lane, bell) in self.outgoing.iter_mut().zip(self.bells.iter()) {
            let Some(lane) = lane else { continue };
            lane.push_waiting();
            self.any_sent |= !lane.waiting.is_empty();
            if std::mem::take(&mut lane.pushed) {
                bell.ring_if_asleep();
            }
        }
    }

    /// The next letter from `from`, if there is one.
    pub(super) fn receive(&mut self, from: usize) -> Option<Letter> {
        let inlet = self.incoming[from].as_mut()?;
        let letter = inlet.ring.pop().ok()?;
        inlet.load.fetch_sub(letter.bytes(), Ordering::Relaxed);
        Some(letter)
    }

    /// How many cores there are.
    pub(super) fn cores(&self) -> usize {
        self.incoming.len()
    }

    /// From here on this core is rung when it is sent something. If something came meanwhile, the
    /// bell rings at once.
    pub(super) fn fall_asleep(&mut self) {
        let bell = &self.bells[usize::from(self.me.0)];
        bell.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.incoming.iter().flatten().any(|inlet| !inlet.ring.is_empty()) {
            bell.ring_if_asleep();
        }
    }

    /// This core is awake: it need not be rung.
    pub(super) fn wake_up(&self) {
        self.bells[usize::from(self.me.0)].asleep.store(false, Ordering::Relaxed);
    }

    /// Wakes this core itself as soon as it sleeps.
    pub(super) fn ring_myself(&self) {
        self.bells[usize::from(self.me.0)].ring();
    }
}

impl Letter {
    /// Bytes of clients' that it carries.
    fn bytes(&self) -> usize {
        match self {
            Self::Core(CoreMessage::Request { frame, .. }) => frame.len(),
            Self::Core(CoreMessage::Reply { bytes, .. }) => bytes.len(),
            _ => 0,
        }
    }
}

impl Lane {
    fn send(&mut self, letter: Letter) {
        self.load.fetch_add(letter.bytes(), Ordering::Relaxed);
        if self.waiting.is_empty() {
            self.push(letter);
        } else {
            self.waiting.push_back(letter);
        }
    }

    fn push(&mut self, letter: Letter) {
        match self.ring.push(letter) {
            Ok(()) => self.pushed = true,
            Err(PushError::Full(letter)) => self.waiting.push_front(letter),
        }
    }

    fn push_waiting(&mut self) {
        while !self.ring.is_full()
            && let Some(letter) = self.waiting.pop_front()
        {
            self.push(letter);
        }
    }
}

#[cfg(test)]
mod tests;
