//! A disk of segment files that can lose power, and the whole path of reading a log back from it.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{ClusterId, CoreId, Incarnation, NodeId};
use crate::wal::{
    BLOCK, Identity, Log, LogConfig, LogError, Recovered, Recovery, SegmentId, Write, WriteId,
};

pub(super) const SECTOR: usize = 512;

pub(super) fn identity() -> Identity {
    Identity {
        cluster: ClusterId(0xC1),
        node: NodeId(2),
        incarnation: Incarnation(3),
        core: CoreId(1),
    }
}

pub(super) fn config(segment_blocks: u64) -> LogConfig {
    LogConfig { identity: identity(), segment_bytes: segment_blocks * BLOCK as u64, seed: 0x5EED }
}

/// Segment files, and writes that may or may not have reached them.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) files: BTreeMap<SegmentId, Vec<u8>>,
    /// Issued and not completed.
    pub(super) in_flight: Vec<Write>,
}

impl Clone for Write {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), ..*self }
    }
}

impl Disk {
    /// Creates what the log asks for.
    pub(super) fn prepare(&mut self, log: &mut Log, segment_bytes: u64) {
        let mut wanted = Vec::new();
        log.segments_wanted(&mut wanted);
        for segment in wanted {
            let bytes = vec![0; usize::try_from(segment_bytes).unwrap()];
            assert!(self.files.insert(segment, bytes).is_none(), "{segment} exists");
            log.segment_ready(segment);
        }
    }

    /// Performs all of `writes`, in order.
    pub(super) fn perform(&mut self, log: &mut Log, writes: &mut Vec<Write>) {
        for write in writes.drain(..) {
            self.apply(&write, |_| true);
            log.written(write.write);
        }
    }

    /// Completes the write at `position` of those in flight.
    pub(super) fn complete(&mut self, position: usize) -> WriteId {
        let write = self.in_flight.swap_remove(position);
        self.apply(&write, |_| true);
        write.write
    }

    /// The power fails: of each sector of what is in flight, `survives` says whether it got there.
    pub(super) fn lose_power(&mut self, mut survives: impl FnMut() -> bool) {
        for write in std::mem::take(&mut self.in_flight) {
            self.apply(&write, |_| survives());
        }
    }

    fn apply(&mut self, write: &Write, mut survives: impl FnMut(usize) -> bool) {
        assert!(write.offset.is_multiple_of(BLOCK as u64));
        assert!(write.bytes.len().is_multiple_of(BLOCK));
        let start = usize::try_from(write.offset).unwrap();
        let file = &mut self.files.get_mut(&write.segment).expect("the file exists")[start..];
        for (number, sector) in write.bytes.chunks(SECTOR).enumerate() {
            if survives(number) {
                file[number * SECTOR..(number + 1) * SECTOR].copy_from_slice(sector);
            }
        }
    }

    /// Reads everything back.
    pub(super) fn recover(&self, config: &LogConfig) -> Result<Recovered, LogError> {
        let mut recovery = Recovery::new(*config);
        self.read(&mut recovery)?;
        if let Some(mut second) = recovery.second_reading() {
            self.read(&mut second)?;
            recovery = second;
        }
        recovery.finish()
    }

    fn read(&self, recovery: &mut Recovery) -> Result<(), LogError> {
        let mut ordered = BTreeSet::new();
        for (&segment, bytes) in &self.files {
            let order = recovery.inspect_head(segment, &bytes[..BLOCK])?;
            ordered.insert((order.unwrap_or(u64::MAX), segment));
        }
        for (_, segment) in ordered {
            recovery.feed(segment, &self.files[&segment])?;
        }
        Ok(())
    }
}
