//! The shard map that a node keeps, as `io::data_dir` writes it: whole, under its name once it is durable.
//!
//! One write at a time; of those that come meanwhile only the last matters. Want of room is no failure: it is
//! tried again.

use super::start::Refusal;
use super::{Disk, Done, FileName, Operation};
use crate::base::{CoreId, Micros, Time};
use crate::placement::ShardMap;
use crate::reactor::MapWrite;
use crate::reactor::map_bytes::decode_map;

/// After so long it is tried again on a disk that has no room.
const AGAIN: Micros = Micros::from_millis(300);

/// What there is to write.
#[derive(Debug, Default)]
pub(super) struct MapTask {
    /// Something is being written.
    busy: bool,
    /// The last that came since.
    next: Option<MapWrite>,
}

impl Disk {
    /// Begins to write the shard map, in the place of the one before; `Done::MapWritten` follows, unless a
    /// later one comes before this is begun.
    pub fn keep_map(&mut self, now: Time, write: MapWrite) {
        self.map.next = Some(write);
        self.go_on_with_map(now);
    }

    /// The map that is kept, if there is one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn kept_map(&self) -> Result<Option<ShardMap>, Refusal> {
        let Some(bytes) = self.get(FileName::Map) else { return Ok(None) };
        Ok(Some(decode_map(&bytes)?))
    }

    /// The file is written, durably, and bears its name.
    pub(super) fn map_written(&mut self, now: Time, write: MapWrite) -> Option<Done> {
        if self.full {
            let write = self.map.next.take().unwrap_or(write);
            self.begin(now + AGAIN, CoreId(0), Operation::Map(write));
            return None;
        }
        self.put(FileName::Map, &write.bytes);
        self.sync_root();
        self.map.busy = false;
        self.go_on_with_map(now);
        Some(Done::MapWritten(write.epoch))
    }

    /// The process dies while a map is written: it bears its name by then, or does not, and the power may
    /// take that.
    pub(super) fn leave_map(&mut self, write: &MapWrite) {
        if !self.full && self.random.bool() {
            self.put(FileName::Map, &write.bytes);
        }
    }

    fn go_on_with_map(&mut self, now: Time) {
        if self.map.busy {
            return;
        }
        let Some(write) = self.map.next.take() else { return };
        self.map.busy = true;
        // The file, then its name.
        let took = [(); 2].map(|()| self.speed.flush(&mut self.random));
        self.begin(now + took[0] + took[1], CoreId(0), Operation::Map(write));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Settings, Speed};
    use super::*;
    use crate::base::{ClusterId, NodeId};
    use crate::placement::NodeInfo;
    use crate::reactor::map_bytes::encode_map;

    fn map(epoch: u64) -> ShardMap {
        let info = NodeInfo {
            id: NodeId(1),
            client_address: "n1:7000".to_owned(),
            peer_address: "n1:7001".to_owned(),
        };
        let mut map = ShardMap::initial(vec![info], 1).expect("one node, one group");
        map.epoch = epoch;
        map
    }

    fn write(epoch: u64) -> MapWrite {
        MapWrite { epoch, bytes: encode_map(&map(epoch)) }
    }

    fn start(disk: &mut Disk) -> u64 {
        let (cluster, node, map) = (ClusterId(7), NodeId(1), &map(1));
        let (smp, segment_bytes, dies_on_the_way) = (1, 64 << 10, false);
        let settings = Settings { cluster, node, map, smp, segment_bytes, dies_on_the_way };
        disk.start(&settings).expect("undamaged").map.epoch
    }

    /// Lets the disk complete what is due within so long.
    fn poll(disk: &mut Disk, until: Time) -> Vec<Done> {
        let mut done = Vec::new();
        while let Some(due) = disk.deadline().filter(|&due| due <= until) {
            done.extend(disk.poll(due).map(|(_, done)| done));
        }
        done
    }

    #[test]
    fn the_old_map_is_kept_or_the_new_one_is() {
        let mut kept: BTreeMap<(bool, u64), u32> = BTreeMap::new();
        for seed in 0..100 {
            let mut disk = Disk::new(Speed::default(), fastrand::Rng::with_seed(seed));
            assert_eq!(start(&mut disk), 1, "a blank disk keeps none");
            disk.keep_map(Time(0), write(2));
            assert_eq!(poll(&mut disk, Time(1_000_000)), [Done::MapWritten(2)]);
            for epoch in 3..6 {
                disk.keep_map(Time(1_000_000), write(epoch));
            }
            let powerless = seed % 2 == 0;
            if powerless {
                disk.power_loss();
            } else {
                disk.kill();
            }
            *kept.entry((powerless, start(&mut disk))).or_default() += 1;
        }
        let outcomes: Vec<(bool, u64)> = kept.keys().copied().collect();
        assert_eq!(outcomes, [(false, 2), (false, 3), (true, 2), (true, 3)], "{kept:?}");
    }

    #[test]
    fn of_those_that_wait_the_last_is_written_once_there_is_room() {
        let mut disk = Disk::new(Speed::default(), fastrand::Rng::with_seed(1));
        start(&mut disk);
        for epoch in 2..6 {
            disk.keep_map(Time(0), write(epoch));
        }
        assert_eq!(poll(&mut disk, Time(1_000_000)), [Done::MapWritten(2), Done::MapWritten(5)]);
        disk.fill(true);
        for epoch in 6..9 {
            disk.keep_map(Time(1_000_000), write(epoch));
        }
        assert_eq!(poll(&mut disk, Time(3_000_000)), []);
        disk.fill(false);
        assert_eq!(poll(&mut disk, Time(5_000_000)), [Done::MapWritten(8)]);
        disk.power_loss();
        assert_eq!(start(&mut disk), 8);
        disk.kill();
        disk.wipe();
        assert_eq!(start(&mut disk), 1);
    }
}
