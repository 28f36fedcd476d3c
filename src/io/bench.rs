//! Parts of a node by themselves, for benchmarks: the code that serves, without what is around it.

use std::io;
use std::path::Path;
use std::rc::Rc;

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};

use super::disk::Disk;
use super::inbox::{Event, Inbox};
use crate::base::{Bytes, GroupId, Index, Term, WallTime};
use crate::reactor::LogWrite;
use crate::wal::{EntryRecord, Identity, Log, LogConfig, SegmentId, Write};

/// A core's log on its disk, without a reactor: what is appended is durable, and forgotten.
pub struct LogAppender {
    executor: LocalExecutor,
    log: Log,
    disk: Disk,
    inbox: Rc<Inbox>,
    /// The last entry of every group.
    last: Index,
    /// Segment files being made. They are waited for, so that none is made while another measures.
    preparing: usize,
    /// Reused: empty between batches.
    writes: Vec<Write>,
    events: Vec<Event>,
    wanted: Vec<SegmentId>,
}

impl LogAppender {
    /// A new log in `directory`, which is empty and on a file system with `O_DIRECT`.
    ///
    /// # Errors
    /// If the system refuses an executor or a file.
    pub fn open(directory: &Path, segment_bytes: u64) -> io::Result<Self> {
        let executor = LocalExecutorBuilder::new(Placement::Unbound).make()?;
        let inbox = Rc::new(Inbox::default());
        let disk = executor.run(Disk::open(directory, segment_bytes, &[], inbox.clone()))?;
        let log = Log::new(LogConfig { identity: Identity::default(), segment_bytes, seed: 1 });
        Ok(Self {
            executor,
            log,
            disk,
            inbox,
            last: Index::ZERO,
            preparing: 0,
            writes: Vec::new(),
            events: Vec::new(),
            wanted: Vec::new(),
        })
    }

    /// Appends `batches` batches, each of one entry of `payload` for every one of `groups` groups,
    /// `in_flight` of them at a time, and waits until they are durable.
    pub fn append(&mut self, groups: u32, payload: &Bytes, batches: u64, in_flight: usize) {
        let Self { executor, log, disk, inbox, last, preparing, writes, events, wanted } = self;
        let end = Index(last.0 + batches);
        executor.run(async {
            while *last < end || log.has_staged() || log.in_flight() > 0 || *preparing > 0 {
                while log.in_flight() < in_flight {
                    if !log.has_staged() && *last < end {
                        *last = last.next();
                        stage(log, groups, *last, payload);
                    }
                    if log.seal(writes).is_none() {
                        break;
                    }
                }
                for Write { write, segment, offset, bytes } in writes.drain(..) {
                    disk.write(LogWrite { write, segment, offset, bytes });
                }
                log.segments_wanted(wanted);
                *preparing += wanted.len();
                wanted.drain(..).for_each(|segment| disk.prepare(segment));
                inbox.something().await;
                inbox.take_events(events);
                for event in events.drain(..) {
                    *preparing -= usize::from(matches!(event, Event::SegmentReady(..)));
                    take(log, disk, event);
                }
            }
        });
        for group in 0..groups {
            log.trim(GroupId(group), *last);
        }
    }
}

fn stage(log: &mut Log, groups: u32, index: Index, payload: &Bytes) {
    for group in 0..groups {
        let (term, timestamp, payload) = (Term(1), WallTime(index.0), payload.clone());
        let record = EntryRecord { term, index, timestamp, kind: 0, payload };
        log.stage_entry(GroupId(group), record);
    }
}

fn take(log: &mut Log, disk: &mut Disk, event: Event) {
    match event {
        Event::LogWritten(write) => {
            log.written(write);
        }
        Event::SegmentReady(segment, file) => {
            disk.opened(segment, file);
            log.segment_ready(segment);
        }
        Event::SegmentFailed(segment) => {
            super::disk::die("making a log segment", &format!("no room for {segment}"));
        }
        _ => unreachable!("nothing else was asked for"),
    }
}
