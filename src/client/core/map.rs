//! Learning the shard map: from any seed or known node, on a connection of its own, when there is
//! none yet or the one known has proved stale.

use super::{Core, Distrust};
use crate::base::{ConnectionId, GroupId, Micros, NodeId, Time};
use crate::client::lane::Lane;
use crate::client::link::Purpose;
use crate::client::routing::{Routing, SlotRun};
use crate::client::shared::Shared;
use crate::wire::client::encode_map_request;
use crate::wire::frame::Frame;
use crate::wire::map::{ClusterView, parse_map_reply};

/// The fetching of shard maps.
#[derive(Debug)]
pub(super) struct MapFetch {
    /// Addresses given at the beginning.
    seeds: Vec<String>,
    /// Which address is asked next: seeds first, then the nodes of the map, round and round.
    next: usize,
    /// The connection that asks, if one does.
    link: Option<ConnectionId>,
    /// Failures since the last map.
    failures: u32,
    /// Nobody is asked before this.
    resume_at: Time,
}

/// Between two maps, at least: a map just fetched that still routes wrongly means that the
/// cluster has yet to settle.
const MAP_PAUSE: Micros = Micros::from_millis(50);

impl MapFetch {
    pub(super) fn new(seeds: &[String], random: &mut fastrand::Rng) -> Self {
        // Clients with the same list should not all begin with its first node.
        let next = random.usize(0..seeds.len());
        Self { seeds: seeds.to_vec(), next, link: None, failures: 0, resume_at: Time(0) }
    }

    /// Begins to ask, if a map is wanted and nobody is being asked.
    pub(super) fn pump(&mut self, shared: &mut Shared) {
        if !shared.map_stale || self.link.is_some() {
            return;
        }
        if shared.now < self.resume_at {
            shared.wake_before(self.resume_at);
            return;
        }
        let known = shared.routing.as_ref().map_or(0, |routing| routing.addresses.len());
        let at = self.next % (self.seeds.len() + known);
        self.next = at + 1;
        let address = match at.checked_sub(self.seeds.len()) {
            None => self.seeds[at].clone(),
            Some(at) => {
                let routing = shared.routing.as_ref().expect("known > 0");
                routing.addresses.values().nth(at).expect("at < known").clone()
            }
        };
        self.link = Some(shared.connect(Purpose::Map, NodeId::default(), address));
    }

    /// The connection is ready: asks.
    pub(super) fn ask(connection: ConnectionId, shared: &mut Shared) {
        let deadline = shared.now + shared.options.request_timeout;
        let request = shared.take_request();
        shared.links.get_mut(&connection).expect("ready").deadline = deadline;
        shared.wake_before(deadline);
        encode_map_request(request, shared.output(connection));
    }

    /// The connection is gone without a map.
    pub(super) fn on_closed(&mut self, connection: ConnectionId, shared: &mut Shared) {
        if self.link == Some(connection) {
            self.link = None;
            self.failures = self.failures.saturating_add(1);
            self.resume_at = shared.now + shared.pause(self.failures);
            shared.wake_before(self.resume_at);
        }
    }

    fn done(&mut self, connection: ConnectionId, shared: &mut Shared) {
        self.link = None;
        self.failures = 0;
        self.resume_at = shared.now + MAP_PAUSE;
        shared.map_stale = false;
        shared.close(connection);
    }
}

impl Core {
    /// A map came: lanes learn their members, slots their lanes. An older one than is known only
    /// ends the asking, to be begun again later.
    pub(super) fn on_map(
        &mut self,
        connection: ConnectionId,
        frame: &Frame<'_>,
    ) -> Result<(), Distrust> {
        let (_, view) = parse_map_reply(frame).map_err(|_| Distrust)?;
        if let Some(routing) = &self.shared.routing {
            if routing.cluster != view.cluster {
                return Err(Distrust);
            }
            if routing.epoch > view.epoch {
                self.map.done(connection, &mut self.shared);
                self.shared.map_stale = true;
                return Ok(());
            }
        }
        if self.shared.routing.as_ref().is_none_or(|routing| routing.epoch < view.epoch) {
            self.forget_detours();
        }
        self.install(&view);
        self.shared.strays.append(&mut self.unmapped);
        self.map.done(connection, &mut self.shared);
        Ok(())
    }

    fn install(&mut self, view: &ClusterView) {
        let mut routing =
            Routing { cluster: view.cluster, epoch: view.epoch, ..Routing::default() };
        for node in &view.nodes {
            routing.addresses.insert(node.node, node.client_address.clone());
        }
        for &position in self.by_group.values() {
            self.lanes[position].unlist();
        }
        for group in &view.groups {
            let position = self.lane_for(group.group);
            self.lanes[position].update(&group.members, group.leader);
        }
        for run in &view.slots {
            let lane = self.by_group[&run.group];
            routing.runs.push(SlotRun { first: run.first, last: run.last, lane });
        }
        self.shared.routing = Some(routing);
        for position in 0..self.lanes.len() {
            self.queue(position);
        }
    }

    /// The position of the group's lane, which is made if there is none.
    fn lane_for(&mut self, group: GroupId) -> usize {
        if let Some(&position) = self.by_group.get(&group) {
            return position;
        }
        let position = self.vacant.pop().unwrap_or(self.lanes.len());
        let lane = Lane::new(group, position);
        if position < self.lanes.len() {
            self.lanes[position] = lane;
        } else {
            self.lanes.push(lane);
        }
        self.by_group.insert(group, position);
        position
    }

    /// The group is gone and nothing of it is in doubt any more: its lane makes room.
    pub(super) fn vacate(&mut self, position: usize) {
        let links = self.shared.links.iter();
        let of_lane = links.filter(|(_, link)| link.purpose == Purpose::Lane(position));
        let connections: Vec<ConnectionId> = of_lane.map(|(&connection, _)| connection).collect();
        for connection in connections {
            self.shared.close(connection);
        }
        let group = std::mem::replace(&mut self.lanes[position], Lane::vacant(position)).group;
        assert_eq!(self.by_group.remove(&group), Some(position), "the lane of {group}");
        self.vacant.push(position);
    }
}
