//! Bytes as the fixtures in `schema/*.hex` show them: sixteen a line behind their offset, lines of
//! zeros left out.

use std::fmt::Write as _;

const ROW: usize = 16;

/// The text of `bytes`.
pub(crate) fn of(bytes: &[u8]) -> String {
    let rows = bytes.chunks(ROW).enumerate();
    let mut text = String::new();
    for (line, row) in rows.filter(|(_, row)| row.iter().any(|&byte| byte != 0)) {
        write!(text, "{:06x} ", line * ROW).expect("a string takes everything");
        for byte in row {
            write!(text, " {byte:02x}").expect("a string takes everything");
        }
        text.push('\n');
    }
    text
}

/// The `length` bytes that `text` stands for.
///
/// # Panics
/// If it does not stand for as many.
pub(crate) fn bytes(text: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let number = |word| usize::from_str_radix(word, 16).expect("a hexadecimal number");
        let start = words.next().map(number).expect("an offset");
        for (at, word) in (start..).zip(words) {
            bytes[at] = u8::from_str_radix(word, 16).expect("a byte");
        }
    }
    bytes
}
