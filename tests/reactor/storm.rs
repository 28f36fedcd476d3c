//! Storms: seeded faults of every kind at once, then calm; what was promised is checked throughout.
//!
//! Disks rot, too, one at a time: what is damaged is found when the node starts, and no other disk is lost
//! or damaged until the other nodes have made up for it (the *fault atlas*).
//!
//! Safety, at every moment: at most one leader per group and term; an acknowledged append is in the
//! value exactly once, at the length its answer gave; a read sees every append acknowledged before
//! it began. Liveness, once the faults have stopped: everything outstanding is answered, and all
//! replicas agree.

use std::collections::BTreeMap;

use sunstar::base::{ConnectionId, GroupId, NodeId, Sequence, SessionId, Term};
use sunstar::raft::Lease;
use sunstar::reactor::{GroupMembers, GroupOperation};
use sunstar::wire::client::{
    Operation, OperationKind, Outcome, RequestBuilder, Status, encode_open_session,
};

use super::bit_rot::BitRot;
use super::client::{key_of, reply_of};
use super::cluster::{Cluster, Faults};

const NODES: u64 = 3;
const GROUPS: u32 = 2;
const CLIENTS: usize = 6;
const STORM_ROUNDS: usize = 3_000;
const CALM_ROUNDS: usize = 20_000;
/// Rounds after which a client asks again, elsewhere.
const PATIENCE: usize = 150;
/// Small, so that storms reach recycled segments and snapshots.
const SEGMENT_BYTES: usize = 128 << 10;

/// A client with one command outstanding at a time: appends its own records to a shared key, and
/// reads it back.
struct Client {
    number: u64,
    group: GroupId,
    key: String,
    session: SessionId,
    /// The command outstanding; appends are numbered by it.
    sequence: u64,
    doing: Doing,
    /// Where the last attempt went and when.
    connection: ConnectionId,
    asked: usize,
    connections: u64,
    /// Records whose appends were acknowledged, with the length each made.
    acknowledged: Vec<(String, usize)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    Opening,
    Appending,
    /// With the length that the key had, as far as anyone was told, when the read began.
    Reading(usize),
}

struct Storm {
    cluster: Cluster,
    random: fastrand::Rng,
    clients: Vec<Client>,
    round: usize,
    leaders: BTreeMap<(GroupId, Term), NodeId>,
    /// The length each key is known to have had at least.
    lengths: BTreeMap<String, usize>,
    crashes: usize,
    reads: usize,
    /// Entries that were read back from a log, in how many pieces.
    log_reads: u64,
    /// Who lost its disk, and is not let in everywhere yet.
    wiped: Option<NodeId>,
    replacements: usize,
    /// Whose disk is damaged, or has forgotten everything, and would show it if it started now.
    rotten: Option<NodeId>,
    rot: Rot,
    /// How often a disk forgot everything, its name excepted.
    forgotten: usize,
}

/// How often bits were flipped, by what came of it.
#[derive(Clone, Copy, Default)]
struct Rot {
    /// Nothing was lost by it.
    harmless: usize,
    /// It was found; the node started, and doubted something until it was repaired.
    repaired: usize,
    /// The log was refused, and its node replaced.
    refused: usize,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let lease = seed.is_multiple_of(3).then_some(Lease { drift_percent: 10 });
        let mut cluster = Cluster::with_leases(NODES, GROUPS, SEGMENT_BYTES, seed, lease);
        cluster.live_segments_max = 3;
        // So few that most followers that were away need what left memory.
        cluster.entries_memory_max = 2 << 10;
        cluster.restart_all();
        let keys: Vec<String> =
            (1..=GROUPS).map(|group| key_of(&cluster, GroupId(group), "storm")).collect();
        let groups: Vec<(GroupId, &str)> = (1..=GROUPS)
            .map(GroupId)
            .zip(keys.iter().map(String::as_str))
            .cycle()
            .take(CLIENTS)
            .collect();
        let client = |number: usize| {
            let (group, key) = groups[number];
            Client {
                number: number as u64,
                group,
                key: key.to_owned(),
                session: SessionId(0),
                sequence: 0,
                doing: Doing::Opening,
                connection: ConnectionId(0),
                asked: 0,
                connections: 0,
                acknowledged: Vec::new(),
            }
        };
        Self {
            cluster,
            random: fastrand::Rng::with_seed(!seed),
            clients: (0..CLIENTS).map(client).collect(),
            round: PATIENCE,
            leaders: BTreeMap::new(),
            lengths: BTreeMap::new(),
            crashes: 0,
            reads: 0,
            log_reads: 0,
            wiped: None,
            replacements: 0,
            rotten: None,
            rot: Rot::default(),
            forgotten: 0,
        }
    }

    fn run(&mut self) {
        for _ in 0..STORM_ROUNDS {
            self.do_harm();
            self.step();
        }
        self.calm_down();
        while let Some(wiped) = self.wiped {
            self.step();
            self.replace(wiped);
            assert!(self.round < STORM_ROUNDS + CALM_ROUNDS, "{wiped} does not come back");
        }
        while let Some(rotten) = self.rotten {
            self.step();
            let patient = self.round < STORM_ROUNDS + CALM_ROUNDS;
            assert!(patient, "{rotten} is not repaired: {:?}", self.cluster.replicas(rotten));
        }
        let goal: Vec<u64> = self.clients.iter().map(|client| client.sequence + 3).collect();
        for _ in 0..CALM_ROUNDS {
            self.step();
            if self.clients.iter().zip(&goal).all(|(client, goal)| client.sequence >= *goal) {
                return self.check_values();
            }
        }
        let stuck: Vec<_> =
            self.clients.iter().zip(&goal).filter(|(c, g)| c.sequence < **g).collect();
        for (client, goal) in stuck {
            println!(
                "client {} of {} at {} of {goal}: {:?}",
                client.number, client.group, client.sequence, client.doing
            );
        }
        for (id, group) in self.cluster.groups() {
            println!("{id} {group:?}");
        }
        panic!("no progress after the storm");
    }

    fn step(&mut self) {
        self.round += 1;
        for i in 0..self.clients.len() {
            self.drive(i);
        }
        self.cluster.round();
        self.check_leaders();
        self.look_at_rotten();
    }

    /// Starts a node, whose disk may have rotted meanwhile.
    fn start(&mut self, id: NodeId) {
        if self.may_lose(id) && self.random.u32(0..3) == 0 {
            self.flip_a_bit(id);
        }
        self.cluster.start(id);
    }

    fn flip_a_bit(&mut self, id: NodeId) {
        let disk = self.cluster.disk_mut(id);
        let Some(rot) = BitRot::choose(disk, &mut self.random) else { return };
        rot.apply(disk);
        match self.cluster.found(id) {
            Ok(_) if self.cluster.would_be_certain(id) => self.rot.harmless += 1,
            Ok(_) => self.rotten = Some(id),
            Err(error) => {
                assert!(rot.refusable, "{id}, {rot:?}: {error}");
                self.rot.refused += 1;
                self.rotten = None;
                self.wipe(id);
            }
        }
    }

    /// Whether the other nodes have made up for what one had lost.
    fn look_at_rotten(&mut self) {
        let Some(id) = self.rotten.filter(|_| self.round.is_multiple_of(20)) else { return };
        let certain = |cluster: &Cluster| cluster.brief(id).iter().all(|g| g.doubt.is_none());
        let healed = self.cluster.is_up(id) && certain(&self.cluster);
        if healed && self.cluster.would_be_certain(id) {
            self.rot.repaired += 1;
            self.rotten = None;
        }
    }

    /// Whether the others can do without what this node knows, and will not wait for each other.
    fn may_lose(&self, id: NodeId) -> bool {
        let mut others = (1..=NODES).map(NodeId).filter(|&other| other != id);
        self.wiped.is_none()
            && self.rotten.is_none_or(|one| one == id)
            && others.all(|other| self.cluster.would_be_certain(other))
    }

    fn wipe(&mut self, id: NodeId) {
        self.cluster.wipe(id);
        self.wiped = Some(id);
    }

    /// An administrator takes the replacement of a node that lost its disk a step further.
    fn replace(&mut self, node: NodeId) {
        let incarnation = self.cluster.incarnation(node);
        for group in (0..=GROUPS).map(GroupId) {
            let asked = NodeId(self.random.u64(1..=NODES));
            let operation = GroupOperation::Replace { node, incarnation };
            _ = self.cluster.administer(asked, group, operation);
        }
        let mut members = Vec::new();
        for group in (0..=GROUPS).map(GroupId) {
            let asked = NodeId(self.random.u64(1..=NODES));
            let answer = self.cluster.administer(asked, group, GroupOperation::Members {});
            members.extend(answer.and_then(Result::ok).filter(|members| {
                let named = members.incarnations.get(&node) == Some(&incarnation);
                named && members.committed && members.outgoing.is_empty()
            }));
        }
        if members.len() <= GROUPS as usize {
            return;
        }
        // Who is down hears of it when it is up: in whatever order.
        for by in self.cluster.ids() {
            self.cluster.let_in(by, node);
        }
        // Until it votes no other may be lost.
        let votes = |members: &GroupMembers| members.voters.contains(&node);
        if !self.cluster.is_refused(node) && members.iter().all(votes) {
            self.replacements += 1;
            self.wiped = None;
        }
    }

    /// Now and then: crashes, restarts, cuts, worse or better weather.
    fn do_harm(&mut self) {
        let random = &mut self.random;
        let id = NodeId(random.u64(1..=NODES));
        match random.u32(0..1_000) {
            0..4 if self.cluster.is_up(id) => {
                let loss = random.u32(0..8);
                self.crashes += 1;
                self.log_reads += self.cluster.status(id).log_reads;
                self.cluster.crash(id);
                self.lose_disk(id, loss);
            }
            50..60 if self.wiped.is_some() => self.replace(self.wiped.expect("just asked")),
            // It stops later, or is cut short.
            38..40 if self.cluster.is_up(id) => self.cluster.hand_over(id),
            4..20 if !self.cluster.is_up(id) => self.start(id),
            20..24 => {
                let other = NodeId(random.u64(1..=NODES));
                self.cluster.cuts.insert((id, other));
            }
            24..34 => self.cluster.cuts.clear(),
            40..46 => _ = self.cluster.full.insert(id),
            46..50 => self.cluster.full.clear(),
            34..38 => {
                self.cluster.faults = Faults {
                    lost_percent: random.u32(0..30),
                    doubled_percent: random.u32(0..20),
                    delay_max: random.u64(0..30),
                };
            }
            _ => {}
        }
    }

    /// Perhaps the disk is lost with the process.
    fn lose_disk(&mut self, id: NodeId, loss: u32) {
        if loss == 0 && self.may_lose(id) {
            self.wipe(id);
            self.rotten = None;
        } else if loss == 1 && self.may_lose(id) {
            self.cluster.forget(id);
            self.forgotten += 1;
            self.rotten = Some(id);
        }
    }

    fn calm_down(&mut self) {
        self.cluster.faults = Faults::default();
        self.cluster.cuts.clear();
        self.cluster.full.clear();
        for id in (1..=NODES).map(NodeId) {
            if !self.cluster.is_up(id) {
                self.cluster.start(id);
            }
        }
    }

    /// Takes a client's answer, or asks again when its patience is at an end.
    fn drive(&mut self, i: usize) {
        let connection = self.clients[i].connection;
        if let Some(bytes) = self.cluster.replies.remove(&connection) {
            let reply = reply_of(&bytes);
            if reply.outcome == Outcome::Ok {
                self.take_answer(i, reply.session, reply.answers.first());
            } else {
                // Refused: it did not happen on this attempt. Asked again elsewhere, soon.
                self.clients[i].asked = self.round.saturating_sub(PATIENCE - 5);
                self.clients[i].connection = ConnectionId(0);
            }
        }
        if self.round - self.clients[i].asked >= PATIENCE {
            self.ask(i);
        }
    }

    fn take_answer(
        &mut self,
        i: usize,
        session: SessionId,
        answer: Option<&(sunstar::wire::client::Answer, Vec<u8>)>,
    ) {
        let client = &mut self.clients[i];
        match client.doing {
            Doing::Opening => {
                client.session = session;
                client.sequence = 1;
                client.doing = Doing::Appending;
            }
            Doing::Appending => {
                let (answer, _) = answer.expect("one answer per command");
                assert_eq!(answer.status, Status::Ok);
                let length = usize::try_from(answer.number).expect("a length");
                client.acknowledged.push((client.record(), length));
                let known = self.lengths.entry(client.key.clone()).or_default();
                *known = length.max(*known);
                client.doing = Doing::Reading(*known);
            }
            Doing::Reading(length) => {
                let (_, value) = answer.expect("one answer per command");
                assert!(value.len() >= length, "a stale read: {} < {length}", value.len());
                assert!(value.ends_with(b";"), "a torn value");
                self.reads += 1;
                client.sequence += 1;
                client.doing = Doing::Appending;
            }
        }
        self.clients[i].asked = 0;
    }

    fn ask(&mut self, i: usize) {
        let node = NodeId(self.random.u64(1..=NODES));
        let client = &mut self.clients[i];
        if let Doing::Reading(_) = client.doing {
            // An attempt anew: it must see what is known by now.
            client.doing = Doing::Reading(self.lengths[&client.key]);
        }
        client.asked = self.round;
        client.connections += 1;
        client.connection = ConnectionId(client.number * 1_000_000 + client.connections);
        let bytes = client.frame();
        self.cluster.send(node, client.connection, bytes);
    }

    fn check_leaders(&mut self) {
        for id in self.cluster.ids() {
            for group in self.cluster.brief(id) {
                if group.role == "leader" {
                    let place = (group.group, group.term);
                    let known = *self.leaders.entry(place).or_insert(id);
                    assert_eq!(known, id, "two leaders of {place:?}");
                }
            }
        }
    }

    /// Every acknowledged record is in its key's value, once, where its answer said.
    fn check_values(&mut self) {
        self.cluster.run_until(CALM_ROUNDS, |cluster| cluster.is_settled());
        self.cluster.assert_replicas_agree();
        for id in self.cluster.ids() {
            let status = self.cluster.status(id);
            self.log_reads += status.log_reads;
            assert_eq!(status.divergences, 0, "{id}: a false alarm");
        }
        for i in 0..self.clients.len() {
            let mut reader =
                super::client::Client::reader(90 + self.clients[i].number, self.clients[i].group);
            let client = &self.clients[i];
            let value = reader.get(&mut self.cluster, &client.key).expect("appended to");
            let value = String::from_utf8(value).expect("text");
            for (record, length) in &client.acknowledged {
                assert_eq!(value.matches(record).count(), 1, "{record} in {value}");
                assert!(value[..*length].ends_with(record), "{record} at {length} of {value}");
            }
        }
    }
}

impl Client {
    fn record(&self) -> String {
        format!("<{}.{}>;", self.number, self.sequence)
    }

    fn frame(&self) -> Vec<u8> {
        let (mut bytes, mut builder) = (Vec::new(), RequestBuilder::new());
        match self.doing {
            Doing::Opening => encode_open_session(1, self.group, &mut bytes),
            Doing::Appending => {
                let sequence = Sequence(self.sequence);
                let record = self.record();
                builder.push(&Operation {
                    sequence,
                    kind: OperationKind::Append,
                    flags: 0,
                    key: self.key.as_bytes(),
                    value: record.as_bytes(),
                    expected: &[],
                });
                builder.encode_write(1, self.group, self.session, sequence, &mut bytes);
            }
            Doing::Reading(_) => {
                builder.push_get(self.key.as_bytes());
                builder.encode_read(1, self.group, &mut bytes);
            }
        }
        bytes
    }
}

/// The seeds to run: `SUNSTAR_STORMS=a..b`, else a few.
fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("SUNSTAR_STORMS") else { return 0..24 };
    let (first, end) = text.split_once("..").expect("SUNSTAR_STORMS=first..end");
    first.parse().expect("a number")..end.parse().expect("a number")
}

#[test]
fn storms_break_no_promise() {
    let (mut crashes, mut replacements, mut appends, mut reads) = (0, 0, 0, 0);
    let (mut no_room, mut log_reads, mut rot, mut forgotten) = (0, 0, Rot::default(), 0);
    for seed in seeds() {
        // The seed of a failure is the last one printed.
        println!("storm {seed}");
        let mut storm = Storm::new(seed);
        storm.run();
        crashes += storm.crashes;
        replacements += storm.replacements;
        forgotten += storm.forgotten;
        appends += storm.clients.iter().map(|client| client.acknowledged.len()).sum::<usize>();
        reads += storm.reads;
        no_room += storm.cluster.no_room;
        log_reads += storm.log_reads;
        rot.harmless += storm.rot.harmless;
        rot.repaired += storm.rot.repaired;
        rot.refused += storm.rot.refused;
    }
    let Rot { harmless, repaired, refused } = rot;
    println!(
        "{crashes} crashes, {replacements} lost disks, {forgotten} that forgot everything, {appends} \
         appends and {reads} reads acknowledged, {no_room} times a full disk, {log_reads} reads of logs; \
         bits flipped: {repaired} repaired, {refused} refused, {harmless} harmless"
    );
    let seeds = seeds().count();
    assert!(no_room > seeds, "{no_room} times a full disk: too roomy");
    assert!(log_reads > 0, "nobody was ever far enough behind");
    assert!(repaired > seeds / 4, "{repaired} disks repaired: too sound");
    assert!(
        crashes > seeds && replacements > seeds / 8 && forgotten > seeds / 8 && appends > 1_000,
        "{crashes} crashes, {replacements} lost disks, {appends} appends: too calm"
    );
}
