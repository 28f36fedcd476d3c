//! A group's members follow the shard map.
//!
//! ```text
//!  map: members since epoch e ──▶ leader, whose log has not settled e: one change of members ──▶ done
//!                                                     log: MembersSettled e ◀──────────────────────┘
//! ```
//!
//! The map is followed once for each time that it changes a group's members: what an administrator does
//! to a single group afterwards stays, until the map says otherwise again. Only the meta group, which has
//! no such note in its log, always has the members that the map names.
//!
//! All is judged by what the log and the map say, and said again until it is done: a new leader goes on
//! where the last one was. A change waits for the nodes that are to come, as any change of members does.

use super::Reactor;
use super::admin::GroupReason;
use crate::base::{Micros, Time};
use crate::placement::{GroupInfo, META};
use crate::wire::movement::Order;

/// How often members that are not as the map says are looked at.
const LOOK_EVERY: Micros = Micros::from_millis(100);

impl Reactor {
    /// Members are to be compared with the map's before long.
    pub(super) fn look_at_members_at(&mut self, at: Time) {
        self.members_at = Some(self.members_at.map_or(at, |known| known.min(at)));
    }

    /// Looks whether the members of a group are to be compared with the map's: its leader may be another.
    pub(super) fn note_members(&mut self, now: Time, i: usize) {
        let replica = &self.replicas[i];
        let behind = replica.group == META || replica.slots.members_epoch() < replica.members_epoch;
        if self.members_at.is_none() && behind && self.is_unsettled(i) {
            self.look_at_members_at(now + LOOK_EVERY);
        }
    }

    /// Now and then: changes members of groups led here that are not as the map says.
    pub(super) fn look_at_members(&mut self, now: Time) {
        if self.members_at.is_none_or(|at| at > now) {
            return;
        }
        self.members_at = None;
        let map = self.core.map.clone();
        for i in 0..self.replicas.len() {
            let Some(info) = map.group(self.replicas[i].group) else { continue };
            if self.is_unsettled(i) {
                self.look_at_members_at(now + LOOK_EVERY);
                self.follow_map(now, i, info);
            }
        }
    }

    /// Whether a group led here has not the members that the map gave it last.
    fn is_unsettled(&self, i: usize) -> bool {
        let replica = &self.replicas[i];
        let settled = if replica.group == META {
            let configuration = replica.raft.configuration();
            configuration.voters == self.core.map.meta.members && !configuration.is_staged()
        } else {
            !replica.slots.is_born() || replica.slots.members_epoch() >= replica.members_epoch
        };
        replica.is_leader() && !settled
    }

    /// Takes a group one step nearer to the members that the map gave it.
    fn follow_map(&mut self, now: Time, i: usize, info: &GroupInfo) {
        let raft = &self.replicas[i].raft;
        let configuration = raft.configuration();
        // What is staged comes to other voters by itself, unless it is undone.
        let changes = !configuration.outgoing.is_empty() || configuration.is_staged();
        if !changes && configuration.voters == info.members && raft.is_configuration_committed() {
            let epoch = info.members_epoch;
            self.order(i, &Order::MembersSettled { epoch });
            return;
        }
        let mut target = self.with_voters(i, &info.members);
        self.name_incarnations(i, &mut target);
        match self.change_members(now, i, &target) {
            Ok(()) => {
                tracing::info!(group = %info.id, members = ?info.members, "members follow the map");
            }
            Err(refused) if refused.reason == GroupReason::UnderWay => {}
            Err(refused) => {
                tracing::debug!(group = %info.id, refused.message, "members follow the map later");
            }
        }
    }
}
