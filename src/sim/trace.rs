//! What a run was like: a hash of everything observable, and a readable account if one is asked for.

use crate::base::Time;

/// The hash so far, and perhaps the account.
#[derive(Debug, Default)]
pub(super) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Takes numbers in.
    pub(super) fn note(&mut self, words: &[u64]) {
        for word in words {
            let mixed = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.hash = mixed ^ (mixed >> 29);
        }
    }

    /// Takes bytes in.
    pub(super) fn note_bytes(&mut self, bytes: &[u8]) {
        let checksum = crate::base::checksum::crc32c(bytes);
        self.note(&[bytes.len() as u64, u64::from(checksum)]);
    }

    /// Adds a line to the account, if there is one.
    pub(super) fn say(&mut self, now: Time, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let (seconds, micros) = (now.0 / 1_000_000, now.0 % 1_000_000);
            lines.push(format!("{seconds:>5}.{micros:06} {}", line()));
        }
    }

    /// From now on an account is kept.
    pub(super) fn begin(&mut self) {
        self.lines = Some(Vec::new());
    }

    /// The account since this was last asked.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}
