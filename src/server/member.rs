//! `sunstar ctl member replace`: a node that lost its data directory comes back.
//!
//! The node asked does what can be done and says what is left; here it is asked again until nothing
//! is. Whoever interrupts this, and repeats it later with another node, loses nothing.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;

use super::asking::{Pauses, Unanswered, ask};
use super::failure::Failure;
use crate::base::{Incarnation, NodeId};
use crate::io::{GroupReason, Replacement, ReplacementStep};

/// How long one question may take: every group is asked.
const PATIENCE: Duration = Duration::from_secs(25);

/// What was typed.
#[derive(Debug)]
pub(crate) struct ReplaceCommand {
    address: String,
    node: NodeId,
    incarnation: Option<Incarnation>,
    /// How long to wait until it is done; not at all if zero.
    wait: Duration,
    as_json: bool,
}

/// Why it is not done.
#[derive(Debug)]
enum Trouble {
    /// Nobody answers, or it cannot be done so.
    Unanswered(Unanswered),
    /// It is not done in time; it may be yet.
    Late(Replacement),
}

impl ReplaceCommand {
    /// Reads what was typed after `ctl member replace`.
    ///
    /// # Errors
    /// If node or incarnation are none.
    pub(crate) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        let text = |id: &str| matches.get_one::<String>(id).cloned();
        let incarnation = text("incarnation").map(|text| text.parse()).transpose();
        let seconds = matches.get_one::<u64>("timeout").copied().unwrap_or_default();
        let waits = !matches.get_flag("no-wait");
        Ok(Self {
            address: text("admin-addr").unwrap_or_default(),
            node: text("node").unwrap_or_default().parse().map_err(Failure::usage)?,
            incarnation: incarnation.map_err(Failure::usage)?,
            wait: Duration::from_secs(if waits { seconds } else { 0 }),
            as_json: text("output").is_some_and(|output| output == "json"),
        })
    }

    /// Asks until it is done, and shows how far it is. Exit code 0: it is done, or was so already.
    pub(crate) fn run(&self) -> ExitCode {
        match self.carry_out() {
            Ok(replacement) => {
                print!("{}", if self.as_json { json(&replacement) } else { table(&replacement) });
                ExitCode::SUCCESS
            }
            Err(trouble) => {
                if self.as_json {
                    println!("{}", trouble.json());
                }
                eprintln!("sunstar: {}", trouble.text());
                ExitCode::from(match trouble {
                    Trouble::Unanswered(why) => why.code(),
                    Trouble::Late(_) => 3,
                })
            }
        }
    }

    fn carry_out(&self) -> Result<Replacement, Trouble> {
        let mut pauses = Pauses::within(self.wait);
        loop {
            match self.ask() {
                Ok(replacement) if replacement.is_done() || self.wait.is_zero() => {
                    return Ok(replacement);
                }
                Ok(_) | Err(Trouble::Unanswered(Unanswered::Silent(_))) if pauses.take_one() => {}
                Err(trouble) if trouble.may_pass() && pauses.take_one() => {}
                Ok(replacement) => return Err(Trouble::Late(replacement)),
                Err(trouble) => return Err(trouble),
            }
        }
    }

    fn ask(&self) -> Result<Replacement, Trouble> {
        let body = self.incarnation.map_or_else(
            || "{}".to_owned(),
            |incarnation| serde_json::json!({ "incarnation": incarnation }).to_string(),
        );
        let path = format!("/member/{}", self.node);
        ask(&self.address, &path, &body, PATIENCE).map_err(Trouble::Unanswered)
    }
}

impl Trouble {
    /// Whether asking again may help: the node may only be about to call.
    fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unanswered(Unanswered::Refused(refusal)) if refusal.reason == GroupReason::NoChange
        )
    }

    fn text(&self) -> String {
        match self {
            Self::Unanswered(why) => why.text(),
            Self::Late(replacement) => format!(
                "it is not done yet, and goes on when this is repeated:\n{}",
                table(replacement)
            ),
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Self::Unanswered(why) => why.json(),
            Self::Late(replacement) => {
                serde_json::json!({ "reason": "late", "replacement": replacement })
            }
        }
    }
}

fn json(replacement: &Replacement) -> String {
    let text = serde_json::to_string(replacement).expect("a replacement is plain data");
    format!("{text}\n")
}

fn table(replacement: &Replacement) -> String {
    let Replacement { node, incarnation, accepted, up, groups } = replacement;
    let state = match (accepted, up) {
        (true, true) => "let in",
        (true, false) => "let in, not up yet; if it lost its disk once more, start it",
        (false, _) => "not let in yet",
    };
    let mut text = format!("{node} as incarnation {incarnation}: {state}\n");
    for group in groups {
        let step = match group.step {
            ReplacementStep::Begun => "its old data still counts",
            ReplacementStep::OldOut => "catching up",
            ReplacementStep::Done => "done",
        };
        let trouble = group.trouble.as_ref();
        let why = trouble.map(|it| format!(": {}; {}", it.message, it.remedy)).unwrap_or_default();
        writeln!(text, "{:<4}  {step}{why}", group.group.to_string()).expect("strings take all");
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::base::GroupId;
    use crate::io::{GroupRefusal, GroupReplacement};

    #[test]
    fn the_table_says_what_is_left_and_why() {
        let group =
            |number, step, trouble| GroupReplacement { group: GroupId(number), step, trouble };
        let trouble = GroupRefusal {
            reason: GroupReason::NoLeader,
            message: "n3 led g2 last and cannot be reached".to_owned(),
            remedy: "ask again shortly".to_owned(),
        };
        let groups = vec![
            group(1, ReplacementStep::Done, None),
            group(2, ReplacementStep::Begun, Some(trouble)),
            group(12, ReplacementStep::OldOut, None),
        ];
        let (node, incarnation) = (NodeId(2), Incarnation(0x00c0_ffee));
        let replacement = Replacement { node, incarnation, accepted: false, up: false, groups };
        assert!(!replacement.is_done());
        expect![[r#"
            n2 as incarnation 0000000000c0ffee: not let in yet
            g1    done
            g2    its old data still counts: n3 led g2 last and cannot be reached; ask again shortly
            g12   catching up
        "#]]
        .assert_eq(&table(&replacement));
    }
}
