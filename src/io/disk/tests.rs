use std::fs;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use glommio::LocalExecutor;

use super::*;
use crate::base::{CoreId, GroupId, Index};
use crate::io::progress::Progress;
use crate::io::recover::recover;
use crate::io::snapshots::{snapshot_name, snapshot_of};
use crate::wal::{Identity, LogConfig, WriteId};

const SEGMENT_BYTES: u64 = (ZEROES + 3 * BLOCK) as u64;

/// Runs `test` on an executor with a disk in a directory of its own.
fn with_disk<F: Future<Output = ()>>(test: impl FnOnce(PathBuf, Disk, Rc<Inbox>) -> F) {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir_in(tree).expect("the tree is writable");
    let path = directory.path().to_path_buf();
    LocalExecutor::default().run(async {
        let inbox = Rc::new(Inbox::default());
        let disk = Disk::open(&path, SEGMENT_BYTES, &[], inbox.clone()).await.expect("empty");
        test(path.clone(), disk, inbox).await;
    });
}

async fn next(inbox: &Inbox) -> Event {
    inbox.something().await;
    let mut events = Vec::new();
    inbox.take_events(&mut events);
    assert_eq!(events.len(), 1, "one thing was asked for");
    events.pop().expect("one")
}

async fn prepared(disk: &mut Disk, inbox: &Inbox, segment: SegmentId) {
    disk.prepare(segment);
    match next(inbox).await {
        Event::SegmentReady(ready, file) => {
            assert_eq!(ready, segment);
            disk.opened(segment, file);
        }
        _ => panic!("the segment was to be ready"),
    }
}

/// With `O_SYNC` every write would commit the file system's journal too.
#[test]
fn segments_are_written_with_dsync_and_no_more() {
    with_disk(|_, mut disk, inbox| async move {
        let segment = SegmentId(1);
        prepared(&mut disk, &inbox, segment).await;
        let descriptor = disk.files[&segment].as_raw_fd();
        let told = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).expect("proc(5)");
        let flags = told.lines().find_map(|line| line.strip_prefix("flags:")).expect("proc(5)");
        let flags = i32::from_str_radix(flags.trim(), 8).expect("octal");
        assert_eq!(flags & libc::O_SYNC, libc::O_DSYNC, "{flags:o}");
    });
}

#[test]
fn a_removed_segment_gives_its_room_back() {
    with_disk(|path, mut disk, inbox| async move {
        for segment in [1, 2].map(SegmentId) {
            prepared(&mut disk, &inbox, segment).await;
        }
        disk.remove_segment(SegmentId(1));
        while path.join(segment_name(SegmentId(1))).exists() {
            glommio::timer::sleep(std::time::Duration::from_millis(1)).await;
        }
        assert!(path.join(segment_name(SegmentId(2))).exists());
        // Nothing holds the file any longer, or its blocks would still be taken.
        let names = fs::read_dir("/proc/self/fd").expect("proc(5)");
        let open = names.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let held: Vec<_> = open.filter(|file| file.starts_with(&path)).collect();
        assert!(held.iter().all(|file| file.ends_with(segment_name(SegmentId(2)))), "{held:?}");
    });
}

#[test]
fn a_prepared_segment_is_whole_and_keeps_what_is_written() {
    with_disk(|path, mut disk, inbox| async move {
        let segment = SegmentId(3);
        prepared(&mut disk, &inbox, segment).await;
        let file = path.join(segment_name(segment));
        let zeroes = vec![0; usize::try_from(SEGMENT_BYTES).expect("small")];
        assert!(fs::read(&file).expect("there") == zeroes, "zeros throughout");

        let bytes: Vec<u8> = (0..2 * BLOCK).map(|_| fastrand::u8(..)).collect();
        let offset = SEGMENT_BYTES - bytes.len() as u64;
        disk.write(LogWrite { write: WriteId(9), segment, offset, bytes: bytes.clone() });
        assert!(matches!(next(&inbox).await, Event::LogWritten(WriteId(9))));
        let found = fs::read(&file).expect("there");
        assert!(found[zeroes.len() - bytes.len()..] == bytes, "the bytes are in the file");
        assert_eq!(found.len(), zeroes.len(), "and it has not grown");

        let reopened = Disk::open(&path, SEGMENT_BYTES, &[segment], inbox.clone()).await;
        let write = LogWrite { write: WriteId(10), segment, offset: 0, bytes: vec![1; BLOCK] };
        reopened.expect("it is there").write(write);
        assert!(matches!(next(&inbox).await, Event::LogWritten(WriteId(10))));
    });
}

/// More than the ring has places, one for each block.
#[test]
fn each_of_many_writes_in_flight_completes_once() {
    with_disk(|path, mut disk, inbox| async move {
        let segment = SegmentId(1);
        prepared(&mut disk, &inbox, segment).await;
        let blocks = usize::try_from(SEGMENT_BYTES).expect("small") / BLOCK;
        let block = |write: usize| vec![u8::try_from(write % 251 + 1).expect("small"); BLOCK];
        for at in 0..blocks {
            let (write, offset) = (WriteId(at as u64), (at * BLOCK) as u64);
            disk.write(LogWrite { write, segment, offset, bytes: block(at) });
        }
        let (mut written, mut events) = (Vec::new(), Vec::new());
        while written.len() < blocks {
            inbox.something().await;
            inbox.take_events(&mut events);
            written.extend(events.drain(..).map(|event| match event {
                Event::LogWritten(WriteId(write)) => write,
                _ => panic!("only writes were asked for"),
            }));
        }
        written.sort_unstable();
        assert!(written.into_iter().eq(0..blocks as u64), "each once");
        let found = fs::read(path.join(segment_name(segment))).expect("there");
        assert!(found == (0..blocks).flat_map(block).collect::<Vec<_>>(), "each in its place");
    });
}

#[test]
fn a_snapshot_appears_whole_and_replaces_the_older() {
    with_disk(|path, disk, inbox| async move {
        let piece = |snapshot, index, offset, bytes: &[u8], last| SnapshotWrite {
            snapshot,
            group: GroupId(4),
            index: Index(index),
            offset,
            bytes: bytes.to_vec(),
            last,
        };
        let names = || {
            let entries = fs::read_dir(&path).expect("there");
            let mut names: Vec<String> = entries
                .map(|entry| entry.expect("there").file_name().into_string().expect("ours"))
                .collect();
            names.sort();
            names
        };
        for (snapshot, index) in [(1, 10), (2, 25)] {
            disk.snapshot(piece(snapshot, index, 0, b"begin", false));
            assert!(matches!(next(&inbox).await, Event::SnapshotWritten(_)));
            assert!(!names().contains(&format!("4-{index}.snap")), "not before it is whole");
            disk.snapshot(piece(snapshot, index, 5, b"end", true));
            assert!(matches!(next(&inbox).await, Event::SnapshotWritten(_)));
        }
        assert_eq!(names(), ["4-25.snap"]);
        fs::write(path.join("4-30.snap.tmp"), b"unfinished").expect("written");
        let progress = Progress::default();
        let log =
            LogConfig { identity: Identity::default(), segment_bytes: SEGMENT_BYTES, seed: 0 };
        let mut found = recover(&path, log, &progress).expect("readable");
        assert_eq!(found.snapshots, [(GroupId(4), path.join("4-25.snap"))]);
        assert_eq!(names(), ["4-25.snap"], "what a crash left is removed");
        // Its pieces make no snapshot: it counts as damaged, and a copy is kept.
        let recovered = found.restore(CoreId(0), &progress).expect("readable");
        assert_eq!(recovered.snapshots_lost, [GroupId(4)]);
        assert_eq!(fs::read(path.join("4-25.snap")).expect("there"), b"beginend");
        assert_eq!(names(), ["4-25.snap", "4-25.snap.damaged"]);
        // Without room for the copy the node starts as well: the name leads to where there never is any.
        fs::remove_file(path.join("4-25.snap.damaged")).expect("there");
        std::os::unix::fs::symlink("/dev/full", path.join("4-25.snap.damaged"))
            .expect("a new name");
        let mut found = recover(&path, log, &progress).expect("readable");
        let recovered = found.restore(CoreId(0), &progress).expect("no room matters");
        assert_eq!(recovered.snapshots_lost, [GroupId(4)]);
        assert_eq!(names(), ["4-25.snap"]);
    });
}

#[test]
fn file_names_read_back() {
    assert_eq!(segment_of(&segment_name(SegmentId(12))), Some(SegmentId(12)));
    for other in ["segment-.log", "segment-1.log.tmp", "1-2.snap", "segment-x.log"] {
        assert_eq!(segment_of(other), None, "{other}");
    }
    let name = snapshot_name(GroupId(7), Index(99));
    assert_eq!(snapshot_of(&name), Some((GroupId(7), Index(99))));
    assert_eq!(snapshot_of("7-99.snap.tmp"), None);
}

#[test]
fn a_hurried_segment_is_as_long_and_as_blank_as_any() {
    with_disk(|path, mut disk, inbox| async move {
        let segment = SegmentId(1);
        disk.hurry(segment);
        prepared(&mut disk, &inbox, segment).await;
        let file = path.join(segment_name(segment));
        let blocks = fs::metadata(&file).expect("there");
        assert_eq!(blocks.len(), SEGMENT_BYTES);
        assert!(blocks.blocks() * 512 >= SEGMENT_BYTES, "all of it is allocated");
        assert!(fs::read(&file).expect("there").iter().all(|&byte| byte == 0));
        let offset = SEGMENT_BYTES - BLOCK as u64;
        disk.write(LogWrite { write: WriteId(2), segment, offset, bytes: vec![7; BLOCK] });
        assert!(matches!(next(&inbox).await, Event::LogWritten(WriteId(2))));
        assert!(fs::read(&file).expect("there").ends_with(&[7; BLOCK]));
    });
}
