//! Three etcd nodes on loopback, with etcd's defaults: every write synced before it is acknowledged.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::etcd_client;
use crate::child::{Interrupt, Server, free_ports};
use crate::error::BenchError;

/// A running cluster. Its nodes are killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Etcd {
    nodes: Vec<Server>,
    /// Client addresses, in the nodes' order.
    endpoints: Vec<SocketAddr>,
}

impl Etcd {
    /// Returns the program, having made sure that it runs.
    ///
    /// # Errors
    /// `Missing`, with what to install.
    pub(crate) fn find(program: &Path) -> Result<PathBuf, BenchError> {
        let version = Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match version {
            Ok(status) if status.success() => Ok(program.to_owned()),
            _ => Err(BenchError::Missing(format!(
                "`{}` cannot be run; install it with `apt-get install etcd-server` (Debian, \
                 Ubuntu), or name it with --etcd PATH",
                program.display()
            ))),
        }
    }

    /// Starts three nodes under `directory` and waits until they agree on a leader.
    ///
    /// # Errors
    /// If a node ends or no leader is elected in time.
    pub(crate) fn start(
        program: &Path,
        directory: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self, BenchError> {
        let ports = free_ports(2 * NODES)?;
        let (client, peer) = ports.split_at(NODES);
        let nodes: Result<Vec<_>, _> = (0..NODES)
            .map(|node| {
                let arguments = arguments(node, client[node], peer, directory);
                let log = directory.join(format!("etcd-{node}.log"));
                Server::start(format!("etcd node {node}"), program, arguments, &log)
            })
            .collect();
        let endpoints = client.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port)));
        let mut cluster = Self { nodes: nodes?, endpoints: endpoints.collect() };
        interrupt.wait_until("etcd elects a leader", PATIENCE, || {
            for node in &mut cluster.nodes {
                node.check_alive()?;
            }
            Ok(cluster.leader().is_some())
        })?;
        Ok(cluster)
    }

    /// Process ids of the nodes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(Server::pid).collect()
    }

    /// Client addresses of all nodes, the leader's first.
    ///
    /// # Errors
    /// If there is no leader.
    pub(crate) fn endpoints(&self) -> Result<Vec<SocketAddr>, BenchError> {
        let leader =
            self.leader().ok_or_else(|| BenchError::Failed("etcd has lost its leader".into()))?;
        let others = self.endpoints.iter().copied().filter(|endpoint| *endpoint != leader);
        Ok(std::iter::once(leader).chain(others).collect())
    }

    /// The leader's client address, once all members name the same one.
    fn leader(&self) -> Option<SocketAddr> {
        let views: Option<Vec<_>> =
            self.endpoints.iter().map(|endpoint| etcd_client::status(*endpoint).ok()).collect();
        let views = views?;
        let (_, leader) = views[0];
        let agreed = leader != 0 && views.iter().all(|(_, named)| *named == leader);
        let position = views.iter().position(|(member, _)| *member == leader)?;
        agreed.then(|| self.endpoints[position])
    }
}

fn arguments(node: usize, client: u16, peers: &[u16], directory: &Path) -> Vec<String> {
    let peer_url = |node: usize| format!("http://127.0.0.1:{}", peers[node]);
    let initial: Vec<_> =
        (0..peers.len()).map(|node| format!("etcd-{node}={}", peer_url(node))).collect();
    let client_url = format!("http://127.0.0.1:{client}");
    let data = directory.join(format!("etcd-{node}")).display().to_string();
    let pairs: [(&str, String); 11] = [
        ("name", format!("etcd-{node}")),
        ("data-dir", data),
        ("listen-client-urls", client_url.clone()),
        ("advertise-client-urls", client_url),
        ("listen-peer-urls", peer_url(node)),
        ("initial-advertise-peer-urls", peer_url(node)),
        ("initial-cluster", initial.join(",")),
        ("initial-cluster-token", "sunstar-bench".to_owned()),
        ("initial-cluster-state", "new".to_owned()),
        ("logger", "zap".to_owned()),
        ("log-level", "warn".to_owned()),
    ];
    pairs.into_iter().map(|(flag, value)| format!("--{flag}={value}")).collect()
}

const NODES: usize = 3;
const PATIENCE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_says_what_to_install() {
        let error = Etcd::find(Path::new("/nonexistent/etcd")).expect_err("there is none");
        assert!(matches!(error, BenchError::Missing(_)));
        assert!(error.to_string().contains("apt-get install etcd-server"), "{error}");
    }

    #[test]
    fn every_node_knows_all_peers() {
        let arguments = arguments(1, 10, &[21, 22, 23], Path::new("/d"));
        let all = "--initial-cluster=etcd-0=http://127.0.0.1:21,etcd-1=http://127.0.0.1:22,\
                   etcd-2=http://127.0.0.1:23";
        assert!(arguments.contains(&all.to_owned()), "{arguments:?}");
        assert!(arguments.contains(&"--listen-peer-urls=http://127.0.0.1:22".to_owned()));
        assert!(arguments.contains(&"--data-dir=/d/etcd-1".to_owned()));
    }
}
