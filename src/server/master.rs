//! Asking the shard master, through any node that answers.

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use serde_json::Value;

use super::asking::{Pauses, Unanswered, ask};
use super::{http, status};
use crate::base::GroupId;
use crate::io::{GroupMembers, GroupOperation, GroupReason, PlacementOperation, PlacementView};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(12);
/// How long a node may take to say that it is there.
const HELLO_TIME: Duration = Duration::from_secs(2);
/// How long a leader of the meta group is waited for.
const ELECTION_TIME: Duration = Duration::from_secs(10);

/// Nodes to ask, any of which will do.
#[derive(Clone, Debug)]
pub(crate) struct Master {
    /// Administration addresses; the first that answers is asked.
    pub(crate) addresses: Vec<String>,
}

impl Master {
    /// The nodes that were named.
    pub(crate) fn read(matches: &ArgMatches) -> Self {
        let addresses = matches.get_many::<String>("admin-addr").into_iter().flatten();
        Self { addresses: addresses.cloned().collect() }
    }

    /// Asks for what is so, or for a change. Asked again only while it certainly was not done.
    ///
    /// # Errors
    /// If nobody answers, or it is refused.
    pub(crate) fn ask(&self, operation: &PlacementOperation) -> Result<PlacementView, Unanswered> {
        let body = serde_json::to_string(operation).expect("an operation is plain data");
        let mut pauses = Pauses::within(ELECTION_TIME);
        loop {
            let answer = self
                .first_to_answer()
                .and_then(|address| ask(address, "/placement", &body, PATIENCE));
            match answer {
                Err(unanswered) if unanswered.may_pass() && pauses.take_one() => {}
                answer => return answer,
            }
        }
    }

    /// Everything as it is now.
    ///
    /// # Errors
    /// As `ask`.
    pub(crate) fn view(&self) -> Result<PlacementView, Unanswered> {
        self.ask(&PlacementOperation::Query { epoch: None })
    }

    /// Who really belongs to a group.
    ///
    /// # Errors
    /// If nobody answers, the group's leader least of all.
    pub(crate) fn members(&self, group: GroupId) -> Result<GroupMembers, Unanswered> {
        self.ask_group(group, &GroupOperation::Members {})
    }

    /// Asks something of one group, once.
    ///
    /// # Errors
    /// If nobody answers, or it is refused.
    pub(crate) fn ask_group(
        &self,
        group: GroupId,
        operation: &GroupOperation,
    ) -> Result<GroupMembers, Unanswered> {
        let body = serde_json::to_string(operation).expect("an operation is plain data");
        let address = self.first_to_answer()?;
        ask(address, &format!("/group/{}", group.0), &body, PATIENCE)
    }

    /// Who is up, as one node sees it: node and whether.
    ///
    /// # Errors
    /// If nobody answers.
    pub(crate) fn liveness(&self) -> Result<Vec<(u64, bool)>, Unanswered> {
        let address = self.first_to_answer()?;
        let status = status::ask(address, false).map_err(Unanswered::Silent)?;
        let peer = |peer: &Value| Some((peer["node"].as_u64()?, peer["up"].as_bool()?));
        let peers = status.json["peers"].as_array().into_iter().flatten();
        let itself = status.json["node"].as_u64().map(|node| (node, true));
        Ok(peers.filter_map(peer).chain(itself).collect())
    }

    fn first_to_answer(&self) -> Result<&str, Unanswered> {
        let mut silent = Vec::new();
        for address in &self.addresses {
            match http::get(address, "/livez", HELLO_TIME) {
                Ok(_) => return Ok(address),
                Err(error) => silent.push(format!("{address}: {error}")),
            }
        }
        Err(Unanswered::Silent(format!("no node answers: {}", silent.join("; "))))
    }
}

impl Unanswered {
    /// Whether it certainly was not done, and asking again may help.
    fn may_pass(&self) -> bool {
        let reason = match self {
            Self::Refused(refusal) => refusal.reason,
            Self::Silent(_) => return false,
        };
        matches!(reason, GroupReason::NoLeader | GroupReason::NotReady)
    }

    /// Whether what was asked for is so already.
    pub(crate) fn is_no_change(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.reason == GroupReason::NoChange)
    }

    /// Says why, to people or to programs.
    pub(crate) fn report(&self, as_json: bool) -> ExitCode {
        if as_json {
            println!("{}", self.json());
        }
        eprintln!("sunstar: {}", self.text());
        ExitCode::from(self.code())
    }

    /// 1: refused; 3: nobody answers, and what became of it is not known.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Silent(_) => 3,
        }
    }
}
