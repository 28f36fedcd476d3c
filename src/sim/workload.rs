//! What the clients of a simulated cluster ask, and how eagerly.
//!
//! A run has a few keys, some of them hot, in four families, so that each command there is meets every
//! value it can meet and every answer it can get:
//!
//! | family | commands besides get | what it shows |
//! |---|---|---|
//! | register | put, compare-and-set, delete | lost, stale and doubled writes: every value written is another |
//! | list | append | exactly once: every token appended is another |
//! | counter | increment | exactly once, without any value that names its writer |
//! | mixed | all of them, and numbers at the edge of what fits | every refusal a command can meet |
//!
//! Some commands come several at a time, on keys of one slot, to happen all or not at all. What such a batch
//! appends to lists is one token for all of them: in the end it is in each, or in none ([`parted`]).
//!
//! To add a command: a variant of `history::Operation` and an arm in [`Chooser::choose`]'s families.

use std::collections::BTreeMap;

use crate::base::GroupId;
use crate::base::{Slot, SlotSet};
use crate::history::{Answer, Operation, Record, Status};
use crate::placement::ShardMap;

/// What clients do in one run; chosen by its seed.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    /// Clients at any time.
    pub(super) clients: usize,
    /// Commands that one client has outstanding, at most.
    pub(super) outstanding_max: usize,
    /// Between two commands of a client, on average, µs.
    pub(super) pause_us: u64,
    /// Of a hundred commands, how many go to the hot keys.
    pub(super) hot_percent: u32,
    /// Of a hundred commands, how many read.
    pub(super) read_percent: u32,
    /// Of a hundred choices, how many are a batch.
    pub(super) batch_percent: u32,
    /// Bytes of a value written, at most.
    pub(super) value_max: usize,
    /// The keys; the first [`HOT_KEYS`] are the hot ones.
    keys: Vec<Key>,
    /// Names of keys that others took the place of.
    given_up: Vec<Vec<u8>>,
}

/// Writes of unknown outcome that one key is given, about: the search for an order tries them wherever an
/// answer might need one.
pub(super) const OPEN_WRITES_MAX: usize = 12;

/// So many keys are hot.
const HOT_KEYS: usize = 3;

/// Keys of one batch, at most.
const BATCH_KEYS_MAX: usize = 4;

/// What a batch's tokens end with, and no others.
const OF_A_BATCH: &[u8] = b"+>";

/// A list is read, not appended to, once it has so many bytes: checks look at every one of them.
const LIST_BYTES_MAX: i64 = 4 << 10;

#[derive(Clone, Debug)]
struct Key {
    name: Vec<u8>,
    family: Family,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Register,
    List,
    Counter,
    Mixed,
}

const FAMILIES: [Family; 4] = [Family::Register, Family::List, Family::Counter, Family::Mixed];

impl Habits {
    /// The habits of the run with this generator's seed, for a cluster with this map.
    pub(super) fn choose(random: &mut fastrand::Rng, map: &ShardMap) -> Self {
        let keys = random.usize(6..24);
        // Most runs have small values; where they are large the log goes round quickly.
        let value_max = if random.u32(0..3) == 0 { 8 << 10 } else { 200 };
        Self {
            clients: random.usize(2..8),
            outstanding_max: random.usize(1..5),
            pause_us: 1_000 << random.u32(3..8),
            hot_percent: random.u32(0..80),
            read_percent: random.u32(10..60),
            batch_percent: random.u32(0..30),
            value_max,
            keys: keys_of_every_group(keys, random, map),
            given_up: Vec::new(),
        }
    }

    /// The names of all keys that there are or were.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| &key.name).chain(&self.given_up).map(Vec::as_slice)
    }

    /// Another key, like this one and in the same slot, takes its place.
    pub(super) fn renew(&mut self, name: &[u8]) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.name == name) {
            let next = successor(&key.name);
            self.given_up.push(std::mem::replace(&mut key.name, next));
        }
    }
}

/// At least `count` keys, of all families, and at least one in each group; some have a hash tag.
fn keys_of_every_group(count: usize, random: &mut fastrand::Rng, map: &ShardMap) -> Vec<Key> {
    let mut keys: Vec<Key> = (0..count)
        .map(|i| {
            let family = FAMILIES[random.usize(0..FAMILIES.len())];
            let letter = &format!("{family:?}").to_lowercase()[..1];
            let name = match random.u32(0..3) {
                0 => format!("{{tag{}}}{letter}{i}", random.u32(0..3)),
                _ => format!("{letter}{i}"),
            };
            Key { name: name.into_bytes(), family }
        })
        .collect();
    let owner = |key: &Key| map.group_of(Slot::of_key(&key.name));
    let missing: Vec<GroupId> = map
        .groups
        .iter()
        .map(|group| group.id)
        .filter(|&id| !keys.iter().any(|key| owner(key) == id))
        .collect();
    keys.extend(
        missing
            .into_iter()
            .filter_map(|group| key_in(&map.owned(group), "only"))
            .map(|name| Key { name, family: Family::List }),
    );
    random.shuffle(&mut keys);
    keys
}

/// Another key in the same slot: what its tag says.
fn successor(name: &[u8]) -> Vec<u8> {
    if name.contains(&b'{') { [name, b"'"].concat() } else { [b"{", name, b"}'"].concat() }
}

/// A key in one of these slots, if there are any.
pub(super) fn key_in(slots: &SlotSet, prefix: &str) -> Option<Vec<u8>> {
    let mut names = (0_u64..1 << 20).map(|i| format!("{prefix}{i}").into_bytes());
    if slots.is_empty() { None } else { names.find(|name| slots.contains(Slot::of_key(name))) }
}

/// Chooses one client's commands.
#[derive(Clone, Debug)]
pub(super) struct Chooser {
    random: fastrand::Rng,
    /// Whose commands they are: in every value and token, so that no two clients write the same.
    client: u64,
    /// The number of the next value or token; each is used once.
    next_value: u64,
    /// What this client last saw or wrote, by key: what a compare-and-set had best expect.
    seen: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// The bytes that lists are known to have.
    lengths: BTreeMap<Vec<u8>, i64>,
}

impl Chooser {
    /// Of the client numbered `client`.
    pub(super) fn new(client: u64, random: fastrand::Rng) -> Self {
        Self { random, client, next_value: 0, seen: BTreeMap::new(), lengths: BTreeMap::new() }
    }

    /// The next command and its key; several are to happen all or not at all.
    pub(super) fn choose(&mut self, habits: &Habits) -> Vec<(Vec<u8>, Operation)> {
        let hot = self.random.u32(0..100) < habits.hot_percent;
        let among = if hot { HOT_KEYS.min(habits.keys.len()) } else { habits.keys.len() };
        let Key { name, family } = &habits.keys[self.random.usize(0..among)];
        if self.random.u32(0..100) < habits.batch_percent {
            let batch = self.batch(Slot::of_key(name), habits);
            if batch.len() > 1 {
                return batch;
            }
        }
        let operation = if self.random.u32(0..100) < habits.read_percent {
            Operation::Get
        } else {
            self.write(name, *family, habits.value_max)
        };
        vec![(name.clone(), operation)]
    }

    /// Writes to some keys of a slot, each in its own way, and perhaps only if one holds what is expected.
    fn batch(&mut self, slot: Slot, habits: &Habits) -> Vec<(Vec<u8>, Operation)> {
        let ours = habits.keys.iter().filter(|key| Slot::of_key(&key.name) == slot);
        let mut keys: Vec<&Key> = ours.collect();
        self.random.shuffle(&mut keys);
        keys.truncate(BATCH_KEYS_MAX);
        let mut token = self.fresh(0);
        token.pop();
        token.extend_from_slice(OF_A_BATCH);
        let mut commands = Vec::new();
        for Key { name, family } in keys.iter().copied() {
            let operation = match self.write(name, *family, habits.value_max) {
                Operation::Get => continue,
                Operation::Append { .. } if *family == Family::List => {
                    Operation::Append { value: token.clone() }
                }
                operation => operation,
            };
            commands.push((name.clone(), operation));
        }
        let comparable = |key: &&&Key| matches!(key.family, Family::Register | Family::Mixed);
        if let Some(Key { name, .. }) = keys.iter().find(comparable)
            && self.random.u32(0..3) == 0
        {
            let expected = self.expectation(name);
            commands.push((name.clone(), Operation::Compare { expected }));
        }
        commands
    }

    /// How long to wait before the next one, µs.
    pub(super) fn pause_us(&mut self, habits: &Habits) -> u64 {
        self.random.u64(0..=2 * habits.pause_us)
    }

    /// Learns from the answer to one of its commands.
    pub(super) fn learn(&mut self, key: &[u8], operation: &Operation, answer: &Answer) {
        if let Operation::Append { .. } = operation {
            self.lengths.insert(key.to_vec(), answer.number);
        }
        let holds = match (operation, answer.status) {
            (Operation::Get, _) => answer.value.clone(),
            (Operation::Put { value } | Operation::CompareAndSet { value, .. }, Status::Done) => {
                Some(value.clone())
            }
            (Operation::Delete, _) => None,
            _ => return,
        };
        self.seen.insert(key.to_vec(), holds);
    }

    fn write(&mut self, key: &[u8], family: Family, value_max: usize) -> Operation {
        match (family, self.random.u32(0..100)) {
            (Family::List, _) if self.lengths.get(key) > Some(&LIST_BYTES_MAX) => Operation::Get,
            (Family::List, _) | (Family::Mixed, 0..20) => {
                Operation::Append { value: self.fresh(0) }
            }
            (Family::Counter, _) => Operation::Increment { delta: self.random.i64(-9..=9) },
            (Family::Mixed, 20..45) => Operation::Increment { delta: self.edge() },
            (Family::Mixed, 45..60) => {
                Operation::Put { value: self.edge().to_string().into_bytes() }
            }
            (Family::Register | Family::Mixed, 60..75) => Operation::Delete,
            (Family::Register, 0..30) | (Family::Mixed, 75..85) => {
                let expected = self.expectation(key);
                Operation::CompareAndSet { expected, value: self.fresh(value_max) }
            }
            (Family::Register | Family::Mixed, _) => {
                Operation::Put { value: self.fresh(value_max) }
            }
        }
    }

    /// What a compare-and-set expects: mostly what was there a while ago.
    fn expectation(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        match self.random.u32(0..10) {
            0 => None,
            1 => Some(b"never".to_vec()),
            _ => self.seen.get(key).cloned().flatten(),
        }
    }

    /// A number near the edge of what fits, now and then.
    fn edge(&mut self) -> i64 {
        match self.random.u32(0..4) {
            0 => i64::MAX - self.random.i64(0..3),
            1 => i64::MIN + self.random.i64(0..3),
            _ => self.random.i64(-99..=99),
        }
    }

    /// Bytes that nobody wrote before: `<client.number>`, and up to `length_max` bytes of padding.
    fn fresh(&mut self, length_max: usize) -> Vec<u8> {
        self.next_value += 1;
        let mut value = format!("<{}.{}>", self.client, self.next_value).into_bytes();
        let padding = self.random.usize(0..=length_max).saturating_sub(value.len());
        value.resize(value.len() + padding, b'.');
        value
    }
}

/// A token that a batch appended to several lists, and that is in some of them only, as `held` has it; and
/// the lists in which it is not.
pub(super) fn parted<'a>(
    records: &'a [Record],
    held: &BTreeMap<&[u8], Vec<u8>>,
) -> Option<(&'a [u8], Vec<&'a [u8]>)> {
    let mut lists: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    for Record { key, operation, .. } in records {
        if let Operation::Append { value } = operation
            && value.ends_with(OF_A_BATCH)
        {
            lists.entry(value).or_default().push(key);
        }
    }
    lists.into_iter().find_map(|(token, keys)| {
        let is_in = |key: &&[u8]| {
            let value = held.get(key);
            value.is_some_and(|value| value.windows(token.len()).any(|part| part == token))
        };
        let (in_these, not_in): (Vec<_>, Vec<_>) = keys.into_iter().partition(is_in);
        (!in_these.is_empty() && !not_in.is_empty()).then_some((token, not_in))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::NodeId;
    use crate::placement::NodeInfo;

    fn map(groups: u32) -> ShardMap {
        let info = |id| NodeInfo {
            id: NodeId(id),
            client_address: format!("n{id}:1"),
            peer_address: format!("n{id}:2"),
        };
        ShardMap::initial((1..=3).map(info).collect(), groups).expect("valid")
    }

    #[test]
    fn every_group_has_a_key_and_every_command_comes_up() {
        let (mut seen, mut batches) = (BTreeSet::new(), 0);
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let map = map(4);
            let habits = Habits::choose(&mut random, &map);
            let owners: BTreeSet<GroupId> =
                habits.keys().map(|key| map.group_of(Slot::of_key(key))).collect();
            assert_eq!(owners.len(), 4, "seed {seed}");
            let mut chooser = Chooser::new(1, random.fork());
            for _ in 0..200 {
                let commands = chooser.choose(&habits);
                let slot = Slot::of_key(&commands[0].0);
                for (key, operation) in &commands {
                    assert_eq!(Slot::of_key(key), slot, "seed {seed}");
                    assert!(habits.keys().any(|known| known == key), "seed {seed}");
                    let text = format!("{operation:?}");
                    seen.insert(text.split([' ', '(']).next().expect("a name").to_owned());
                }
                batches += usize::from(commands.len() > 1);
            }
        }
        let all = ["Append", "Compare", "CompareAndSet", "Delete", "Get", "Increment", "Put"];
        assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), all);
        assert!(batches > 100, "{batches} batches");
    }

    #[test]
    fn a_key_that_takes_the_place_of_another_is_in_its_slot() {
        let mut habits = Habits::choose(&mut fastrand::Rng::with_seed(7), &map(4));
        let before: Vec<Vec<u8>> = habits.keys().map(<[u8]>::to_vec).collect();
        for _ in 0..2 {
            let names: Vec<Vec<u8>> = habits.keys.iter().map(|key| key.name.clone()).collect();
            for name in &names {
                habits.renew(name);
            }
        }
        habits.renew(b"nobody's");
        let after: BTreeSet<&[u8]> = habits.keys().collect();
        assert_eq!(after.len(), 3 * before.len(), "{after:?}");
        assert!(before.iter().all(|name| after.contains(name.as_slice())), "still read in the end");
        for (key, name) in habits.keys.iter().zip(&before) {
            assert_eq!(Slot::of_key(&key.name), Slot::of_key(name), "{name:?}");
        }
    }

    #[test]
    fn no_value_is_written_twice() {
        let mut random = fastrand::Rng::with_seed(7);
        let habits = Habits::choose(&mut random, &map(1));
        let mut written = BTreeSet::new();
        for client in 1..4 {
            let mut chooser = Chooser::new(client, random.fork());
            for _ in 0..500 {
                for (key, operation) in chooser.choose(&habits) {
                    if let Operation::Append { value } = operation {
                        assert!(written.insert((key, value.clone())), "{value:?}");
                    }
                }
            }
        }
        assert!(written.len() > 100, "{}", written.len());
    }
}
