//! Leadership that moves because somebody wants it to: away from nodes that stop, back to the nodes
//! that lead by preference.

use sunstar::base::{ConnectionId, GroupId, NodeId, Term};
use sunstar::wire::client::{OperationKind, Outcome};

use super::client::{Client, key_of, reply_of};
use super::cluster::Cluster;

const G1: GroupId = GroupId(1);
const GROUPS: u32 = 3;
const SEGMENT_BYTES: usize = 4 << 20;
/// Rounds within which no election timeout passes.
const SOON: usize = 50;
/// Rounds after which leadership is where it belongs, unless something hinders it.
const STEADY: usize = 1_500;

fn started(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(3, GROUPS, SEGMENT_BYTES, seed);
    cluster.run_until(1_000, |cluster| {
        (1..=GROUPS).all(|group| cluster.leader(GroupId(group)).is_some()) && cluster.is_settled()
    });
    cluster
}

fn preferred(cluster: &Cluster, group: GroupId) -> NodeId {
    cluster.map().group(group).expect("of the map").preferred_leader
}

fn term(cluster: &Cluster, group: GroupId) -> Term {
    let groups = cluster.groups().into_iter().map(|(_, status)| status);
    groups.filter(|status| status.group == group).map(|status| status.term).max().expect("runs")
}

/// Writes that keep coming while something happens, each sent to who leads as far as is known.
struct Load {
    client: Client,
    key: String,
    sent: Vec<ConnectionId>,
    target: NodeId,
    redirects: usize,
}

impl Load {
    fn new(cluster: &mut Cluster) -> Self {
        let client = Client::open(cluster, 1, G1);
        let key = key_of(cluster, G1, "k");
        let target = cluster.leader(G1).expect("started");
        Self { client, key, sent: Vec::new(), target, redirects: 0 }
    }

    /// One write more; takes the answers that came. Those sent elsewhere go there.
    fn round(&mut self, cluster: &mut Cluster) {
        if self.sent.is_empty() {
            self.client.sequence += 1;
            self.send(cluster);
        }
        cluster.round();
        let Some(bytes) = cluster.replies.remove(&self.sent[0]) else { return };
        let reply = reply_of(&bytes);
        self.sent.clear();
        match reply.outcome {
            Outcome::Ok => {}
            Outcome::NotLeader => {
                assert_ne!(reply.leader, NodeId(0), "sent away without saying where");
                assert_ne!(reply.leader, self.target, "sent to where it came from");
                self.target = reply.leader;
                self.redirects += 1;
                self.send(cluster);
            }
            outcome => panic!("{outcome:?}"),
        }
    }

    fn send(&mut self, cluster: &mut Cluster) {
        let frame = self.client.frame(OperationKind::Append, &self.key, b".");
        self.sent.push(self.client.send(cluster, self.target, &frame));
    }
}

#[test]
fn a_node_that_stops_hands_over_without_an_election_timeout() {
    let mut cluster = started(51);
    let leaving = cluster.leader(G1).expect("started");
    let before = term(&cluster, G1);
    let mut load = Load::new(&mut cluster);
    (0..SOON).for_each(|_| load.round(&mut cluster));
    let done = load.client.sequence;
    cluster.hand_over(leaving);
    for _ in 0..SOON {
        load.round(&mut cluster);
    }
    assert!(cluster.has_handed_over(leaving));
    let leader = cluster.leader(G1).expect("somebody else");
    assert_ne!(leader, leaving);
    assert_eq!(term(&cluster, G1), Term(before.0 + 1), "one election, and that won");
    assert!(load.client.sequence > done + 5, "writes went on: {done} {}", load.client.sequence);
    assert!(load.redirects <= 1, "sent in circles: {}", load.redirects);
    // It goes, and is not missed.
    cluster.crash(leaving);
    let done = load.client.sequence;
    (0..SOON).for_each(|_| load.round(&mut cluster));
    assert!(load.client.sequence > done + 5, "{done} {}", load.client.sequence);
    assert_eq!(term(&cluster, G1), Term(before.0 + 1));
}

#[test]
fn reads_wait_for_the_successor() {
    let mut cluster = started(52);
    let mut client = Client::open(&mut cluster, 1, G1);
    let key = key_of(&cluster, G1, "k");
    client.write(&mut cluster, OperationKind::Put, &key, b"v");
    let leaving = cluster.leader(G1).expect("started");
    cluster.hand_over(leaving);
    // On every node, while the leadership moves.
    for _ in 0..8 {
        for node in cluster.ids() {
            let reply = client.read(&mut cluster, node, &key);
            assert_eq!(
                (reply.outcome, &reply.answers[0].1[..]),
                (Outcome::Ok, &b"v"[..]),
                "{node}"
            );
        }
    }
    assert!(cluster.has_handed_over(leaving));
}

#[test]
fn who_has_nobody_to_hand_over_to_may_go_at_once() {
    let mut cluster = started(53);
    let last = cluster.leader(G1).expect("started");
    for id in cluster.ids().into_iter().filter(|id| *id != last) {
        cluster.crash(id);
    }
    cluster.hand_over(last);
    // For groups that others led, requests wait a moment for a leader that does not come.
    cluster.run_until(SOON, |cluster| cluster.has_handed_over(last));
}

#[test]
fn a_successor_that_does_not_answer_is_not_waited_for_for_ever() {
    let mut cluster = started(54);
    let leaving = cluster.leader(G1).expect("started");
    // They seem to be up, but hear nothing.
    for other in cluster.ids() {
        cluster.cuts.insert((leaving, other));
    }
    cluster.hand_over(leaving);
    assert!(!cluster.has_handed_over(leaving));
    cluster.run_until(2_000, |cluster| cluster.has_handed_over(leaving));
}

#[test]
fn nodes_that_all_stop_do_not_pass_it_on_for_ever() {
    let mut cluster = started(57);
    let before = term(&cluster, G1);
    cluster.ids().into_iter().for_each(|id| cluster.hand_over(id));
    cluster.run_until(2_000, |cluster| {
        cluster.ids().into_iter().all(|id| cluster.has_handed_over(id)) && cluster.is_settled()
    });
    (0..STEADY).for_each(|_| cluster.round());
    // Each of three passes it on twice.
    assert!(term(&cluster, G1).0 <= before.0 + 6, "{before:?} {:?}", term(&cluster, G1));
}

#[test]
fn leadership_goes_back_to_the_preferred_node_once_that_is_steady() {
    let mut cluster = started(55);
    let away = preferred(&cluster, G1);
    cluster.crash(away);
    cluster.run_until(5_000, |cluster| cluster.leader(G1).is_some());
    let mut load = Load::new(&mut cluster);
    (0..STEADY).for_each(|_| load.round(&mut cluster));
    cluster.start(away);
    let held = cluster.leader(G1);
    for _ in 0..300 {
        load.round(&mut cluster);
        assert_eq!(cluster.leader(G1), held, "too soon");
    }
    let before = term(&cluster, G1);
    (0..STEADY).for_each(|_| load.round(&mut cluster));
    for group in (1..=GROUPS).map(GroupId) {
        assert_eq!(cluster.leader(group), Some(preferred(&cluster, group)), "{group}");
    }
    assert_eq!(term(&cluster, G1), Term(before.0 + 1), "by one transfer");
    assert!(load.redirects <= 1, "{}", load.redirects);
}

#[test]
fn a_preferred_node_that_cannot_lead_is_asked_ever_more_rarely() {
    let mut cluster = started(56);
    let away = preferred(&cluster, G1);
    cluster.crash(away);
    cluster.run_until(5_000, |cluster| cluster.leader(G1).is_some());
    cluster.start(away);
    cluster.run_until(2_000, |cluster| cluster.is_settled());
    let leader = cluster.leader(G1).expect("waited for");
    // From now on it hears everything and is not heard: it stands when asked to, and cannot win.
    let others: Vec<NodeId> = cluster.ids().into_iter().filter(|id| *id != away).collect();
    for other in others {
        cluster.cuts.insert((away, other));
    }
    let mut asked = 0;
    let mut waiting = false;
    for _ in 0..20_000 {
        cluster.round();
        let waits = !cluster.has_handed_over(leader);
        asked += usize::from(waits && !waiting);
        waiting = waits;
    }
    assert!((2..=8).contains(&asked), "asked {asked} times in twenty seconds");
    assert_eq!(cluster.leader(G1), Some(leader));
}
