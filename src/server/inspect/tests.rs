use std::fs;
use std::path::PathBuf;

use expect_test::expect;
use tempfile::TempDir;

use super::*;
use crate::base::{
    Bytes, ClusterId, CoreId, Incarnation, Index, NodeId, Sequence, SlotSet, Term, WallTime,
};
use crate::io::KeptMap;
use crate::kv::{Command, Machine, Operation, Place as At};
use crate::placement::{NodeInfo, ShardMap};
use crate::wal::{
    BLOCK, DoubtRecord, EntryRecord, HardStateRecord, Identity, Log, LogConfig, SegmentId,
    SnapshotHeader, SnapshotWriter, Superblock,
};

const G1: GroupId = GroupId(1);
const SEGMENT_BYTES: usize = 8 * BLOCK;

/// A data directory of one core: a superblock, a log of three entries, a snapshot up to the first.
struct Made {
    directory: TempDir,
}

impl Made {
    fn new() -> Self {
        let made = Self { directory: tempfile::tempdir().expect("a directory") };
        fs::create_dir(made.path("core-0")).expect("a new directory");
        fs::write(made.path("superblock"), superblock()).expect("writes");
        fs::write(made.path("core-0/segment-0.log"), segment()).expect("writes");
        fs::write(made.path("core-0/segment-1.log"), vec![0; SEGMENT_BYTES]).expect("writes");
        fs::write(made.path("core-0/1-1.snap"), snapshot()).expect("writes");
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn look(&self, name: &str, wanted: &Wanted) -> Report {
        let place = Place::at(self.directory.path()).expect("it exists");
        look(name, &place, wanted).expect("readable")
    }

    fn text(&self, name: &str) -> String {
        self.look(name, &Wanted { entries: true, ..Wanted::default() }).to_text()
    }

    fn flip(&self, name: &str, position: usize) {
        let mut bytes = fs::read(self.path(name)).expect("it exists");
        bytes[position] ^= 1;
        fs::write(self.path(name), bytes).expect("writes");
    }
}

const LOG_SEED: u64 = 5;

fn identity() -> Identity {
    Identity {
        cluster: ClusterId(0xC1),
        node: NodeId(2),
        incarnation: Incarnation(0x33),
        core: CoreId(0),
    }
}

fn superblock() -> Vec<u8> {
    let Identity { cluster, node, incarnation, .. } = identity();
    let segment_bytes = SEGMENT_BYTES as u64;
    let old = Superblock {
        sequence: 1,
        cluster,
        node,
        incarnation,
        smp: 1,
        groups: 3,
        segment_bytes,
        layout: 0,
        log_seed: LOG_SEED,
    };
    [old.encode(0), Superblock { sequence: 2, ..old }.encode(1)].concat()
}

/// A hard state and three entries, a batch each.
fn segment() -> Vec<u8> {
    let state = HardStateRecord { term: Term(2), vote: Some(NodeId(3)) };
    segment_of(&[
        &|log| {
            log.stage_hard_state(G1, state);
            log.stage_entry(G1, entry(1));
        },
        &|log| log.stage_entry(G1, entry(2)),
        &|log| log.stage_entry(G1, entry(3)),
    ])
}

fn entry(index: u64) -> EntryRecord {
    let (kind, payload) = if index == 1 { (1, &b""[..]) } else { (0, &b"frames"[..]) };
    let timestamp = WallTime(1_700_000_000_000_000 + index);
    let payload = Bytes::copy_of(payload);
    EntryRecord { term: Term(2), index: Index(index), timestamp, kind, payload }
}

/// The first segment of a log in which each turn makes a batch.
fn segment_of(turns: &[&dyn Fn(&mut Log)]) -> Vec<u8> {
    let segment_bytes = SEGMENT_BYTES as u64;
    let mut log = Log::new(LogConfig { identity: identity(), segment_bytes, seed: LOG_SEED });
    let (mut bytes, mut wanted, mut writes) = (vec![0; SEGMENT_BYTES], Vec::new(), Vec::new());
    log.segments_wanted(&mut wanted);
    for segment in wanted {
        log.segment_ready(segment);
    }
    for turn in turns {
        turn(&mut log);
        log.seal(&mut writes).expect("a segment is ready");
        for write in writes.drain(..).filter(|write| write.segment == SegmentId(0)) {
            let at = usize::try_from(write.offset).expect("small");
            bytes[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
            log.written(write.write);
        }
    }
    bytes
}

fn snapshot() -> Vec<u8> {
    let mut machine = Machine::new(G1, &SlotSet::full());
    machine.begin_entry(Index(1), Term(2), WallTime(1_700_000_000_000_001));
    let session = machine.open_session(0).expect("there is room");
    let mut batch = machine.begin_batch(session, Sequence(4)).expect("open");
    let operation = Operation::Put { key: b"key", value: b"value" };
    let place = At { index: Index(1), position: 0 };
    batch.apply(place, Some(Command { sequence: Sequence(4), operation }));
    let (index, term, timestamp) = machine.applied();
    let voters = vec![NodeId(1), NodeId(2), NodeId(3)];
    let header = SnapshotHeader {
        identity: identity(),
        group: G1,
        index,
        term,
        timestamp,
        voters,
        ..SnapshotHeader::default()
    };
    let mut writer = SnapshotWriter::new(&header);
    let mut bytes = writer.header();
    let mut contents = machine.snapshot();
    while let Some(chunk) = contents.next_chunk(64) {
        bytes.extend(writer.chunk(&chunk));
    }
    bytes.extend(writer.footer());
    bytes
}

#[test]
fn a_superblock_is_shown_slot_by_slot() {
    let made = Made::new();
    expect![[r#"
        superblock
          bytes  8192

          SLOT  STATE  CURRENT  SEQUENCE  CLUSTER           NODE  INCARNATION       CORES  GROUPS  SEGMENT BYTES  LAYOUT
          0     whole  no       1         00000000000000c1  n2    0000000000000033  1      3       32768          0
          1     whole  yes      2         00000000000000c1  n2    0000000000000033  1      3       32768          0

        sound
    "#]].assert_eq(&made.text("superblock"));
    made.flip("superblock", BLOCK + 20);
    expect![[r#"
        superblock
          bytes  8192

          SLOT  STATE    CURRENT  SEQUENCE  CLUSTER           NODE  INCARNATION       CORES  GROUPS  SEGMENT BYTES  LAYOUT
          0     whole    yes      1         00000000000000c1  n2    0000000000000033  1      3       32768          0
          1     damaged  no       -         -                 -     -                 -      -       -              -
          DAMAGE: slot 1 cannot be read: damaged

        DAMAGED in one place
    "#]].assert_eq(&made.text("superblock"));
}

#[test]
fn a_log_is_shown_batch_by_batch() {
    let made = Made::new();
    expect![[r#"
        core-0: the log
          segments      2
          start         1
          durable upto  3
          end           4
          batches       4
          bytes         16384
          torn bytes    0

          GROUP  TERM  VOTE  FIRST  LAST  LAST TERM  RESET  RETIRED  DOUBT
          g1     2     n3    1      3     2          -      no       -

        core-0/segment-0.log
          cluster      00000000000000c1
          node         n2
          incarnation  0000000000000033
          core         0
          order        0
          run          1
          salt         e1c254c9c29d5f4e
          first batch  1

          BATCH  OFFSET  BYTES  RUN  DURABLE UPTO  START  RECORDS  CHAIN  PAYLOAD
          1      4096    4096   1    0             1      0        ok     ok
          2      8192    4096   1    0             1      2        ok     ok
          3      12288   4096   1    2             1      1        ok     ok
          4      16384   4096   1    3             1      1        ok     ok

          BATCH  GROUP  RECORD      KIND     TERM  INDEX  BYTES  TIMESTAMP
          2      g1     hard state  -        2     3      0      -
          2      g1     entry       no-op    2     1      0      1700000000000001
          3      g1     entry       command  2     2      6      1700000000000002
          4      g1     entry       command  2     3      6      1700000000000003

        core-0/segment-1.log
          state  never used

        sound
    "#]]
    .assert_eq(&made.text("log"));
}

#[test]
fn damage_to_a_log_is_named_with_the_entries() {
    let made = Made::new();
    let payload = 3 * BLOCK + 64 + 40;
    made.flip("core-0/segment-0.log", payload);
    let report = made.look("log", &Wanted::default());
    assert!(!report.is_sound());
    expect![[r#"
        core-0: the log
          segments      2
          start         1
          durable upto  3
          end           4
          batches       4
          bytes         16384
          torn bytes    0

          GROUP  TERM  VOTE  FIRST  LAST  LAST TERM  RESET  RETIRED  DOUBT
          g1     2     n3    1      1     2          -      no       entries
          DAMAGE: segment-0, offset 12288: batches 3 to 3 are damaged; entries lost: g1/2

        core-0/segment-0.log
          cluster      00000000000000c1
          node         n2
          incarnation  0000000000000033
          core         0
          order        0
          run          1
          salt         e1c254c9c29d5f4e
          first batch  1

          BATCH  OFFSET  BYTES  RUN  DURABLE UPTO  START  RECORDS  CHAIN  PAYLOAD
          1      4096    4096   1    0             1      0        ok     ok
          2      8192    4096   1    0             1      2        ok     ok
          3      12288   4096   1    2             1      1        ok     bad
          4      16384   4096   1    3             1      1        ok     ok
          DAMAGE: segment-0, offset 12288: batch 3 was durable and its payload is bad: g1 entry 2 of term 2

        core-0/segment-1.log
          state  never used

        DAMAGED in 2 places
    "#]].assert_eq(&report.to_text());
}

#[test]
fn copies_and_doubts_are_shown_by_name() {
    let made = Made::new();
    let doubt = |kind| DoubtRecord { kind, resume_after: Index(2) };
    let log = segment_of(&[
        &|log| (1..=2).for_each(|index| log.stage_entry(G1, entry(index))),
        &|log| log.stage_doubt(G1, doubt(DoubtRecord::VOTES)),
        &|log| log.stage_doubt(GroupId(2), doubt(DoubtRecord::EVERYTHING)),
        &|log| log.stage_copy(G1, entry(1)),
        &|log| log.stage_certainty(G1),
    ]);
    fs::write(made.path("core-0/segment-0.log"), log).expect("writes");
    let report = made.look("log", &Wanted { entries: true, ..Wanted::default() });
    let text = report.to_text();
    let shown = |head: &str, lines: usize| -> String {
        let rows = text.lines().skip_while(|line| !line.contains(head)).take(lines);
        rows.flat_map(|line| [line.trim_start(), "\n"]).collect()
    };
    expect![[r#"
          GROUP  TERM  VOTE  FIRST  LAST  LAST TERM  RESET  RETIRED  DOUBT
          g1     -     -     1      2     2          -      no       -
          g2     -     -     -      -     -          -      no       everything
    "#]]
    .assert_eq(&shown("RETIRED", 3));
    expect![[r#"
          BATCH  GROUP  RECORD   KIND        TERM  INDEX  BYTES  TIMESTAMP
          2      g1     entry    no-op       2     1      0      1700000000000001
          2      g1     entry    command     2     2      6      1700000000000002
          3      g1     doubt    votes       0     2      0      -
          4      g2     doubt    everything  0     2      0      -
          5      g1     copy     no-op       2     1      0      1700000000000001
          6      g1     certain  -           0     0      0      -
    "#]]
    .assert_eq(&shown("RECORD  ", 7));
    let json: serde_json::Value = serde_json::from_str(&report.to_json("DIR")).expect("JSON");
    assert_eq!(json["parts"][0]["groups"][1]["doubt"], "everything");
    let records = &json["parts"][1]["records"];
    assert_eq!((&records[2]["record"], &records[2]["kind"]), (&"doubt".into(), &"votes".into()));
    assert_eq!((&records[4]["record"], &records[5]["record"]), (&"copy".into(), &"certain".into()));
}

#[test]
fn a_snapshot_and_its_sessions_are_shown() {
    let made = Made::new();
    expect![[r#"
        core-0/1-1.snap
          bytes            296
          made by          n2
          cluster          00000000000000c1
          incarnation      0000000000000033
          core             0
          group            g1
          index            1
          term             2
          timestamp        1700000000000001
          voters           n1, n2, n3
          outgoing voters  none
          learners         none
          voters to be     none
          chunks           2
          slots            16384
          slots frozen     0
          slots arriving   0
          annex bytes      0
          keys             1
          sessions         1
          state bytes      224
          state hash       54eddeab4df564f3

        sound
    "#]]
    .assert_eq(&made.text("snapshot"));
    expect![[r#"
        core-0: sessions of g1
          group              g1
          index              1
          term               2
          sessions           1
          log entries after  2
          log opens          0
          log closes         0
          log commands       0
          log sessions used  0

          SESSION  LAST USE          LOWEST SEQUENCE  RESULTS
          s65536   1700000000000001  4                1

        sound
    "#]]
    .assert_eq(&made.text("sessions"));
}

#[test]
fn the_same_facts_are_given_to_programs() {
    let made = Made::new();
    let report = made.look("snapshot", &Wanted::default());
    let json: serde_json::Value = serde_json::from_str(&report.to_json("DIR")).expect("JSON");
    assert_eq!((&json["path"], &json["sound"]), (&"DIR".into(), &true.into()));
    let part = &json["parts"][0];
    assert_eq!(
        (&part["group"], &part["index"], &part["keys"]),
        (&"g1".into(), &1.into(), &1.into())
    );
    let log = made.look("log", &Wanted { entries: true, ..Wanted::default() });
    let log: serde_json::Value = serde_json::from_str(&log.to_json("DIR")).expect("JSON");
    assert_eq!(log["parts"][0]["groups"][0]["last"], 3);
    assert_eq!(log["parts"][1]["batches"][1]["payload"], "ok");
    assert_eq!(log["parts"][1]["records"][1]["record"], "entry");
}

#[test]
fn only_what_is_asked_for_is_shown() {
    let made = Made::new();
    let nothing = made.look("snapshot", &Wanted { group: Some(GroupId(2)), ..Wanted::default() });
    assert!(nothing.parts.is_empty());
    let place = Place::at(made.directory.path()).expect("it exists");
    let elsewhere = look("log", &place, &Wanted { core: Some(7), ..Wanted::default() });
    let refused = elsewhere.expect_err("no such core");
    assert!(refused.code == 2 && refused.text.contains("core 7"), "{refused:?}");
    assert!(Place::at(&made.path("nowhere")).is_err());
}

#[test]
fn a_single_file_can_be_looked_at() {
    let made = Made::new();
    for (name, file) in [
        ("superblock", "superblock"),
        ("log", "core-0/segment-0.log"),
        ("snapshot", "core-0/1-1.snap"),
    ] {
        let place = Place::at(&made.path(file)).expect("it exists");
        let report = look(name, &place, &Wanted::default()).expect("readable");
        assert!(report.is_sound() && !report.parts.is_empty(), "{name}: {}", report.to_text());
    }
}

/// Of a superblock, a snapshot, and the part of a log that is known to have been durable.
#[test]
fn a_flipped_byte_anywhere_is_found() {
    let made = Made::new();
    let all = |name: &str| -> Vec<usize> {
        (0..fs::read(made.path(name)).expect("it exists").len()).collect()
    };
    let durable =
        [0..512, BLOCK..BLOCK + 64, 2 * BLOCK..2 * BLOCK + 144, 3 * BLOCK..3 * BLOCK + 110];
    let cases = [
        ("superblock", "superblock", all("superblock")),
        ("snapshot", "core-0/1-1.snap", all("core-0/1-1.snap")),
        ("log", "core-0/segment-0.log", durable.into_iter().flatten().collect()),
    ];
    for (name, file, positions) in cases {
        for position in positions.into_iter().step_by(7) {
            made.flip(file, position);
            let sound = made.look(name, &Wanted::default()).is_sound();
            assert!(!sound, "{file}: byte {position}");
            made.flip(file, position);
        }
        assert!(made.look(name, &Wanted::default()).is_sound(), "{file}");
    }
}

#[test]
fn the_map_is_shown_and_damage_to_it_is_named() {
    let made = Made::new();
    let node = |id: u64| NodeInfo {
        id: NodeId(id),
        client_address: format!("host{id}:1"),
        peer_address: format!("host{id}:2"),
    };
    let map = ShardMap::initial(vec![node(1), node(2)], 3).expect("two nodes");
    let kept = KeptMap { cluster: ClusterId(0xC1), map };
    fs::write(made.path("map"), kept.encode()).expect("writes");
    let text = made.text("map");
    for part in ["cluster", "00000000000000c1", "epoch", "host2:1", "g3", "5461", "16383", "sound"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    made.flip("map", 60);
    let report = made.look("map", &Wanted::default());
    assert!(!report.is_sound() && report.to_text().contains("checksum"), "{}", report.to_text());
    fs::remove_file(made.path("map")).expect("it was there");
    let place = Place::at(made.directory.path()).expect("it exists");
    let failure = look("map", &place, &Wanted::default()).expect_err("it has none");
    assert!(format!("{failure:?}").contains("for the first time"), "{failure:?}");
}
