//! What a check found, for people.

use std::fmt::{self, Write as _};

use super::record::{Operation, Outcome, Place, Record, Status};

/// What one check found.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// Which check.
    pub check: &'static str,
    /// Answers that were checked.
    pub checked: u64,
    /// Answers about which the check could say nothing.
    pub unchecked: u64,
    /// Records that cannot all be true.
    pub contradictions: Vec<Contradiction>,
    /// Keys at which the check gave up before it knew.
    pub unfinished: Vec<Vec<u8>>,
}

/// Records that cannot all be true.
#[derive(Clone, Debug)]
pub struct Contradiction {
    /// Why not, in a sentence.
    pub text: String,
    /// Which.
    pub records: Vec<Record>,
}

impl Finding {
    /// Nothing checked, nothing found.
    pub fn of(check: &'static str) -> Self {
        Self { check, ..Self::default() }
    }

    /// Whether the check came to its end and found nothing.
    pub fn is_clean(&self) -> bool {
        self.contradictions.is_empty() && self.unfinished.is_empty()
    }

    /// Notes that `records` cannot all be true.
    pub(super) fn contradiction<'a>(
        &mut self,
        text: impl Into<String>,
        records: impl IntoIterator<Item = &'a Record>,
    ) {
        let records = records.into_iter().cloned().collect();
        self.contradictions.push(Contradiction { text: text.into(), records });
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)?;
        self.records.iter().try_for_each(|record| write!(f, "\n    {record}"))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, checked, unchecked, contradictions, unfinished } = self;
        write!(f, "{check:<8} {checked:>9} answers")?;
        if *unchecked > 0 {
            write!(f, ", {unchecked} not decided")?;
        }
        match contradictions.len() {
            0 if unfinished.is_empty() => write!(f, ", nothing contradicts")?,
            0 => {}
            count => write!(f, ", {count} contradictions")?,
        }
        if !unfinished.is_empty() {
            write!(f, ", UNFINISHED for {} keys:", unfinished.len())?;
            for key in unfinished.iter().take(SHOWN_MAX) {
                write!(f, " {}", text(key))?;
            }
        }
        for contradiction in contradictions.iter().take(SHOWN_MAX) {
            write!(f, "\n  {contradiction}")?;
        }
        match contradictions.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n  … and {more} more"),
        }
    }
}

/// Contradictions and keys written out, at most.
const SHOWN_MAX: usize = 8;

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, key, operation, invoked, completed, outcome, .. } = self;
        write!(f, "client {client} [{}..{}] {operation} {}", invoked.0, completed.0, text(key))?;
        match outcome {
            Outcome::Applied(answer) => {
                write!(f, " -> {}", answer.status.name())?;
                if answer.number != 0 {
                    write!(f, " {}", answer.number)?;
                }
                if let Some(value) = &answer.value {
                    write!(f, " {}", text(value))?;
                }
                write!(f, " at {}", answer.place)
            }
            Outcome::Rejected { reason } => write!(f, " -> rejected: {reason}"),
            Outcome::Unknown { reason } => write!(f, " -> unknown: {reason}"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get => write!(f, "get"),
            Self::Put { value } => write!(f, "put {} to", text(value)),
            Self::Append { value } => write!(f, "append {} to", text(value)),
            Self::Delete => write!(f, "delete"),
            Self::CompareAndSet { expected, value } => match expected {
                Some(expected) => write!(f, "set {} for {} in", text(value), text(expected)),
                None => write!(f, "set {} for nothing in", text(value)),
            },
            Self::Increment { delta } => write!(f, "add {delta} to"),
            Self::Compare { expected } => match expected {
                Some(expected) => write!(f, "compare {} with", text(expected)),
                None => write!(f, "compare nothing with"),
            },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}.{}", self.group, self.index, self.position)
    }
}

impl Status {
    /// Its name in files and texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "ok",
            Self::NotFound => "not_found",
            Self::CompareFailed => "compare_failed",
            Self::NotANumber => "not_a_number",
            Self::Overflow => "overflow",
            Self::ValueTooLarge => "value_too_large",
        }
    }
}

/// Bytes for people: printable ones as they are, long runs by their ends.
pub(super) fn text(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    let hidden = bytes.len().checked_sub(BYTES_SHOWN_MAX).filter(|&hidden| hidden > 0);
    let (head, tail) = match hidden {
        None => (bytes, &[][..]),
        Some(_) => (&bytes[..BYTES_SHOWN_MAX / 2], &bytes[bytes.len() - BYTES_SHOWN_MAX / 2..]),
    };
    write!(out, "{}", head.escape_ascii()).expect("memory");
    if let Some(hidden) = hidden {
        write!(out, "… {hidden} bytes …{}", tail.escape_ascii()).expect("memory");
    }
    out.push('"');
    out
}

/// Bytes of a value written out, at most.
const BYTES_SHOWN_MAX: usize = 80;

/// What a key holds, for people.
pub(super) fn held_text(held: Option<&[u8]>) -> String {
    held.map_or_else(|| "nothing".to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Sequence, SessionId, Time};

    #[test]
    fn a_record_reads_like_a_sentence() {
        let place =
            Place { group: crate::base::GroupId(1), index: crate::base::Index(9), position: 4 };
        let answer = super::super::Answer { status: Status::Done, number: 12, value: None, place };
        let record = Record {
            client: 3,
            session: SessionId(1),
            sequence: Sequence(1),
            key: b"k".to_vec(),
            operation: Operation::Append { value: b"a\n".to_vec() },
            invoked: Time(10),
            completed: Time(20),
            outcome: Outcome::Applied(answer),
        };
        let expected = r#"client 3 [10..20] append "a\n" to "k" -> ok 12 at g1:9.4"#;
        assert_eq!(record.to_string(), expected);
    }

    #[test]
    fn long_values_are_shown_by_their_ends() {
        assert_eq!(text(&[b'x'; 81]), format!("\"{0}… 1 bytes …{0}\"", "x".repeat(40)));
    }
}
