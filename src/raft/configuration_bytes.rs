//! A configuration as an entry's payload.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 2 | number of voters V |
//! | 2 | 2 | number of outgoing voters O |
//! | 4 | 2 | number of learners L |
//! | 6 | 2 | number of voters to be N; zero unless a change is staged |
//! | 8 | 8 × (V + O + L + N) | node ids: voters, outgoing voters, learners, voters to be, each list ascending |
//! | | 16 each | to the end: a member's node id and the incarnation that counts, ascending |
//!
//! All integers little-endian. At least one voter; at most `NODES_MAX` in a list; no id is 0.

use super::Configuration;
use crate::base::limits::NODES_MAX;
use crate::base::{AlignedBuf, Bytes, Incarnation, NodeId};

const HEADER_BYTES: usize = 8;
const ID_BYTES: usize = 8;
const INCARNATION_BYTES: usize = 16;

/// Why something is no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// The bytes end too early, or go on too long.
    #[error("a configuration of a wrong length")]
    Length,
    /// Nobody could ever commit anything.
    #[error("a configuration without voters")]
    NoVoters,
    /// More than `NODES_MAX` in one list.
    #[error("a configuration of too many nodes")]
    TooMany,
    /// A list is not ascending, or names node 0.
    #[error("a configuration whose nodes are not in order")]
    Order,
    /// A node that is to vote cannot be a learner too.
    #[error("a configuration in which a voter is a learner")]
    VoterAndLearner,
    /// What is asked for is where to go, not the way there.
    #[error("a configuration on its way to another cannot be asked for")]
    Joint,
    /// Who is to vote receives the log already.
    #[error("a configuration whose staged change is none")]
    Staging,
    /// Of members only, each once, in order; and none is 0.
    #[error("a configuration whose incarnations are not its members'")]
    Incarnations,
    /// Who is to vote under another incarnation was put out before, and that is committed.
    #[error("a configuration in which {0} is another incarnation without having been replaced")]
    OtherIncarnation(NodeId),
}

impl Configuration {
    /// The configuration as an entry's payload.
    ///
    /// # Panics
    /// If it is none (`check`).
    pub fn encode(&self) -> Bytes {
        assert_eq!(self.check(), Ok(()), "{self:?}");
        let lists = self.lists();
        let mut buffer = AlignedBuf::with_capacity(HEADER_BYTES);
        for list in lists {
            let count = u16::try_from(list.len()).expect("at most NODES_MAX");
            buffer.extend_from_slice(&count.to_le_bytes());
        }
        for node in lists.into_iter().flatten() {
            buffer.extend_from_slice(&node.0.to_le_bytes());
        }
        for (node, incarnation) in &self.incarnations {
            buffer.extend_from_slice(&node.0.to_le_bytes());
            buffer.extend_from_slice(&incarnation.0.to_le_bytes());
        }
        buffer.into()
    }

    /// Reads an entry's payload.
    ///
    /// # Errors
    /// If it holds no configuration.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConfigurationError> {
        let (header, ids) =
            bytes.split_at_checked(HEADER_BYTES).ok_or(ConfigurationError::Length)?;
        let number = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let counts = [number(0), number(2), number(4), number(6)];
        let listed = ids.split_at_checked(counts.iter().sum::<usize>() * ID_BYTES);
        let (ids, incarnations) = listed.ok_or(ConfigurationError::Length)?;
        if !incarnations.len().is_multiple_of(INCARNATION_BYTES) {
            return Err(ConfigurationError::Length);
        }
        let mut ids = numbers(ids).map(NodeId);
        let mut list = |count| ids.by_ref().take(count).collect();
        let [voters, outgoing, learners, voters_next] = counts.map(&mut list);
        let nodes = numbers(incarnations).step_by(2).map(NodeId);
        let theirs = numbers(incarnations).skip(1).step_by(2).map(Incarnation);
        let incarnations = nodes.zip(theirs).collect();
        let configuration = Self { voters, outgoing, learners, voters_next, incarnations };
        configuration.check()?;
        Ok(configuration)
    }

    /// Whether a group can be configured so.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self) -> Result<(), ConfigurationError> {
        let lists = self.lists();
        if self.voters.is_empty() {
            return Err(ConfigurationError::NoVoters);
        }
        if lists.iter().any(|list| list.len() > NODES_MAX) {
            return Err(ConfigurationError::TooMany);
        }
        let ascending = |list: &[NodeId]| {
            list.first().is_none_or(|node| node.0 > 0) && list.is_sorted_by(|a, b| a < b)
        };
        if !lists.iter().all(|list| ascending(list)) {
            return Err(ConfigurationError::Order);
        }
        if !self.has_incarnations_of_members() {
            return Err(ConfigurationError::Incarnations);
        }
        if self.is_staged() {
            return self.check_staging();
        }
        if self.learners.iter().any(|&node| self.is_incoming(node)) {
            return Err(ConfigurationError::VoterAndLearner);
        }
        Ok(())
    }

    /// A learner may be a voter here, one that is to become a learner; but not a voter to be.
    fn check_staging(&self) -> Result<(), ConfigurationError> {
        let within = |list: &[NodeId], node: &NodeId| list.binary_search(node).is_ok();
        let receives = |node: &NodeId| within(&self.voters, node) || within(&self.learners, node);
        if !self.voters_next.iter().all(receives) {
            return Err(ConfigurationError::Staging);
        }
        let stays = |node: &NodeId| within(&self.voters, node) && within(&self.voters_next, node);
        if self.learners.iter().any(stays) {
            return Err(ConfigurationError::VoterAndLearner);
        }
        Ok(())
    }

    fn has_incarnations_of_members(&self) -> bool {
        let list = &self.incarnations;
        list.is_sorted_by(|a, b| a.0 < b.0)
            && list.iter().all(|&(node, incarnation)| self.is_member(node) && incarnation.0 > 0)
    }

    fn lists(&self) -> [&Vec<NodeId>; 4] {
        [&self.voters, &self.outgoing, &self.learners, &self.voters_next]
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let number = |word: &[u8]| u64::from_le_bytes(word.try_into().expect("eight bytes"));
    bytes.chunks_exact(ID_BYTES).map(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn configuration(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Configuration {
        Configuration {
            voters: nodes(voters),
            outgoing: nodes(outgoing),
            learners: nodes(learners),
            ..Configuration::default()
        }
    }

    fn known(mut configuration: Configuration, ids: &[(u64, u64)]) -> Configuration {
        let known = ids.iter().map(|&(node, incarnation)| (NodeId(node), Incarnation(incarnation)));
        configuration.incarnations = known.collect();
        configuration
    }

    fn staged(voters: &[u64], learners: &[u64], voters_next: &[u64]) -> Configuration {
        Configuration { voters_next: nodes(voters_next), ..configuration(voters, &[], learners) }
    }

    #[test]
    fn the_bytes_are_as_the_table_says() {
        let bytes = configuration(&[1, 0x0203], &[], &[9]).encode();
        let expected = [
            [2, 0, 0, 0, 1, 0, 0, 0],
            [1, 0, 0, 0, 0, 0, 0, 0],
            [3, 2, 0, 0, 0, 0, 0, 0],
            [9, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(&bytes[..], expected.as_flattened());
    }

    #[test]
    fn what_is_written_is_read() {
        for configuration in [
            configuration(&[1], &[], &[]),
            configuration(&[2, 3], &[1, 2], &[1, 7]),
            staged(&[1, 2, 3], &[1, 4, 9], &[2, 3, 4]),
            known(configuration(&[2, 3], &[1, 2], &[1, 7]), &[(1, 5), (3, u64::MAX), (7, 6)]),
            Configuration { outgoing: nodes(&[1, 2]), ..staged(&[1], &[2], &[1, 2]) },
        ] {
            assert_eq!(Configuration::decode(&configuration.encode()), Ok(configuration));
        }
    }

    #[test]
    fn what_is_none_is_refused_by_name() {
        use ConfigurationError::{
            Incarnations, Length, NoVoters, Order, Staging, TooMany, VoterAndLearner,
        };
        let many: Vec<u64> = (1..=NODES_MAX as u64 + 1).collect();
        for (bad, error) in [
            (configuration(&[], &[1], &[]), NoVoters),
            (configuration(&[2, 1], &[], &[]), Order),
            (configuration(&[1, 1], &[], &[]), Order),
            (configuration(&[0, 1], &[], &[]), Order),
            (configuration(&[1], &[], &[1]), VoterAndLearner),
            (configuration(&many, &[], &[]), TooMany),
            (staged(&[1, 2], &[3], &[4]), Staging),
            (staged(&[1, 2], &[2, 3], &[2, 3]), VoterAndLearner),
            (known(configuration(&[1], &[], &[]), &[(2, 5)]), Incarnations),
            (known(configuration(&[1, 2], &[], &[]), &[(2, 5), (1, 5)]), Incarnations),
            (known(configuration(&[1, 2], &[], &[]), &[(2, 5), (2, 6)]), Incarnations),
            (known(configuration(&[1], &[], &[]), &[(1, 0)]), Incarnations),
        ] {
            assert_eq!(bad.check(), Err(error), "{bad:?}");
        }
        assert_eq!(Configuration::decode(&[1, 0, 0, 0, 0, 0, 0]), Err(Length));
        assert_eq!(Configuration::decode(&[255; 64]), Err(Length));
        let mut long = configuration(&[1], &[], &[]).encode().to_vec();
        long.push(0);
        assert_eq!(Configuration::decode(&long), Err(Length));
    }
}
