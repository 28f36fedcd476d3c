//! The append oracle: lists to which each client appends tokens of its own.
//!
//! A key is such a list if nothing but appends and reads concerns it, every token differs from every
//! other, and all end with one byte that is nowhere else in them (`c3-17;`). The longest value read then
//! is the order in which the appends happened, and no specification is needed to see whether
//!
//! - each acknowledged one happened exactly once, where its answer says; each unknown one at most once;
//!   no rejected one, and nothing that nobody appended;
//! - one that was over before another began stands before it, so a client's own are in its order;
//! - each read saw a beginning of it: what was acknowledged before it began, nothing that began later.
//!
//! O(n log n). It knows neither places nor sessions: an oracle for exactly-once beside the checks of order.

use super::finding::{Finding, text};
use super::keys::Keys;
use super::record::{Operation, Outcome, Record, Status};
use crate::base::collections::{Map, Set};

/// Checks every key that is an append list.
pub fn check_appends(keys: &Keys<'_>) -> Finding {
    let mut finding = Finding::of("appends");
    for (_, records) in keys.iter() {
        if let Some(list) = List::of(records) {
            list.check(&mut finding);
        }
    }
    finding
}

struct List<'a> {
    /// The appends by their tokens.
    appends: Map<&'a [u8], &'a Record>,
    /// The appends in the order of the history.
    records: Vec<&'a Record>,
    /// Each read that was answered, with the bytes it saw.
    reads: Vec<Read<'a>>,
    /// What ends every token.
    terminator: u8,
}

#[derive(Clone, Copy)]
struct Read<'a> {
    record: &'a Record,
    seen: &'a [u8],
}

/// An append of which is known where in the list its token ends.
#[derive(Clone, Copy)]
struct Placed<'a> {
    record: &'a Record,
    end: usize,
}

impl<'a> List<'a> {
    /// The list that these records of one key are about, if it is one.
    fn of(records: &[&'a Record]) -> Option<Self> {
        let mut list =
            Self { appends: Map::default(), records: Vec::new(), reads: Vec::new(), terminator: 0 };
        for &record in records {
            match &record.operation {
                Operation::Get => list.add_read(record),
                Operation::Append { value } => list.add_append(record, value)?,
                _ => return None,
            }
        }
        (!list.records.is_empty()).then_some(list)
    }

    fn add_read(&mut self, record: &'a Record) {
        if let Some(answer) = record.answer() {
            self.reads.push(Read { record, seen: answer.value.as_deref().unwrap_or_default() });
        }
    }

    fn add_append(&mut self, record: &'a Record, token: &'a [u8]) -> Option<()> {
        let (&terminator, body) = token.split_last()?;
        let is_token = (self.records.is_empty() || self.terminator == terminator)
            && !body.contains(&terminator);
        let is_known = record.answer().is_none_or(|answer| answer.status == Status::Done);
        if !is_token || !is_known || self.appends.insert(token, record).is_some() {
            return None;
        }
        self.terminator = terminator;
        self.records.push(record);
        Some(())
    }

    fn check(mut self, finding: &mut Finding) {
        let found = finding.contradictions.len();
        self.reads.sort_by_key(|read| read.seen.len());
        self.check_prefixes(finding);
        let longest = self.reads.last().map_or(&[][..], |read| read.seen);
        let mut placed = self.parse(longest, finding);
        if finding.contradictions.len() == found {
            self.place_unseen(longest.len(), &mut placed, finding);
            check_time(&placed, finding);
            self.check_reads(placed, finding);
        }
        finding.checked += (self.reads.len() + self.records.len()) as u64;
    }

    /// Each value read begins with every shorter one.
    fn check_prefixes(&self, finding: &mut Finding) {
        for pair in self.reads.windows(2) {
            if !pair[1].seen.starts_with(pair[0].seen) {
                let text = "two reads of an append list, none the beginning of the other:";
                finding.contradiction(text, [pair[0].record, pair[1].record]);
                return;
            }
        }
    }

    /// The appends in the order in which the longest value shows them.
    fn parse(&self, longest: &[u8], finding: &mut Finding) -> Vec<Placed<'a>> {
        let mut placed = Vec::new();
        let mut ends: Map<&[u8], usize> = Map::default();
        let mut end = 0;
        for token in longest.split_inclusive(|&byte| byte == self.terminator) {
            end += token.len();
            let Some(&record) = self.appends.get(token) else {
                let text = format!("nobody appended {} to the list read:", text(token));
                finding.contradiction(text, self.reads.last().map(|read| read.record));
                return placed;
            };
            if let Some(first) = ends.insert(token, end) {
                let text = format!("one append happened twice, ending at {first} and at {end}:");
                finding.contradiction(text, [record]);
            }
            match &record.outcome {
                Outcome::Rejected { .. } => {
                    finding.contradiction("rejected, and happened all the same:", [record]);
                }
                Outcome::Applied(answer) if usize::try_from(answer.number) != Ok(end) => {
                    let text = format!("it stands so that the list ends with it at {end}:");
                    finding.contradiction(text, [record]);
                }
                Outcome::Applied(_) | Outcome::Unknown { .. } => {}
            }
            placed.push(Placed { record, end });
        }
        placed
    }

    /// Adds the acknowledged appends behind the longest value; those within it that it does not show are
    /// lost.
    fn place_unseen(&self, longest: usize, placed: &mut Vec<Placed<'a>>, finding: &mut Finding) {
        let shown: Set<&Operation> = placed.iter().map(|placed| &placed.record.operation).collect();
        let mut unseen = Vec::new();
        for &record in &self.records {
            let Some(answer) = record.answer() else { continue };
            let end = usize::try_from(answer.number).unwrap_or(0);
            if end > longest {
                unseen.push(Placed { record, end });
            } else if !shown.contains(&record.operation) {
                let read = self.reads.last().map(|read| read.record);
                finding.contradiction("acknowledged, and lost:", [record].into_iter().chain(read));
            }
        }
        unseen.sort_by_key(|unseen| unseen.end);
        for pair in unseen.windows(2) {
            if pair[0].end == pair[1].end {
                let text = "two appends answered with one length:";
                finding.contradiction(text, [pair[0].record, pair[1].record]);
            }
        }
        placed.extend(unseen);
    }

    /// Reads saw what was acknowledged before they began, and nothing that began after them.
    fn check_reads(&mut self, mut placed: Vec<Placed<'a>>, finding: &mut Finding) {
        placed.sort_by_key(|placed| placed.record.completed);
        self.reads.sort_by_key(|read| read.record.invoked);
        let mut over = placed.iter().filter(|placed| placed.record.answer().is_some()).peekable();
        let mut furthest: Option<&Placed<'_>> = None;
        for read in &self.reads {
            while let Some(next) = over.next_if(|next| next.record.precedes(read.record)) {
                furthest = furthest.filter(|furthest| furthest.end > next.end).or(Some(next));
            }
            if let Some(furthest) = furthest.filter(|furthest| furthest.end > read.seen.len()) {
                let text = "the append was over before the read began, which does not show it:";
                finding.contradiction(text, [furthest.record, read.record]);
            }
        }
        placed.sort_by_key(|placed| placed.record.invoked);
        self.reads.sort_by_key(|read| read.record.completed);
        let mut over = self.reads.iter().peekable();
        let mut furthest: Option<&Read<'_>> = None;
        for append in &placed {
            while let Some(next) = over.next_if(|next| next.record.precedes(append.record)) {
                furthest = furthest
                    .filter(|furthest| furthest.seen.len() > next.seen.len())
                    .or(Some(next));
            }
            if let Some(furthest) = furthest.filter(|furthest| furthest.seen.len() >= append.end) {
                let text = "the read shows an append that began after it was over:";
                finding.contradiction(text, [furthest.record, append.record]);
            }
        }
    }
}

/// An append that was over before another began stands before it.
fn check_time(placed: &[Placed<'_>], finding: &mut Finding) {
    let mut latest: Option<&Record> = None;
    for placed in placed {
        if let Some(latest) = latest
            && placed.record.precedes(latest)
        {
            let text = "the first was over before the second began, yet stands behind it:";
            finding.contradiction(text, [placed.record, latest]);
        }
        latest =
            latest.filter(|latest| latest.invoked >= placed.record.invoked).or(Some(placed.record));
    }
}
