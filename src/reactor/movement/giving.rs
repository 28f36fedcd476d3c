//! A group's leader gives away the slots that an epoch takes from its group.
//!
//! ```text
//!  Served ── export, its pieces; export, what changed since; … ── little left: Freeze ──▶ Frozen
//!  Frozen ── what changed since, the last piece ──────▶ new owner ── Taken ──▶ Drop ──▶ Absent
//! ```
//!
//! A slot is written to while it is read out. So after its content come rounds of what changed meanwhile, until
//! there is so little that it can be sent while nothing is served; a small slot is frozen at once. The new
//! owner's leader paces it: one piece for each question. What it has been given is remembered here, in
//! memory: with another leader its arrival begins anew.

use std::collections::BTreeMap;

use super::doings::Doings;
use super::gaining::{Means, RETRY_AFTER, View};
use super::state::{runs_of, slots_of};
use crate::base::{GroupId, Index, Micros, Mistake, Slot, Time, makes};
use crate::kv::{SlotExport, SlotPieces, SlotState};
use crate::wire::map::SlotRun;
use crate::wire::movement::{Message, Order};

/// After so many rounds the slot is frozen however much there is left: it is written to faster than it is
/// sent, and that would never end.
const ROUNDS_MAX: u32 = 8;

/// Slots read out at a time.
pub(in crate::reactor) const EXPORTS_MAX: usize = 64;

/// What nobody asks for for so long is let go.
const KEPT_FOR: Micros = Micros::from_secs(5);

/// How often the new owner is asked whether it serves what is frozen here.
const ASK_EVERY: Micros = Micros::from_millis(200);

/// Unanswered so often, the new owner's leader may be another one than is known here.
const ASKS_TO_INQUIRE: u32 = 5;

/// What a leader knows of the slots on their way out.
#[derive(Default)]
pub(super) struct Giving {
    /// The slots being read out. `EXPORTS_MAX` at most.
    exports: BTreeMap<Slot, Export>,
    /// When the new owners were asked last what they serve.
    asked_at: Option<Time>,
    /// How often since nothing was frozen.
    asked: u32,
}

/// A slot being read out for one arrival.
struct Export {
    /// The name of the arrival.
    arrival: Index,
    /// Nothing before the first piece.
    round: Option<Round>,
    /// The piece that is wanted and was not sent yet: first the slot is to be frozen.
    wanted: Option<u64>,
    /// When it was wanted to be frozen.
    freeze_asked_at: Option<Time>,
    /// When it was asked for last.
    used_at: Time,
}

/// A round of pieces.
struct Round {
    /// What it leads to.
    latest: SlotExport,
    /// Where it stood before the piece that was sent last: that may be asked for again.
    before: SlotPieces,
    /// Where it stands.
    next: SlotPieces,
    /// Bytes sent of it.
    bytes: u64,
    /// How many rounds there were, this one included.
    number: u32,
}

/// What is to be done about a wanted piece.
enum Answer {
    Piece(Vec<u8>),
    Freeze,
    /// It was sent before, and another one was asked for since.
    Nothing,
    /// It is of a round that is not known here.
    Unknown,
}

impl Giving {
    /// Sends what waited for its slot to be frozen, lets go of what nobody wants any more, and asks the new
    /// owners what they serve.
    pub(super) fn go_on(&mut self, view: View<'_>, now: Time, doings: &mut Doings) {
        let leaving = view.slots.leaving();
        self.exports
            .retain(|slot, export| leaving.contains(slot) && now < export.used_at + KEPT_FOR);
        let waiting = self.exports.iter().filter(|(_, export)| export.wanted.is_some());
        for slot in waiting.map(|(slot, _)| *slot).collect::<Vec<_>>() {
            self.answer(view, slot, now, doings);
        }
        if let Some(oldest) = self.exports.values().map(|export| export.used_at).min() {
            doings.wake(oldest + KEPT_FOR);
        }
        self.ask(view, now, doings);
    }

    /// The new owner's leader asks for a piece.
    pub(super) fn pulled(
        &mut self,
        view: View<'_>,
        (slot, arrival, next): (Slot, Index, u64),
        now: Time,
        doings: &mut Doings,
    ) {
        // One that comes late, for an arrival that began anew since, must not undo the present one.
        if self.exports.get(&slot).is_some_and(|export| export.arrival < arrival) {
            self.exports.remove(&slot);
        }
        let full = self.exports.len() >= EXPORTS_MAX;
        match self.exports.get_mut(&slot) {
            Some(export) if export.arrival > arrival => return,
            Some(export) => (export.wanted, export.used_at) = (Some(next), now),
            None if next > 0 => return Self::say_unknown(view, (slot, arrival), doings),
            None if full => return,
            None => {
                let (wanted, used_at) = (Some(next), now);
                let export =
                    Export { arrival, round: None, wanted, freeze_asked_at: None, used_at };
                self.exports.insert(slot, export);
            }
        }
        doings.wake(now + KEPT_FOR);
        self.answer(view, slot, now, doings);
    }

    /// The new owner says that it serves these slots: they may go.
    pub(super) fn taken(view: View<'_>, slots: &[SlotRun], doings: &mut Doings) {
        let epoch = view.slots.epoch();
        for run in slots {
            for slot in slots_of(std::slice::from_ref(run)) {
                let ours = view.slots.target_of(slot) == Some(run.group);
                if let SlotState::Frozen { since: freeze } = view.machine.slot_state(slot)
                    && ours
                {
                    doings.order(&Order::Drop { epoch, slot, freeze });
                }
            }
        }
    }

    fn answer(&mut self, view: View<'_>, slot: Slot, now: Time, doings: &mut Doings) {
        let export = self.exports.get_mut(&slot).expect("the caller has looked");
        let (arrival, epoch) = (export.arrival, view.slots.epoch());
        match export.next(view, slot) {
            Answer::Piece(bytes) => {
                let group = view.slots.target_of(slot).expect("it leaves for somewhere");
                let bytes = &bytes[..];
                doings.say(group, &Message::PieceSent { epoch, slot, arrival, bytes });
            }
            Answer::Freeze => {
                let again = export.freeze_asked_at.map(|asked_at| asked_at + RETRY_AFTER);
                if again.is_none_or(|again| now >= again && !view.in_flight) {
                    export.freeze_asked_at = Some(now);
                    doings.order(&Order::Freeze { epoch, slot });
                }
                return doings.wake(now + RETRY_AFTER);
            }
            Answer::Nothing => {}
            Answer::Unknown => {
                self.exports.remove(&slot);
                return Self::say_unknown(view, (slot, arrival), doings);
            }
        }
        export.wanted = None;
    }

    /// Asks whether what is frozen is served, unless it was asked for just now.
    fn ask(&mut self, view: View<'_>, now: Time, doings: &mut Doings) {
        let moving = view.machine.moving_slots();
        let frozen = moving.filter(|(_, state)| matches!(state, SlotState::Frozen { .. }));
        let mut frozen = frozen.map(|(slot, _)| slot).peekable();
        if frozen.peek().is_none() {
            (self.asked_at, self.asked) = (None, 0);
            return;
        }
        if makes(Mistake::DropsBeforeTaken) {
            let frozen: Vec<(Slot, GroupId)> =
                frozen.filter_map(|slot| Some((slot, view.slots.target_of(slot)?))).collect();
            return Self::taken(view, &runs_of(frozen), doings);
        }
        let asked_at = *self.asked_at.get_or_insert(now);
        if now < asked_at + ASK_EVERY {
            return doings.wake(asked_at + ASK_EVERY);
        }
        self.asked_at = Some(now);
        self.asked = self.asked.saturating_add(1);
        doings.wake(now + ASK_EVERY);
        let mut idle: BTreeMap<GroupId, Vec<(Slot, GroupId)>> = BTreeMap::new();
        for slot in frozen {
            let used = self.exports.get(&slot).is_some_and(|it| now < it.used_at + ASK_EVERY);
            let to = view.slots.target_of(slot).expect("it leaves for somewhere");
            if !used {
                idle.entry(to).or_default().push((slot, to));
            }
        }
        for (to, slots) in idle {
            let (epoch, group, slots) = (view.slots.epoch(), view.group, runs_of(slots));
            doings.say(to, &Message::TakenAsked { epoch, group, slots });
            if self.asked.is_multiple_of(ASKS_TO_INQUIRE) {
                doings.inquire(to);
            }
        }
    }

    fn say_unknown(view: View<'_>, (slot, arrival): (Slot, Index), doings: &mut Doings) {
        if let Some(group) = view.slots.target_of(slot) {
            let epoch = view.slots.epoch();
            doings.say(group, &Message::ArrivalUnknown { epoch, slot, arrival });
        }
    }
}

impl Export {
    /// What to do about the wanted piece.
    fn next(&mut self, view: View<'_>, slot: Slot) -> Answer {
        let Some(wanted) = self.wanted else { return Answer::Nothing };
        let Means { piece_bytes, .. } = view.means;
        if let Some(round) = &mut self.round {
            match wanted {
                _ if wanted == round.before.number() => {
                    let again = round.before.clone().next_piece(piece_bytes);
                    return Answer::Piece(again.expect("it was sent before"));
                }
                _ if wanted < round.before.number() => return Answer::Nothing,
                _ if wanted > round.next.number() => return Answer::Unknown,
                _ => {}
            }
            if let Some(piece) = round.advance(piece_bytes) {
                return Answer::Piece(piece);
            }
        } else if wanted > 0 {
            return Answer::Unknown;
        }
        self.begin_round(view, slot)
    }

    /// All before is sent: what comes next is a round of its own.
    fn begin_round(&mut self, view: View<'_>, slot: Slot) -> Answer {
        let Ok(latest) = view.machine.export(slot) else { return Answer::Nothing };
        let Means { piece_bytes, .. } = view.means;
        let is_little = |bytes: u64| bytes <= piece_bytes as u64;
        let (little, number) = match &self.round {
            None => (is_little(latest.bytes()), 1),
            Some(round) => (is_little(round.bytes) || round.number >= ROUNDS_MAX, round.number + 1),
        };
        if little && !latest.is_final() {
            return Answer::Freeze;
        }
        let pieces = match &self.round {
            None => latest.contents(self.arrival),
            Some(round) if makes(Mistake::SkipsLastRound) => {
                latest.changes_since(&latest, self.arrival, round.next.number())
            }
            Some(round) => latest.changes_since(&round.latest, self.arrival, round.next.number()),
        };
        let mut round = Round { latest, before: pieces.clone(), next: pieces, bytes: 0, number };
        let piece = round.advance(piece_bytes).expect("every round has a piece");
        self.round = Some(round);
        Answer::Piece(piece)
    }
}

impl Round {
    /// The next piece, if there is one.
    fn advance(&mut self, piece_bytes: usize) -> Option<Vec<u8>> {
        let before = self.next.clone();
        let piece = self.next.next_piece(piece_bytes)?;
        self.before = before;
        self.bytes += piece.len() as u64;
        Some(piece)
    }
}
