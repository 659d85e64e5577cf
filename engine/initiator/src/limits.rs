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

/// Over iSER: the longest data segment that the target is told it may send in full-feature phase
/// (InitiatorRecvDataSegmentLength); the least RFC 7145 §6.5 allows. Sense data and rejected headers fit.
pub const ISER_SEGMENT: u32 = 512;

/// Over iSER: bytes of a small message buffer. An iSER header, a BHS and [`ISER_SEGMENT`], with room for padding.
pub const ISER_SMALL_MESSAGE: usize = 640;

/// Over iSER: the longest data segment of a login or text PDU, and of a PDU with unsolicited data (the default of
/// TargetRecvDataSegmentLength, RFC 7145 §6.4).
pub const ISER_LARGE_SEGMENT: u32 = 8192;

/// Over iSER: bytes of a large message buffer. An iSER header, a BHS and [`ISER_LARGE_SEGMENT`], with room for padding.
pub const ISER_LARGE_MESSAGE: usize = 8320;

/// Over iSER: large receives that are posted for the login and stay. A login and a discovery session use one at a time;
/// the others are for what a target sends unasked before it should.
pub const ISER_LARGE_RECEIVES: usize = 4;

/// Over iSER: large message buffers for sending, beyond which commands go without immediate data; fewer for sessions of
/// less depth.
pub const ISER_LARGE_SENDS: usize = 36;

/// Over iSER: receives beyond one for each task, for what the target sends unasked (pings, asynchronous messages).
pub const ISER_UNEXPECTED: usize = 16;

/// Over iSER: Sends of which one is signalled, in a deep queue.
pub const ISER_SIGNAL_EVERY: usize = 16;

/// Over iSER: message buffers and places in the send queue that commands leave free, so that answers (NOP-Out, logout,
/// aborts) always find room.
pub const ISER_RESERVE: usize = CONTROL_SLOTS;

/// Over iSER: completions taken at a time.
pub const ISER_BATCH: usize = 32;

/// Over iSER: how long a session that is dropped waits for its device to let go of its message buffers; after that they
/// are leaked rather than reused.
pub const ISER_DROP_PATIENCE: std::time::Duration = std::time::Duration::from_millis(200);

/// How long a session that has ended waits for its transport to let go of commands' buffers. After that the commands
/// are reported without them.
pub const DRAIN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

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
