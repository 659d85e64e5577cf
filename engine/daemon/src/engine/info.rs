//! What the engine is asked to change, and what it tells of itself: plain data.

use crate::model::bdev::{RateLimits, Uuid};
use std::net::SocketAddr;

/// A change to a running block device.
#[derive(Clone, Debug, PartialEq)]
pub enum BdevChange {
    /// New length in blocks (null).
    Resize(u64),
    /// Look at the size of the file again (uring).
    Rescan,
    /// New latency (delay).
    Latency(LatencyKind, std::time::Duration),
    /// Inject errors (error).
    Inject(Injection),
    /// New rate limits, in place of those there are.
    Limit(RateLimits),
    /// Let operations held back by "pending" errors go on (error).
    ResumePending,
}

/// Which latency of a delay device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatencyKind {
    /// Most reads.
    AvgRead,
    /// One read in a hundred.
    P99Read,
    /// Most writes.
    AvgWrite,
    /// One write in a hundred.
    P99Write,
}

/// Operations that errors are injected into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InjectOn {
    /// Removes every injection.
    Clear,
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Unmaps.
    Unmap,
    /// Flushes.
    Flush,
    /// All of these.
    All,
}

/// What happens to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InjectWhat {
    /// They fail.
    Failure,
    /// They wait until [`BdevChange::ResumePending`].
    Pending,
    /// A byte of their data is changed.
    CorruptData,
    /// They find no memory once, and are tried again.
    Nomem,
    /// They fail with an NVMe status; not supported.
    NvmeFailure,
}

/// An injection of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Into which operations.
    pub on: InjectOn,
    /// What.
    pub what: InjectWhat,
    /// How many.
    pub count: u32,
    /// Only while at least this many operations are in flight.
    pub queue_depth: u64,
    /// Where the corrupted byte is.
    pub corrupt_offset: u64,
    /// What it becomes; 0 inverts it.
    pub corrupt_value: u8,
    /// Only operations that touch a block from the first to the second; `None` is all of them.
    pub range: Option<(u64, u64)>,
}

/// A block device as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BdevInfo {
    /// SPDK's name of the kind ("Malloc disk").
    pub product: &'static str,
    /// Bytes.
    pub block_size: u32,
    /// Length in blocks.
    pub blocks: u64,
    /// Identity.
    pub uuid: Uuid,
    /// Refuses writes.
    pub read_only: bool,
    /// Has these operations beyond reading.
    pub write: bool,
    /// See `write`.
    pub flush: bool,
    /// See `write`.
    pub unmap: bool,
    /// See `write`.
    pub write_zeroes: bool,
    /// Preferred unmap granularity in blocks.
    pub unmap_granularity: u32,
    /// Preferred transfer in blocks.
    pub optimal_io_blocks: u32,
}

/// What [`super::Engine::reset_bdev_stats`] sets to zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetStats {
    /// Everything.
    #[default]
    All,
    /// The extremes of latency.
    Maxmin,
    /// The errors.
    Error,
    /// Nothing.
    None,
}

/// Counters of one kind of operation. Latencies are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpStats {
    /// Operations completed.
    pub ops: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// Operations failed.
    pub errors: u64,
    /// Sum of latencies.
    pub latency: u64,
    /// Longest latency.
    pub max_latency: u64,
    /// Shortest latency; 0 without operations.
    pub min_latency: u64,
}

/// Counters of a block device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BdevStats {
    /// Reads.
    pub read: OpStats,
    /// Writes.
    pub write: OpStats,
    /// Unmaps.
    pub unmap: OpStats,
    /// Flushes.
    pub flush: OpStats,
}

/// What a device's rate limits held up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttled {
    /// Operations that had to wait.
    pub ops: u64,
    /// Nanoseconds they waited, in all.
    pub wait: u64,
    /// Operations that wait now.
    pub waiting: u64,
}

/// Counters of a device in all and of each channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounts {
    /// Over all channels there were, since the last reset.
    pub total: BdevStats,
    /// Of each channel that is open.
    pub channels: Vec<BdevStats>,
    /// By rate limits, since the last reset.
    pub throttled: Throttled,
}

/// One iSCSI connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Unique while it lasts.
    pub id: i32,
    /// Connection id of the session.
    pub cid: u16,
    /// Session handle; `None` before login.
    pub tsih: Option<u16>,
    /// What it is doing.
    pub state: ConnectionState,
    /// SPDK's name of the login phase: `security_negotiation_phase`, `operational_negotiation_phase`,
    /// `full_feature_phase` or `not_started`.
    pub login_phase: &'static str,
    /// Where it came from.
    pub initiator: SocketAddr,
    /// Where it came in.
    pub local: SocketAddr,
    /// Portal group tag.
    pub pg_tag: i32,
    /// Name of the target; empty in a discovery session and before login.
    pub target: String,
    /// Name of the initiator; empty before login.
    pub initiator_name: String,
    /// Index of the core that owns it.
    pub core: u32,
    /// Runs over iSER.
    pub iser: bool,
}

/// What a connection is doing, in SPDK's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Accepted, login or full feature phase.
    Running,
    /// Draining.
    Exiting,
}

/// One reactor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreInfo {
    /// Index.
    pub core: u32,
    /// The CPU it is pinned to.
    pub cpu: u32,
    /// Kernel thread id.
    pub tid: u64,
    /// Nanoseconds in turns that did something.
    pub busy: u64,
    /// Nanoseconds in turns that did not, and asleep.
    pub idle: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Its pollers.
    pub pollers: Vec<PollerInfo>,
    /// Buffer pools.
    pub pools: Vec<PoolInfo>,
}

/// One poller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollerInfo {
    /// Unique on its core.
    pub id: u64,
    /// Name.
    pub name: String,
    /// Times it was polled.
    pub polls: u64,
    /// Times it did something.
    pub busy_polls: u64,
}

/// One class of buffers on a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolInfo {
    /// Length of a buffer.
    pub buffer_bytes: u64,
    /// Buffers in all.
    pub total: u64,
    /// Buffers free now.
    pub free: u64,
    /// Buffers handed out so far.
    pub taken: u64,
    /// Times there was none.
    pub exhausted: u64,
}

/// Counters of the protocol layers on one core, by name: `("commands", 17)` becomes `isere_iscsi_commands_total`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolStats {
    /// Index of the core.
    pub core: u32,
    /// Monotonic counts.
    pub counters: Vec<(&'static str, u64)>,
    /// Latencies of kinds of command.
    pub latencies: Vec<LatencyStats>,
}

/// A histogram of latencies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyStats {
    /// Of what: `read`, `write`, …
    pub of: &'static str,
    /// Upper bound in nanoseconds and the number of values not above it that no smaller bucket counts; ascending.
    pub buckets: Vec<(u64, u64)>,
    /// Sum of all values in nanoseconds.
    pub sum: u64,
}
