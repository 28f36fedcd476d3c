//! Which lane a command takes, and where it waits while there is none.
//!
//! ```text
//!   submit ─▶ slot ─▶ detour, else map ─▶ lane ─────▶ …
//!               ▲          │
//!               │          ├ slot on its way: waits in its detour for a pause to end
//!               │          └ no group known:  waits in `unmapped` for a map
//!               └── strays, at the next poll ◀── a lane certainly did not execute it
//! ```

use super::Core;
use crate::base::{GroupId, Micros, Slot};
use crate::client::command::{Caller, Fields, Stray};
use crate::client::detours::{Turn, take_late};
use crate::client::outcome::{Evidence, Outcome, Rejection};
use crate::client::shared::Misplaced;

/// More than a round trip to most clusters.
const LAST_CALL_MAX: Micros = Micros::from_millis(500);

impl Core {
    /// Stages a command, or an atomic batch of several, with the lane of its slot, or keeps it until
    /// that is known. `caller`: of the first.
    pub(super) fn route(&mut self, commands: &[Fields<'_>], caller: Caller) {
        let slot = Slot::of_key(commands[0].key);
        if self.detours.is_paused(slot, self.shared.now) {
            if caller.deadline <= self.shared.now + self.last_call() {
                return self.reject(&Stray::new(commands, caller), Rejection::SlotMoving);
            }
            let resume_at = self.detours.hold(slot, Stray::new(commands, caller));
            self.shared.wake_before(resume_at.min(caller.deadline));
        } else if let Some(position) = self.lane_of(slot) {
            self.lanes[position].stage(commands, caller, &mut self.shared);
            self.queue(position);
        } else {
            self.await_map(Stray::new(commands, caller));
        }
    }

    /// Routes what came back from a lane, and what waited for the end of a pause.
    pub(super) fn route_strays(&mut self) {
        let resume_at = self.detours.release(self.shared.now, &mut self.shared.strays);
        if let Some(time) = resume_at {
            self.shared.wake_before(time);
        }
        if self.shared.strays.is_empty() {
            return;
        }
        let mut strays = std::mem::take(&mut self.shared.strays);
        // Commands of about the same age share a frame, which has one deadline.
        strays.sort_by_key(|stray| stray.caller.deadline);
        for stray in strays {
            self.route(&stray.fields(), stray.caller);
        }
    }

    /// Sends on what came back because the group asked does not serve the slot: to the group that
    /// was named, unless an earlier answer or a newer map has turned the slot already.
    pub(super) fn send_on(&mut self) {
        for Misplaced { stray, asked, named } in std::mem::take(&mut self.shared.misplaced) {
            let slot = stray.slot();
            self.shared.counters.rerouted += stray.len() as u64;
            if self.lane_of(slot) != Some(asked) {
                self.shared.strays.push(stray);
            } else if let Some(named) = self.listed_lane(named) {
                let turn = Turn { asked, named };
                self.detours.turn(slot, turn, self.shared.now, &mut self.shared.random);
                self.shared.strays.push(stray);
            } else {
                let waiting = self.detours.forget(slot);
                self.shared.strays.extend(waiting);
                self.await_map(stray);
            }
        }
    }

    /// A newer map than was known: what the groups said before counts no more.
    pub(super) fn forget_detours(&mut self) {
        let waiting = self.detours.clear();
        self.shared.strays.extend(waiting);
    }

    /// Settles what waits for a lane and ran out of time.
    pub(super) fn expire_strays(&mut self) {
        let now = self.shared.now;
        let mut late = Vec::new();
        let resume_at = self.detours.expire(now, &mut late);
        self.reject_all(&late, Rejection::SlotMoving);
        late.clear();
        let mapped_by = take_late(&mut self.unmapped, now, &mut late);
        self.reject_all(&late, Rejection::Unreachable);
        for time in [resume_at, mapped_by].into_iter().flatten() {
            self.shared.wake_before(time);
        }
    }

    /// Settles what waits for a lane: the client ends.
    pub(super) fn reject_strays(&mut self) {
        self.forget_detours();
        let mut strays = std::mem::take(&mut self.shared.strays);
        strays.append(&mut self.unmapped);
        self.reject_all(&strays, Rejection::Closed);
    }

    /// The lane of the group to be asked for `slot`, as far as is known.
    fn lane_of(&self, slot: Slot) -> Option<usize> {
        let mapped = || self.shared.routing.as_ref()?.lane_of(slot);
        self.detours.lane_of(slot).or_else(mapped)
    }

    /// The lane of a group that the newest map lists.
    fn listed_lane(&self, group: GroupId) -> Option<usize> {
        let position = *self.by_group.get(&group)?;
        self.lanes[position].is_listed().then_some(position)
    }

    fn await_map(&mut self, stray: Stray) {
        self.shared.map_stale = true;
        self.shared.wake_before(stray.caller.deadline);
        self.unmapped.push(stray);
    }

    /// How much patience must be left for another attempt at a slot on its way: one that is under
    /// way when patience ends leaves a doubt where there was none.
    fn last_call(&self) -> Micros {
        LAST_CALL_MAX.min(Micros(self.shared.options.operation_timeout.0 / 8))
    }

    pub(super) fn reject_all(&mut self, strays: &[Stray], reason: Rejection) {
        for stray in strays {
            self.reject(stray, reason);
        }
    }

    fn reject(&mut self, stray: &Stray, reason: Rejection) {
        for caller in stray.callers() {
            let outcome = Outcome::Rejected(reason);
            self.shared.completions.failed(caller.ticket, outcome, Evidence::default());
        }
    }
}
