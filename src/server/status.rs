//! What a node says of itself on its administration port, as far as it is shown or waited for here.

use std::time::Duration;

use serde_json::Value;

use super::http;

/// One node's answer to `/status`.
#[derive(Clone, Debug)]
pub(crate) struct NodeStatus {
    /// The whole answer.
    pub(crate) json: Value,
    /// Whether the node serves: `/readyz`.
    pub(crate) is_ready: bool,
}

/// Asks the node at `address`; `with_hash`: have every replica hash its state.
///
/// # Errors
/// A text that names address and cause.
pub(crate) fn ask(address: &str, with_hash: bool) -> Result<NodeStatus, String> {
    let path = if with_hash { "/status?hash=1" } else { "/status" };
    let fail = |cause: String| format!("{address}: {cause}");
    let ready = http::get(address, "/readyz", PATIENCE).map_err(|error| fail(error.to_string()))?;
    let status = http::get(address, path, PATIENCE).map_err(|error| fail(error.to_string()))?;
    if status.code != 200 {
        return Err(fail(format!("answered {} to {path}: {}", status.code, status.body.trim())));
    }
    let json = serde_json::from_str(&status.body)
        .map_err(|error| fail(format!("answered what is not JSON: {error}")))?;
    Ok(NodeStatus { json, is_ready: ready.code == 200 })
}

/// An administration port answers at once or not at all; hashing a large state takes a while.
const PATIENCE: Duration = Duration::from_secs(10);

impl NodeStatus {
    /// Its cores.
    pub(crate) fn cores(&self) -> &[Value] {
        self.json["cores"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Its replicas of groups, over all cores.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Value> {
        self.cores().iter().flat_map(|core| core["groups"].as_array().into_iter().flatten())
    }

    /// Other nodes that are there, and that it does not let in.
    pub(crate) fn refused(&self) -> impl Iterator<Item = &Value> {
        self.json["refused"].as_array().into_iter().flatten()
    }

    /// The sum of a counter over all cores.
    pub(crate) fn total(&self, counter: &str) -> u64 {
        self.cores().iter().filter_map(|core| core[counter].as_u64()).sum()
    }

    /// How many groups it leads.
    pub(crate) fn leads(&self) -> usize {
        self.groups().filter(|group| group["role"] == "leader").count()
    }

    /// Whether each of its replicas knows a leader.
    pub(crate) fn knows_all_leaders(&self) -> bool {
        self.groups().next().is_some() && self.groups().all(|group| group["leader"].is_u64())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A node with one core and two groups, the second without a leader unless `led`.
    pub(crate) fn sample(led: bool) -> NodeStatus {
        let leader = if led { Value::from(2) } else { Value::Null };
        let json = serde_json::json!({
            "node": 1, "stalls": 0, "cores": [{
                "core": 0, "commands": 7, "groups": [
                    {"group": 1, "role": "leader", "leader": 1, "keys": 5, "applied_index": 9,
                     "term": 1, "commit_index": 9},
                    {"group": 2, "role": "follower", "leader": leader, "keys": 1,
                     "applied_index": 3, "term": 2, "commit_index": 4},
                ],
            }],
        });
        NodeStatus { json, is_ready: led }
    }

    #[test]
    fn an_answer_is_summed_up() {
        let status = sample(true);
        assert_eq!((status.leads(), status.total("commands"), status.groups().count()), (1, 7, 2));
        assert!(status.knows_all_leaders());
        assert!(!sample(false).knows_all_leaders());
        assert!(!NodeStatus { json: Value::Null, is_ready: true }.knows_all_leaders());
    }
}
