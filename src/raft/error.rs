//! Refusals. Each says: it did not and will not happen.

use super::ConfigurationError;
use crate::base::NodeId;

/// Why a proposal was refused. It is not in the log and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads, or is about to, or none is known to.
    #[error("not the leader")]
    NotLeader {
        /// Who leads, as far as is known; during a transfer, who is to.
        leader: Option<NodeId>,
    },
    /// Too many uncommitted bytes wait for a quorum.
    #[error("too many uncommitted bytes")]
    Overloaded,
}

/// Why something submitted was refused. It is in no log that counts and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another node leads, or is about to, or none is known to.
    #[error("not the leader")]
    NotLeader {
        /// Who leads, as far as is known; during a transfer, who is to.
        leader: Option<NodeId>,
    },
    /// Too much waits for a quorum already.
    #[error("overloaded")]
    Overloaded,
    /// Nothing is committed in the leader's term yet: ask again shortly.
    #[error("the leader has not committed in its term yet")]
    NotReady,
    /// Another change of the configuration is under way.
    #[error("another change is under way")]
    UnderWay,
    /// The group is configured so already.
    #[error("the group is configured so already")]
    NoChange,
    /// What was asked for is none: of no known kind, or no configuration.
    #[error("not a proposal")]
    Invalid,
}

/// Why a read was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This replica knows of no leader to ask.
    #[error("no leader is known")]
    NoLeader,
    /// Leader, but nothing committed in its term yet: ask again shortly (raft section 6.4 of the thesis).
    #[error("the leader has not committed in its term yet")]
    NotReady,
}

/// Why a leadership transfer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Another node leads, or none is known to.
    #[error("not the leader")]
    NotLeader {
        /// Who leads, as far as is known.
        leader: Option<NodeId>,
    },
    /// The node to take over is this one, or does not vote, at least for now (`Doubt`).
    #[error("not another voter of the group")]
    NotAnotherVoter,
    /// One at a time.
    #[error("a transfer to {to} is under way")]
    UnderWay {
        /// Who is to lead.
        to: NodeId,
    },
}

/// Why a change of the configuration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconfigureError {
    /// Another node leads, or is about to, or none is known to.
    #[error("not the leader")]
    NotLeader {
        /// Who leads, as far as is known; during a transfer, who is to.
        leader: Option<NodeId>,
    },
    /// Leader, but nothing committed in its term yet: ask again shortly.
    #[error("the leader has not committed in its term yet")]
    NotReady,
    /// One at a time.
    #[error("another change is under way")]
    UnderWay,
    /// It is as asked for already.
    #[error("the group is configured so already")]
    NoChange,
    /// What is asked for is no configuration.
    #[error(transparent)]
    Invalid(#[from] ConfigurationError),
}

impl From<ProposeError> for Refusal {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { leader } => Self::NotLeader { leader },
            ProposeError::Overloaded => Self::Overloaded,
        }
    }
}

impl From<ReconfigureError> for Refusal {
    fn from(error: ReconfigureError) -> Self {
        match error {
            ReconfigureError::NotLeader { leader } => Self::NotLeader { leader },
            ReconfigureError::NotReady => Self::NotReady,
            ReconfigureError::UnderWay => Self::UnderWay,
            ReconfigureError::NoChange => Self::NoChange,
            ReconfigureError::Invalid(_) => Self::Invalid,
        }
    }
}
