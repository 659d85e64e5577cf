//! Why a change to the model is refused.

use rpc::RpcError;

/// A refused change. The text names the field and what was expected, or the thing that is missing or in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// A parameter is wrong: −32602 to RPC clients.
    #[error("{0}")]
    Invalid(String),
    /// Answered with a negated errno, as SPDK does for block devices.
    #[error("{}: {what}", rpc::error::errno_text(*errno))]
    Errno {
        /// Positive errno value.
        errno: i32,
        /// Field and expectation, or the thing concerned.
        what: String,
    },
}

impl ModelError {
    /// `field` must be something else.
    pub fn invalid(field: &str, expected: impl AsRef<str>) -> Self {
        Self::Invalid(format!("{field}: {}", expected.as_ref()))
    }

    /// An errno and what it is about.
    pub fn errno(errno: i32, what: impl Into<String>) -> Self {
        Self::Errno { errno, what: what.into() }
    }
}

impl From<ModelError> for RpcError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Invalid(detail) => RpcError::invalid_params(detail),
            ModelError::Errno { errno, what } => RpcError::errno(errno, what),
        }
    }
}
