//! The two slots of a superblock, with checksums right or not.

use sunstar::base::checksum::crc32c;
use sunstar::base::{ClusterId, Incarnation, NodeId};
use sunstar::wal::{BLOCK, Superblock};

use super::cursor::Cursor;

/// Changes of the slots of two writes; then they are read.
pub(super) fn decode(input: &[u8]) {
    let mut cursor = Cursor(input);
    let flags = cursor.byte();
    let mut slots = [superblock(7).encode(0), superblock(8).encode(1)];
    while !cursor.is_empty() {
        let slot = &mut slots[usize::from(cursor.below(2))];
        match cursor.below(3) {
            0 => slot[usize::from(cursor.byte())] ^= cursor.byte(),
            1 => {
                let at = usize::from(cursor.below(10)) * 8;
                slot[at..at + 8].copy_from_slice(&cursor.number().to_le_bytes());
            }
            _ => slot.truncate(usize::from(cursor.byte()) * 16),
        }
        slot.resize(BLOCK, 0);
    }
    for (number, slot) in slots.iter_mut().enumerate() {
        if flags >> number & 1 == 1 {
            let crc = crc32c(&slot[12..]);
            slot[8..12].copy_from_slice(&crc.to_le_bytes());
        }
        let _ = Superblock::look_at(slot, u8::try_from(number).expect("two slots"));
    }
    if let Ok((found, slot)) = Superblock::decode([&slots[0], &slots[1]]) {
        // What counts can be written again, and read.
        let (again, blank) = (found.encode(slot), vec![0; BLOCK]);
        let pair = if slot == 0 { [&again, &blank] } else { [&blank, &again] };
        assert_eq!(Superblock::decode(pair.map(Vec::as_slice)).ok(), Some((found, slot)));
    }
    let _ = Superblock::decode([input, &slots[1]]);
}

fn superblock(sequence: u64) -> Superblock {
    Superblock {
        sequence,
        cluster: ClusterId(1),
        node: NodeId(2),
        incarnation: Incarnation(3),
        smp: 2,
        groups: 4,
        segment_bytes: 64 << 20,
        layout: 0,
        log_seed: 9,
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    vec![vec![0], vec![3, 0, 1, 1, 8], vec![3, 1, 0, 40, 1], vec![2, 0, 2, 0]]
}
