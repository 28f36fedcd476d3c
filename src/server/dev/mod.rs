//! `sunstar dev`: three nodes on this machine, a load, its figures.
//!
//! ```text
//! folder ─▶ plan (n1.toml n2.toml n3.toml) ─▶ three child processes ─▶ ready ─▶ load ─▶ figures
//!                                                    └── stay until Ctrl-C ──▶ SIGTERM, wait
//! ```
//!
//! The nodes are `sunstar start --config n1.toml`, nothing else: what is shown here is what runs
//! anywhere. They die with this process, whatever ends it.

mod folder;
mod interrupt;
mod measure;
mod node;
mod plan;
mod ports;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;

use super::failure::Failure;
use super::status;
use folder::Folder;
use interrupt::Interrupt;
use node::Node;

/// What was typed.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Where the nodes live; else a temporary folder.
    pub(crate) dir: Option<PathBuf>,
    /// Leave the temporary folder behind.
    pub(crate) keep: bool,
    /// The first of nine ports; else free ones.
    pub(crate) base_port: Option<u16>,
    /// Cores of each node.
    pub(crate) smp: u64,
    /// Exit after the load.
    pub(crate) once: bool,
    /// How long the load lasts, seconds; 0: no load.
    pub(crate) duration_s: u64,
    /// Requests outstanding.
    pub(crate) in_flight: u64,
    /// Connections of the load.
    pub(crate) connections: u64,
    /// `put`, `append`, `get` or `mixed`.
    pub(crate) workload: String,
    /// Bytes of a value.
    pub(crate) value_size: u64,
    /// One JSON object on standard output.
    pub(crate) json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dir: None,
            keep: false,
            base_port: None,
            smp: 1,
            once: false,
            duration_s: 5,
            in_flight: 256,
            connections: 4,
            workload: "mixed".to_owned(),
            value_size: 16,
            json: false,
        }
    }
}

impl Options {
    /// Reads what clap took in.
    ///
    /// # Errors
    /// If a number is out of range.
    pub(crate) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        let number = |name: &str| *matches.get_one::<u64>(name).expect("has a default");
        let text = |name: &str| matches.get_one::<String>(name).expect("has a default").clone();
        let base_port = matches.get_one::<u64>("base-port").copied().map(u16::try_from);
        Ok(Self {
            dir: matches.get_one::<String>("dir").map(PathBuf::from),
            keep: matches.get_flag("keep"),
            base_port: base_port
                .transpose()
                .map_err(|_| Failure::usage("--base-port: write a port from 1 to 65535"))?,
            smp: number("smp"),
            once: matches.get_flag("once"),
            duration_s: number("duration"),
            in_flight: number("in-flight"),
            connections: number("connections"),
            workload: text("workload"),
            value_size: number("value-size"),
            json: text("output") == "json",
        })
    }
}

/// Runs the cluster; exit code 0 only if the load met no error.
///
/// # Errors
/// If the nodes could not be made ready, or the load could not run.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut interrupt = Interrupt::listen().map_err(Failure::failed)?;
    let folder = match &options.dir {
        Some(path) => Folder::given(path),
        None => Folder::temporary(options.keep),
    }
    .map_err(Failure::failed)?;
    let mut nodes = Vec::new();
    let done = run_in(&folder, options, &mut nodes, &mut interrupt);
    node::stop(&mut nodes, &mut interrupt);
    if !folder.is_temporary() {
        eprintln!(
            "The data stay in {0}: `sunstar dev --dir {0}` goes on.",
            folder.path().display()
        );
    }
    done
}

fn run_in(
    folder: &Folder,
    options: &Options,
    nodes: &mut Vec<Node>,
    interrupt: &mut Interrupt,
) -> Result<ExitCode, Failure> {
    for plan in plan::plan(folder.path(), options)? {
        nodes.push(Node::start(plan).map_err(Failure::failed)?);
    }
    await_ready(nodes, interrupt)?;
    introduce(nodes, folder);
    let mut code = ExitCode::SUCCESS;
    if options.duration_s > 0 {
        let targets = nodes.iter().map(|node| node.client_address.clone()).collect();
        code = measure::measure(targets, options, interrupt)?;
    }
    if !options.once {
        suggest(nodes);
        stay(nodes, interrupt);
    }
    Ok(code)
}

/// Waits until every node serves and every group has a leader.
fn await_ready(nodes: &mut [Node], interrupt: &mut Interrupt) -> Result<(), Failure> {
    let mut last = Vec::new();
    for _ in 0..READY_STEPS {
        for node in nodes.iter_mut() {
            if let Some(end) = node.take_end() {
                return Err(Failure::failed(format!(
                    "{} ended before it was ready ({end}); the end of {}:\n{}",
                    node.id,
                    node.log_path.display(),
                    node.log_tail(LOG_LINES)
                )));
            }
        }
        last = nodes.iter().filter_map(unready).collect();
        if last.is_empty() {
            return Ok(());
        }
        if interrupt.wait(READY_STEP) {
            return Err(Failure::failed("stopped by a signal"));
        }
    }
    Err(Failure::failed(format!("not ready after a minute: {}", last.join("; "))))
}

/// What `node` still lacks.
fn unready(node: &Node) -> Option<String> {
    match status::ask(&node.admin_address, false) {
        Ok(status) if !status.is_ready => Some(format!("{} says it is not ready", node.id)),
        Ok(status) if !status.knows_all_leaders() => {
            Some(format!("{} knows no leader of some groups", node.id))
        }
        Ok(_) => None,
        Err(cause) => Some(format!("{}: {cause}", node.id)),
    }
}

fn introduce(nodes: &[Node], folder: &Folder) {
    eprintln!("Three nodes are ready; their data and logs are in {}", folder.path().display());
    for node in nodes {
        let pid = node.pid().map_or("gone".to_owned(), |pid| pid.to_string());
        eprintln!(
            "  {}  clients {}  admin http://{}/status  pid {pid}",
            node.id, node.client_address, node.admin_address
        );
    }
}

fn suggest(nodes: &[Node]) {
    let join = |of: fn(&Node) -> &str| nodes.iter().map(of).collect::<Vec<_>>().join(",");
    let program = std::env::args().next().unwrap_or_else(|| "sunstar".to_owned());
    eprintln!("\nThey stay until Ctrl-C. Meanwhile:");
    eprintln!("  {program} ctl status --admin-addr {}", join(|node| &node.admin_address));
    eprintln!(
        "  cargo run --release -p sunstar-load -- --target {} --duration 30",
        join(|node| &node.client_address)
    );
    let running = nodes.iter().rev().find_map(|node| Some((node, node.pid()?)));
    if let Some((node, pid)) = running {
        eprintln!("Kill a node under that load, and bring it back:");
        eprintln!("  kill -9 {pid}");
        eprintln!("  {program} start --config {}", node.config_path.display());
    }
}

/// Until a signal comes; says when a node ends meanwhile.
fn stay(nodes: &mut [Node], interrupt: &mut Interrupt) {
    while !interrupt.wait(STAY_STEP) {
        for node in nodes.iter_mut() {
            if let Some(end) = node.take_end() {
                eprintln!("{} ended ({end}); its log: {}", node.id, node.log_path.display());
            }
        }
    }
}

const READY_STEP: Duration = Duration::from_millis(50);

const READY_STEPS: u32 = 1_200;

const STAY_STEP: Duration = Duration::from_millis(500);

/// Lines of a log shown when its node did not come up.
const LOG_LINES: usize = 20;
