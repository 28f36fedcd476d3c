//! Snapshots sent over links that fail.

use sunstar::base::{GroupId, NodeId};
use sunstar::wire::client::OperationKind;

use super::client::Client;
use super::cluster::Cluster;

const G1: GroupId = GroupId(1);
const SEGMENT_BYTES: usize = 8 << 20;
const KEYS: u64 = 24;
const VALUE_BYTES: usize = 200 << 10;
/// About what the state takes in a snapshot.
const STATE_BYTES: u64 = KEYS * VALUE_BYTES as u64;
/// Rounds in which nobody misses the leader.
const SHORT: usize = 20;

/// A group whose follower lacks more than its leader remembers.
struct Scene {
    cluster: Cluster,
    leader: NodeId,
    far: NodeId,
}

impl Scene {
    /// `far` has just been started.
    fn new(seed: u64) -> Self {
        let mut cluster = Cluster::new(3, 1, SEGMENT_BYTES, seed);
        cluster.run_until(1_000, |cluster| cluster.leader(G1).is_some() && cluster.is_settled());
        let mut client = Client::open(&mut cluster, 1, G1);
        let leader = cluster.leader(G1).expect("started");
        let far = cluster.ids().into_iter().find(|id| *id != leader).expect("three nodes");
        cluster.crash(far);
        for i in 0..KEYS * 12 {
            let value = vec![u8::try_from(i / KEYS).expect("small"); VALUE_BYTES];
            client.write(&mut cluster, OperationKind::Put, &format!("k{}", i % KEYS), &value);
        }
        assert!(cluster.status(leader).snapshots > 0, "the log was trimmed");
        cluster.start(far);
        let mut scene = Self { cluster, leader, far };
        scene.cluster.sent.clear();
        scene
    }

    /// Bytes that left for the far node since it was started.
    fn sent(&self) -> u64 {
        self.cluster.sent.get(&(self.leader, self.far)).copied().unwrap_or(0)
    }

    fn run_until_sent(&mut self, bytes: u64) {
        while self.sent() < bytes {
            self.cluster.round();
        }
        let snapshot = self.cluster.status(self.far).groups[0].snapshot_index.0;
        assert_eq!(snapshot, 0, "on its way, and not there yet");
    }

    fn finish(mut self) -> u64 {
        self.cluster.run_until(20_000, Cluster::is_settled_and_up);
        self.cluster.assert_replicas_agree();
        assert!(self.cluster.status(self.far).groups[0].snapshot_index.0 > 0, "by a snapshot");
        self.sent()
    }
}

#[test]
fn a_snapshot_is_sent_once() {
    let sent = Scene::new(31).finish();
    assert!(sent > STATE_BYTES && sent < STATE_BYTES * 3 / 2, "{sent} of {STATE_BYTES}");
}

#[test]
fn a_transfer_goes_on_where_its_link_was_reset() {
    let mut scene = Scene::new(32);
    for part in 1..=3 {
        scene.run_until_sent(STATE_BYTES * part / 4);
        scene.cluster.cuts.insert((scene.leader, scene.far));
        (0..SHORT).for_each(|_| scene.cluster.round());
        scene.cluster.cuts.clear();
        scene.cluster.reset_link(scene.leader, scene.far);
    }
    let sent = scene.finish();
    // Three times a window, besides the whole.
    assert!(sent < STATE_BYTES * 2, "{sent} of {STATE_BYTES}");
}

#[test]
fn lost_pieces_and_lost_answers_are_noticed_without_a_reset() {
    for (from_leader, seed) in [(true, 33), (false, 34)] {
        let mut scene = Scene::new(seed);
        scene.run_until_sent(STATE_BYTES / 2);
        let (leader, far) = (scene.leader, scene.far);
        let cut = if from_leader { (leader, far) } else { (far, leader) };
        scene.cluster.cuts.insert(cut);
        (0..SHORT).for_each(|_| scene.cluster.round());
        scene.cluster.cuts.clear();
        let sent = scene.finish();
        assert!(sent < STATE_BYTES * 2, "{sent} of {STATE_BYTES}");
    }
}

#[test]
fn a_receiver_that_starts_again_is_sent_the_whole_again() {
    let mut scene = Scene::new(35);
    scene.run_until_sent(STATE_BYTES / 2);
    scene.cluster.crash(scene.far);
    scene.cluster.start(scene.far);
    let sent = scene.finish();
    assert!(sent < STATE_BYTES * 5 / 2, "{sent} of {STATE_BYTES}");
}

#[test]
fn a_new_leader_sends_its_own() {
    let mut scene = Scene::new(36);
    scene.run_until_sent(STATE_BYTES / 2);
    scene.cluster.crash(scene.leader);
    // The far node votes, and gets what it lacks from whoever wins.
    scene.cluster.run_until(5_000, |cluster| cluster.leader(G1).is_some());
    scene.cluster.start(scene.leader);
    scene.finish();
}
