//! The settings as values: read from the layers, checked alone and against each other.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::layers::{ConfigError, Layers, Origin, toml_text};
use super::machine::Machine;
use super::membership::Membership;
use super::setting::SETTINGS;
use super::{byte_size, cpu_list};
use crate::base::limits::CORES_MAX;
use crate::base::{Micros, NodeId};
use crate::placement::NodeInfo;
use crate::wal::SEGMENT_BYTES_MIN;

/// A node's settings, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// This node.
    pub(crate) node: NodeId,
    /// Where its data live.
    pub(crate) data_dir: PathBuf,
    /// Listens for clients.
    pub(crate) client_addr: SocketAddr,
    /// Listens for other nodes.
    pub(crate) peer_addr: SocketAddr,
    /// Listens for administration.
    pub(crate) admin_addr: Option<SocketAddr>,
    /// How it belongs to its cluster.
    pub(crate) membership: Membership,
    /// What the cluster is called.
    pub(crate) cluster_name: String,
    /// Cores to run on.
    pub(crate) smp: usize,
    /// CPUs to use, ascending.
    pub(crate) cpuset: Vec<usize>,
    /// Bytes of state, at most.
    pub(crate) memory: u64,
    /// Share the CPUs with others.
    pub(crate) overprovisioned: bool,
    /// How long an idle core polls, µs.
    pub(crate) idle_poll_time_us: u64,
    /// How long tasks run before I/O is looked at, ms.
    pub(crate) task_quota_ms: u64,
    /// A core that did not get round for longer than this is logged, ms.
    pub(crate) blocked_reactor_notify_ms: u64,
    /// See `raft::RaftConfig`.
    pub(crate) election_timeout: Micros,
    /// See `raft::RaftConfig`.
    pub(crate) heartbeat_interval: Micros,
    pub(crate) lease_drift_percent: u64,
    /// Bytes of one segment of the log.
    pub(crate) segment_bytes: u64,
    /// What is logged.
    pub(crate) log_level: String,
    /// How it is logged.
    pub(crate) log_format: LogFormat,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// One line each, `key=value`.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads the layers into values; what nobody gave follows from the machine.
    ///
    /// # Errors
    /// The first setting that cannot have its value, alone or beside the others.
    pub(crate) fn read(layers: &Layers, machine: &Machine) -> Result<Self, ConfigError> {
        let reader = Reader { layers };
        let node: NodeId = reader.value("node.id")?;
        let cpuset = reader.cpuset(machine)?;
        let overprovisioned = reader.switch("reactor.overprovisioned")?;
        let smp = reader.smp(cpuset.len(), overprovisioned)?;
        let client_addr = reader.address("network.client_addr")?;
        let peer_addr = reader.address("network.peer_addr")?;
        let (client_address, peer_address) = (client_addr.to_string(), peer_addr.to_string());
        let here = NodeInfo { id: node, client_address, peer_address };
        let membership = reader.membership(here, smp)?;
        let (election_timeout, heartbeat_interval) = reader.raft_times()?;
        let lease_drift_percent = reader.number("raft.lease_drift_percent", 0, 50)?;
        Ok(Self {
            node,
            data_dir: PathBuf::from(reader.text("node.data_dir")),
            client_addr,
            peer_addr,
            admin_addr: reader.admin_address()?,
            membership,
            cluster_name: reader.text("cluster.name"),
            smp,
            cpuset,
            memory: reader.memory(machine)?,
            overprovisioned,
            idle_poll_time_us: reader.idle_poll_time(overprovisioned)?,
            task_quota_ms: reader.number("reactor.task_quota_ms", 10, 1_000)?,
            blocked_reactor_notify_ms: reader.number(
                "reactor.blocked_reactor_notify_ms",
                20,
                60_000,
            )?,
            election_timeout,
            heartbeat_interval,
            lease_drift_percent,
            segment_bytes: reader.segment_bytes()?,
            log_level: reader.log_level()?,
            log_format: reader.log_format()?,
        })
    }

    /// The value of the setting called `name`, as one would write it; empty: not set.
    fn text(&self, name: &str) -> String {
        match name {
            "node.id" => self.node.to_string(),
            "node.data_dir" => self.data_dir.display().to_string(),
            "network.client_addr" => self.client_addr.to_string(),
            "network.peer_addr" => self.peer_addr.to_string(),
            "network.admin_addr" => {
                self.admin_addr.map_or("none".to_owned(), |address| address.to_string())
            }
            "cluster.name" => self.cluster_name.clone(),
            name if name.starts_with("cluster.") => self.membership.text(name),
            "reactor.smp" => self.smp.to_string(),
            "reactor.cpuset" => cpu_list::format(&self.cpuset),
            "reactor.memory" => byte_size::format(self.memory),
            "reactor.overprovisioned" => self.overprovisioned.to_string(),
            "reactor.idle_poll_time_us" => self.idle_poll_time_us.to_string(),
            "reactor.task_quota_ms" => self.task_quota_ms.to_string(),
            "reactor.blocked_reactor_notify_ms" => self.blocked_reactor_notify_ms.to_string(),
            "raft.election_timeout_ms" => (self.election_timeout.0 / 1_000).to_string(),
            "raft.heartbeat_interval_ms" => (self.heartbeat_interval.0 / 1_000).to_string(),
            "raft.lease_drift_percent" => self.lease_drift_percent.to_string(),
            "storage.log_segment_bytes" => byte_size::format(self.segment_bytes),
            "logging.level" => self.log_level.clone(),
            "logging.format" => match self.log_format {
                LogFormat::Text => "text".to_owned(),
                LogFormat::Json => "json".to_owned(),
            },
            other => unreachable!("`{other}` is in the table of settings and not here"),
        }
    }

    /// The whole configuration as a file that means the same, each value with its origin.
    pub(crate) fn to_toml(&self, layers: &Layers) -> String {
        let mut out = String::new();
        let mut section = "";
        for setting in SETTINGS {
            if setting.section != section {
                section = setting.section;
                let gap = if out.is_empty() { "" } else { "\n" };
                writeln!(out, "{gap}[{section}]").expect("a String takes all");
            }
            let given = layers.get(&setting.name());
            let text = self.text(&setting.name());
            // Written out, the one node of a cluster alone would make other addresses another cluster.
            let is_alone = given.text.is_empty() && setting.name() == "cluster.initial_nodes";
            if is_alone || text.is_empty() {
                writeln!(out, "# {}: not set", setting.key).expect("fits");
                continue;
            }
            let value = toml_text(setting.kind, &text);
            writeln!(out, "{} = {value}  # {}", setting.key, given.origin).expect("fits");
        }
        out
    }
}

/// `n1=peer/client,…`, as [`cluster::parse_initial_nodes`] reads it.
pub(crate) fn nodes_text(nodes: &[NodeInfo]) -> String {
    let texts: Vec<String> = nodes
        .iter()
        .map(|node| format!("{}={}/{}", node.id, node.peer_address, node.client_address))
        .collect();
    texts.join(",")
}

/// Reads single settings; every error names setting, text and origin.
pub(super) struct Reader<'a> {
    layers: &'a Layers,
}

impl Reader<'_> {
    pub(super) fn text(&self, name: &str) -> String {
        self.layers.get(name).text
    }

    /// Who gave the setting called `name`.
    pub(super) fn origin(&self, name: &str) -> Origin {
        self.layers.get(name).origin
    }

    pub(super) fn error(&self, name: &str, cause: &str) -> ConfigError {
        let given = self.layers.get(name);
        ConfigError::Value {
            setting: name.to_owned(),
            text: given.text,
            origin: given.origin.to_string(),
            cause: cause.to_owned(),
        }
    }

    fn value<T: FromStr<Err: ToString>>(&self, name: &str) -> Result<T, ConfigError> {
        self.text(name).parse().map_err(|error: T::Err| self.error(name, &error.to_string()))
    }

    fn number(&self, name: &str, min: u64, max: u64) -> Result<u64, ConfigError> {
        match self.text(name).parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(self.error(name, &format!("write a whole number from {min} to {max}"))),
        }
    }

    fn switch(&self, name: &str) -> Result<bool, ConfigError> {
        match self.text(name).as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(self.error(name, "write true or false")),
        }
    }

    fn address(&self, name: &str) -> Result<SocketAddr, ConfigError> {
        let text = self.text(name).replace("localhost:", "127.0.0.1:");
        let wrong = "write the IP address and port to listen on, such as 0.0.0.0:7400";
        text.parse().map_err(|_| self.error(name, wrong))
    }

    fn admin_address(&self) -> Result<Option<SocketAddr>, ConfigError> {
        match self.text("network.admin_addr").as_str() {
            "none" => Ok(None),
            _ => self.address("network.admin_addr").map(Some),
        }
    }

    fn cpuset(&self, machine: &Machine) -> Result<Vec<usize>, ConfigError> {
        let text = self.text("reactor.cpuset");
        if text.is_empty() {
            return Ok(machine.cpus.clone());
        }
        let cpus = cpu_list::parse(&text).map_err(|cause| self.error("reactor.cpuset", &cause))?;
        match cpus.iter().find(|cpu| !machine.cpus.contains(cpu)) {
            None => Ok(cpus),
            Some(cpu) => {
                let allowed = cpu_list::format(&machine.cpus);
                let cause =
                    format!("CPU {cpu} is not allowed to this process: it may use {allowed}");
                Err(self.error("reactor.cpuset", &cause))
            }
        }
    }

    fn smp(&self, cpus: usize, overprovisioned: bool) -> Result<usize, ConfigError> {
        if self.text("reactor.smp").is_empty() {
            return Ok(cpus.min(CORES_MAX));
        }
        let smp = self.number("reactor.smp", 1, CORES_MAX as u64)?;
        let smp = usize::try_from(smp).expect("at most CORES_MAX");
        if smp > cpus && !overprovisioned {
            let cause = format!(
                "{cpus} CPUs cannot carry {smp} pinned cores: lower it, widen --cpuset, or give \
                 --overprovisioned"
            );
            return Err(self.error("reactor.smp", &cause));
        }
        Ok(smp)
    }

    pub(super) fn groups(&self, nodes: usize, smp: usize) -> Result<u32, ConfigError> {
        if self.text("cluster.groups").is_empty() {
            return Ok(u32::try_from(nodes * smp).expect("bounded by NODES_MAX × CORES_MAX"));
        }
        let groups = self.number("cluster.groups", 1, u64::from(crate::base::SLOT_COUNT))?;
        Ok(u32::try_from(groups).expect("at most SLOT_COUNT"))
    }

    fn memory(&self, machine: &Machine) -> Result<u64, ConfigError> {
        let name = "reactor.memory";
        let text = self.text(name);
        if text.is_empty() {
            return Ok(machine.memory / 2);
        }
        let bytes = byte_size::parse(&text).map_err(|cause| self.error(name, &cause))?;
        if bytes < MEMORY_MIN {
            let cause = format!("at least {} is needed", byte_size::format(MEMORY_MIN));
            return Err(self.error(name, &cause));
        }
        Ok(bytes)
    }

    fn idle_poll_time(&self, overprovisioned: bool) -> Result<u64, ConfigError> {
        let name = "reactor.idle_poll_time_us";
        let asked = self.number(name, 0, 1_000_000)?;
        match (overprovisioned, self.layers.get(name).origin) {
            (true, Origin::Default) => Ok(0),
            (true, _) if asked > 0 => {
                Err(self.error(name, "polling and --overprovisioned exclude each other: drop one"))
            }
            _ => Ok(asked),
        }
    }

    fn raft_times(&self) -> Result<(Micros, Micros), ConfigError> {
        let election = self.number("raft.election_timeout_ms", 50, 600_000)?;
        let heartbeat = self.number("raft.heartbeat_interval_ms", 5, 60_000)?;
        if heartbeat * 3 > election {
            let cause = format!(
                "at most a third of the election timeout ({election} ms), or one late heartbeat \
                 costs an election"
            );
            return Err(self.error("raft.heartbeat_interval_ms", &cause));
        }
        Ok((Micros::from_millis(election), Micros::from_millis(heartbeat)))
    }

    fn segment_bytes(&self) -> Result<u64, ConfigError> {
        let name = "storage.log_segment_bytes";
        let bytes = byte_size::parse(&self.text(name)).map_err(|cause| self.error(name, &cause))?;
        if bytes % 4096 != 0 || !(SEGMENT_BYTES_MIN..=SEGMENT_MAX).contains(&bytes) {
            let cause = format!(
                "a multiple of 4KiB from {} to {}",
                byte_size::format(SEGMENT_BYTES_MIN),
                byte_size::format(SEGMENT_MAX)
            );
            return Err(self.error(name, &cause));
        }
        Ok(bytes)
    }

    fn log_level(&self) -> Result<String, ConfigError> {
        let text = self.text("logging.level");
        match tracing_subscriber::EnvFilter::try_new(&text) {
            Ok(_) => Ok(text),
            Err(error) => Err(self.error("logging.level", &error.to_string())),
        }
    }

    fn log_format(&self) -> Result<LogFormat, ConfigError> {
        match self.text("logging.format").as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(self.error("logging.format", "write text or json")),
        }
    }
}

/// Below it not even the fixed tables of a core fit.
const MEMORY_MIN: u64 = 32 << 20;

const SEGMENT_MAX: u64 = 16 << 30;

#[cfg(test)]
mod tests;
