//! Every limit of this crate. Running into one is a refusal, a wait or the end of one connection, never growth.
//!
//! Memory of a connection, made when it starts and fixed from then on: [`STAGING`] and [`HEADERS`] bytes, 24 bytes for
//! each of [`PIECES`], and about 200 bytes for each place in its queues. One that has not sent its MPA request yet has
//! a buffer of 600 bytes.

/// Queue pairs of one device at once.
pub const QUEUES: usize = 4_096;

/// Completion queues, and shared receive queues, of one device at once.
pub const COMPLETION_QUEUES: usize = 1_024;

/// Addresses one device listens on at once.
pub const LISTENERS: usize = 64;

/// Regions of memory one device knows at once.
pub const REGIONS: usize = 8_192;

/// Regions exposed to all connections at once; a power of two.
pub const EXPOSED: usize = 4_096;

/// Deepest send or receive queue, in requests.
pub const QUEUE_DEPTH: u16 = 8_192;

/// Windows of one queue pair at once.
pub const WINDOWS: u16 = 8_192;

/// RDMA Reads served or issued at once on one queue pair, whatever the configuration says. The wire has 14 bits, the
/// highest of whose values means something else (RFC 6581 §9.1).
pub const READ_DEPTH: u16 = 4_096;

/// Connection events that wait for the owner, for each queue pair it has: who polls none gets no new queue pairs.
pub const EVENTS_PER_QUEUE: usize = 2;

/// Longest ULPDU: what 16 bits hold.
pub const MAX_ULPDU: usize = 65_535;

/// Longest FPDU: length field, ULPDU, padding, CRC.
pub const MAX_FPDU: usize = 2 + MAX_ULPDU + 3 + 4;

/// Longest FPDU sent: whole words of eight, as the kernel's siw has them.
pub const MAX_SENT_FPDU: usize = (2 + MAX_ULPDU + 4) & !7;

/// Shortest FPDU that long messages are cut to, however small TCP's segments are (RFC 5044 §4.5: MULPDU of 128).
pub const MIN_FPDU: usize = 136;

/// Bytes of a connection's receive staging buffer: the longest FPDU, so that its CRC can be checked before anything in
/// it is believed, and some of the next.
pub const STAGING: usize = 68 * 1024;

/// How much is read past a payload that is going straight to its place, or while another such is expected: room for
/// some headers, so that little of the next large payload is staged (and copied).
pub const DIRECT_WINDOW: usize = 512;

/// From this many bytes on, a payload makes the next ones be expected to be as large.
pub const DIRECT_MIN: usize = 16 * 1024;

/// For how many FPDUs after a large one another is expected.
pub const DIRECT_MEMORY: u8 = 8;

/// Bytes of headers, padding and CRCs waiting to be sent.
pub const HEADERS: usize = 32 * 1024;

/// Payload of up to this many bytes is copied behind its header.
pub const INLINE: usize = 128;

/// Pieces of memory waiting to be sent; the kernel takes 1,024 in a call.
pub const PIECES: usize = 512;

/// How much of each piece is brought into the cache before the kernel copies them all (decision 16).
pub const PREFETCH: usize = 256;

/// Bytes framed ahead of what the kernel took: no point in much more than a socket buffer takes.
pub const OUTBOX: u64 = 1024 * 1024;

/// How much a near peer may leave unacknowledged: what the kernel is asked for, which takes twice that, or
/// `net.core.wmem_max` if it is less.
pub const SEND_BUFFER: usize = 512 * 1024;

/// A peer is near that answers within so many microseconds.
pub const NEAR_MICROS: u32 = 500;

/// Calls to send for one doorbell: another only when the kernel took all of the last and there is more.
pub const SEND_CALLS: usize = 4;

/// Calls to receive for one connection and turn: another only when the last filled all it was given.
pub const RECEIVE_CALLS: usize = 4;

/// Turns between two looks for sockets that have become ready, while some known to be busy are read from anyway.
pub const LOOK_EVERY: u32 = 8;

/// As long as they are no more than this many, connections are read from for [`MISSES`] turns that bring nothing.
pub const FEW: usize = 2;

/// See [`FEW`].
pub const MISSES: u32 = 64;

/// Bytes kept for a peer after its connection was ended on this side, and then to the end of an FPDU.
pub const TAIL: u64 = 256 * 1024;

/// Connections that were ended and whose last bytes are still on their way. One more ends the oldest for good.
pub const LINGERING: usize = 256;

/// Readiness looked at in one turn at most.
pub const READY: usize = 128;

/// Connections accepted in one turn at most.
pub const ACCEPTS: usize = 16;

/// Random bytes fetched at a time: a call to the kernel for every thousandth STag.
pub const RANDOM: usize = 4_096;

const _: () = assert!(EXPOSED.is_power_of_two() && STAGING >= MAX_FPDU + DIRECT_WINDOW && PIECES <= 1_024);
