//! Errors as they go over the wire: a code and a message.

use crate::limits::MAX_MESSAGE_BYTES;
use std::io;

/// The request was not JSON; the connection is closed after it.
pub const PARSE_ERROR: i32 = -32700;
/// The request was JSON, but no JSON-RPC request.
pub const INVALID_REQUEST: i32 = -32600;
/// No method of that name.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// Parameters of the wrong name, type or value.
pub const INVALID_PARAMS: i32 = -32602;
/// The server failed.
pub const INTERNAL_ERROR: i32 = -32603;
/// The method is not allowed in this phase (before or after initialisation).
pub const INVALID_STATE: i32 = -1;

/// What a method answers when it fails.
///
/// Protocol errors use the JSON-RPC codes above; errors of the thing asked for use negated errno values, and their
/// message begins with the C library's text for that errno, because clients compare it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct RpcError {
    /// JSON-RPC code, or a negated errno.
    pub code: i32,
    /// Text for people.
    pub message: String,
}

impl RpcError {
    /// An error with an explicit code. The message is cut to [`MAX_MESSAGE_BYTES`].
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE_BYTES {
            let cut = message.floor_char_boundary(MAX_MESSAGE_BYTES - 3);
            message.truncate(cut);
            message.push_str("...");
        }
        Self { code, message }
    }

    /// −32602; `detail` names the field and says what was expected.
    pub fn invalid_params(detail: impl AsRef<str>) -> Self {
        Self::new(INVALID_PARAMS, format!("Invalid parameters: {}", detail.as_ref()))
    }

    /// −32600 with a reason.
    pub fn invalid_request(detail: impl AsRef<str>) -> Self {
        Self::new(INVALID_REQUEST, format!("Invalid request: {}", detail.as_ref()))
    }

    /// −32603 with a reason.
    pub fn internal(detail: impl AsRef<str>) -> Self {
        Self::new(INTERNAL_ERROR, format!("Internal error: {}", detail.as_ref()))
    }

    /// A negated errno: `errno(libc::ENODEV, "bdev Malloc0")` is −19, "No such device: bdev Malloc0".
    pub fn errno(errno: i32, detail: impl AsRef<str>) -> Self {
        let text = errno_text(errno);
        match detail.as_ref() {
            "" => Self::new(-errno, text),
            detail => Self::new(-errno, format!("{text}: {detail}")),
        }
    }
}

/// The C library's text for an errno, without the "(os error N)" that the standard library appends.
pub fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.rfind(" (os error") {
        Some(cut) => text[..cut].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_carries_code_and_text() {
        assert_eq!(RpcError::errno(libc::ENODEV, "").message, "No such device");
        let e = RpcError::errno(libc::EEXIST, "bdev M0");
        assert_eq!((e.code, e.message.as_str()), (-17, "File exists: bdev M0"));
    }

    #[test]
    fn long_messages_are_cut_on_a_character() {
        let e = RpcError::invalid_params("é".repeat(MAX_MESSAGE_BYTES));
        assert!(e.message.len() <= MAX_MESSAGE_BYTES && e.message.ends_with("..."));
    }
}
