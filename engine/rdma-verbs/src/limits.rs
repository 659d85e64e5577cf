//! Every limit of this crate. Running into one is a refusal, a wait or the end of one connection, never growth.

/// Queue pairs of one core at one device.
pub const QUEUES: usize = 4_096;

/// Completion queues, and shared receive queues, of one core at one device.
pub const COMPLETION_QUEUES: usize = 64;

/// Addresses one core listens on at one device.
pub const LISTENERS: usize = 64;

/// Connection requests beyond a listener's backlog that the kernel holds until they are rejected.
pub const KERNEL_BACKLOG: u16 = 64;

/// Connection requests that wait for an answer, of all listeners together.
pub const REQUESTS: usize = 1_024;

/// Regions of memory registered at once.
pub const REGIONS: usize = 8_192;

/// Windows of one queue pair at once.
pub const WINDOWS: u16 = 4_096;

/// Deepest send or receive queue.
pub const QUEUE_DEPTH: u16 = rdma::limits::MAX_QUEUE_DEPTH;

/// Read depths travel in eight bits of the RDMA CM.
pub const READ_DEPTH: u16 = 255;

/// Completions taken from the device in one call.
pub const POLL_BATCH: usize = 32;

/// Requests handed to the device in one call. A ring with more makes several.
pub const POST_BATCH: usize = 64;

/// Connection events taken in one turn.
pub const CM_EVENTS: usize = 64;

/// Device events taken at once.
pub const DEVICE_EVENTS: usize = 64;

/// Device events kept for one core until it looks. More are dropped: each only tells earlier what the connection
/// manager tells as well.
pub const NOTICES: usize = 1_024;

/// Turns between two looks at the connection manager while completions keep coming.
pub const BUSY_TURNS: u32 = 64;

/// Longest time between two looks at the connection manager while completions keep coming, in nanoseconds.
pub const BUSY_NANOS: u64 = 1_000_000;

/// Time between two looks while nothing happens, in nanoseconds: a look is a system call, and a core that polls its
/// completion queue ten million times a second has better to do.
pub const IDLE_NANOS: u64 = 50_000;

/// How long a device may take to flush a failed queue pair, in nanoseconds; then the queue pair is destroyed.
pub const FLUSH_NANOS: u64 = 2_000_000_000;

/// How long a queue pair may go on flushing before anything says that its connection is over, in nanoseconds.
pub const SILENCE_NANOS: u64 = 1_000_000_000;

/// How long a queue pair of a shared receive queue is kept for the last receive it had begun to fill, in nanoseconds,
/// if the device does not tell that there is none (rxe never does).
pub const LAST_RECEIVE_NANOS: u64 = 1_000_000;

/// How long the end of a connection that was still being accepted may take to reach the peer, in nanoseconds.
pub const FAREWELL_NANOS: u64 = 5_000_000_000;
