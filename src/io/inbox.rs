//! What tasks beside the pump leave for its next turn.
//!
//! Everything here stays on one core. Borrows never outlast a call: nothing is held across an await.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};

use glommio::channels::oneshot;
use glommio::io::{DmaFile, ReadResult};

use super::admin::StatusQuery;
use super::administration::{GroupQuery, PlacementQuery};
use super::kept_map::KeptMap;
use super::replacement::MemberQuery;
use crate::base::{GroupId, PeerCore};
use crate::reactor::MapWrite;
use crate::wal::{SegmentId, WriteId};

/// Something that a task finished.
pub(super) enum Event {
    /// A log write is durable.
    LogWritten(WriteId),
    /// A read of the log is done; nothing was read if it failed.
    LogRead(u64, Option<ReadResult>),
    /// A segment is ready to be written, through this file.
    SegmentReady(SegmentId, Rc<DmaFile>),
    /// The disk has no room for a segment.
    SegmentFailed(SegmentId),
    /// A piece of a snapshot was taken.
    SnapshotWritten(u64),
    /// The disk had no room for a piece: nothing is left of the snapshot.
    SnapshotFailed(u64),
    /// A peer's name was looked up, for a link or the failure detector.
    Resolved { purpose: super::links::Purpose, to: PeerCore, address: Option<SocketAddr> },
    /// The snapshots of a group that left are gone.
    SnapshotsRemoved(GroupId),
    /// A shard map is kept, or there was no room for it.
    MapKept { write: MapWrite, is_kept: bool },
    /// Somebody asks how the node is.
    Status(StatusQuery),
    /// Somebody asks something of a group.
    AskGroup(GroupQuery),
    /// Somebody asks something of the shard master.
    AskMaster(PlacementQuery),
    /// Somebody asks for the shard map.
    AskMap(oneshot::Sender<KeptMap>),
    /// Somebody asks who a node is, or lets another incarnation of it in.
    AskMember(MemberQuery),
}

/// Where tasks leave what the pump is to take in, and where it waits for that.
#[derive(Default)]
pub(super) struct Inbox {
    events: RefCell<Vec<Event>>,
    /// The poller saw a ready socket; reset by the pump once it has looked at all.
    sockets_ready: Cell<bool>,
    /// The tick is due; reset by the pump.
    tick_due: Cell<bool>,
    /// The reactor had something to do since the last tick; reset by the tick.
    busy: Cell<bool>,
    /// The pump, while it waits.
    pump: RefCell<Option<Waker>>,
    /// The poller, while it waits for the pump.
    poller: RefCell<Option<Waker>>,
}

impl Inbox {
    /// Leaves `event` for the pump.
    pub(super) fn push(&self, event: Event) {
        self.events.borrow_mut().push(event);
        wake(&self.pump);
    }

    /// Tells the pump that the tick is due.
    pub(super) fn tick(&self) {
        self.tick_due.set(true);
        wake(&self.pump);
    }

    /// Tells the tick that the reactor has something to do.
    pub(super) fn keep_busy(&self) {
        self.busy.set(true);
    }

    /// Whether the reactor had something to do since this was last asked.
    pub(super) fn take_busy(&self) -> bool {
        self.busy.take()
    }

    /// Tells the pump that a socket is ready.
    pub(super) fn announce_sockets(&self) {
        self.sockets_ready.set(true);
        wake(&self.pump);
    }

    /// Waits until the pump has looked at the sockets.
    pub(super) async fn sockets_taken(&self) {
        poll_fn(|context| {
            if self.sockets_ready.get() {
                *self.poller.borrow_mut() = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Waits until there is anything for the pump.
    pub(super) async fn something(&self) {
        poll_fn(|context| {
            let waiting =
                self.tick_due.get() || self.sockets_ready.get() || !self.events.borrow().is_empty();
            if waiting {
                return Poll::Ready(());
            }
            *self.pump.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Moves all events to `events`, which is empty.
    pub(super) fn take_events(&self, events: &mut Vec<Event>) {
        debug_assert!(events.is_empty(), "{} events were not handled", events.len());
        std::mem::swap(&mut *self.events.borrow_mut(), events);
    }

    /// Whether a socket is ready. The poller looks again once this was asked.
    pub(super) fn take_sockets_ready(&self) -> bool {
        let ready = self.sockets_ready.take();
        if ready {
            wake(&self.poller);
        }
        ready
    }

    /// Whether the tick is due.
    pub(super) fn take_tick(&self) -> bool {
        self.tick_due.take()
    }
}

fn wake(waker: &RefCell<Option<Waker>>) {
    let waker = waker.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}
