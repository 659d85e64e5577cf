//! Every limit of the RPC server. Reaching one is a refusal with a message, never growth.

use std::time::Duration;

/// Longest single request (one JSON value, a batch included), in bytes.
pub const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// Deepest nesting of arrays and objects in a request.
pub const MAX_DEPTH: usize = 64;

/// Longest top-level value that is neither object, array nor string, in bytes. Such a value is never a valid request;
/// the limit bounds the work spent on finding its end.
pub const MAX_SCALAR_BYTES: usize = 256;

/// Longest response (a whole batch counts as one), in bytes.
pub const MAX_RESPONSE_BYTES: usize = 32 * 1024 * 1024;

/// Most connections served at once; a further one is told so and closed.
pub const MAX_CONNECTIONS: usize = 64;

/// Longest error message sent, in bytes: a message may quote the request.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// Longest path of a unix socket: `sun_path` less its terminating NUL.
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Pending connections the kernel keeps for us.
pub const LISTEN_BACKLOG: i32 = 64;

/// How long a client may leave a response unread before its connection is closed.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long [`crate::Server::stop`] waits for handlers that are still running.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// How much is read from a socket at a time, in bytes.
pub(crate) const READ_CHUNK_BYTES: usize = 16 * 1024;
