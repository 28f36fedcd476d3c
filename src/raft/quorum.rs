//! What a quorum agrees on: the one place that counts voters.
//!
//! A configuration has one set of voters, or two while it changes; during a change each half
//! decides by itself and both must agree (thesis, section 4.3: joint consensus). Everything that
//! is decided by counting, elections, commitment, read rounds and check-quorum, comes through
//! here, so that no rule can forget the second half. Learners never count.

use super::Configuration;
use crate::base::NodeId;
use crate::base::limits::NODES_MAX;

/// How a vote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tally {
    /// A quorum of each half granted.
    Won,
    /// Some half can no longer reach a quorum.
    Lost,
    /// Neither yet.
    Pending,
}

/// Returns the greatest value that a quorum of each half has reached, or `None` without voters.
///
/// `value`: what a voter has reached, be it a log index, a read round or a moment.
///
/// # Panics
/// If a half has more than `NODES_MAX` voters: decoding refuses such a configuration.
///
/// Source: Raft, figure 2, "Leaders"; the term check of section 5.4.2 is the caller's.
pub(super) fn reached<T: Copy + Ord + Default>(
    configuration: &Configuration,
    value: impl Fn(NodeId) -> T,
) -> Option<T> {
    let incoming = reached_by_majority(&configuration.voters, &value);
    if configuration.outgoing.is_empty() {
        return incoming;
    }
    incoming.min(reached_by_majority(&configuration.outgoing, &value))
}

/// Counts `votes`, one per node that answered, over both halves.
pub(super) fn tally(configuration: &Configuration, votes: &[(NodeId, bool)]) -> Tally {
    let incoming = tally_majority(&configuration.voters, votes);
    if configuration.outgoing.is_empty() {
        return incoming;
    }
    match (incoming, tally_majority(&configuration.outgoing, votes)) {
        (Tally::Won, Tally::Won) => Tally::Won,
        (Tally::Lost, _) | (_, Tally::Lost) => Tally::Lost,
        _ => Tally::Pending,
    }
}

/// How many of `voters` make a majority.
const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

fn reached_by_majority<T: Copy + Ord + Default>(
    voters: &[NodeId],
    value: impl Fn(NodeId) -> T,
) -> Option<T> {
    match voters.len() {
        0 => None,
        1..=FEW => Some(middle::<T, FEW>(voters, value)),
        _ => Some(middle::<T, NODES_MAX>(voters, value)),
    }
}

/// The value that a majority has reached, of at least one and at most `ROOM` voters.
fn middle<T: Copy + Ord + Default, const ROOM: usize>(
    voters: &[NodeId],
    value: impl Fn(NodeId) -> T,
) -> T {
    let count = voters.len();
    assert!(count <= ROOM, "{count} voters, at most {ROOM}");
    let mut values = [T::default(); ROOM];
    for (slot, &voter) in values.iter_mut().zip(voters) {
        *slot = value(voter);
    }
    let values = &mut values[..count];
    values.sort_unstable();
    values[count - majority(count)]
}

fn tally_majority(half: &[NodeId], votes: &[(NodeId, bool)]) -> Tally {
    let cast = |wanted: bool| {
        let matches = |voter: &&NodeId| votes.contains(&(**voter, wanted));
        half.iter().filter(matches).count()
    };
    let needed = majority(half.len());
    if cast(true) >= needed {
        Tally::Won
    } else if half.len() - cast(false) < needed {
        Tally::Lost
    } else {
        Tally::Pending
    }
}

/// As many voters as most groups have: counting them happens several times per proposal, and should
/// not clear room for as many as there could be.
const FEW: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn joint(voters: &[u64], outgoing: &[u64]) -> Configuration {
        let (voters, outgoing) = (nodes(voters), nodes(outgoing));
        Configuration { voters, outgoing, ..Configuration::default() }
    }

    /// The definition, word for word: the greatest value that more than half have reached.
    fn reached_by_definition(voters: &[NodeId], value: &dyn Fn(NodeId) -> u64) -> Option<u64> {
        voters
            .iter()
            .map(|&voter| value(voter))
            .filter(|&bar| voters.iter().filter(|&&v| value(v) >= bar).count() * 2 > voters.len())
            .max()
    }

    #[test]
    fn the_slower_majority_decides() {
        let value = |node: NodeId| [0, 7, 5, 3, 9, 1][usize::try_from(node.0).expect("small")];
        assert_eq!(reached(&joint(&[1], &[]), value), Some(7));
        assert_eq!(reached(&joint(&[1, 2], &[]), value), Some(5));
        assert_eq!(reached(&joint(&[1, 2, 3], &[]), value), Some(5));
        assert_eq!(reached(&joint(&[1, 2, 3, 4], &[]), value), Some(5));
        assert_eq!(reached(&joint(&[1, 2, 4], &[2, 3, 5]), value), Some(3));
        assert_eq!(reached(&joint(&[], &[]), value), None);
    }

    #[test]
    fn a_half_without_a_majority_blocks_the_other() {
        let joint = joint(&[1, 2, 3], &[3, 4, 5]);
        let yes = |ids: &[u64]| ids.iter().map(|&id| (NodeId(id), true)).collect::<Vec<_>>();
        assert_eq!(tally(&joint, &yes(&[1, 2, 3])), Tally::Pending);
        assert_eq!(tally(&joint, &yes(&[1, 2, 4, 5])), Tally::Won);
        let no = [(NodeId(4), false), (NodeId(5), false), (NodeId(1), true), (NodeId(2), true)];
        assert_eq!(tally(&joint, &no), Tally::Lost);
    }

    #[test]
    fn strangers_and_learners_do_not_count() {
        let mut three = joint(&[1, 2, 3], &[]);
        three.learners = nodes(&[4]);
        let votes = [(NodeId(1), true), (NodeId(4), true), (NodeId(9), true)];
        assert_eq!(tally(&three, &votes), Tally::Pending);
    }

    #[test]
    fn counting_agrees_with_the_definition() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2_000 {
            let values: Vec<u64> = (0..12).map(|_| random.u64(0..6)).collect();
            let value = |node: NodeId| values[usize::try_from(node.0).expect("small")];
            let mut pick = || {
                let mut ids: Vec<u64> = (0..12).filter(|_| random.bool()).collect();
                ids.truncate(7);
                nodes(&ids)
            };
            let configuration =
                Configuration { voters: pick(), outgoing: pick(), ..Configuration::default() };
            let incoming = reached_by_definition(&configuration.voters, &value);
            let outgoing = reached_by_definition(&configuration.outgoing, &value);
            let expected =
                if configuration.outgoing.is_empty() { incoming } else { incoming.min(outgoing) };
            assert_eq!(reached(&configuration, value), expected, "{configuration:?} {values:?}");
        }
    }
}
