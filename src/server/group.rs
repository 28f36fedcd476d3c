//! `sunstar ctl group`: who belongs to a group, and changing that.
//!
//! Any node can be asked. A change is answered when it has begun; what is waited for here is that
//! it is done, by asking for the members until they are as they should be.

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;

use super::asking::{Pauses, Unanswered};
use super::failure::Failure;
use super::master::Master;
use crate::base::{GroupId, NodeId};
use crate::io::{GroupMembers, GroupOperation, GroupReason};

/// What to do about a change that goes on.
const LOOK_AGAIN: &str = "`sunstar ctl group members` shows how far it is";

/// A transfer that came to nothing is asked for again after so many.
const PAUSES_BETWEEN_TRANSFERS: u128 = 30;

/// What was typed.
#[derive(Debug)]
pub(crate) struct GroupCommand {
    nodes: Master,
    group: GroupId,
    operation: GroupOperation,
    /// How long to wait until it is done; not at all if `None`.
    wait: Option<Duration>,
    as_json: bool,
}

impl GroupCommand {
    /// Reads what was typed after `ctl group`.
    ///
    /// # Errors
    /// If a node or group is none.
    pub(crate) fn read(name: &str, matches: &ArgMatches) -> Result<Self, Failure> {
        let text = |id: &str| matches.get_one::<String>(id).cloned().unwrap_or_default();
        let node = || text("node").parse::<NodeId>().map_err(Failure::usage);
        let group = text("group").parse::<GroupId>().map_err(Failure::usage)?;
        let operation = match name {
            "members" => GroupOperation::Members {},
            "add" => GroupOperation::Add { node: node()?, learner: matches.get_flag("learner") },
            "remove" => GroupOperation::Remove { node: node()? },
            "promote" => GroupOperation::Promote { node: node()? },
            "transfer" => GroupOperation::Transfer { node: node()? },
            "set" => {
                let nodes = text("nodes");
                let voters = nodes.split(',').map(str::parse).collect::<Result<_, _>>();
                GroupOperation::Set { voters: voters.map_err(Failure::usage)? }
            }
            _ => unreachable!("every command is matched above"),
        };
        let changes = name != "members";
        let seconds = matches.try_get_one::<u64>("timeout").ok().flatten().copied();
        let waits = changes && !matches.get_flag("no-wait");
        Ok(Self {
            nodes: Master::read(matches),
            group,
            operation,
            wait: seconds.filter(|_| waits).map(Duration::from_secs),
            as_json: text("output") == "json",
        })
    }

    /// Asks, waits, and shows the members. Exit code 0: it is done, or was so already.
    pub(crate) fn run(&self) -> ExitCode {
        match self.carry_out() {
            Ok(members) => {
                print!("{}", if self.as_json { json(&members) } else { table(&members) });
                ExitCode::SUCCESS
            }
            Err(trouble) => self.report(&trouble),
        }
    }

    fn carry_out(&self) -> Result<GroupMembers, Trouble> {
        let mut pauses = Pauses::within(self.wait.unwrap_or_default());
        let mut members = self.begin(&mut pauses)?;
        while self.wait.is_some() && !is_done(&self.operation, &members) {
            if !pauses.take_one() {
                return Err(Trouble::Late(Box::new(members)));
            }
            match self.ask(self.question(&pauses)) {
                Ok(now) => members = now,
                Err(trouble) if trouble.may_pass() || trouble.is_under_way() => {}
                Err(trouble) => return Err(trouble),
            }
            if is_undone(&self.operation, &members) {
                return Err(Trouble::Undone(Box::new(members)));
            }
        }
        Ok(members)
    }

    /// What to ask next: how things stand. A transfer that its leader gave up, since the successor
    /// did not stand in time, is wanted all the same; but while one is under way writes wait, so
    /// there is time between two.
    fn question(&self, pauses: &Pauses) -> &GroupOperation {
        let again = pauses.left().is_multiple_of(PAUSES_BETWEEN_TRANSFERS);
        match self.operation {
            GroupOperation::Transfer { .. } if again => &self.operation,
            _ => &GroupOperation::Members {},
        }
    }

    /// Has the operation begun; asks again where that may help, while there is time.
    fn begin(&self, pauses: &mut Pauses) -> Result<GroupMembers, Trouble> {
        loop {
            match self.ask(&self.operation) {
                Err(trouble) if trouble.reason() == Some(GroupReason::NoChange) => {
                    return self.ask(&GroupOperation::Members {});
                }
                Err(trouble) if trouble.may_pass() && pauses.take_one() => {}
                answer => return answer,
            }
        }
    }

    fn ask(&self, operation: &GroupOperation) -> Result<GroupMembers, Trouble> {
        self.nodes.ask_group(self.group, operation).map_err(Trouble::Unanswered)
    }

    fn report(&self, trouble: &Trouble) -> ExitCode {
        if self.as_json {
            println!("{}", trouble.json());
        }
        eprintln!("sunstar: {}", trouble.text());
        ExitCode::from(trouble.code())
    }
}

/// Why it is not done.
#[derive(Debug)]
enum Trouble {
    /// It did not begin, as far as is known.
    Unanswered(Unanswered),
    /// It began, and is not done in time; it may be yet.
    Late(Box<GroupMembers>),
    /// It began, and another change undid it.
    Undone(Box<GroupMembers>),
}

impl Trouble {
    /// Whether asking again may help.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unanswered(Unanswered::Refused(refusal)) => {
                matches!(refusal.reason, GroupReason::NoLeader | GroupReason::NotReady)
            }
            Self::Unanswered(Unanswered::Silent(_)) => true,
            Self::Late(_) | Self::Undone(_) => false,
        }
    }

    /// Why it was refused, if it was.
    fn reason(&self) -> Option<GroupReason> {
        match self {
            Self::Unanswered(Unanswered::Refused(refusal)) => Some(refusal.reason),
            _ => None,
        }
    }

    /// Whether what was asked for again is on its way still.
    fn is_under_way(&self) -> bool {
        self.reason() == Some(GroupReason::UnderWay)
    }

    fn text(&self) -> String {
        match self {
            Self::Unanswered(why) => why.text(),
            Self::Late(members) => format!(
                "it has begun, but is not done yet; {LOOK_AGAIN}; the members are now:\n{}",
                table(members)
            ),
            Self::Undone(members) => {
                format!("another change has undone it; the members are now:\n{}", table(members))
            }
        }
    }

    /// 1: refused, or undone; 3: nobody answers, or it is not done in time.
    fn code(&self) -> u8 {
        match self {
            Self::Unanswered(why) => why.code(),
            Self::Late(_) => 3,
            Self::Undone(_) => 1,
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Self::Unanswered(why) => why.json(),
            Self::Late(members) => serde_json::json!({
                "reason": "late", "message": "it has begun, but is not done yet",
                "remedy": LOOK_AGAIN, "members": members,
            }),
            Self::Undone(members) => serde_json::json!({
                "reason": "undone", "message": "another change has undone it",
                "remedy": "ask again if it is still wanted", "members": members,
            }),
        }
    }
}

/// Whether the members are as `operation` wants them, for good.
fn is_done(operation: &GroupOperation, members: &GroupMembers) -> bool {
    let settled = is_settled(members);
    let votes = |node| members.voters.contains(node);
    let learns = |node| members.learners.contains(node);
    match operation {
        GroupOperation::Members {} => true,
        GroupOperation::Add { node, learner: true } => settled && learns(node),
        GroupOperation::Add { node, .. } | GroupOperation::Promote { node } => {
            settled && votes(node)
        }
        GroupOperation::Remove { node } => settled && !votes(node) && !learns(node),
        GroupOperation::Set { voters } => settled && same(voters, &members.voters),
        GroupOperation::Replace { node, incarnation } => {
            settled && members.incarnations.get(node) == Some(incarnation)
        }
        GroupOperation::Transfer { node } => members.leader == *node,
    }
}

/// Whether nothing is under way any more that could lead to what was wanted.
fn is_undone(operation: &GroupOperation, members: &GroupMembers) -> bool {
    let transfer = matches!(operation, GroupOperation::Transfer { .. });
    is_settled(members) && !transfer && !is_done(operation, members)
}

/// Whether no change of the members is under way.
fn is_settled(members: &GroupMembers) -> bool {
    members.committed && members.outgoing.is_empty() && members.voters_next.is_empty()
}

fn same(a: &[NodeId], b: &[NodeId]) -> bool {
    a.iter().all(|node| b.contains(node)) && b.iter().all(|node| a.contains(node))
}

fn json(members: &GroupMembers) -> String {
    let text = serde_json::to_string(members).expect("members are plain data");
    format!("{text}\n")
}

fn table(members: &GroupMembers) -> String {
    let GroupMembers { group, leader, term, commit_index, .. } = members;
    let mut text = format!("{group}: term {term}, leader {leader}, commit {commit_index}\n\n");
    text.push_str("NODE  MEMBER            UP   MATCH       LAG\n");
    for replica in &members.replicas {
        let node = &replica.node;
        let up = if replica.up { "yes" } else { "no" };
        let line = format!(
            "{:<4}  {:<16}  {up:<3}  {:<10}  {}",
            node.to_string(),
            standing(*node, members),
            replica.match_index.0,
            replica.lag
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What a node is in the group.
fn standing(node: NodeId, members: &GroupMembers) -> &'static str {
    let next = members.voters_next.contains(&node);
    let goes = !members.voters_next.is_empty() && !next;
    if members.voters.contains(&node) {
        if goes { "voter, to go" } else { "voter" }
    } else if members.outgoing.contains(&node) {
        "voter, going"
    } else if next {
        "learner, to vote"
    } else {
        "learner"
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::base::{Index, Term};
    use crate::io::MemberProgress;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn members(voters: &[u64], learners: &[u64], voters_next: &[u64]) -> GroupMembers {
        let progress = |&node| MemberProgress {
            node,
            up: true,
            match_index: Index(90 + node.0),
            lag: 10 - node.0,
        };
        GroupMembers {
            group: GroupId(1),
            leader: NodeId(1),
            term: Term(3),
            last_index: Index(100),
            commit_index: Index(99),
            committed: true,
            voters: nodes(voters),
            learners: nodes(learners),
            voters_next: nodes(voters_next),
            replicas: nodes(voters).iter().chain(&nodes(learners)).map(progress).collect(),
            ..GroupMembers::default()
        }
    }

    #[test]
    fn the_table_says_what_each_node_is_and_is_to_be() {
        expect![[r#"
            g1: term 3, leader n1, commit 99

            NODE  MEMBER            UP   MATCH       LAG
            n1    voter             yes  91          9
            n2    voter, to go      yes  92          8
            n4    learner, to vote  yes  94          6
            n5    learner           yes  95          5
        "#]]
        .assert_eq(&table(&members(&[1, 2], &[4, 5], &[1, 4])));
    }

    #[test]
    fn done_is_when_nothing_is_under_way_and_it_is_as_wanted() {
        let add = GroupOperation::Add { node: NodeId(4), learner: false };
        let set = GroupOperation::Set { voters: nodes(&[4, 1]) };
        let staged = members(&[1, 2], &[4], &[1, 4]);
        for operation in [&add, &set] {
            assert!(!is_done(operation, &staged) && !is_undone(operation, &staged));
            assert!(is_done(operation, &members(&[1, 4], &[], &[])));
            assert!(is_undone(operation, &members(&[1, 2], &[], &[])));
        }
        let transfer = GroupOperation::Transfer { node: NodeId(2) };
        assert!(!is_done(&transfer, &staged) && !is_undone(&transfer, &staged));
    }
}
