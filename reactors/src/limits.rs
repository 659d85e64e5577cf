//! Every bound of this crate, by name. Running out is a value, a wait or a refusal; nothing here ever grows.

use std::time::Duration;

/// Reactors in one fleet. [`crate::CoreId`] and a pool's number are 16 bits wide; this keeps tables small too.
pub const MAX_CORES: usize = 256;
/// CPU numbers accepted by [`crate::CpuList::parse`]: what `cpu_set_t` can name.
pub const MAX_CPUS: usize = 1024;
/// Pollers on one reactor.
pub const MAX_POLLERS: usize = 1024;
/// Jobs waiting in one core's mailbox.
pub const MAILBOX_DEPTH: usize = 1024;
/// Jobs a reactor takes from its mailbox in one turn.
pub const MESSAGES_PER_TURN: usize = 32;
/// Control-plane tasks alive on one core.
pub const MAX_TASKS: usize = 1024;
/// Task polls in one turn.
pub const TASKS_PER_TURN: usize = 16;
/// Sleeping tasks with a timer of their own; further sleepers are looked at every turn instead.
pub const MAX_SLEEPS: usize = 2 * MAX_TASKS;
/// Sleeps that may end in one turn.
pub const TIMERS_PER_TURN: usize = 32;

/// Turns that resting pollers are left out of. A turn takes some tens of nanoseconds then: what they notice late, they
/// notice about a microsecond late.
pub const REST_TURNS: u32 = 31;
/// An adaptive reactor spins this long after its last work before it sleeps.
pub const SPIN_BEFORE_SLEEP: Duration = Duration::from_micros(200);
/// Longest sleep of a reactor that is draining: a poller may become `Done` without any event.
pub const DRAIN_NAP: Duration = Duration::from_millis(5);
/// How long [`crate::Fleet::call`] waits.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// How long a stopping reactor may take for its last turn before it is given up.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// Bytes of a small pool buffer: a block, a header, a control PDU.
pub const SMALL_BUFFER: usize = 8 * 1024;
/// Bytes of a large pool buffer: a burst.
pub const LARGE_BUFFER: usize = 128 * 1024;
/// Alignment of every pool buffer.
pub const BUFFER_ALIGN: usize = 4096;
/// Share of the pools' memory that is cut into small buffers.
pub const SMALL_PERCENT: usize = 25;
/// Memory for all pools unless configured otherwise.
pub const DEFAULT_POOL_MEMORY: usize = 256 << 20;
/// The least each core's pools must get.
pub const MIN_POOL_MEMORY_PER_CORE: usize = 4 << 20;
/// Regions an arena hands out at one time.
pub const MAX_REGIONS: usize = 4096;
/// Memory left to the rest of the machine (and of the control group) when a region is asked for.
pub const MEMORY_HEADROOM: usize = 64 << 20;

/// The bounds of one reactor, so that tests can make them tiny.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// See [`MAILBOX_DEPTH`].
    pub mailbox_depth: usize,
    /// See [`MESSAGES_PER_TURN`].
    pub messages_per_turn: usize,
    /// See [`MAX_TASKS`].
    pub tasks: usize,
    /// See [`TASKS_PER_TURN`].
    pub tasks_per_turn: usize,
    /// See [`MAX_SLEEPS`].
    pub sleeps: usize,
    /// See [`MAX_POLLERS`].
    pub pollers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailbox_depth: MAILBOX_DEPTH,
            messages_per_turn: MESSAGES_PER_TURN,
            tasks: MAX_TASKS,
            tasks_per_turn: TASKS_PER_TURN,
            sleeps: MAX_SLEEPS,
            pollers: MAX_POLLERS,
        }
    }
}

impl Limits {
    /// Every bound at one: everything still works, only slower.
    #[must_use]
    pub const fn ones() -> Self {
        Self { mailbox_depth: 1, messages_per_turn: 1, tasks: 1, tasks_per_turn: 1, sleeps: 1, pollers: 1 }
    }
}
