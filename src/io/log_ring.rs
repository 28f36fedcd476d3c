//! A core's log writes, on a ring of their own beside the runtime's.
//!
//! For each operation the runtime enters the kernel about six times, most of them for its timers, and
//! hands the operation over only at the end of a round of its loop. The log's writes are what every
//! command waits for, so they go to the kernel at once, with one call:
//!
//! ```text
//!  begin ──▶ submit ──▶ has completed? ──yes──▶ inbox, for the pump's next turn
//!                             │ no                ▲
//!                             └──▶ watch: the runtime polls the ring
//! ```
//!
//! A disk that is fast, or a kernel that does such writes in place, has completed the write when the
//! call returns; then the runtime has no part in it at all.
//!
//! Source: `io_uring(7)`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::task::{Poll, Waker};

use glommio::io::{DmaFile, PollableFd};
use io_uring::{IoUring, opcode, types};

use super::block_memory::BlockMemory;
use super::disk::die;
use super::inbox::{Event, Inbox};
use crate::wal::WriteId;

/// Places of the ring: as many writes are not in flight at once.
const ENTRIES: u32 = 128;

/// Memory of finished writes that is kept for the next ones, at most.
const SPARES_MAX: usize = 16;
/// Bytes of each, at most.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// Log writes in the kernel's hands.
pub(super) struct LogRing {
    ring: RefCell<IoUring>,
    /// Begun, and not seen to have completed.
    in_flight: RefCell<BTreeMap<WriteId, InFlight>>,
    /// Memory for the next writes.
    spares: RefCell<Vec<BlockMemory>>,
    /// The watcher, while nothing is in flight.
    watcher: Cell<Option<Waker>>,
    inbox: Rc<Inbox>,
}

/// What the kernel reads until the write has completed.
struct InFlight {
    memory: BlockMemory,
    length: usize,
    /// Stays open as long.
    _file: Rc<DmaFile>,
}

impl LogRing {
    /// # Errors
    /// If the system refuses a ring.
    pub(super) fn new(inbox: Rc<Inbox>) -> io::Result<Self> {
        Ok(Self {
            ring: RefCell::new(IoUring::new(ENTRIES)?),
            in_flight: RefCell::default(),
            spares: RefCell::default(),
            watcher: Cell::default(),
            inbox,
        })
    }

    /// Begins a write, durable on completion as `file` is open for that; `Event::LogWritten` follows.
    ///
    /// # Panics
    /// If a write of this number is in flight.
    pub(super) fn begin(&self, write: WriteId, file: &Rc<DmaFile>, offset: u64, bytes: &[u8]) {
        let length = bytes.len();
        let mut memory = self.spares.borrow_mut().pop().unwrap_or_default();
        memory.make_room(length);
        memory[..length].copy_from_slice(bytes);
        let in_flight = InFlight { memory, length, _file: file.clone() };
        let before = self.in_flight.borrow_mut().insert(write, in_flight);
        assert!(before.is_none(), "log write {write:?} begins twice");
        self.submit(write, file.as_raw_fd(), offset);
        self.reap();
        if !self.in_flight.borrow().is_empty()
            && let Some(watcher) = self.watcher.take()
        {
            watcher.wake();
        }
    }

    #[expect(unsafe_code, reason = "the kernel is given the address of what it is to write")]
    fn submit(&self, write: WriteId, file: RawFd, offset: u64) {
        let in_flight = self.in_flight.borrow();
        let InFlight { memory, length, .. } = &in_flight[&write];
        let length_u32 = u32::try_from(*length).expect("a batch is far below 4 GiB");
        let entry = opcode::Write::new(types::Fd(file), memory[..*length].as_ptr(), length_u32)
            .offset(offset)
            .build()
            .user_data(write.0);
        let mut ring = self.ring.borrow_mut();
        // SAFETY: memory and file stay in `in_flight`, whose entries neither move nor change them, until
        // the completion was seen; those left when this is dropped are never freed.
        let pushed = unsafe { ring.submission().push(&entry) };
        pushed.expect("each write is submitted before the next is pushed");
        while let Err(error) = ring.submit() {
            // The system is short of something for a moment, or a signal came.
            let passes = [libc::EINTR, libc::EAGAIN, libc::EBUSY].map(Some);
            if !passes.contains(&error.raw_os_error()) {
                die("writing the log", &error);
            }
        }
    }

    /// Tells the pump of all writes that have completed.
    fn reap(&self) {
        let mut ring = self.ring.borrow_mut();
        for completion in ring.completion() {
            let write = WriteId(completion.user_data());
            let finished = self.in_flight.borrow_mut().remove(&write);
            let InFlight { memory, length, .. } = finished.expect("a write completes once");
            match usize::try_from(completion.result()) {
                Ok(written) if written == length => self.inbox.push(Event::LogWritten(write)),
                Ok(written) => {
                    die("writing the log", &format!("{written} of {length} bytes written"))
                }
                Err(_) => die(
                    "writing the log",
                    &io::Error::from_raw_os_error(completion.result().wrapping_neg()),
                ),
            }
            let mut spares = self.spares.borrow_mut();
            if spares.len() < SPARES_MAX && memory.capacity() <= SPARE_BYTES_MAX {
                spares.push(memory);
            }
        }
    }

    /// Waits until something is in flight.
    async fn is_busy(&self) {
        poll_fn(|context| {
            if self.in_flight.borrow().is_empty() {
                self.watcher.set(Some(context.waker().clone()));
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl Drop for LogRing {
    fn drop(&mut self) {
        // The kernel may be reading it still, and the process is about to end.
        std::mem::forget(self.in_flight.take());
    }
}

/// The ring as something to poll: it is readable while a completion waits.
struct Polled(Rc<LogRing>);

impl AsRawFd for Polled {
    fn as_raw_fd(&self) -> RawFd {
        self.0.ring.borrow().as_raw_fd()
    }
}

/// Sees writes complete that had not when they were begun, for ever.
pub(super) async fn watch(ring: Rc<LogRing>) {
    let polled = PollableFd::new(Polled(ring.clone())).expect("an executor runs this");
    loop {
        ring.is_busy().await;
        if let Err(error) = polled.readable().await {
            die("polling the log's ring", &error);
        }
        ring.reap();
    }
}
