//! What a fleet is started with.

use crate::cpu::{CpuId, CpuList, CpuListError};
use crate::idle::Idle;
use crate::limits::{DEFAULT_POOL_MEMORY, Limits, MIN_POOL_MEMORY_PER_CORE};
use crate::memory::Hugepages;

/// What a fleet is started with.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// One reactor on each; the first is core 0.
    pub cores: Vec<CpuId>,
    /// What idle reactors do.
    pub idle: Idle,
    /// Memory of the buffer pools.
    pub memory: MemoryConfig,
    /// Bounds of each reactor.
    pub limits: Limits,
    /// Bind each reactor to its CPU. Without, the CPU numbers are mere names and not checked: for tests on small
    /// machines.
    pub pin: bool,
}

/// Memory of the buffer pools.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryConfig {
    /// Bytes of all pools together (`--memory`), split evenly over the cores.
    pub pools: usize,
    /// Which pages.
    pub hugepages: Hugepages,
    /// See [`crate::Pools::poison`].
    pub poison: bool,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { pools: DEFAULT_POOL_MEMORY, hugepages: Hugepages::Auto, poison: false }
    }
}

impl FleetConfig {
    /// Reactors on these CPUs, everything else as usual.
    #[must_use]
    pub fn on(cores: CpuList) -> Self {
        Self {
            cores: cores.into_vec(),
            idle: Idle::default(),
            memory: MemoryConfig::default(),
            limits: Limits::default(),
            pin: true,
        }
    }

    /// Reactors on the first `n` CPUs the process may use.
    ///
    /// # Errors
    /// If there are not that many.
    pub fn first(n: usize) -> Result<Self, CpuListError> {
        CpuList::first(n).map(Self::on)
    }

    /// `n` reactors for a test: not pinned, asleep when idle, with the least memory, of plain pages, poisoned.
    #[must_use]
    pub fn for_tests(n: u16) -> Self {
        let pools = usize::from(n).max(1) * MIN_POOL_MEMORY_PER_CORE;
        Self {
            cores: (0..n).map(CpuId).collect(),
            idle: Idle::Adaptive,
            memory: MemoryConfig { pools, hugepages: Hugepages::Off, poison: true },
            limits: Limits::default(),
            pin: false,
        }
    }
}
