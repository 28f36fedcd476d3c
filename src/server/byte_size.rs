//! Sizes as people write them: `512MiB`, `2G`, `67108864`.

/// Reads a number of bytes: digits, then nothing, `B`, or one of K, M, G, T, with or without
/// `iB` or `B`. All are powers of 1024, as in Seastar's options.
///
/// # Errors
/// A text that says what was expected.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || "not a size: write a number of bytes, or one such as 512MiB or 2GiB".to_owned();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

/// Writes `bytes` with the largest unit that loses nothing.
pub(crate) fn format(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_in_every_unit() {
        for (text, bytes) in
            [("0", 0), ("17", 17), ("4k", 4096), ("64MiB", 64 << 20), ("2 GB", 2 << 30)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for bad in ["", "GiB", "-1", "1.5G", "3x", "99999999999999T", "18446744073709551616"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for bytes in [0, 1, 1023, 1024, 3 << 20, 5 << 30, (1 << 30) + 1, 7 << 40] {
            assert_eq!(parse(&format(bytes)), Ok(bytes));
        }
        assert_eq!(format(2 << 30), "2GiB");
    }
}
