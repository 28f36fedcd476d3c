//! Why a command ended without doing what it was asked, for people and for scripts.

use std::fmt::Display;
use std::process::ExitCode;

use super::layers::ConfigError;

/// Why a command ended early: what to print, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Cause and remedy.
    pub(crate) text: String,
    /// 2 for what was typed or configured, 3 if nobody answers, 1 for the rest.
    pub(crate) code: u8,
}

impl Failure {
    /// Something that was tried did not work.
    pub(crate) fn failed(cause: impl Display) -> Self {
        Self { text: cause.to_string(), code: 1 }
    }

    /// Nobody answers: what was asked for may have happened or not.
    pub(crate) fn unreachable(cause: impl Display) -> Self {
        Self { text: cause.to_string(), code: 3 }
    }

    /// What was asked for cannot be.
    pub(crate) fn usage(cause: impl Display) -> Self {
        Self { text: cause.to_string(), code: 2 }
    }

    /// Prints the cause and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("sunstar: {}", self.text);
        ExitCode::from(self.code)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}
