//! What each operation does to the tables.

use super::command::{Operation, Status};
use super::slot_tables::{KeyCursor, SlotTables};
use crate::base::Slot;
use crate::base::limits::VALUE_MAX;

/// An operation's outcome and the number that goes with it.
pub(super) type Outcome = (Status, i64);

/// Executes `operation`. Any status but `Ok` means that nothing was changed.
pub(super) fn execute(tables: &mut SlotTables, operation: &Operation<'_>) -> Outcome {
    let slot = Slot::of_key(operation.key());
    if !tables.owns(slot) {
        return (Status::WrongSlot, 0);
    }
    let mut cursor = tables.cursor(slot, operation.key());
    match *operation {
        Operation::Put { value, .. } => put(&mut cursor, value),
        Operation::Append { value, .. } => append(&mut cursor, value),
        Operation::Delete { .. } => delete(&mut cursor),
        Operation::CompareAndSet { expected, value, .. } => {
            compare_and_set(&mut cursor, expected, value)
        }
        Operation::Increment { delta, .. } => increment(&mut cursor, delta),
    }
}

#[inline]
fn put(cursor: &mut KeyCursor<'_>, value: &[u8]) -> Outcome {
    if value.len() > VALUE_MAX {
        return (Status::ValueTooLarge, 0);
    }
    cursor.put(value);
    (Status::Ok, 0)
}

fn append(cursor: &mut KeyCursor<'_>, tail: &[u8]) -> Outcome {
    let length = cursor.value().map_or(0, <[u8]>::len) + tail.len();
    if length > VALUE_MAX {
        return (Status::ValueTooLarge, 0);
    }
    cursor.append(tail);
    (Status::Ok, i64::try_from(length).expect("at most VALUE_MAX"))
}

fn delete(cursor: &mut KeyCursor<'_>) -> Outcome {
    if cursor.remove() { (Status::Ok, 1) } else { (Status::NotFound, 0) }
}

fn compare_and_set(cursor: &mut KeyCursor<'_>, expected: Option<&[u8]>, value: &[u8]) -> Outcome {
    if cursor.value() != expected {
        return (Status::CompareFailed, 0);
    }
    put(cursor, value)
}

fn increment(cursor: &mut KeyCursor<'_>, delta: i64) -> Outcome {
    let Some(old) = cursor.value().map_or(Some(0), parse_decimal) else {
        return (Status::NotANumber, 0);
    };
    let Some(new) = old.checked_add(delta) else { return (Status::Overflow, 0) };
    cursor.put(Decimal::new(new).as_slice());
    (Status::Ok, new)
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
        let mut tables = SlotTables::new(&SlotSet::full());
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
