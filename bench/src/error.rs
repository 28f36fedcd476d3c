//! Why a benchmark ends without its result.

/// Why a benchmark ended without its result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A program is not installed; the text says how to get it.
    #[error("{0}")]
    Missing(String),
    /// A file or a process refused.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Ctrl-C or SIGTERM.
    #[error("interrupted: children stopped, directories removed")]
    Interrupted,
    /// A result was had, and it is not acceptable.
    #[error("{0}")]
    Failed(String),
}

impl BenchError {
    /// Names what was being done when the system refused; for `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        |error| Self::Io { what, error }
    }
}
