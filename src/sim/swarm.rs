//! Which faults there are in a run, and how often: each run has some kinds and not others, so that rare
//! combinations come up.
//!
//! Each kind has a generator of its own: a run without one kind has the others as they were, as long as
//! what happens to the cluster allows.
//!
//! Source: Groce et al., "Swarm Testing" (ISSTA 2012).

use super::faults::Fault;
use super::shape::Shape;
use crate::base::Micros;

/// What goes wrong by itself.
#[derive(Debug)]
pub(super) struct Swarm {
    /// By `Fault as usize`.
    kinds: Vec<Kind>,
    /// Faults begin.
    pub(super) storms: bool,
}

/// A kind of fault in one run.
#[derive(Debug)]
struct Kind {
    /// Time between two of them, on average; nothing if there are none.
    every: Option<Micros>,
    random: fastrand::Rng,
}

/// Kinds that begin by themselves, and the time between two of them at the least, on average. The others
/// follow from these.
const CALENDAR: &[(Fault, Micros)] = &[
    (Fault::Crash, Micros::from_millis(1_500)),
    (Fault::CrashAll, Micros::from_secs(15)),
    (Fault::PowerLoss, Micros::from_secs(2)),
    (Fault::PowerLossAll, Micros::from_secs(15)),
    (Fault::Pause, Micros::from_secs(1)),
    (Fault::Stall, Micros::from_millis(200)),
    (Fault::Stop, Micros::from_secs(4)),
    (Fault::Partition, Micros::from_secs(2)),
    (Fault::Bridge, Micros::from_secs(4)),
    (Fault::OneWayCut, Micros::from_secs(1)),
    (Fault::Flap, Micros::from_secs(4)),
    (Fault::Break, Micros::from_millis(300)),
    (Fault::BadWeather, Micros::from_secs(2)),
    (Fault::ClockRate, Micros::from_secs(3)),
    (Fault::ClockJump, Micros::from_secs(3)),
    (Fault::ClockSet, Micros::from_secs(5)),
    (Fault::DiskFull, Micros::from_secs(5)),
    (Fault::DiskSlow, Micros::from_secs(3)),
    (Fault::DiskHeld, Micros::from_millis(1_500)),
    (Fault::WriteError, Micros::from_secs(5)),
    (Fault::Transfer, Micros::from_secs(1)),
    (Fault::Reconfigure, Micros::from_millis(500)),
    (Fault::Join, Micros::from_secs(3)),
    (Fault::Leave, Micros::from_secs(4)),
    (Fault::Move, Micros::from_millis(400)),
    (Fault::AddNode, Micros::from_secs(4)),
    (Fault::Drain, Micros::from_secs(3)),
    (Fault::MeshFull, Micros::from_secs(3)),
    (Fault::CoresChange, Micros::from_secs(4)),
    (Fault::BitRot, Micros::from_millis(700)),
    (Fault::SectorUnreadable, Micros::from_secs(6)),
    (Fault::WriteLost, Micros::from_secs(2)),
    (Fault::WriteMisdirected, Micros::from_secs(2)),
    (Fault::DiskForgot, Micros::from_secs(6)),
    (Fault::DiskLost, Micros::from_secs(8)),
];

/// What takes away from a disk what was promised to be there.
const HARMS: &[Fault] = &[
    Fault::BitRot,
    Fault::SectorUnreadable,
    Fault::WriteLost,
    Fault::WriteMisdirected,
    Fault::DiskForgot,
    Fault::DiskLost,
];

/// Kinds that change who is to have what. Each has thousands of slots on their way, and a run that has any
/// takes as long as ten others.
const CHANGES: &[Fault] = &[Fault::Join, Fault::Leave, Fault::Move, Fault::AddNode, Fault::Drain];

/// One of so many runs has some of them.
const CHANGES_IN: u32 = 4;

/// Kinds of which a run has those of one row at most.
const EXCLUSIVE: &[&[Fault]] =
    &[HARMS, &[Fault::Reconfigure, Fault::Join], &[Fault::Join, Fault::AddNode, Fault::Drain]];

impl Swarm {
    /// What a run has.
    pub(super) fn new(shape: &Shape, mut random: fastrand::Rng) -> Self {
        let mut kinds: Vec<Kind> =
            Fault::ALL.iter().map(|_| Kind { every: None, random: random.fork() }).collect();
        for &(fault, every) in CALENDAR {
            let rarely = 1 << random.u32(0..5);
            let chosen = random.bool();
            // A lease rests on clocks that keep their pace: only who starts anew may have another.
            let spared = shape.lease.is_some() && fault == Fault::ClockJump;
            if chosen && !spared {
                kinds[fault as usize].every = Some(Micros(every.0 * rarely));
            }
        }
        let mut swarm = Self { kinds, storms: false };
        if random.u32(0..CHANGES_IN) > 0 {
            for &fault in CHANGES {
                swarm.spare(fault);
            }
        }
        // Who may be harmed is known by the members that groups begin with; a group of which a founder loses
        // its disk before they all met never begins; and a drained node is not emptied of what somebody put
        // there by hand.
        let mine = EXCLUSIVE[random.usize(0..EXCLUSIVE.len())];
        for &fault in EXCLUSIVE.concat().iter().filter(|fault| !mine.contains(fault)) {
            swarm.spare(fault);
        }
        swarm
    }

    /// There are none of this kind.
    pub(super) fn spare(&mut self, fault: Fault) {
        self.kinds[fault as usize].every = None;
    }

    /// There is this kind, so often.
    pub(super) fn demand(&mut self, fault: Fault, every: Micros) {
        self.kinds[fault as usize].every = Some(every);
    }

    /// How long until the next fault of this kind, if there is one.
    pub(super) fn next(&mut self, fault: Fault) -> Option<Micros> {
        let Kind { every, random } = &mut self.kinds[fault as usize];
        let every = every.filter(|_| self.storms)?;
        Some(Micros(random.u64(1..=2 * every.0)))
    }

    /// Where what is random about faults of this kind comes from.
    pub(super) fn random(&mut self, fault: Fault) -> &mut fastrand::Rng {
        &mut self.kinds[fault as usize].random
    }
}

/// A span between these, small ones as likely as large ones.
pub(super) fn span(random: &mut fastrand::Rng, (least, most): (Micros, Micros)) -> Micros {
    let doublings = (most.0 / least.0).max(1).ilog2();
    let about = least.0 << random.u32(0..=doublings);
    Micros((about + random.u64(0..=about)).min(most.0))
}
