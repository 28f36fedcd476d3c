//! What a key may hold when nobody knows which of its unanswered writes have happened.
//!
//! A world is one possibility: a value, and which open writes it took. Each answer, in the order of
//! places, keeps the worlds that agree with it, and those that do after further open writes. A world is
//! dropped for another with the same value that took no more.

use super::growth::Growth;
use super::open::{OpenWrites, Used, dominates, is_blind};
use super::record::{Answer, Operation, Record, Status};
use super::specification::Execution;
use crate::base::Time;

/// One possibility.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct World {
    pub(super) held: Option<Vec<u8>>,
    used: Used,
}

/// All possibilities.
#[derive(Clone, Debug)]
pub(super) enum Worlds {
    /// The key is in one of these.
    Known(Vec<World>),
    /// There were too many: it may hold anything, until an answer says what.
    Lost,
}

/// What an answer did to the possibilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Some agree with it.
    Agrees,
    /// None does.
    Contradicts,
    /// Nothing can be said.
    Undecided,
}

/// Worlds kept, at most.
const WORLDS_MAX: usize = 128;

/// Worlds looked at for one answer, at most.
const EXPLORED_MAX: usize = 4_000;

impl Worlds {
    /// Before the first command: the key is absent.
    pub(super) fn new(open: &OpenWrites<'_>) -> Self {
        Self::Known(vec![World { held: None, used: open.none_used() }])
    }

    /// Takes in the next answer; `until`: before it, only open writes invoked by then can have happened.
    /// `None`: no other command comes between this one and the last.
    pub(super) fn step(
        &mut self,
        (open, growth): (&OpenWrites<'_>, Growth<'_>),
        until: Option<Time>,
        record: &Record,
        answer: &Answer,
    ) -> Step {
        let Self::Known(worlds) = self else {
            if let Some(held) = left_behind(&record.operation, answer) {
                *self = Self::Known(vec![World { held, used: open.none_used() }]);
            }
            return Step::Undecided;
        };
        let next = match until.filter(|_| !open.is_empty()) {
            None => Some(agreeing(worlds, record, answer)),
            Some(until) => explored(worlds, (open, growth), until, record, answer),
        };
        let Some(next) = next else {
            *self = Self::Lost;
            return self.step((open, growth), until, record, answer);
        };
        if next.is_empty() {
            return Step::Contradicts;
        }
        *worlds = next;
        Step::Agrees
    }
}

/// The worlds that agree with the answer, as it leaves them.
fn agreeing(worlds: &mut Vec<World>, record: &Record, answer: &Answer) -> Vec<World> {
    let fits = |world: &mut World| world.take(record, answer);
    if worlds.len() == 1 && !fits_now(&worlds[0], record, answer) {
        // Kept for the report.
        return Vec::new();
    }
    let mut worlds = if worlds.len() == 1 { std::mem::take(worlds) } else { worlds.clone() };
    worlds.retain_mut(fits);
    undominated(worlds)
}

fn fits_now(world: &World, record: &Record, answer: &Answer) -> bool {
    let held = world.held.as_deref();
    Execution::of(&record.operation, held).agrees(&record.operation, held, answer)
}

impl World {
    /// Executes the command if that gives the answer; says whether it does.
    fn take(&mut self, record: &Record, answer: &Answer) -> bool {
        let execution = Execution::of(&record.operation, self.held.as_deref());
        let agrees = execution.agrees(&record.operation, self.held.as_deref(), answer);
        if agrees {
            execution.change.apply(&mut self.held);
        }
        agrees
    }

    /// This world after one open write more; `None` if that changes nothing.
    fn with(&self, class: usize, operation: &Operation) -> Option<Self> {
        let change = Execution::of(operation, self.held.as_deref()).change;
        if !change.alters(self.held.as_deref()) {
            return None;
        }
        let mut world = self.clone();
        change.apply(&mut world.held);
        world.used[class] += 1;
        Some(world)
    }
}

/// The worlds that agree with the answer, after open writes or without; `None` if there are too many.
fn explored(
    worlds: &[World],
    (open, growth): (&OpenWrites<'_>, Growth<'_>),
    until: Time,
    record: &Record,
    answer: &Answer,
) -> Option<Vec<World>> {
    let is_determined = left_behind(&record.operation, answer).is_some();
    let target = Target::of(record, answer, open);
    let mut next = Vec::new();
    let mut budget = EXPLORED_MAX;
    // Worlds to look at; whether each comes straight from `worlds`.
    let mut waiting: Vec<(World, bool)> =
        worlds.iter().map(|world| (world.clone(), true)).collect();
    while let Some((world, is_first)) = waiting.pop() {
        budget = budget.checked_sub(1)?;
        let mut taken = world.clone();
        let agrees = taken.take(record, answer) && growth.allows(taken.held.as_deref());
        if agrees {
            next.push(taken);
        }
        if agrees && is_determined {
            // Whatever else happened before leaves the same behind, and has used up more.
            continue;
        }
        for (class, operation) in open.available(&world.used, until) {
            if !is_first && is_blind(operation) {
                // What happened just before it, nobody saw.
                continue;
            }
            if let Some(further) = world.with(class, operation)
                && target.is_reachable_from(further.held.as_deref())
                && growth.allows(further.held.as_deref())
            {
                waiting.push((further, false));
            }
        }
    }
    let next = undominated(next);
    (next.len() <= WORLDS_MAX).then_some(next)
}

/// What the key must hold for the answer, as far as that helps to leave out what leads nowhere: a value
/// that only grows must be the beginning of it.
enum Target<'a> {
    Value(&'a [u8]),
    Length(usize),
    Any,
}

impl<'a> Target<'a> {
    fn of(record: &'a Record, answer: &'a Answer, open: &OpenWrites<'_>) -> Self {
        if open.have_conditions() || answer.status != Status::Done {
            return Self::Any;
        }
        match &record.operation {
            Operation::Get => answer.value.as_deref().map_or(Self::Any, Self::Value),
            Operation::CompareAndSet { expected: Some(expected), .. }
            | Operation::Compare { expected: Some(expected) } => Self::Value(expected),
            Operation::Append { value } => {
                let length = usize::try_from(answer.number).unwrap_or(0);
                Self::Length(length.saturating_sub(value.len()))
            }
            _ => Self::Any,
        }
    }

    /// Whether the answer can be had from `held` by growing.
    fn is_reachable_from(&self, held: Option<&[u8]>) -> bool {
        let held = held.unwrap_or_default();
        match self {
            Self::Any => true,
            Self::Length(length) => held.len() <= *length,
            Self::Value(value) => value.starts_with(held),
        }
    }
}

/// What the key holds after this answer, if the answer alone says so.
#[expect(clippy::option_option, reason = "an absent key is known too")]
fn left_behind(operation: &Operation, answer: &Answer) -> Option<Option<Vec<u8>>> {
    match (operation, answer.status) {
        (Operation::Get, Status::Done) => Some(answer.value.clone()),
        (Operation::Compare { expected }, Status::Done) => Some(expected.clone()),
        (Operation::Get | Operation::Delete, Status::NotFound)
        | (Operation::Delete, Status::Done) => Some(None),
        (Operation::Put { value } | Operation::CompareAndSet { value, .. }, Status::Done) => {
            Some(Some(value.clone()))
        }
        (Operation::Increment { .. }, Status::Done) => {
            Some(Some(answer.number.to_string().into_bytes()))
        }
        _ => None,
    }
}

/// Without the worlds that are no better than another.
fn undominated(mut worlds: Vec<World>) -> Vec<World> {
    if worlds.len() < 2 {
        return worlds;
    }
    worlds.sort_unstable();
    worlds.dedup();
    let mut kept: Vec<World> = Vec::new();
    for world in worlds {
        let rivals = kept.iter().rev().take_while(|rival| rival.held == world.held);
        if !rivals.into_iter().any(|rival| dominates(&rival.used, &world.used)) {
            kept.push(world);
        }
    }
    kept
}
