//! Asking a node at its administration port, and again until something is so.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::http;
use crate::io::GroupRefusal;

/// Between two questions while waiting.
const PAUSE: Duration = Duration::from_millis(100);

/// What to do where nobody answers.
const ASK_ANOTHER: &str = "see whether the node runs, or name one that does with --admin-addr";

/// Why a question has no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Nobody answers, or not what is understood.
    Silent(String),
    /// It cannot be done so.
    Refused(GroupRefusal),
}

/// Posts `body` to the node at `address`; `patience`: how long the answer may take.
pub(super) fn ask<T: DeserializeOwned>(
    address: &str,
    path: &str,
    body: &str,
    patience: Duration,
) -> Result<T, Unanswered> {
    let silent = |cause: String| Unanswered::Silent(format!("{address}: {cause}"));
    let response =
        http::post(address, path, body, patience).map_err(|error| silent(error.to_string()))?;
    if response.code == 200 {
        return serde_json::from_str(&response.body)
            .map_err(|error| silent(format!("answered what is not understood: {error}")));
    }
    Err(serde_json::from_str(&response.body).map_or_else(
        |_| silent(format!("answered {}: {}", response.code, response.body.trim())),
        Unanswered::Refused,
    ))
}

impl Unanswered {
    pub(super) fn text(&self) -> String {
        let (message, remedy) = match self {
            Self::Silent(cause) => (cause.as_str(), ASK_ANOTHER),
            Self::Refused(refusal) => (refusal.message.as_str(), refusal.remedy.as_str()),
        };
        format!("{message}; {remedy}")
    }

    pub(super) fn json(&self) -> serde_json::Value {
        match self {
            Self::Silent(cause) => {
                serde_json::json!({ "reason": "silent", "message": cause, "remedy": ASK_ANOTHER })
            }
            Self::Refused(refusal) => serde_json::json!(refusal),
        }
    }
}

/// The pauses between questions that a time allows.
pub(super) struct Pauses {
    left: u128,
}

impl Pauses {
    pub(super) fn within(time: Duration) -> Self {
        Self { left: time.as_millis() / PAUSE.as_millis() }
    }

    /// How many there are still.
    pub(super) fn left(&self) -> u128 {
        self.left
    }

    /// Waits a while; false, at once, if the time is over.
    #[expect(clippy::disallowed_methods, reason = "another process is waited for, by asking it")]
    pub(super) fn take_one(&mut self) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        std::thread::sleep(PAUSE);
        true
    }
}
