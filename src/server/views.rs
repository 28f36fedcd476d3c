//! `sunstar ctl nodes|groups|shards|epochs`: what the shard master says there is.

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;

use super::asking::Unanswered;
use super::master::Master;
use super::table::aligned;
use super::watching::{Shown, interval, show};
use crate::base::{NodeId, slot_runs};
use crate::io::{
    EpochView, GroupPlacement, GroupProgress, NodePlacement, PlacementOperation, PlacementView,
};

/// What is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nodes,
    Groups,
    Shards,
    Epochs,
}

/// What was typed.
#[derive(Debug)]
pub(crate) struct ViewCommand {
    kind: Kind,
    master: Master,
    question: PlacementOperation,
    as_json: bool,
    every: Option<Duration>,
}

impl ViewCommand {
    /// Reads what was typed after `ctl`, the first word being `name`.
    pub(crate) fn read(name: &str, matches: &ArgMatches) -> Self {
        let kind = match name {
            "nodes" => Kind::Nodes,
            "groups" => Kind::Groups,
            "shards" => Kind::Shards,
            "epochs" => Kind::Epochs,
            _ => unreachable!("every command is matched above"),
        };
        let number = |name| matches.try_get_one::<u64>(name).ok().flatten().copied();
        let question = match kind {
            Kind::Epochs => {
                let last = number("last").and_then(|last| usize::try_from(last).ok());
                PlacementOperation::History { last: last.unwrap_or(usize::MAX) }
            }
            _ => PlacementOperation::Query { epoch: number("epoch") },
        };
        let as_json = matches.get_one::<String>("output").is_some_and(|output| output == "json");
        let master = Master::read(matches);
        Self { kind, master, question, as_json, every: interval(matches) }
    }

    /// Asks and shows the answer. Exit code 0: there is one.
    pub(crate) fn run(&self) -> ExitCode {
        show(self.every, || self.look().unwrap_or_else(|why| Shown::unanswered(&why, self.as_json)))
    }

    fn look(&self) -> Result<Shown, Unanswered> {
        let view = self.master.ask(&self.question)?;
        let liveness = || self.master.liveness().unwrap_or_default();
        let text = match (self.kind, self.as_json) {
            (Kind::Nodes, true) => nodes_json(&view, &liveness()),
            (_, true) => json(&view),
            (Kind::Nodes, false) => nodes(&view, &liveness()),
            (Kind::Groups, false) => groups(&view),
            (Kind::Shards, false) => shards(&view),
            (Kind::Epochs, false) => epochs(&view),
        };
        Ok(Shown { text, ..Shown::default() })
    }
}

/// All that was answered.
pub(super) fn json(view: &PlacementView) -> String {
    let text = serde_json::to_string(view).expect("a view is plain data");
    format!("{text}\n")
}

/// The same, and who is up, as far as the node that was asked can tell.
fn nodes_json(view: &PlacementView, liveness: &[(u64, bool)]) -> String {
    let mut all = serde_json::to_value(view).expect("a view is plain data");
    for node in all["nodes"].as_array_mut().into_iter().flatten() {
        node["up"] = node["node"].as_u64().and_then(|id| is_up(id, liveness)).into();
    }
    format!("{all}\n")
}

fn is_up(node: u64, liveness: &[(u64, bool)]) -> Option<bool> {
    liveness.iter().find(|(id, _)| *id == node).map(|(_, up)| *up)
}

fn head(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn nodes(view: &PlacementView, liveness: &[(u64, bool)]) -> String {
    let mut rows = vec![head(&[
        "NODE",
        "UP",
        "STATE",
        "REPLICAS",
        "TO LEAD",
        "CLIENT ADDRESS",
        "PEER ADDRESS",
    ])];
    for NodePlacement { node, client_address, peer_address, draining } in &view.nodes {
        let count =
            |is_so: &dyn Fn(&&GroupPlacement) -> bool| all_groups(view).filter(is_so).count();
        rows.push(vec![
            node.to_string(),
            is_up(node.0, liveness).map_or("-", |up| if up { "yes" } else { "no" }).to_owned(),
            if *draining { "draining" } else { "serving" }.to_owned(),
            count(&|group| group.members.contains(node)).to_string(),
            count(&|group| group.preferred_leader == *node).to_string(),
            client_address.clone(),
            peer_address.clone(),
        ]);
    }
    format!("epoch {}\n\n{}", view.epoch, aligned(&rows))
}

/// The groups, and how far each is.
pub(super) fn groups(view: &PlacementView) -> String {
    let mut rows = vec![head(&[
        "GROUP", "STATE", "SLOTS", "MEMBERS", "TO LEAD", "EPOCH", "ARRIVING", "LEAVING",
    ])];
    for group in all_groups(view) {
        let state = if group.group == view.meta.group {
            "shard master"
        } else if group.leaving {
            "leaves"
        } else {
            "serving"
        };
        let said = |count: fn(&GroupProgress) -> u64| {
            group.progress.as_ref().map_or("-".to_owned(), |progress| count(progress).to_string())
        };
        rows.push(vec![
            group.group.to_string(),
            state.to_owned(),
            group.slot_count.to_string(),
            named(&group.members),
            group.preferred_leader.to_string(),
            said(|progress| progress.epoch),
            said(|progress| progress.arriving.into()),
            said(|progress| progress.leaving.into()),
        ]);
    }
    format!("epoch {}\n\n{}", view.epoch, aligned(&rows))
}

fn shards(view: &PlacementView) -> String {
    let mut runs: Vec<(slot_runs::Run, &GroupPlacement)> = Vec::new();
    for group in &view.groups {
        runs.extend(group.slots.iter().map(|&run| (run, group)));
    }
    runs.sort_unstable_by_key(|(run, _)| *run);
    let mut rows = vec![head(&["SLOTS", "COUNT", "GROUP", "MEMBERS"])];
    for (run, group) in runs {
        rows.push(vec![
            slot_runs::format(&[run]),
            slot_runs::count(&[run]).to_string(),
            group.group.to_string(),
            named(&group.members),
        ]);
    }
    let moving = Movement::of(view);
    format!("epoch {}: {}\n\n{}", view.epoch, moving.text(), aligned(&rows))
}

fn epochs(PlacementView { epoch, history, .. }: &PlacementView) -> String {
    if history.is_empty() {
        return format!("epoch {epoch}: nothing has been changed yet\n");
    }
    let mut rows = vec![head(&["EPOCH", "BEGAN", "WHAT"])];
    for EpochView { epoch, at_ms, what } in history {
        rows.push(vec![epoch.to_string(), utc(*at_ms), what.clone()]);
    }
    aligned(&rows)
}

/// How far all groups together are behind the newest map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Movement {
    /// Slots on their way to their new groups.
    pub(super) arriving: u64,
    /// Slots not given up by the old ones.
    pub(super) leaving: u64,
    /// Groups that have not begun the newest epoch.
    pub(super) behind: usize,
    /// Groups that others hold than the map says.
    pub(super) misplaced: usize,
    /// Groups whose leader has not said how far it is.
    pub(super) silent: usize,
}

impl Movement {
    pub(super) fn of(view: &PlacementView) -> Self {
        let mut movement = Self::default();
        for group in &view.groups {
            let Some(progress) = &group.progress else {
                movement.silent += 1;
                continue;
            };
            movement.arriving += u64::from(progress.arriving);
            movement.leaving += u64::from(progress.leaving);
            movement.behind += usize::from(progress.epoch < view.epoch);
            movement.misplaced += usize::from(progress.members_epoch < group.members_epoch);
        }
        movement
    }

    /// Whether every slot and every replica is where the map says, as far as all have said.
    pub(super) fn is_done(self) -> bool {
        self == Self::default()
    }

    pub(super) fn text(self) -> String {
        let Self { arriving, leaving, behind, misplaced, silent } = self;
        let parts = [
            (arriving, "slots on their way"),
            (leaving, "slots not given up yet"),
            (behind as u64, "groups behind"),
            (misplaced as u64, "groups on their way to other nodes"),
            (silent as u64, "groups that have not said how far they are"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if parts.is_empty() { "nothing moves".to_owned() } else { parts.join(", ") }
    }
}

/// The meta group and all others.
pub(super) fn all_groups(view: &PlacementView) -> impl Iterator<Item = &GroupPlacement> {
    std::iter::once(&view.meta).chain(&view.groups)
}

/// `n1,n2,n3`.
pub(super) fn named(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    names.join(",")
}

/// `2026-11-23T20:15:00Z`, of ms since 1970.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn utc(ms: u64) -> String {
    let (days, second) = (ms / 86_400_000, ms / 1_000 % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months are counted from March, so that the odd day is the last.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
pub(super) mod tests {
    use expect_test::expect;

    use super::*;
    use crate::base::GroupId;

    /// Two nodes, of which one drains, and three groups in epoch 7, of which one gets 100 slots.
    pub(crate) fn sample() -> PlacementView {
        let node = |id: u64| NodePlacement {
            node: NodeId(id),
            client_address: format!("host{id}:7400"),
            peer_address: format!("host{id}:7401"),
            draining: id == 2,
        };
        let group = |id: u32, members: &[u64], slots: &[slot_runs::Run]| GroupPlacement {
            group: GroupId(id),
            members: members.iter().copied().map(NodeId).collect(),
            preferred_leader: NodeId(members[0]),
            slot_count: slot_runs::count(slots) as usize,
            slots: slots.to_vec(),
            progress: Some(GroupProgress { epoch: 7, ..GroupProgress::default() }),
            ..GroupPlacement::default()
        };
        let mut view = PlacementView {
            epoch: 7,
            nodes: vec![node(1), node(2)],
            meta: GroupPlacement { progress: None, ..group(0, &[1, 2], &[]) },
            groups: vec![
                group(1, &[1, 2], &[(0, 8_191)]),
                group(2, &[1], &[(8_192, 16_383)]),
                group(3, &[2], &[]),
            ],
            history: vec![EpochView { epoch: 7, at_ms: 1_700_000_000_123, what: "a".to_owned() }],
        };
        view.groups[0].progress =
            Some(GroupProgress { epoch: 6, arriving: 100, ..GroupProgress::default() });
        view.groups[2].leaving = true;
        view
    }

    #[test]
    fn each_view_shows_its_part() {
        let view = sample();
        expect![[r"
            epoch 7

            NODE  UP   STATE     REPLICAS  TO LEAD  CLIENT ADDRESS  PEER ADDRESS
            n1    yes  serving   3         3        host1:7400      host1:7401
            n2    -    draining  3         1        host2:7400      host2:7401
        "]]
        .assert_eq(&nodes(&view, &[(1, true)]));
        expect![[r"
            epoch 7

            GROUP  STATE         SLOTS  MEMBERS  TO LEAD  EPOCH  ARRIVING  LEAVING
            g0     shard master  0      n1,n2    n1       -      -         -
            g1     serving       8192   n1,n2    n1       6      100       0
            g2     serving       8192   n1       n1       7      0         0
            g3     leaves        0      n2       n2       7      0         0
        "]]
        .assert_eq(&groups(&view));
        expect![[r"
            epoch 7: 100 slots on their way, 1 groups behind

            SLOTS       COUNT  GROUP  MEMBERS
            0-8191      8192   g1     n1,n2
            8192-16383  8192   g2     n1
        "]]
        .assert_eq(&shards(&view));
        expect![[r"
            EPOCH  BEGAN                 WHAT
            7      2023-11-14T22:13:20Z  a
        "]]
        .assert_eq(&epochs(&view));
        let new = PlacementView { epoch: 1, ..PlacementView::default() };
        assert_eq!(epochs(&new), "epoch 1: nothing has been changed yet\n");
        let json: serde_json::Value =
            serde_json::from_str(&nodes_json(&view, &[(1, true)])).expect("one object");
        assert_eq!((&json["nodes"][0]["up"], &json["nodes"][1]["up"]), (&true.into(), &().into()));
    }

    #[test]
    fn nothing_moves_when_all_have_said_so() {
        let mut view = sample();
        assert!(!Movement::of(&view).is_done());
        view.groups[0].progress = view.groups[1].progress;
        assert!(Movement::of(&view).is_done());
        view.groups[0].members_epoch = 7;
        assert_eq!(Movement::of(&view).text(), "1 groups on their way to other nodes");
        view.groups[0].progress = None;
        assert!(!Movement::of(&view).is_done());
    }

    #[test]
    fn times_are_told_as_calendars_do() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (951_868_799_999, "2000-02-29T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(ms), text);
        }
    }
}
