//! Slots as one types and reads them: `0-99,200`.

use super::SLOT_COUNT;

/// A run of slots, both ends included.
pub type Run = (u16, u16);

/// Reads `0-99,200`.
///
/// # Errors
/// A text that names the part that could not be read, and what was expected.
pub fn parse(text: &str) -> Result<Vec<Run>, String> {
    text.split(',').map(run).collect()
}

fn run(text: &str) -> Result<Run, String> {
    let wrong = || {
        let last = SLOT_COUNT - 1;
        format!("`{text}` is no run of slots: write such as 0-99 or 200, up to {last}")
    };
    let (first, last) = text.trim().split_once('-').unwrap_or((text.trim(), text.trim()));
    let number = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
    let (first, last) = (number(first)?, number(last)?);
    if first <= last && last < SLOT_COUNT { Ok((first, last)) } else { Err(wrong()) }
}

/// The same in reverse; `-` if there are none.
pub fn format(runs: &[Run]) -> String {
    let texts: Vec<String> = runs
        .iter()
        .map(
            |&(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            },
        )
        .collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(",") }
}

/// How many slots there are in them.
pub fn count(runs: &[Run]) -> u32 {
    runs.iter().map(|&(first, last)| u32::from(last - first) + 1).sum()
}

/// The upper half of them, rounded down; runs as the shard master gives them, ascending.
pub fn upper_half(runs: &[Run]) -> Vec<Run> {
    let mut wanted = count(runs) / 2;
    let mut half = Vec::new();
    for &(first, last) in runs.iter().rev() {
        if wanted == 0 {
            break;
        }
        let taken = wanted.min(u32::from(last - first) + 1);
        let skipped = u16::try_from(taken - 1).expect("within a run of slots");
        half.push((last - skipped, last));
        wanted -= taken;
    }
    half.reverse();
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_read_and_written() {
        for (text, runs) in
            [("0-99,200", vec![(0, 99), (200, 200)]), ("16383", vec![(16_383, 16_383)])]
        {
            assert_eq!(parse(text), Ok(runs.clone()));
            assert_eq!(format(&runs), text);
        }
        assert_eq!(format(&[]), "-");
        for wrong in ["", "a", "9-1", "0-16384", "1-2-3", "-5", "70000"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn half_of_them_is_the_upper_half() {
        assert_eq!(upper_half(&[(0, 99)]), [(50, 99)]);
        assert_eq!(upper_half(&[(0, 9), (20, 24), (30, 30)]), [(8, 9), (20, 24), (30, 30)]);
        assert_eq!(upper_half(&[(5, 5), (7, 8)]), [(8, 8)]);
        assert!(upper_half(&[(5, 5)]).is_empty() && upper_half(&[]).is_empty());
    }
}
