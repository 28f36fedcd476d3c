//! Thousands of random histories: right as they were made, wrong once something in them is changed, and
//! the checks of one mind, also with one that tries every order there is.

use crate::base::Time;
use crate::history::specification::Execution;
use crate::history::{
    Answer, Finding, Keys, Outcome, Record, Shape, Status, check, check_appends, check_counters,
    check_order, check_replay, check_search, generate,
};

const STEPS: u64 = 200_000;

fn shape(seed: u64) -> Shape {
    let mut random = fastrand::Rng::with_seed(seed);
    Shape {
        operations: random.usize(5..120),
        keys: random.u64(1..9),
        clients: random.u64(1..8),
        groups: random.u32(1..3),
        values: random.u32(..4),
        unknown_per_mille: if random.bool() { 0 } else { random.u32(..300) },
        rejected_per_mille: random.u32(..100),
        seed,
    }
}

#[test]
fn histories_of_the_specification_are_right() {
    let mut undecided = Vec::new();
    for seed in 0..3_000 {
        let records = generate(&shape(seed));
        for finding in checked(&records) {
            assert!(
                finding.contradictions.is_empty(),
                "seed {seed}: {finding}\n{}",
                listing(&records)
            );
            if finding.unchecked > 0 {
                undecided.push((seed, finding.check));
            }
        }
    }
    assert!(undecided.len() < 10, "not wholly decided: {undecided:?}");
}

/// All checks, and what the search cannot find soon left open.
fn checked(records: &[Record]) -> [Finding; 5] {
    let keys = Keys::of(records);
    [
        check_order(&keys),
        check_replay(&keys),
        check_search(&keys, STEPS),
        check_appends(&keys),
        check_counters(&keys),
    ]
}

/// A change of an answer may give another history that is right: a length that an unknown append
/// explains. What the checks say then must fit together, and most changes must be found.
#[test]
fn changed_answers_are_found_and_the_checks_agree() {
    let (mut changed, mut found, mut undecided) = (0, 0, Vec::new());
    for seed in 0..6_000 {
        let mut records = generate(&shape(seed));
        let mut random = fastrand::Rng::with_seed(!seed);
        if !change_answer(&mut records, &mut random) {
            continue;
        }
        changed += 1;
        let keys = Keys::of(&records);
        let [order, replay, search] =
            [check_order(&keys), check_replay(&keys), check_search(&keys, STEPS)];
        if replay.unchecked > 0 || !search.unfinished.is_empty() {
            undecided.push(seed);
            continue;
        }
        let placed_right = order.is_clean() && replay.is_clean();
        assert!(search.is_clean() || !placed_right, "seed {seed}: {search}\n{}", listing(&records));
        found += u32::from(!search.is_clean());
        for oracle in [check_appends(&keys), check_counters(&keys)] {
            assert!(oracle.is_clean() || !search.is_clean(), "seed {seed}: {oracle}");
        }
    }
    assert!(undecided.len() < 10, "not wholly decided: {undecided:?}");
    assert!(changed > 5_000 && found * 10 > changed * 8, "{found} of {changed} found");
}

/// With every write answered, and one client, only one order is possible: all must see the same.
#[test]
fn without_doubt_or_overlap_replay_and_search_say_the_same() {
    let mut found = 0;
    for seed in 0..3_000 {
        let shape = Shape { clients: 1, unknown_per_mille: 0, ..shape(seed) };
        let mut records = generate(&shape);
        let mut random = fastrand::Rng::with_seed(!seed);
        for _ in 0..random.u32(..2) {
            change_answer(&mut records, &mut random);
        }
        // One moment may be the end of one command and the beginning of the next: pull them apart.
        for (record, turn) in records.iter_mut().zip(1_u64..) {
            record.invoked = Time(turn * 10);
            record.completed = Time(turn * 10 + 5);
        }
        let keys = Keys::of(&records);
        let (replay, search) = (check_replay(&keys), check_search(&keys, STEPS));
        assert_eq!(replay.is_clean(), search.is_clean(), "seed {seed}: {replay}\n{search}");
        found += u32::from(!search.is_clean());
    }
    assert!(found > 1_000, "{found} found");
}

#[test]
fn changed_places_are_found() {
    let (mut changed, mut found) = (0, 0);
    for seed in 0..2_000 {
        let mut records = generate(&Shape { unknown_per_mille: 0, groups: 1, ..shape(seed) });
        let mut random = fastrand::Rng::with_seed(!seed);
        let answered: Vec<usize> =
            (0..records.len()).filter(|&at| records[at].answer().is_some()).collect();
        if answered.len() < 8 {
            continue;
        }
        // Two that lie far enough apart to have been one after the other exchange their places.
        let first = answered[random.usize(..answered.len() / 2)];
        let second = answered[answered.len() - 1];
        if !records[first].precedes(&records[second])
            || same_rank(&records[first], &records[second])
        {
            continue;
        }
        let place = |record: &Record| record.answer().expect("answered").place;
        let (one, other) = (place(&records[first]), place(&records[second]));
        answer_mut(&mut records[first]).place = other;
        answer_mut(&mut records[second]).place = one;
        changed += 1;
        found += u32::from(!check_order(&Keys::of(&records)).is_clean());
    }
    assert!(changed > 1_000);
    assert_eq!(changed, found);
}

fn same_rank(one: &Record, other: &Record) -> bool {
    let index = |record: &Record| record.answer().expect("answered").place.index;
    index(one) == index(other)
}

/// The search and the replay against one that tries all orders, on histories of a few commands.
#[test]
fn trying_every_order_says_the_same() {
    let (mut right, mut wrong, mut misplaced) = (0, 0, 0);
    for seed in 0..6_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let shape = Shape {
            operations: random.usize(2..8),
            keys: 4,
            clients: random.u64(2..5),
            groups: 1,
            values: random.u32(..3),
            unknown_per_mille: 300,
            rejected_per_mille: 0,
            seed,
        };
        let mut records = generate(&shape);
        // All on one key: the answers then mostly make no sense, but sometimes they do.
        let mix = random.bool();
        for record in records.iter_mut().filter(|_| mix) {
            record.key = b"key-0".to_vec();
        }
        if random.bool() {
            change_answer(&mut records, &mut random);
        }
        let keys = Keys::of(&records);
        let (mut any_order, mut placed_order) = (true, true);
        for (_, records) in keys.iter() {
            any_order &= Orders { records, by_place: false }.exist();
            placed_order &= Orders { records, by_place: true }.exist();
        }
        let (replay, search) = (check_replay(&keys), check_search(&keys, STEPS));
        assert_eq!(search.is_clean(), any_order, "seed {seed}: {search}\n{}", listing(&records));
        if check_order(&keys).is_clean() {
            let text = || format!("seed {seed}: {replay}\n{}", listing(&records));
            assert_eq!(replay.is_clean(), placed_order, "{}", text());
            misplaced += u32::from(any_order && !placed_order);
        }
        right += u32::from(any_order);
        wrong += u32::from(!any_order);
    }
    assert!(right > 1_000 && wrong > 1_000 && misplaced > 50, "{right} {wrong} {misplaced}");
}

/// All orders of one key's records that time allows, or time and place.
struct Orders<'a> {
    records: &'a [&'a Record],
    by_place: bool,
}

impl Orders<'_> {
    fn exist(&self) -> bool {
        self.extend(&mut Vec::new(), None)
    }

    fn extend(&self, done: &mut Vec<usize>, held: Option<&[u8]>) -> bool {
        let is_left = |at: &usize| !done.contains(at);
        let left: Vec<usize> = (0..self.records.len()).filter(is_left).collect();
        if left.iter().all(|&at| self.records[at].answer().is_none()) {
            return true;
        }
        left.iter().any(|&at| {
            let record = self.records[at];
            let may_be_next = left.iter().all(|&other| !self.records[other].precedes(record));
            let is_void = record.answer().is_none() && !record.is_open();
            if is_void || !may_be_next || self.by_place && !self.is_in_place(done, &left, at) {
                return false;
            }
            let execution = Execution::of(&record.operation, held);
            let agrees = |answer| execution.agrees(&record.operation, held, answer);
            if !record.answer().is_none_or(agrees) {
                return false;
            }
            let mut after = held.map(<[u8]>::to_vec);
            execution.change.apply(&mut after);
            done.push(at);
            let exists = self.extend(done, after.as_deref());
            done.pop();
            exists
        })
    }

    /// Whether no place is passed over, and no open write comes between neighbours.
    fn is_in_place(&self, done: &[usize], left: &[usize], at: usize) -> bool {
        let rank = |at: usize| {
            let record = self.records[at];
            let place = record.answer()?.place;
            let position = if record.operation.is_read() { 1 << 40 } else { place.position.into() };
            Some((place.index.0, position))
        };
        let Some(this) = rank(at) else { return true };
        let is_first = left.iter().filter_map(|&other| rank(other)).all(|other| this <= other);
        let last = done.iter().rev().find_map(|&other| rank(other));
        let is_behind_open = done.last().is_some_and(|&last| rank(last).is_none());
        let touches = last
            .is_some_and(|(index, position): (u64, u64)| index == this.0 && this.1 - position <= 1);
        is_first && !(is_behind_open && touches)
    }
}

/// Changes one answer that says something.
fn change_answer(records: &mut [Record], random: &mut fastrand::Rng) -> bool {
    let telling = |record: &Record| {
        let answer = record.answer()?;
        let blind = matches!(record.operation, crate::history::Operation::Put { .. });
        (!blind && answer.status != Status::CompareFailed).then_some(())
    };
    let candidates: Vec<usize> =
        (0..records.len()).filter(|&at| telling(&records[at]).is_some()).collect();
    if candidates.is_empty() {
        return false;
    }
    let record = &mut records[candidates[random.usize(..candidates.len())]];
    let is_read = record.operation.is_read();
    let answer = answer_mut(record);
    match (answer.status, &mut answer.value) {
        (Status::Done, Some(value)) if value.is_empty() || random.bool() => value.push(b'!'),
        (Status::Done, Some(value)) => {
            value.pop();
        }
        (Status::Done, None) if answer.number == 0 => answer.status = Status::CompareFailed,
        (Status::Done, None) => answer.number += if random.bool() { 1 } else { -1 },
        (Status::NotFound, _) if is_read => {
            answer.status = Status::Done;
            answer.value = Some(b"ghost".to_vec());
        }
        (Status::NotFound, _) => (answer.status, answer.number) = (Status::Done, 1),
        _ => (answer.status, answer.number) = (Status::Done, 77),
    }
    true
}

fn answer_mut(record: &mut Record) -> &mut Answer {
    match &mut record.outcome {
        Outcome::Applied(answer) => answer,
        other => panic!("not answered: {other:?}"),
    }
}

fn listing(records: &[Record]) -> String {
    let lines: Vec<String> = records.iter().map(Record::to_string).collect();
    lines.join("\n")
}

/// What is measured must be what was meant.
#[test]
fn equal_seeds_make_equal_histories() {
    assert_eq!(generate(&shape(5)), generate(&shape(5)));
    let findings: Vec<Finding> = check(&generate(&shape(5)));
    assert!(findings[1].checked > 0 && findings[2].checked == findings[1].checked);
}
