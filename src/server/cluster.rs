//! The cluster a node is started into: its initial nodes and the identity that follows from them.

use crate::base::limits::NODES_MAX;
use crate::base::{ClusterId, NodeId};
use crate::placement::NodeInfo;

/// Reads `n1=PEER/CLIENT,n2=…`; the answer is sorted by node id.
///
/// # Errors
/// A text that names the part that could not be read, and what was expected.
pub(crate) fn parse_initial_nodes(text: &str) -> Result<Vec<NodeInfo>, String> {
    let mut nodes = text.split(',').map(node).collect::<Result<Vec<_>, _>>()?;
    nodes.sort_by_key(|node| node.id);
    if let Some(pair) = nodes.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(format!("{} is named twice: every node has one entry", pair[0].id));
    }
    if nodes.len() > NODES_MAX {
        return Err(format!("{} nodes, at most {NODES_MAX} are possible", nodes.len()));
    }
    Ok(nodes)
}

fn node(text: &str) -> Result<NodeInfo, String> {
    let wrong = |what: &str| {
        format!("`{text}`: {what}; write each node as n1=host:7401/host:7400 (peer/client address)")
    };
    let (id, addresses) = text.trim().split_once('=').ok_or_else(|| wrong("no `=`"))?;
    let id: NodeId = id.parse().map_err(|error| wrong(&format!("{error}")))?;
    let (peer_address, client_address) = pair(addresses).map_err(|cause| wrong(&cause))?;
    Ok(NodeInfo { id, client_address, peer_address })
}

/// Reads `PEER/CLIENT`.
///
/// # Errors
/// A text that names the part that could not be read, and what was expected.
pub(crate) fn parse_addresses(text: &str) -> Result<(String, String), String> {
    pair(text.trim()).map_err(|cause| {
        format!("`{text}`: {cause}; write host:7401/host:7400 (peer/client address)")
    })
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (peer, client) = text.split_once('/').ok_or("no client address after a `/`")?;
    check_address(peer)?;
    check_address(client)?;
    Ok((peer.to_owned(), client.to_owned()))
}

/// Whether `address` says only where a node listens.
pub(crate) fn is_wildcard(address: &str) -> bool {
    matches!(address.rsplit_once(':'), Some(("0.0.0.0" | "[::]", _)))
}

/// Whether `address` is `host:port` as another node could use it.
pub(crate) fn check_address(address: &str) -> Result<(), String> {
    let (host, port) =
        address.rsplit_once(':').ok_or_else(|| format!("`{address}` has no port"))?;
    match port.parse::<u16>() {
        Ok(port) if port > 0 => {}
        _ => return Err(format!("`{port}` is not a port from 1 to 65535")),
    }
    if host.is_empty() {
        return Err(format!("`{address}` has no host"));
    }
    if matches!(host, "0.0.0.0" | "[::]") {
        return Err(format!("`{host}` is where a node listens, not where others reach it"));
    }
    Ok(())
}

/// The cluster's identity: the same on every node that was given the same name, nodes (in any
/// order) and number of groups, at every start. Never zero, which means "any" in handshakes.
///
/// A cluster of one node without addresses of its own may change its ports.
pub(crate) fn cluster_id(name: &str, nodes: &[(NodeId, &str)], groups: u32) -> ClusterId {
    let mut nodes = nodes.to_vec();
    nodes.sort_unstable();
    let mut hash = Fnv::default();
    hash.field(name.as_bytes());
    for (id, peer_address) in nodes {
        hash.field(&id.0.to_le_bytes());
        hash.field(peer_address.as_bytes());
    }
    hash.field(&groups.to_le_bytes());
    ClusterId(hash.0.max(1))
}

/// FNV-1a, 64 bits: fixed for ever, as clusters' identities are.
///
/// Source: Fowler, Noll, Vo; draft-eastlake-fnv, section 2.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Takes a field in with its length, so that fields cannot flow into each other.
    fn field(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_le_bytes();
        for byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_nodes_read_in_any_order() {
        let nodes = parse_initial_nodes("n2=b:1/b:2, n1=[::1]:1/a.example:2").expect("valid");
        assert_eq!(nodes[0].id, NodeId(1));
        assert_eq!(nodes[0].peer_address, "[::1]:1");
        assert_eq!(nodes[0].client_address, "a.example:2");
        assert_eq!(nodes[1].id, NodeId(2));
    }

    #[test]
    fn a_wrong_list_is_refused_by_its_part() {
        for (text, cause) in [
            ("", "no `=`"),
            ("n1", "no `=`"),
            ("n1=a:1", "no client address"),
            ("n1=a:1/a", "`a` has no port"),
            ("n1=a:0/a:1", "`0` is not a port"),
            ("n1=:1/a:1", "has no host"),
            ("n0=a:1/a:2", "not a node id"),
            ("n1=0.0.0.0:1/a:2", "where a node listens"),
            ("n1=a:1/a:2,1=b:1/b:2", "n1 is named twice"),
        ] {
            let error = parse_initial_nodes(text).expect_err(text);
            assert!(error.contains(cause), "{text}: {error}");
        }
    }

    #[test]
    fn the_identity_is_stable_and_tells_clusters_apart() {
        let nodes = [(NodeId(1), "a:1"), (NodeId(2), "b:1")];
        let turned = [nodes[1], nodes[0]];
        let id = cluster_id("sunstar", &nodes, 2);
        // Data directories carry it: it must not change from release to release.
        assert_eq!(id, ClusterId(15_293_610_326_011_907_914));
        assert_eq!(id, cluster_id("sunstar", &turned, 2));
        assert_ne!(id, cluster_id("other", &nodes, 2));
        assert_ne!(id, cluster_id("sunstar", &nodes, 3));
        assert_ne!(id, cluster_id("sunstar", &nodes[..1], 2));
        assert_ne!(id, cluster_id("sunstar", &[(NodeId(1), "a:12"), (NodeId(2), "b:1")], 2));
    }
}
