//! What each operation does to the tables, or that it does nothing because the group does not serve the
//! key's slot.
//!
//! **`WrongSlot` is an outcome like any other.** It is decided where the entry is applied: by the log's
//! order alone the command came before the slot was served here or after it was frozen, and every replica
//! says so. The session remembers it, so a copy of the command that comes late is answered the same and
//! not executed, even if the slot has come back by then.
//!
//! **That is why sessions do not move with slots.** A session is opened in one group, and the fate of each
//! of its numbers is decided once, by that group's log: executed, and the result remembered there; or
//! `WrongSlot`, for good. A client that is told `WrongSlot` knows that the command did not happen and never
//! will under this number, and may give it a new number in its session with the slot's new owner. One that
//! was told nothing asks the same group again under the same number, and gets the first result wherever the
//! slot is now. So a command is executed at most once without the new owner knowing what the old one
//! remembers.

use super::command::{Operation, Status};
use super::slot_tables::{KeyCursor, SlotTables};
use crate::base::Slot;
use crate::base::limits::VALUE_MAX;

/// An operation's outcome and the number that goes with it.
pub(super) type Outcome = (Status, i64);

/// What becomes of an operation's key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change<'a> {
    /// Nothing.
    Keep,
    /// It is gone.
    Remove,
    /// It holds this.
    Put(&'a [u8]),
    /// It holds this number.
    PutNumber(i64),
    /// It holds this behind what it held.
    Append(&'a [u8]),
}

/// Executes `operation`. Any status but `Ok` means that nothing was changed.
pub(super) fn execute(tables: &mut SlotTables, operation: &Operation<'_>) -> Outcome {
    let slot = Slot::of_key(operation.key());
    if !tables.serves(slot) {
        return (Status::WrongSlot, 0);
    }
    let mut cursor = tables.cursor(slot, operation.key());
    let (outcome, change) = judge(operation, || cursor.value());
    change.make(&mut cursor);
    outcome
}

/// What `operation` finds and does, given what its key holds.
#[inline]
pub(super) fn judge<'a, 'h>(
    operation: &Operation<'a>,
    held: impl Fn() -> Option<&'h [u8]>,
) -> (Outcome, Change<'a>) {
    let refused = |status| ((status, 0), Change::Keep);
    match *operation {
        Operation::Append { value, .. } => append(held(), value),
        Operation::Delete { .. } if held().is_none() => refused(Status::NotFound),
        Operation::Delete { .. } => ((Status::Ok, 1), Change::Remove),
        Operation::CompareAndSet { expected, .. } | Operation::Compare { expected, .. }
            if held() != expected =>
        {
            refused(Status::CompareFailed)
        }
        Operation::Put { value, .. } | Operation::CompareAndSet { value, .. } => put(value),
        Operation::Compare { .. } => ((Status::Ok, 0), Change::Keep),
        Operation::Increment { delta, .. } => increment(held(), delta),
    }
}

#[inline]
const fn put(value: &[u8]) -> (Outcome, Change<'_>) {
    if value.len() > VALUE_MAX {
        return ((Status::ValueTooLarge, 0), Change::Keep);
    }
    ((Status::Ok, 0), Change::Put(value))
}

fn append<'a>(held: Option<&[u8]>, tail: &'a [u8]) -> (Outcome, Change<'a>) {
    let length = held.map_or(0, <[u8]>::len) + tail.len();
    if length > VALUE_MAX {
        return ((Status::ValueTooLarge, 0), Change::Keep);
    }
    let number = i64::try_from(length).expect("at most VALUE_MAX");
    ((Status::Ok, number), Change::Append(tail))
}

fn increment(held: Option<&[u8]>, delta: i64) -> (Outcome, Change<'static>) {
    let Some(old) = held.map_or(Some(0), parse_decimal) else {
        return ((Status::NotANumber, 0), Change::Keep);
    };
    match old.checked_add(delta) {
        Some(new) => ((Status::Ok, new), Change::PutNumber(new)),
        None => ((Status::Overflow, 0), Change::Keep),
    }
}

impl Change<'_> {
    #[inline]
    fn make(self, cursor: &mut KeyCursor<'_>) {
        match self {
            Self::Keep => {}
            Self::Remove => cursor.remove(),
            Self::Put(value) => cursor.put(value),
            Self::PutNumber(number) => cursor.put(Decimal::new(number).as_slice()),
            Self::Append(tail) => cursor.append(tail),
        }
    }

    /// What the key would hold, if it held `held` before.
    pub(super) fn draft(self, held: Option<&[u8]>) -> Option<Vec<u8>> {
        match self {
            Self::Keep => held.map(<[u8]>::to_vec),
            Self::Remove => None,
            Self::Put(value) => Some(value.to_vec()),
            Self::PutNumber(number) => Some(Decimal::new(number).as_slice().to_vec()),
            Self::Append(tail) => Some([held.unwrap_or_default(), tail].concat()),
        }
    }
}

/// Reads an optional sign and decimal digits, nothing else around them.
fn parse_decimal(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A number in decimal text, without an allocation.
struct Decimal {
    /// Filled from the end.
    text: [u8; Self::LENGTH_MAX],
    /// Where the text begins.
    start: usize,
}

impl Decimal {
    /// A sign and 19 digits.
    const LENGTH_MAX: usize = 20;

    fn new(number: i64) -> Self {
        let mut decimal = Self { text: [0; Self::LENGTH_MAX], start: Self::LENGTH_MAX };
        let mut rest = number.unsigned_abs();
        loop {
            decimal.prepend(b'0' + u8::try_from(rest % 10).expect("one digit"));
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            decimal.prepend(b'-');
        }
        decimal
    }

    const fn prepend(&mut self, byte: u8) {
        self.start -= 1;
        self.text[self.start] = byte;
    }

    fn as_slice(&self) -> &[u8] {
        &self.text[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SlotSet;
    use crate::kv::ownership::Ownership;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 7, -7, 10, i64::MAX, i64::MIN, -1_000] {
            let decimal = Decimal::new(number);
            assert_eq!(decimal.as_slice(), number.to_string().as_bytes());
            assert_eq!(parse_decimal(decimal.as_slice()), Some(number));
        }
        for bad in [&b""[..], b" 1", b"1 ", b"0x1", b"9223372036854775808", b"\xff", b"-"] {
            assert_eq!(parse_decimal(bad), None, "{bad:?}");
        }
    }

    /// Runs operations on one key in turn and gives each outcome, then the value.
    fn run(operations: &[Operation<'_>]) -> (Vec<Outcome>, Option<Vec<u8>>) {
        let mut tables = SlotTables::new(Ownership::new(&SlotSet::full()));
        let outcomes = operations.iter().map(|operation| execute(&mut tables, operation)).collect();
        let key = operations[0].key();
        (outcomes, tables.get(Slot::of_key(key), key).map(<[u8]>::to_vec))
    }

    #[test]
    fn the_largest_value_fits_and_no_larger() {
        let (key, value) = (&b"k"[..], vec![b'x'; VALUE_MAX + 1]);
        let (outcomes, held) = run(&[
            Operation::Put { key, value: &value },
            Operation::CompareAndSet { key, expected: None, value: &value },
            Operation::Append { key, value: &value },
            Operation::Put { key, value: &value[1..] },
            Operation::Append { key, value: b"y" },
            Operation::Append { key, value: b"" },
        ]);
        let large = (Status::ValueTooLarge, 0);
        let full = i64::try_from(VALUE_MAX).expect("small");
        assert_eq!(outcomes, [large, large, large, (Status::Ok, 0), large, (Status::Ok, full)]);
        assert_eq!(held.map(|value| value.len()), Some(VALUE_MAX));
    }

    #[test]
    fn compare_and_set_tells_absent_from_empty() {
        let key = &b"k"[..];
        let set = |expected, value| Operation::CompareAndSet { key, expected, value };
        let (outcomes, held) = run(&[
            set(Some(b""), b"a"),
            set(None, b""),
            set(None, b"b"),
            set(Some(b""), b"c"),
            set(Some(b""), b"d"),
        ]);
        let (done, failed) = ((Status::Ok, 0), (Status::CompareFailed, 0));
        assert_eq!(outcomes, [failed, done, failed, done, failed]);
        assert_eq!(held.as_deref(), Some(&b"c"[..]));
    }

    #[test]
    fn increments_count_from_zero_and_stop_at_the_edge() {
        let key = &b"k"[..];
        let add = |delta| Operation::Increment { key, delta };
        let (outcomes, held) =
            run(&[add(-5), add(i64::MIN), add(6), add(i64::MAX), add(i64::MAX - 1), add(0)]);
        let max = (Status::Ok, i64::MAX);
        assert_eq!(
            outcomes,
            [
                (Status::Ok, -5),
                (Status::Overflow, 0),
                (Status::Ok, 1),
                (Status::Overflow, 0),
                max,
                max
            ]
        );
        assert_eq!(held, Some(i64::MAX.to_string().into_bytes()));
        let (outcomes, held) = run(&[Operation::Put { key, value: b"1x" }, add(1)]);
        assert_eq!(outcomes[1], (Status::NotANumber, 0));
        assert_eq!(held.as_deref(), Some(&b"1x"[..]));
    }
}
