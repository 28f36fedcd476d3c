//! Power failures two at a time: most of one is waiting, for nodes to start and to agree.
//!
//! Each lane has a disk, nodes and a network of its own. The nodes are the same in all lanes, down to
//! their addresses, or the data would not be theirs.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fastrand::Rng;
use sunstar_disks::network::Network;

use super::crash_points::CrashPoint;
use super::recording::{Recording, link_data};
use super::room::Room;
use super::trial::{Found, Trials};
use crate::support::{Cluster, Node};

/// Some of the power failures, one after another.
pub(crate) struct Lane<'a> {
    /// None for the first, which has everybody's.
    network: Option<Network>,
    trials: Trials<'a>,
    /// In their order.
    points: Vec<CrashPoint>,
}

/// Lanes for all `points`: every other one goes the same way. `cluster` was recorded.
///
/// # Errors
/// If disks or networks cannot be made.
pub(crate) fn lay<'a>(
    recording: &'a Recording,
    room: &Room,
    cluster: Cluster,
    points: &[CrashPoint],
    rng: &mut Rng,
) -> Result<Vec<Lane<'a>>, Box<dyn Error>> {
    let mut clusters = vec![(cluster, room.mounted(), None)];
    for number in 1..LANES {
        let mounted = room.path().join(format!("mounted-{number}"));
        let network = Network::create(&format!("sunstar-{}-{number}", std::process::id()))?;
        clusters.push((twin(&clusters[0].0, &mounted), mounted, Some(network)));
    }
    let lanes = (0..).zip(clusters).map(|(number, (cluster, mounted, network))| {
        let directory = room.path().join(format!("lane-{number}"));
        std::fs::create_dir(&directory)?;
        let places = (&*room.formatted(), &*directory, &*mounted);
        let trials = Trials::new(recording, places, cluster, rng.fork())?;
        let points = points.iter().skip(number).step_by(LANES).copied().collect();
        Ok(Lane { network, trials, points })
    });
    lanes.collect()
}

/// The same nodes, whose data lies under `mounted`.
fn twin(cluster: &Cluster, mounted: &Path) -> Cluster {
    let directory = Cluster::new_directory();
    let plan = |node: &Node| {
        let mut plan = node.plan().clone();
        plan.data_dir = directory.path().join(format!("n{}", plan.id));
        plan.log = directory.path().join(format!("n{}.log", plan.id));
        plan
    };
    let plans = cluster.all().iter().map(plan).collect();
    let twin = Cluster::of(plans, directory);
    twin.all().iter().for_each(|node| link_data(node, mounted));
    twin
}

/// Lets the power fail everywhere in turn, and returns what came of it. What `judge` calls a failure
/// ends it all.
///
/// # Errors
/// The first failure, with its point.
///
/// # Panics
/// If a node does not start or a cluster does not serve.
pub(crate) fn perform(
    lanes: Vec<Lane<'_>>,
    judge: impl Fn(&CrashPoint, &Found) -> Result<(), String> + Sync,
) -> Result<Vec<(CrashPoint, Found)>, String> {
    let (stop, judge) = (AtomicBool::new(false), &judge);
    thread::scope(|scope| {
        let lanes: Vec<_> =
            lanes.into_iter().map(|lane| scope.spawn(|| lane.run(judge, &stop))).collect();
        let mut all = Vec::new();
        let mut failure = None;
        for lane in lanes {
            match lane.join() {
                Ok(Ok(found)) => all.extend(found),
                Ok(Err(error)) => failure = failure.or(Some(error)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        failure.map_or(Ok(all), Err)
    })
}

impl Lane<'_> {
    fn run(
        mut self,
        judge: &impl Fn(&CrashPoint, &Found) -> Result<(), String>,
        stop: &AtomicBool,
    ) -> Result<Vec<(CrashPoint, Found)>, String> {
        let mut attempt = Attempt { point: None, stop };
        if let Some(network) = &self.network {
            network.enter().map_err(|error| error.to_string())?;
        }
        let mut all = Vec::new();
        for point in std::mem::take(&mut self.points) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            attempt.point = Some(point);
            let found = self.trials.perform(&point).map_err(|error| error.to_string())?;
            judge(&point, &found)?;
            all.push((point, found));
        }
        attempt.point = None;
        Ok(all)
    }
}

/// What is being looked at. If that does not end well, it is named, and the other lanes stop.
struct Attempt<'a> {
    point: Option<CrashPoint>,
    stop: &'a AtomicBool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(point) = self.point {
            eprintln!("{point:?}");
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// More than this wait for each other on two CPUs.
const LANES: usize = 2;
