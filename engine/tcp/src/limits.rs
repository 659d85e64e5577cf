//! Every limit of this crate. Running into one is a refusal, a wait or the end of one connection, never growth.

/// Bytes of a connection's receive staging buffer: as many 4 KiB writes as two turns of a deep queue bring, or a 64 KiB
/// data segment with the largest header around it (48 bytes of BHS, 1,020 of AHS, two digests), so that any PDU up to
/// that size can be shown in one piece.
pub const STAGING: usize = 130 * 1024;

/// The largest data segment taken in before [`enable`](iscsi::datamover::Datamover::enable). RFC 7143 §13.12 lets a
/// peer send 8,192 bytes then; some send longer security payloads, and this much fits the staging buffer anyway.
pub const LOGIN_RECEIVE_SEGMENT: u32 = 64 * 1024;

/// The largest data segment sent before `enable` (the default of MaxRecvDataSegmentLength, RFC 7143 §13.12).
pub const LOGIN_SEND_SEGMENT: u32 = 8192;

/// The largest data segment of a control PDU to the peer, whatever more it would take. Control data is copied, and
/// nothing but ping echoes and text needs more.
pub const CONTROL_SEGMENT: u32 = 8192;

/// From this many bytes on a payload is worth going straight into its sink, unless that is cold. Smaller ones cost less
/// to copy, hot in the cache, than to read one to a call (decision 16).
pub const DIRECT_MIN: u32 = 32 * 1024;

/// How much is read past a large payload, or while one is expected: room for ten headers, so that little of the
/// next large payload is staged (and copied), yet commands sent in between still arrive in batches.
pub const DIRECT_WINDOW: usize = 512;

/// The same where large payloads are staged: not so much that the sender has to wait for room.
pub const COLD_WINDOW: usize = 64 * 1024;

/// For how many PDUs after a large payload another one is expected.
pub const LARGE_MEMORY: u8 = 16;

/// How much a near peer may leave unacknowledged: what the kernel is asked for, which takes twice that, or
/// `net.core.wmem_max` if it is less. On its own it lets the send buffer grow to several MiB, more than caches hold.
pub const SEND_BUFFER: u32 = 512 * 1024;

/// A peer is near whose handshake took no longer than this, in microseconds. The send buffer's bound then allows for
/// 2 GB/s at least.
pub const NEAR_MICROS: u32 = 500;

/// PDUs given to the kernel in one call; each takes up to three iovecs, and the kernel takes 1,024.
pub const FRAMES: usize = 128;

/// How much of each payload is brought into the cache before the kernel copies a batch of them (decision 16).
pub const PREFETCH: usize = 256;

/// Calls to send per flush: one, and another only when the first was full and the kernel took all of it.
pub const FLUSH_CALLS: usize = 2;

/// Pending connections the kernel holds for a listener.
pub const BACKLOG: i32 = 1024;

/// Connections that ended before they were accepted, skipped per call of accept.
pub const ACCEPT_TRIES: usize = 16;

/// The most transfers a connection may have active: their index shares a 32-bit Target Transfer Tag with a
/// generation.
pub const MAX_GETS: usize = 1 << 10;

/// What one connection may hold, fixed when it is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// PDUs and puts waiting to be sent.
    pub jobs: usize,
    /// Of `jobs`, how many only [`send_control`](iscsi::datamover::Datamover::send_control) may take, so that an
    /// answer to a PDU that was surfaced can normally be queued however much data is.
    pub control_reserve: usize,
    /// Puts outstanding.
    pub puts: usize,
    /// Gets outstanding, at most [`MAX_GETS`].
    pub gets: usize,
    /// Tasks that owe unsolicited data.
    pub unsolicited: usize,
    /// Bytes of control data waiting to be sent; at least [`CONTROL_SEGMENT`] and its digests.
    pub arena: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { jobs: 256, control_reserve: 64, puts: 192, gets: 128, unsolicited: 128, arena: 64 * 1024 }
    }
}
