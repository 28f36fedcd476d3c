//! Three Sunstar nodes on loopback, as the README starts them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::child::{Interrupt, Server, free_ports, own_program};
use crate::error::BenchError;

/// A running cluster. Its nodes are killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Nodes {
    servers: Vec<Server>,
    /// Client addresses, in the nodes' order.
    clients: Vec<SocketAddr>,
    /// Administration addresses, in the nodes' order.
    admins: Vec<SocketAddr>,
    program: PathBuf,
    directory: PathBuf,
    shape: Shape,
    /// One for each role of each node.
    ports: Vec<u16>,
}

impl Nodes {
    /// Starts three nodes under `directory` and waits until every group has a leader.
    ///
    /// # Errors
    /// If a node ends, or a group has no leader in time.
    pub(crate) fn start(
        program: &Path,
        directory: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self, BenchError> {
        Self::start_shaped(program, directory, Shape::default(), interrupt)
    }

    /// The same, of this shape.
    ///
    /// # Errors
    /// If a node ends, or a group has no leader in time.
    pub(crate) fn start_shaped(
        program: &Path,
        directory: &Path,
        shape: Shape,
        interrupt: &Interrupt,
    ) -> Result<Self, BenchError> {
        let ports = free_ports(3 * shape.nodes)?;
        let plan = Plan { ports: &ports, directory, shape };
        let mut cluster = Self {
            servers: Vec::new(),
            clients: (0..shape.nodes).map(|node| plan.address(Role::Client, node)).collect(),
            admins: (0..shape.nodes).map(|node| plan.address(Role::Admin, node)).collect(),
            program: program.to_owned(),
            directory: directory.to_owned(),
            shape,
            ports,
        };
        cluster.restart(interrupt)?;
        Ok(cluster)
    }

    /// Kills the nodes.
    pub(crate) fn kill(&mut self) {
        self.servers.clear();
    }

    /// Kills the nodes, if they run, and starts them on what they left.
    ///
    /// # Errors
    /// If a node ends, or a group has no leader in time.
    pub(crate) fn restart(&mut self, interrupt: &Interrupt) -> Result<(), BenchError> {
        self.kill();
        let plan = Plan { ports: &self.ports, directory: &self.directory, shape: self.shape };
        for node in 0..self.shape.nodes {
            let log = self.directory.join(format!("n{}.log", node + 1));
            let name = format!("sunstar node n{}", node + 1);
            let server = Server::start(name, &self.program, plan.arguments(node), &log)?;
            self.servers.push(server);
        }
        interrupt.wait_until("every group has a leader", PATIENCE, || {
            self.servers.iter_mut().try_for_each(Server::check_alive)?;
            Ok(self.has_leaders())
        })
    }

    /// Another node joins, told of the first one, and is ready.
    ///
    /// # Errors
    /// If it ends, or is not ready in time.
    pub(crate) fn join(&mut self, interrupt: &Interrupt) -> Result<(), BenchError> {
        let number = self.servers.len() + 1;
        let addresses: Vec<SocketAddr> = free_ports(3)?
            .into_iter()
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .collect();
        let log = self.directory.join(format!("n{number}.log"));
        let pairs = [
            ("node-id", format!("n{number}")),
            ("data-dir", self.directory.join(format!("n{number}")).display().to_string()),
            ("client-addr", addresses[0].to_string()),
            ("peer-addr", addresses[1].to_string()),
            ("admin-addr", addresses[2].to_string()),
            ("join", self.admins[0].to_string()),
            ("smp", "1".to_owned()),
            ("memory", self.shape.memory.to_string()),
        ];
        let flags = pairs.into_iter().map(|(flag, value)| format!("--{flag}={value}"));
        let arguments = ["start", "--overprovisioned"].map(str::to_owned).into_iter().chain(flags);
        let name = format!("sunstar node n{number}");
        self.servers.push(Server::start(name, &self.program, arguments, &log)?);
        self.clients.push(addresses[0]);
        self.admins.push(addresses[2]);
        interrupt.wait_until("the joining node is ready", PATIENCE, || {
            self.servers.iter_mut().try_for_each(Server::check_alive)?;
            Ok(status(addresses[2]).is_ok_and(|status| !status.cores.is_empty()))
        })
    }

    /// The first node is told to stop, and has stopped.
    ///
    /// # Errors
    /// If it does not in time.
    pub(crate) fn stop_first(&mut self, interrupt: &Interrupt) -> Result<(), BenchError> {
        let mut first = self.servers.remove(0);
        self.clients.remove(0);
        self.admins.remove(0);
        first.terminate()?;
        interrupt.wait_until("the first node stops", PATIENCE, || Ok(first.check_alive().is_err()))
    }

    /// Process ids of the nodes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Server::pid).collect()
    }

    /// `sunstar ctl` with such words: what it prints, as JSON.
    ///
    /// # Errors
    /// If it refuses, with what it says.
    pub(crate) fn ctl(&self, words: &[&str]) -> Result<Value, BenchError> {
        let admins: Vec<_> = self.admins.iter().map(ToString::to_string).collect();
        let output = Command::new(&self.program)
            .arg("ctl")
            .args(words)
            .args(["--output", "json", "--admin-addr", &admins.join(",")])
            .output()
            .map_err(BenchError::io("running sunstar ctl"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(BenchError::Failed(format!("sunstar ctl {words:?}: {said}{complaint}")));
        }
        serde_json::from_str(&said)
            .map_err(|error| BenchError::Failed(format!("sunstar ctl {words:?}: {error}: {said}")))
    }

    /// The slots of each group, by the shard master's map, in runs with both ends included; and its members.
    ///
    /// # Errors
    /// If no node answers.
    pub(crate) fn placements(&self) -> Result<Vec<Placement>, BenchError> {
        #[derive(Deserialize)]
        struct View {
            groups: Vec<Placement>,
        }
        let view: View = serde_json::from_value(self.ctl(&["shards"])?)
            .map_err(|error| BenchError::Failed(format!("sunstar ctl shards: {error}")))?;
        Ok(view.groups)
    }

    /// Client addresses of all nodes, as the load takes them.
    pub(crate) fn targets(&self) -> String {
        let targets: Vec<_> = self.clients.iter().map(ToString::to_string).collect();
        targets.join(",")
    }

    /// What each core of each node says of itself.
    ///
    /// # Errors
    /// If a node does not answer.
    pub(crate) fn cores(&self) -> Result<Vec<Core>, BenchError> {
        let mut cores = Vec::new();
        for admin in &self.admins {
            cores.extend(status(*admin)?.cores);
        }
        Ok(cores)
    }

    fn has_leaders(&self) -> bool {
        self.cores().is_ok_and(|cores| {
            let mut groups = cores.iter().flat_map(|core| &core.groups).peekable();
            groups.peek().is_some() && groups.all(|group| group.leader.is_some())
        })
    }
}

/// What a cluster is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    /// Bytes of state that each node may hold.
    pub(crate) memory: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { nodes: NODES, memory: 1 << 30 }
    }
}

/// One core, as far as the benchmarks look at it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Core {
    /// Bytes of state held.
    pub(crate) state_bytes: u64,
    /// Bytes written to the log.
    pub(crate) log_bytes: u64,
    /// Times the log waited for a segment.
    pub(crate) log_segment_waits: u64,
    /// The longest of these waits.
    pub(crate) log_segment_wait_max_ms: u64,
    /// Snapshots finished.
    pub(crate) snapshots: u64,
    /// Whether another is being written.
    pub(crate) makes_snapshot: bool,
    /// Times the core stood still for more than a second.
    pub(crate) stalls: u64,
    /// The longest it ever stood still.
    pub(crate) stall_max_ms: f64,
    /// The replicas of this core.
    pub(crate) groups: Vec<Group>,
}

/// Where a group is, and what it owns.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Placement {
    pub(crate) group: u64,
    /// Numbers of nodes.
    pub(crate) members: Vec<u64>,
    /// Runs of slots, both ends included.
    pub(crate) slots: Vec<(u16, u16)>,
}

/// One replica, as far as the benchmarks look at it.
#[derive(Debug, Deserialize)]
pub(crate) struct Group {
    /// Of the group it belongs to.
    #[serde(rename = "group")]
    pub(crate) number: u64,
    /// The term it is in.
    pub(crate) term: u64,
    leader: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Status {
    cores: Vec<Core>,
}

/// One GET in HTTP/1.0, whose body ends with the connection.
fn status(admin: SocketAddr) -> Result<Status, BenchError> {
    let what = || BenchError::io(format!("asking {admin} for its status"));
    let mut stream = TcpStream::connect_timeout(&admin, ANSWER_PATIENCE).map_err(what())?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE)).map_err(what())?;
    write!(stream, "GET /status HTTP/1.0\r\nHost: {admin}\r\n\r\n").map_err(what())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).map_err(what())?;
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body)
        .map_err(|error| BenchError::Failed(format!("{admin} said {body:?}: {error}")))
}

/// Where the nodes of a cluster listen and write.
#[derive(Clone, Copy)]
struct Plan<'a> {
    /// One for each role of each node.
    ports: &'a [u16],
    directory: &'a Path,
    shape: Shape,
}

#[derive(Clone, Copy)]
enum Role {
    Client,
    Peer,
    Admin,
}

impl Plan<'_> {
    fn address(self, role: Role, node: usize) -> SocketAddr {
        let port = self.ports[role as usize * self.shape.nodes + node];
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// The default log and memory; `--overprovisioned`, since the nodes share the CPUs.
    fn arguments(self, node: usize) -> Vec<String> {
        let initial: Vec<_> = (0..self.shape.nodes)
            .map(|node| {
                let (peer, client) =
                    (self.address(Role::Peer, node), self.address(Role::Client, node));
                format!("n{}={peer}/{client}", node + 1)
            })
            .collect();
        let data = self.directory.join(format!("n{}", node + 1)).display().to_string();
        let pairs = [
            ("node-id", format!("n{}", node + 1)),
            ("data-dir", data),
            ("client-addr", self.address(Role::Client, node).to_string()),
            ("peer-addr", self.address(Role::Peer, node).to_string()),
            ("admin-addr", self.address(Role::Admin, node).to_string()),
            ("initial-nodes", initial.join(",")),
            ("smp", "1".to_owned()),
            ("memory", self.shape.memory.to_string()),
        ];
        let flags = pairs.into_iter().map(|(flag, value)| format!("--{flag}={value}"));
        ["start", "--overprovisioned"].map(str::to_owned).into_iter().chain(flags).collect()
    }
}

/// Returns the server's program: the one named; else, under `cargo run`, what cargo builds now, so
/// that it is never an old one; else the one beside this program.
///
/// # Errors
/// If there is none; the text says which command builds it.
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf, BenchError> {
    if named.is_none() {
        build()?;
    }
    let path = match named {
        Some(path) => path.to_owned(),
        None => own_program()?.with_file_name("sunstar"),
    };
    let version =
        Command::new(&path).arg("version").stdin(Stdio::null()).stdout(Stdio::null()).status();
    match version {
        Ok(status) if status.success() => Ok(path),
        _ => Err(BenchError::Missing(format!(
            "`{} version` does not run; build the server with `cargo build --release`, or name it \
             with --sunstar PATH",
            path.display()
        ))),
    }
}

/// Builds the server in this program's profile, if cargo started this program.
fn build() -> Result<(), BenchError> {
    let (Some(cargo), Some(package)) =
        (std::env::var_os("CARGO"), std::env::var_os("CARGO_MANIFEST_DIR"))
    else {
        return Ok(());
    };
    let workspace = Path::new(&package).join("..");
    let release = if cfg!(debug_assertions) { None } else { Some("--release") };
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "sunstar", "--bin", "sunstar"])
        .args(release)
        .current_dir(workspace)
        .stdout(Stdio::null())
        .status()
        .map_err(BenchError::io("building the server"))?;
    if status.success() {
        Ok(())
    } else {
        Err(BenchError::Failed("the server does not build".into()))
    }
}

const NODES: usize = 3;
const PATIENCE: Duration = Duration::from_mins(1);
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nodes_are_given_the_same_list_and_ports_of_their_own() {
        let ports: Vec<u16> = (1..=9).collect();
        let plan = Plan { ports: &ports, directory: Path::new("/d"), shape: Shape::default() };
        let list = "--initial-nodes=n1=127.0.0.1:4/127.0.0.1:1,n2=127.0.0.1:5/127.0.0.1:2,\
                    n3=127.0.0.1:6/127.0.0.1:3";
        for node in 0..NODES {
            assert!(plan.arguments(node).contains(&list.to_owned()));
        }
        assert!(plan.arguments(2).contains(&"--admin-addr=127.0.0.1:9".to_owned()));
        assert!(plan.arguments(2).contains(&"--data-dir=/d/n3".to_owned()));
    }

    #[test]
    fn a_missing_program_says_how_to_build_it() {
        let error = find(Some(Path::new("/nonexistent/sunstar"))).expect_err("there is none");
        assert!(error.to_string().contains("cargo build --release"), "{error}");
    }

    #[test]
    fn a_status_is_read_past_what_is_not_needed() {
        let text = r#"{"node": 1, "cores": [{"core": 0, "turns": 5, "stalls": 0,
            "stall_max_ms": 12, "groups": [{"group": 1, "role": "leader", "leader": 1, "term": 3}]}]}"#;
        let status: Status = serde_json::from_str(text).expect("as the server writes it");
        let group = &status.cores[0].groups[0];
        assert_eq!((group.number, group.term, group.leader), (1, 3, Some(1)));
    }
}
