//! Three nodes in one thread: the loop in which both libraries are measured.
//!
//! Messages travel by value, disks are done at once, and a node takes in all that has arrived
//! before it looks at what its replicas ask for: a turn, as a server has it. How a replica is
//! driven is each library's own (`ours`, `theirs`); all else is the same code.

use crate::error::BenchError;

/// How many nodes there are.
pub(super) const NODES: usize = 3;

/// The heartbeat interval of both libraries, and how often a node looks at its timers.
pub(super) const TICK_MS: u64 = 100;

/// The election timeout of both libraries in such ticks.
pub(super) const ELECTION_TICKS: u64 = 10;

/// What a proposal holds.
pub(super) const PAYLOAD: [u8; 16] = *b"sixteen bytes of";

/// Bytes in one message at most.
pub(super) const MESSAGE_BYTES_MAX: u32 = 1 << 20;

/// Appends on their way to one follower at most.
pub(super) const IN_FLIGHT_MAX: u16 = 256;

/// Entries that a log keeps behind what is applied, for followers that lag.
pub(super) const TRAILING_ENTRIES: u64 = 256;

/// One replica of one group, driven the way its library's documents say.
pub(super) trait Replica: Sized {
    /// What replicas say to each other.
    type Message;
    /// How to set the library up.
    type Settings;

    /// A replica of a group that has never been started.
    fn new(place: Place, settings: &Self::Settings) -> Self;
    /// The node (from 0) a message is for.
    fn receiver(message: &Self::Message) -> usize;
    /// Stands for election.
    fn campaign(&mut self, now_ms: u64);
    /// Whether it leads.
    fn leads(&self) -> bool;
    /// Leader only: proposes `PAYLOAD`, `count` times, each an entry of its own.
    fn propose(&mut self, now_ms: u64, count: usize);
    /// Takes a message in.
    fn step(&mut self, now_ms: u64, message: Self::Message);
    /// A tick has passed. Returns whether the replica is to be performed.
    fn tick(&mut self, now_ms: u64) -> bool;
    /// Does what the replica asks for until it asks for nothing: "writes", sends, applies.
    fn perform(&mut self, now_ms: u64, effects: &mut Effects<'_, Self::Message>);
}

/// Which replica it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// From 0.
    pub(super) node: usize,
    /// From 0.
    pub(super) group: u32,
}

/// What performing a replica comes to.
pub(super) struct Effects<'a, M> {
    group: u32,
    mailboxes: &'a mut [Vec<(u32, M)>; NODES],
    applied: &'a mut Applied,
}

/// The state machine of a node: it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// Proposals applied, of all groups.
    pub(super) entries: u64,
    /// A sum over their bytes: each is looked at.
    checksum: u64,
}

impl Applied {
    /// Applies one entry; what is empty is the library's own.
    pub(super) fn apply(&mut self, payload: &[u8]) {
        if let Some(&last) = payload.last() {
            self.entries += 1;
            self.checksum += u64::from(last);
        }
    }

    fn is_sound(&self) -> bool {
        self.checksum == self.entries * u64::from(PAYLOAD[PAYLOAD.len() - 1])
    }
}

impl<M> Effects<'_, M> {
    /// Puts messages into their receivers' mailboxes.
    pub(super) fn send<R: Replica<Message = M>>(&mut self, messages: impl Iterator<Item = M>) {
        for message in messages {
            self.mailboxes[R::receiver(&message)].push((self.group, message));
        }
    }

    /// The state machine of this node.
    pub(super) fn applied(&mut self) -> &mut Applied {
        self.applied
    }
}

/// Three nodes, each with a replica of every group. The first leads all groups.
pub(super) struct Cluster<R: Replica> {
    nodes: [Node<R>; NODES],
    /// By receiver, in the order of sending.
    mailboxes: [Vec<(u32, R::Message)>; NODES],
    now_ms: u64,
    /// Proposals per group so far.
    proposed: u64,
}

struct Node<R: Replica> {
    /// By group.
    replicas: Vec<R>,
    /// Groups with something to do this turn, and which they are.
    touched: Vec<u32>,
    is_touched: Vec<bool>,
    /// The mailbox being read; empty between turns, its storage stays.
    inbox: Vec<(u32, R::Message)>,
    applied: Applied,
}

impl<R: Replica> Cluster<R> {
    /// A cluster whose first node leads all `groups`.
    ///
    /// # Errors
    /// If it does not come to lead them.
    pub(super) fn new(groups: u32, settings: &R::Settings) -> Result<Self, BenchError> {
        let nodes = [0, 1, 2].map(|node| Node::new(node, groups, settings));
        let mailboxes = [const { Vec::new() }; NODES];
        let mut cluster = Self { nodes, mailboxes, now_ms: 0, proposed: 0 };
        for group in 0..groups {
            let now_ms = cluster.now_ms;
            cluster.nodes[0].touch(group).campaign(now_ms);
        }
        cluster.run_until_quiet();
        if cluster.nodes[0].replicas.iter().all(R::leads) {
            return Ok(cluster);
        }
        Err(BenchError::Failed("the first node was not elected everywhere".to_owned()))
    }

    /// Proposes `batch` times in every group and runs until nothing is under way.
    pub(super) fn round(&mut self, batch: usize) {
        self.now_ms += 1;
        self.proposed += batch as u64;
        let (leader, now_ms) = (&mut self.nodes[0], self.now_ms);
        for group in 0..leader.groups() {
            leader.touch(group).propose(now_ms, batch);
        }
        self.run_until_quiet();
    }

    /// Lets a tick pass on every node.
    pub(super) fn tick(&mut self) {
        self.now_ms += TICK_MS;
        for node in &mut self.nodes {
            for group in 0..node.groups() {
                let wanted = node.replicas[group as usize].tick(self.now_ms);
                if wanted {
                    node.touch(group);
                }
            }
        }
        self.run_until_quiet();
    }

    /// Lets time pass until all three nodes have applied every proposal, which shows that the
    /// rounds did what they were measured for.
    ///
    /// # Errors
    /// If they have not after an election timeout.
    pub(super) fn settle(&mut self) -> Result<(), BenchError> {
        let wanted = self.proposed * u64::from(self.nodes[0].groups());
        let done = |node: &Node<R>| node.applied.entries == wanted && node.applied.is_sound();
        for _ in 0..ELECTION_TICKS {
            if self.nodes.iter().all(done) {
                return Ok(());
            }
            self.tick();
        }
        let applied = self.nodes.each_ref().map(|node| node.applied);
        Err(BenchError::Failed(format!("{wanted} proposals, but applied were {applied:?}")))
    }

    /// Whether the first node leads all groups, still.
    pub(super) fn is_led(&self) -> bool {
        self.nodes[0].replicas.iter().all(R::leads)
    }

    fn run_until_quiet(&mut self) {
        let busy = |nodes: &[Node<R>; NODES]| nodes.iter().any(|node| !node.touched.is_empty());
        while busy(&self.nodes) || self.mailboxes.iter().any(|mailbox| !mailbox.is_empty()) {
            for (at, node) in self.nodes.iter_mut().enumerate() {
                std::mem::swap(&mut node.inbox, &mut self.mailboxes[at]);
                node.turn(self.now_ms, &mut self.mailboxes);
            }
        }
    }
}

impl<R: Replica> Node<R> {
    fn new(node: usize, groups: u32, settings: &R::Settings) -> Self {
        Self {
            replicas: (0..groups).map(|group| R::new(Place { node, group }, settings)).collect(),
            touched: Vec::new(),
            is_touched: vec![false; groups as usize],
            inbox: Vec::new(),
            applied: Applied::default(),
        }
    }

    fn groups(&self) -> u32 {
        u32::try_from(self.replicas.len()).expect("counted in 32 bits")
    }

    fn touch(&mut self, group: u32) -> &mut R {
        if !std::mem::replace(&mut self.is_touched[group as usize], true) {
            self.touched.push(group);
        }
        &mut self.replicas[group as usize]
    }

    fn turn(&mut self, now_ms: u64, mailboxes: &mut [Vec<(u32, R::Message)>; NODES]) {
        let mut inbox = std::mem::take(&mut self.inbox);
        for (group, message) in inbox.drain(..) {
            self.touch(group).step(now_ms, message);
        }
        self.inbox = inbox;
        for group in self.touched.drain(..) {
            self.is_touched[group as usize] = false;
            let mut effects = Effects { group, mailboxes, applied: &mut self.applied };
            self.replicas[group as usize].perform(now_ms, &mut effects);
        }
    }
}
