//! `sunstar ctl join|leave|forget|move|drain|undrain|decommission`: changing who owns what.
//!
//! The shard master decides, and is done at once: a new epoch has begun. What that takes, the groups do by
//! themselves; whoever wants to see it done waits here, and loses nothing by going away.

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use serde_json::json;

use super::asking::{Pauses, Unanswered};
use super::failure::Failure;
use super::master::Master;
use super::views::{Movement, all_groups, groups, json as view_json, named};
use crate::base::{GroupId, NodeId, slot_runs};
use crate::io::{GroupMembers, GroupReason, PlacementOperation, PlacementView};

/// Pauses between two lines about how far it is.
const PAUSES_BETWEEN_LINES: u128 = 20;

/// What was typed.
#[derive(Debug)]
pub(crate) struct ChangeCommand {
    master: Master,
    wanted: Wanted,
    /// How long to wait until it is done; not at all if `None`.
    wait: Option<Duration>,
    as_json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// One operation.
    Operation(PlacementOperation),
    /// Half of a group's slots for another.
    MoveHalf { of: GroupId, to: GroupId },
    /// Drain a node, and remove it when it holds nothing.
    Decommission(NodeId),
}

/// Why it is not done.
#[derive(Debug)]
enum Trouble {
    /// It did not begin, as far as is known.
    Unanswered(Unanswered),
    /// It cannot be, and what can.
    Impossible(String, &'static str),
    /// It began, and is not done in time; it goes on.
    Late(String),
}

impl From<Unanswered> for Trouble {
    fn from(why: Unanswered) -> Self {
        Self::Unanswered(why)
    }
}

impl ChangeCommand {
    /// Reads what was typed after `ctl`, the first word being `name`.
    ///
    /// # Errors
    /// If a node, a group or a slot is none.
    pub(crate) fn read(name: &str, matches: &ArgMatches) -> Result<Self, Failure> {
        let text = |id: &str| matches.try_get_one::<String>(id).ok().flatten().cloned();
        let group = |id: &str| group_of(&text(id).unwrap_or_default());
        let node = || text("node").unwrap_or_default().parse::<NodeId>().map_err(Failure::usage);
        let number = |id: &str| matches.try_get_one::<u64>(id).ok().flatten().copied();
        let wanted = match name {
            "join" => {
                let groups =
                    u32::try_from(number("groups").unwrap_or(1)).map_err(Failure::usage)?;
                Wanted::Operation(PlacementOperation::Join { groups })
            }
            "leave" => {
                let groups = text("groups").unwrap_or_default();
                let groups = groups.split(',').map(group_of).collect::<Result<_, _>>()?;
                Wanted::Operation(PlacementOperation::Leave { groups })
            }
            "forget" => Wanted::Operation(PlacementOperation::Forget { group: group("group")? }),
            "move" => {
                if let Some(of) = text("half-of") {
                    Wanted::MoveHalf { of: group_of(&of)?, to: group("to")? }
                } else {
                    let slots = slot_runs::parse(&text("slots").unwrap_or_default());
                    let (slots, to) = (slots.map_err(Failure::usage)?, group("to")?);
                    Wanted::Operation(PlacementOperation::Move { slots, to })
                }
            }
            "drain" => Wanted::Operation(PlacementOperation::Drain { node: node()? }),
            "undrain" => Wanted::Operation(PlacementOperation::Undrain { node: node()? }),
            "decommission" => Wanted::Decommission(node()?),
            _ => unreachable!("every command is matched above"),
        };
        let waits = name == "decommission"
            || matches.try_get_one::<bool>("wait").ok().flatten() == Some(&true);
        let seconds = number("timeout").unwrap_or_default();
        Ok(Self {
            master: Master::read(matches),
            wanted,
            wait: waits.then(|| Duration::from_secs(seconds)),
            as_json: text("output").is_some_and(|output| output == "json"),
        })
    }

    /// Has it begun, waits for it if that is wanted, and shows what is so then. Exit code 0: it has begun,
    /// or is done if that was waited for, or was so already; 1: it is refused; 3: nobody answers, or it is
    /// not done in time.
    pub(crate) fn run(&self) -> ExitCode {
        match self.carry_out() {
            Ok(view) => {
                print!("{}", if self.as_json { view_json(&view) } else { groups(&view) });
                ExitCode::SUCCESS
            }
            Err(trouble) => trouble.report(self.as_json),
        }
    }

    fn carry_out(&self) -> Result<PlacementView, Trouble> {
        match &self.wanted {
            Wanted::Operation(operation) => self.do_one(operation),
            Wanted::MoveHalf { of, to } => {
                let slots = half_of(&self.master.view()?, *of)?;
                self.do_one(&PlacementOperation::Move { slots, to: *to })
            }
            Wanted::Decommission(node) => self.decommission(*node),
        }
    }

    fn do_one(&self, operation: &PlacementOperation) -> Result<PlacementView, Trouble> {
        let view = self.begin(operation)?;
        let Some(time) = self.wait else { return Ok(view) };
        let mut pauses = Pauses::within(time);
        if let PlacementOperation::Drain { node } = operation {
            self.until_empty(*node, &mut pauses)
        } else {
            self.until_moved(view.epoch, &mut pauses)
        }
    }

    /// What is so already is well.
    fn begin(&self, operation: &PlacementOperation) -> Result<PlacementView, Trouble> {
        match self.master.ask(operation) {
            Err(why) if why.is_no_change() => {
                if !self.as_json {
                    eprintln!("nothing is left to do: it is so already");
                }
                Ok(self.master.view()?)
            }
            answer => Ok(answer?),
        }
    }

    fn decommission(&self, node: NodeId) -> Result<PlacementView, Trouble> {
        self.begin(&PlacementOperation::Drain { node })?;
        let mut pauses = Pauses::within(self.wait.unwrap_or_default());
        self.until_empty(node, &mut pauses)?;
        loop {
            match self.begin(&PlacementOperation::RemoveNode { node }) {
                // The meta group's leader hears of it a moment later.
                Err(Trouble::Unanswered(Unanswered::Refused(refusal)))
                    if refusal.reason == GroupReason::UnderWay && pauses.take_one() => {}
                answer => return answer,
            }
        }
    }

    /// Waits until every slot and every replica is where the map says.
    fn until_moved(&self, epoch: u64, pauses: &mut Pauses) -> Result<PlacementView, Trouble> {
        self.until(pauses, |view| {
            let movement = Movement::of(view);
            if view.epoch < epoch || !movement.is_done() {
                return Some(movement.text());
            }
            // The shard master's own group says nothing of itself to the shard master.
            let meta = &view.meta;
            let settled = self.master.members(meta.group).is_ok_and(|it| holds(&it, &meta.members));
            (!settled).then(|| format!("{} is on its way to {}", meta.group, named(&meta.members)))
        })
    }

    /// Waits until a node holds no replica.
    fn until_empty(&self, node: NodeId, pauses: &mut Pauses) -> Result<PlacementView, Trouble> {
        self.until(pauses, |view| {
            let (mut held, mut led, mut unknown) = (Vec::new(), 0, 0);
            for group in all_groups(view).map(|placed| placed.group) {
                match self.master.members(group) {
                    Ok(members) => {
                        led += usize::from(members.leader == node);
                        let lists = [&members.voters, &members.outgoing, &members.learners];
                        if lists.iter().any(|list| list.contains(&node)) {
                            held.push(group.to_string());
                        }
                    }
                    Err(_) => unknown += 1,
                }
            }
            if held.is_empty() && led == 0 && unknown == 0 {
                return None;
            }
            let of = view.groups.len() + 1;
            let names = held.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(",");
            let mut text =
                format!("{node} holds {} of {of} groups ({names}), leads {led}", held.len());
            if unknown > 0 {
                text = format!("{text}; {unknown} do not say");
            }
            Some(text)
        })
    }

    /// Waits while `what_is_left` says that something is; nobody's answering may pass.
    fn until(
        &self,
        pauses: &mut Pauses,
        mut what_is_left: impl FnMut(&PlacementView) -> Option<String>,
    ) -> Result<PlacementView, Trouble> {
        let mut last = String::new();
        loop {
            match self.master.view() {
                Ok(view) => match what_is_left(&view) {
                    None => return Ok(view),
                    Some(left) => self.tell(&left, &mut last, pauses),
                },
                Err(why) if pauses.left() == 0 => return Err(why.into()),
                Err(why) => self.tell(&why.text(), &mut last, pauses),
            }
            if !pauses.take_one() {
                return Err(Trouble::Late(last));
            }
        }
    }

    /// Says how far it is, now and then, if that is new.
    fn tell(&self, left: &str, last: &mut String, pauses: &Pauses) {
        if left != last && pauses.left().is_multiple_of(PAUSES_BETWEEN_LINES) && !self.as_json {
            eprintln!("{left}");
        }
        left.clone_into(last);
    }
}

impl Trouble {
    fn report(&self, as_json: bool) -> ExitCode {
        let (reason, message, remedy, code) = match self {
            Self::Unanswered(why) => return why.report(as_json),
            Self::Impossible(message, remedy) => ("invalid", message.clone(), *remedy, 1),
            Self::Late(left) => {
                let message =
                    format!("it has begun, and goes on by itself, but is not done: {left}");
                ("late", message, "`sunstar ctl health` says when it is", 3)
            }
        };
        if as_json {
            println!("{}", json!({ "reason": reason, "message": message, "remedy": remedy }));
        }
        eprintln!("sunstar: {message}; {remedy}");
        ExitCode::from(code)
    }
}

/// Whether these, and nobody else, are the members, for good.
fn holds(members: &GroupMembers, wanted: &[NodeId]) -> bool {
    let mut voters = members.voters.clone();
    voters.sort_unstable();
    voters == wanted && members.outgoing.is_empty() && members.voters_next.is_empty()
}

fn group_of(text: &str) -> Result<GroupId, Failure> {
    text.trim().parse::<GroupId>().map_err(Failure::usage)
}

/// Half of a group's slots.
fn half_of(view: &PlacementView, group: GroupId) -> Result<Vec<slot_runs::Run>, Trouble> {
    let known = view.groups.iter().find(|placed| placed.group == group);
    let placed = known.ok_or_else(|| {
        Trouble::Impossible(format!("there is no {group}"), "`sunstar ctl groups` lists the groups")
    })?;
    let half = slot_runs::upper_half(&placed.slots);
    if half.is_empty() {
        let count = placed.slot_count;
        let message = format!("{group} has {count} slots, of which half is none");
        return Err(Trouble::Impossible(message, "name slots, or another group"));
    }
    Ok(half)
}

#[cfg(test)]
mod tests {
    use super::super::command_line::command;
    use super::super::views::tests::sample;
    use super::*;

    fn typed(words: &[&str]) -> Result<Wanted, String> {
        let line = [&["sunstar", "ctl"], words].concat();
        let matches = command().try_get_matches_from(line).map_err(|error| error.to_string())?;
        let (_, ctl) = matches.subcommand().expect("ctl");
        let (name, matches) = ctl.subcommand().expect("a command");
        ChangeCommand::read(name, matches).map(|it| it.wanted).map_err(|failure| failure.text)
    }

    #[test]
    fn what_is_typed_is_what_is_asked() {
        use PlacementOperation as O;
        let (g1, g3, n1) = (GroupId(1), GroupId(3), NodeId(1));
        for (words, wanted) in [
            (&["join", "--groups", "2"][..], O::Join { groups: 2 }),
            (&["join"], O::Join { groups: 1 }),
            (&["leave", "g1,3"], O::Leave { groups: vec![g1, g3] }),
            (&["forget", "g3"], O::Forget { group: g3 }),
            (&["move", "0-9,12", "--to", "g3"], O::Move { slots: vec![(0, 9), (12, 12)], to: g3 }),
            (&["drain", "n1", "--wait"], O::Drain { node: n1 }),
            (&["undrain", "n1"], O::Undrain { node: n1 }),
        ] {
            assert_eq!(typed(words), Ok(Wanted::Operation(wanted)));
        }
        let half = Wanted::MoveHalf { of: g1, to: g3 };
        assert_eq!(typed(&["move", "--half-of", "g1", "--to", "g3"]), Ok(half));
        assert_eq!(typed(&["decommission", "n1"]), Ok(Wanted::Decommission(n1)));
        for (words, cause) in [
            (&["move", "--to", "g3"][..], "required"),
            (&["move", "9-1", "--to", "g3"], "no run of slots"),
            (&["move", "1", "--half-of", "g1", "--to", "g3"], "cannot be used"),
            (&["move", "1"], "--to"),
            (&["join", "--groups", "0"], "not in 1.."),
            (&["drain", "x"], "node id"),
            (&["leave", "g1,x"], "group"),
        ] {
            let error = typed(words).expect_err(cause);
            assert!(error.contains(cause), "{words:?}: {error}");
        }
    }

    #[test]
    fn half_of_a_group_is_known_by_the_map() {
        let view = sample();
        assert_eq!(half_of(&view, GroupId(1)).expect("it has some"), [(4_096, 8_191)]);
        assert!(matches!(half_of(&view, GroupId(3)), Err(Trouble::Impossible(..))));
        assert!(matches!(half_of(&view, GroupId(9)), Err(Trouble::Impossible(..))));
    }
}
