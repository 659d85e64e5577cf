//! Every limit of this crate. Running into one is a refusal with a clear status or a bounded wait, never growth.

/// Connections one core serves. What one costs is in docs/LIMITS.md.
pub const CONNECTIONS_PER_CORE: usize = 1024;

/// Logical units with an open channel on one core.
pub const UNITS_PER_CORE: usize = 1024;

/// Highest LUN of a target, exclusive: what flat and peripheral addressing both name without trouble.
pub const LUNS_PER_TARGET: usize = 256;

/// Pieces of one command's data in flight at a time.
pub const CHUNKS: usize = 4;

/// Events of one connection handled in one turn, so that no connection starves another.
pub const UPCALLS_PER_TURN: usize = 64;

/// A login that has not reached full-feature phase after this many seconds is cut off.
pub const LOGIN_SECONDS: u64 = 15;

/// A connection that is closing gets this many seconds for its tasks to drain before it is cut off; what a device
/// still holds stays allocated until the device gives it back.
pub const DRAIN_SECONDS: u64 = 10;

/// How often a core looks at its connections' timers, in milliseconds.
pub const TICK_MILLIS: u64 = 100;

/// Task management requests being worked on per connection.
pub const TASK_MANAGEMENT: usize = 8;
