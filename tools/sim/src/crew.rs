//! The parent's side: workers, one for each job, that are replaced when they end.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;

use sunstar::sim::{Failure, Limits, Report};

use crate::worker::Order;

/// A process that runs seeds.
pub(crate) struct Worker {
    /// The environment variable that makes it a process with a mistake, if it is one.
    mistake: Option<(&'static str, String)>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    orders: ChildStdin,
    reports: BufReader<ChildStdout>,
}

impl Worker {
    pub(crate) const fn new() -> Self {
        Self { mistake: None, process: None }
    }

    /// One that makes a mistake in all it does.
    #[cfg(feature = "planted-bugs")]
    pub(crate) const fn with_mistake(variable: &'static str, name: String) -> Self {
        Self { mistake: Some((variable, name)), process: None }
    }

    /// What became of a run.
    ///
    /// # Errors
    /// If no process can be started.
    pub(crate) fn run(&mut self, order: &Order) -> io::Result<Report> {
        if self.process.is_none() {
            self.process = Some(Process::start(self.mistake.as_ref())?);
        }
        let process = self.process.as_mut().expect("started above");
        let report = process.ask(order);
        let report = report.unwrap_or_else(|| Report {
            seed: order.seed,
            failure: Some(ended()),
            ..Report::default()
        });
        if report.failure.is_some() {
            // It may have panicked: the next run is another process's.
            self.end();
        }
        Ok(report)
    }

    fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            _ = process.child.kill();
            _ = process.child.wait();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

impl Process {
    fn start(mistake: Option<&(&'static str, String)>) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--worker").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.envs(mistake.map(|(variable, name)| (variable, name)));
        let mut child = command.spawn()?;
        let orders = child.stdin.take().expect("piped");
        let reports = BufReader::new(child.stdout.take().expect("piped"));
        Ok(Self { child, orders, reports })
    }

    /// The report, unless the process ended without one.
    fn ask(&mut self, order: &Order) -> Option<Report> {
        let line = serde_json::to_string(order).expect("plain data");
        writeln!(self.orders, "{line}").ok()?;
        let mut line = String::new();
        self.reports.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }
}

fn ended() -> Failure {
    Failure {
        what: "the process ended without a word".to_owned(),
        place: "the whole run".to_owned(),
        detail: "killed, or out of memory or stack: see --seed N --trace".to_owned(),
        ..Failure::default()
    }
}

/// Runs seeds on `jobs` workers within limits, each twice if so asked, as long as `more` says, and tells
/// `tell` of each.
///
/// # Errors
/// If workers cannot be started.
pub(crate) fn run_all(
    seeds: std::ops::Range<u64>,
    jobs: usize,
    (limits, twice): (&Limits, bool),
    more: &(dyn Fn() -> bool + Sync),
    tell: &mut dyn FnMut(Report),
) -> io::Result<()> {
    let next = AtomicU64::new(seeds.start);
    let broken = AtomicBool::new(false);
    let work = |reports: mpsc::Sender<io::Result<Report>>| {
        let mut worker = Worker::new();
        while more() && !broken.load(Relaxed) {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds.end {
                break;
            }
            let order = Order { seed, limits: limits.clone(), twice };
            if reports.send(worker.run(&order)).is_err() {
                break;
            }
        }
    };
    std::thread::scope(|scope| {
        let (sender, reports) = mpsc::channel();
        for _ in 0..jobs {
            let (sender, work) = (sender.clone(), &work);
            scope.spawn(move || work(sender));
        }
        drop(sender);
        let told = reports.iter().try_for_each(|report| report.map(&mut *tell));
        broken.store(true, Relaxed);
        told
    })
}
