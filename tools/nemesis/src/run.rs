//! A run from the first network to the verdict.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::clients::{Clients, Plan};
use crate::cluster::{Cluster, Shape};
use crate::governor::Governor;
use crate::injection::Injection;
use crate::kind::Kind;
use crate::pace::Pace;
use crate::probe::Probe;
use crate::remains::{Room, clean, prefix};
use crate::report::{Facts, Report, Tally};
use crate::schedule::Schedule;
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
        cluster.start(self.pace)?;
        let (targets, seed) = (cluster.targets(), self.options.seed);
        let mut governor = Governor::new(seed, self.options.shape.nodes, self.room);
        let known = governor.look(cluster, self.pace)?;
        Probe::new(targets.clone(), &known.map).await_writes(self.pace)?;
        let history = self.room.join(HISTORY);
        let plan = Plan { targets, rate: self.options.rate, seed, history: history.clone() };
        let clients = Clients::start(plan)?;
        let mut tally = Tally::default();
        let storm = self.storm(cluster, &mut governor, &clients, &mut tally);
        let ended = storm.and_then(|lasted| Ok((lasted, governor.finish(cluster, self.pace)?)));
        let (lasted, map) = match ended {
            Ok(ended) => ended,
            Err(trouble) => {
                governor.tell();
                clients.abandon()?;
                return Err(trouble);
            }
        };
        let told = clients.finish()?;
        let replicas_equal = compare_replicas(cluster, &map, self.pace)?;
        let (epochs, changes) = governor.into_parts();
        Ok(tally.report(Facts {
            seed,
            commit: self.options.commit.clone(),
            nodes: cluster.positions().len(),
            live_max: self.options.live_max,
            lasted,
            stood_still: self.pace.stood_still(),
            told,
            changes,
            replicas_equal,
            checks: check_history(&history, &epochs, self.pace)?,
        }))
    }

    /// Rounds of faults until the time or their number is over; how long that took.
    fn storm(
        &self,
        cluster: &mut Cluster,
        governor: &mut Governor,
        clients: &Clients,
        tally: &mut Tally,
    ) -> Result<Duration, Trouble> {
        let Options { shape, seed, duration, faults_max, .. } = self.options;
        let mut schedule = Schedule::new(*seed, shape.kinds.clone());
        let start = self.pace.running_time();
        let since = || self.pace.running_time().saturating_sub(start);
        while since() < *duration && tally.faults() < *faults_max {
            let known = governor.look(cluster, self.pace)?;
            let probe = Probe::new(cluster.targets(), &known.map);
            let round = schedule.next_round(&known);
            eprintln!("{:>7.1} s  {round}", since().as_secs_f64());
            let before = clients.answered();
            let wire_seed = seed.wrapping_add(tally.faults() as u64);
            let mut injection = Injection::new(cluster, self.pace, &known, wire_seed);
            injection.perform(&round, governor)?;
            injection.heal()?;
            let live = probe.await_writes(self.pace)?;
            injection.repair()?;
            governor.go_on(cluster, self.pace, true)?;
            tally.count(round.faults.iter().map(|fault| fault.kind), live);
            let late = if live > self.options.live_max { "  LATE" } else { "" };
            let (live, answered) = (live.as_secs_f64(), clients.answered() - before);
            eprintln!("            writes again after {live:.2} s, {answered} answers{late}");
        }
        Ok(since())
    }
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
    for entry in std::fs::read_dir(room).map_err(at("list", room))? {
        let from = entry.map_err(at("list", room))?.path();
        let is_log = from.extension().is_some_and(|extension| extension == "log");
        if let Some(name) = from.file_name().filter(|name| is_log || *name == HISTORY) {
            std::fs::copy(&from, evidence.join(name)).map_err(at("keep", &from))?;
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
