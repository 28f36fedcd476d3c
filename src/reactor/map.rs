//! The shard map as this node knows it: a newer one is kept before anybody goes by it.
//!
//! ```text
//!  meta group's leader ──Map──▶ core 0 ──map_write──▶ disk ──MapWritten──▶ core 0 ──Map──▶ the other cores
//! ```
//!
//! The leader of the meta group tells all nodes that it reaches. That need not be all: a node whose map is old,
//! since it was away or lost its disk, lets nobody in whom its map does not name, and those who hold the meta
//! group by now may all be such. So nodes say to each other which epoch they have, when one comes up and when
//! one goes by a newer map, and whoever has a newer one tells it.
//!
//! So what a disk holds of a group, it holds because a map that is on the disk named that group: a group
//! that is not in the map was forgotten, and not born since.
//!
//! A map says what ought to be. Where a group really is, it tells itself (`directory`); which slots it
//! has, its log says (`movement`).

use std::rc::Rc;

use super::Reactor;
use super::convert::map::{decode_map, encode_map};
use super::effects::{CoreMessage, CoreSend, MapWrite};
use super::presence::Presence;
use super::recovery;
use super::replica::Replica;
use crate::base::{CoreId, Mistake, NodeId, Term, Time, makes};
use crate::placement::{META, ShardMap};
use crate::raft;
use crate::wire::peer::PeerBody;

/// Maps on their way, on core 0, and what is to be handed out of them.
#[derive(Debug, Default)]
pub(super) struct Maps {
    /// The newest one told, until it is durable.
    writing: Option<MapWrite>,
    /// To be handed out at the end of the turn.
    pub write: Option<MapWrite>,
    /// To be handed out at the end of the turn.
    pub adopted: Option<Rc<ShardMap>>,
}

impl Replica {
    /// A map says who ought to lead, and since when the members ought to be those it names.
    pub(super) fn follow(&mut self, map: &ShardMap) {
        let info = map.group(self.group);
        self.raft.set_preferred_leader(info.map(|info| info.preferred_leader));
        self.members_epoch = info.map_or(0, |info| info.members_epoch);
    }
}

impl Reactor {
    /// The epoch of the map that this core goes by.
    pub fn map_epoch(&self) -> u64 {
        self.core.map.epoch
    }

    /// The epoch of the newest map that came here.
    pub(super) fn newest_map(&self) -> u64 {
        self.maps.writing.as_ref().map_or(self.core.map.epoch, |write| write.epoch)
    }

    /// Another node, or the meta group's replica here, tells the map of an epoch.
    pub(super) fn map_told(&mut self, now: Time, epoch: u64, bytes: &[u8]) {
        if epoch <= self.newest_map() || self.core.config.core != CoreId(0) {
            return;
        }
        match decode_map(bytes) {
            Ok(map) if map.epoch == epoch => {}
            Ok(map) => {
                return tracing::warn!(epoch, found = map.epoch, "another map than announced");
            }
            Err(error) => return tracing::warn!(epoch, %error, "a shard map is refused"),
        }
        let write = MapWrite { epoch, bytes: bytes.to_vec() };
        self.maps.writing = Some(write.clone());
        self.maps.write = Some(write);
        if makes(Mistake::MapUnkept) {
            self.map_written(now, epoch);
        }
    }

    /// Another node tells a map, or that it has it.
    pub(super) fn map_message(&mut self, now: Time, from: NodeId, epoch: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            self.map_known(from, epoch);
            return self.compare_maps(from, epoch);
        }
        self.map_told(now, epoch, bytes);
        if self.core.map.epoch >= epoch {
            self.say_map_known(from);
            self.say_progress_again();
        }
    }

    /// Whoever leads the meta group now may not know how far the groups are that are led on this node.
    pub(super) fn say_progress_again(&mut self) {
        let bytes = encode_map(&self.core.map);
        self.pass_map_on(&bytes);
        self.report_movements();
    }

    fn pass_map_on(&mut self, bytes: &[u8]) {
        for to in (1..self.core.config.smp).map(CoreId) {
            let message = CoreMessage::Map { bytes: bytes.to_vec() };
            self.forwards.push(CoreSend { to, message });
        }
    }

    /// Another node has the map of this epoch: who has the older one is told the other.
    fn compare_maps(&mut self, with: NodeId, epoch: u64) {
        if epoch > self.newest_map() {
            self.say_map_known(with);
        } else if epoch < self.core.map.epoch && !self.tells_maps() {
            let (epoch, bytes) = (self.core.map.epoch, encode_map(&self.core.map));
            let body = PeerBody::Map { epoch, body: &bytes };
            self.core.peers.send_body(with, META, Term(0), &body);
        }
    }

    /// A node came up, or may have missed what it was told: it hears which epoch this one has.
    pub(super) fn say_map_again(&mut self, to: NodeId) {
        if self.core.config.core == CoreId(0) {
            self.say_map_known(to);
        }
    }

    fn say_map_known(&mut self, to: NodeId) {
        let body = PeerBody::Map { epoch: self.core.map.epoch, body: &[] };
        self.core.peers.send_body(to, META, Term(0), &body);
    }

    /// The map that was to be kept is.
    pub(super) fn map_written(&mut self, now: Time, epoch: u64) {
        let Some(write) = self.maps.writing.take_if(|write| write.epoch == epoch) else { return };
        self.pass_map_on(&write.bytes);
        self.adopt_map(now, &write.bytes);
        for node in self.core.peers.nodes() {
            self.say_map_known(node);
        }
    }

    /// Goes by this map from now on, unless that or a newer one is known: then it is told to have the meta
    /// group's leader know how far the groups are. `bytes`: looked at before.
    pub(super) fn adopt_map(&mut self, now: Time, bytes: &[u8]) {
        let map = decode_map(bytes).expect("core 0 has read it");
        if map.epoch <= self.core.map.epoch {
            return self.report_movements();
        }
        tracing::info!(epoch = map.epoch, core = %self.core.config.core, "a new shard map");
        self.core.map = Rc::new(map);
        self.core.directory.follow(&self.core.map);
        self.maps.adopted = Some(self.core.map.clone());
        for i in 0..self.replicas.len() {
            self.touch(i);
            self.replicas[i].follow(&self.core.map);
        }
        self.report_movements();
        self.found_groups(now);
        self.campaign_where_preferred(now);
        self.look_again(now);
        self.look_at_members_at(now);
    }

    /// Begins the replicas of new groups that this node is a founder of.
    fn found_groups(&mut self, now: Time) {
        let map = self.core.map.clone();
        let config = &self.core.config;
        let (node, core, smp) = (config.node, config.core, config.smp);
        let ours = map.all_groups().filter(|info| {
            info.founders.contains(&node) && ShardMap::home_core(info.id, smp) == core
        });
        for info in ours.filter(|info| !self.positions.contains_key(&info.id)).collect::<Vec<_>>() {
            let (replica, doubt) = recovery::founded(now, &self.core.config, info);
            assert_eq!(replica.presence, Presence::Here, "{}", info.id);
            if let Some(record) = doubt {
                self.core.persistence.log_mut().stage_doubt(info.id, record);
            }
            let i = self.add(replica);
            for node in self.core.peers.nodes() {
                let input: raft::Input = self.core.peers.liveness(node);
                self.step_raft(now, i, input);
            }
            tracing::info!(group = %info.id, %core, "a replica begins, of a new group");
        }
    }
}
