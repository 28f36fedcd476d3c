//! Which faults come together, and when: from one seed.
//!
//! Kinds are drawn from a deck that is shuffled when it is used up, so that none is forgotten. A round takes
//! up to three of those that may come together: nobody kills what another stops, no wire or disk is made bad
//! twice. What does not fit waits for the next round. Changes of the shard map have a deck of their own: they
//! begin while the faults do, and take as long as they take.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use crate::cut::Cut;
use crate::kind::Kind;
use crate::map::Map;
use crate::node::{Names, name};
use crate::wire::Quality;
use crate::wish::Wish;

/// One fault.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) action: Action,
}

/// What is done; nodes by position.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Kill(Vec<usize>),
    Terminate(usize),
    Pause(Vec<usize>),
    /// Nothing goes through.
    Cut(Cut),
    /// Nothing goes through every other moment.
    Flap(Cut),
    Wire(usize, Quality),
    Fill(Vec<usize>),
    Wipe(usize),
    /// So many requests a second.
    Slow(usize, u32),
    /// So many seconds.
    Jump(usize, i64),
    /// Percent of the right speed.
    Rate(usize, u32),
    Transfer {
        group: u32,
        to: usize,
    },
    /// Other voters.
    Change {
        group: u32,
        voters: Vec<u64>,
    },
}

/// A change of the shard map.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) wish: Wish,
    /// It is asked for after so many of the round's faults.
    pub(crate) after: usize,
}

/// Faults that overlap.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// In the order in which they begin.
    pub(crate) faults: Vec<Fault>,
    pub(crate) changes: Vec<Change>,
    /// Between one and the next.
    pub(crate) gap: Duration,
    /// From the last one to the first heal.
    pub(crate) hold: Duration,
}

/// Nodes that something happens to already in this round.
#[derive(Debug, Default)]
struct Busy {
    processes: BTreeSet<usize>,
    wires: BTreeSet<usize>,
    disks: BTreeSet<usize>,
}

/// What is known of the cluster when a round is chosen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The nodes that faults may hit, by position, ascending.
    pub(crate) nodes: Vec<usize>,
    /// Those of them that hold replicas and are to go on doing so.
    pub(crate) hosts: Vec<usize>,
    /// Those of them that have all that the map gives them, certain of it: a disk that fills before a
    /// replica has come is noticed by nobody, and one that is lost before its group's founders have met
    /// is missed for ever.
    pub(crate) settled: Vec<usize>,
    /// Those of them that lost their disk and took their own place again.
    pub(crate) replaced: Vec<usize>,
    /// With how many the cluster began.
    pub(crate) nodes_at_first: usize,
    pub(crate) map: Map,
    /// Changes of these kinds are under way.
    pub(crate) busy: BTreeSet<Kind>,
}

/// Kinds in random order, all of them before any comes again.
#[derive(Debug)]
struct Deck {
    kinds: Vec<Kind>,
    /// What is left of it; the next one is the last.
    left: Vec<Kind>,
}

/// What comes next.
#[derive(Debug)]
pub(crate) struct Schedule {
    random: Rng,
    faults: Deck,
    changes: Deck,
}

impl Schedule {
    /// A schedule of these kinds.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn new(seed: u64, kinds: Vec<Kind>) -> Self {
        assert!(!kinds.is_empty(), "a schedule of nothing");
        let (changes, faults) = kinds.into_iter().partition(|kind: &Kind| kind.is_change());
        let deck = |kinds| Deck { kinds, left: Vec::new() };
        Self { random: Rng::with_seed(seed), faults: deck(faults), changes: deck(changes) }
    }

    /// The next round: some faults, some changes.
    pub(crate) fn next_round(&mut self, known: &Known) -> Round {
        let faults = self.next_faults(known);
        let changes = self.next_changes(known, &faults);
        let millis = |random: &mut Rng, range| Duration::from_millis(random.u64(range));
        let gap = millis(&mut self.random, 0..600);
        Round { faults, changes, gap, hold: millis(&mut self.random, 500..3_000) }
    }

    /// At least one, if there are any.
    fn next_faults(&mut self, known: &Known) -> Vec<Fault> {
        let count = self.random.usize(1..=TOGETHER_MAX);
        let mut faults: Vec<Fault> = Vec::new();
        let mut busy = Busy::default();
        let mut waiting = Vec::new();
        while faults.len() < count && waiting.len() < WAITING_MAX {
            let Some(kind) = self.faults.draw(&mut self.random, &waiting) else { break };
            let barred = faults.iter().any(|fault| fault.kind.bars(kind))
                || known.busy.iter().any(|under_way| under_way.bars(kind));
            match (!barred).then(|| self.choose(kind, known, &mut busy)).flatten() {
                Some(action) => faults.push(Fault { kind, action }),
                None => waiting.push(kind),
            }
        }
        self.faults.left.extend(waiting.into_iter().rev());
        // What is asked of nodes, or noticed by them, comes before they cannot answer.
        faults.sort_by_key(|fault| fault.action.rank());
        faults
    }

    fn next_changes(&mut self, known: &Known, faults: &[Fault]) -> Vec<Change> {
        let count = self.random.usize(0..=CHANGES_MAX);
        let mut changes: Vec<Change> = Vec::new();
        let mut waiting = Vec::new();
        while changes.len() < count && waiting.len() < WAITING_MAX {
            let Some(kind) = self.changes.draw(&mut self.random, &waiting) else { break };
            let barred = faults.iter().any(|fault| fault.kind.bars(kind))
                || changes.iter().any(|change| change.kind == kind);
            let wish = || Wish::choose(kind, known, &mut self.random);
            match (!barred).then(wish).flatten().filter(|wish| !contradicts(*wish, faults)) {
                Some(wish) => {
                    let after = self.random.usize(0..=faults.len());
                    changes.push(Change { kind, wish, after });
                }
                None => waiting.push(kind),
            }
        }
        self.changes.left.extend(waiting.into_iter().rev());
        changes
    }

    /// What to do, unless nodes that it needs are `busy`.
    fn choose(&mut self, kind: Kind, known: &Known, busy: &mut Busy) -> Option<Action> {
        let Known { nodes, settled, .. } = known;
        let (all, majority) = (nodes.len(), nodes.len() / 2 + 1);
        let one = *self.random.choice(nodes)?;
        let Busy { processes, wires, disks } = busy;
        let action = match kind {
            Kind::KillOne => Action::Kill(self.take(1, nodes, processes)?),
            Kind::KillMajority => Action::Kill(self.take(majority, nodes, processes)?),
            Kind::KillAll => Action::Kill(self.take(all, nodes, processes)?),
            Kind::Terminate => Action::Terminate(self.take(1, nodes, processes)?[0]),
            Kind::PauseOne => Action::Pause(self.take(1, nodes, processes)?),
            Kind::PauseMajority => Action::Pause(self.take(majority, nodes, processes)?),
            Kind::WipedDisk | Kind::FullDisk | Kind::FullDisks if known.map.has_births() => {
                return None;
            }
            Kind::WipedDisk => Action::Wipe(self.take(1, settled, processes)?[0]),
            Kind::ClockRate => {
                let node = self.take(1, nodes, processes)?[0];
                Action::Rate(node, *self.random.choice(&[50, 80, 125, 200]).expect("some"))
            }
            Kind::Isolate => Action::Cut(Cut::isolate(one, nodes, self.random.bool())),
            Kind::OneWay => Action::Cut(Cut::one_way(one, nodes, self.random.bool())),
            Kind::Bridge => Action::Cut(Cut::bridge(one, nodes, &mut self.random)),
            Kind::Flapping => Action::Flap(Cut::split(nodes, &mut self.random)),
            Kind::Delay => Action::Wire(self.take(1, nodes, wires)?[0], self.late()),
            Kind::Loss => Action::Wire(self.take(1, nodes, wires)?[0], self.lossy()),
            Kind::FullDisk => Action::Fill(self.take(1, settled, disks)?),
            Kind::FullDisks if settled.len() < known.nodes_at_first => return None,
            Kind::FullDisks => Action::Fill(self.take(settled.len(), settled, disks)?),
            Kind::SlowDisk => Action::Slow(self.take(1, nodes, disks)?[0], self.random.u32(5..40)),
            Kind::ClockJump => Action::Jump(one, self.jump()),
            Kind::Transfer => {
                let (group, voters) = self.group(known)?;
                let voters = voters.into_iter().map(position).filter(|to| nodes.contains(to));
                let to = *self.random.choice(&voters.collect::<Vec<_>>())?;
                Action::Transfer { group, to }
            }
            Kind::Membership => self.change(known)?,
            change => unreachable!("{change} is no fault"),
        };
        Some(action)
    }

    /// So many of these nodes that nothing else happens to.
    fn take(
        &mut self,
        count: usize,
        nodes: &[usize],
        busy: &mut BTreeSet<usize>,
    ) -> Option<Vec<usize>> {
        let free: Vec<_> = nodes.iter().copied().filter(|node| !busy.contains(node)).collect();
        if free.len() < count {
            return None;
        }
        let mut taken = self.random.choose_multiple(free, count);
        taken.sort_unstable();
        busy.extend(&taken);
        Some(taken)
    }

    fn late(&mut self) -> Quality {
        let delay = Duration::from_millis(self.random.u64(5..150));
        let jitter = Duration::from_millis(self.random.u64(0..100));
        Quality { delay, jitter, lost_percent: 0, doubled_percent: 0 }
    }

    fn lossy(&mut self) -> Quality {
        let jitter = Duration::from_millis(self.random.u64(0..10));
        let (lost_percent, doubled_percent) = (self.random.u32(1..30), self.random.u32(0..10));
        Quality { delay: Duration::ZERO, jitter, lost_percent, doubled_percent }
    }

    /// From a second to a day, either way.
    fn jump(&mut self) -> i64 {
        let seconds = *self.random.choice(&[1, 10, 3_600, 86_400]).expect("some");
        if self.random.bool() { seconds } else { -seconds }
    }

    fn group(&mut self, known: &Known) -> Option<(u32, Vec<u64>)> {
        let group = self.random.choice(known.map.groups())?;
        Some((group.group, group.members.clone()))
    }

    /// One voter less, and another instead where there is one.
    fn change(&mut self, known: &Known) -> Option<Action> {
        let (group, home) = self.group(known)?;
        let mut voters = home.clone();
        voters.swap_remove(self.random.usize(0..voters.len()));
        let others = known.hosts.iter().map(|position| *position as u64 + 1);
        let others: Vec<_> = others.filter(|node| !home.contains(node)).collect();
        voters.extend(self.random.choice(&others));
        voters.sort_unstable();
        Some(Action::Change { group, voters })
    }
}

/// Whether a node would have nothing to write any more whose disk is to be full.
fn contradicts(wish: Wish, faults: &[Fault]) -> bool {
    let fills = |node| {
        faults
            .iter()
            .any(|fault| matches!(&fault.action, Action::Fill(nodes) if nodes.contains(node)))
    };
    matches!(&wish, Wish::DrainNode(node) if fills(node))
}

impl Deck {
    /// The next kind, if there are any but those that wait already.
    fn draw(&mut self, random: &mut Rng, waiting: &[Kind]) -> Option<Kind> {
        if self.left.is_empty() {
            self.left.extend(self.kinds.iter().filter(|kind| !waiting.contains(kind)));
            random.shuffle(&mut self.left);
        }
        self.left.pop()
    }
}

/// Faults in one round, at most.
const TOGETHER_MAX: usize = 3;

/// Changes that begin in one round, at most.
const CHANGES_MAX: usize = 2;

/// Kinds that did not fit, before a round goes without them.
const WAITING_MAX: usize = 4;

fn position(node: u64) -> usize {
    usize::try_from(node).expect("a small number") - 1
}

impl Action {
    const fn rank(&self) -> u8 {
        match self {
            Self::Fill(_) => 0,
            Self::Change { .. } | Self::Transfer { .. } => 1,
            _ => 2,
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = self.faults.iter().map(ToString::to_string);
        let changes = self.changes.iter().map(|change| format!("+ {}", change.wish));
        f.write_str(&faults.chain(changes).collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        match &self.action {
            Action::Kill(nodes) | Action::Pause(nodes) | Action::Fill(nodes) => {
                write!(f, " {}", Names(nodes))
            }
            Action::Terminate(node) | Action::Wipe(node) => write!(f, " {}", name(*node)),
            Action::Cut(cut) | Action::Flap(cut) => write!(f, " {cut}"),
            Action::Wire(node, quality) => write!(f, " {} {quality}", name(*node)),
            Action::Slow(node, requests) => write!(f, " {} to {requests}/s", name(*node)),
            Action::Jump(node, seconds) => write!(f, " {} by {seconds:+} s", name(*node)),
            Action::Rate(node, percent) => write!(f, " {} to {percent} %", name(*node)),
            Action::Transfer { group, to } => write!(f, " of g{group} to {}", name(*to)),
            Action::Change { group, voters } => write!(f, " of g{group} to {voters:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::map::tests::map;

    fn known(nodes: usize) -> Known {
        let nodes: Vec<usize> = (0..nodes).collect();
        let (one, other) = ([(0, 8_191)], [(8_192, 16_383)]);
        let map = map(1, &[(1, &[1, 2, 3], &one), (2, &[1, 2, 3], &other), (3, &[1, 2, 3], &[])]);
        let (hosts, settled) = (nodes.clone(), nodes.clone());
        Known { hosts, settled, nodes, nodes_at_first: 3, map, ..Known::default() }
    }

    fn schedule(seed: u64) -> Schedule {
        Schedule::new(seed, Kind::all().collect())
    }

    #[test]
    fn every_kind_comes_about_as_often() {
        for nodes in [3, 4, 5] {
            let (mut schedule, mut known) = (schedule(1), known(nodes));
            let mut faults: BTreeMap<Kind, usize> = BTreeMap::new();
            let mut changes = faults.clone();
            for number in 0..200 {
                // Now there is one more than at first, now there is not.
                known.nodes_at_first = if number % 2 == 0 { 3 } else { nodes };
                let round = schedule.next_round(&known);
                for fault in round.faults {
                    *faults.entry(fault.kind).or_default() += 1;
                }
                for change in round.changes {
                    *changes.entry(change.kind).or_default() += 1;
                }
            }
            let even = |counts: &BTreeMap<Kind, usize>, most: usize| {
                let least = counts.values().min().expect("some");
                counts.values().max().expect("some") - least <= most
            };
            assert!(even(&faults, 3), "{faults:?}");
            let all: Vec<_> = faults.keys().chain(changes.keys()).copied().collect();
            let missing: Vec<_> = Kind::all().filter(|kind| !all.contains(kind)).collect();
            // Of three nodes none can be spared.
            let cannot = if nodes == 3 { vec![Kind::DrainNode] } else { vec![] };
            assert_eq!(missing, cannot, "{changes:?}");
            assert!(changes.values().all(|count| *count > 10), "{changes:?}");
        }
    }

    #[test]
    fn what_must_not_come_together_does_not() {
        let (mut schedule, mut known) = (schedule(2), known(4));
        for number in 0..500 {
            known.busy = if number % 2 == 0 { [Kind::JoinGroup].into() } else { [].into() };
            let round = schedule.next_round(&known);
            let faults = round.faults.iter().map(|fault| fault.kind);
            let kinds: Vec<_> = faults.clone().collect();
            let changes: Vec<_> = round.changes.iter().map(|change| change.kind).collect();
            let has = |kind| kinds.contains(&kind);
            assert!(!kinds.is_empty() && kinds.len() <= TOGETHER_MAX);
            assert!(round.changes.iter().all(|change| change.after <= kinds.len()));
            if has(Kind::WipedDisk) {
                assert!(!has(Kind::Membership) && !has(Kind::FullDisk) && !has(Kind::FullDisks));
                assert!(!changes.contains(&Kind::JoinGroup) && known.busy.is_empty());
            }
            assert!(kinds.iter().filter(|kind| **kind == Kind::WipedDisk).count() <= 1);
            assert!(!(has(Kind::KillAll) && has(Kind::PauseOne)), "who is stopped is not killed");
        }
    }

    #[test]
    fn equal_seeds_make_equal_schedules() {
        let told = |seed| {
            let (mut schedule, known) = (schedule(seed), known(5));
            (0..50).map(|_| format!("{:?}", schedule.next_round(&known))).collect::<Vec<_>>()
        };
        assert_eq!(told(7), told(7));
        assert_ne!(told(7), told(8));
    }

    #[test]
    fn another_voter_comes_for_one_that_goes_where_there_is_one() {
        let change = |nodes| match schedule(3).change(&known(nodes)) {
            Some(Action::Change { voters, .. }) => voters,
            other => panic!("{other:?}"),
        };
        assert_eq!(change(3).len(), 2);
        let voters = change(5);
        assert!(voters.len() == 3 && voters.iter().any(|voter| *voter > 3), "{voters:?}");
    }
}
