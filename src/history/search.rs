//! The search: whether the answers of a key can be put in any order at all.
//!
//! Places are not looked at. For each key, Wing and Gong's search, as Lowe improved it: linearize one
//! command after another of those that may come next (no other was over before they began), undo when none
//! of them fits, and never look twice at the same commands done with the same value. What is pruned beyond:
//!
//! - a read or a refusal that fits is taken at once: whatever order there is, it may as well come first
//!   (not so a put of what is there already: it may be what brings that back later);
//! - what no [later read](super::growth) can follow from is given up;
//! - writes of unknown outcome are put only where an answer [needs](super::needs) them;
//! - what leads to a value that is read next is tried first, writes of unknown outcome otherwise last, and two
//!   states that differ only in them are compared: one that used up no more can do all that the other can.
//!
//! The set of commands done is remembered by a 128-bit sum of random marks: that two sets are taken for
//! one is as likely as guessing a key. The search is bounded: a key at which it gives up is *unfinished*,
//! which counts as failure.
//!
//! Sources: Wing and Gong, "Testing and Verifying Concurrent Objects", 1993; Lowe, "Testing for
//! Linearizability", 2017; Horn and Kroening, "Faster Linearizability Checking via P-compositionality",
//! 2015.

use std::rc::Rc;

use super::finding::{Finding, held_text};
use super::growth::Growth;
use super::keys::Keys;
use super::needs::{Builders, fits, hides};
use super::open::{OpenWrites, Used, dominates, is_blind};
use super::record::{Answer, Operation, Record, Status};
use super::specification::{Change, Execution};
use crate::base::Time;
use crate::base::collections::Map;

/// Steps of the search for one key before it gives up.
pub const SEARCH_STEPS_MAX: u64 = 5_000_000;

/// Searches an order for every key, `steps_max` steps long at most.
pub fn check_search(keys: &Keys<'_>, steps_max: u64) -> Finding {
    let mut finding = Finding::of("search");
    for (key, records) in keys.iter() {
        let mut search = Search::new(records, steps_max);
        match search.run() {
            Verdict::Ordered => finding.checked += search.known.len() as u64,
            Verdict::Unfinished => {
                finding.unchecked += search.known.len() as u64;
                finding.unfinished.push(key.to_vec());
            }
            Verdict::NoOrder => {
                let (text, records) = search.deadlock.explain(&search);
                finding.contradiction(text, records);
            }
        }
    }
    finding
}

enum Verdict {
    /// There is an order.
    Ordered,
    /// There is none.
    NoOrder,
    /// Nobody knows.
    Unfinished,
}

/// A command to come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pick {
    /// An answered one, by its position in `known`.
    Known(usize),
    /// An open one, by its class.
    Open(usize),
}

/// A command that was put next.
struct Choice {
    pick: Pick,
    /// What the key held before.
    before: Value,
    /// What to try instead, the last one first.
    others: Vec<Pick>,
}

/// A value of the key, by its number.
type Value = usize;

struct Search<'a> {
    /// The answered commands, by the time they began.
    known: Vec<&'a Record>,
    open: OpenWrites<'a>,
    growth: Growth<'a>,
    /// Those of `known` that are not done.
    undone: Undone,
    /// The sum of the marks of those done.
    done: u128,
    /// One for each of `known`.
    marks: Vec<u128>,
    /// Of the open ones, how many are done.
    used: Used,
    held: Value,
    values: Values,
    stack: Vec<Choice>,
    /// What was done and held when there was a choice, and the open writes used by then.
    seen: Map<(u128, Value), Vec<Used>>,
    /// Where most was done and nothing fitted.
    deadlock: Deadlock,
    steps_left: u64,
}

impl<'a> Search<'a> {
    fn new(records: &[&'a Record], steps_max: u64) -> Self {
        let mut known: Vec<&Record> =
            records.iter().copied().filter(|record| record.answer().is_some()).collect();
        known.sort_by_key(|record| record.invoked);
        let open = OpenWrites::of(records);
        let mut random = fastrand::Rng::with_seed(known.len() as u64);
        Self {
            undone: Undone::new(known.len()),
            done: 0,
            marks: known.iter().map(|_| random.u128(..)).collect(),
            used: open.none_used(),
            held: Values::ABSENT,
            values: Values::new(),
            stack: Vec::new(),
            seen: Map::default(),
            deadlock: Deadlock::default(),
            steps_left: steps_max,
            growth: Growth::of(records),
            known,
            open,
        }
    }

    fn run(&mut self) -> Verdict {
        while self.undone.count > 0 {
            let Some(left) = self.steps_left.checked_sub(1) else { return Verdict::Unfinished };
            self.steps_left = left;
            let mut picks = self.picks();
            match picks.pop() {
                Some(pick) => self.put_next(pick, picks),
                None => {
                    if !self.back_up() {
                        return Verdict::NoOrder;
                    }
                }
            }
        }
        Verdict::Ordered
    }

    /// What may come next and fits, the best last; nothing if it was all tried before.
    fn picks(&mut self) -> Vec<Pick> {
        let held = self.values.get(self.held);
        let mut picks = Vec::new();
        // What may come next, but does not fit yet, or would show more with other writes before it.
        let mut needy: Vec<&Record> = Vec::new();
        if !self.growth.allows(held) {
            return picks;
        }
        let before_open = self.before_open();
        let mut earliest_end = Time(u64::MAX);
        let mut next = self.undone.first();
        while let Some(at) = next {
            let record = self.known[at];
            if record.invoked > earliest_end {
                break;
            }
            earliest_end = earliest_end.min(record.completed);
            next = self.undone.after(at);
            let answer = answer_of(record);
            let fits_now = fits(record, answer, held);
            if fits_now && (record.operation.is_read() || answer.status != Status::Done) {
                return vec![Pick::Known(at)];
            }
            let hides = hides(&record.operation);
            let fitted = before_open.is_some_and(|before| fits(record, answer, before));
            if fits_now && !(hides && fitted) {
                picks.push(Pick::Known(at));
            }
            if !(hides && (fitted || fits_now)) {
                needy.push(record);
            }
        }
        picks.reverse();
        self.add_open(&mut picks, &needy, earliest_end);
        let wanted: Vec<&[u8]> =
            needy.iter().filter_map(|record| answer_of(record).value.as_deref()).collect();
        if picks.len() > 1 && !wanted.is_empty() {
            let leads_there = |pick: &Pick| {
                let change = Execution::of(self.operation(*pick), held).change;
                wanted.iter().any(|wanted| is_on_the_way(&change, held, wanted))
            };
            picks.sort_by_cached_key(leads_there);
        }
        if picks.is_empty() {
            self.deadlock.note(self.known.len() - self.undone.count, self.held, &self.stack);
        } else if (picks.len() > 1 || !self.open.is_empty()) && self.was_seen() {
            picks.clear();
        }
        picks
    }

    /// Adds the open writes without which something needy cannot come next, in front: the last to be tried.
    fn add_open(&self, picks: &mut Vec<Pick>, needy: &[&Record], until: Time) {
        if self.open.is_empty() || needy.is_empty() {
            return;
        }
        let held = self.values.get(self.held);
        let after_open = self.before_open().is_some();
        let builders = Builders::of(self.open.available(&self.used, until).map(|(_, it)| it));
        for (class, operation) in self.open.available(&self.used, until) {
            let change = Execution::of(operation, held).change;
            if after_open && is_blind(operation) || !change.alters(held) {
                continue;
            }
            let mut after = held.map(<[u8]>::to_vec);
            change.apply(&mut after);
            let leads_to = |record: &&Record| {
                builders.may_lead_to(record, answer_of(record), after.as_deref())
            };
            if needy.iter().any(leads_to) {
                picks.insert(0, Pick::Open(class));
            }
        }
    }

    /// What the key held before the open writes that were put last, if any were.
    #[expect(clippy::option_option, reason = "an absent key is a state too")]
    fn before_open(&self) -> Option<Option<&[u8]>> {
        let open = self.stack.iter().rev().take_while(|it| matches!(it.pick, Pick::Open(_)));
        open.last().map(|first| self.values.get(first.before))
    }

    /// Whether this state, or a better one, was here before; notes it if not.
    fn was_seen(&mut self) -> bool {
        let seen = self.seen.entry((self.done, self.held)).or_default();
        if seen.iter().any(|used| dominates(used, &self.used)) {
            return true;
        }
        seen.push(self.used.clone());
        false
    }

    fn operation(&self, pick: Pick) -> &'a Operation {
        match pick {
            Pick::Known(at) => &self.known[at].operation,
            Pick::Open(class) => self.open.operation(class),
        }
    }

    fn put_next(&mut self, pick: Pick, others: Vec<Pick>) {
        let before = self.held;
        match pick {
            Pick::Known(at) => {
                self.undone.remove(at);
                self.done ^= self.marks[at];
            }
            Pick::Open(class) => self.used[class] += 1,
        }
        self.held = self.values.after(before, self.operation(pick));
        self.stack.push(Choice { pick, before, others });
    }

    /// Undoes to where something else can be tried, and tries it. Says whether there was such a place.
    fn back_up(&mut self) -> bool {
        while let Some(Choice { pick, before, mut others }) = self.stack.pop() {
            match pick {
                Pick::Known(at) => {
                    self.undone.restore(at);
                    self.done ^= self.marks[at];
                }
                Pick::Open(class) => self.used[class] -= 1,
            }
            self.held = before;
            if let Some(other) = others.pop() {
                self.put_next(other, others);
                return true;
            }
        }
        false
    }
}

fn answer_of(record: &Record) -> &Answer {
    record.answer().expect("only answered ones are known")
}

/// Whether the change leaves what was `wanted`, or a beginning of it.
fn is_on_the_way(change: &Change<'_>, held: Option<&[u8]>, wanted: &[u8]) -> bool {
    match change {
        Change::Keep | Change::Remove => false,
        Change::Set(value) => wanted.starts_with(value),
        Change::Extend(tail) => {
            let rest = wanted.strip_prefix(held.unwrap_or_default());
            rest.is_some_and(|rest| rest.starts_with(tail))
        }
    }
}

/// Positions not done, in order: a list that gives back what was taken out of it, the last first (Knuth's
/// dancing links).
struct Undone {
    /// The neighbours of each position + 1; those of 0 are the ends.
    next: Vec<usize>,
    previous: Vec<usize>,
    /// How many there are.
    count: usize,
}

impl Undone {
    fn new(count: usize) -> Self {
        let next = (1..=count).chain([0]).collect();
        let previous = [count].into_iter().chain(0..count).collect();
        Self { next, previous, count }
    }

    fn first(&self) -> Option<usize> {
        self.next[0].checked_sub(1)
    }

    fn after(&self, at: usize) -> Option<usize> {
        self.next[at + 1].checked_sub(1)
    }

    fn remove(&mut self, at: usize) {
        let (previous, next) = (self.previous[at + 1], self.next[at + 1]);
        self.next[previous] = next;
        self.previous[next] = previous;
        self.count -= 1;
    }

    fn restore(&mut self, at: usize) {
        let (previous, next) = (self.previous[at + 1], self.next[at + 1]);
        self.next[previous] = at + 1;
        self.previous[next] = at + 1;
        self.count += 1;
    }
}

/// Every value that the key was found to hold, each once.
struct Values {
    numbers: Map<Rc<[u8]>, Value>,
    /// Each by its number; absent first.
    by_number: Vec<Option<Rc<[u8]>>>,
    /// For the value being made.
    scratch: Option<Vec<u8>>,
}

impl Values {
    const ABSENT: Value = 0;

    fn new() -> Self {
        Self { numbers: Map::default(), by_number: vec![None], scratch: None }
    }

    fn get(&self, value: Value) -> Option<&[u8]> {
        self.by_number[value].as_deref()
    }

    /// The value that `operation` leaves where `before` was.
    fn after(&mut self, before: Value, operation: &Operation) -> Value {
        let held = self.by_number[before].clone();
        let change = Execution::of(operation, held.as_deref()).change;
        if !change.alters(held.as_deref()) {
            return before;
        }
        self.scratch = held.map(|held| held.to_vec());
        change.apply(&mut self.scratch);
        let Some(value) = &self.scratch else { return Self::ABSENT };
        if let Some(&number) = self.numbers.get(value.as_slice()) {
            return number;
        }
        let value: Rc<[u8]> = value.as_slice().into();
        self.by_number.push(Some(Rc::clone(&value)));
        let number = self.by_number.len() - 1;
        self.numbers.insert(value, number);
        number
    }
}

/// Where the search got furthest.
#[derive(Default)]
struct Deadlock {
    /// Answered commands done.
    depth: Option<usize>,
    held: Value,
    /// The commands done, in order.
    done: Vec<Pick>,
}

impl Deadlock {
    fn note(&mut self, depth: usize, held: Value, stack: &[Choice]) {
        if self.depth.is_none_or(|deepest| depth > deepest) {
            let done = stack.iter().map(|choice| choice.pick).collect();
            *self = Self { depth: Some(depth), held, done };
        }
    }

    /// A sentence, and the records: the last that was done and those that could not follow.
    fn explain<'a>(&self, search: &Search<'a>) -> (String, Vec<&'a Record>) {
        let mut undone = Undone::new(search.known.len());
        let mut last = None;
        for pick in &self.done {
            if let Pick::Known(at) = *pick {
                undone.remove(at);
                last = Some(search.known[at]);
            }
        }
        let mut records: Vec<&Record> = last.into_iter().collect();
        let mut earliest_end = Time(u64::MAX);
        let mut next = undone.first();
        while let Some(at) = next {
            let record = search.known[at];
            if record.invoked > earliest_end || records.len() > EXPLAINED_MAX {
                break;
            }
            earliest_end = earliest_end.min(record.completed);
            records.push(record);
            next = undone.after(at);
        }
        let text = format!(
            "there is no order: at best {} of {} answers fit, then the key holds {} and none of the commands \
             after the first below can come next:",
            self.depth.unwrap_or_default(),
            search.known.len(),
            held_text(search.values.get(self.held)),
        );
        (text, records)
    }
}

/// Records named for one dead end, at most, beside the last that fitted.
const EXPLAINED_MAX: usize = 6;
