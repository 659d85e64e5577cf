//! Every limit of this crate. Running into one is a refusal or a wait with a clear error, never growth.

/// Commands one session may have outstanding; also bounds the slot index inside an Initiator Task Tag.
pub const MAX_QUEUE_DEPTH: usize = 4096;

/// Slots kept beside the commands for task management, pings, text requests and the logout.
pub const CONTROL_SLOTS: usize = 16;

/// Bytes of one command's data buffer.
pub const MAX_TRANSFER: usize = 16 << 20;

/// Bytes the receive staging buffer holds: about thirty 4 KiB Data-In PDUs a turn.
pub const STAGING_BYTES: usize = 160 << 10;

/// A Data-In segment of at least this many bytes is received straight into the command's buffer.
pub const DIRECT_BYTES: usize = 16 << 10;

/// Bytes received behind a direct segment: room for the next headers, little enough that the next large payload is
/// not caught in the staging buffer.
pub const BEHIND_DIRECT_BYTES: usize = 1 << 10;

/// Data segment of a received PDU other than Data-In (text, sense, NOP data, rejected headers). Also what such a PDU
/// needs to fit the staging buffer whole.
pub const MAX_CONTROL_SEGMENT: usize = 64 << 10;

/// Bytes of headers and copied data waiting to be sent.
pub const TX_BYTES: usize = 256 << 10;

/// Of [`TX_BYTES`], what commands and Data-Out leave free, so that answers (NOP-Out, logout, aborts) always find room.
pub const TX_RESERVE: usize = 16 << 10;

/// Pieces (header runs and payload references) waiting to be sent.
pub const TX_PIECES: usize = 4096;

/// Of [`TX_PIECES`], what commands and Data-Out leave free.
pub const TX_PIECES_RESERVE: usize = 64;

/// Pieces handed to the kernel in one call.
pub const IOVECS: usize = 128;

/// Payload bytes queued ahead of the socket before Data-Out generation pauses.
pub const TX_PAYLOAD_AHEAD: usize = 4 << 20;

/// R2Ts a target may have outstanding for one command, and the most that is offered as MaxOutstandingR2T. One more is
/// kept for the unsolicited burst.
pub const MAX_OUTSTANDING_R2T: usize = 8;

/// Sense bytes kept of a response.
pub const SENSE_BYTES: usize = 252;

/// Text a target may send as the answer to one text request (SendTargets).
pub const MAX_TEXT: usize = 4 << 20;

/// Login exchanges before the target is given up on.
pub const MAX_LOGIN_ROUNDS: u32 = 64;

/// Text a target may send in one login response sequence.
pub const MAX_LOGIN_TEXT: usize = 64 << 10;

/// Targets redirected to in a row before it counts as a loop.
pub const MAX_REDIRECTS: u32 = 4;

/// Threads of one benchmark.
pub const MAX_THREADS: usize = 256;

/// Connections of one benchmark.
pub const MAX_CONNECTIONS: usize = 1024;

/// I/O-sized units of the region one verifying connection remembers (four bytes each).
pub const MAX_VERIFY_UNITS: u64 = 1 << 28;

/// Errors a benchmark describes one by one; more are only counted.
pub const MAX_ERRORS_KEPT: usize = 16;

/// Longest latency the histogram tells apart, in nanoseconds; longer ones are counted as this.
pub const MAX_LATENCY_NS: u64 = 600_000_000_000;
