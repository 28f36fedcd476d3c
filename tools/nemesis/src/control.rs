//! Nodes are asked and told as their operators do it: by `sunstar ctl`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::node::{admin_address, name};
use crate::trouble::{Trouble, at};

/// The program, with what it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    /// The server's binary.
    pub(crate) server: PathBuf,
}

/// What one node says of itself.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NodeAnswer {
    /// Whether it serves.
    pub(crate) ready: bool,
    /// None while it cannot say.
    status: Option<NodeStatus>,
}

#[derive(Clone, Debug, Deserialize)]
struct NodeStatus {
    #[serde(default)]
    cores: Vec<CoreStatus>,
    #[serde(default)]
    refused: Vec<RefusedNode>,
}

/// A node that is not let in.
#[derive(Clone, Debug, Deserialize)]
struct RefusedNode {}

#[derive(Clone, Debug, Deserialize)]
struct CoreStatus {
    divergences: u64,
    #[serde(default)]
    disk_full: bool,
    groups: Vec<GroupStatus>,
}

/// One replica.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct GroupStatus {
    pub(crate) group: u32,
    pub(crate) leader: Option<u64>,
    pub(crate) doubt: Option<String>,
    pub(crate) applied_index: u64,
    #[serde(default)]
    pub(crate) quarantined: bool,
    pub(crate) state_hash: Option<String>,
}

#[derive(Deserialize)]
struct Answers {
    nodes: Vec<NodeAnswer>,
}

impl GroupStatus {
    /// Whether it knows who leads, and nothing of it is in doubt.
    pub(crate) fn is_settled(&self) -> bool {
        self.leader.is_some() && self.doubt.is_none() && !self.quarantined
    }
}

impl NodeAnswer {
    /// Its replicas.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &GroupStatus> {
        self.cores().flat_map(|core| &core.groups)
    }

    /// Whether it keeps another node out.
    pub(crate) fn refuses(&self) -> bool {
        self.status.as_ref().is_some_and(|status| !status.refused.is_empty())
    }

    /// Whether a core has no room for its log.
    pub(crate) fn is_full(&self) -> bool {
        self.cores().any(|core| core.disk_full)
    }

    /// Replicas that were found to differ from the majority.
    pub(crate) fn divergences(&self) -> u64 {
        self.cores().map(|core| core.divergences).sum()
    }

    fn cores(&self) -> impl Iterator<Item = &CoreStatus> {
        self.status.iter().flat_map(|status| &status.cores)
    }
}

impl Control {
    /// What these nodes say of themselves; they must not stand still.
    ///
    /// # Errors
    /// If the program fails.
    pub(crate) fn status(&self, nodes: &[usize], hash: bool) -> Result<Vec<NodeAnswer>, Trouble> {
        let addresses: Vec<_> = nodes.iter().map(|node| admin_address(*node)).collect();
        let mut arguments = vec!["status", "--output", "json", "--admin-addr"];
        let addresses = addresses.join(",");
        arguments.push(&addresses);
        arguments.extend(hash.then_some("--hash"));
        let said = self.run(&arguments)?;
        let answers: Answers = serde_json::from_str(&said.text)
            .map_err(|error| Trouble::broken(format!("ctl status: {error}: {}", said.text)))?;
        Ok(answers.nodes)
    }

    /// Who votes in a group.
    ///
    /// # Errors
    /// If nobody says.
    pub(crate) fn voters(&self, group: u32, asked: usize) -> Result<Vec<u64>, Trouble> {
        let (group, address) = (format!("g{group}"), admin_address(asked));
        let arguments = ["group", "members", &group, "--output", "json", "--admin-addr", &address];
        let said = self.run(&arguments)?;
        let members: Value = serde_json::from_str(&said.text).unwrap_or_default();
        let voters = members["voters"].as_array().into_iter().flatten();
        let voters: Option<Vec<u64>> = voters.map(Value::as_u64).collect();
        match voters {
            Some(voters) if said.succeeded && !voters.is_empty() => Ok(voters),
            _ => Err(Trouble::broken(format!("who votes in {group}? {}", said.text))),
        }
    }

    /// Makes these nodes the voters of a group, asking `asked`.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub(crate) fn set_voters(
        &self,
        group: u32,
        voters: &[u64],
        asked: usize,
        patience: Patience,
    ) -> Result<Said, Trouble> {
        let (group, address) = (format!("g{group}"), admin_address(asked));
        let voters: Vec<_> = voters.iter().map(|voter| format!("n{voter}")).collect();
        let voters = voters.join(",");
        let mut arguments = vec!["group", "set", &group, &voters, "--admin-addr", &address];
        let seconds = patience.argument();
        arguments.push(&seconds);
        self.run(&arguments)
    }

    /// Hands the leadership of a group to a node, asking that node.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub(crate) fn transfer(
        &self,
        group: u32,
        node: usize,
        patience: Patience,
    ) -> Result<Said, Trouble> {
        let (group, address, seconds) =
            (format!("g{group}"), admin_address(node), patience.argument());
        let node = name(node);
        self.run(&["group", "transfer", &group, &node, "--admin-addr", &address, &seconds])
    }

    /// Lets a node in that lost its disk, asking another.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub(crate) fn replace(
        &self,
        node: usize,
        asked: usize,
        patience: Patience,
    ) -> Result<Said, Trouble> {
        let (node, address, seconds) = (name(node), admin_address(asked), patience.argument());
        self.run(&["member", "replace", &node, "--admin-addr", &address, &seconds])
    }

    fn run(&self, arguments: &[&str]) -> Result<Said, Trouble> {
        let mut command = Command::new(&self.server);
        let output = command.arg("ctl").args(arguments).output();
        let output = output.map_err(at("run", &self.server))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Said { succeeded: output.status.success(), text, complaint })
    }
}

/// What the program said.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// Whether it is done.
    pub(crate) succeeded: bool,
    text: String,
    /// Why not.
    pub(crate) complaint: String,
}

/// How long it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// It is enough that it has begun.
    None,
    /// So many seconds.
    Seconds(u32),
}

impl Patience {
    fn argument(self) -> String {
        match self {
            Self::None => "--no-wait".to_owned(),
            Self::Seconds(seconds) => format!("--timeout={seconds}"),
        }
    }
}

/// By group: applied index and state of each replica.
pub(crate) fn replicas(answers: &[NodeAnswer]) -> BTreeMap<u32, Vec<&GroupStatus>> {
    let mut replicas: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for group in answers.iter().flat_map(NodeAnswer::groups) {
        replicas.entry(group.group).or_default().push(group);
    }
    replicas
}
