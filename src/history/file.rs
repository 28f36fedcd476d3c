//! Histories as files: JSON Lines, described in `schema/history.md`.

use std::borrow::Cow;
use std::io::{BufRead, Write};

use serde::Deserialize;

use super::record::{Answer, Begun, Operation, Outcome, Place, Record, Status};
use crate::base::{GroupId, Index, Sequence, SessionId, Time};

/// The version of the format.
const VERSION: u64 = 1;

/// Writes a history.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// The line being made.
    line: Vec<u8>,
}

/// A history that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file itself.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A line, from 1.
    #[error("line {line}: {cause}")]
    Line {
        /// Which.
        line: u64,
        /// What is wrong with it, and what would be right.
        cause: String,
    },
    /// Two histories that cannot be joined.
    #[error(
        "their times are of different clocks ({0} and {1}): only histories taken on one machine, since \
         it was started, can be checked together"
    )]
    Clocks(String, String),
}

/// A history that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Which clock its times are of.
    pub clock: String,
    /// What clients saw.
    pub records: Vec<Record>,
}

impl<W: Write> Writer<W> {
    /// Begins a history whose times are of `clock`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, clock: &str) -> std::io::Result<Self> {
        let clock = serde_json::Value::from(clock);
        writeln!(out, "{{\"sunstar_history\":{VERSION},\"clock\":{clock}}}")?;
        Ok(Self { out, line: Vec::new() })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&mut self, record: &Record) -> std::io::Result<()> {
        self.line.clear();
        write_line(&mut self.line, record)?;
        self.out.write_all(&self.line)
    }

    /// Hands everything on.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }

    /// Hands everything on, and gives back what it was written to.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self) -> std::io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn write_line(line: &mut Vec<u8>, record: &Record) -> std::io::Result<()> {
    let Record { client, session, sequence, key, operation, invoked, completed, outcome } = record;
    write!(line, "{{\"client\":{client}")?;
    if session.0 != 0 {
        write!(line, ",\"session\":{},\"sequence\":{}", session.0, sequence.0)?;
    }
    write!(line, ",\"op\":\"{}\"", operation.name())?;
    write_bytes(line, "key", key)?;
    match operation {
        Operation::Get | Operation::Delete => {}
        Operation::Put { value } | Operation::Append { value } => {
            write_bytes(line, "value", value)?;
        }
        Operation::CompareAndSet { expected, value } => {
            write_bytes(line, "value", value)?;
            if let Some(expected) = expected {
                write_bytes(line, "expected", expected)?;
            }
        }
        Operation::Increment { delta } => write!(line, ",\"delta\":{delta}")?,
        Operation::Compare { expected } => {
            if let Some(expected) = expected {
                write_bytes(line, "expected", expected)?;
            }
        }
    }
    write!(line, ",\"from\":{},\"to\":{}", invoked.0, completed.0)?;
    let mut failed = |name: &str, reason: &str| {
        let reason = serde_json::Value::from(reason);
        write!(line, ",\"outcome\":\"{name}\",\"reason\":{reason}")
    };
    match outcome {
        Outcome::Rejected { reason } => failed("rejected", reason)?,
        Outcome::Unknown { reason } => failed("unknown", reason)?,
        Outcome::Applied(Answer { status, number, value, place }) => {
            write!(line, ",\"outcome\":\"{}\"", status.name())?;
            if *number != 0 {
                write!(line, ",\"number\":{number}")?;
            }
            if let Some(value) = value {
                write_bytes(line, "read", value)?;
            }
            let Place { group, index, position } = place;
            write!(line, ",\"place\":[{},{},{position}]", group.0, index.0)?;
        }
    }
    line.extend_from_slice(b"}\n");
    Ok(())
}

fn write_bytes(line: &mut Vec<u8>, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    write!(line, ",\"{name}\":\"")?;
    for &byte in bytes {
        if (b' '..=b'~').contains(&byte) && !matches!(byte, b'"' | b'%' | b'\\') {
            line.push(byte);
        } else {
            write!(line, "%{byte:02X}")?;
        }
    }
    line.push(b'"');
    Ok(())
}

impl History {
    /// Reads a history.
    ///
    /// # Errors
    /// If it cannot be read, or a line is not as `schema/history.md` says.
    pub fn read(mut input: impl BufRead) -> Result<Self, HistoryError> {
        let mut history: Option<Self> = None;
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            if input.read_until(b'\n', &mut text)? == 0 {
                break;
            }
            let refuse = |cause: String| HistoryError::Line { line, cause };
            let Some(text) = text.strip_suffix(b"\n") else {
                return Err(refuse("cut short: no line ends here".to_owned()));
            };
            if let Some(history) = &mut history {
                history.records.push(record(text).map_err(refuse)?);
            } else {
                let clock = header(text).map_err(refuse)?;
                history = Some(Self { clock, records: Vec::new() });
            }
        }
        history.ok_or_else(|| HistoryError::Line { line: 1, cause: NO_HISTORY.to_owned() })
    }

    /// Adds another history of the same time, and gives its clients numbers of their own.
    ///
    /// # Errors
    /// If their clocks differ.
    pub fn join(&mut self, other: Self) -> Result<(), HistoryError> {
        if self.clock != other.clock {
            return Err(HistoryError::Clocks(self.clock.clone(), other.clock));
        }
        let clients = self.records.iter().map(|record| record.client + 1).max().unwrap_or(0);
        self.records.extend(other.records.into_iter().map(|record| {
            let client = record.client.saturating_add(clients);
            Record { client, ..record }
        }));
        Ok(())
    }
}

/// Said of a file that begins otherwise.
const NO_HISTORY: &str = "no history of Sunstar's: its first line would be \
                          {\"sunstar_history\":1,\"clock\":\"…\"}";

/// The clock that the first line names.
fn header(text: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Header {
        sunstar_history: u64,
        clock: Option<String>,
    }
    let header: Header = serde_json::from_slice(text).map_err(|_| NO_HISTORY.to_owned())?;
    if header.sunstar_history != VERSION {
        let version = header.sunstar_history;
        return Err(format!(
            "a history of version {version}; this program reads version {VERSION}"
        ));
    }
    header.clock.ok_or_else(|| NO_HISTORY.to_owned())
}

/// A line as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    client: u64,
    #[serde(default)]
    session: u64,
    #[serde(default)]
    sequence: u64,
    op: &'a str,
    key: &'a str,
    value: Option<&'a str>,
    expected: Option<&'a str>,
    delta: Option<i64>,
    from: u64,
    to: u64,
    outcome: &'a str,
    number: Option<i64>,
    read: Option<&'a str>,
    place: Option<(u32, u64, u32)>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

fn record(text: &[u8]) -> Result<Record, String> {
    let mut line: Line<'_> = serde_json::from_slice(text).map_err(|error| {
        // The parser counts lines of its own.
        let text = error.to_string();
        text.split(" at line").next().unwrap_or_default().to_owned()
    })?;
    let operation = line.take_operation()?;
    let outcome = line.take_outcome(&operation)?;
    line.refuse_left_over()?;
    if line.session == 0 && line.sequence != 0 {
        return Err("`sequence` without the `session` that it counts in".to_owned());
    }
    if line.to < line.from {
        return Err(format!("`to` {} lies before `from` {}", line.to, line.from));
    }
    let begun = Begun {
        client: line.client,
        key: bytes("key", line.key)?,
        operation,
        invoked: Time(line.from),
    };
    Ok(begun.ended(SessionId(line.session), Sequence(line.sequence), Time(line.to), outcome))
}

impl Line<'_> {
    fn take_operation(&mut self) -> Result<Operation, String> {
        let mut value = || {
            let value = self.value.take().ok_or_else(|| missing("value", self.op))?;
            bytes("value", value)
        };
        Ok(match self.op {
            "get" => Operation::Get,
            "delete" => Operation::Delete,
            "put" => Operation::Put { value: value()? },
            "append" => Operation::Append { value: value()? },
            "compare_and_set" => {
                let value = value()?;
                let expected = self.expected.take();
                let expected = expected.map(|text| bytes("expected", text)).transpose()?;
                Operation::CompareAndSet { expected, value }
            }
            "compare" => {
                let expected = self.expected.take();
                let expected = expected.map(|text| bytes("expected", text)).transpose()?;
                Operation::Compare { expected }
            }
            "increment" => {
                let delta = self.delta.take().ok_or_else(|| missing("delta", self.op))?;
                Operation::Increment { delta }
            }
            other => return Err(format!("`{other}` is no operation")),
        })
    }

    fn take_outcome(&mut self, operation: &Operation) -> Result<Outcome, String> {
        let reason = |line: &mut Self| line.reason.take().unwrap_or_default().into_owned();
        let status = match self.outcome {
            "rejected" => return Ok(Outcome::Rejected { reason: reason(self) }),
            "unknown" => return Ok(Outcome::Unknown { reason: reason(self) }),
            name => Status::from_name(name).ok_or_else(|| format!("`{name}` is no outcome"))?,
        };
        let place = self.place.take().ok_or_else(|| missing("place", self.outcome))?;
        let (group, index, position) = (GroupId(place.0), Index(place.1), place.2);
        let mut value = None;
        if operation.is_read() && status == Status::Done {
            let read = self.read.take().ok_or_else(|| missing("read", "get with `ok`"))?;
            value = Some(bytes("read", read)?);
        }
        let number = self.number.take().unwrap_or(0);
        let place = Place { group, index, position };
        Ok(Outcome::Applied(Answer { status, number, value, place }))
    }

    fn refuse_left_over(&self) -> Result<(), String> {
        let Self { value, expected, delta, number, read, place, reason, op, outcome, .. } = self;
        let left_over = [
            ("value", value.is_some()),
            ("expected", expected.is_some()),
            ("delta", delta.is_some()),
            ("number", number.is_some()),
            ("read", read.is_some()),
            ("place", place.is_some()),
            ("reason", reason.is_some()),
        ];
        match left_over.iter().find(|(_, is_left)| *is_left) {
            Some((name, _)) => Err(format!("`{name}` does not belong to a {op} with `{outcome}`")),
            None => Ok(()),
        }
    }
}

fn missing(field: &str, of: &str) -> String {
    format!("`{field}` is missing, which a {of} has")
}

/// Bytes from their text.
fn bytes(field: &str, text: &str) -> Result<Vec<u8>, String> {
    if !text.contains('%') && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Ok(text.as_bytes().to_vec());
    }
    let refuse = || format!("`{field}` holds something else than printable ASCII and %00 to %FF");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2).ok_or_else(refuse)?;
            let digits = std::str::from_utf8(digits).map_err(|_| refuse())?;
            if digits.starts_with('+') {
                return Err(refuse());
            }
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| refuse())?);
            rest = after;
        } else if (b' '..=b'~').contains(&byte) {
            bytes.push(byte);
        } else {
            return Err(refuse());
        }
    }
    Ok(bytes)
}

impl Operation {
    /// Its name in files.
    const fn name(&self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put { .. } => "put",
            Self::Append { .. } => "append",
            Self::Delete => "delete",
            Self::CompareAndSet { .. } => "compare_and_set",
            Self::Increment { .. } => "increment",
            Self::Compare { .. } => "compare",
        }
    }
}

impl Status {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ok" => Self::Done,
            "not_found" => Self::NotFound,
            "compare_failed" => Self::CompareFailed,
            "not_a_number" => Self::NotANumber,
            "overflow" => Self::Overflow,
            "value_too_large" => Self::ValueTooLarge,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Shape, generate};

    fn written(records: &[Record]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), "virtual").expect("memory");
        for record in records {
            writer.write(record).expect("memory");
        }
        writer.finish().expect("memory")
    }

    #[test]
    fn what_was_written_is_read() {
        let shape = Shape {
            operations: 2_000,
            keys: 9,
            clients: 5,
            groups: 3,
            values: 0,
            unknown_per_mille: 100,
            rejected_per_mille: 50,
            seed: 1,
        };
        let mut records = generate(&shape);
        for (record, byte) in records.iter_mut().zip((0..=255).cycle()) {
            record.key.push(byte);
        }
        let history = History::read(written(&records).as_slice()).expect("as written");
        assert_eq!(history, History { clock: "virtual".to_owned(), records });
    }

    #[test]
    fn the_document_shows_what_is_written() {
        let document = include_str!("../../schema/history.md");
        let lines: Vec<&str> =
            document.lines().filter(|line| line.starts_with("{\"client\"")).collect();
        assert_eq!(lines.len(), 3);
        let text =
            format!("{{\"sunstar_history\":1,\"clock\":\"virtual\"}}\n{}\n", lines.join("\n"));
        let history = History::read(text.as_bytes()).expect("as documented");
        assert_eq!(String::from_utf8(written(&history.records)).expect("ASCII"), text);
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let error = History::read(text.as_bytes()).expect_err("refused");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn malformed_lines_are_refused_by_number_and_cause() {
        refused("", &format!("line 1: {NO_HISTORY}"));
        refused("{\"a\":1}\n", &format!("line 1: {NO_HISTORY}"));
        refused(
            "{\"sunstar_history\":2,\"clock\":\"x\"}\n",
            "line 1: a history of version 2; this program reads version 1",
        );
        let lines = [
            ("{\"client\":0}", "missing field `op`"),
            ("{\"client\":0,\"extra\":0}", "unknown field `extra`, expected one of"),
            (
                r#"{"client":0,"op":"go","key":"k","from":1,"to":2,"outcome":"ok"}"#,
                "`go` is no operation",
            ),
            (
                r#"{"client":0,"op":"put","key":"k","from":1,"to":2,"outcome":"ok"}"#,
                "`value` is missing, which a put has",
            ),
            (
                r#"{"client":0,"op":"get","key":"k","from":1,"to":2,"outcome":"fine"}"#,
                "`fine` is no outcome",
            ),
            (
                r#"{"client":0,"op":"get","key":"k","from":1,"to":2,"outcome":"ok","place":[1,2,0]}"#,
                "`read` is missing, which a get with `ok` has",
            ),
            (
                r#"{"client":0,"op":"get","key":"k","from":1,"to":2,"outcome":"unknown","place":[1,2,0]}"#,
                "`place` does not belong to a get with `unknown`",
            ),
            (
                r#"{"client":0,"op":"get","key":"k","from":3,"to":2,"outcome":"unknown"}"#,
                "`to` 2 lies before `from` 3",
            ),
            (
                r#"{"client":0,"sequence":1,"op":"get","key":"k","from":1,"to":2,"outcome":"unknown"}"#,
                "`sequence` without the `session` that it counts in",
            ),
            (
                r#"{"client":0,"op":"get","key":"%4","from":1,"to":2,"outcome":"unknown"}"#,
                "`key` holds something else than printable ASCII and %00 to %FF",
            ),
        ];
        for (line, cause) in lines {
            let text = format!("{{\"sunstar_history\":1,\"clock\":\"x\"}}\n{line}\n");
            let error = History::read(text.as_bytes()).expect_err("refused").to_string();
            assert!(error.starts_with(&format!("line 2: {cause}")), "{error}");
        }
    }

    #[test]
    fn a_line_that_was_cut_short_is_refused() {
        let text = "{\"sunstar_history\":1,\"clock\":\"x\"}\n{\"client\":0";
        refused(text, "line 2: cut short: no line ends here");
    }

    #[test]
    fn joined_histories_keep_their_clients_apart() {
        let record = |client| {
            let (key, operation) = (b"k".to_vec(), Operation::Get);
            Begun { client, key, operation, invoked: Time(0) }.unanswered(Time(1))
        };
        let one =
            |clock: &str| History { clock: clock.to_owned(), records: vec![record(0), record(1)] };
        let mut joined = one("a");
        joined.join(one("a")).expect("one clock");
        let clients: Vec<u64> = joined.records.iter().map(|record| record.client).collect();
        assert_eq!(clients, [0, 1, 2, 3]);
        assert!(matches!(joined.join(one("b")), Err(HistoryError::Clocks(..))));
    }
}
