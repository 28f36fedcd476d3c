//! `sunstar recover-quorum`: the last resort after a majority of a group is lost for good.

use std::process::ExitCode;

use clap::ArgMatches;

use super::command_line::{CONSENT, GROUPS, VOTERS};
use super::config::Config;
use super::failure::Failure;
use super::logging;
use super::start::node_config;
use crate::base::{GroupId, NodeId};
use crate::io::{OfflineNode, Survivor};

/// Shows what the node's replicas have; with consent, makes the voters that were named the whole of
/// each group.
pub(crate) fn recover_quorum(config: &Config, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    logging::start(&config.log_level, config.log_format);
    let voters = matches.get_many::<NodeId>(VOTERS).expect("required");
    let voters: Vec<NodeId> = voters.copied().collect();
    let node = OfflineNode::open(node_config(config)?);
    let node = node.map_err(Failure::failed)?;
    let survivors = wanted(matches, node.survivors().map_err(Failure::failed)?)?;
    for survivor in &survivors {
        println!("found {}", described(survivor));
    }
    if !matches.get_flag(CONSENT) {
        return Err(Failure::usage(format!(
            "nothing was changed. This makes {} the only voters of the groups above. What the other \
             members had acknowledged and this node never received is lost, and if any of them ever \
             starts again with its data, two clusters go on under one name. Where several survive, \
             run it on the one whose last entry is of the highest term, then the highest index. If \
             that is what you want, repeat the command with --{CONSENT}",
            named(&voters)
        )));
    }
    for Survivor { group, .. } in survivors {
        let forced = node.force(group, &voters).map_err(Failure::failed)?;
        tracing::warn!(
            %group,
            voters = named(&voters),
            term = %forced.term,
            index = %forced.last_index,
            "the members of a group were rewritten by force: what only the others had is lost"
        );
        println!("now {}", described(&forced));
    }
    println!(
        "Start this node again. The members that were left out must never return with their data: \
         remove it, start them without, let each in with `sunstar ctl member replace`, and add it to \
         its groups with `sunstar ctl group add`."
    );
    Ok(ExitCode::SUCCESS)
}

/// Those of the groups that were named.
fn wanted(matches: &ArgMatches, survivors: Vec<Survivor>) -> Result<Vec<Survivor>, Failure> {
    let named: Vec<&String> = matches.get_many(GROUPS).expect("required").collect();
    if named == ["all"] {
        return Ok(survivors);
    }
    let find = |text: &&String| {
        let group = text.parse::<GroupId>().ok();
        let found = survivors.iter().find(|survivor| Some(survivor.group) == group);
        found.cloned().ok_or_else(|| {
            let here: Vec<String> = survivors.iter().map(|one| one.group.to_string()).collect();
            let here = here.join(", ");
            Failure::usage(format!("--{GROUPS} {text}: this node has replicas of {here}"))
        })
    };
    named.iter().map(find).collect()
}

fn described(survivor: &Survivor) -> String {
    let Survivor { group, term, last_index, last_term, configuration } = survivor;
    let mut text = format!(
        "{group}: term {term}, last entry {last_index} of term {last_term}, voters {}",
        named(&configuration.voters)
    );
    let others = [
        ("outgoing voters", &configuration.outgoing),
        ("learners", &configuration.learners),
        ("voters to be", &configuration.voters_next),
    ];
    for (what, nodes) in others.into_iter().filter(|(_, nodes)| !nodes.is_empty()) {
        text = format!("{text}, {what} {}", named(nodes));
    }
    text
}

fn named(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    names.join(", ")
}
