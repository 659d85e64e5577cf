//! The benchmark behind `isere perf`: reads and writes of one size against one logical unit, at a queue depth or a
//! rate, with latencies, and with verification if wanted.
mod host;
mod options;
mod pacing;
mod region;
mod report;
mod run;
mod tally;
#[cfg(test)]
mod tests;
mod thread;
mod verify;
mod worker;

use crate::error::Error;
pub use options::{Options, Pattern, Rw};
pub use report::{Direction, Latency, Progress, Rdma, Report};
pub use run::run;
pub use verify::Miscompare;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PerfError {
    /// An option cannot be used.
    #[error("bad option {option}: {why}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The session failed.
    #[error(transparent)]
    Session(#[from] Error),
    /// A block read was not what had been written.
    #[error("verification failed: {0}")]
    Miscompare(Miscompare),
    /// A thread could not be started or pinned.
    #[error("cannot {what}: {source}")]
    Thread {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A thread panicked: a bug.
    #[error("a measuring thread panicked; this is a bug, please report it")]
    Panicked,
}
