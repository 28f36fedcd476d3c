//! The client for asynchronous programs, on any single-threaded runtime.
//!
//! `connect` returns a `Client`, whose methods are futures, and a `Driver`, a future to be spawned
//! beside them that moves bytes and time. The runtime supplies streams with the `futures-io` traits,
//! a clock and a timer (`Runtime`). Clients are cheap to clone; when the last is dropped the driver
//! closes its sessions and ends.
//!
//! Client and driver share one thread (`!Send`): a thread-per-core program has a client per core.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_io::{AsyncRead, AsyncWrite};

use super::answer::{Answer, At, ClientError};
use super::command::{Command, CommandError};
use super::core::{Action, Core, Counters};
use super::multi::{Multi, MultiAnswer};
use super::options::Options;
use crate::base::collections::Map;
use crate::base::{ConnectionId, Micros, Time};

/// A future of this thread.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// What a runtime supplies.
pub trait Runtime {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// The present moment of a monotonic clock.
    fn now(&self) -> Time;

    /// Connects to `address`, `host:port`.
    fn connect(&self, address: String) -> LocalFuture<io::Result<Self::Stream>>;

    /// Is ready when `span` is over.
    fn sleep(&self, span: Micros) -> LocalFuture<()>;
}

/// A client whose calls are futures.
///
/// A future that is dropped gives up the outcome, not the command: that may still happen.
pub struct Client<R: Runtime> {
    shared: Rc<Shared<R>>,
}

/// Moves bytes and time for its clients; to be spawned on their thread. Ends after the last client
/// is dropped.
#[must_use = "nothing happens unless the driver is polled"]
pub struct Driver<R: Runtime> {
    shared: Rc<Shared<R>>,
    connections: BTreeMap<ConnectionId, Connection<R::Stream>>,
    /// Sleeps until the moment beside it, which is never later than the core's deadline.
    timer: Option<(Time, LocalFuture<()>)>,
    /// Where received bytes land before the core takes them.
    buffer: Box<[u8]>,
}

enum Connection<S> {
    Connecting(LocalFuture<io::Result<S>>),
    Open(S),
}

struct Shared<R> {
    runtime: R,
    state: RefCell<State>,
}

struct State {
    core: Core,
    /// Those who wait for outcomes, by ticket.
    waiters: Map<u64, Waiter>,
    next_ticket: u64,
    /// Clients alive; at zero the driver closes the sessions.
    clients: usize,
    closing: bool,
    /// Whether the driver was dropped: then every command is settled at once.
    abandoned: bool,
    /// The driver's, to be woken when there is something to send.
    driver: Option<Waker>,
}

#[derive(Default)]
struct Waiter {
    outcome: Option<Result<Answer, ClientError>>,
    waker: Option<Waker>,
}

/// Bytes taken from a stream at once.
const BUFFER: usize = 64 << 10;

/// A client of the cluster that the nodes at `addresses` (`host:port`) belong to, and its driver.
/// Commands wait until one of the nodes has answered.
///
/// # Panics
/// If there is no address.
pub fn connect<R: Runtime>(
    addresses: &[String],
    options: Options,
    runtime: R,
) -> (Client<R>, Driver<R>) {
    let state = State {
        core: Core::new(addresses, options),
        waiters: Map::default(),
        next_ticket: 1,
        clients: 1,
        closing: false,
        abandoned: false,
        driver: None,
    };
    let shared = Rc::new(Shared { runtime, state: RefCell::new(state) });
    let driver = Driver {
        shared: Rc::clone(&shared),
        connections: BTreeMap::new(),
        timer: None,
        buffer: vec![0; BUFFER].into_boxed_slice(),
    };
    (Client { shared }, driver)
}

impl<R: Runtime> Client<R> {
    /// Submits a command at once; the future is its outcome. Commands submitted before the driver
    /// runs again travel together.
    ///
    /// # Errors
    /// The future's: if the command was not, or not certainly, executed.
    pub fn execute(&self, command: Command<'_>) -> Execution<R> {
        let mut state = self.shared.state.borrow_mut();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let submitted = state.core.submit(self.shared.runtime.now(), ticket, command);
        let outcome = submitted.err().map(|error| Err(error.into()));
        state.waiters.insert(ticket, Waiter { outcome, waker: None });
        if state.abandoned {
            state.take_outcomes();
        }
        wake(state.driver.take());
        Execution { shared: Rc::clone(&self.shared), ticket }
    }

    fn submit_multi(&self, commands: &[Command<'_>]) -> Result<Vec<Execution<R>>, CommandError> {
        let mut state = self.shared.state.borrow_mut();
        let first = state.next_ticket;
        state.core.submit_multi(self.shared.runtime.now(), first, commands)?;
        state.next_ticket += commands.len() as u64;
        let tickets = first..state.next_ticket;
        state.waiters.extend(tickets.clone().map(|ticket| (ticket, Waiter::default())));
        if state.abandoned {
            state.take_outcomes();
        }
        wake(state.driver.take());
        let execution = |ticket| Execution { shared: Rc::clone(&self.shared), ticket };
        Ok(tickets.map(execution).collect())
    }

    /// Reads a value, linearizably.
    ///
    /// # Errors
    /// If the command was not executed.
    pub async fn get(&self, key: &[u8]) -> Result<At<Option<Vec<u8>>>, ClientError> {
        Ok(self.execute(Command::Get { key }).await?.into_value())
    }

    /// Reads the values of many keys, of any slots: one answer per key, in the order of `keys`. The
    /// reads are submitted at once, and travel together.
    ///
    /// Each key is read linearizably, by itself: all writes acknowledged before the call are seen. It is
    /// no picture of one moment: between the reads of two keys others may write.
    pub async fn mget(&self, keys: &[&[u8]]) -> Vec<Result<At<Option<Vec<u8>>>, ClientError>> {
        let reads: Vec<_> = keys.iter().map(|key| self.execute(Command::Get { key })).collect();
        let mut answers = Vec::with_capacity(reads.len());
        for read in reads {
            answers.push(read.await.map(Answer::into_value));
        }
        answers
    }

    /// Sets a value.
    ///
    /// # Errors
    /// If the command was not, or not certainly, executed.
    pub async fn put(&self, key: &[u8], value: &[u8]) -> Result<At<()>, ClientError> {
        Ok(self.execute(Command::Put { key, value }).await?.into_unit())
    }

    /// Adds to a value's end; the new length.
    ///
    /// # Errors
    /// If the command was not, or not certainly, executed.
    pub async fn append(&self, key: &[u8], value: &[u8]) -> Result<At<i64>, ClientError> {
        Ok(self.execute(Command::Append { key, value }).await?.into_number())
    }

    /// Removes a key; whether it was there.
    ///
    /// # Errors
    /// If the command was not, or not certainly, executed.
    pub async fn delete(&self, key: &[u8]) -> Result<At<bool>, ClientError> {
        Ok(self.execute(Command::Delete { key }).await?.into_success())
    }

    /// Sets a value if the key holds `expected` (`None`: is absent); whether it did.
    ///
    /// # Errors
    /// If the command was not, or not certainly, executed.
    pub async fn compare_and_set(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<At<bool>, ClientError> {
        Ok(self.execute(Command::CompareAndSet { key, expected, value }).await?.into_success())
    }

    /// Adds to a decimal integer value; the sum.
    ///
    /// # Errors
    /// If the command was not, or not certainly, executed.
    pub async fn increment(&self, key: &[u8], delta: i64) -> Result<At<i64>, ClientError> {
        Ok(self.execute(Command::Increment { key, delta }).await?.into_number())
    }

    /// Executes commands on keys of one slot, all of them or none.
    ///
    /// # Errors
    /// If the batch was not, or not certainly, executed, or failed for another reason than a compare.
    pub async fn multi(&self, batch: &Multi<'_>) -> Result<MultiAnswer, ClientError> {
        let mut outcomes = Vec::with_capacity(batch.commands().len());
        for execution in self.submit_multi(batch.commands())? {
            outcomes.push(execution.await);
        }
        MultiAnswer::of(outcomes)
    }

    /// What this client went through.
    pub fn counters(&self) -> Counters {
        self.shared.state.borrow().core.counters()
    }
}

impl<R: Runtime> Clone for Client<R> {
    fn clone(&self) -> Self {
        self.shared.state.borrow_mut().clients += 1;
        Self { shared: Rc::clone(&self.shared) }
    }
}

impl<R: Runtime> Drop for Client<R> {
    fn drop(&mut self) {
        let mut state = self.shared.state.borrow_mut();
        state.clients -= 1;
        wake(state.driver.take());
    }
}

impl<R: Runtime> fmt::Debug for Client<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl<R: Runtime> fmt::Debug for Driver<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Driver({} connections)", self.connections.len())
    }
}

/// A submitted command's outcome to come.
#[must_use = "the command is submitted, but its outcome is lost unless awaited"]
pub struct Execution<R: Runtime> {
    shared: Rc<Shared<R>>,
    ticket: u64,
}

impl<R: Runtime> Future for Execution<R> {
    type Output = Result<Answer, ClientError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.state.borrow_mut();
        let waiter = state.waiters.entry(self.ticket).or_default();
        if let Some(outcome) = waiter.outcome.take() {
            return Poll::Ready(outcome);
        }
        waiter.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<R: Runtime> Drop for Execution<R> {
    fn drop(&mut self) {
        self.shared.state.borrow_mut().waiters.remove(&self.ticket);
    }
}

impl<R: Runtime> fmt::Debug for Execution<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Execution({})", self.ticket)
    }
}

impl<R: Runtime> Future for Driver<R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let shared = Rc::clone(&this.shared);
        loop {
            let mut state = shared.state.borrow_mut();
            state.driver = Some(context.waker().clone());
            if state.clients == 0 && !state.closing {
                state.closing = true;
                state.core.shut_down(shared.runtime.now());
            }
            this.perform(&mut state.core);
            let moved = this.move_bytes(&mut state.core, context)
                | this.move_time(&mut state.core, context);
            let wakers = state.take_outcomes();
            if state.closing && state.core.is_closed() {
                return Poll::Ready(());
            }
            drop(state);
            // Without a borrow: who is woken may run at once.
            wakers.into_iter().for_each(Waker::wake);
            if !moved {
                return Poll::Pending;
            }
        }
    }
}

impl<R: Runtime> Drop for Driver<R> {
    /// Nobody moves bytes any more: everything outstanding gets its outcome now.
    fn drop(&mut self) {
        let mut state = self.shared.state.borrow_mut();
        state.abandoned = true;
        state.core.shut_down(self.shared.runtime.now());
        let wakers = state.take_outcomes();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<R: Runtime> Driver<R> {
    /// Begins and ends connections as the core wants; what there is to send is seen by
    /// `move_bytes`.
    fn perform(&mut self, core: &mut Core) {
        while let Some(action) = core.poll_action() {
            match action {
                Action::Connect { connection, address } => {
                    let future = self.shared.runtime.connect(address);
                    self.connections.insert(connection, Connection::Connecting(future));
                }
                Action::Send { .. } => {}
                Action::Close { connection } => {
                    self.connections.remove(&connection);
                }
            }
        }
    }

    /// Moves bytes both ways as far as they go; whether the core learnt anything.
    fn move_bytes(&mut self, core: &mut Core, context: &mut Context<'_>) -> bool {
        let now = self.shared.runtime.now();
        let mut learnt = false;
        let buffer = &mut self.buffer;
        self.connections.retain(|&id, connection| {
            let moved = poll_connection(id, connection, core, now, buffer, context);
            learnt |= moved.unwrap_or(true);
            if moved.is_err() {
                core.handle_closed(id, now);
            }
            moved.is_ok()
        });
        learnt
    }

    /// Tells the core when its deadline has come; whether it has.
    fn move_time(&mut self, core: &mut Core, context: &mut Context<'_>) -> bool {
        let Some(deadline) = core.deadline() else { return false };
        if self.timer.as_ref().is_none_or(|&(at, _)| deadline < at) {
            let span = deadline.since(self.shared.runtime.now());
            self.timer = Some((deadline, self.shared.runtime.sleep(span)));
        }
        let (_, timer) = self.timer.as_mut().expect("set above");
        if timer.as_mut().poll(context).is_pending() {
            return false;
        }
        self.timer = None;
        core.handle_timeout(self.shared.runtime.now());
        true
    }
}

/// The connection is over.
#[derive(Clone, Copy)]
struct Over;

/// Moves one connection's bytes; whether the core learnt anything.
fn poll_connection<S: AsyncRead + AsyncWrite + Unpin>(
    id: ConnectionId,
    connection: &mut Connection<S>,
    core: &mut Core,
    now: Time,
    buffer: &mut [u8],
    context: &mut Context<'_>,
) -> Result<bool, Over> {
    let mut learnt = false;
    if let Connection::Connecting(future) = connection {
        match future.as_mut().poll(context) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Err(_)) => return Err(Over),
            Poll::Ready(Ok(stream)) => *connection = Connection::Open(stream),
        }
        core.handle_connected(id, now);
        learnt = true;
    }
    let Connection::Open(stream) = connection else { return Ok(learnt) };
    let mut stream = Pin::new(stream);
    send(id, stream.as_mut(), core, context)?;
    while let Poll::Ready(received) = stream.as_mut().poll_read(context, buffer) {
        match received {
            Ok(count) if count > 0 => core.handle_bytes(id, &buffer[..count], now),
            _ => return Err(Over),
        }
        learnt = true;
    }
    Ok(learnt)
}

fn send<S: AsyncWrite>(
    id: ConnectionId,
    mut stream: Pin<&mut S>,
    core: &mut Core,
    context: &mut Context<'_>,
) -> Result<(), Over> {
    while !core.unsent(id).is_empty() {
        match stream.as_mut().poll_write(context, core.unsent(id)) {
            Poll::Ready(Ok(count)) if count > 0 => core.handle_sent(id, count),
            Poll::Ready(_) => return Err(Over),
            Poll::Pending => break,
        }
    }
    match stream.poll_flush(context) {
        Poll::Ready(Err(_)) => Err(Over),
        _ => Ok(()),
    }
}

impl State {
    /// Hands outcomes to those who wait; whom to wake.
    fn take_outcomes(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some(completion) = self.core.poll_completion() {
            // Nobody may wait any more: its future was dropped.
            if let Some(waiter) = self.waiters.get_mut(&completion.ticket) {
                waiter.outcome = Some(Answer::of(completion.outcome));
                wakers.extend(waiter.waker.take());
            }
        }
        wakers
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
