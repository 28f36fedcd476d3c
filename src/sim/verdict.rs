//! What a run was like, and what was wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::Micros;

/// What a run may leave out of what its seed would have it do: how a failure is made small.
///
/// A run with the same seed and the same limits is the same run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// No fault begins later than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults_until: Option<Micros>,
    /// Kinds of faults that do not happen, by name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without: BTreeSet<String>,
    /// No command is begun later than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commands_until: Option<Micros>,
    /// Faults go on until so many changes of the shard map are made, and are those that matter to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_changes: Option<u64>,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What it began from.
    pub seed: u64,
    /// What its seed chose, in words.
    pub shape: String,
    /// How much time passed in it.
    pub simulated: Micros,
    /// The part of it in which there were faults.
    pub stormy: Micros,
    /// Faults by kind, in the order of their names.
    pub faults: BTreeMap<String, u64>,
    /// Changes of the shard map that were made.
    pub map_changes: u64,
    /// How often a slot was served by another group than before.
    pub slots_moved: u64,
    /// What became of the clients' commands.
    pub commands: Commands,
    /// From everything observable. Two runs of one seed have the same.
    pub trace_hash: u64,
    /// What was wrong, if anything.
    pub failure: Option<Failure>,
}

/// What became of commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commands {
    /// Executed.
    pub applied: u64,
    /// Certainly not executed.
    pub rejected: u64,
    /// Perhaps.
    pub unknown: u64,
}

/// A promise that was broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which promise: a few words, equal for equal failures.
    pub what: String,
    /// Where: a phase of the run, or a place in the source.
    pub place: String,
    /// When, in the run's time.
    pub at: Micros,
    /// All that there is to say.
    pub detail: String,
}

impl Limits {
    /// Whether nothing is left out.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, place, at, detail } = self;
        write!(f, "{what}\n  at {} ({place})", Moment(*at))?;
        detail.lines().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(until) = self.faults_until {
            parts.push(format!("no fault after {}", Moment(until)));
        }
        if let Some(until) = self.commands_until {
            parts.push(format!("no command after {}", Moment(until)));
        }
        if let Some(changes) = self.map_changes {
            parts.push(format!("{changes} changes of the shard map"));
        }
        if !self.without.is_empty() {
            let kinds: Vec<&str> = self.without.iter().map(String::as_str).collect();
            parts.push(format!("without {}", kinds.join(", ")));
        }
        f.write_str(if parts.is_empty() { "all of it" } else { "" })?;
        f.write_str(&parts.join("; "))
    }
}

/// A moment of a run, as text: seconds and microseconds.
pub(super) struct Moment(pub(super) Micros);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Micros(us) = self.0;
        write!(f, "{}.{:06} s", us / 1_000_000, us % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_say_what_is_left_out() {
        assert_eq!(Limits::default().to_string(), "all of it");
        let limits = Limits {
            faults_until: Some(Micros(1_500_000)),
            without: ["pause", "crash"].map(str::to_owned).into(),
            ..Limits::default()
        };
        assert_eq!(limits.to_string(), "no fault after 1.500000 s; without crash, pause");
        let text = serde_json::to_string(&limits).expect("plain");
        assert_eq!(text, r#"{"faults_until":1500000,"without":["crash","pause"]}"#);
        assert_eq!(serde_json::from_str::<Limits>(&text).expect("its own"), limits);
    }
}
