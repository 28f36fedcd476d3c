//! Recovery of a log on which bytes were changed, blocks exchanged and sectors lost.

use std::collections::BTreeMap;

use sunstar::base::checksum::crc32c;
use sunstar::base::{
    Bytes, ClusterId, CoreId, GroupId, Incarnation, Index, NodeId, Term, WallTime,
};
use sunstar::wal::{
    BLOCK, EntryRecord, HardStateRecord, Identity, Log, LogConfig, LogError, LogView, Recovered,
    Recovery, SegmentId, SegmentView, SnapshotMark,
};

use super::cursor::Cursor;

const SEGMENT_BYTES: usize = 8 * BLOCK;

type Files = BTreeMap<SegmentId, Vec<u8>>;

/// Whatever happened to the files: recovery ends, and says the same each time.
pub(super) fn recover(input: &[u8]) {
    let mut cursor = Cursor(input);
    let reseals = cursor.flag();
    let mut files = written();
    while !cursor.is_empty() {
        damage(&mut files, &mut cursor);
    }
    if reseals {
        for file in files.values_mut() {
            reseal(file);
        }
    }
    let mut view = LogView::default();
    for (&segment, bytes) in &files {
        view.push(SegmentView::of(segment, bytes));
    }
    let _ = view.durable_upto();
    match (read_back(&files), read_back(&files)) {
        (Ok(recovered), Ok(again)) => {
            assert_eq!(recovered.groups.len(), again.groups.len());
            for (group, found) in &recovered.groups {
                let consecutive = found.entries.windows(2);
                for pair in consecutive {
                    assert_eq!(pair[1].index, pair[0].index.next(), "a gap in {group}");
                }
            }
        }
        (Err(error), Err(again)) => assert_eq!(error.to_string(), again.to_string()),
        (one, other) => panic!("read twice: {one:?}, {other:?}"),
    }
}

fn config() -> LogConfig {
    let identity = Identity {
        cluster: ClusterId(0xC1),
        node: NodeId(2),
        incarnation: Incarnation(3),
        core: CoreId(1),
    };
    LogConfig { identity, segment_bytes: SEGMENT_BYTES as u64, seed: 0x5EED }
}

/// A small log with a record of most kinds, over several segments.
fn written() -> Files {
    let mut log = Log::new(config());
    let mut files = Files::new();
    for turn in 1..=12 {
        let group = GroupId(1 + turn % 2);
        if turn % 5 == 0 {
            let vote = Some(NodeId(1));
            log.stage_hard_state(group, HardStateRecord { term: Term(u64::from(turn)), vote });
        }
        if turn == 9 {
            log.stage_reset(GroupId(3), SnapshotMark { index: Index(40), term: Term(1) });
        }
        let record = EntryRecord {
            index: Index(u64::from(turn.div_ceil(2))),
            term: Term(1),
            timestamp: WallTime(u64::from(turn)),
            kind: 0,
            payload: Bytes::copy_of(&[b'e'; 900]),
        };
        log.stage_entry(group, record);
        perform(&mut log, &mut files);
    }
    let mut writes = Vec::new();
    log.seal_idle(&mut writes);
    for write in writes {
        put(&mut files, write.segment, write.offset, &write.bytes);
        log.written(write.write);
    }
    files
}

fn perform(log: &mut Log, files: &mut Files) {
    for _ in 0..4 {
        let mut wanted = Vec::new();
        log.segments_wanted(&mut wanted);
        for segment in wanted {
            files.insert(segment, vec![0; SEGMENT_BYTES]);
            log.segment_ready(segment);
        }
        let mut writes = Vec::new();
        log.seal(&mut writes);
        for write in writes {
            put(files, write.segment, write.offset, &write.bytes);
            log.written(write.write);
        }
    }
}

fn put(files: &mut Files, segment: SegmentId, offset: u64, bytes: &[u8]) {
    let offset = usize::try_from(offset).expect("within a segment");
    let file = files.get_mut(&segment).expect("made before it is written to");
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn damage(files: &mut Files, cursor: &mut Cursor<'_>) {
    let kind = cursor.below(7);
    let at = usize::from(cursor.byte()) * files.len() / 256;
    let segment = *files.keys().nth(at).expect("one of them");
    let block = usize::from(cursor.below(8)) * BLOCK;
    let file = files.get_mut(&segment).expect("one of them");
    match kind {
        0 | 1 => {
            // Headers and descriptors are what is read; most lie in the first bytes of a block.
            let offset = block + usize::from(cursor.byte());
            file[offset] ^= cursor.byte();
        }
        2 => {
            let offset = block + usize::from(cursor.below(32)) * 4;
            let number = u32::try_from(cursor.number() & 0xFFFF_FFFF).expect("masked");
            file[offset..offset + 4].copy_from_slice(&number.to_le_bytes());
        }
        3 => {
            let sector = block + usize::from(cursor.below(8)) * 512;
            file[sector..sector + 512].fill(0);
        }
        4 => {
            let other = usize::from(cursor.below(8)) * BLOCK;
            let copy = file[block..block + BLOCK].to_vec();
            file[other..other + BLOCK].copy_from_slice(&copy);
        }
        5 => file.truncate(block.max(BLOCK)),
        _ => {
            files.remove(&segment);
        }
    }
    if files.is_empty() {
        files.insert(SegmentId(0), vec![0; SEGMENT_BYTES]);
    }
    for file in files.values_mut() {
        file.resize(SEGMENT_BYTES, 0);
    }
}

/// Makes checksums right: of the header, and of each batch with sensible lengths (`schema/log.md`).
fn reseal(file: &mut [u8]) {
    let header = crc32c(&file[16..512]);
    file[12..16].copy_from_slice(&header.to_le_bytes());
    for start in (BLOCK..file.len()).step_by(BLOCK) {
        let batch = &mut file[start..];
        let word = |at: usize| {
            let bytes = batch[at..at + 4].try_into().expect("four bytes");
            usize::try_from(u32::from_le_bytes(bytes)).expect("32 bits")
        };
        if &batch[..4] != b"SBAT" {
            continue;
        }
        let table = word(48).saturating_mul(40).saturating_add(64);
        let end = table.saturating_add(word(52));
        if end > batch.len() {
            continue;
        }
        let payload = crc32c(&batch[table..end]);
        batch[56..60].copy_from_slice(&payload.to_le_bytes());
        let header = crc32c(&batch[8..table]);
        batch[4..8].copy_from_slice(&header.to_le_bytes());
    }
}

fn read_back(files: &Files) -> Result<Recovered, LogError> {
    let mut recovery = Recovery::new(config());
    feed(files, &mut recovery)?;
    if let Some(mut second) = recovery.second_reading() {
        feed(files, &mut second)?;
        recovery = second;
    }
    recovery.finish()
}

fn feed(files: &Files, recovery: &mut Recovery) -> Result<(), LogError> {
    let mut ordered = Vec::new();
    for (&segment, bytes) in files {
        let order = recovery.inspect_head(segment, &bytes[..BLOCK])?;
        ordered.push((order.unwrap_or(u64::MAX), segment));
    }
    ordered.sort_unstable();
    ordered.iter().try_for_each(|(_, segment)| recovery.feed(*segment, &files[segment]))
}

/// Nothing damaged, and one damage of each kind, with checksums right and wrong.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0]];
    for kind in 0..7 {
        for reseals in 0..2 {
            seeds.push(vec![reseals, kind, 0, 2, 24, 1]);
            seeds.push(vec![reseals, kind, 200, 1, 40, 1]);
        }
    }
    seeds
}
