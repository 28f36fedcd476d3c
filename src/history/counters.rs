//! The counter oracle: keys that are only incremented and read.
//!
//! Each sum that a client was told is that of all increments acknowledged before its command began, of its
//! own, and of some of those that may have happened by its end. So it lies between two bounds, found with
//! sums over time in O(n log n): one that is executed twice, or not at all, soon leaves them. With
//! positive increments only, no two may be told the same sum.

use super::finding::Finding;
use super::keys::Keys;
use super::record::{Operation, Record, Status};
use crate::base::Time;

/// Checks every key that is a counter.
pub fn check_counters(keys: &Keys<'_>) -> Finding {
    let mut finding = Finding::of("counters");
    for (_, records) in keys.iter() {
        if let Some(counter) = Counter::of(records) {
            counter.check(&mut finding);
        }
    }
    finding
}

struct Counter<'a> {
    /// Increments that happened, by their ends.
    acknowledged: Sums,
    /// Increments that may have happened, those that did included, by their beginnings.
    begun: Sums,
    /// Sums that clients were told.
    told: Vec<Told<'a>>,
    /// Whether every increment adds something.
    is_growing: bool,
}

/// A sum that a client was told.
struct Told<'a> {
    record: &'a Record,
    sum: i128,
    /// What its own command added.
    own: i128,
}

impl<'a> Counter<'a> {
    /// The counter that these records of one key are about, if it is one.
    fn of(records: &[&'a Record]) -> Option<Self> {
        let (mut acknowledged, mut begun, mut told) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_growing = true;
        for &record in records {
            match (&record.operation, record.answer()) {
                (Operation::Get, None) => {}
                (Operation::Get, Some(answer)) => {
                    let text = answer.value.as_deref().unwrap_or(b"0");
                    let sum = std::str::from_utf8(text).ok()?.parse::<i64>().ok()?;
                    told.push(Told { record, sum: sum.into(), own: 0 });
                }
                (Operation::Increment { delta }, answer) => {
                    is_growing &= *delta > 0;
                    match answer {
                        Some(answer) if answer.status == Status::Done => {
                            let (sum, own) = (answer.number.into(), (*delta).into());
                            told.push(Told { record, sum, own });
                            acknowledged.push((record.completed, own));
                            begun.push((record.invoked, own));
                        }
                        Some(_) => return None,
                        None if record.is_open() => begun.push((record.invoked, (*delta).into())),
                        None => {}
                    }
                }
                _ => return None,
            }
        }
        let (acknowledged, begun) = (Sums::of(acknowledged), Sums::of(begun));
        Some(Self { acknowledged, begun, told, is_growing })
    }

    fn check(mut self, finding: &mut Finding) {
        finding.checked += self.told.len() as u64;
        for told in &self.told {
            let certain = self.acknowledged.before(told.record.invoked);
            let possible = self.begun.until(told.record.completed);
            let fixed = certain.added + certain.taken + told.own;
            let least = fixed + possible.taken - certain.taken - told.own.min(0);
            let most = fixed + possible.added - certain.added - told.own.max(0);
            if told.sum < least || told.sum > most {
                let text = format!("the sum told can only be {least} to {most}:");
                finding.contradiction(text, [told.record]);
            }
        }
        if self.is_growing {
            self.told.retain(|told| told.own > 0);
            self.told.sort_by_key(|told| told.sum);
            for pair in self.told.windows(2) {
                if pair[0].sum == pair[1].sum {
                    let text = "two increments were told one sum:";
                    finding.contradiction(text, [pair[0].record, pair[1].record]);
                }
            }
        }
    }
}

/// What increments come to, by the time of each.
struct Sums(Vec<(Time, Sum)>);

#[derive(Clone, Copy, Default)]
struct Sum {
    /// Of the positive ones.
    added: i128,
    /// Of the negative ones.
    taken: i128,
}

impl Sums {
    fn of(mut increments: Vec<(Time, i128)>) -> Self {
        increments.sort_unstable();
        let mut sum = Sum::default();
        let up_to = increments.into_iter().map(|(time, delta)| {
            sum.added += delta.max(0);
            sum.taken += delta.min(0);
            (time, sum)
        });
        Self(up_to.collect())
    }

    /// Of those earlier than `time`.
    fn before(&self, time: Time) -> Sum {
        self.first(self.0.partition_point(|&(at, _)| at < time))
    }

    /// Of those not later than `time`.
    fn until(&self, time: Time) -> Sum {
        self.first(self.0.partition_point(|&(at, _)| at <= time))
    }

    fn first(&self, count: usize) -> Sum {
        count.checked_sub(1).map_or_else(Sum::default, |last| self.0[last].1)
    }
}
