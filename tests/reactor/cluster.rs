//! A cluster in one thread: virtual time, disks that keep what was written, a network of queues.
//!
//! Each round every node gets what arrived in the round before, ends its turn, and has its effects
//! performed. Log writes complete in the next round, unless the disk is held.

use std::collections::{BTreeMap, BTreeSet};

use sunstar::base::checksum::crc32c_append;
use sunstar::base::{
    AlignedBuf, ClusterId, ConnectionId, CoreId, GroupId, Incarnation, Micros, NodeId, PeerCore,
    Time,
};
use sunstar::kv::Machine;
use sunstar::placement::{META, NodeInfo, ShardMap};
use sunstar::raft::Lease;
use sunstar::reactor::{
    AdminAnswer, AdminOutcome, CoreStatus, Effects, GroupAnswer, GroupOperation, GroupReason,
    GroupStatus, Input, LoadedSnapshot, LogRead, LogWrite, MapWrite, Offline, PlacementAnswer,
    PlacementOperation, Reactor, ReactorConfig, RecoverError, Recovered, map_bytes,
};
use sunstar::wal::{
    BLOCK, LogConfig, LogError, Recovery, SegmentId, SnapshotWriter, read_snapshot,
};
use sunstar::wire::frame::{self, Scan};

/// What a disk writes as a whole.
const SECTOR: usize = 512;
const ROUND: Micros = Micros::from_millis(1);

/// What survives a crash.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) segments: BTreeMap<SegmentId, Vec<u8>>,
    pub(crate) snapshots: BTreeMap<GroupId, (u64, Vec<u8>)>,
    /// Snapshots not renamed into place yet.
    unfinished: BTreeMap<u64, Vec<u8>>,
    /// The shard map, if one was ever told.
    map: Option<Vec<u8>>,
}

/// What the disk owes the reactor.
enum Completion {
    /// A write that is on the disk, as a whole, only when it completes.
    Log(LogWrite),
    /// Of what is on the disk when the read is done.
    Read(LogRead),
    Segment(SegmentId),
    NoSegment(SegmentId),
    Snapshot(u64),
    NoSnapshot(u64),
    /// The snapshots of a group are removed.
    Removal(GroupId),
    /// The shard map of an epoch is kept.
    Map(u64),
}

pub(crate) struct Node {
    pub(crate) reactor: Reactor,
    /// Each with the time it is due.
    completions: Vec<(Time, Completion)>,
}

/// Bytes on their way.
struct Flight {
    due: Time,
    from: PeerCore,
    to: PeerCore,
    bytes: Vec<u8>,
}

/// What goes wrong by itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Of a hundred batches between nodes, how many are lost, and how many arrive twice.
    pub(crate) lost_percent: u32,
    pub(crate) doubled_percent: u32,
    /// Rounds that a batch, or a log write, may take beyond the next, at most.
    pub(crate) delay_max: u64,
}

pub(crate) struct Cluster {
    pub(crate) now: Time,
    map: ShardMap,
    segment_bytes: usize,
    seed: u64,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    disks: BTreeMap<NodeId, Disk>,
    network: Vec<Flight>,
    inbox: Vec<(NodeId, ConnectionId, Vec<u8>)>,
    /// Reply bytes by connection; a connection belongs to one node.
    pub(crate) replies: BTreeMap<ConnectionId, Vec<u8>>,
    /// Which disk each node has, and how often it lost one.
    incarnations: BTreeMap<NodeId, (Incarnation, u64)>,
    /// Who does not let whom in, since it lost its disk.
    refusals: BTreeSet<(NodeId, NodeId)>,
    /// Disks whose completions are withheld.
    pub(crate) held: BTreeSet<NodeId>,
    /// Disks without room for a segment or a snapshot more.
    pub(crate) full: BTreeSet<NodeId>,
    /// How often such a disk was asked for room.
    pub(crate) no_room: usize,
    /// Bytes of segments that nodes with full disks removed, and have not used.
    room: BTreeMap<NodeId, usize>,
    /// Others on a full disk take what becomes free.
    pub(crate) crowded: bool,
    /// Segments removed.
    pub(crate) removed_segments: usize,
    /// Hash of every effect so far: two runs of one seed must agree.
    pub(crate) trace: u32,
    /// Answers to administrators; the ticket is the node asked.
    pub(crate) admin_answers: Vec<AdminAnswer>,
    pub(crate) live_segments_max: usize,
    pub(crate) entries_memory_max: u64,
    pub(crate) memory_max: u64,
    pub(crate) faults: Faults,
    /// On all nodes alike.
    lease: Option<Lease>,
    /// Pairs (from, to) between which nothing arrives.
    pub(crate) cuts: BTreeSet<(NodeId, NodeId)>,
    /// Bytes that left from one node for another.
    pub(crate) sent: BTreeMap<(NodeId, NodeId), u64>,
    random: fastrand::Rng,
}

impl Cluster {
    /// `segment_bytes`: of each log segment.
    pub(crate) fn new(nodes: u64, groups: u32, segment_bytes: usize, seed: u64) -> Self {
        Self::with_leases(nodes, groups, segment_bytes, seed, None)
    }

    /// The same, whose leaders read by leases.
    pub(crate) fn with_leases(
        nodes: u64,
        groups: u32,
        segment_bytes: usize,
        seed: u64,
        lease: Option<Lease>,
    ) -> Self {
        let info = |id| NodeInfo {
            id: NodeId(id),
            client_address: format!("127.0.0.1:{}", 7000 + id),
            peer_address: format!("127.0.0.1:{}", 8000 + id),
        };
        let map = ShardMap::initial((1..=nodes).map(info).collect(), groups).expect("a valid map");
        let mut cluster = Self {
            now: Time(1_000_000),
            map,
            segment_bytes,
            seed,
            nodes: BTreeMap::new(),
            disks: (1..=nodes).map(|id| (NodeId(id), Disk::default())).collect(),
            network: Vec::new(),
            inbox: Vec::new(),
            replies: BTreeMap::new(),
            incarnations: (1..=nodes).map(|id| (NodeId(id), (Incarnation(id), 0))).collect(),
            refusals: BTreeSet::new(),
            held: BTreeSet::new(),
            full: BTreeSet::new(),
            no_room: 0,
            room: BTreeMap::new(),
            crowded: false,
            removed_segments: 0,
            trace: 0,
            admin_answers: Vec::new(),
            live_segments_max: 2,
            entries_memory_max: 4 << 20,
            memory_max: 1 << 30,
            faults: Faults::default(),
            lease,
            cuts: BTreeSet::new(),
            sent: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
        };
        for id in 1..=nodes {
            cluster.start(NodeId(id));
        }
        cluster
    }

    /// Stops all nodes and empties their disks, as before the first start.
    pub(crate) fn before_the_first_start(&mut self) {
        for id in self.ids() {
            self.crash(id);
            self.disks.insert(id, Disk::default());
        }
    }

    /// Starts a node from what its disk holds.
    pub(crate) fn start(&mut self, id: NodeId) {
        let recovered = self.found(id).expect("undamaged");
        let reactor = Reactor::new(self.now, self.config(id), recovered).expect("recovers");
        self.nodes.insert(id, Node { reactor, completions: Vec::new() });
        let others: Vec<NodeId> = self.ids().into_iter().filter(|&other| other != id).collect();
        for other in others {
            self.meet(id, other);
        }
    }

    /// Two nodes that run hear of each other, unless one is refused.
    fn meet(&mut self, one: NodeId, other: NodeId) {
        let refused = |by, node| self.refusals.contains(&(by, node));
        if refused(one, other) || refused(other, one) {
            return;
        }
        for (at, of) in [(one, other), (other, one)] {
            let (incarnation, lost) = self.incarnations[&of];
            let input = Input::NodeUp { node: of, incarnation, first: lost == 0, smp: 1 };
            self.nodes.get_mut(&at).expect("it runs").reactor.step(self.now, input);
        }
    }

    /// A node that does not run loses its disk. No other lets in what comes back, for now.
    pub(crate) fn wipe(&mut self, id: NodeId) {
        assert!(!self.is_up(id), "{id} runs");
        self.disks.insert(id, Disk::default());
        let (Incarnation(number), lost) = self.incarnations[&id];
        self.incarnations.insert(id, (Incarnation(number + 1_000), lost + 1));
        let others = self.disks.keys().filter(|&&other| other != id);
        self.refusals.extend(others.map(|&other| (other, id)));
    }

    /// A node that does not run forgets everything, and who knows it does not notice: it comes back under
    /// the same name.
    pub(crate) fn forget(&mut self, id: NodeId) {
        assert!(!self.is_up(id), "{id} runs");
        self.disks.insert(id, Disk::default());
    }

    /// Puts a lost disk back: the node, which does not run, is who it was then. Returns the disk that it had
    /// meanwhile.
    pub(crate) fn put_back(
        &mut self,
        id: NodeId,
        (disk, incarnation): (Disk, Incarnation),
    ) -> (Disk, Incarnation) {
        assert!(!self.is_up(id), "{id} runs");
        let disk = self.disks.insert(id, disk).expect("every node has a disk");
        let known = self.incarnations.get_mut(&id).expect("every node has an incarnation");
        (disk, std::mem::replace(&mut known.0, incarnation))
    }

    /// Whether some node does not let it in.
    pub(crate) fn is_refused(&self, id: NodeId) -> bool {
        self.refusals.iter().any(|refusal| refusal.1 == id)
    }

    pub(crate) fn incarnation(&self, id: NodeId) -> Incarnation {
        self.incarnations[&id].0
    }

    /// A node lets in what came back under another's name.
    pub(crate) fn let_in(&mut self, by: NodeId, id: NodeId) {
        if self.refusals.remove(&(by, id)) && self.is_up(by) && self.is_up(id) {
            self.meet(by, id);
        }
    }

    /// Stops all nodes at once and starts them again, with the settings that the cluster has by now.
    pub(crate) fn restart_all(&mut self) {
        for id in self.ids() {
            self.crash(id);
        }
        for id in self.disks.keys().copied().collect::<Vec<_>>() {
            self.start(id);
        }
    }

    /// Puts an empty state in the place of the one in a stopped node's snapshot of a group.
    pub(crate) fn forge_snapshot(&mut self, id: NodeId, group: GroupId) {
        let disk = self.disks.get_mut(&id).expect("every node has a disk");
        let (_, file) = disk.snapshots.get_mut(&group).expect("it has one");
        let (header, _) = read_snapshot(file).expect("undamaged");
        let mut machine = Machine::new(group, &self.map.owned(group));
        machine.begin_entry(header.index, header.term, header.timestamp);
        let mut writer = SnapshotWriter::new(&header);
        let (mut forged, mut contents) = (writer.header(), machine.snapshot());
        while let Some(chunk) = contents.next_chunk(1 << 20) {
            forged.extend(writer.chunk(&chunk));
        }
        forged.extend(writer.footer());
        *file = forged;
    }

    /// The groups of which a node that does not run has something on its disk.
    pub(crate) fn survivors(&self, id: NodeId) -> Vec<GroupId> {
        let recovered = self.found(id).expect("undamaged");
        let offline = Offline::recover(self.config(id), recovered).expect("recovers");
        let groups = offline.survivors().into_iter().map(|survivor| survivor.group);
        groups.filter(|&group| group != META).collect()
    }

    /// What a node that does not run has on its disk.
    pub(crate) fn disk_mut(&mut self, id: NodeId) -> &mut Disk {
        assert!(!self.is_up(id), "{id} runs");
        self.disks.get_mut(&id).expect("every node has a disk")
    }

    /// What a node that does not run would start from.
    pub(crate) fn found(&self, id: NodeId) -> Result<Recovered, LogError> {
        recover(self.config(id).log_config(), &self.disks[&id])
    }

    /// Whether a node would doubt nothing, were it started from what its disk holds now.
    pub(crate) fn would_be_certain(&self, id: NodeId) -> bool {
        let Ok(found) = self.found(id) else { return false };
        let reactor = Reactor::new(self.now, self.config(id), found).expect("recovers");
        reactor.status(false).groups.iter().all(|group| group.doubt.is_none())
    }

    /// Whether no node wants a turn by itself, nor has its disk anything left to do.
    pub(crate) fn sleeps(&self) -> bool {
        let sleeps = |node: &Node| node.reactor.deadline() == Time(u64::MAX);
        self.nodes.values().all(|node| sleeps(node) && node.completions.is_empty())
    }

    /// Ends a node's process and its power: of log writes not completed any sectors may be on the
    /// disk, in any order; what is on its way is lost.
    pub(crate) fn crash(&mut self, id: NodeId) {
        let node = self.nodes.remove(&id).expect("it runs");
        let disk = self.disks.get_mut(&id).expect("every node has a disk");
        disk.unfinished.clear();
        for (_, completion) in node.completions {
            if let Completion::Log(write) = completion {
                let sectors = self.random.u64(..);
                disk.write(&write, |sector| sectors >> (sector % 64) & 1 == 1);
            }
        }
        self.network.retain(|flight| flight.to.node != id && flight.from.node != id);
        for node in self.nodes.values_mut() {
            node.reactor.step(self.now, Input::NodeDown { node: id });
        }
    }

    /// Tells a node that it is about to stop.
    pub(crate) fn hand_over(&mut self, id: NodeId) {
        self.nodes.get_mut(&id).expect("it runs").reactor.step(self.now, Input::HandOver);
    }

    /// Whether a node that is about to stop may.
    pub(crate) fn has_handed_over(&self, id: NodeId) -> bool {
        self.nodes[&id].reactor.has_handed_over()
    }

    /// Gives bytes of a client to a node.
    pub(crate) fn send(&mut self, node: NodeId, connection: ConnectionId, bytes: Vec<u8>) {
        self.inbox.push((node, connection, bytes));
    }

    /// Asks something of a group at a node, and waits for the answer.
    pub(crate) fn administer(
        &mut self,
        node: NodeId,
        group: GroupId,
        operation: GroupOperation,
    ) -> Option<GroupAnswer> {
        self.admin_answers.clear();
        let input = Input::Administer { ticket: node.0, group, operation };
        self.nodes.get_mut(&node)?.reactor.step(self.now, input);
        for _ in 0..100 {
            self.round();
            if let Some(AdminAnswer { ticket, answer: AdminOutcome::Group(answer) }) =
                self.admin_answers.pop()
            {
                assert_eq!(ticket, node.0);
                return Some(answer);
            }
        }
        None
    }

    /// Asks something of the shard master at a node, and waits for the answer.
    pub(crate) fn govern(
        &mut self,
        node: NodeId,
        operation: &PlacementOperation,
    ) -> Option<PlacementAnswer> {
        self.admin_answers.clear();
        let input = Input::Govern { ticket: node.0, operation: operation.clone() };
        self.nodes.get_mut(&node)?.reactor.step(self.now, input);
        for _ in 0..100 {
            self.round();
            if let Some(AdminAnswer { ticket, answer: AdminOutcome::Placement(answer) }) =
                self.admin_answers.pop()
            {
                assert_eq!(ticket, node.0);
                return Some(answer);
            }
        }
        None
    }

    /// The same, asked until it is accepted, or nothing is left to do.
    pub(crate) fn governed(&mut self, node: NodeId, operation: &PlacementOperation) {
        let mut last = None;
        for _ in 0..1_000 {
            last = self.govern(node, operation);
            match &last {
                Some(Ok(_)) => return,
                Some(Err(refusal)) if refusal.reason == GroupReason::NoChange => return,
                _ => (0..20).for_each(|_| self.round()),
            }
        }
        panic!("{operation:?} is never accepted: {last:?}");
    }

    /// A node that the shard master knows starts for the first time, with the map that another one has.
    pub(crate) fn join(&mut self, id: NodeId, from: NodeId) {
        let map = self.disks[&from].map.clone();
        assert!(map.is_some(), "{from} was told no map");
        self.disks.insert(id, Disk { map, ..Disk::default() });
        self.incarnations.insert(id, (Incarnation(id.0), 0));
        self.start(id);
    }

    /// The map that a node goes by, or would.
    pub(crate) fn map_of(&self, id: NodeId) -> ShardMap {
        self.kept_map(id)
    }

    /// The nodes with a replica of a group, the meta group included.
    pub(crate) fn holders(&self, group: GroupId) -> Vec<NodeId> {
        let has = |id: &NodeId| self.replicas(*id).iter().any(|status| status.group == group);
        self.ids().into_iter().filter(has).collect()
    }

    /// A node's groups, the meta group included.
    pub(crate) fn replicas(&self, id: NodeId) -> Vec<GroupStatus> {
        self.nodes[&id].reactor.status(false).groups
    }

    /// One turn of every node.
    pub(crate) fn round(&mut self) {
        self.now = self.now + ROUND;
        self.deliver();
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let mut effects = Effects::default();
            let node = self.nodes.get_mut(&id).expect("listed above");
            node.reactor.finish_turn(self.now, &mut effects);
            node.reactor.check_invariants();
            self.perform(id, effects);
        }
    }

    /// Rounds until `done`, at most `rounds`.
    pub(crate) fn run_until(&mut self, rounds: usize, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..rounds {
            if done(self) {
                return;
            }
            self.round();
        }
        for (id, group) in self.groups() {
            println!("{id} {group:?}");
        }
        panic!("not within {rounds} rounds");
    }

    /// Gives a node's reactor an input.
    pub(crate) fn step(&mut self, id: NodeId, input: Input<'_>) {
        self.nodes.get_mut(&id).expect("it runs").reactor.step(self.now, input);
    }

    /// A running node's reactor.
    pub(crate) fn reactor(&self, id: NodeId) -> &Reactor {
        &self.nodes[&id].reactor
    }

    pub(crate) fn is_up(&self, id: NodeId) -> bool {
        self.nodes.contains_key(&id)
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub(crate) fn map(&self) -> &ShardMap {
        &self.map
    }

    /// A node's groups that own slots, without hashes of their states.
    pub(crate) fn brief(&self, id: NodeId) -> Vec<GroupStatus> {
        self.replicas(id).into_iter().filter(|status| status.group != META).collect()
    }

    /// A node's summary, without hashes of its states.
    pub(crate) fn brief_status(&self, id: NodeId) -> CoreStatus {
        without_meta(self.nodes[&id].reactor.status(false))
    }

    /// Flips a bit of these bytes wherever a node's log has them.
    pub(crate) fn damage(&mut self, id: NodeId, bytes: &[u8]) {
        let disk = self.disks.get_mut(&id).expect("every node has a disk");
        let mut damaged = 0;
        for segment in disk.segments.values_mut() {
            let found: Vec<usize> = (0..segment.len() - bytes.len())
                .filter(|&at| segment[at..].starts_with(bytes))
                .collect();
            damaged += found.len();
            for at in found {
                segment[at] ^= 1;
            }
        }
        assert!(damaged > 0, "{id}: nothing to damage");
    }

    pub(crate) fn status(&self, id: NodeId) -> CoreStatus {
        without_meta(self.nodes[&id].reactor.status(true))
    }

    /// Every running node's view of every group, without hashes of their states.
    pub(crate) fn groups(&self) -> Vec<(NodeId, GroupStatus)> {
        let groups = |&id: &NodeId| self.brief(id).into_iter().map(move |g| (id, g));
        self.nodes.keys().flat_map(groups).collect()
    }

    /// Who leads `group`, if exactly one running node says so in the highest term.
    pub(crate) fn leader(&self, group: GroupId) -> Option<NodeId> {
        let of_node = |id: NodeId| self.replicas(id).into_iter().map(move |status| (id, status));
        let of_group = self.ids().into_iter().flat_map(of_node);
        let of_group = of_group.filter(|(_, status)| status.group == group);
        let leaders: Vec<_> = of_group.filter(|(_, status)| status.role == "leader").collect();
        leaders.iter().max_by_key(|(_, status)| status.term).map(|(id, _)| *id)
    }

    /// Whether all running replicas stand at the same applied index with nothing left to apply.
    pub(crate) fn is_settled(&self) -> bool {
        let groups = self.groups();
        groups.iter().all(|(_, status)| {
            let same = groups.iter().filter(|(_, other)| other.group == status.group);
            let applied = |other: &GroupStatus| other.applied_index == status.last_index;
            same.map(|(_, other)| other).all(applied) && status.applied_index == status.last_index
        })
    }

    /// Whether all nodes run and are settled.
    pub(crate) fn is_settled_and_up(&mut self) -> bool {
        self.disks.keys().all(|id| self.is_up(*id)) && self.is_settled()
    }

    /// A link is made anew: what was on its way is lost.
    pub(crate) fn reset_link(&mut self, from: NodeId, to: NodeId) {
        self.network.retain(|flight| (flight.from.node, flight.to.node) != (from, to));
        let peer = PeerCore { node: to, core: CoreId(0) };
        let node = self.nodes.get_mut(&from).expect("it runs");
        node.reactor.step(self.now, Input::PeerLinkReset { peer });
    }

    /// Demands equal state at equal applied index.
    pub(crate) fn assert_replicas_agree(&self) {
        let mut hashes = BTreeMap::new();
        let of_node = |id| self.nodes[&id].reactor.status(true).groups.into_iter();
        let groups = |&id: &NodeId| of_node(id).map(move |g| (id, g));
        for (id, status) in self.nodes.keys().flat_map(groups) {
            let place = (status.group, status.applied_index);
            let (first, hash) = hashes.entry(place).or_insert((id, status.state_hash.clone()));
            assert_eq!(*hash, status.state_hash, "{place:?} differs between {first} and {id}");
        }
    }

    /// The map that a node starts with.
    fn kept_map(&self, id: NodeId) -> ShardMap {
        let kept = self.disks[&id].map.as_ref();
        kept.map_or_else(
            || self.map.clone(),
            |bytes| map_bytes::decode_map(bytes).expect("as it was written"),
        )
    }

    fn config(&self, id: NodeId) -> ReactorConfig {
        ReactorConfig {
            cluster: ClusterId(7),
            node: id,
            incarnation: self.incarnation(id),
            core: CoreId(0),
            smp: 1,
            shard_map: self.kept_map(id),
            // Another in every life: the log's salts come from it.
            seed: self.seed.wrapping_add(self.now.0),
            wall_offset: 1_700_000_000_000_000,
            election_timeout: Micros::from_millis(100),
            heartbeat_interval: Micros::from_millis(10),
            lease: self.lease,
            segment_bytes: self.segment_bytes as u64,
            log_seed: self.seed ^ id.0,
            log_writes_in_flight_max: 4,
            live_segments_max: self.live_segments_max,
            entries_memory_max: self.entries_memory_max,
            memory_max: self.memory_max,
            piece_bytes: 256 << 10,
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        for (&id, node) in &mut self.nodes {
            if self.held.contains(&id) {
                continue;
            }
            let disk = self.disks.get_mut(&id).expect("every node has a disk");
            for (_, completion) in node.completions.extract_if(.., |(due, _)| *due <= now) {
                if let Completion::Log(write) = &completion {
                    disk.write(write, |_| true);
                }
                let bytes = disk.read(&completion);
                node.reactor.step(now, completion.input(&bytes));
            }
        }
        let cut = |flight: &Flight| self.cuts.contains(&(flight.from.node, flight.to.node));
        self.network.retain(|flight| !cut(flight));
        for Flight { from, to, bytes, .. } in self.network.extract_if(.., |f| f.due <= now) {
            if let Some(node) = self.nodes.get_mut(&to.node) {
                for_each_frame(&bytes, |frame| {
                    node.reactor.step(now, Input::PeerFrame { from, frame });
                });
            }
        }
        for (id, connection, bytes) in std::mem::take(&mut self.inbox) {
            if let Some(node) = self.nodes.get_mut(&id) {
                for_each_frame(&bytes, |frame| {
                    node.reactor.step(now, Input::ClientFrame { connection, frame });
                });
            }
        }
    }

    /// When something begun now is done.
    fn due(&mut self) -> Time {
        self.now + Micros(ROUND.0 * self.random.u64(0..=self.faults.delay_max))
    }

    fn fly(&mut self, from: PeerCore, to: PeerCore, bytes: &[u8]) {
        let chance = self.random.u32(0..100);
        let Faults { lost_percent, doubled_percent, .. } = self.faults;
        let copies = match chance {
            chance if chance < lost_percent => 0,
            chance if chance < lost_percent + doubled_percent => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let due = self.due();
            self.network.push(Flight { due, from, to, bytes: bytes.to_vec() });
        }
    }

    fn perform(&mut self, id: NodeId, effects: Effects) {
        for send in effects.peer_sends {
            self.trace = crc32c_append(self.trace, &send.bytes);
            *self.sent.entry((id, send.to.node)).or_default() += send.bytes.len() as u64;
            self.fly(PeerCore { node: id, core: CoreId(0) }, send.to, &send.bytes);
        }
        let due: Vec<Time> = effects.log_writes.iter().map(|_| self.due()).collect();
        let now = self.now;
        let disk = self.disks.get_mut(&id).expect("every node has a disk");
        let node = self.nodes.get_mut(&id).expect("it runs");
        let full = self.full.contains(&id);
        for prepare in effects.prepare_segments {
            if full {
                self.no_room += 1;
                node.completions.push((now, Completion::NoSegment(prepare.segment)));
                continue;
            }
            disk.segments.insert(prepare.segment, vec![0; self.segment_bytes]);
            node.completions.push((now, Completion::Segment(prepare.segment)));
        }
        for segment in effects.segment_removals {
            self.removed_segments += 1;
            *self.room.entry(id).or_default() += if self.crowded { 0 } else { self.segment_bytes };
            disk.segments.remove(&segment).expect("only what is there is removed");
        }
        for (due, write) in due.into_iter().zip(effects.log_writes) {
            self.trace = crc32c_append(self.trace, &write.bytes);
            node.completions.push((due, Completion::Log(write)));
        }
        for read in effects.log_reads {
            node.completions.push((now, Completion::Read(read)));
        }
        for write in effects.snapshot_writes {
            let room = self.room.entry(id).or_default();
            let fits = *room >= write.bytes.len();
            *room = room.saturating_sub(write.bytes.len());
            if full && !fits {
                self.no_room += 1;
                disk.unfinished.remove(&write.snapshot);
                node.completions.push((now, Completion::NoSnapshot(write.snapshot)));
                continue;
            }
            let file = disk.unfinished.entry(write.snapshot).or_default();
            assert_eq!(file.len() as u64, write.offset);
            file.extend_from_slice(&write.bytes);
            if write.last {
                let file = disk.unfinished.remove(&write.snapshot).expect("inserted above");
                disk.snapshots.insert(write.group, (write.index.0, file));
            }
            node.completions.push((now, Completion::Snapshot(write.snapshot)));
        }
        self.admin_answers.extend(effects.admin_answers);
        if let Some(MapWrite { epoch, bytes }) = effects.map_write {
            disk.map = Some(bytes);
            node.completions.push((now, Completion::Map(epoch)));
        }
        for group in effects.snapshot_removals {
            disk.snapshots.remove(&group);
            node.completions.push((now, Completion::Removal(group)));
        }
        for reply in effects.replies {
            self.trace = crc32c_append(self.trace, &reply.bytes);
            self.replies.entry(reply.connection).or_default().extend_from_slice(&reply.bytes);
        }
        assert!(effects.closes.is_empty(), "{:?}", effects.closes);
        assert!(effects.core_sends.is_empty(), "one core only");
    }
}

/// A summary of the groups that own slots.
fn without_meta(mut status: CoreStatus) -> CoreStatus {
    status.groups.retain(|status| status.group != META);
    status
}

impl Disk {
    /// What a read gives; nothing for any other completion.
    fn read(&self, completion: &Completion) -> Vec<u8> {
        let Completion::Read(LogRead { segment, offset, length, .. }) = completion else {
            return Vec::new();
        };
        let start = usize::try_from(*offset).expect("within a segment");
        self.segments[segment][start..start + length].to_vec()
    }

    /// Puts those sectors of a write on the disk that `survives` names.
    fn write(&mut self, write: &LogWrite, survives: impl Fn(usize) -> bool) {
        let segment = self.segments.get_mut(&write.segment).expect("prepared before");
        let start = usize::try_from(write.offset).expect("within a segment");
        for (i, sector) in write.bytes.chunks(SECTOR).enumerate() {
            if survives(i) {
                let at = start + i * SECTOR;
                segment[at..at + sector.len()].copy_from_slice(sector);
            }
        }
    }
}

impl Completion {
    fn input(self, bytes: &[u8]) -> Input<'_> {
        match self {
            Self::Log(write) => Input::LogWritten { write: write.write },
            Self::Read(read) => Input::LogReadDone { read: read.read, bytes },
            Self::Segment(segment) => Input::SegmentReady { segment },
            Self::NoSegment(segment) => Input::SegmentFailed { segment },
            Self::Snapshot(snapshot) => Input::SnapshotWritten { snapshot },
            Self::NoSnapshot(snapshot) => Input::SnapshotFailed { snapshot },
            Self::Removal(group) => Input::SnapshotsRemoved { group },
            Self::Map(epoch) => Input::MapWritten { epoch },
        }
    }
}

/// Calls `handle` with each whole frame of `bytes`, aligned as a reactor wants it.
pub(crate) fn for_each_frame(bytes: &[u8], mut handle: impl FnMut(&[u8])) {
    let buffer = AlignedBuf::copy_of(bytes);
    let mut rest: &[u8] = &buffer;
    while !rest.is_empty() {
        let Ok(Scan::Frame(frame)) = frame::scan(rest, usize::MAX) else {
            panic!("not a whole frame: {} bytes left", rest.len());
        };
        handle(frame.bytes);
        rest = &rest[frame.bytes.len()..];
    }
}

fn recover(config: LogConfig, disk: &Disk) -> Result<Recovered, LogError> {
    let mut recovery = Recovery::new(config);
    read_log(&mut recovery, disk)?;
    if let Some(mut second) = recovery.second_reading() {
        read_log(&mut second, disk)?;
        recovery = second;
    }
    let (mut snapshots, mut snapshots_lost) = (Vec::new(), Vec::new());
    for (&group, (_, file)) in &disk.snapshots {
        match LoadedSnapshot::load(file) {
            Ok(loaded) => snapshots.push(loaded),
            Err(RecoverError::Snapshot(_)) => snapshots_lost.push(group),
            Err(error) => panic!("{error}"),
        }
    }
    Ok(Recovered { log: recovery.finish()?, snapshots, snapshots_lost })
}

fn read_log(recovery: &mut Recovery, disk: &Disk) -> Result<(), LogError> {
    let mut ordered = BTreeSet::new();
    for (&segment, bytes) in &disk.segments {
        let order = recovery.inspect_head(segment, &bytes[..BLOCK])?;
        ordered.insert((order.unwrap_or(u64::MAX), segment));
    }
    for (_, segment) in ordered {
        recovery.feed(segment, &disk.segments[&segment])?;
    }
    Ok(())
}
