//! A connection that a core makes to another node and keeps: a link's, or the failure detector's.
//!
//! ```text
//!   down ──begin──▶ looking up ──called──▶ calling ──answered──▶ up
//!     ▲                  │                    │                   │
//!     └────── ended, and not begun again before a pause ──────────┘
//! ```

use crate::base::{Micros, Time};

/// How far a connection is, and when it is made again if it is down. `S` names a socket.
#[derive(Clone, Copy, Debug)]
pub struct Call<S> {
    state: State<S>,
    retry: Backoff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State<S> {
    Down,
    LookingUp,
    Calling(S),
    Up(S),
}

impl<S> Default for Call<S> {
    fn default() -> Self {
        Self { state: State::Down, retry: Backoff::default() }
    }
}

/// When to try again: 50 ms after a first failure, doubling to 1 s.
#[derive(Clone, Copy, Debug, Default)]
struct Backoff {
    failures: u32,
    /// Not before.
    at: Time,
}

impl<S: Copy> Call<S> {
    /// Whether the other side's address is to be looked up now: it is down, and that is due.
    pub fn begin(&mut self, now: Time) -> bool {
        let begins = self.is_down() && now >= self.retry.at;
        if begins {
            self.state = State::LookingUp;
        }
        begins
    }

    /// The other side is called on this socket.
    pub fn called(&mut self, token: S) {
        self.state = State::Calling(token);
    }

    /// The other side has answered on this socket.
    pub fn answered(&mut self, token: S) {
        self.state = State::Up(token);
        self.retry = Backoff::default();
    }

    /// It could not be made, or ended. Returns whether it was up.
    pub fn ended(&mut self, now: Time) -> bool {
        let was_up = self.up().is_some();
        self.state = State::Down;
        self.retry.failed(now);
        was_up
    }

    /// If it is down it is made again at once.
    pub fn soon(&mut self) {
        self.retry = Backoff::default();
    }

    /// Whether it is down, and not being made.
    pub fn is_down(&self) -> bool {
        matches!(self.state, State::Down)
    }

    /// The socket, if the other side has answered.
    pub fn up(&self) -> Option<S> {
        match self.state {
            State::Up(token) => Some(token),
            _ => None,
        }
    }

    /// The socket, if there is one.
    pub fn socket(&self) -> Option<S> {
        match self.state {
            State::Calling(token) | State::Up(token) => Some(token),
            State::Down | State::LookingUp => None,
        }
    }
}

impl Backoff {
    const FIRST: Micros = Micros::from_millis(50);
    const LAST: Micros = Micros::from_secs(1);

    fn failed(&mut self, now: Time) {
        let span = (Self::FIRST.0 << self.failures.min(10)).min(Self::LAST.0);
        self.failures += 1;
        self.at = now + Micros(span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_further_and_further_apart_up_to_a_second() {
        let mut call: Call<u64> = Call::default();
        let mut now = Time(0);
        let mut spans = Vec::new();
        for _ in 0..7 {
            assert!(call.begin(now) && !call.begin(now));
            assert!(!call.ended(now), "it was never up");
            spans.push(call.retry.at.since(now).0 / 1_000);
            assert!(!call.begin(now));
            now = call.retry.at;
        }
        assert_eq!(spans, [50, 100, 200, 400, 800, 1_000, 1_000]);
        call.soon();
        assert!(call.begin(Time(1)));
    }

    #[test]
    fn one_that_was_up_is_tried_as_if_for_the_first_time() {
        let mut call: Call<u64> = Call::default();
        for _ in 0..5 {
            call.ended(Time(0));
        }
        let token = 7;
        assert!(call.begin(Time(10_000_000)) && call.socket().is_none());
        call.called(token);
        assert_eq!((call.socket(), call.up()), (Some(token), None));
        call.answered(token);
        assert_eq!((call.socket(), call.up(), call.is_down()), (Some(token), Some(token), false));
        assert!(call.ended(Time(20_000_000)) && call.is_down());
        assert!(call.begin(Time(20_050_000)), "50 ms later");
    }
}
