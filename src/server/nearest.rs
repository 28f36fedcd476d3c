//! "Did you mean": the known name nearest to one that is not known.

/// The candidate with the fewest edits to `name`, if it takes few enough to be a slip of the hand.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let (distance, found) =
        candidates.map(|known| (distance(name, known), known)).min_by_key(|&(edits, _)| edits)?;
    (distance <= name.chars().count().div_ceil(2)).then_some(found)
}

/// Levenshtein's distance: insertions, deletions and substitutions from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    // `row[j]`: the distance of what was read of `from` to the first `j` of `to`.
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (read, character) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = read + 1;
        for (position, &other) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(character != other);
            diagonal = row[position + 1];
            row[position + 1] = substituted.min(diagonal + 1).min(row[position] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["reactor.smp", "reactor.memory", "node.id"];
        assert_eq!(nearest("reactor.memry", known.into_iter()), Some("reactor.memory"));
        assert_eq!(nearest("smp", known.into_iter()), None);
    }
}
