//! Slots on their way between groups.
//!
//! # The problem
//! The shard master says in each epoch which group is to have which slot. Getting there takes time: a slot may
//! hold gigabytes, it is written to meanwhile, and every leader concerned may fail at any moment. At no moment
//! may two groups serve it, or what was acknowledged be missing where it is served next.
//!
//! # The model
//! What is decided stands in the logs of the two groups concerned, and nowhere else:
//!
//! ```text
//!  old owner's log   BeginEpoch(loses s) ─────────────── Freeze s ──────────────────── Drop s
//!                                │ content   │ changes │    │ the last changes            ▲
//!                                ▼           ▼         ▼    ▼                             │ Taken
//!  new owner's log   BeginEpoch(gains s) ─ pieces ─ pieces ─ piece, Serve s ──────────────┘
//! ```
//!
//! The new owner serves only what a frozen old owner gave it the last piece of, and the old one drops only
//! what the new one serves: both are committed before the other's leader hears of it. A group takes the epochs
//! one after the other, each when nothing of the one before is left to do; groups do not wait for each other
//! but for the slots themselves, and always for those of earlier epochs first, so never in a circle.
//!
//! Leaders drive this (`gaining`, `giving`). They go by the state that their logs gave them, and say again what
//! is not answered: whatever they hold in memory may be lost. `orders` says what the entries do, `state` what
//! they leave behind. **A group that is where the map has it costs nothing**: no timer, no message.
//!
//! A message that comes is kept for the end of the turn: pieces are made and taken by a bounded number of
//! bytes a turn, so that clients are served beside them.

mod doings;
mod gaining;
mod giving;
mod orders;
mod state;

use std::collections::{BTreeSet, VecDeque};

pub(super) use self::doings::Doings;
pub(super) use self::orders::Hosted;
pub(super) use self::state::{GroupState, runs_of};

use self::gaining::{Gaining, Means, RETRY_AFTER, View};
use self::giving::Giving;
use self::state::slots_of;
use super::Reactor;
use super::effects::{CoreMessage, CoreSend};
use super::governance::first_slots;
use super::replica::Replica;
use crate::base::{AlignedBuf, GroupId, Index, Micros, Slot, SlotSet, Term, Time};
use crate::kv::SlotState;
use crate::placement::{FIRST_EPOCH, META, ShardMap};
use crate::wire::frame::scan_trusted;
use crate::wire::map::SlotRun;
use crate::wire::movement::{Message, Order, parse_message};
use crate::wire::peer::PeerBody;

/// Bytes of messages that may wait for the end of the turn; more are as if they were lost.
const INBOX_BYTES_MAX: usize = 32 << 20;

/// Bytes of pieces that one turn makes or takes in, about.
const TURN_BYTES: usize = 1 << 20;

/// Keys of dropped slots whose memory one turn gives back, about: some tenths of a millisecond.
const TURN_KEYS: usize = 4_096;

/// When to look again at dropped slots that a snapshot still holds.
const HELD_FOR: Micros = Micros::from_secs(1);

/// How often the meta group's leader is told how far a group is, while that changes.
const REPORT_EVERY: Micros = Micros::from_millis(500);

/// How often it is told the last word, which might be lost.
const LAST_WORDS: u32 = 3;

/// What a core knows of movements beside its replicas.
#[derive(Debug, Default)]
pub(super) struct Movement {
    /// Messages that are to be looked at, oldest first: each with the group that it is for.
    inbox: VecDeque<(GroupId, AlignedBuf)>,
    /// Bytes of them.
    inbox_bytes: usize,
    /// Replicas to be looked at in the next turn.
    ready: BTreeSet<usize>,
    /// When others are: `replicas[i].moves.due`.
    due: BTreeSet<(Time, usize)>,
    /// Replicas that have dropped slots whose memory is not given back yet.
    reclaiming: BTreeSet<usize>,
    /// When to give it back.
    reclaim_at: Option<Time>,
}

impl Movement {
    /// When a turn is wanted.
    pub(super) fn deadline(&self) -> Option<Time> {
        if !self.inbox.is_empty() || !self.ready.is_empty() {
            return Some(Time(0));
        }
        let due = self.due.first().map(|(at, _)| *at);
        due.into_iter().chain(self.reclaim_at).min()
    }

    /// Bytes of messages held.
    pub(super) const fn bytes(&self) -> usize {
        self.inbox_bytes
    }

    fn pop(&mut self) -> Option<(GroupId, AlignedBuf)> {
        let (group, frame) = self.inbox.pop_front()?;
        self.inbox_bytes -= frame.len();
        Some((group, frame))
    }
}

/// What a leader does about its group's slots. Ends with its leadership, and with the epoch.
#[derive(Default)]
pub(super) struct Moves {
    /// The last term in which this replica led, and had reported how far its group is.
    reported_in: Term,
    /// In which term and epoch; nothing while there is nothing to do.
    span: Option<(Term, u64)>,
    /// The state's count of changes when it was looked at last.
    seen: u64,
    /// When to look again, as it stands in `Movement::due`.
    due: Option<Time>,
    gaining: Gaining,
    giving: Giving,
    /// When the meta group was asked what the next epoch means.
    transition_asked_at: Option<Time>,
    report: Report,
}

/// How far a group is: its epoch, that of its members, slots arriving and leaving.
type Progress = (u64, u64, usize, usize);

/// What the meta group's leader was told.
#[derive(Debug, Default)]
struct Report {
    /// The last of it, and when that was said.
    said: Option<(Progress, Time)>,
    /// How often it is to be said again.
    left: u32,
}

impl Replica {
    /// Whether it decides about its group's slots.
    fn leads_movement(&self) -> bool {
        let leads = self.is_leader() && self.is_here() && !self.is_quarantined();
        // Before that there may be more of its predecessors' in its log than in its state.
        leads && self.machine.applied().1 == self.raft.term() && self.group != META
    }

    /// Whether its group is not where the map of epoch `newest` has it, or not everybody was told so.
    fn is_to_move(&self, newest: u64) -> bool {
        self.slots.is_pending()
            || self.slots.epoch() < newest
            || self.moves.report.left > 0
            // What was said last was said often enough, and then came the end.
            || self.moves.report.said.is_some_and(|(said, _)| said != progress_of(&self.slots))
    }

    /// Whether there is something new to be looked at.
    fn has_moved(&self, newest: u64) -> bool {
        if !self.leads_movement() || !self.is_to_move(newest) {
            return self.moves.span.is_some();
        }
        let span = (self.raft.term(), self.slots.epoch());
        self.moves.span != Some(span) || self.moves.seen != self.slots.changes()
    }

    /// Whether orders are on their way through the log, or about to be.
    fn has_orders_in_flight(&self) -> bool {
        !self.orders.is_empty() || self.ordered > self.applied_index()
    }

    /// Does what is to be done about the group's slots.
    fn move_on(&mut self, (map, means): (&ShardMap, Means), now: Time) -> Doings {
        let newest = map.epoch;
        let mut doings = Doings::default();
        if !self.leads_movement() || !self.is_to_move(newest) {
            self.moves = Moves { reported_in: self.moves.reported_in, ..Moves::default() };
            return doings;
        }
        let (moves, view) = self.moves_and_view(means);
        moves.seen = view.slots.changes();
        moves.gaining.go_on(view, now, &mut doings);
        moves.giving.go_on(view, now, &mut doings);
        if view.slots.is_done() && view.slots.epoch() < newest {
            moves.ask_transition(view, map, now, &mut doings);
        }
        moves.report.tell(view, now, &mut doings);
        doings
    }

    /// The leader of another group, or of the meta group, says something to this one.
    fn moves_told(&mut self, message: Message<'_>, means: Means, now: Time) -> Doings {
        let mut doings = Doings::default();
        if !self.leads_movement() {
            return doings;
        }
        let (moves, view) = self.moves_and_view(means);
        let present = view.slots.epoch();
        match message {
            Message::Transition { epoch, gained, lost } => {
                let next = view.slots.goes_on_to(epoch);
                if next && view.slots.is_done() && !view.in_flight {
                    doings.order(&Order::BeginEpoch { epoch, gained, lost });
                }
            }
            Message::Pull { epoch, group, slot, arrival, next } => {
                let leaves = view.slots.leaving().contains(&slot);
                if epoch == present && leaves && view.slots.target_of(slot) == Some(group) {
                    moves.giving.pulled(view, (slot, arrival, next), now, &mut doings);
                }
            }
            Message::PieceSent { epoch, bytes, .. } if epoch == present => {
                moves.gaining.piece(view, bytes, &mut doings);
            }
            Message::ArrivalUnknown { epoch, slot, arrival } if epoch == present => {
                moves.gaining.unknown(view, (slot, arrival), &mut doings);
            }
            Message::TakenAsked { epoch, group, slots } => {
                let slots = taken_of(view, epoch, &slots);
                if !slots.is_empty() {
                    doings.say(group, &Message::Taken { epoch, slots });
                }
            }
            Message::Taken { epoch, slots } if epoch == present => {
                Giving::taken(view, &slots, &mut doings);
            }
            Message::PieceSent { .. }
            | Message::ArrivalUnknown { .. }
            | Message::Taken { .. }
            | Message::TransitionWanted { .. }
            | Message::Progress { .. } => {}
        }
        doings
    }

    /// What is known of its movements in this term and epoch, and what they go by.
    fn moves_and_view(&mut self, means: Means) -> (&mut Moves, View<'_>) {
        let span = (self.raft.term(), self.slots.epoch());
        if self.moves.span != Some(span) {
            if self.moves.span.is_none_or(|(term, _)| term != span.0) {
                self.ordered = Index::ZERO;
            }
            let before = std::mem::take(&mut self.moves);
            let Moves { reported_in, due, report, .. } = before;
            self.moves = Moves { reported_in, span: Some(span), due, report, ..Moves::default() };
        }
        let in_flight = self.has_orders_in_flight();
        let Self { group, machine, slots, moves, .. } = self;
        (moves, View { group: *group, machine, slots, in_flight, means })
    }
}

impl Moves {
    /// The state that this went by is another one.
    pub(super) fn forget(&mut self) {
        *self = Self { due: self.due, reported_in: self.reported_in, ..Self::default() };
    }

    fn ask_transition(&mut self, view: View<'_>, map: &ShardMap, now: Time, doings: &mut Doings) {
        let again = self.transition_asked_at.map(|asked_at| asked_at + RETRY_AFTER);
        let due = again.is_none_or(|again| now >= again);
        if due && !view.in_flight {
            self.transition_asked_at = Some(now);
            view.begin_next_epoch(map, doings);
        }
        doings.wake(again.filter(|_| !due).unwrap_or(now + RETRY_AFTER));
    }
}

impl View<'_> {
    /// Asks what the next epoch means for the group, unless it is the first and that is known here.
    fn begin_next_epoch(self, map: &ShardMap, doings: &mut Doings) {
        let Some(info) = map.group(self.group) else { return };
        let (group, born) = (self.group, self.slots.is_born());
        let epoch = if born { self.slots.epoch() + 1 } else { info.born };
        if !born && (epoch, map.epoch) == (FIRST_EPOCH, FIRST_EPOCH) {
            let (gained, lost) = (first_slots(map, group), Vec::new());
            doings.order(&Order::BeginEpoch { epoch, gained, lost });
        } else {
            doings.say(META, &Message::TransitionWanted { group, epoch });
        }
    }
}

impl Report {
    /// Says how far the group is: now and then while that changes, and some more times what it came to.
    fn tell(&mut self, view: View<'_>, now: Time, doings: &mut Doings) {
        let present = progress_of(view.slots);
        let news = self.said.is_none_or(|(said, _)| said != present);
        if news {
            self.left = LAST_WORDS;
        }
        let due = self.said.map_or(now, |(_, at)| at + REPORT_EVERY);
        if self.left == 0 {
            return;
        }
        if now < due {
            return doings.wake(due);
        }
        let count = |slots: usize| u32::try_from(slots).expect("there are SLOT_COUNT slots");
        let (epoch, members_epoch, arriving, leaving) = present;
        let (arriving, leaving) = (count(arriving), count(leaving));
        let group = view.group;
        let message = Message::Progress { group, epoch, members_epoch, arriving, leaving };
        doings.say(META, &message);
        self.said = Some((present, now));
        self.left -= 1;
        if self.left > 0 {
            doings.wake(now + REPORT_EVERY);
        }
    }
}

fn progress_of(slots: &GroupState) -> Progress {
    let (arriving, leaving) = (slots.arriving().len(), slots.leaving().len());
    (slots.epoch(), slots.members_epoch(), arriving, leaving)
}

/// Those of some slots that epoch `epoch` gave this group and that it serves, or has served.
fn taken_of(view: View<'_>, epoch: u64, asked: &[SlotRun]) -> Vec<SlotRun> {
    let present = view.slots.epoch();
    let is_taken = |slot: &Slot| {
        let gained = view.slots.source_of(*slot).is_some();
        let served = view.machine.slot_state(*slot) == SlotState::Served;
        epoch < present || (epoch == present && gained && served)
    };
    runs_of(slots_of(asked).filter(is_taken).map(|slot| (slot, view.group)))
}

impl Reactor {
    /// The leader of another group says something to that of `group`. It is looked at when the turn ends.
    pub(super) fn movement_told(&mut self, group: GroupId, frame: &[u8]) {
        if self.movement.inbox_bytes + frame.len() <= INBOX_BYTES_MAX {
            self.movement.inbox_bytes += frame.len();
            self.movement.inbox.push_back((group, AlignedBuf::copy_of(frame)));
        }
    }

    /// The slots that `group` serves, as far as its replica here has come, if there is one.
    pub fn served_slots(&self, group: GroupId) -> Option<&SlotSet> {
        self.position(group).map(|i| self.replicas[i].machine.served_slots())
    }

    /// Tells the leader of the meta group again how far the groups are that are led here: it is another one,
    /// or there is another map.
    pub(super) fn report_movements(&mut self) {
        for i in 0..self.replicas.len() {
            if self.replicas[i].leads_movement() {
                self.report_movement(i);
            }
        }
    }

    fn report_movement(&mut self, i: usize) {
        let replica = &mut self.replicas[i];
        replica.moves.reported_in = replica.raft.term();
        replica.moves.report = Report { said: None, left: LAST_WORDS };
        self.movement.ready.insert(i);
    }

    /// Goes on with what is on its way, as far as one turn may.
    pub(super) fn move_slots(&mut self, now: Time) {
        let mut left = TURN_BYTES;
        while left > 0 {
            let Some((group, frame)) = self.movement.pop() else { break };
            let made = self.take_message(now, group, &frame);
            left = left.saturating_sub(frame.len().max(made));
        }
        while let Some(&(at, i)) = self.movement.due.first().filter(|(at, _)| *at <= now) {
            self.movement.due.remove(&(at, i));
            self.replicas[i].moves.due = None;
            self.movement.ready.insert(i);
        }
        for i in std::mem::take(&mut self.movement.ready) {
            if let Some(due) = self.replicas[i].moves.due.take() {
                self.movement.due.remove(&(due, i));
            }
            let means = self.means();
            let doings = self.replicas[i].move_on((&self.core.map, means), now);
            self.carry_out(now, i, doings);
        }
    }

    /// Looks whether what was applied concerns slots on their way.
    pub(super) fn note_movement(&mut self, i: usize) {
        let replica = &self.replicas[i];
        let term = replica.raft.term();
        if replica.leads_movement() && replica.moves.reported_in != term {
            self.report_movement(i);
        } else if replica.has_moved(self.core.map.epoch) {
            self.movement.ready.insert(i);
        }
        let machine = &self.replicas[i].machine;
        if machine.unreclaimed_keys() > 0 && self.movement.reclaiming.insert(i) {
            self.movement.reclaim_at = Some(Time(0));
        }
    }

    /// Keys of dropped slots whose memory is not given back yet.
    pub(super) fn unreclaimed_keys(&self) -> u64 {
        let reclaiming = self.movement.reclaiming.iter();
        reclaiming.map(|&i| self.replicas[i].machine.unreclaimed_keys() as u64).sum()
    }

    /// Gives back memory of dropped slots, as far as one turn may.
    pub(super) fn reclaim(&mut self, now: Time) {
        if self.movement.reclaim_at.is_none_or(|at| at > now) {
            return;
        }
        let mut more = false;
        let replicas = &mut self.replicas;
        self.movement.reclaiming.retain(|&i| {
            let machine = &mut replicas[i].machine;
            more |= machine.reclaim(TURN_KEYS);
            machine.unreclaimed_keys() > 0
        });
        let held = !self.movement.reclaiming.is_empty();
        self.movement.reclaim_at = held.then_some(if more { Time(0) } else { now + HELD_FOR });
    }

    /// Looks at a message. Returns how many bytes came of it.
    fn take_message(&mut self, now: Time, group: GroupId, frame: &[u8]) -> usize {
        let Some(frame) = scan_trusted(frame) else { return 0 };
        let message = match parse_message(&frame) {
            Ok(Some(message)) => message,
            Ok(None) => return 0,
            Err(error) => {
                tracing::warn!(%group, %error, "what another group's leader says cannot be read");
                return 0;
            }
        };
        let Some(i) = self.position(group) else { return 0 };
        if group == META {
            self.master_told(i, &message);
            return 0;
        }
        let crowded = self.is_crowded(frame.bytes.len());
        if crowded && matches!(message, Message::PieceSent { .. }) {
            return 0;
        }
        let means = self.means();
        let doings = self.replicas[i].moves_told(message, means, now);
        let bytes = doings.bytes();
        self.carry_out(now, i, doings);
        bytes
    }

    /// What movements may use.
    fn means(&self) -> Means {
        let piece_bytes = self.core.config.piece_bytes;
        Means { memory_full: self.is_memory_full(), piece_bytes }
    }

    fn carry_out(&mut self, now: Time, i: usize, doings: Doings) {
        let Doings { messages, orders, inquiries, wake_at } = doings;
        for frame in orders {
            self.order_frame(i, &frame);
        }
        for (group, frame) in messages {
            self.send_to_leader(group, frame);
        }
        for group in inquiries {
            self.inquire(group);
        }
        let moves = &mut self.replicas[i].moves;
        if let Some(at) = wake_at
            && moves.due.is_none_or(|due| at < due)
        {
            assert!(at > now, "movements of a group: {at:?} is not after {now:?}");
            if let Some(due) = moves.due.replace(at) {
                self.movement.due.remove(&(due, i));
            }
            self.movement.due.insert((at, i));
        }
    }

    /// Has a replica's log say something, if it leads. It is not known whether it will: whoever orders
    /// something orders it again.
    pub(super) fn order(&mut self, i: usize, order: &Order<'_>) {
        let mut frame = Vec::new();
        order.encode(&mut frame);
        self.order_frame(i, &frame);
    }

    fn order_frame(&mut self, i: usize, frame: &[u8]) {
        let replica = &mut self.replicas[i];
        if !replica.is_leader() || replica.orders.is_full(frame.len()) {
            return;
        }
        if !replica.has_to_propose() {
            self.queued.push(i);
        }
        replica.orders.push_unawaited(frame);
        self.count(i);
    }

    /// Says something to whoever leads `group`, as far as that is known here.
    pub(super) fn send_to_leader(&mut self, group: GroupId, frame: AlignedBuf) {
        let config = &self.core.config;
        let here = self.position(group).and_then(|i| self.replicas[i].raft.leader());
        let Some(leader) = here.or_else(|| self.core.known_leader(group)) else { return };
        let home = ShardMap::home_core(group, config.smp);
        if leader != config.node {
            let body = PeerBody::Movement { body: &frame };
            self.core.peers.send_body(leader, group, Term(0), &body);
        } else if home == config.core {
            self.movement_told(group, &frame);
        } else {
            let message = CoreMessage::Movement { group, bytes: frame };
            self.forwards.push(CoreSend { to: home, message });
        }
    }
}
