//! A lost quorum: the last resort of an operator whose group has lost a majority for good.
//!
//! Nothing in Raft can help such a group; only somebody who knows that the others never come back
//! can. One survivor's log gets an entry that makes the survivors the whole group, in a term after
//! all it knows, as if it had been elected to write it:
//!
//! ```text
//!   survivor's log   1/1 … 4/17 4/18 │ 5/19 = voters n1     hard state: term 5, vote n1
//!                    may lack what    └ effective at once: the survivor elects itself in term 6,
//!                    was acknowledged   which commits this entry and all before it
//! ```
//!
//! What the lost majority had committed and the survivor had not received is lost; what the
//! survivor had received and nobody had committed becomes committed. Were a lost node to come back
//! with its old configuration, two groups would go on under one name. Hence never automatic.

use super::replication::hand_out;
use super::{Configuration, ConfigurationError, Entry, EntryKind, HardState, Output, Raft};
use crate::base::{NodeId, Term};

/// Why a configuration cannot be forced on a survivor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForceError {
    /// No group can be configured so.
    #[error(transparent)]
    Invalid(#[from] ConfigurationError),
    /// A survivor that does not vote could never lead.
    #[error("{0}, whose log this is, is not among the voters")]
    NotAVoter(NodeId),
    /// Survivors only: others join later, by an ordinary change.
    #[error("{0} is no member of the group")]
    NotAMember(NodeId),
    /// There is no term after this one.
    #[error("no term is left")]
    NoTerm,
}

impl Raft {
    /// Makes `voters` the whole group, in an entry of a new term: the last resort after a majority
    /// is lost for good. Half-made changes of the configuration are over with it, and so is doubt: what
    /// this replica has forgotten is lost too.
    ///
    /// For a replica that talks to nobody: what `output` asks to be made durable is made so, and
    /// the replica started anew from it. Once only, on the survivor whose log is furthest, with all
    /// others stopped; the lost ones must never return.
    ///
    /// # Errors
    /// If nobody could lead such a group, or it would not consist of survivors. Nothing has
    /// changed then.
    pub fn force_configuration(
        &mut self,
        voters: &[NodeId],
        output: &mut Output,
    ) -> Result<(), ForceError> {
        let node = self.config.node;
        let configuration =
            Configuration::new(voters.iter().copied()).with_incarnations_of(self.configuration());
        configuration.check()?;
        if !configuration.is_voter(node) {
            return Err(ForceError::NotAVoter(node));
        }
        let is_stranger = |voter: &&NodeId| !self.configuration().is_member(**voter);
        if let Some(stranger) = configuration.voters.iter().find(is_stranger) {
            return Err(ForceError::NotAMember(*stranger));
        }
        // Room for the election that follows.
        let next = self.hard_state.term.0.checked_add(2).ok_or(ForceError::NoTerm)?;
        let term = Term(next - 1);
        let entry = Entry {
            term,
            index: self.log.last_index().next(),
            timestamp: self.log.last_timestamp(),
            kind: EntryKind::Configuration,
            payload: configuration.encode(),
        };
        // Its own vote: nobody else may write entries in this term.
        self.hard_state = HardState { term, vote: Some(node) };
        output.hard_state = Some(self.hard_state);
        // Those who could have made it certain may be lost.
        output.doubt_ended |= self.doubting.take().is_some();
        self.membership.append(&entry);
        hand_out(&entry, output);
        self.log.append(entry);
        Ok(())
    }
}
