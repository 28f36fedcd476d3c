//! Nodes are asked and told as their operators do it: by `sunstar ctl`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde::Deserialize;

use crate::map::Map;
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
    node: u64,
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
    /// Slots served.
    pub(crate) slots: usize,
    /// The epoch of the map that it has begun.
    pub(crate) epoch: u64,
    /// Slots on their way in.
    pub(crate) arriving: usize,
    /// Slots not given up yet.
    pub(crate) leaving: usize,
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
    /// Which node it is, if it says.
    pub(crate) fn node(&self) -> Option<u64> {
        self.status.as_ref().map(|status| status.node)
    }

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
        let mut arguments = vec!["status", "--output", "json", "--admin-addr"];
        let addresses = addresses(nodes);
        arguments.push(&addresses);
        arguments.extend(hash.then_some("--hash"));
        let said = self.run(&arguments)?;
        let answers: Answers = serde_json::from_str(&said.text)
            .map_err(|error| Trouble::broken(format!("ctl status: {error}: {}", said.text)))?;
        Ok(answers.nodes)
    }

    /// The shard map of an epoch, or the newest; None if nobody says.
    ///
    /// # Errors
    /// If the program fails.
    pub(crate) fn map(&self, nodes: &[usize], epoch: Option<u64>) -> Result<Option<Map>, Trouble> {
        let (addresses, epoch) = (addresses(nodes), epoch.map(|epoch| format!("--epoch={epoch}")));
        let mut arguments = vec!["groups", "--output", "json", "--admin-addr", &addresses];
        arguments.extend(epoch.as_deref());
        let said = self.run(&arguments)?;
        if !said.succeeded {
            return Ok(None);
        }
        let map = serde_json::from_str(&said.text);
        map.map(Some)
            .map_err(|error| Trouble::broken(format!("ctl groups: {error}: {}", said.text)))
    }

    /// Whether all is as it should be, and if not, what is not.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub(crate) fn health(&self, nodes: &[usize]) -> Result<Said, Trouble> {
        self.run(&["health", "--output", "json", "--admin-addr", &addresses(nodes)])
    }

    /// Begins to ask what may take long; the answer goes to `said`.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub(crate) fn begin(
        &self,
        words: &[String],
        nodes: &[usize],
        said: File,
    ) -> Result<Child, Trouble> {
        let mut command = Command::new(&self.server);
        command.arg("ctl").args(words).args([
            "--output",
            "json",
            "--admin-addr",
            &addresses(nodes),
        ]);
        command.stdin(Stdio::null()).stdout(said).stderr(Stdio::null());
        command.spawn().map_err(at("run", &self.server))
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

/// `--admin-addr` of these nodes.
fn addresses(nodes: &[usize]) -> String {
    let addresses: Vec<_> = nodes.iter().map(|node| admin_address(*node)).collect();
    addresses.join(",")
}

/// What the program said.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// Whether it is done.
    pub(crate) succeeded: bool,
    pub(crate) text: String,
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

/// By group: which node has a replica, and how that is.
pub(crate) fn replicas(answers: &[NodeAnswer]) -> BTreeMap<u32, BTreeMap<u64, &GroupStatus>> {
    let mut replicas: BTreeMap<u32, BTreeMap<_, _>> = BTreeMap::new();
    for answer in answers {
        for group in answer.groups() {
            let node = answer.node().expect("it says which groups it has");
            replicas.entry(group.group).or_default().insert(node, group);
        }
    }
    replicas
}
