//! One log for all groups of the core: what waits for which batch to be durable.
//!
//! Whatever a step wants to happen "after this is durable" waits here: for the batch its records go
//! into, or, if it staged none, for the newest batch already issued. That is more than Raft asks
//! (a vote need not wait for another group's entries) and costs nothing, since batches complete in
//! order anyway.

use std::collections::VecDeque;

use super::convert;
use super::effects::{Effects, LogWrite, PrepareSegment};
use super::segment_waits::SegmentWaits;
use crate::base::{GroupId, Index, Micros, Mistake, Term, Time, makes};
use crate::raft;
use crate::wal::{self, BatchNumber};

/// After this long without a batch the window is sealed: everything acknowledged is then known to
/// be durable from the log alone, and damage cannot pass for a torn tail.
const IDLE_SEAL_AFTER: Micros = Micros::from_millis(500);

/// How often a segment is asked for again after the disk was full.
const SEGMENT_RETRY_AFTER: Micros = Micros::from_secs(1);

/// What waits for durability.
#[derive(Debug)]
pub(super) enum Release {
    /// A message that would reveal what is not durable yet.
    Message(GroupId, raft::Message),
    /// Tells the group's Raft that its log is durable up to here.
    Appended(GroupId, Term, Index),
    /// The log has it that the group is not here any more.
    Retired(GroupId),
}

/// The core's log and what waits for it.
#[derive(Debug)]
pub(super) struct Persistence {
    log: wal::Log,
    in_flight_max: usize,
    /// Waits for the records staged now.
    staged: Vec<Release>,
    /// Waits for a batch that was issued; ascending by batch.
    issued: VecDeque<(BatchNumber, Vec<Release>)>,
    /// The newest batch issued.
    newest: BatchNumber,
    /// When the window is to be sealed, if it is open.
    seal_at: Option<Time>,
    /// No spare segment could be made for want of room; what is left of the present one is the
    /// reserve. Ends when one is ready, or none is wanted any more.
    full: bool,
    /// When to ask for a segment again, after one could not be made.
    retry_at: Option<Time>,
    /// A snapshot found no room: until one does, spares go back to the disk, and none is asked for
    /// while there is one.
    gives_way: bool,
    /// Segments to remove.
    removals: Vec<wal::SegmentId>,
    scratch: Vec<wal::Write>,
    wanted: Vec<wal::SegmentId>,
    /// Batches and bytes issued since start, for the status.
    pub(super) batches: u64,
    pub(super) bytes: u64,
    /// Waits for segments since start, for the status.
    pub(super) waits: SegmentWaits,
    /// The segment that was said to be waited for.
    hurried: Option<wal::SegmentId>,
}

impl Persistence {
    pub(super) fn new(log: wal::Log, in_flight_max: usize) -> Self {
        assert!(in_flight_max > 0, "without a write in flight nothing is ever durable");
        let newest = log.durable();
        Self {
            log,
            in_flight_max,
            staged: Vec::new(),
            issued: VecDeque::new(),
            newest,
            seal_at: None,
            full: false,
            retry_at: None,
            gives_way: false,
            removals: Vec::new(),
            scratch: Vec::new(),
            wanted: Vec::new(),
            batches: 0,
            bytes: 0,
            waits: SegmentWaits::default(),
            hurried: None,
        }
    }

    pub(super) fn log(&self) -> &wal::Log {
        &self.log
    }

    pub(super) fn log_mut(&mut self) -> &mut wal::Log {
        &mut self.log
    }

    /// Whether a batch staged now would be issued this turn.
    pub(super) fn accepts(&self) -> bool {
        self.log.in_flight() < self.in_flight_max && !self.log.has_staged()
    }

    /// Whether the disk is full: the log has its reserve left and cannot grow.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether the disk is full and so much of the reserve used that the rest is for what no group
    /// can do without: terms and votes.
    pub(super) fn is_reserve_low(&self) -> bool {
        let free = self.log.free_bytes().saturating_sub(self.log.staged_bytes() as u64);
        self.full && free < self.log.segment_bytes() / 2
    }

    /// Stages what a step wants durable, and what waits for it. Empties those parts of `output`.
    pub(super) fn stage(&mut self, group: GroupId, output: &mut raft::Output) {
        if let Some(hard_state) = output.hard_state.take() {
            let raft::HardState { term, vote } = hard_state;
            self.log.stage_hard_state(group, wal::HardStateRecord { term, vote });
        }
        let mut last = None;
        for entry in output.entries.drain(..) {
            last = Some((entry.term, entry.index));
            self.log.stage_entry(group, convert::record_of(entry));
        }
        if std::mem::take(&mut output.doubt_ended) {
            self.log.stage_certainty(group);
        }
        for message in output.messages_after_durable.drain(..) {
            self.staged.push(Release::Message(group, message));
        }
        if let Some((term, index)) = last {
            self.staged.push(Release::Appended(group, term, index));
        }
    }

    /// Stages that a group is not here any more.
    pub(super) fn stage_retirement(&mut self, group: GroupId) {
        self.log.stage_retirement(group);
        self.staged.push(Release::Retired(group));
    }

    /// Issues what is staged, as one batch unless it is huge, if the disk can take another write.
    pub(super) fn issue(&mut self, now: Time, effects: &mut Effects) {
        while self.log.in_flight() < self.in_flight_max
            && let Some(batch) = self.log.seal(&mut self.scratch)
        {
            self.newest = batch;
            self.batches += 1;
            self.seal_at = Some(now + IDLE_SEAL_AFTER);
        }
        if self.seal_at.is_some_and(|at| at <= now) {
            self.seal_window(now);
        }
        self.attach_releases();
        self.hand_out_writes(effects);
        effects.segment_removals.append(&mut self.removals);
        self.want_segments(now, effects);
        self.watch_segments(now, effects);
    }

    /// A write is durable: returns what may be released by it.
    pub(super) fn written(&mut self, write: wal::WriteId) -> Vec<Release> {
        let durable = self.log.written(write);
        self.release_until(durable)
    }

    /// What waits for nothing any more: releases staged while nothing was in flight.
    pub(super) fn take_ready(&mut self) -> Vec<Release> {
        let early = makes(Mistake::ReleasedWhenIssued);
        self.release_until(if early { self.newest } else { self.log.durable() })
    }

    pub(super) fn segment_failed(&mut self, segment: wal::SegmentId, now: Time) {
        self.log.segment_failed(segment);
        // One spare is enough to go on with; more are only asked for early.
        self.full = !self.log.has_spare();
        self.retry_at = Some(now + SEGMENT_RETRY_AFTER);
    }

    pub(super) fn segment_ready(&mut self, segment: wal::SegmentId) {
        self.log.segment_ready(segment);
        self.full = false;
        self.retry_at = None;
    }

    /// A snapshot of about so many bytes found no room, and will be tried again.
    pub(super) fn give_way(&mut self, bytes: u64) {
        self.gives_way = true;
        let segments = bytes / self.log.segment_bytes() + 1;
        for _ in 0..segments {
            self.removals.extend(self.log.give_back_spare());
        }
    }

    /// A snapshot is durable.
    pub(super) fn snapshot_made(&mut self) {
        self.gives_way = false;
        self.removals.extend(self.log.give_back_untouched());
    }

    /// When something here wants a turn.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.seal_at.into_iter().chain(self.retry_at).min()
    }

    /// Whether nothing is staged, in flight or waiting.
    pub(super) fn is_quiescent(&self) -> bool {
        self.log.in_flight() == 0
            && !self.log.has_staged()
            && self.staged.is_empty()
            && self.issued.is_empty()
    }

    fn seal_window(&mut self, now: Time) {
        if self.log.in_flight() > 0 || self.log.has_staged() {
            self.seal_at = Some(now + IDLE_SEAL_AFTER);
            return;
        }
        self.seal_at = None;
        if self.log.needs_idle_seal()
            && let Some(batch) = self.log.seal_idle(&mut self.scratch)
        {
            self.newest = batch;
            self.batches += 1;
        }
    }

    /// Ties what waits to the newest batch, once all that was staged is in one.
    fn attach_releases(&mut self) {
        if self.staged.is_empty() || self.log.has_staged() {
            return;
        }
        let releases = std::mem::take(&mut self.staged);
        match self.issued.back_mut() {
            Some((batch, waiting)) if *batch == self.newest => waiting.extend(releases),
            _ => self.issued.push_back((self.newest, releases)),
        }
    }

    fn hand_out_writes(&mut self, effects: &mut Effects) {
        for wal::Write { write, segment, offset, bytes } in self.scratch.drain(..) {
            self.bytes += bytes.len() as u64;
            effects.log_writes.push(LogWrite { write, segment, offset, bytes });
        }
    }

    fn want_segments(&mut self, now: Time, effects: &mut Effects) {
        // Whether the last spare can be followed by another is to be known at once.
        let is_urgent = !self.full && !self.log.has_spare();
        let held_back = self.gives_way && self.log.has_spare();
        if !is_urgent && (held_back || self.retry_at.is_some_and(|at| now < at)) {
            return;
        }
        self.log.segments_wanted(&mut self.wanted);
        if self.retry_at.take().is_some() {
            // Segments that were given up may have made a new one needless.
            self.full &= !self.wanted.is_empty() && !self.log.has_spare();
        }
        effects
            .prepare_segments
            .extend(self.wanted.drain(..).map(|segment| PrepareSegment { segment }));
    }

    /// Has the segment that the log waits for made ready at once, and counts the wait.
    fn watch_segments(&mut self, now: Time, effects: &mut Effects) {
        if self.full {
            self.waits.forget();
            return;
        }
        let awaited = self.log.awaited_segment();
        if awaited.is_some() && awaited != self.hurried {
            self.hurried = awaited;
            effects.hurried_segment = awaited;
        }
        if let Some(took) = self.waits.observe(awaited.is_some(), now) {
            tracing::warn!(
                took_ms = took.0 / 1_000,
                "nothing was made durable for want of a log segment: the disk is slow to make one"
            );
        }
    }

    fn release_until(&mut self, durable: BatchNumber) -> Vec<Release> {
        let mut ready = Vec::new();
        while self.issued.front().is_some_and(|(batch, _)| *batch <= durable) {
            let (_, mut releases) = self.issued.pop_front().expect("looked at above");
            if ready.is_empty() {
                ready = releases;
            } else {
                ready.append(&mut releases);
            }
        }
        ready
    }
}
