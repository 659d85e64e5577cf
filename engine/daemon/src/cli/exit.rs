//! Exit codes that scripts can rely on.

use std::process::ExitCode;

/// How the program ends. Wrong usage (2) is reported by the argument parser itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Success,
    /// 1
    Failure,
    /// 2
    Usage,
    /// 3
    NoConnection,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::NoConnection => 3,
        })
    }
}
