//! What the replicas of one core share: the log, the links, the answers, the snapshot in the making.

use std::collections::VecDeque;
use std::rc::Rc;

use super::answers::Answers;
use super::config::ReactorConfig;
use super::directory::Directory;
use super::effects::{Effects, SnapshotWrite};
use super::holdings::Holdings;
use super::old_entries::OldEntries;
use super::peers::Peers;
use super::persistence::Persistence;
use super::replica::Replica;
use super::replies::Replies;
use super::rewriting::Rewriting;
use super::sendings::Sendings;
use super::snapshots::{Install, Making, Purpose, SnapshotStream};
use super::trailing::Trailing;
use crate::base::{GroupId, Micros, Mistake, NodeId, Time, makes};
use crate::placement::ShardMap;
use crate::raft::{self, SnapshotMeta};
use crate::wal::{self, SegmentId};

/// How long after the disk had no room for a snapshot the next may be begun.
const SNAPSHOT_RETRY_AFTER: Micros = Micros::from_secs(1);

/// Everything of a core but its replicas.
pub(super) struct Core {
    pub config: ReactorConfig,
    /// The newest shard map known here. Its epoch never falls.
    pub map: Rc<ShardMap>,
    pub persistence: Persistence,
    pub peers: Peers,
    pub replies: Replies,
    pub answers: Answers,
    pub directory: Directory,
    /// Groups whose snapshot files are to go.
    pub snapshot_removals: Vec<GroupId>,
    /// Snapshots on their way to followers.
    pub sendings: Sendings,
    /// What all replicas hold together: the sum of their `counted`.
    pub held: Holdings,
    /// Applied entries in memory.
    pub trailing: Trailing,
    /// Entries being read back from the log.
    pub old_entries: OldEntries,
    /// The segment being freed by copies.
    pub rewriting: Option<Rewriting>,
    /// A segment that cannot be read back: only snapshots can free it.
    pub unreadable: Option<SegmentId>,
    making: Option<Making>,
    /// Whether the piece before is written and the next one is due.
    piece_due: bool,
    /// No snapshot is begun before: the disk had no room for the last one.
    paused_until: Option<Time>,
    /// Received states that wait for their turn to be written.
    installs: VecDeque<(GroupId, SnapshotMeta, Install)>,
    /// Numbers snapshots in the making and transfers.
    numbered: u64,
    /// Snapshots finished since start, for the status.
    pub snapshots: u64,
    /// Differences between replicas found since start, for the status.
    pub divergences: u64,
}

impl Core {
    pub(super) fn new(config: ReactorConfig, persistence: Persistence) -> Self {
        let map = Rc::new(config.shard_map.clone());
        let directory = Directory::new(&map);
        Self {
            config,
            map,
            directory,
            snapshot_removals: Vec::new(),
            persistence,
            peers: Peers::default(),
            replies: Replies::default(),
            answers: Answers::default(),
            sendings: Sendings::default(),
            held: Holdings::default(),
            trailing: Trailing::default(),
            old_entries: OldEntries::default(),
            rewriting: None,
            unreadable: None,
            making: None,
            piece_due: false,
            paused_until: None,
            installs: VecDeque::new(),
            numbered: 0,
            snapshots: 0,
            divergences: 0,
        }
    }

    /// Who leads `group`, as far as this core was told.
    pub(super) fn known_leader(&self, group: GroupId) -> Option<NodeId> {
        self.directory.find(group).map(|known| known.leader)
    }

    /// A number for a transfer, unlike that of any other of this process's life.
    pub(super) fn next_transfer(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    /// A received state wants to be written and installed.
    pub(super) fn install_wanted(&mut self, group: GroupId, meta: SnapshotMeta, install: Install) {
        self.installs.push_back((group, meta, install));
    }

    /// Whether a snapshot of `group` is in the making or about to be.
    pub(super) fn has_snapshot_under_way(&self, group: GroupId) -> bool {
        self.making.as_ref().is_some_and(|making| making.group == group)
            || self.installs.iter().any(|install| install.0 == group)
    }

    /// Whether a snapshot may be begun: none is in the making, and the disk may have room.
    pub(super) fn can_make(&mut self, now: Time) -> bool {
        self.paused_until.take_if(|until| *until <= now);
        self.making.is_none() && self.paused_until.is_none()
    }

    /// Bytes of state that snapshots under way hold on to, as far as it is written over meanwhile.
    pub(super) fn frozen_bytes(&self) -> u64 {
        let making = self.making.as_ref().map_or(0, |making| making.stream.frozen_bytes());
        making + self.sendings.frozen_bytes()
    }

    /// Until when no snapshot is begun, if one might be wanted.
    pub(super) fn snapshots_pause(&self) -> Option<Time> {
        self.paused_until
    }

    /// Whether a snapshot is being written.
    pub(super) fn makes_snapshot(&self) -> bool {
        self.making.is_some()
    }

    /// Begins to write a received state, if one waits.
    pub(super) fn make_install(&mut self, effects: &mut Effects) {
        if let Some((group, meta, install)) = self.installs.pop_front() {
            let configuration = &meta.configuration;
            let identity = self.config.identity();
            let stream = SnapshotStream::new(identity, group, &install.machine, configuration);
            assert_eq!(stream.meta, meta, "a state knows where it stands");
            self.make(group, Purpose::Install(Box::new(install)), stream, effects);
        }
    }

    /// Begins a snapshot of a replica, so that log segments can be freed.
    pub(super) fn make_trim(&mut self, replica: &Replica, effects: &mut Effects) {
        let identity = self.config.identity();
        let configuration = replica.raft.configuration_at(replica.applied_index());
        let (group, machine) = (replica.group, &replica.machine);
        let stream = SnapshotStream::new(identity, group, machine, configuration);
        self.make(group, Purpose::Trim, stream, effects);
    }

    fn make(
        &mut self,
        group: GroupId,
        purpose: Purpose,
        stream: SnapshotStream,
        effects: &mut Effects,
    ) {
        assert!(self.making.is_none(), "one snapshot at a time on a core");
        let number = self.next_transfer();
        self.making = Some(Making { number, group, purpose, stream, offset: 0, ended: false });
        self.piece_due = true;
        self.write_due_piece(effects);
    }

    /// Hands the next piece of the snapshot in the making to the disk, if the one before is written.
    pub(super) fn write_due_piece(&mut self, effects: &mut Effects) {
        let Some(making) = self.making.as_mut().filter(|_| self.piece_due) else { return };
        self.piece_due = false;
        let (bytes, last) = making.stream.next_piece();
        let offset = making.offset;
        making.offset += bytes.len() as u64;
        making.ended = last;
        effects.snapshot_writes.push(SnapshotWrite {
            snapshot: making.number,
            group: making.group,
            index: making.stream.meta.index,
            offset,
            bytes,
            last,
        });
    }

    /// A piece was written. Returns the snapshot once it is whole and durable.
    pub(super) fn piece_written(&mut self, number: u64) -> Option<Making> {
        let ended = |making: &Making| making.ended || makes(Mistake::SnapshotDoneTooSoon);
        let making = self.making.take_if(|making| making.number == number && ended(making));
        self.snapshots += u64::from(making.is_some());
        self.piece_due = self.making.as_ref().is_some_and(|making| making.number == number);
        making
    }

    /// A piece found no room on the disk. Returns the snapshot, which will not be.
    pub(super) fn piece_failed(&mut self, now: Time, number: u64) -> Option<Making> {
        let making = self.making.take_if(|making| making.number == number)?;
        self.piece_due = false;
        self.paused_until = Some(now + SNAPSHOT_RETRY_AFTER);
        self.persistence.give_way(making.stream.frozen_bytes());
        Some(making)
    }

    /// A snapshot found no room on the disk. One for `replica` that was received is given up.
    pub(super) fn not_made(&mut self, making: Making, replica: &mut Replica) {
        if let Purpose::Install(install) = making.purpose {
            let Install { from, transfer, bytes, .. } = *install;
            replica.end_receiving(self, (from, transfer, bytes), false);
        }
    }

    /// Takes a finished snapshot into account for `replica`.
    pub(super) fn made(&mut self, making: Making, replica: &mut Replica, now: Time) {
        let meta = making.stream.meta;
        self.persistence.snapshot_made();
        match making.purpose {
            Purpose::Trim => {
                self.persistence.log_mut().trim(making.group, meta.index);
                replica.compacted(now, meta);
            }
            Purpose::Install(install) => self.install(*install, meta, replica, now),
        }
    }

    /// Puts a received state in the place of a replica's, unless the replica has caught up by other
    /// ways meanwhile.
    fn install(&mut self, install: Install, meta: SnapshotMeta, replica: &mut Replica, now: Time) {
        let wanted = replica.raft.wants_snapshot(meta.index);
        if !wanted && replica.wants_state(meta.index) {
            return replica.heal_with(meta, install);
        }
        let Install { from, transfer, bytes, machine } = install;
        if wanted {
            let mark = wal::SnapshotMark { index: meta.index, term: meta.term };
            self.persistence.log_mut().stage_reset(replica.group, mark);
            self.persistence.log_mut().trim(replica.group, meta.index);
            replica.install(machine, self);
            replica.step(now, raft::Input::SnapshotInstalled { from, snapshot: meta });
        }
        replica.end_receiving(self, (from, transfer, bytes), wanted);
    }
}
