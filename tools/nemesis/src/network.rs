//! A network for each node, and a hub that joins them, all of our own making: nothing of the machine's
//! network is touched.
//!
//! ```text
//!   namespace …-n1          namespace …-hub                    namespace …-n2
//!   eth0 10.77.0.1 ════ n1 ─┐                          ┌─ n2 ════ eth0 10.77.0.2
//!                           └─ bridge `hub` 10.77.0.254 ─┘
//!                              clients, `sunstar ctl`
//! ```
//!
//! Each node drops by nftables what it is not to hear (`cut`); a bad wire (`wire`) goes between.

use std::collections::BTreeMap;

use sunstar_disks::network::Network;
use sunstar_disks::programs;

use crate::cut::{Cut, Place};
use crate::trouble::Trouble;

/// The networks; gone when dropped. Processes in them must have ended.
#[derive(Debug)]
pub(crate) struct Networks {
    /// Dropped first: an interface goes with either end's namespace.
    nodes: BTreeMap<usize, Network>,
    prefix: String,
    _hub: Network,
}

impl Networks {
    /// Makes the hub, and moves the calling thread into it.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn lay(prefix: &str) -> Result<Self, Trouble> {
        let hub = Network::create(&format!("{prefix}-hub"))?;
        hub.enter()?;
        bridge::make("hub")?;
        let address = format!("{}/24", Place::Hub.address());
        programs::run("ip", &["addr", "add", &address, "dev", "hub"])?;
        Ok(Self { nodes: BTreeMap::new(), prefix: prefix.to_owned(), _hub: hub })
    }

    /// Makes the network of a node, where nothing is cut.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn add(&mut self, position: usize) -> Result<(), Trouble> {
        let (end, prefix) = (format!("n{}", position + 1), &self.prefix);
        let node = Network::create(&format!("{prefix}-{end}"))?;
        let name = node.name();
        let pair = ["link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", &end];
        programs::run("ip", &pair)?;
        bridge::join(&end, "hub")?;
        let address = format!("{}/24", Place::Node(position).address());
        programs::run("ip", &["-n", name, "addr", "add", &address, "dev", "eth0"])?;
        programs::run("ip", &["-n", name, "link", "set", "eth0", "up"])?;
        self.nodes.insert(position, node);
        Ok(())
    }

    /// Takes the network of a node down; its process must have ended.
    pub(crate) fn remove(&mut self, position: usize) {
        self.nodes.remove(&position);
    }

    /// Cuts as told, and nowhere else.
    ///
    /// # Errors
    /// If nftables refuses.
    pub(crate) fn apply(&self, cut: &Cut) -> Result<(), Trouble> {
        for (position, node) in &self.nodes {
            let rules = cut.rules(*position);
            programs::run("ip", &["netns", "exec", node.name(), "nft", &rules])?;
        }
        Ok(())
    }

    /// The network of a node.
    pub(crate) fn of(&self, position: usize) -> &Network {
        &self.nodes[&position]
    }
}

/// Bridges in the hub.
pub(crate) mod bridge {
    use sunstar_disks::programs;

    use crate::trouble::Trouble;

    /// A bridge of this name.
    pub(crate) fn make(name: &str) -> Result<(), Trouble> {
        programs::run("ip", &["link", "add", name, "type", "bridge"])?;
        programs::run("ip", &["link", "set", name, "up"])?;
        Ok(())
    }

    /// An interface becomes a port of a bridge, and of no other.
    pub(crate) fn join(port: &str, bridge: &str) -> Result<(), Trouble> {
        programs::run("ip", &["link", "set", port, "master", bridge, "up"])?;
        Ok(())
    }

    /// Node `number` gets a bridge of its own, which `here` is a port of; `there` takes its place in the hub.
    pub(crate) fn insert(number: usize, here: &str, there: &str) -> Result<(), Trouble> {
        let own = format!("w{number}");
        make(&own)?;
        join(here, &own)?;
        join(there, "hub")?;
        join(&format!("n{number}"), &own)
    }

    /// Node `number` is a port of the hub again.
    pub(crate) fn remove(number: usize) -> Result<(), Trouble> {
        join(&format!("n{number}"), "hub")?;
        programs::run("ip", &["link", "delete", &format!("w{number}")])?;
        Ok(())
    }
}
