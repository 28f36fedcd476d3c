//! What the client processes of all systems have in common: the keys, and the measured window.
//!
//! A client process says `begin` and `end` on its standard output when the window opens and
//! closes, so that the benchmark takes the servers' CPU time at the same moments, and then one
//! JSON line with what it measured.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::report::Operation;
use crate::cpu;

/// What one client is to do.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Begin {
    /// Reads or writes.
    #[arg(long, value_enum)]
    pub(crate) operation: Operation,
    /// Requests under way at any time.
    #[arg(long)]
    pub(crate) outstanding: usize,
    /// Bytes of a value.
    #[arg(long)]
    pub(crate) value_size: usize,
    /// How many keys there are.
    #[arg(long)]
    pub(crate) keys: u64,
    /// Length of the measured window.
    #[arg(long)]
    pub(crate) seconds: f64,
    /// Time before it.
    #[arg(long)]
    pub(crate) warmup: f64,
    /// Seed of the keys' order.
    #[arg(long)]
    pub(crate) seed: u64,
    /// Writes every key once, before the warm-up.
    #[arg(long)]
    pub(crate) preload: bool,
}

impl Begin {
    /// Returns the window, counted from now.
    pub(crate) fn window(&self) -> Window {
        let start = Instant::now() + Duration::from_secs_f64(self.warmup);
        Window { start, end: start + Duration::from_secs_f64(self.seconds) }
    }
}

/// The measured span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// When it opens.
    pub(crate) start: Instant,
    /// When it closes.
    pub(crate) end: Instant,
}

impl Window {
    /// Whether a moment lies in it.
    pub(crate) fn holds(&self, moment: Instant) -> bool {
        (self.start..self.end).contains(&moment)
    }

    /// Its length.
    pub(crate) fn seconds(&self) -> f64 {
        (self.end - self.start).as_secs_f64()
    }

    /// Waits it through, saying where it begins and ends; returns the CPU time of this process in it.
    pub(crate) fn announce(&self) -> Duration {
        sleep_until(self.start);
        say("begin");
        let before = cpu::own();
        sleep_until(self.end);
        let used = cpu::own().saturating_sub(before);
        say("end");
        used
    }
}

/// Returns the key of a number: 16 bytes.
pub(crate) fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key-000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).expect("one digit");
        rest /= 10;
    }
    key
}

/// Says one line to the benchmark. It kills its clients, so that a closed pipe is never met.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the benchmark reads it");
}

fn sleep_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_sixteen_bytes_and_differ() {
        assert_eq!(&key(0), b"key-000000000000");
        assert_eq!(&key(99_999), b"key-000000099999");
    }

    #[test]
    fn a_window_holds_its_start_but_not_its_end() {
        let start = Instant::now();
        let window = Window { start, end: start + Duration::from_secs(2) };
        assert!(window.holds(start));
        assert!(!window.holds(window.end));
        let later = Window { start: window.end, end: window.end };
        assert!(!later.holds(start));
    }
}
