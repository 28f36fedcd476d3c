//! Three Sunstar nodes on loopback, and their client.

use std::path::{Path, PathBuf};

use super::report::Drove;
use crate::child::Interrupt;
use crate::error::BenchError;

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Ours {}

/// One client of Sunstar, in a process of its own.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DriveOurs {
    /// Client addresses of some nodes.
    #[arg(long)]
    target: String,
    #[command(flatten)]
    begin: super::drive::Begin,
    /// Connections of the client.
    #[arg(long)]
    connections: usize,
}
impl DriveOurs {
    pub(crate) fn run(&self) -> Result<Drove, BenchError> {
        todo!("{self:?}")
    }
}

pub(crate) fn find(_: Option<&Path>) -> Result<PathBuf, BenchError> {
    Err(BenchError::Missing("not yet".into()))
}

impl Ours {
    pub(crate) fn start(_: &Path, _: &Path, _: &Interrupt) -> Result<Self, BenchError> {
        todo!()
    }
    pub(crate) fn pids(&self) -> Vec<u32> {
        Vec::new()
    }
    pub(crate) fn targets(&self) -> String {
        String::new()
    }
}
