//! `sunstar ctl health`: whether all is as it should be, and if not, what is not.

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use serde_json::{Value, json};

use super::asking::Unanswered;
use super::master::Master;
use super::status::{self, NodeStatus};
use super::views::{Movement, all_groups, named};
use super::watching::{Shown, interval, show};
use crate::io::{GroupMembers, GroupPlacement, GroupRefusal, PlacementView};

/// A replica so many entries behind its leader is near: it is never quite there under load.
const NEAR: u64 = 1_000;

/// What was typed.
#[derive(Debug)]
pub(crate) struct HealthCommand {
    master: Master,
    as_json: bool,
    every: Option<Duration>,
}

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    epoch: u64,
    groups: usize,
    nodes: usize,
    /// What is not as it should be, one sentence each.
    troubles: Vec<String>,
}

impl HealthCommand {
    /// Reads what was typed after `ctl health`.
    pub(crate) fn read(matches: &ArgMatches) -> Self {
        let as_json = matches.get_one::<String>("output").is_some_and(|output| output == "json");
        Self { master: Master::read(matches), as_json, every: interval(matches) }
    }

    /// Looks at everything. Exit code 0: healthy; 1: not; 3: nobody can say.
    pub(crate) fn run(&self) -> ExitCode {
        show(self.every, || match self.look() {
            Ok(findings) => findings.shown(self.as_json),
            Err(why) => Shown::unanswered(&why, self.as_json),
        })
    }

    fn look(&self) -> Result<Findings, Unanswered> {
        let view = match self.master.view() {
            Ok(view) => view,
            Err(Unanswered::Refused(refusal)) => return Ok(self.without_master(&refusal)),
            Err(silent) => return Err(silent),
        };
        let mut findings = Findings {
            epoch: view.epoch,
            groups: view.groups.len(),
            nodes: view.nodes.len(),
            troubles: troubles_of_nodes(&view, &self.master.liveness()?),
        };
        for group in all_groups(&view) {
            let members = self.master.members(group.group);
            findings.troubles.extend(troubles_of_group(group, &members));
        }
        let movement = Movement::of(&view);
        if !movement.is_done() {
            findings.troubles.push(movement.text());
        }
        findings.troubles.extend(self.troubles_at_nodes());
        Ok(findings)
    }

    /// What can be said while the shard master takes no questions.
    fn without_master(&self, refusal: &GroupRefusal) -> Findings {
        let GroupRefusal { message, remedy, .. } = refusal;
        let mut troubles = vec![format!("the shard master does not answer: {message}; {remedy}")];
        for (node, _) in self.master.liveness().unwrap_or_default().iter().filter(|(_, up)| !up) {
            troubles.push(format!("n{node} is down, or not seen by the node that was asked"));
        }
        troubles.extend(self.troubles_at_nodes());
        Findings { troubles, ..Findings::default() }
    }

    fn troubles_at_nodes(&self) -> Vec<String> {
        let addresses = self.master.addresses.iter();
        addresses.flat_map(|address| troubles_at(address, &status::ask(address, false))).collect()
    }
}

impl Findings {
    fn shown(&self, as_json: bool) -> Shown {
        let Self { epoch, groups, nodes, troubles } = self;
        let is_healthy = troubles.is_empty();
        let text = if as_json {
            let all = json!({
                "healthy": is_healthy, "epoch": epoch, "groups": groups, "nodes": nodes,
                "reasons": troubles,
            });
            format!("{all}\n")
        } else if is_healthy {
            format!(
                "healthy: epoch {epoch}, {nodes} nodes, {groups} groups, all led and near, nothing \
                 moves\n"
            )
        } else {
            format!("not healthy:\n  {}\n", troubles.join("\n  "))
        };
        Shown { text, trouble: None, code: u8::from(!is_healthy) }
    }
}

fn troubles_of_nodes(view: &PlacementView, liveness: &[(u64, bool)]) -> Vec<String> {
    let is_up = |node: u64| liveness.contains(&(node, true));
    let down = view.nodes.iter().filter(|node| !is_up(node.node.0));
    down.map(|node| format!("{} is down, or not seen by the node that was asked", node.node))
        .collect()
}

fn troubles_of_group(
    placed: &GroupPlacement,
    members: &Result<GroupMembers, Unanswered>,
) -> Vec<String> {
    let group = placed.group;
    let members = match members {
        Ok(members) => members,
        Err(why) => return vec![format!("{group} has no leader that answers: {}", why.text())],
    };
    let mut troubles = Vec::new();
    let mut voters = members.voters.clone();
    voters.sort_unstable();
    if voters != placed.members || !members.outgoing.is_empty() || !members.voters_next.is_empty() {
        let (has, wanted) = (named(&voters), named(&placed.members));
        troubles.push(format!("{group} is held by {has}, and is to be by {wanted}"));
    }
    for replica in &members.replicas {
        let node = replica.node;
        if !replica.up {
            troubles.push(format!("{group}: the replica on {node} is down"));
        } else if replica.lag > NEAR {
            troubles.push(format!("{group}: the replica on {node} lacks {} entries", replica.lag));
        }
    }
    troubles
}

/// What a node says of itself.
fn troubles_at(address: &str, answer: &Result<NodeStatus, String>) -> Vec<String> {
    let status = match answer {
        Ok(status) => status,
        Err(cause) => return vec![format!("no answer: {cause}")],
    };
    let node = format!("n{}", status.json["node"]);
    let mut troubles = Vec::new();
    if !status.is_ready {
        troubles.push(format!("{node} is not ready: see http://{address}/readyz"));
    }
    for group in status.groups() {
        let id = &group["group"];
        if let Some(doubt) = group["doubt"].as_str() {
            troubles.push(format!("{node}: its replica of g{id} is in doubt of {doubt}"));
        }
        if group["leader"].is_null() {
            troubles.push(format!("{node}: its replica of g{id} knows no leader"));
        }
        if group["quarantined"] == Value::Bool(true) {
            troubles.push(format!("{node}: its replica of g{id} is quarantined"));
        }
    }
    for refused in status.refused() {
        let (other, remedy) = (&refused["node"], refused["remedy"].as_str().unwrap_or_default());
        troubles.push(format!("{node} refuses n{other}; {remedy}"));
    }
    troubles
}

#[cfg(test)]
mod tests {
    use super::super::views::tests::sample;
    use super::*;
    use crate::base::NodeId;
    use crate::io::MemberProgress;

    fn members(voters: &[u64], lag: u64) -> GroupMembers {
        let voters: Vec<NodeId> = voters.iter().copied().map(NodeId).collect();
        let replica = |&node| MemberProgress { node, up: true, lag, ..MemberProgress::default() };
        let replicas = voters.iter().map(replica).collect();
        GroupMembers { voters, replicas, ..GroupMembers::default() }
    }

    #[test]
    fn a_group_is_healthy_when_those_hold_it_who_should_and_are_near() {
        let placed = &sample().groups[0];
        let troubles = |answer| troubles_of_group(placed, &answer);
        assert_eq!(troubles(Ok(members(&[2, 1], NEAR))), [""; 0]);
        assert!(troubles(Ok(members(&[1, 3], 0)))[0].contains("held by n1,n3"));
        assert!(troubles(Ok(members(&[1, 2], NEAR + 1)))[1].contains("n2 lacks 1001"));
        let silent = Err(Unanswered::Silent("a:1: nobody".to_owned()));
        assert!(troubles(silent)[0].contains("no leader"));
        let mut one_down = members(&[1, 2], 0);
        one_down.replicas[1].up = false;
        assert_eq!(troubles(Ok(one_down)), ["g1: the replica on n2 is down"]);
    }

    #[test]
    fn a_replica_that_knows_no_leader_is_named() {
        let lost = Ok(status::tests::sample(false));
        let troubles = troubles_at("a:1", &lost);
        assert_eq!(troubles[1..], ["n1: its replica of g2 knows no leader"]);
        assert_eq!(troubles_at("a:1", &Ok(status::tests::sample(true))), [""; 0]);
    }

    #[test]
    fn what_is_wrong_decides_the_exit_code() {
        let view = sample();
        let troubles = troubles_of_nodes(&view, &[(1, true), (2, false)]);
        assert_eq!(troubles.len(), 1);
        let shown = Findings { troubles, ..Findings::default() }.shown(false);
        assert!(shown.code == 1 && shown.text.contains("n2 is down"), "{shown:?}");
        assert_eq!(Findings::default().shown(true).code, 0);
    }
}
