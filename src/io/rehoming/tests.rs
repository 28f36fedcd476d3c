use super::*;
use crate::base::{Bytes, ClusterId, Index, Micros, NodeId, Term, WallTime};
use crate::placement::{GroupInfo, NodeInfo, ShardMap};
use crate::wal::{BLOCK, DoubtRecord, EntryRecord, HardStateRecord, SnapshotMark};

const GROUPS: u32 = 7;
/// Groups of the map of which no log says anything, one at home on each of two cores.
const SILENT: [GroupId; 2] = [GroupId(GROUPS + 1), GroupId(GROUPS + 2)];
const SEGMENT_BYTES: u64 = 64 << 10;

fn config(directory: &Path, smp: usize) -> NodeConfig {
    let node = NodeInfo {
        id: NodeId(1),
        client_address: "127.0.0.1:1".to_owned(),
        peer_address: "127.0.0.1:2".to_owned(),
    };
    let address = "127.0.0.1:0".parse().expect("an address");
    NodeConfig {
        node: NodeId(1),
        cluster: ClusterId(7),
        data_dir: directory.join("data"),
        client_addr: address,
        peer_addr: address,
        admin_addr: None,
        smp,
        cpuset: vec![],
        overprovisioned: true,
        memory: 1 << 30,
        shard_map: ShardMap::initial(vec![node], GROUPS + 2).expect("one node"),
        groups: GROUPS + 2,
        election_timeout: Micros::from_secs(1),
        heartbeat_interval: Micros::from_millis(100),
        lease_drift_percent: 0,
        segment_bytes: SEGMENT_BYTES,
        idle_poll_time_us: 0,
        task_quota_ms: 10,
        blocked_reactor_notify_ms: 0,
    }
}

type Groups = BTreeMap<GroupId, RecoveredGroup>;

/// Groups of which each has something else; together some segments' worth.
fn groups() -> Groups {
    let group = |number: u32| {
        let entries = (1..=12 * u64::from(number)).map(|index| EntryRecord {
            term: Term(3),
            index: Index(100 + index),
            timestamp: WallTime(index),
            kind: 1,
            payload: Bytes::copy_of(&vec![u8::try_from(number).unwrap(); 1_000]),
        });
        let retired = number == GROUPS;
        // What it had acknowledged is gone.
        let forgotten = DoubtRecord { kind: DoubtRecord::ENTRIES, resume_after: Index(u64::MAX) };
        let found = RecoveredGroup {
            hard_state: Some(HardStateRecord { term: Term(4), vote: Some(NodeId(1)) }),
            reset: (!retired).then_some(SnapshotMark { index: Index(90), term: Term(2) }),
            doubt: retired.then_some(forgotten),
            retired,
            entries: if retired { vec![] } else { entries.collect() },
            ..RecoveredGroup::default()
        };
        (GroupId(number), found)
    };
    (1..=GROUPS).map(group).collect()
}

/// A data directory of `smp` cores that hold `groups()`, and a snapshot of each but the last.
fn filled(smp: usize) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = config(directory.path(), smp);
    let data_dir = DataDir::open(&config).expect("a first start");
    let layout = data_dir.layout();
    let mut homes: Vec<_> = (0..config.cores())
        .map(|core| {
            Home::empty(layout.core_dir(core), data_dir.superblock().log_config(CoreId(core)))
        })
        .collect();
    for (group, found) in groups() {
        let home = &mut homes[usize::from(ShardMap::home_core(group, config.cores()).0)];
        home.groups.insert(group, found);
        if group.0 < GROUPS {
            create_directory(&home.directory).expect("made");
            for index in [90, 100] {
                let path = home.directory.join(snapshot_name(group, Index(index)));
                fs::write(path, format!("{group} {index}")).expect("written");
            }
        }
    }
    for home in &homes {
        home.write(&Progress::default()).expect("written");
    }
    directory
}

/// What a node would find: its groups, and what is in their newest snapshots.
fn found(data_dir: &DataDir) -> (Groups, BTreeMap<GroupId, String>) {
    let (mut groups, mut snapshots) = (Groups::new(), BTreeMap::new());
    for core in (0..data_dir.cores()).map(CoreId) {
        let found = read(data_dir, core, &Progress::default()).expect("undamaged");
        groups.extend(found.groups);
        snapshots.extend(
            found
                .snapshots
                .into_iter()
                .map(|(group, path, _)| (group, fs::read_to_string(path).expect("there"))),
        );
    }
    (groups, snapshots)
}

/// Starts with `smp` cores, and demands that everything is at home there and nothing is left over.
fn start(directory: &Path, smp: usize) {
    let config = config(directory, smp);
    let opened = DataDir::open(&config).expect("ours");
    let data_dir = rehome(&config, opened, &Progress::default()).expect("done");
    assert_eq!(usize::from(data_dir.cores()), smp);
    let snapshots = (1..GROUPS).map(|group| (GroupId(group), format!("g{group} 100")));
    assert_eq!(found(&data_dir), (groups(), snapshots.collect()));

    let layout = data_dir.layout();
    let mut expected = vec!["lock".to_owned(), "superblock".to_owned()];
    match layout.number() {
        0 => expected.extend((0..smp).map(|core| format!("core-{core}"))),
        number => expected.push(format!("layout-{number}")),
    }
    expected.sort();
    assert_eq!(names(&config.data_dir), expected);
    assert_eq!(names(&layout.root()).iter().filter(|name| name.starts_with("core-")).count(), smp);
    drop(data_dir);
    let again = DataDir::open(&config).expect("ours");
    assert!(is_at_home(&config, &again), "both slots say so");
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("listed");
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn groups_are_found_with_any_number_of_cores_after_any_other() {
    let directory = filled(1);
    for smp in [1, 2, 3, 3, 1, 9, 2] {
        start(directory.path(), smp);
    }
}

#[test]
fn segments_change_their_size_in_the_same_way() {
    let directory = filled(2);
    let mut config = config(directory.path(), 2);
    config.segment_bytes *= 2;
    let data_dir =
        rehome(&config, DataDir::open(&config).expect("ours"), &Progress::default()).expect("done");
    assert_eq!((data_dir.segment_bytes(), data_dir.cores()), (2 * SEGMENT_BYTES, 2));
    assert_eq!(found(&data_dir).0, groups());
    drop(data_dir);
    start(directory.path(), 2);
}

/// Performs a change from two cores to three as far as a crash lets it, once for every place where it
/// may be cut short.
fn cut_short(directory: &Path, steps: usize) -> bool {
    let config = config(directory, 3);
    let mut data_dir = DataDir::open(&config).expect("ours");
    let rehoming = Rehoming::plan(&config, &data_dir, &Progress::default()).expect("undamaged");
    let before = data_dir.layout();
    let torn = |home: &Home| {
        let mut files = names(&home.directory);
        let last = home.directory.join(files.pop().expect("it has a log"));
        fs::write(last, b"torn").expect("written");
    };
    let renamed = |core: u16| {
        let path = before.core_dir(core);
        fs::rename(&path, path.with_extension("old")).expect("renamed");
    };
    let mut plan: Vec<Box<dyn FnMut() + '_>> = Vec::new();
    plan.push(Box::new(|| fs::create_dir(rehoming.layout.root()).expect("made")));
    for home in &rehoming.homes {
        plan.push(Box::new(|| {
            home.write(&Progress::default()).expect("written");
            torn(home);
        }));
        plan.push(Box::new(|| {
            fs::remove_dir_all(&home.directory).expect("removed");
            home.write(&Progress::default()).expect("written");
        }));
    }
    plan.push(Box::new(|| rehoming.switch(&mut data_dir).expect("switched")));
    plan.push(Box::new(|| renamed(0)));
    plan.push(Box::new(|| renamed(1)));
    plan.push(Box::new(|| {
        let old = before.core_dir(0).with_extension("old");
        fs::remove_file(old.join("segment-0.log")).expect("removed");
    }));
    plan.push(Box::new(|| {
        fs::remove_dir_all(before.core_dir(0).with_extension("old")).expect("removed");
    }));
    plan.iter_mut().take(steps).for_each(|step| step());
    steps < plan.len()
}

#[test]
fn a_change_that_was_cut_short_anywhere_loses_nothing() {
    for smp in [3, 2, 1] {
        for steps in 0.. {
            let directory = filled(2);
            let more = cut_short(directory.path(), steps);
            start(directory.path(), smp);
            if !more {
                assert_eq!(steps, 12, "as many places as are tried");
                break;
            }
        }
    }
}

#[test]
fn without_room_nothing_changes() {
    let directory = filled(2);
    let mut large = config(directory.path(), 3);
    large.segment_bytes = 1 << 50;
    let error = rehome(&large, DataDir::open(&large).expect("ours"), &Progress::default())
        .expect_err("no disk is so large");
    let said = error.to_string();
    assert!(said.contains("--smp 2") && said.contains("make room"), "{said}");
    start(directory.path(), 2);
}

/// Flips a bit of the log of core 1.
fn flip(directory: &Path, position: usize) {
    let path = directory.join("data/core-1/segment-0.log");
    let mut bytes = fs::read(&path).expect("there");
    bytes[position] ^= 1;
    fs::write(&path, &bytes).expect("written");
}

#[test]
fn a_log_that_cannot_be_read_stays_where_it_is() {
    let directory = filled(2);
    let in_the_header = 20;
    flip(directory.path(), in_the_header);
    let config = config(directory.path(), 3);
    let error = rehome(&config, DataDir::open(&config).expect("ours"), &Progress::default())
        .expect_err("damaged");
    assert!(error.to_string().starts_with("core c1: the log in"), "{error}");
    flip(directory.path(), in_the_header);
    start(directory.path(), 3);
}

#[test]
fn what_a_log_has_lost_is_in_doubt_in_the_new_one_too() {
    let directory = filled(2);
    flip(directory.path(), 9_000);
    let kinds = |groups: &Groups| -> Vec<_> {
        groups.iter().map(|(&group, found)| (group, found.doubt_kind())).collect()
    };
    let config = config(directory.path(), 3);
    let data_dir = DataDir::open(&config).expect("ours");
    let (before, _) = found(&data_dir);
    assert!(before[&GroupId(1)].doubt_kind().is_some(), "the first batch of core 1 is damaged");
    assert_eq!(before[&GroupId(2)], groups()[&GroupId(2)], "another core's");
    let data_dir = rehome(&config, data_dir, &Progress::default()).expect("done");
    let (mut after, _) = found(&data_dir);
    after.retain(|group, _| !SILENT.contains(group));
    assert_eq!(kinds(&after), kinds(&before));
    for (group, found) in &after {
        assert_eq!(found.entries, before[group].entries, "{group}");
        assert_eq!(found.hard_state, before[group].hard_state, "{group}");
    }
}

/// A batch is lost of which nothing can be read: it may have held anybody's vote.
#[test]
fn groups_that_a_damaged_log_says_nothing_of_are_in_doubt_too() {
    let directory = filled(2);
    let config = config(directory.path(), 3);
    let damaged = 2 * BLOCK;
    (damaged..damaged + 20).for_each(|position| flip(directory.path(), position));
    let data_dir = DataDir::open(&config).expect("ours");
    let data_dir = rehome(&config, data_dir, &Progress::default()).expect("done");
    let (after, _) = found(&data_dir);
    let kind = |group| after.get(&group).map(RecoveredGroup::doubt_kind);
    assert_eq!(SILENT.map(kind), [None, Some(Some(DoubtRecord::VOTES))], "core 1 had the second");
    for group in (1..=GROUPS).map(GroupId) {
        assert!(group.0 % 2 == 1 || kind(group) == Some(None), "{group} is another core's");
    }
}

/// The map may have given a group to others that this node still has, or one to it that never came.
#[test]
fn a_damaged_log_is_taken_to_have_held_what_its_node_founded() {
    let (moved_away, to_come) = (GroupId(GROUPS + 2), GroupId(GROUPS + 4));
    let directory = filled(2);
    let mut config = config(directory.path(), 3);
    let (me, other) = (config.node, NodeId(2));
    let mut parts = config.shard_map.parts();
    parts.epoch = 5;
    let addresses = ("127.0.0.1:3".to_owned(), "127.0.0.1:4".to_owned());
    parts.nodes.push(NodeInfo {
        id: other,
        client_address: addresses.0,
        peer_address: addresses.1,
    });
    let info = parts.groups.iter_mut().find(|info| info.id == moved_away).expect("the last");
    (info.members, info.preferred_leader) = (vec![other], other);
    let born_elsewhere = GroupInfo::new(to_come, vec![other], me, 3);
    parts.groups.push(GroupInfo { members: vec![me], ..born_elsewhere });
    config.shard_map = ShardMap::from_parts(parts).expect("sound");

    let damaged = 2 * BLOCK;
    (damaged..damaged + 20).for_each(|position| flip(directory.path(), position));
    let data_dir = DataDir::open(&config).expect("ours");
    let data_dir = rehome(&config, data_dir, &Progress::default()).expect("done");
    let (after, _) = found(&data_dir);
    let judged = |group| after.get(&group).map(|found| (found.doubt_kind(), found.retired));
    let votes = Some(DoubtRecord::VOTES);
    assert_eq!(judged(moved_away), Some((votes, false)), "it may have it still");
    assert_eq!(judged(to_come), Some((votes, true)), "nothing says that it had come");
}

/// The superblock comes back from a copy made before the last change.
#[test]
fn an_old_superblock_removes_nothing() {
    let directory = filled(2);
    let superblock = directory.path().join("data/superblock");
    let old = fs::read(&superblock).expect("there");
    start(directory.path(), 3);
    let new = fs::read(&superblock).expect("there");
    fs::write(&superblock, old).expect("written");
    let error = DataDir::open(&config(directory.path(), 3)).expect_err("what it names is gone");
    assert!(matches!(error, DataDirError::CoreMissing { .. }), "{error}");
    fs::write(&superblock, new).expect("written");
    start(directory.path(), 3);
}
