//! Clients under all of it: what they ask and are told goes into a history.
//!
//! They are of two tempers. Patient ones wait half a minute: a fault delays them, and their outcomes are
//! certain. Impatient ones give up after two seconds: their writes are of unknown outcome, and may happen
//! long after.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use sunstar::base::{Micros, Time};
use sunstar::client::blocking::{Clock, Sockets};
use sunstar::client::core::Core;
use sunstar::client::{Command, Options, Outcome};
use sunstar::history::{Begun, Writer};

use crate::trouble::{Trouble, at};
use crate::workload::{self, Workload};

/// What load to make.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Addresses of nodes.
    pub(crate) targets: Vec<String>,
    /// Commands a second, as long as they are answered.
    pub(crate) rate: u64,
    pub(crate) seed: u64,
    /// Where the history is written.
    pub(crate) history: PathBuf,
}

/// The clients' thread.
#[derive(Debug)]
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    abandon: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Result<Told, Trouble>>,
}

/// What the clients were told, in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// Keys that were read at last.
    pub(crate) keys: u64,
    pub(crate) answered: u64,
    pub(crate) rejected: u64,
    pub(crate) unknown: u64,
}

impl Clients {
    /// Starts them in the calling thread's network.
    ///
    /// # Errors
    /// If the history cannot be made.
    pub(crate) fn start(plan: Plan) -> Result<Self, Trouble> {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let path = plan.history.clone();
        let file = File::create(&path).map_err(at("create", &path))?;
        let abandon = Arc::new(AtomicBool::new(false));
        let flags = (Arc::clone(&stop), Arc::clone(&abandon));
        let count = Arc::clone(&answered);
        let run = move || {
            let engine = Engine::new(&plan, BufWriter::new(file), flags, count);
            engine.and_then(Engine::run).map_err(at("write the history", &path))
        };
        let thread = std::thread::Builder::new().name("clients".into()).spawn(run);
        let thread = thread.map_err(at("start a thread of", Path::new("clients")))?;
        Ok(Self { stop, abandon, answered, thread })
    }

    /// Commands answered up to now.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Has them ask nothing more, waits for what they asked, and reads every key.
    ///
    /// # Errors
    /// If the history could not be written.
    ///
    /// # Panics
    /// If the thread did.
    pub(crate) fn finish(self) -> Result<Told, Trouble> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the clients' thread ended by itself")
    }

    /// Ends them as they are: what was not answered is of unknown outcome.
    ///
    /// # Errors
    /// If the history could not be written.
    pub(crate) fn abandon(self) -> Result<Told, Trouble> {
        self.abandon.store(true, Ordering::Relaxed);
        self.finish()
    }
}

/// One client.
#[derive(Debug)]
struct Client {
    core: Core,
    outstanding: usize,
}

/// The thread's own.
#[derive(Debug)]
struct Engine {
    rate: u64,
    /// Ask nothing more, but wait for answers and read all keys.
    stop: Arc<AtomicBool>,
    /// Not even that.
    abandon: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    sockets: Sockets,
    desk: Desk,
    workload: Workload,
    writer: Writer<BufWriter<File>>,
    /// Whose turn it is.
    next_client: usize,
    /// When the next command may begin.
    due: Time,
    told: Told,
}

/// Where commands are handed in.
#[derive(Debug)]
struct Desk {
    clock: Clock,
    clients: Vec<Client>,
    /// What was begun and not told how it went, by ticket.
    begun: BTreeMap<u64, Begun>,
    next_ticket: u64,
}

impl Desk {
    fn begin(&mut self, number: usize, command: Command<'_>) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let now = self.clock.now();
        self.begun.insert(ticket, command.begun(number as u64, now));
        let client = &mut self.clients[number];
        client.outstanding += 1;
        client.core.submit(now, ticket, command).expect("keys and values are small");
    }
}

const CLIENTS: usize = 8;
/// Commands of one client at a time: a fault that concerns one group lets the others go on.
const OUTSTANDING_MAX: usize = 4;
/// The same while every key is read.
const READS_OUTSTANDING_MAX: usize = 64;
const NAP_MAX: Micros = Micros::from_millis(20);

impl Engine {
    fn new(
        plan: &Plan,
        file: BufWriter<File>,
        (stop, abandon): (Arc<AtomicBool>, Arc<AtomicBool>),
        answered: Arc<AtomicU64>,
    ) -> std::io::Result<Self> {
        let client = |number: usize| {
            let seed = plan.seed.wrapping_mul(1_000_003).wrapping_add(number as u64);
            let options = if number.is_multiple_of(2) { patient() } else { impatient() };
            let core = Core::new(&plan.targets, Options { seed, ..options });
            Client { core, outstanding: 0 }
        };
        Ok(Self {
            rate: plan.rate,
            stop,
            abandon,
            answered,
            sockets: Sockets::new()?,
            desk: Desk {
                clock: Clock::new(),
                clients: (0..CLIENTS).map(client).collect(),
                begun: BTreeMap::new(),
                next_ticket: 0,
            },
            next_client: 0,
            workload: Workload::new(plan.seed),
            writer: Writer::new(file, &format!("nemesis-{}", plan.seed))?,
            due: Time(0),
            told: Told::default(),
        })
    }

    fn run(mut self) -> std::io::Result<Told> {
        while !self.stop.load(Ordering::Relaxed) {
            self.ask();
            self.turn()?;
        }
        self.await_answers()?;
        self.read_all()?;
        let now = self.desk.clock.now();
        for begun in std::mem::take(&mut self.desk.begun).into_values() {
            self.writer.write(&begun.unanswered(now))?;
        }
        self.writer.flush()?;
        Ok(self.told)
    }

    /// Begins what is due, as far as there is room.
    fn ask(&mut self) {
        let now = self.desk.clock.now();
        let step = Micros(1_000_000 / self.rate);
        // What could not begin in time is not made up for.
        self.due = self.due.max(Time(now.0.saturating_sub(NAP_MAX.0)));
        while self.due <= now {
            self.due = self.due + step;
            let number = self.next_client;
            self.next_client = (number + 1) % CLIENTS;
            if self.desk.clients[number].outstanding < OUTSTANDING_MAX {
                self.workload.next(number as u64, |command| self.desk.begin(number, command));
            }
        }
    }

    /// Reads every key that was ever used: what was acknowledged is there.
    fn read_all(&mut self) -> std::io::Result<()> {
        if self.is_abandoned() {
            return Ok(());
        }
        self.told.keys = self.workload.keys();
        for key in 0..self.told.keys {
            // Patient clients read.
            let number = usize::try_from(key).expect("few") % CLIENTS / 2 * 2;
            while self.desk.clients[number].outstanding >= READS_OUTSTANDING_MAX {
                self.turn()?;
            }
            self.desk.begin(number, Command::Get { key: &workload::key(key) });
        }
        self.await_answers()
    }

    fn await_answers(&mut self) -> std::io::Result<()> {
        while !self.desk.begun.is_empty() && !self.is_abandoned() {
            self.turn()?;
        }
        Ok(())
    }

    fn is_abandoned(&self) -> bool {
        self.abandon.load(Ordering::Relaxed)
    }

    /// Sends, waits until something happens or for a moment, and takes answers.
    fn turn(&mut self) -> std::io::Result<()> {
        let now = self.desk.clock.now();
        let mut wait = NAP_MAX;
        for (owner, client) in self.desk.clients.iter_mut().enumerate() {
            self.sockets.perform(owner, &mut client.core, now);
            let deadline = client.core.deadline().unwrap_or(now + NAP_MAX);
            let ready = client.core.has_completions();
            wait = wait.min(if ready { Micros(0) } else { deadline.since(now) });
        }
        self.sockets.wait(Some(wait));
        let now = self.desk.clock.now();
        while let Some(ready) = self.sockets.take_ready() {
            self.sockets.handle(ready, &mut self.desk.clients[ready.owner].core, now);
        }
        for client in &mut self.desk.clients {
            client.core.handle_timeout(now);
        }
        self.take_answers()
    }

    fn take_answers(&mut self) -> std::io::Result<()> {
        // Read after the answers came, so that no command seems shorter than it was.
        let now = self.desk.clock.now();
        for client in &mut self.desk.clients {
            while let Some(completion) = client.core.poll_completion() {
                client.outstanding -= 1;
                let begun = self.desk.begun.remove(&completion.ticket).expect("it had begun");
                match completion.outcome {
                    Outcome::Applied(_) => self.told.answered += 1,
                    Outcome::Rejected(_) => self.told.rejected += 1,
                    Outcome::Unknown(_) => self.told.unknown += 1,
                }
                self.writer.write(&completion.record(begun, now))?;
            }
        }
        self.answered.store(self.told.answered, Ordering::Relaxed);
        Ok(())
    }
}

fn patient() -> Options {
    Options { request_timeout: Micros::from_secs(2), ..Options::default() }
}

fn impatient() -> Options {
    Options {
        operation_timeout: Micros::from_secs(2),
        request_timeout: Micros::from_millis(700),
        connect_timeout: Micros::from_millis(700),
        ..Options::default()
    }
}
