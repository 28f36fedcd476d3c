//! A load of appends whose every record can be told apart, and the proof that each was executed
//! exactly once.
//!
//! Each client appends records `cCCCnNNNNNN;` with numbers of its own, many at once but only one to
//! each key, to keys of its own and to keys it shares with all others. An append answers with the new length: so
//! an acknowledged record must lie exactly before that length, whoever else appended meanwhile. A
//! record found twice, missing, displaced, or never acknowledged (nor in doubt) fails the check, and
//! a client's records must stand in the order of their numbers.
//!
//! Beside them each client reads keys of its own: all that was acknowledged before must be there, and
//! nothing else but the one record that is on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sunstar::client::blocking::Client;
use sunstar::client::{Command, Options};

use super::wait::wait_until;

/// What one client knows of its appends.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By key: (length answered, record), in the order of acknowledgement.
    acknowledged: BTreeMap<String, Vec<(u64, String)>>,
    /// What was said of appends that were not acknowledged, and of reads that were not answered.
    pub(crate) failures: Vec<String>,
}

impl Ledger {
    /// Appends acknowledged.
    pub(crate) fn count(&self) -> usize {
        self.acknowledged.values().map(Vec::len).sum()
    }

    /// What is wrong with what was found at a key of the client's own while one record is on its way to
    /// it: all that was acknowledged must be there.
    fn contradiction(&self, key: &str, found: &[u8]) -> Option<String> {
        let records = self.acknowledged.get(key).map_or(&[][..], Vec::as_slice);
        let (length, found_length) = (records.len() * RECORD, found.len());
        let last = records.last().map_or(&[][..], |(_, record)| record.as_bytes());
        let is_current =
            [length, length + RECORD].contains(&found_length) && found[..length].ends_with(last);
        // Appends that failed may have happened.
        (!is_current && self.failures.is_empty())
            .then(|| format!("read of {key}: {found_length} bytes, {length} were acknowledged"))
    }
}

/// Lets `clients` clients append until `nemesis` returns.
pub(crate) fn append_during(
    targets: &[String],
    clients: usize,
    nemesis: impl FnOnce(&Progress),
) -> Vec<Ledger> {
    let append = |client, progress: &_| append_until_stopped(targets, client, progress);
    work_during(clients, append, nemesis)
}

/// Lets `clients` clients work until `nemesis` returns; what each of them has to say.
pub(crate) fn work_during<T: Send>(
    clients: usize,
    work: impl Fn(usize, &Progress) -> T + Sync,
    nemesis: impl FnOnce(&Progress),
) -> Vec<T> {
    let progress = Progress::new(clients);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|client| {
                let (work, progress) = (&work, &progress);
                scope.spawn(move || work(client, progress))
            })
            .collect();
        {
            // Also when the nemesis panics: else the clients would go on for ever.
            let _stop = StopOnDrop(&progress.stop);
            nemesis(&progress);
        }
        threads.into_iter().map(|thread| thread.join().expect("a client's own check")).collect()
    })
}

/// How far each client has come.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Rounds of appends that got their outcomes, by client; only that client adds to its own.
    rounds: Vec<AtomicU64>,
    stop: AtomicBool,
}

impl Progress {
    fn new(clients: usize) -> Self {
        let rounds = (0..clients).map(|_| AtomicU64::new(0)).collect();
        Self { rounds, stop: AtomicBool::new(false) }
    }

    /// Whether clients are to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// `client` has had the outcomes of a round.
    pub(crate) fn round_done(&self, client: usize) {
        self.rounds[client].fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until every client has had `count` further rounds of appends done.
    pub(crate) fn await_more(&self, what: &str, count: u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let goals: Vec<_> = self.rounds.iter().map(|one| read(one) + count).collect();
        wait_until(&format!("every client has {count} further rounds {what}"), || {
            self.rounds.iter().zip(&goals).all(|(one, goal)| read(one) >= *goal)
        });
    }

    /// Rounds of all clients together.
    pub(crate) fn in_all(&self) -> u64 {
        self.rounds.iter().map(|one| one.load(Ordering::Relaxed)).sum()
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn append_until_stopped(targets: &[String], client: usize, progress: &Progress) -> Ledger {
    let mut ledger = Ledger::default();
    let mut connection = connect(targets, client);
    for round in 0.. {
        if progress.is_stopped() {
            break;
        }
        let submitted: Vec<_> = (0..2 * LANES)
            .map(|lane| {
                let key = key(client, round, lane);
                let record = format!("c{client:03}n{:06};", round * 2 * LANES + lane);
                let command = Command::Append { key: key.as_bytes(), value: record.as_bytes() };
                let ticket = connection.submit(command).expect("a small command");
                (ticket, key, record)
            })
            .collect();
        let own = key(client, round, round % LANES);
        let read =
            connection.submit(Command::Get { key: own.as_bytes() }).expect("a small command");
        match connection.wait(read) {
            Ok(answer) => ledger.failures.extend(ledger.contradiction(&own, &answer.value)),
            Err(error) => ledger.failures.push(format!("read of {own}: {error}")),
        }
        for (ticket, key, record) in submitted {
            match connection.wait(ticket) {
                Ok(answer) => {
                    let length = u64::try_from(answer.number).expect("a length");
                    ledger.acknowledged.entry(key).or_default().push((length, record));
                }
                Err(error) => ledger.failures.push(format!("{record} to {key}: {error}")),
            }
        }
        progress.round_done(client);
    }
    ledger
}

fn connect(targets: &[String], client: usize) -> Client {
    let options = Options { seed: client as u64 + 1, ..Options::default() };
    Client::connect(targets, options).expect("a cluster that serves")
}

/// Half of the appends go to keys of the client's own, half to shared ones; values stay far below
/// the limit, since keys change every so many rounds.
fn key(client: usize, round: usize, lane: usize) -> String {
    let generation = round / ROUNDS_PER_KEY;
    if lane < LANES {
        format!("own-{client:03}-{lane}-{generation}")
    } else {
        format!("shared-{lane}-{generation}")
    }
}

/// Demands that every acknowledged append is found exactly once, where its answer says, that no
/// append failed or is in doubt, and that nothing else is found.
pub(crate) fn assert_all_found(targets: &[String], ledgers: &[Ledger]) {
    let failures: Vec<_> = ledgers.iter().flat_map(|ledger| &ledger.failures).collect();
    assert!(failures.is_empty(), "appends failed or in doubt: {failures:#?}");
    let mut by_key: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
    for ledger in ledgers {
        for (key, records) in &ledger.acknowledged {
            let all = by_key.entry(key).or_default();
            all.extend(records.iter().map(|(length, record)| (*length, record.as_str())));
        }
    }
    let mut connection = connect(targets, ledgers.len());
    for (key, acknowledged) in by_key {
        let read = connection.get(key.as_bytes()).expect("a read").value;
        let value = read.expect("a key that was written");
        let value = String::from_utf8(value).expect("only records were appended");
        assert_each_once(key, &value, acknowledged);
    }
}

fn assert_each_once(key: &str, value: &str, mut acknowledged: Vec<(u64, &str)>) {
    acknowledged.sort_unstable();
    let found: Vec<&str> = value.split_inclusive(';').collect();
    let expected: Vec<&str> = acknowledged.iter().map(|(_, record)| *record).collect();
    if found != expected {
        let both: (BTreeSet<_>, BTreeSet<_>) = (found.iter().collect(), expected.iter().collect());
        let missing: Vec<_> = both.1.difference(&both.0).take(10).collect();
        let surplus: Vec<_> = both.0.difference(&both.1).take(10).collect();
        panic!(
            "{key}: {} records found, {} acknowledged; missing {missing:?}, never acknowledged \
             {surplus:?}, {} found twice",
            found.len(),
            expected.len(),
            found.len() - both.0.len(),
        );
    }
    for (position, (length, record)) in acknowledged.iter().enumerate() {
        let end = (position + 1) * RECORD;
        assert_eq!(*length, end as u64, "{key}: {record} was answered with another place");
    }
    assert_in_order(key, &found);
}

/// One client appends one record after another: so they stand.
fn assert_in_order(key: &str, found: &[&str]) {
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for record in found {
        let (client, number) = record.split_at(4);
        let before = last.insert(client, number);
        assert!(before.is_none_or(|before| before < number), "{key}: {record} after {before:?}");
    }
}

/// Bytes of a record.
const RECORD: usize = "c000n000000;".len();
/// Keys of each client at a time, and shared keys at a time.
const LANES: usize = 4;
const ROUNDS_PER_KEY: usize = 1_000;

#[test]
fn a_value_as_acknowledged_passes() {
    assert_each_once(
        "k",
        "c000n000000;c001n000000;",
        vec![(24, "c001n000000;"), (12, "c000n000000;")],
    );
}

#[test]
#[should_panic(expected = "missing [\"c000n000002;\"]")]
fn a_lost_record_is_found_out() {
    assert_each_once("k", "c000n000000;", vec![(12, "c000n000000;"), (24, "c000n000002;")]);
}

#[test]
#[should_panic(expected = "1 found twice")]
fn a_doubled_record_is_found_out() {
    assert_each_once("k", "c000n000000;c000n000000;", vec![(12, "c000n000000;")]);
}

#[test]
#[should_panic(expected = "another place")]
fn a_wrong_answer_is_found_out() {
    assert_each_once("k", "c000n000000;", vec![(24, "c000n000000;")]);
}

#[test]
fn a_stale_read_is_found_out() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.contradiction("k", b"c000n000000;"), None);
    ledger.acknowledged.insert("k".to_owned(), vec![(12, "c000n000000;".to_owned())]);
    assert_eq!(ledger.contradiction("k", b"c000n000000;c000n000008;"), None);
    for wrong in [&b""[..], b"c000n000008;"] {
        assert!(ledger.contradiction("k", wrong).is_some());
    }
}

#[test]
#[should_panic(expected = "c000n000000; after")]
fn a_wrong_order_is_found_out() {
    let acknowledged = vec![(12, "c000n000002;"), (24, "c000n000000;")];
    assert_each_once("k", "c000n000002;c000n000000;", acknowledged);
}
