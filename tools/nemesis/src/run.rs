//! A run from the first network to the verdict.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::clients::{Clients, Plan};
use crate::cluster::{Cluster, Shape};
use crate::injection::Injection;
use crate::kind::Kind;
use crate::node::name;
use crate::pace::Pace;
use crate::probe::Probe;
use crate::remains::{Room, clean, prefix};
use crate::report::{Facts, Report, Tally};
use crate::schedule::{Homes, Round, Schedule};
use crate::trouble::{Trouble, at};
use crate::verdict::{check_history, compare_replicas};

/// What a run is to be.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) shape: Shape,
    pub(crate) seed: u64,
    /// What was checked out when the run began.
    pub(crate) commit: String,
    /// No new round begins after this.
    pub(crate) duration: Duration,
    /// Nor after so many faults.
    pub(crate) faults_max: usize,
    /// Commands a second.
    pub(crate) rate: u64,
    /// Every group must take writes so soon after the last fault.
    pub(crate) live_max: Duration,
    /// Where images and logs lie meanwhile.
    pub(crate) room: PathBuf,
    /// Where logs and history of a run that fails are kept, or of any if `keep` says so.
    pub(crate) evidence: PathBuf,
    pub(crate) keep: bool,
}

/// Runs.
///
/// # Errors
/// If it cannot be done, or a promise was broken so that it could not go on; broken promises found at the
/// end are in the report.
pub(crate) fn run(options: &Options) -> Result<Report, Trouble> {
    for line in clean(&options.room)? {
        eprintln!("left by a former run: {line}");
    }
    let pace = Pace::start().map_err(at("take signals for", Path::new("this program")))?;
    let prefix = prefix();
    let room = Room::make(&options.room, &prefix)?;
    let mut cluster = Cluster::build(&options.shape, &prefix, room.path())?;
    let result = Run { options, room: room.path(), pace: &pace }.carry_out(&mut cluster);
    let is_clean = result.as_ref().is_ok_and(|report| report.ok);
    let interrupted = matches!(result, Err(Trouble::Interrupted));
    if options.keep || !is_clean && !interrupted {
        keep(options, room.path())?;
    }
    drop(cluster);
    result
}

struct Run<'a> {
    options: &'a Options,
    room: &'a Path,
    pace: &'a Pace,
}

impl Run<'_> {
    fn carry_out(&self, cluster: &mut Cluster) -> Result<Report, Trouble> {
        let homes = cluster.start(self.pace)?;
        let (targets, seed) = (cluster.targets(), self.options.seed);
        let probe = Probe::find(&targets, homes.len(), self.pace)?;
        let history = self.room.join(HISTORY);
        let plan = Plan { targets, rate: self.options.rate, seed, history: history.clone() };
        let clients = Clients::start(plan)?;
        let mut tally = Tally::default();
        let lasted = match self.storm(cluster, &homes, &probe, &clients, &mut tally) {
            Ok(lasted) => lasted,
            Err(trouble) => {
                clients.abandon()?;
                return Err(trouble);
            }
        };
        cluster.await_ready(self.pace)?;
        let told = clients.finish()?;
        let replicas_equal = compare_replicas(cluster, self.pace)?;
        Ok(tally.report(Facts {
            seed,
            commit: self.options.commit.clone(),
            nodes: cluster.len(),
            live_max: self.options.live_max,
            lasted,
            stood_still: self.pace.stood_still(),
            told,
            replicas_equal,
            checks: check_history(&history, self.pace)?,
        }))
    }

    /// Rounds of faults until the time or their number is over; how long that took.
    fn storm(
        &self,
        cluster: &mut Cluster,
        homes: &Homes,
        probe: &Probe,
        clients: &Clients,
        tally: &mut Tally,
    ) -> Result<Duration, Trouble> {
        let Options { shape, seed, duration, faults_max, .. } = self.options;
        let mut schedule = Schedule::new(*seed, shape.nodes, homes.clone(), shape.kinds.clone());
        let start = self.pace.running_time();
        let since = || self.pace.running_time().saturating_sub(start);
        while since() < *duration && tally.faults() < *faults_max {
            let round = schedule.next_round();
            eprintln!("{:>7.1} s  {}", since().as_secs_f64(), told(&round));
            let before = clients.answered();
            let wire_seed = seed.wrapping_add(tally.faults() as u64);
            let mut injection = Injection::new(cluster, self.pace, wire_seed);
            injection.perform(&round)?;
            injection.heal()?;
            let live = probe.await_writes(self.pace)?;
            injection.repair(homes)?;
            tally.count(round.faults.iter().map(|fault| fault.kind), live);
            let late = if live > self.options.live_max { "  LATE" } else { "" };
            let (live, answered) = (live.as_secs_f64(), clients.answered() - before);
            eprintln!("            writes again after {live:.2} s, {answered} answers{late}");
        }
        Ok(since())
    }
}

fn told(round: &Round) -> String {
    let faults: Vec<_> = round.faults.iter().map(ToString::to_string).collect();
    faults.join("; ")
}

/// Which commit is checked out here, where that can be said.
pub(crate) fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// Keeps what explains a failure.
fn keep(options: &Options, room: &Path) -> Result<(), Trouble> {
    let evidence = &options.evidence;
    std::fs::create_dir_all(evidence).map_err(at("create", evidence))?;
    let logs = (0..options.shape.nodes).map(|position| format!("{}.log", name(position)));
    for file in logs.chain([HISTORY.to_owned()]) {
        let from = room.join(&file);
        if from.is_file() {
            std::fs::copy(&from, evidence.join(&file)).map_err(at("keep", &from))?;
        }
    }
    eprintln!("the nodes' logs and the history are kept in {}", evidence.display());
    Ok(())
}

const HISTORY: &str = "history";

/// All kinds but some.
pub(crate) fn kinds(only: &[Kind], without: &[Kind]) -> Vec<Kind> {
    let wanted = |kind: &Kind| only.is_empty() || only.contains(kind);
    Kind::all().filter(wanted).filter(|kind| !without.contains(kind)).collect()
}
