//! Disks that rot: whatever byte is wrong, it is found, and repaired from the other nodes or refused by
//! name; never served, never taken for the end of the log.

use std::collections::BTreeMap;

use sunstar::base::{GroupId, Index, NodeId};
use sunstar::reactor::Recovered;
use sunstar::wal::{BLOCK, DoubtRecord, LogError, LogView, RecordView, SegmentId, SegmentView};
use sunstar::wire::client::OperationKind;

use super::client::{Client, key_of};
use super::cluster::{Cluster, Disk};

const GROUPS: u32 = 2;

/// Two groups with something in them, and a follower of both that has stopped.
fn with_a_stopped_follower(segment_bytes: usize, writes: usize) -> (Cluster, NodeId) {
    let mut cluster = Cluster::new(3, GROUPS, segment_bytes, 11);
    let groups = || (1..=GROUPS).map(GroupId);
    cluster.run_until(1_000, |cluster| groups().all(|group| cluster.leader(group).is_some()));
    for group in groups() {
        let mut client = Client::open(&mut cluster, 1, group);
        let key = key_of(&cluster, group, "k");
        for _ in 0..writes {
            client.write(&mut cluster, OperationKind::Append, &key, &[7; 300]);
        }
    }
    cluster.run_until(3_000, |cluster| cluster.is_settled() && cluster.sleeps());
    // Within a second it is said on the disk, too, that all of it is durable.
    (0..1_000).for_each(|_| cluster.round());
    let leads = |id: &NodeId| groups().any(|group| cluster.leader(group) == Some(*id));
    let node = cluster.ids().into_iter().find(|id| !leads(id)).expect("two groups, three nodes");
    cluster.crash(node);
    (cluster, node)
}

/// Starts the node, and waits until it is certain of everything, like the others.
fn heals(cluster: &mut Cluster, node: NodeId, what: &str) {
    println!("{what}");
    cluster.start(node);
    cluster.run_until(20_000, |cluster| {
        let certain = cluster.groups().iter().all(|(_, group)| group.doubt.is_none());
        certain && cluster.is_settled_and_up()
    });
    cluster.assert_replicas_agree();
    cluster.crash(node);
}

/// What was found, so that equal losses are repaired once only.
fn losses(found: &Recovered) -> String {
    let groups = found.log.groups.iter();
    let groups: Vec<_> = groups.map(|(g, it)| (g, it.doubt_kind(), it.entries.len())).collect();
    format!("{:?} {groups:?}", found.log.damage)
}

/// What came of damage, each in turn.
struct Tally<D> {
    repaired: usize,
    refused: usize,
    harmless: usize,
    /// One damage for each kind of loss.
    classes: BTreeMap<String, D>,
}

impl<D> Tally<D> {
    fn new() -> Self {
        Self { repaired: 0, refused: 0, harmless: 0, classes: BTreeMap::new() }
    }

    /// `whole`: the losses without any damage; `what`: names this one.
    fn count(&mut self, found: Result<Recovered, LogError>, whole: &str, what: &str, damage: D) {
        match found {
            Err(_) => self.refused += 1,
            Ok(found) if found.log.damage.is_empty() => {
                assert_eq!(losses(&found), whole, "{what}");
                self.harmless += 1;
            }
            Ok(found) => {
                self.repaired += 1;
                self.classes.insert(losses(&found), damage);
            }
        }
    }
}

#[test]
fn every_byte_of_a_small_log_is_repaired_or_refused() {
    let (mut cluster, node) = with_a_stopped_follower(64 << 10, 4);
    let good: Disk = cluster.disk_mut(node).clone();
    let whole = losses(&cluster.found(node).expect("nothing is wrong"));
    let mut tally = Tally::new();
    for (&segment, bytes) in &good.segments {
        for at in 0..bytes.len() {
            cluster.disk_mut(node).segments.get_mut(&segment).expect("it is there")[at] ^= 0x10;
            let what = format!("{segment}, byte {at}");
            tally.count(cluster.found(node), &whole, &what, (segment, at));
            cluster.disk_mut(node).segments.get_mut(&segment).expect("it is there")[at] ^= 0x10;
        }
    }
    let Tally { repaired, refused, harmless, classes } = tally;
    println!("{repaired} repaired, {refused} refused, {harmless} harmless");
    assert!(repaired > 1_000 && classes.len() > 5, "{classes:?}");
    for (what, (segment, at)) in classes {
        *cluster.disk_mut(node) = good.clone();
        cluster.disk_mut(node).segments.get_mut(&segment).expect("it is there")[at] ^= 0x10;
        heals(&mut cluster, node, &what);
    }
}

/// A write that never arrived, or arrived at another place, of every block of a log in turn.
#[test]
fn every_lost_or_misdirected_write_is_repaired_or_refused() {
    let (mut cluster, node) = with_a_stopped_follower(64 << 10, 4);
    let good: Disk = cluster.disk_mut(node).clone();
    let whole = losses(&cluster.found(node).expect("nothing is wrong"));
    let blocks: Vec<(SegmentId, usize)> = good
        .segments
        .iter()
        .flat_map(|(&segment, bytes)| (0..bytes.len()).step_by(BLOCK).map(move |at| (segment, at)))
        .collect();
    let content = |(segment, at): (SegmentId, usize)| &good.segments[&segment][at..at + BLOCK];
    let written = |block: &&(SegmentId, usize)| content(**block).iter().any(|&byte| byte != 0);
    let mut tally = Tally::new();
    for &meant in blocks.iter().filter(written) {
        for &arrived in &blocks {
            let disk = disk_after(&good, meant, arrived);
            *cluster.disk_mut(node) = disk.clone();
            let what = format!("{meant:?} at {arrived:?}");
            tally.count(cluster.found(node), &whole, &what, disk);
        }
    }
    let Tally { repaired, refused, harmless, classes } = tally;
    println!("{repaired} repaired, {refused} refused, {harmless} harmless");
    assert!(repaired > 100 && classes.len() > 5, "{repaired}, {:?}", classes.keys());
    for (what, disk) in classes {
        *cluster.disk_mut(node) = disk;
        heals(&mut cluster, node, &what);
    }
}

/// The disk after the write of the block `meant` went to `arrived`; to nowhere, if that is the same. What
/// was written later to where it arrived is there all the same.
fn disk_after(good: &Disk, meant: (SegmentId, usize), arrived: (SegmentId, usize)) -> Disk {
    let mut disk = good.clone();
    let mut put = |(segment, at): (SegmentId, usize), bytes: &[u8]| {
        let file = disk.segments.get_mut(&segment).expect("it is there");
        file[at..at + BLOCK].copy_from_slice(bytes);
    };
    let content = |(segment, at): (SegmentId, usize)| &good.segments[&segment][at..at + BLOCK];
    if arrived < meant || content(arrived).iter().all(|&byte| byte == 0) {
        put(arrived, content(meant));
    }
    put(meant, &[0; BLOCK]);
    disk
}

#[test]
fn a_damaged_snapshot_is_replaced_by_the_leaders() {
    let (mut cluster, node) = with_a_stopped_follower(64 << 10, 400);
    let good: Disk = cluster.disk_mut(node).clone();
    let (&group, (_, file)) = good.snapshots.first_key_value().expect("there was much to cover");
    for at in (0..file.len()).step_by(1 + file.len() / 8) {
        *cluster.disk_mut(node) = good.clone();
        cluster.disk_mut(node).snapshots.get_mut(&group).expect("it is there").1[at] ^= 0x10;
        let found = cluster.found(node).expect("the log is whole");
        assert_eq!(found.snapshots_lost, [group], "byte {at}");
        heals(&mut cluster, node, &format!("byte {at} of the snapshot of {group}"));
    }
}

/// A follower that was sent a snapshot loses the batch that says so. It must not go on from the entries that
/// it had before.
#[test]
fn a_lost_restart_of_a_group_is_repaired() {
    let group = GroupId(1);
    let mut cluster = Cluster::new(3, 1, 64 << 10, 13);
    // Not enough for what the follower is to miss, but for what it loses.
    cluster.entries_memory_max = 64 << 10;
    cluster.restart_all();
    cluster.run_until(1_000, |cluster| cluster.leader(group).is_some() && cluster.is_settled());
    let leader = cluster.leader(group);
    let node = cluster.ids().into_iter().find(|id| Some(*id) != leader).expect("three nodes");
    let mut client = Client::open(&mut cluster, 1, group);
    let key = key_of(&cluster, group, "k");
    let mut write = |cluster: &mut Cluster, times| {
        for _ in 0..times {
            client.write(cluster, OperationKind::Put, &key, &[7; 300]);
        }
        cluster.run_until(3_000, |cluster| cluster.is_settled());
    };
    write(&mut cluster, 3);
    cluster.crash(node);
    write(&mut cluster, 600);
    cluster.start(node);
    let has_snapshot = |cluster: &Cluster| cluster.brief(node)[0].snapshot_index > Index::ZERO;
    cluster.run_until(3_000, |cluster| has_snapshot(cluster) && cluster.is_settled_and_up());
    let mark = cluster.brief(node)[0].snapshot_index;
    // As many as begin a segment, whose preamble says it once more.
    write(&mut cluster, 10);
    (0..1_000).for_each(|_| cluster.round());
    assert_eq!(cluster.brief(node)[0].snapshot_index, mark, "no other snapshot covers anything");
    cluster.crash(node);

    let (segment, at) = batch_with(cluster.disk_mut(node), "reset");
    assert_ne!(batch_with(cluster.disk_mut(node), "standing reset").0, segment);
    // The header: what the batch held, nobody knows.
    cluster.disk_mut(node).segments.get_mut(&segment).expect("it is there")[at + 20] ^= 0x10;
    let found = cluster.found(node).expect("a batch among others");
    assert!(found.log.lost_any && found.log.groups[&group].entries.is_empty());
    heals(&mut cluster, node, "a restart");
    cluster.start(node);
    write(&mut cluster, 3);
    cluster.run_until(3_000, Cluster::is_settled_and_up);
    cluster.assert_replicas_agree();
}

/// Where the last batch with a record of this kind begins.
fn batch_with(disk: &Disk, kind: &str) -> (SegmentId, usize) {
    let mut view = LogView::default();
    for (&segment, bytes) in &disk.segments {
        view.push(SegmentView::of(segment, bytes));
    }
    let has = |records: &[RecordView]| records.iter().any(|record| record.kind == kind);
    let found = view.batches().filter(|(_, batch)| has(&batch.records));
    let (segment, batch) = found.max_by_key(|(_, batch)| batch.number).expect("it was written");
    (segment, usize::try_from(batch.offset).expect("small"))
}

/// The payloads of batches with copies: where they begin.
fn copies(disk: &Disk) -> Vec<(SegmentId, usize)> {
    let mut view = LogView::default();
    for (&segment, bytes) in &disk.segments {
        view.push(SegmentView::of(segment, bytes));
    }
    let (start, upto) = (view.start(), view.durable_upto());
    let counts = view.batches().filter(|(_, batch)| (start..=upto).contains(&batch.number));
    let with_copies = counts.filter(|(_, batch)| batch.records.iter().any(|r| r.kind == "copy"));
    let payload = |records: usize| 64 + 40 * records;
    with_copies
        .map(|(segment, batch)| {
            let offset = usize::try_from(batch.offset).expect("small");
            (segment, offset + payload(batch.records.len()))
        })
        .collect()
}

#[test]
fn a_damaged_copy_costs_its_group_a_doubt_only_where_the_original_is_gone() {
    let (one, busy) = (GroupId(1), GroupId(2));
    let mut cluster = Cluster::new(3, GROUPS, 64 << 10, 12);
    for (group, writes) in [(one, 3), (busy, 600)] {
        cluster.run_until(1_000, |cluster| cluster.leader(group).is_some());
        let mut client = Client::open(&mut cluster, 1, group);
        let key = key_of(&cluster, group, "k");
        for _ in 0..writes {
            client.write(&mut cluster, OperationKind::Put, &key, &[7; 300]);
        }
    }
    cluster.run_until(3_000, |cluster| cluster.is_settled() && cluster.sleeps());
    let node = cluster.ids()[0];
    cluster.crash(node);
    let good: Disk = cluster.disk_mut(node).clone();
    let (mut lost, mut harmless) = (0, 0);
    for (segment, at) in copies(&good) {
        *cluster.disk_mut(node) = good.clone();
        cluster.disk_mut(node).segments.get_mut(&segment).expect("it is there")[at] ^= 0x10;
        let found = cluster.found(node).expect("a batch among others");
        assert_eq!(found.log.damage.len(), 1, "{segment}, byte {at}");
        assert_ne!(found.log.groups[&busy].doubt_kind(), Some(DoubtRecord::VOTES));
        match found.log.groups[&one].doubt_kind() {
            None => harmless += 1,
            Some(DoubtRecord::ENTRIES) => lost += 1,
            other => panic!("{segment}, byte {at}: {other:?}"),
        }
        heals(&mut cluster, node, &format!("{segment}, byte {at}: {}", losses(&found)));
    }
    println!("{lost} lost, {harmless} harmless");
    assert!(lost > 0);
}
