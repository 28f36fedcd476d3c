use super::*;
use crate::base::Micros;
use crate::placement::{NodeInfo, ShardMap};

fn config(data_dir: &Path) -> NodeConfig {
    let node = NodeInfo {
        id: NodeId(1),
        client_address: "127.0.0.1:1".to_owned(),
        peer_address: "127.0.0.1:2".to_owned(),
    };
    let address = "127.0.0.1:0".parse().expect("an address");
    NodeConfig {
        node: NodeId(1),
        cluster: ClusterId(7),
        data_dir: data_dir.join("deep/data"),
        client_addr: address,
        peer_addr: address,
        admin_addr: None,
        smp: 2,
        cpuset: vec![],
        overprovisioned: true,
        memory: 1 << 30,
        shard_map: ShardMap::initial(vec![node], 2).expect("one node"),
        groups: 2,
        election_timeout: Micros::from_secs(1),
        heartbeat_interval: Micros::from_millis(100),
        lease_drift_percent: 0,
        segment_bytes: 64 << 20,
        idle_poll_time_us: 0,
        task_quota_ms: 10,
        blocked_reactor_notify_ms: 0,
    }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn a_directory_is_formatted_once_and_known_again() {
    let directory = directory();
    let config = config(directory.path());
    let first = DataDir::open(&config).expect("a first start");
    assert!(first.formatted);
    assert!(first.layout().core_dir(1).is_dir());
    let superblock = first.superblock();
    drop(first);
    DataDir::check(&config).expect("unlocked and ours");
    let second = DataDir::open(&config).expect("a second start");
    assert!(!second.formatted);
    assert_eq!(second.superblock(), superblock);
}

#[test]
fn a_directory_in_use_is_refused() {
    let directory = directory();
    let config = config(directory.path());
    let held = DataDir::open(&config).expect("a first start");
    assert!(matches!(DataDir::open(&config), Err(DataDirError::Locked { .. })));
    assert!(matches!(DataDir::check(&config), Err(DataDirError::Locked { .. })));
    drop(held);
    DataDir::open(&config).expect("free again");
}

#[test]
fn a_directory_of_another_is_refused_by_what_differs() {
    let directory = directory();
    let ours = config(directory.path());
    DataDir::open(&ours).expect("a first start");
    let open = |change: &dyn Fn(&mut NodeConfig)| {
        let mut config = ours.clone();
        change(&mut config);
        DataDir::open(&config).expect_err("it differs")
    };
    assert!(matches!(
        open(&|config| config.cluster = ClusterId(8)),
        DataDirError::OtherCluster { found: 7, expected: 8, .. }
    ));
    assert!(matches!(
        open(&|config| config.node = NodeId(2)),
        DataDirError::OtherNode { found: NodeId(1), expected: NodeId(2), .. }
    ));
    assert!(matches!(
        open(&|config| config.groups = 3),
        DataDirError::Changed { setting: "--groups", found: 2, expected: 3, .. }
    ));
    assert!(matches!(open(&|config| config.groups = 0), DataDirError::DidNotJoin { .. }));
}

#[test]
fn a_node_that_joined_is_told_how_to_start_again() {
    let directory = directory();
    let joined = NodeConfig { groups: 0, ..config(directory.path()) };
    drop(DataDir::open(&joined).expect("it joins"));
    drop(DataDir::open(&joined).expect("it starts again"));
    let error = DataDir::open(&config(directory.path())).expect_err("as if it had not");
    assert!(matches!(error, DataDirError::Joined { .. }));
    assert!(error.to_string().contains("--join"), "{error}");
}

#[test]
fn an_interrupted_formatting_is_done_again() {
    let directory = directory();
    let config = config(directory.path());
    create_directory(&config.data_dir.join("core-0")).expect("created");
    fs::write(config.data_dir.join("superblock.tmp"), b"half").expect("written");
    assert!(DataDir::open(&config).expect("a first start still").formatted);
}

#[test]
fn a_log_without_a_superblock_is_lost_and_not_blank() {
    let directory = directory();
    let config = config(directory.path());
    DataDir::open(&config).expect("a first start");
    fs::write(config.data_dir.join("core-0/segment-0.log"), b"").expect("written");
    let superblock = config.data_dir.join(SUPERBLOCK);
    let whole = fs::read(&superblock).expect("there");
    fs::remove_file(&superblock).expect("there");
    assert!(matches!(DataDir::open(&config), Err(DataDirError::SuperblockMissing { .. })));

    for damaged in [vec![], whole[..BLOCK].iter().map(|byte| byte ^ 1).collect::<Vec<u8>>()] {
        fs::write(&superblock, damaged).expect("written");
        assert!(matches!(DataDir::open(&config), Err(DataDirError::Superblock { .. })));
    }
    fs::write(&superblock, &whole[..BLOCK]).expect("written");
    DataDir::open(&config).expect("one slot is enough");
}
