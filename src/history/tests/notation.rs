//! Histories in a few characters a record.
//!
//! `client begin..end command key [value] -> answer @index.position`: the answer is `ok`, `ok N`,
//! `ok "value"`, another status, `unknown` or `rejected`. One record a line; group 1, unless the place names another, as in `@g2:5.0`.

use crate::base::{GroupId, Index, Sequence, SessionId, Time};
use crate::history::{Answer, Begun, Operation, Outcome, Place, Record, Status};

/// Reads a history.
pub(super) fn history(text: &str) -> Vec<Record> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| read_line(line).unwrap_or_else(|| panic!("unreadable: {line}"))).collect()
}

fn read_line(line: &str) -> Option<Record> {
    let (left, right) = line.split_once("->")?;
    let mut words = left.split_whitespace();
    let client = words.next()?.parse().ok()?;
    let (from, to) = words.next()?.split_once("..")?;
    let (name, key) = (words.next()?, words.next()?);
    let mut value = || words.next().map(|word| word.as_bytes().to_vec());
    let operation = match name {
        "get" => Operation::Get,
        "put" => Operation::Put { value: value()? },
        "append" => Operation::Append { value: value()? },
        "delete" => Operation::Delete,
        "swap" => Operation::CompareAndSet { expected: value(), value: value()? },
        "add" => Operation::Increment { delta: String::from_utf8(value()?).ok()?.parse().ok()? },
        _ => return None,
    };
    let outcome = read_outcome(right, &operation)?;
    let invoked = Time(from.parse().ok()?);
    let begun = Begun { client, key: key.into(), operation, invoked };
    let (session, sequence) = (SessionId(0), Sequence(0));
    Some(begun.ended(session, sequence, Time(to.parse().ok()?), outcome))
}

fn read_outcome(text: &str, operation: &Operation) -> Option<Outcome> {
    let (said, place) = match text.split_once('@') {
        None => (text.trim(), None),
        Some((said, place)) => (said.trim(), Some(place.trim())),
    };
    let reason = String::new();
    match said {
        "unknown" => return Some(Outcome::Unknown { reason }),
        "rejected" => return Some(Outcome::Rejected { reason }),
        _ => {}
    }
    let mut words = said.split_whitespace();
    let status = match words.next()? {
        "ok" => Status::Done,
        "not_found" => Status::NotFound,
        "compare_failed" => Status::CompareFailed,
        "not_a_number" => Status::NotANumber,
        "overflow" => Status::Overflow,
        _ => return None,
    };
    let rest = words.next();
    let value = rest.filter(|_| operation.is_read()).map(|word| word.as_bytes().to_vec());
    let number = rest.filter(|_| !operation.is_read()).map_or(Some(0), |word| word.parse().ok())?;
    let (group, place) = place?.split_once(':').unwrap_or(("g1", place?));
    let (index, position) = place.split_once('.').unwrap_or((place, "0"));
    let place = Place {
        group: GroupId(group.strip_prefix('g')?.parse().ok()?),
        index: Index(index.parse().ok()?),
        position: position.parse().ok()?,
    };
    Some(Outcome::Applied(Answer { status, number, value, place }))
}
