//! Launches a node: checks, opens, recovers, runs its cores, and stops them in order.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::panic;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, SendError, Sender};
use std::time::Duration;

use glommio::{ExecutorJoinHandle, GlommioError, LocalExecutorBuilder, Placement};
use rustix::event::epoll;

use super::clock::Clock;
use super::core::{Core, Parts, poll_sockets, tick};
use super::data_dir::{DataDir, DataDirError, create_directory};
use super::disk::Disk;
use super::handshake::Local;
use super::inbox::Inbox;
use super::kept_map::{KeptMap, kept_map, newer};
use super::layout::Layout;
use super::memory::keep_freed_memory;
use super::mesh::{Bell, Mesh, mesh};
use super::preflight::{
    Listeners, check_disk, check_io_uring, check_settings, memlock, raise_descriptor_limit,
};
use super::recover::{Found, recover};
use super::registry::Registry;
use super::rehoming::rehome;
use super::scheduling::finish_turns_undisturbed;
use super::starting::Starting;
use super::watchdog::{self, Watched};
use super::{NodeConfig, PreflightError, RecoverFilesError, signals};
use crate::base::CoreId;
use crate::placement::ShardMap;
use crate::raft::Lease;
use crate::reactor::{Reactor, ReactorConfig, RecoverError};
use crate::wal::Superblock;

/// Log writes of a core in flight at once, at most.
const LOG_WRITES_IN_FLIGHT_MAX: usize = 4;
/// Log segments of a core past which its groups are made to take snapshots.
const LIVE_SEGMENTS_MAX: usize = 4;
/// Bytes of applied entries that a core keeps in memory for followers a little behind.
const ENTRIES_MEMORY_MAX: u64 = 32 << 20;
/// See `ReactorConfig::piece_bytes`: some milliseconds of a network.
const PIECE_BYTES: usize = 256 << 10;
/// The executor's time slice, at least: with a shorter one it may park although tasks are runnable.
const TASK_QUOTA_MIN: Duration = Duration::from_millis(10);
/// Bytes of I/O buffers of a core. The executor registers them with each of its three rings.
const IO_MEMORY: usize = 8 << 20;
const IO_MEMORY_MIN: usize = 256 << 10;

/// How long a core's executor may take to run its first task.
const ALIVE_TIME: Duration = Duration::from_secs(1);

/// Why a node did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot start here.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// A core cannot read its data.
    #[error("core {core}: {source}")]
    RecoverFiles {
        /// The core.
        core: CoreId,
        /// Why.
        source: RecoverFilesError,
    },
    /// A core's reactor cannot start from its data.
    #[error("core {core} cannot go on from what is in `{}`: {source}", directory.display())]
    Recover {
        /// The core.
        core: CoreId,
        /// Its directory.
        directory: PathBuf,
        /// Why.
        source: RecoverError,
    },
    /// The system refused something a core needs.
    #[error("core {core} cannot start: {source}")]
    Core {
        /// The core.
        core: CoreId,
        /// What it said.
        source: io::Error,
    },
    /// The system refused something the process needs.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl From<DataDirError> for RunError {
    fn from(error: DataDirError) -> Self {
        Self::Preflight(error.into())
    }
}

/// What all cores of a node share. Nothing here changes but the three ways to say "stop".
pub(super) struct Node {
    pub(super) config: NodeConfig,
    /// Whose data it has.
    pub(super) superblock: Superblock,
    /// Where the cores have their directories.
    layout: Layout,
    pub(super) clock: Clock,
    /// How far the start is.
    pub(super) starting: Starting,
    pub(super) bells: Arc<[Bell]>,
    /// The node stops.
    stopping: AtomicBool,
    /// Cores that have nothing in flight any more.
    pub(super) quiescent_cores: AtomicUsize,
}

impl Node {
    /// Who this node is, for a core that goes by `shard_map`.
    pub(super) fn local<'a>(&self, shard_map: &'a ShardMap) -> Local<'a> {
        Local {
            cluster: self.config.cluster,
            node: self.config.node,
            incarnation: self.superblock.incarnation,
            smp: self.config.cores(),
            shard_map,
        }
    }

    /// Asks all cores to finish.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.ring_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Wakes all cores.
    pub(super) fn ring_all(&self) {
        for bell in self.bells.iter() {
            bell.ring();
        }
    }
}

/// Runs a node until SIGTERM or SIGINT: formats its data directory at the first start, recovers,
/// serves, and stops in order.
///
/// Any panic ends the process: the state of a core that panicked is not to be trusted.
///
/// # Errors
/// If the node cannot start, with cause and remedy.
pub fn run(config: NodeConfig) -> Result<(), RunError> {
    abort_on_panic();
    keep_freed_memory();
    serve(config, |node| signals::watch(node).map(|handle| move || handle.close()))
}

/// Runs a node until it is told to stop. `started` is given the means to, and returns what is to be
/// called at the end.
pub(super) fn serve<F: FnOnce()>(
    config: NodeConfig,
    started: impl FnOnce(Arc<Node>) -> io::Result<F>,
) -> Result<(), RunError> {
    check_settings(&config)?;
    check_io_uring()?;
    create_directory(&config.data_dir)?;
    check_disk(&config.data_dir).map_err(RunError::from)?;
    let data_dir = DataDir::open(&config)?;
    let config = with_kept_map(config)?;
    let mut registry = Some(Registry::open(&config.data_dir)?);
    let listeners = Listeners::bind(&config)?;
    raise_descriptor_limit();
    let clock = Clock::start();
    let admin = listeners.admin.as_ref().map(TcpListener::try_clone).transpose()?;
    let starting = Starting::begin(config.node, config.smp, clock, admin)?;
    let data_dir = rehome(&config, data_dir, &starting.progress)?;
    let bells = (0..config.smp).map(|_| Bell::new()).collect::<io::Result<Arc<[Bell]>>>()?;
    let meshes = mesh(&bells);
    let node = Arc::new(Node {
        superblock: data_dir.superblock(),
        layout: data_dir.layout(),
        clock,
        starting,
        bells,
        stopping: AtomicBool::new(false),
        quiescent_cores: AtomicUsize::new(0),
        config,
    });
    announce(&node, &listeners, data_dir.formatted);
    let finished = started(node.clone())?;
    let Listeners { client, peer, admin } = listeners;
    let (mut peer, mut admin) = (Some(peer), admin);
    let watchdog = watchdog::start()?;
    let mut cores = Vec::new();
    for (number, mesh) in meshes.into_iter().enumerate() {
        let id = CoreId(u16::try_from(number).expect("preflight limits the number of cores"));
        let start = Start {
            id,
            node: node.clone(),
            mesh,
            client_listener: client.try_clone()?,
            peer_listener: peer.take(),
            admin_listener: admin.take(),
            registry: registry.take(),
            watchdog: watchdog.clone(),
        };
        cores.push((id, launch(&node.config, id, start)?));
    }
    drop((client, watchdog));
    let mut result = Ok(());
    for (core, thread) in cores {
        let ended = match thread.join() {
            Ok(ended) => ended,
            Err(error) => Err(core_error(core, error)),
        };
        result = result.and(ended);
    }
    finished();
    tracing::info!(node = %node.config.node, "stopped");
    result
}

/// Goes by the map that is in force. The one that a node was told when it joined is kept from then on:
/// nothing else leads it back to its cluster.
fn with_kept_map(config: NodeConfig) -> Result<NodeConfig, DataDirError> {
    let directory = &config.data_dir;
    let kept = kept_map(directory, config.cluster)?;
    let is_kept = kept.as_ref().is_some_and(|kept| kept.epoch >= config.shard_map.epoch);
    let shard_map = newer(kept, &config.shard_map);
    if config.groups == 0 && !is_kept {
        KeptMap { cluster: config.cluster, map: shard_map.clone() }.write(directory)?;
    }
    if shard_map.node(config.node).is_none() {
        let (path, node, epoch) = (directory.clone(), config.node, shard_map.epoch);
        return Err(DataDirError::Removed { path, node, epoch });
    }
    Ok(NodeConfig { shard_map, ..config })
}

fn announce(node: &Node, listeners: &Listeners, formatted: bool) {
    let address = |listener: &TcpListener| {
        listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
    };
    tracing::info!(
        node = %node.config.node,
        cluster = format!("{:016x}", node.config.cluster.0),
        incarnation = %node.superblock.incarnation,
        epoch = node.config.shard_map.epoch,
        cores = node.config.smp,
        client = address(&listeners.client),
        peer = address(&listeners.peer),
        admin = listeners.admin.as_ref().map_or_else(String::new, address),
        data_dir = %node.config.data_dir.display(),
        formatted,
        "starting"
    );
}

/// Starts a core's executor and gives it what it starts from, once it has come alive.
///
/// An executor that lost its CPU at the wrong moment before its first task ran parks for ever, and
/// nothing can wake it yet (later the watchdog does): another one takes its place.
fn launch(config: &NodeConfig, id: CoreId, start: Start) -> Result<Handle, RunError> {
    for attempt in 1.. {
        let (alive, is_alive) = mpsc::channel();
        let core = executor(config, usize::from(id.0)).spawn(move || come_alive(alive));
        let core = core.map_err(|error| core_error(id, error))?;
        if let Ok(give) = is_alive.recv_timeout(ALIVE_TIME) {
            let start: Result<(), SendError<Start>> = give.send(start);
            start.unwrap_or_else(|_| panic!("core {id} waits for this"));
            return Ok(core);
        }
        tracing::warn!(core = %id, attempt, "the executor did not come alive");
    }
    unreachable!("every attempt ends in a core or is followed by another")
}

/// Takes what the core starts from, unless another executor has it by now.
async fn come_alive(alive: Sender<Sender<Start>>) -> Result<(), RunError> {
    let (give, start) = mpsc::channel();
    // Nobody listens any more, or nobody answers, if this came too late.
    let _ = alive.send(give);
    drop(alive);
    match start.recv() {
        Ok(start) => start.run().await,
        Err(_) => Ok(()),
    }
}

/// A core's thread.
type Handle = ExecutorJoinHandle<Result<(), RunError>>;

/// The executor of one core.
fn executor(config: &NodeConfig, core: usize) -> LocalExecutorBuilder {
    let placement = if config.overprovisioned {
        Placement::Unbound
    } else {
        Placement::Fixed(config.cpuset[core])
    };
    let quota = Duration::from_millis(config.task_quota_ms).max(TASK_QUOTA_MIN);
    let builder = LocalExecutorBuilder::new(placement)
        .name("core")
        .preempt_timer(quota)
        .io_memory(io_memory(config.smp));
    if config.overprovisioned || config.idle_poll_time_us == 0 {
        return builder;
    }
    builder.spin_before_park(Duration::from_micros(config.idle_poll_time_us))
}

/// I/O buffers of a core that fit three times into the memory that may be locked.
fn io_memory(cores: usize) -> usize {
    let share = usize::try_from(memlock()).unwrap_or(usize::MAX) / cores / 4;
    share.clamp(IO_MEMORY_MIN, IO_MEMORY)
}

/// What a core starts from, on its way to its thread.
struct Start {
    id: CoreId,
    node: Arc<Node>,
    mesh: Mesh,
    client_listener: TcpListener,
    peer_listener: Option<TcpListener>,
    admin_listener: Option<TcpListener>,
    registry: Option<Registry>,
    /// Kept until the core ends.
    watchdog: Sender<Watched>,
}

impl Start {
    /// Recovers the core and runs it.
    async fn run(self) -> Result<(), RunError> {
        let node = self.node.clone();
        if node.config.overprovisioned
            && let Err(error) = finish_turns_undisturbed()
        {
            tracing::debug!(core = %self.id, %error, "no batch scheduling");
        }
        let result = self.run_to_the_end().await;
        if result.is_err() {
            // The others have nothing to wait for.
            node.quiescent_cores.fetch_add(1, Ordering::SeqCst);
            node.stop();
        }
        result
    }

    async fn run_to_the_end(self) -> Result<(), RunError> {
        let id = self.id;
        let system = |source| RunError::Core { core: id, source };
        let (reactor, found) = self.recover()?;
        let Self {
            node,
            mesh,
            client_listener,
            peer_listener,
            admin_listener,
            registry,
            watchdog,
            ..
        } = self;
        let inbox = Rc::new(Inbox::default());
        let directory = node.layout.core_dir(id.0);
        let disk =
            Disk::open(&directory, node.config.segment_bytes, &found.segments, inbox.clone())
                .await
                .map_err(system)?;
        let epoll =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| system(error.into()))?;
        let watched: OwnedFd = epoll.try_clone().map_err(system)?;
        let parts = Parts {
            node: node.clone(),
            reactor,
            mesh,
            disk,
            inbox: inbox.clone(),
            client_listener,
            peer_listener,
            admin_listener,
            registry,
        };
        let core = Core::new(id, epoll, parts).map_err(system)?;
        glommio::spawn_local(poll_sockets(watched, inbox.clone())).detach();
        glommio::spawn_local(tick(inbox, watchdog.clone())).detach();
        core.pump().await;
        drop(watchdog);
        Ok(())
    }

    fn recover(&self) -> Result<(Reactor, Found), RunError> {
        let (node, core) = (&self.node, self.id);
        let began = node.clock.now();
        let directory = node.layout.core_dir(core.0);
        let progress = &node.starting.progress;
        let mut found = recover(&directory, node.superblock.log_config(core), progress)
            .map_err(|source| RunError::RecoverFiles { core, source })?;
        let config = reactor_config(&node.config, &node.superblock, &node.clock, core);
        let recovered = found.restore(core, progress)?;
        let (batches, torn_bytes) = (recovered.log.batches, recovered.log.torn_bytes);
        let snapshots = recovered.snapshots.len();
        let reactor = Reactor::new(node.clock.now(), config, recovered)
            .map_err(|source| RunError::Recover { core, directory, source })?;
        tracing::info!(
            %core,
            segments = found.segments.len(),
            snapshots,
            batches,
            torn_bytes,
            read_bytes = found.spent.bytes,
            waited_for_disk_ms = found.spent.waited.0 / 1_000,
            log_ms = found.spent.log.0 / 1_000,
            snapshots_ms = found.spent.snapshots.0 / 1_000,
            took_ms = node.clock.now().since(began).0 / 1_000,
            "recovered"
        );
        node.starting.core_recovered(node.config.node);
        Ok((reactor, found))
    }
}

/// The settings of a core's reactor.
pub(super) fn reactor_config(
    config: &NodeConfig,
    superblock: &Superblock,
    clock: &Clock,
    core: CoreId,
) -> ReactorConfig {
    let incarnation = superblock.incarnation;
    ReactorConfig {
        cluster: config.cluster,
        node: config.node,
        incarnation,
        core,
        smp: config.cores(),
        shard_map: config.shard_map.clone(),
        // Another in every run, so that nodes do not go on colliding.
        seed: clock.wall_offset() ^ incarnation.0.rotate_left(u32::from(core.0)),
        wall_offset: clock.wall_offset(),
        election_timeout: config.election_timeout,
        heartbeat_interval: config.heartbeat_interval,
        lease: (config.lease_drift_percent > 0)
            .then_some(Lease { drift_percent: config.lease_drift_percent }),
        segment_bytes: config.segment_bytes,
        log_seed: superblock.log_seed,
        log_writes_in_flight_max: LOG_WRITES_IN_FLIGHT_MAX,
        live_segments_max: LIVE_SEGMENTS_MAX,
        entries_memory_max: ENTRIES_MEMORY_MAX,
        memory_max: config.core_memory(),
        piece_bytes: PIECE_BYTES,
    }
}

fn core_error(core: CoreId, error: GlommioError<()>) -> RunError {
    RunError::Core { core, source: error.into() }
}

/// A panic anywhere is logged and ends the process: a dead core would leave its groups in doubt.
fn abort_on_panic() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        tracing::error!(panic = %info, "bug: the process stops");
        before(info);
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests;
