//! A connection that a core makes to another node and keeps: a link's, or the failure detector's.
//!
//! ```text
//!   down ──begin──▶ calling ──answered──▶ up
//!     ▲                │                   │
//!     └── ended, and not begun again before a pause
//! ```

use super::network::Wire;
use crate::base::{Micros, Time};

/// How far a connection is, and when it is made again if it is down.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call {
    state: State,
    failures: u32,
    /// Not made again before.
    at: Time,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Down,
    Calling(Wire),
    Up(Wire),
}

const FIRST: Micros = Micros::from_millis(50);
const LAST: Micros = Micros::from_secs(1);

impl Call {
    /// Whether it is to be made now.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.state == State::Down && now >= self.at
    }

    pub(super) fn called(&mut self, wire: Wire) {
        self.state = State::Calling(wire);
    }

    pub(super) fn answered(&mut self, wire: Wire) {
        *self = Self { state: State::Up(wire), ..Self::default() };
    }

    /// It could not be made, or ended. Returns whether it was up.
    pub(super) fn ended(&mut self, now: Time) -> bool {
        let was_up = self.up().is_some();
        self.state = State::Down;
        let span = (FIRST.0 << self.failures.min(10)).min(LAST.0);
        self.failures += 1;
        self.at = now + Micros(span);
        was_up
    }

    /// If it is down it is made again at once.
    pub(super) fn soon(&mut self) {
        (self.failures, self.at) = (0, Time(0));
    }

    pub(super) fn is_down(&self) -> bool {
        self.state == State::Down
    }

    pub(super) fn up(&self) -> Option<Wire> {
        match self.state {
            State::Up(wire) => Some(wire),
            _ => None,
        }
    }

    pub(super) fn wire(&self) -> Option<Wire> {
        match self.state {
            State::Calling(wire) | State::Up(wire) => Some(wire),
            State::Down => None,
        }
    }
}
