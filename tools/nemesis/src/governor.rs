//! Changes of the shard map: asked for while nodes are killed, cut off and starved, and brought to their end.
//!
//! ```text
//!   wish ──▶ errand: `ctl move --wait` | join --wait | leave --wait, forget
//!                    | start --join, ready | drain --wait, decommission, SIGTERM
//!             step ──answered──▶ next step           refused for now, or no answer: asked again
//!                  ──refused──▶ dropped and counted  any other answer: a finding
//! ```
//!
//! Each question is a process of `sunstar ctl` of its own that goes on through the rounds, as an operator's
//! would; nothing waits for it but the end of the run. What cannot be repeated, and was not answered, is
//! left to the shard master: a group more or less is no harm. A node is decommissioned and stopped between
//! rounds only, so that no fault of the round is done to a process that is meant to go.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::control::NodeAnswer;
use crate::kind::Kind;
use crate::map::Map;
use crate::node::name;
use crate::owners::Epochs;
use crate::pace::Pace;
use crate::report::Changes;
use crate::schedule::{Change, Known};
use crate::trouble::{Trouble, at};
use crate::wish::Wish;

/// Who sees to the changes.
#[derive(Debug)]
pub(crate) struct Governor {
    errands: Vec<Errand>,
    epochs: Epochs,
    changes: Changes,
    /// With how many nodes the cluster began.
    nodes_at_first: usize,
    /// Where the next node will be: no position is used twice.
    next_position: usize,
    /// Where answers lie.
    room: PathBuf,
    questions: u32,
    random: Rng,
}

/// A change that is under way.
#[derive(Debug)]
struct Errand {
    kind: Kind,
    wish: Wish,
    /// What is left to be done; the first may be under way.
    steps: VecDeque<Step>,
    asking: Option<Asking>,
    /// How often the first step was asked for.
    asked: u32,
    began: Duration,
    /// The first step is not tried before.
    next: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// `sunstar ctl` with these words.
    Ask(Vec<String>),
    /// The same, between rounds.
    AskCalmly(Vec<String>),
    /// A node that joins is killed on the way, and started again.
    Stumble(usize),
    /// A node is ready.
    Arrive(usize),
    /// A node that was removed ends.
    Dismiss(usize),
}

/// A question under way; its process is killed when it is dropped.
#[derive(Debug)]
struct Asking {
    process: Child,
    answer: PathBuf,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    /// It may pass: asked again.
    Again(String),
    /// For good.
    Refused(String),
    /// Nothing that the tool should say.
    Finding(String),
}

impl Governor {
    /// Nothing is asked yet.
    pub(crate) fn new(seed: u64, nodes: usize, room: &Path) -> Self {
        Self {
            errands: Vec::new(),
            epochs: Epochs::default(),
            changes: Changes::default(),
            nodes_at_first: nodes,
            next_position: nodes,
            room: room.to_owned(),
            questions: 0,
            random: Rng::with_seed(seed ^ 0x60),
        }
    }

    /// What is known of the cluster. All its nodes must be up, so that they answer.
    ///
    /// # Errors
    /// If they do not.
    pub(crate) fn look(&mut self, cluster: &mut Cluster, pace: &Pace) -> Result<Known, Trouble> {
        let positions = cluster.positions();
        let (_, map) = pace.wait_for("the shard master answers", ANSWERED_MAX, || {
            cluster.check_alive()?;
            self.note_epochs(cluster, &positions)
        })?;
        let departing = self.departing();
        let mut nodes = positions;
        nodes.retain(|node| !cluster.node(*node).is_joining() && !departing.contains(node));
        let is_host = |position: &usize| {
            let node = *position as u64 + 1;
            let wish = Wish::DrainNode(*position);
            !self.errands.iter().any(|errand| errand.wish == wish)
                && map.draining(node) == Some(false)
                && map.groups().iter().any(|group| group.members.contains(&node))
        };
        let hosts: Vec<_> = nodes.iter().copied().filter(is_host).collect();
        let answers = cluster.control.status(&hosts, false)?;
        let pairs = hosts.iter().zip(&answers);
        let settled = pairs.filter(|(position, answer)| has_all(&map, **position, answer));
        let settled = settled.map(|(position, _)| *position).collect();
        let busy = self.errands.iter().map(|errand| errand.kind).collect();
        let mut replaced = hosts.clone();
        replaced.retain(|node| cluster.node(*node).has_lost_disk());
        let nodes_at_first = self.nodes_at_first;
        Ok(Known { nodes, hosts, settled, replaced, nodes_at_first, map, busy })
    }

    /// Asks for the newest map, and all between that and what is known.
    fn note_epochs(&mut self, cluster: &Cluster, nodes: &[usize]) -> Result<Option<Map>, Trouble> {
        let Some(map) = cluster.control.map(nodes, None)? else { return Ok(None) };
        for epoch in self.epochs.known() + 1..map.epoch {
            let Some(former) = cluster.control.map(nodes, Some(epoch))? else { return Ok(None) };
            self.epochs.insert(&former);
        }
        self.epochs.insert(&map);
        Ok(Some(map))
    }

    /// Begins a change.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn begin(
        &mut self,
        change: &Change,
        known: &Known,
        cluster: &mut Cluster,
        pace: &Pace,
    ) -> Result<(), Trouble> {
        let now = pace.running_time();
        let steps = match change.wish {
            Wish::JoinNode => {
                let through = self.random.choice(known.hosts.iter().copied());
                let (Some(through), position) = (through, self.next_position) else {
                    return Ok(());
                };
                self.next_position += 1;
                cluster.add_joining(position, through)?;
                let stumbles = self.random.bool().then_some(Step::Stumble(position));
                stumbles.into_iter().chain([Step::Arrive(position)]).collect()
            }
            wish => steps(wish),
        };
        self.changes.asked(change.kind);
        let stumble = Duration::from_millis(self.random.u64(0..2_000));
        let waits =
            if matches!(steps.front(), Some(Step::Stumble(_))) { stumble } else { NOT_AT_ALL };
        let (kind, wish, next) = (change.kind, change.wish, now + waits);
        let (asking, asked, began) = (None, 0, now);
        self.errands.push(Errand { kind, wish, steps, asking, asked, began, next });
        self.go_on(cluster, pace, false)
    }

    /// Takes answers, and asks for what comes next. `calm`: no fault is under way.
    ///
    /// # Errors
    /// If the system refuses, or an answer is none that may be.
    pub(crate) fn go_on(
        &mut self,
        cluster: &mut Cluster,
        pace: &Pace,
        calm: bool,
    ) -> Result<(), Trouble> {
        let now = pace.running_time();
        let mut i = 0;
        while i < self.errands.len() {
            self.take_answer(i, now)?;
            if self.errands[i].asking.is_none() && self.errands[i].next <= now {
                self.take_step(i, cluster, pace, calm)?;
            }
            let errand = &self.errands[i];
            if errand.steps.is_empty() {
                self.errands.remove(i);
            } else {
                i += 1;
            }
        }
        Ok(())
    }

    fn take_answer(&mut self, i: usize, now: Duration) -> Result<(), Trouble> {
        let errand = &mut self.errands[i];
        let Some(asking) = &mut errand.asking else { return Ok(()) };
        let path = Path::new("sunstar ctl");
        let Some(status) = asking.process.try_wait().map_err(at("wait for", path))? else {
            return Ok(());
        };
        let said = std::fs::read_to_string(&asking.answer).map_err(at("read", &asking.answer))?;
        errand.asking = None;
        match errand.judge(status.code(), &said) {
            Verdict::Done => {
                errand.steps.pop_front();
                errand.asked = 0;
                self.note_end(i, now);
            }
            Verdict::Again(reason) => {
                errand.next = now + AGAIN_AFTER;
                self.changes.put_off(&reason);
            }
            Verdict::Refused(reason) => {
                eprintln!("            {}: {reason}", errand.wish);
                errand.steps.clear();
                self.changes.refused(errand.kind, &reason);
            }
            Verdict::Finding(why) => {
                let wish = errand.wish;
                return Err(Trouble::Broken(format!("{wish}: {why}")));
            }
        }
        Ok(())
    }

    /// Does what comes next, if that can be done now.
    fn take_step(
        &mut self,
        i: usize,
        cluster: &mut Cluster,
        pace: &Pace,
        calm: bool,
    ) -> Result<(), Trouble> {
        let errand = &mut self.errands[i];
        let done = match errand.steps.front() {
            Some(Step::Ask(words)) => {
                let words = words.clone();
                return self.ask(i, &words, cluster);
            }
            Some(Step::AskCalmly(words)) if calm => {
                let words = words.clone();
                return self.ask(i, &words, cluster);
            }
            Some(Step::Stumble(position)) => {
                cluster.node(*position).kill()?;
                cluster.start_node(*position)?;
                true
            }
            Some(Step::Arrive(position)) if calm => {
                let answers = cluster.control.status(&[*position], false)?;
                let ready = answers.iter().all(|answer| answer.ready);
                if ready {
                    cluster.node(*position).has_joined();
                }
                ready
            }
            Some(Step::Dismiss(position)) if calm => {
                cluster.dismiss(*position, pace)?;
                true
            }
            _ => false,
        };
        if done {
            errand.steps.pop_front();
            self.note_end(i, pace.running_time());
        }
        Ok(())
    }

    fn note_end(&mut self, i: usize, now: Duration) {
        let errand = &self.errands[i];
        if errand.steps.is_empty() {
            let took = now.saturating_sub(errand.began);
            eprintln!("            {}: done after {:.1} s", errand.wish, took.as_secs_f64());
            self.changes.done(errand.kind, took);
        }
    }

    /// What is under way.
    pub(crate) fn tell(&self) {
        for Errand { wish, steps, asked, .. } in &self.errands {
            eprintln!("under way: {wish}, asked {asked} times, {steps:?} left");
        }
    }

    /// Asks any node that has joined.
    fn ask(&mut self, i: usize, words: &[String], cluster: &mut Cluster) -> Result<(), Trouble> {
        let departing = self.departing();
        let mut asked = cluster.positions();
        asked.retain(|node| !cluster.node(*node).is_joining() && !departing.contains(node));
        self.random.shuffle(&mut asked);
        self.questions += 1;
        let answer = self.room.join(format!("ctl-{}", self.questions));
        let file = File::create(&answer).map_err(at("create", &answer))?;
        let process = cluster.control.begin(words, &asked, file)?;
        self.errands[i].asking = Some(Asking { process, answer });
        self.errands[i].asked += 1;
        Ok(())
    }

    /// Nodes that are about to be removed, or are.
    fn departing(&self) -> BTreeSet<usize> {
        let departing = |errand: &Errand| match (errand.wish, errand.steps.front()) {
            (Wish::DrainNode(node), Some(Step::AskCalmly(_) | Step::Dismiss(_))) => Some(node),
            _ => None,
        };
        self.errands.iter().filter_map(departing).collect()
    }

    /// Brings everything that was begun to its end, and waits until all is as the map says. There must be no
    /// faults any more.
    ///
    /// # Errors
    /// If that does not come about in time.
    pub(crate) fn finish(&mut self, cluster: &mut Cluster, pace: &Pace) -> Result<Map, Trouble> {
        pace.wait_for("changes of the map come to their end", FINISHED_MAX, || {
            cluster.check_alive()?;
            self.go_on(cluster, pace, true)?;
            Ok(self.errands.is_empty().then_some(()))
        })?;
        cluster.await_ready(pace)?;
        let nodes = cluster.positions();
        let mut last = String::new();
        let healthy = pace.wait_for("all is as the map says", FINISHED_MAX, || {
            cluster.check_alive()?;
            let said = cluster.control.health(&nodes)?;
            last = said.text;
            Ok(said.succeeded.then_some(()))
        });
        healthy.map_err(|trouble| trouble.with(&last))?;
        Ok(self.look(cluster, pace)?.map)
    }

    /// The maps that were in force, and what became of the changes.
    pub(crate) fn into_parts(self) -> (Epochs, Changes) {
        (self.epochs, self.changes)
    }
}

/// Whether a node has a replica of every group that the map gives it, and nothing of them is in doubt.
fn has_all(map: &Map, position: usize, answer: &NodeAnswer) -> bool {
    let node = position as u64 + 1;
    let mut wanted = map.groups().iter().filter(|group| group.members.contains(&node));
    wanted.all(|wanted| {
        answer.groups().any(|found| {
            found.group == wanted.group && found.is_settled() && found.applied_index > 0
        })
    })
}

/// What `wish` takes, but for a node that joins.
fn steps(wish: Wish) -> VecDeque<Step> {
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let ask = |text| Step::Ask(words(text));
    match wish {
        Wish::Move { first, last, to } => {
            vec![ask(format!("move {first}-{last} --to g{to} --wait"))]
        }
        Wish::MoveHalf { of, to } => vec![ask(format!("move --half-of g{of} --to g{to} --wait"))],
        Wish::JoinGroup => vec![ask("join --wait".to_owned())],
        Wish::LeaveGroup(group) => {
            vec![ask(format!("leave g{group} --wait")), ask(format!("forget g{group}"))]
        }
        Wish::JoinNode => vec![],
        Wish::DrainNode(node) => vec![
            ask(format!("drain {} --wait", name(node))),
            Step::AskCalmly(words(format!("decommission {}", name(node)))),
            Step::Dismiss(node),
        ],
    }
    .into()
}

impl Errand {
    /// What the exit code and the answer to the first step mean.
    fn judge(&self, code: Option<i32>, said: &str) -> Verdict {
        if code == Some(0) {
            return Verdict::Done;
        }
        let refusal: Value = serde_json::from_str(said).unwrap_or_default();
        let text = |field: &str| refusal[field].as_str().unwrap_or_default().to_owned();
        let (reason, message) = (text("reason"), text("message"));
        let finding = || Verdict::Finding(format!("exit code {code:?}: {said:?}"));
        if !matches!(code, Some(1 | 3)) || message.is_empty() {
            return finding();
        }
        match &reason[..] {
            // Whether it came to be is not known; asked for again there would be another.
            "silent" if self.wish == Wish::JoinGroup => Verdict::Refused(reason),
            "silent" | "no-leader" | "not-ready" | "under-way" | "node-down" | "no-room" => {
                Verdict::Again(reason)
            }
            "refused" => Verdict::Refused(reason),
            // It was removed, but that answer was lost.
            "unknown-node" if self.asked > 1 && self.removes() => Verdict::Done,
            // What was known when it was chosen may be so no more.
            "unknown-group" if self.kind == Kind::MoveSlots => Verdict::Refused(reason),
            "invalid" if matches!(self.wish, Wish::MoveHalf { .. }) => Verdict::Refused(reason),
            _ => finding(),
        }
    }

    fn removes(&self) -> bool {
        matches!(self.steps.front(), Some(Step::AskCalmly(_)))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        // It has ended, but for a run that is broken off.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const NOT_AT_ALL: Duration = Duration::ZERO;
/// Between two questions for the same.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// All nodes are up: they elect a leader, and it answers.
const ANSWERED_MAX: Duration = Duration::from_mins(1);
/// After the last fault.
const FINISHED_MAX: Duration = Duration::from_mins(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn errand(kind: Kind, wish: Wish) -> Errand {
        let (asking, asked, now) = (None, 1, NOT_AT_ALL);
        Errand { kind, wish, steps: steps(wish), asking, asked, began: now, next: now }
    }

    fn refusal(reason: &str) -> String {
        format!(r#"{{"reason":"{reason}","message":"so it is","remedy":"none"}}"#)
    }

    #[test]
    fn what_may_pass_is_asked_again_and_what_may_not_is_dropped() {
        let (half, group) = (Wish::MoveHalf { of: 1, to: 2 }, Wish::JoinGroup);
        let moves = errand(Kind::MoveSlots, half);
        let joins = errand(Kind::JoinGroup, group);
        for reason in ["silent", "no-leader", "not-ready", "under-way", "node-down", "no-room"] {
            let code = if reason == "silent" { 3 } else { 1 };
            let again = Verdict::Again(reason.to_owned());
            assert_eq!(moves.judge(Some(code), &refusal(reason)), again);
        }
        for (errand, reason) in [(&moves, "refused"), (&moves, "invalid"), (&joins, "silent")] {
            let refused = Verdict::Refused(reason.to_owned());
            assert_eq!(errand.judge(Some(1), &refusal(reason)), refused);
        }
        assert_eq!(moves.judge(Some(0), ""), Verdict::Done);
    }

    #[test]
    fn any_other_answer_is_a_finding() {
        let moves = errand(Kind::MoveSlots, Wish::Move { first: 0, last: 9, to: 2 });
        let drains = errand(Kind::DrainNode, Wish::DrainNode(0));
        for (errand, code, said) in [
            (&moves, Some(2), refusal("refused")),
            (&moves, Some(1), "sorry".to_owned()),
            (&moves, Some(1), r#"{"reason":"refused","message":""}"#.to_owned()),
            (&moves, Some(1), refusal("invalid")),
            (&moves, Some(3), refusal("late")),
            (&moves, None, String::new()),
            (&drains, Some(1), refusal("unknown-node")),
        ] {
            let verdict = errand.judge(code, &said);
            assert!(matches!(verdict, Verdict::Finding(_)), "{said}: {verdict:?}");
        }
    }

    #[test]
    fn a_node_whose_removal_was_not_answered_is_removed() {
        let mut drains = errand(Kind::DrainNode, Wish::DrainNode(0));
        drains.steps.pop_front();
        let gone = refusal("unknown-node");
        assert!(matches!(drains.judge(Some(1), &gone), Verdict::Finding(_)), "asked once");
        drains.asked = 2;
        assert_eq!(drains.judge(Some(1), &gone), Verdict::Done);
    }
}
