//! Which faults come together, and when: from one seed.
//!
//! Kinds are drawn from a deck that is shuffled when it is used up, so that none is forgotten. A round takes
//! up to three of those that may come together: nobody kills what another stops, no wire or disk is made bad
//! twice. What does not fit waits for the next round.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use crate::cut::Cut;
use crate::kind::Kind;
use crate::node::{Names, name};
use crate::wire::Quality;

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

/// Faults that overlap.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// In the order in which they begin.
    pub(crate) faults: Vec<Fault>,
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

/// Who votes in each group when nothing is changed.
pub(crate) type Homes = BTreeMap<u32, Vec<u64>>;

/// What comes next.
#[derive(Debug)]
pub(crate) struct Schedule {
    random: Rng,
    nodes: usize,
    homes: Homes,
    kinds: Vec<Kind>,
    /// What is left of the deck; the next one is the last.
    deck: Vec<Kind>,
}

impl Schedule {
    /// A schedule of these kinds.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn new(seed: u64, nodes: usize, homes: Homes, kinds: Vec<Kind>) -> Self {
        assert!(!kinds.is_empty(), "a schedule of nothing");
        Self { random: Rng::with_seed(seed), nodes, homes, kinds, deck: Vec::new() }
    }

    /// The next round: at least one fault.
    pub(crate) fn next_round(&mut self) -> Round {
        let count = self.random.usize(1..=TOGETHER_MAX);
        let mut faults: Vec<Fault> = Vec::new();
        let mut busy = Busy::default();
        let mut waiting = Vec::new();
        while faults.len() < count && waiting.len() < WAITING_MAX {
            let kind = self.draw();
            let barred = faults.iter().any(|fault| fault.kind.bars(kind));
            match (!barred).then(|| self.choose(kind, &mut busy)).flatten() {
                Some(action) => faults.push(Fault { kind, action }),
                None => waiting.push(kind),
            }
        }
        self.deck.extend(waiting.into_iter().rev());
        // What is asked of nodes, or noticed by them, comes before they cannot answer.
        faults.sort_by_key(|fault| fault.action.rank());
        let millis = |random: &mut Rng, range| Duration::from_millis(random.u64(range));
        let gap = millis(&mut self.random, 0..600);
        Round { faults, gap, hold: millis(&mut self.random, 500..3_000) }
    }

    fn draw(&mut self) -> Kind {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.kinds);
            self.random.shuffle(&mut self.deck);
        }
        self.deck.pop().expect("filled just now")
    }

    /// What to do, unless nodes that it needs are `busy`.
    fn choose(&mut self, kind: Kind, busy: &mut Busy) -> Option<Action> {
        let (nodes, majority) = (self.nodes, self.nodes / 2 + 1);
        let one = self.random.usize(0..nodes);
        let Busy { processes, wires, disks } = busy;
        let action = match kind {
            Kind::KillOne => Action::Kill(self.take(1, processes)?),
            Kind::KillMajority => Action::Kill(self.take(majority, processes)?),
            Kind::KillAll => Action::Kill(self.take(nodes, processes)?),
            Kind::Terminate => Action::Terminate(self.take(1, processes)?[0]),
            Kind::PauseOne => Action::Pause(self.take(1, processes)?),
            Kind::PauseMajority => Action::Pause(self.take(majority, processes)?),
            Kind::WipedDisk => Action::Wipe(self.take(1, processes)?[0]),
            Kind::ClockRate => {
                let node = self.take(1, processes)?[0];
                Action::Rate(node, *self.random.choice(&[50, 80, 125, 200]).expect("some"))
            }
            Kind::Isolate => Action::Cut(Cut::isolate(one, nodes, self.random.bool())),
            Kind::OneWay => Action::Cut(Cut::one_way(one, nodes, self.random.bool())),
            Kind::Bridge => Action::Cut(Cut::bridge(one, nodes, &mut self.random)),
            Kind::Flapping => Action::Flap(Cut::split(nodes, &mut self.random)),
            Kind::Delay => Action::Wire(self.take(1, wires)?[0], self.late()),
            Kind::Loss => Action::Wire(self.take(1, wires)?[0], self.lossy()),
            Kind::FullDisk => Action::Fill(self.take(1, disks)?),
            Kind::FullDisks => Action::Fill(self.take(nodes, disks)?),
            Kind::SlowDisk => Action::Slow(self.take(1, disks)?[0], self.random.u32(5..40)),
            Kind::ClockJump => Action::Jump(one, self.jump()),
            Kind::Transfer => {
                let (group, voters) = self.group();
                let to = *self.random.choice(&voters).expect("somebody votes");
                Action::Transfer { group, to: position(to) }
            }
            Kind::Membership => self.change(),
        };
        Some(action)
    }

    /// So many nodes that nothing else happens to.
    fn take(&mut self, count: usize, busy: &mut BTreeSet<usize>) -> Option<Vec<usize>> {
        let free: Vec<_> = (0..self.nodes).filter(|node| !busy.contains(node)).collect();
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

    fn group(&mut self) -> (u32, Vec<u64>) {
        let pick = self.random.usize(0..self.homes.len());
        let (group, voters) = self.homes.iter().nth(pick).expect("within");
        (*group, voters.clone())
    }

    /// One voter less, and another instead where there is one.
    fn change(&mut self) -> Action {
        let (group, mut voters) = self.group();
        voters.swap_remove(self.random.usize(0..voters.len()));
        let home = &self.homes[&group];
        let others = (1..=self.nodes as u64).filter(|node| !home.contains(node));
        let others: Vec<_> = others.collect();
        voters.extend(self.random.choice(&others));
        voters.sort_unstable();
        Action::Change { group, voters }
    }
}

/// Faults in one round, at most.
const TOGETHER_MAX: usize = 3;

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
    use super::*;

    fn schedule(seed: u64, nodes: usize) -> Schedule {
        let homes = BTreeMap::from([(1, vec![1, 2, 3]), (2, vec![1, 2, 3])]);
        Schedule::new(seed, nodes, homes, Kind::all().collect())
    }

    #[test]
    fn every_kind_comes_about_as_often() {
        for nodes in [3, 5] {
            let mut schedule = schedule(1, nodes);
            let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
            for fault in (0..200).flat_map(|_| schedule.next_round().faults) {
                *counts.entry(fault.kind).or_default() += 1;
            }
            let (least, most) = (counts.values().min(), counts.values().max());
            assert_eq!(counts.len(), Kind::all().count());
            assert!(most.expect("some") - least.expect("some") <= 3, "{counts:?}");
        }
    }

    #[test]
    fn what_must_not_come_together_does_not() {
        let mut schedule = schedule(2, 3);
        for round in (0..500).map(|_| schedule.next_round()) {
            let kinds: Vec<_> = round.faults.iter().map(|fault| fault.kind).collect();
            let has = |kind| kinds.contains(&kind);
            assert!(!kinds.is_empty() && kinds.len() <= TOGETHER_MAX);
            if has(Kind::WipedDisk) {
                assert!(!has(Kind::Membership) && !has(Kind::FullDisk) && !has(Kind::FullDisks));
            }
            assert!(kinds.iter().filter(|kind| **kind == Kind::WipedDisk).count() <= 1);
            assert!(!(has(Kind::KillAll) && has(Kind::PauseOne)), "who is stopped is not killed");
        }
    }

    #[test]
    fn equal_seeds_make_equal_schedules() {
        let told = |seed| {
            let mut schedule = schedule(seed, 5);
            (0..50).map(|_| format!("{:?}", schedule.next_round())).collect::<Vec<_>>()
        };
        assert_eq!(told(7), told(7));
        assert_ne!(told(7), told(8));
    }

    #[test]
    fn another_voter_comes_for_one_that_goes_where_there_is_one() {
        let change = |nodes| match schedule(3, nodes).change() {
            Action::Change { voters, .. } => voters,
            other => panic!("{other:?}"),
        };
        assert_eq!(change(3).len(), 2);
        let voters = change(5);
        assert!(voters.len() == 3 && voters.iter().any(|voter| *voter > 3), "{voters:?}");
    }
}
