//! Every limit of this crate. Running out of any of them is a refusal with a name, never growth.

/// Operations one channel holds at a time (submitted and not reaped). [`crate::Channel::submit`] gives the next one
/// back.
pub const CHANNEL_DEPTH: usize = 1024;

/// Longest name or alias of a device, in bytes.
pub const NAME_BYTES: usize = 255;

/// Devices registered at a time.
pub const DEVICES: usize = 4096;

/// Aliases of one device.
pub const ALIASES: usize = 16;

/// Users (LUNs or layers) of one device.
pub const USERS: usize = 1024;

/// Subscribers to a registry's events.
pub const SUBSCRIBERS: usize = 1024;

/// Largest medium in bytes: what a signed file offset can address.
pub const MEDIUM_BYTES: u64 = i64::MAX as u64;

/// From this size on little of a RAM disk is in a cache, and what is written to it goes past the cache (decision 16).
pub const MALLOC_COLD_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes that `malloc` copies for an operation without making it wait for a reap.
pub const MALLOC_BYTES_AT_ONCE: u64 = 64 * 1024;

/// Bytes that `malloc` copies or zeroes in one reap, so that a large operation does not stall the core's other work.
pub const MALLOC_BYTES_PER_REAP: u64 = 256 * 1024;

/// Longest read, in bytes, that a null device lends zeroes for; a longer one takes the caller's buffer.
pub const NULL_LEND_BYTES: usize = 1024 * 1024;

/// Errors injected into one device at a time.
pub const INJECTIONS: usize = 64;

/// Longest artificial latency of the delay layer, in microseconds: an hour.
pub const DELAY_US: u64 = 3_600_000_000;

/// How often one io_uring operation is started anew after EINTR, EAGAIN or ENOMEM before it fails.
pub const URING_RETRIES: u8 = 32;

/// Bytes of zeroes that one write of the write-zeroes fallback carries.
pub const URING_ZERO_BYTES: usize = 1024 * 1024;

/// Largest fixed buffer the kernel takes; a larger region is registered in pieces.
pub const URING_FIXED_BYTES: usize = 1 << 30;

/// Fixed buffers registered with one ring.
pub const URING_FIXED_BUFFERS: usize = 1024;

/// How long the kernel's thread that takes a ring's entries spins without any before it sleeps, in milliseconds.
pub const URING_THREAD_IDLE_MS: u32 = 1000;

/// How long the probe for polled completions waits for its one read, in milliseconds.
pub const IOPOLL_PROBE_MS: u64 = 100;

/// How long a closing channel waits for the kernel to let go of its operations, in seconds. Afterwards their memory
/// is leaked, never freed.
pub const CLOSE_SECONDS: u64 = 30;

/// How long what a core draws of a rate limit is meant to last: it draws, and takes part in the division of the
/// rate, once in so many nanoseconds.
pub const QOS_INTERVAL_NS: u64 = 500_000;

/// What a rate limit allows at once after a pause: what it would have allowed in so many nanoseconds, but at least one
/// operation or one large buffer.
pub const QOS_BURST_NS: u64 = 5_000_000;

/// Highest rate limit, in operations or megabytes a second.
pub const QOS_RATE: u64 = 1 << 40;
