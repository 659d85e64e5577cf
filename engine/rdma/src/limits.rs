//! Every limit of the seam and its software providers, by name.

/// Scatter-gather elements of a send request: headers, and data that follows them from where it lies.
pub const MAX_SGE: usize = 2;

/// Largest private data of any transport: an MPA frame's 512 bytes less the enhanced set-up word (RFC 5044 §7.1,
/// RFC 6581 §9).
pub const MAX_PRIVATE_DATA: usize = 508;

/// Largest message or RDMA transfer of one request, in bytes. The smallest bound among verbs devices.
pub const MAX_MESSAGE: u32 = 1 << 30;

/// Deepest send or receive queue.
pub const MAX_QUEUE_DEPTH: u16 = 16_384;

/// Largest completion queue.
pub const MAX_COMPLETIONS: u32 = 1 << 20;

/// Memory regions a loopback node can have registered at once.
pub const LOOPBACK_REGIONS: usize = 64;

/// Queue pairs that exist at once in a loopback world.
pub const LOOPBACK_QUEUES: usize = 4_096;

/// Completion queues, and shared receive queues, that exist at once in a loopback world.
pub const LOOPBACK_COMPLETION_QUEUES: usize = 1_024;

/// Connection events a loopback node holds for its owner, for each queue pair its world has room for: two of the queue
/// pair, and as many requests. Who polls none gets no new queue pairs and no requests.
pub const LOOPBACK_EVENTS_PER_QUEUE: usize = 4;

/// Connection events a loopback node holds for its owner at the most.
pub const LOOPBACK_EVENTS: usize = LOOPBACK_EVENTS_PER_QUEUE * LOOPBACK_QUEUES;

/// Addresses a loopback node listens on at once.
pub const LOOPBACK_LISTENERS: usize = 64;

/// Faults planned and not yet struck.
pub const LOOPBACK_FAULTS: usize = 1_024;

/// RDMA accesses the audit remembers, newest first.
pub const LOOPBACK_ACCESS_LOG: usize = 1_024;

/// Windows the audit keeps closed at once, and violations it keeps in full; the rest are only counted.
pub const LOOPBACK_AUDIT: usize = 1_024;
