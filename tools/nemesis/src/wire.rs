//! A bad wire: frames between a node and the others are held, lost, doubled and overtaken, in user
//! space, so that it needs neither `sch_netem` nor any other part that kernels leave out.
//!
//! ```text
//!   eth0 of n2 ══ n2 ──[ bridge w2 ]── a2 │ this thread │ b2 ──[ the hub's bridge ]── everybody else
//! ```
//!
//! Without the wire, the node's end `n2` is a port of the hub's bridge itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use crate::network::bridge;
use crate::pace::Pace;
use crate::tap;
use crate::trouble::{Trouble, at};

/// How bad a wire is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    /// How long each frame takes, at least.
    pub(crate) delay: Duration,
    /// How much longer it may take; frames overtake each other.
    pub(crate) jitter: Duration,
    /// Frames that are lost, in percent.
    pub(crate) lost_percent: u32,
    /// Frames that arrive twice, in percent.
    pub(crate) doubled_percent: u32,
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delay, jitter, lost_percent, doubled_percent } = self;
        let (from, to) = (delay.as_millis(), (*delay + *jitter).as_millis());
        write!(f, "{from}..{to} ms, {lost_percent} % lost, {doubled_percent} % doubled")
    }
}

/// A bad wire to one node; taken out when dropped.
#[derive(Debug)]
pub(crate) struct Wire {
    node: usize,
    /// Tells the thread to end.
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Puts a bad wire before `node`. The calling thread is in the hub.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn lay(
        node: usize,
        quality: Quality,
        seed: u64,
        pace: &Pace,
    ) -> Result<Self, Trouble> {
        let number = node + 1;
        let (here, there) = (format!("a{number}"), format!("b{number}"));
        let ends = [tap::open(&here)?, tap::open(&there)?];
        let stop = Arc::new(AtomicBool::new(false));
        let mut wire = Self { node, stop: Arc::clone(&stop), thread: None };
        let relay = Relay {
            ends,
            quality,
            random: Rng::with_seed(seed),
            pace: pace.clone(),
            stop,
            held: BinaryHeap::new(),
            next: 0,
        };
        let thread = std::thread::Builder::new().name(format!("wire-{number}"));
        let path = std::path::Path::new(tap::TUN);
        wire.thread = Some(thread.spawn(move || relay.run()).map_err(at("serve", path))?);
        bridge::insert(number, &here, &there)?;
        Ok(wire)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Err(error) = bridge::remove(self.node + 1) {
            eprintln!("the wire of n{} stays bad: {error}", self.node + 1);
        }
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the wire of n{} broke", self.node + 1);
        }
    }
}

/// The thread's own: frames on their way.
struct Relay {
    ends: [File; 2],
    quality: Quality,
    random: Rng,
    pace: Pace,
    stop: Arc<AtomicBool>,
    /// Earliest first.
    held: BinaryHeap<Reverse<Held>>,
    /// The number of the next frame: of those due at once the older goes first.
    next: u64,
}

/// A frame on its way.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Duration,
    number: u64,
    /// To which end it goes.
    to: usize,
    frame: Vec<u8>,
}

impl Relay {
    fn run(mut self) {
        let mut buffer = vec![0; FRAME_MAX];
        while !self.stop.load(Ordering::Relaxed) {
            self.await_something();
            for end in 0..2 {
                while let Ok(length) = self.ends[end].read(&mut buffer) {
                    self.take(&buffer[..length], 1 - end);
                }
            }
            self.pass_on();
        }
    }

    fn await_something(&self) {
        let due = self.held.peek().map(|Reverse(held)| held.due);
        let now = self.pace.now();
        let nap = due.map_or(NAP_MAX, |due| due.saturating_sub(now).min(NAP_MAX));
        let nap = Timespec { tv_sec: 0, tv_nsec: nap.subsec_nanos().into() };
        let mut ends = self.ends.each_ref().map(|end| PollFd::new(end, PollFlags::IN));
        // Interrupted or not: what is there is read.
        let _ = poll(&mut ends, Some(&nap));
    }

    fn take(&mut self, frame: &[u8], to: usize) {
        let Quality { lost_percent, doubled_percent, .. } = self.quality;
        let mut happens = |percent| self.random.u32(0..100) < percent;
        let copies =
            usize::from(!happens(lost_percent)) * (1 + usize::from(happens(doubled_percent)));
        for _ in 0..copies {
            let jitter = self.quality.jitter.mul_f64(self.random.f64());
            let due = self.pace.now() + self.quality.delay + jitter;
            // A sender that finds no room waits and tries again, as on any slow line.
            if self.held.len() < HELD_MAX {
                let (number, frame) = (self.next, frame.to_vec());
                self.held.push(Reverse(Held { due, number, to, frame }));
                self.next += 1;
            }
        }
    }

    fn pass_on(&mut self) {
        let now = self.pace.now();
        while self.held.peek().is_some_and(|Reverse(held)| held.due <= now) {
            let Some(Reverse(Held { to, frame, .. })) = self.held.pop() else { return };
            // A device that is not up yet takes nothing: one more frame lost.
            let _ = self.ends[to].write(&frame);
        }
    }
}

/// The largest frame: what the kernel had not yet cut into pieces would be smaller still.
const FRAME_MAX: usize = 64 << 10;
/// Frames on their way at once.
const HELD_MAX: usize = 20_000;
const NAP_MAX: Duration = Duration::from_millis(20);
