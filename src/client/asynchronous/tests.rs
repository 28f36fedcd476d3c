//! The asynchronous client over pipes in memory, in virtual time.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_io::{AsyncRead, AsyncWrite};
use futures_lite::future::{block_on, poll_fn, zip};

use super::{Client, LocalFuture, Runtime, connect};
use crate::base::{ConnectionId, Micros, Time};
use crate::client::tests::cluster::{FakeCluster, Faults};
use crate::client::{ClientError, Command, CommandError, Multi, MultiAnswer, Options, Rejection};

/// A cluster at the other end of pipes in memory. A pipe breaks after as many writes as `writes`
/// says.
#[derive(Clone)]
struct Memory {
    cluster: Rc<RefCell<FakeCluster>>,
    now: Rc<Cell<u64>>,
    next: Rc<Cell<u64>>,
    writes: u32,
}

struct Pipe {
    memory: Memory,
    connection: ConnectionId,
    inbox: Vec<u8>,
    writes_left: u32,
    reader: Option<Waker>,
}

impl Memory {
    fn new(faults: Faults, writes: u32) -> Self {
        let mut cluster = FakeCluster::new(3, 3, 1);
        cluster.faults = faults;
        let (now, next) = (Rc::default(), Rc::default());
        Self { cluster: Rc::new(RefCell::new(cluster)), now, next, writes }
    }

    fn addresses(&self) -> Vec<String> {
        self.cluster.borrow().addresses.clone()
    }
}

impl Runtime for Memory {
    type Stream = Pipe;

    fn now(&self) -> Time {
        Time(self.now.get())
    }

    fn connect(&self, address: String) -> LocalFuture<io::Result<Pipe>> {
        self.next.set(self.next.get() + 1);
        let connection = ConnectionId(self.next.get());
        let memory = self.clone();
        Box::pin(async move {
            if !memory.addresses().contains(&address) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            memory.cluster.borrow_mut().connect(connection, &address);
            let writes_left = memory.writes;
            Ok(Pipe { memory, connection, inbox: Vec::new(), writes_left, reader: None })
        })
    }

    /// Time passes a millisecond whenever a sleeper is polled, so that nobody waits for long.
    fn sleep(&self, span: Micros) -> LocalFuture<()> {
        let now = Rc::clone(&self.now);
        let until = now.get() + span.0;
        Box::pin(poll_fn(move |context| {
            now.set(now.get() + 1_000);
            if now.get() >= until {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }))
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.inbox.is_empty() {
            if self.writes_left == 0 {
                return Poll::Ready(Ok(0));
            }
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = buffer.len().min(self.inbox.len()).min(1_000);
        buffer[..count].copy_from_slice(&self.inbox[..count]);
        self.inbox.drain(..count);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.writes_left == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.writes_left -= 1;
        let replies = self.memory.cluster.borrow_mut().receive(self.connection, bytes);
        // The reply to the last write is lost.
        if self.writes_left > 0 {
            self.inbox.extend_from_slice(&replies);
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn calls_return_what_the_cluster_answers_and_the_driver_ends() {
    let memory = Memory::new(Faults::default(), u32::MAX);
    let (client, driver) = connect(&memory.addresses(), Options::default(), memory.clone());
    let calls = async move {
        assert_eq!(client.get(b"k").await.expect("a reply").value, None);
        client.put(b"k", b"value").await.expect("a reply");
        assert_eq!(client.append(b"k", b"+").await.expect("a reply").value, 6);
        let value = client.get(b"k").await.expect("a reply").value;
        assert_eq!(value.as_deref(), Some(&b"value+"[..]));
        let answers = client.mget(&[b"none", b"k", b""]).await;
        let values: Vec<_> = answers.into_iter().map(|answer| answer.map(|at| at.value)).collect();
        let refused = Err(ClientError::Command(CommandError::EmptyKey));
        assert_eq!(values, [Ok(None), Ok(Some(b"value+".to_vec())), refused]);
        let batch = Multi::new().compare(b"k", Some(b"value+")).put(b"k", b"v").append(b"k", b"w");
        let done = client.multi(&batch).await.expect("a reply");
        assert!(matches!(done, MultiAnswer::Done(answers) if answers[2].number == 2));
        assert_eq!(client.multi(&batch).await, Ok(MultiAnswer::CompareFailed(0)));
        let refused = client.put(b"", b"").await;
        assert_eq!(refused, Err(ClientError::Command(CommandError::EmptyKey)));
    };
    block_on(zip(driver, calls));
    assert_eq!(memory.cluster.borrow().session_count(), 0, "the driver closed the sessions");
}

#[test]
fn broken_pipes_neither_lose_nor_double() {
    let memory = Memory::new(Faults { leader_changes: 5, ..Faults::default() }, 7);
    let (client, driver) = connect(&memory.addresses(), Options::default(), memory.clone());
    let append = |client: Client<Memory>| async move {
        for _ in 0..100 {
            client.append(b"k", b"x").await.expect("applied in the end");
        }
    };
    let both = zip(append(client.clone()), append(client.clone()));
    let calls = async move {
        both.await;
        assert!(client.counters().frames_repeated > 0, "no pipe broke");
        drop(client);
    };
    block_on(zip(driver, calls));
    assert_eq!(memory.cluster.borrow().store[&b"k"[..]].len(), 200);
}

#[test]
fn nobody_there_is_a_rejection_and_a_dropped_future_no_harm() {
    let memory = Memory::new(Faults::default(), u32::MAX);
    let nowhere = ["nowhere".to_owned()];
    let (client, driver) = connect(&nowhere, Options::default(), memory);
    let calls = async move {
        drop(client.execute(Command::Put { key: b"k", value: b"v" }));
        let outcome = client.put(b"k", b"v").await;
        assert_eq!(outcome, Err(ClientError::Rejected(Rejection::Unreachable)));
    };
    block_on(zip(driver, calls));
}

#[test]
fn without_a_driver_everything_is_settled() {
    let memory = Memory::new(Faults::default(), u32::MAX);
    let (client, driver) = connect(&memory.addresses(), Options::default(), memory);
    let submitted = client.execute(Command::Put { key: b"k", value: b"v" });
    drop(driver);
    let closed = Err(ClientError::Rejected(Rejection::Closed));
    assert_eq!(block_on(submitted), closed);
    assert_eq!(block_on(client.execute(Command::Put { key: b"k", value: b"v" })), closed);
}
