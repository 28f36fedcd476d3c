//! `sunstar ctl status`: what running nodes say of themselves.

use std::process::ExitCode;

use clap::ArgMatches;
use serde_json::{Value, json};

use super::master::Master;
use super::status::{NodeStatus, ask};
use super::table::aligned;
use super::watching::{Shown, interval, show};

/// Asks the nodes that were named and shows their answers. Exit code 0: all are ready; 1: not; 3: one does
/// not answer.
pub(crate) fn status(matches: &ArgMatches) -> ExitCode {
    let addresses = Master::read(matches).addresses;
    let as_json = matches.get_one::<String>("output").is_some_and(|output| output == "json");
    let with_hash = matches.get_flag("hash");
    show(interval(matches), || look(&addresses, with_hash, as_json))
}

fn look(addresses: &[String], with_hash: bool, as_json: bool) -> Shown {
    let answers: Vec<(&String, Result<NodeStatus, String>)> =
        addresses.iter().map(|address| (address, ask(address, with_hash))).collect();
    let text = if as_json {
        let all: Vec<Value> =
            answers.iter().map(|(address, answer)| object(address, answer)).collect();
        format!("{}\n", json!({ "nodes": all }))
    } else {
        table(&answers)
    };
    let code_of = |answer: &Result<NodeStatus, String>| match answer {
        Ok(status) => u8::from(!status.is_ready),
        Err(_) => 3,
    };
    let code = answers.iter().map(|(_, answer)| code_of(answer)).max().unwrap_or(0);
    Shown { text, trouble: None, code }
}

fn object(address: &str, answer: &Result<NodeStatus, String>) -> Value {
    match answer {
        Ok(status) => {
            json!({ "admin_addr": address, "ready": status.is_ready, "status": status.json })
        }
        Err(cause) => json!({ "admin_addr": address, "ready": false, "error": cause }),
    }
}

fn table(answers: &[(&String, Result<NodeStatus, String>)]) -> String {
    let mut nodes = vec![row([
        "NODE",
        "READY",
        "CORES",
        "GROUPS",
        "LEADS",
        "COMMANDS",
        "READS",
        "STATE BYTES",
        "STALLS",
    ])];
    let mut groups = vec![row([
        "GROUP",
        "NODE",
        "ROLE",
        "LEADER",
        "TERM",
        "COMMIT",
        "APPLIED",
        "KEYS",
        "STATE HASH",
    ])];
    let (mut refused, mut errors) = (String::new(), String::new());
    for (_, answer) in answers {
        match answer {
            Ok(status) => {
                nodes.push(node_row(status));
                groups.extend(status.groups().map(|group| group_row(status, group)));
                refused.extend(status.refused().map(|it| refusal(status, it)));
            }
            Err(cause) => errors.extend([cause.as_str(), "\n"]),
        }
    }
    groups[1..].sort_by_key(|row| row[0][1..].parse::<u64>().unwrap_or(u64::MAX));
    format!("{}{refused}\n{}{errors}", aligned(&nodes), aligned(&groups))
}

type Row = [String; 9];

fn row(texts: [&str; 9]) -> Row {
    texts.map(str::to_owned)
}

fn node_row(status: &NodeStatus) -> Row {
    [
        format!("n{}", status.json["node"]),
        if status.is_ready { "yes" } else { "no" }.to_owned(),
        status.cores().len().to_string(),
        status.groups().count().to_string(),
        status.leads().to_string(),
        status.total("commands").to_string(),
        status.total("reads").to_string(),
        status.total("state_bytes").to_string(),
        status.total("stalls").to_string(),
    ]
}

/// A node that is there, and not let in.
fn refusal(status: &NodeStatus, refused: &Value) -> String {
    let text = |key: &str| refused[key].as_str().unwrap_or("-");
    let (by, node, incarnation) = (&status.json["node"], &refused["node"], text("incarnation"));
    format!("n{by} refuses n{node} as incarnation {incarnation}; {}\n", text("remedy"))
}

fn group_row(status: &NodeStatus, group: &Value) -> Row {
    let number = |key: &str| group[key].as_u64().map_or("-".to_owned(), |n| n.to_string());
    let text = |key: &str| group[key].as_str().unwrap_or("-").to_owned();
    [
        format!("g{}", number("group")),
        format!("n{}", status.json["node"]),
        role(group),
        group["leader"].as_u64().map_or("-".to_owned(), |leader| format!("n{leader}")),
        number("term"),
        number("commit_index"),
        number("applied_index"),
        number("keys"),
        text("state_hash"),
    ]
}

fn role(group: &Value) -> String {
    let role = group["role"].as_str().unwrap_or("-");
    let quarantined = group["quarantined"].as_bool() == Some(true);
    if quarantined { format!("{role}, quarantined") } else { role.to_owned() }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::status::tests::sample;
    use super::*;

    #[test]
    fn the_table_shows_nodes_groups_and_who_did_not_answer() {
        let (here, there) = ("a:1".to_owned(), "b:1".to_owned());
        let answers = [(&here, Ok(sample(true))), (&there, Err("b:1: refused".to_owned()))];
        expect![[r#"
            NODE  READY  CORES  GROUPS  LEADS  COMMANDS  READS  STATE BYTES  STALLS
            n1    yes    1      2       1      7         0      0            0

            GROUP  NODE  ROLE      LEADER  TERM  COMMIT  APPLIED  KEYS  STATE HASH
            g1     n1    leader    n1      1     9       9        5     -
            g2     n1    follower  n2      2     4       3        1     -
            b:1: refused
        "#]]
        .assert_eq(&table(&answers));
    }
}
