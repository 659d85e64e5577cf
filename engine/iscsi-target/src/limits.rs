//! Every limit of this crate. Running into one is a refusal with a clear status or a bounded wait, never growth.

/// Connections one core serves. What one costs is in docs/LIMITS.md.
pub const CONNECTIONS_PER_CORE: usize = 1024;

/// A core with so many connections more than the one with the fewest gets no further one, however idle it is.
pub const PLACEMENT_SPREAD: u32 = 8;

/// Logical units with an open channel on one core.
pub const UNITS_PER_CORE: usize = 1024;

/// Highest LUN of a target, exclusive: what flat and peripheral addressing both name without trouble.
pub const LUNS_PER_TARGET: usize = 256;

/// Pieces of one command's data in flight at a time.
pub const CHUNKS: usize = 4;

/// Bytes of a piece of a read that lies in memory of the device's own; whole blocks of any size. A datamover takes a
/// piece in one put, which over RDMA is one message.
pub const LENT_BYTES: u32 = 4 << 20;

const _: () = assert!(LENT_BYTES <= rdma::limits::MAX_MESSAGE && LENT_BYTES.is_multiple_of(4096));

/// Events of one iSER connection handled in one turn, so that no connection starves another. They share the device's
/// receives, so more than this for one is less for others.
pub const UPCALLS_PER_TURN: usize = 64;

/// Events of one TCP connection handled in one turn: what a window of 128 commands can bring, so that all of it is
/// answered with one call.
pub const UPCALLS_PER_TCP_TURN: usize = 256;

/// A login that has not reached full-feature phase after this many seconds is cut off.
pub const LOGIN_SECONDS: u64 = 15;

/// A connection that is closing gets this many seconds for its tasks to drain before it is cut off; what a device
/// still holds stays allocated until the device gives it back.
pub const DRAIN_SECONDS: u64 = 10;

/// How often a core looks at its connections' timers, in milliseconds.
pub const TICK_MILLIS: u64 = 100;

/// Task management requests being worked on per connection.
pub const TASK_MANAGEMENT: usize = 8;

/// RDMA devices that one core drives.
pub const DEVICES_PER_CORE: usize = 16;

/// Connection requests that an RDMA listener holds until they are answered.
pub const BACKLOG: u16 = 128;

/// Completions an RDMA device holds for a core: for all connections there may be.
pub const COMPLETIONS_PER_DEVICE: u32 = CONNECTIONS_PER_CORE as u32 * SEND_DEPTH as u32 + SHARED_RECEIVES as u32;

/// The same for devices that cannot hold as many (the kernel's rxe). With [`SEND_DEPTH`] it bounds their connections.
pub const COMPLETIONS_PER_SMALL_DEVICE: u32 = 32_000;

/// Requests in the send queue of an iSER connection.
pub const SEND_DEPTH: u16 = 256;

/// Receives posted for all connections of an RDMA device and core, where the device can share them.
pub const SHARED_RECEIVES: u16 = 1024;

/// They take one part of this many of the core's large buffers at the most.
pub const RECEIVES_SHARE: usize = 4;

/// Fewer than these make no device: its connections would stall each other.
pub const SHARED_RECEIVES_MIN: usize = 32;

/// Receives posted for one connection where the device cannot share them: a full window, and what comes beside it.
pub const RECEIVES_PER_CONNECTION: u16 = 96;

/// Control PDUs in full-feature phase that an iSER connection has on their way.
pub const CONTROLS_PER_CONNECTION: usize = 256;

/// Larger PDUs (login, text) that an iSER connection has on their way.
pub const MESSAGES_PER_CONNECTION: usize = 4;

/// Accepted connections of one core that have not said yet what they speak.
pub const STRANGERS_PER_CORE: usize = 1024;

/// After the final login response an iSER connection says nothing of its own accord until the initiator has said
/// something, or this many milliseconds have passed (RFC 7145 §5.1.3).
pub const QUIET_MILLIS: u128 = 1000;

/// An iSER connection that has logged out is closed when its initiator has not done so for this many milliseconds.
pub const LINGER_MILLIS: u128 = 1000;
