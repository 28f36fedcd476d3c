//! A configuration as an entry's payload.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 2 | number of voters V |
//! | 2 | 2 | number of outgoing voters O |
//! | 4 | 2 | number of learners L |
//! | 6 | 2 | zero |
//! | 8 | 8 × (V + O + L) | node ids: voters, outgoing voters, learners, each list ascending |
//!
//! All integers little-endian. At least one voter; at most `NODES_MAX` in a list; no node id is 0.

use super::Configuration;
use crate::base::limits::NODES_MAX;
use crate::base::{AlignedBuf, Bytes, NodeId};

const HEADER_BYTES: usize = 8;
const ID_BYTES: usize = 8;

/// Why something is no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// The bytes end too early, or go on too long.
    #[error("a configuration of a wrong length")]
    Length,
    /// Bytes that must be zero are not: written by a later version.
    #[error("a configuration of an unknown version")]
    Version,
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
    #[error("a joint configuration cannot be asked for")]
    Joint,
}

impl Configuration {
    /// The configuration as an entry's payload.
    ///
    /// # Panics
    /// If it is none (`check`).
    pub fn encode(&self) -> Bytes {
        assert_eq!(self.check(), Ok(()), "{self:?}");
        let lists = [&self.voters, &self.outgoing, &self.learners];
        let mut buffer = AlignedBuf::with_capacity(HEADER_BYTES);
        for list in lists {
            let count = u16::try_from(list.len()).expect("at most NODES_MAX");
            buffer.extend_from_slice(&count.to_le_bytes());
        }
        buffer.pad_to_word();
        for node in lists.into_iter().flatten() {
            buffer.extend_from_slice(&node.0.to_le_bytes());
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
        let (voters, outgoing, learners) = (number(0), number(2), number(4));
        if number(6) != 0 {
            return Err(ConfigurationError::Version);
        }
        if ids.len() != (voters + outgoing + learners) * ID_BYTES {
            return Err(ConfigurationError::Length);
        }
        let mut ids = ids
            .chunks_exact(ID_BYTES)
            .map(|id| NodeId(u64::from_le_bytes(id.try_into().expect("eight bytes"))));
        let mut list = |count| ids.by_ref().take(count).collect();
        let configuration =
            Self { voters: list(voters), outgoing: list(outgoing), learners: list(learners) };
        configuration.check()?;
        Ok(configuration)
    }

    /// Whether a group can be configured so.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self) -> Result<(), ConfigurationError> {
        let lists = [&self.voters, &self.outgoing, &self.learners];
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
        let votes = |node: &NodeId| self.voters.binary_search(node).is_ok();
        if self.learners.iter().any(votes) {
            return Err(ConfigurationError::VoterAndLearner);
        }
        Ok(())
    }
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
        }
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
        for joint in [configuration(&[1], &[], &[]), configuration(&[2, 3], &[1, 2], &[1, 7])] {
            assert_eq!(Configuration::decode(&joint.encode()), Ok(joint));
        }
    }

    #[test]
    fn what_is_none_is_refused_by_name() {
        use ConfigurationError::{Length, NoVoters, Order, TooMany, VoterAndLearner};
        let many: Vec<u64> = (1..=NODES_MAX as u64 + 1).collect();
        for (bad, error) in [
            (configuration(&[], &[1], &[]), NoVoters),
            (configuration(&[2, 1], &[], &[]), Order),
            (configuration(&[1, 1], &[], &[]), Order),
            (configuration(&[0, 1], &[], &[]), Order),
            (configuration(&[1], &[], &[1]), VoterAndLearner),
            (configuration(&many, &[], &[]), TooMany),
        ] {
            assert_eq!(bad.check(), Err(error), "{bad:?}");
        }
        assert_eq!(Configuration::decode(&[1, 0, 0, 0, 0, 0, 0]), Err(Length));
        assert_eq!(Configuration::decode(&[255; 64]), Err(ConfigurationError::Version));
        let mut long = configuration(&[1], &[], &[]).encode().to_vec();
        long.push(0);
        assert_eq!(Configuration::decode(&long), Err(Length));
    }
}
