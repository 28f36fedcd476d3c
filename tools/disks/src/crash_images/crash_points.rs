//! Where the power fails: anywhere, but more often where much is going on.

use fastrand::Rng;

use super::power_loss::Fate;
use super::write_log::{Content, Kind, WriteLog};

/// One power failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CrashPoint {
    /// Entries of the log that were performed before it.
    pub(crate) happened: usize,
    /// Entries whose acknowledgements count: more than happened, if the disk lied.
    pub(crate) promised: usize,
    pub(crate) moment: Moment,
    pub(crate) fate: Fate,
}

impl CrashPoint {
    /// Whether the disk forgets what it promised.
    pub(crate) fn is_lie(&self) -> bool {
        self.promised > self.happened
    }
}

/// What was going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// Whatever was.
    Any,
    /// Just before a flush: as much as there ever is can be lost.
    BeforeFlush,
    /// A log segment was begun, maybe in the place of an older one.
    Segment,
    /// A snapshot was being written.
    Snapshot,
    /// Names of files were changed.
    Journal,
}

impl Moment {
    pub(crate) const ALL: [Self; 5] =
        [Self::Any, Self::BeforeFlush, Self::Segment, Self::Snapshot, Self::Journal];

    /// What a write has to be, and how many entries later the power fails at most.
    fn follows(self) -> Option<(Content, usize)> {
        match self {
            Self::Any | Self::BeforeFlush => None,
            Self::Segment => Some((Content::Segment, 4)),
            Self::Snapshot => Some((Content::Snapshot, 32)),
            Self::Journal => Some((Content::Journal, 2)),
        }
    }
}

/// Chooses `count` moments, in the order of the log.
///
/// # Panics
/// If the log is empty.
pub(crate) fn choose(log: &WriteLog, count: usize, rng: &mut Rng) -> Vec<CrashPoint> {
    assert!(!log.entries().is_empty(), "nothing was written");
    let mut points: Vec<_> = (0..count)
        .map(|number| {
            let moment = Moment::ALL[number % Moment::ALL.len()];
            let fate = Fate::ALL[rng.usize(..Fate::ALL.len())];
            let happened = happened(log, moment, rng);
            CrashPoint { happened, promised: happened, moment, fate }
        })
        .collect();
    points.sort_by_key(|point| point.happened);
    points
}

/// Chooses `count` moments of a disk that forgets its last [`LIE_FLUSHES`] flushes, all in the middle
/// of the log, where the load was.
///
/// # Panics
/// If the log has too few flushes.
pub(crate) fn choose_lies(log: &WriteLog, count: usize, rng: &mut Rng) -> Vec<CrashPoint> {
    let flushes = (1..).zip(log.entries()).filter(|(_, entry)| entry.kind == Kind::Flush);
    let flushes: Vec<usize> = flushes.map(|(happened, _)| happened).collect();
    let middle = flushes.len() / 4..flushes.len() * 3 / 4;
    assert!(middle.len() > LIE_FLUSHES, "only {} flushes", flushes.len());
    let lie = |_| {
        let flush = rng.usize(middle.clone());
        let (happened, promised) = (flushes[flush], flushes[flush + LIE_FLUSHES]);
        CrashPoint { happened, promised, moment: Moment::Any, fate: Fate::Lost }
    };
    (0..count).map(lie).collect()
}

/// Flushes that a disk that lies forgets.
pub(crate) const LIE_FLUSHES: usize = 100;

fn happened(log: &WriteLog, moment: Moment, rng: &mut Rng) -> usize {
    let entries = log.entries();
    let Some((content, later)) = moment.follows() else {
        let happened = rng.usize(1..=entries.len());
        let flush = entries[happened..].iter().position(|entry| !entry.is_write());
        let until_flush = flush.unwrap_or(entries.len() - happened);
        return if moment == Moment::BeforeFlush { happened + until_flush } else { happened };
    };
    let positions: Vec<_> =
        (1..).zip(entries).filter(|(_, entry)| entry.content == content).collect();
    match rng.choice(positions) {
        Some((happened, _)) => (happened + rng.usize(..=later)).min(entries.len()),
        None => rng.usize(1..=entries.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::write_log::tests::log_of;
    use super::*;

    #[test]
    fn moments_are_chosen_by_what_is_written() {
        let mut segment = [0; 512];
        segment[..8].copy_from_slice(b"SUNSTLOG");
        let mut requests: Vec<(u64, u64, &[u8])> = vec![(0, 8, &[1; 512]); 300];
        requests[100] = (0, 8, &segment);
        requests[200] = (1, 0, &[]);
        let log = log_of(&requests);
        let points = choose(&log, 500, &mut Rng::with_seed(1));
        assert!(points.is_sorted_by_key(|point| point.happened));
        for point in &points {
            match point.moment {
                Moment::Segment => assert!((101..=105).contains(&point.happened), "{point:?}"),
                Moment::BeforeFlush => {
                    assert!([200, 201, 300].contains(&point.happened) || point.happened > 201);
                }
                _ => assert!((1..=300).contains(&point.happened), "{point:?}"),
            }
        }
        assert!(
            points.iter().any(|point| point.moment == Moment::BeforeFlush && point.happened == 200)
        );
    }
}
