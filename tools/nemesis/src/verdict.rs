//! Whether all that was promised was kept.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use sunstar::history::{CHECKS, Check, History, Keys};

use crate::cluster::Cluster;
use crate::control::{GroupStatus, NodeAnswer, replicas};
use crate::pace::Pace;
use crate::trouble::{Trouble, at};

/// What one check of the history found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Checked {
    check: &'static str,
    ok: bool,
    answers: u64,
    undecided: u64,
    seconds: f64,
    /// The finding, for people.
    #[serde(skip)]
    pub(crate) text: String,
}

impl Checked {
    /// Whether it came to its end and found nothing.
    pub(crate) const fn is_clean(&self) -> bool {
        self.ok
    }

    /// How long it took.
    pub(crate) const fn seconds(&self) -> f64 {
        self.seconds
    }
}

/// Makes every check on the history at `path`.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn check_history(path: &Path, pace: &Pace) -> Result<Vec<Checked>, Trouble> {
    let file = BufReader::new(File::open(path).map_err(at("open", path))?);
    let history = History::read(file);
    let history = history.map_err(|error| Trouble::broken(format!("the history: {error}")))?;
    let keys = Keys::of(&history.records);
    let check = |check: &Check| {
        let start = pace.now();
        let finding = check(&keys);
        Checked {
            check: finding.check,
            ok: finding.is_clean(),
            answers: finding.checked,
            undecided: finding.unchecked,
            seconds: pace.now().saturating_sub(start).as_secs_f64(),
            text: finding.to_string(),
        }
    };
    Ok(CHECKS.iter().map(check).collect())
}

/// Waits until all replicas of every group have applied the same, and demands equal states of them. There
/// must be no load; how many replicas were compared.
///
/// # Errors
/// If they differ, or do not get as far in time.
pub(crate) fn compare_replicas(cluster: &mut Cluster, pace: &Pace) -> Result<usize, Trouble> {
    let positions: Vec<_> = (0..cluster.len()).collect();
    let mut last = String::new();
    let compared = pace.wait_for("all replicas of each group apply the same", AGREED_MAX, || {
        cluster.check_alive()?;
        let answers = cluster.control.status(&positions, true)?;
        last = format!("{answers:?}");
        compare(&answers)
    });
    compared.map(|(_, count)| count).map_err(|trouble| trouble.with(&last))
}

/// `None`: not yet.
fn compare(answers: &[NodeAnswer]) -> Result<Option<usize>, Trouble> {
    let divergences: u64 = answers.iter().map(NodeAnswer::divergences).sum();
    if divergences > 0 {
        return Err(Trouble::broken(format!("replicas differed from their majority: {answers:?}")));
    }
    let groups = replicas(answers);
    let is_settled = |views: &Vec<&GroupStatus>| {
        let first = views[0];
        let same =
            |view: &&GroupStatus| view.applied_index == first.applied_index && view.is_settled();
        views.len() == REPLICAS && views.iter().all(same)
    };
    if groups.is_empty() || !groups.values().all(is_settled) {
        return Ok(None);
    }
    for views in groups.values() {
        if views.iter().any(|view| view.state_hash != views[0].state_hash) {
            return Err(Trouble::broken(format!("equal places, different states: {views:?}")));
        }
    }
    Ok(Some(groups.len() * REPLICAS))
}

/// Replicas of a group of a new cluster.
const REPLICAS: usize = 3;

const AGREED_MAX: Duration = Duration::from_mins(2);
