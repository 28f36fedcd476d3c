//! Lists of CPUs as the kernel writes them: `0-3,8`.

use crate::base::limits::CORES_MAX;

/// Reads a list such as `0-3,8` into ascending CPU numbers without duplicates.
///
/// # Errors
/// A text that says what was expected.
pub(crate) fn parse(text: &str) -> Result<Vec<usize>, String> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(format!("`{part}` runs backwards"));
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

fn number(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        // Bounded before a range is unrolled.
        Ok(cpu) if cpu < CPU_NUMBER_MAX => Ok(cpu),
        _ => Err(format!("`{text}` is not a CPU: write numbers and ranges such as 0-3,8")),
    }
}

/// Writes ascending CPU numbers as such a list.
pub(crate) fn format(cpus: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let texts: Vec<String> = runs
        .iter()
        .map(
            |&(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            },
        )
        .collect();
    texts.join(",")
}

/// CPU numbers end below this; machines with so many number them with gaps.
const CPU_NUMBER_MAX: usize = 64 * CORES_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_and_write() {
        for (text, cpus) in
            [("0", vec![0]), ("0-3,8", vec![0, 1, 2, 3, 8]), ("2,4-5", vec![2, 4, 5])]
        {
            assert_eq!(parse(text), Ok(cpus.clone()));
            assert_eq!(format(&cpus), text);
        }
        assert_eq!(parse("3,1,1-2"), Ok(vec![1, 2, 3]));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "a", "3-1", "1-", "-1", "0-99999999", "1,,2"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
