//! The per-core polled machine under isere: one thread per core, nothing on its data path sleeps, locks or allocates.
//!
//! A [`Fleet`] starts one [`Reactor`] per CPU. A reactor turns forever: its mailbox, its [`Poller`]s, its timers, its
//! control-plane tasks. What a core owns is a [`Core`]: pollers, [`Pools`] of DMA buffers, [`Locals`], a [`Spawner`].
//! Other threads reach it by [`Fleet::call`], other cores by [`Mail`], data by a [`Ring`].
//!
//! The crate knows no storage and no protocol. A [`Reactor`] can be stepped without threads or a clock
//! ([`Reactor::turn`] takes the time), which is how a simulator drives it.

pub mod bell;
pub mod clock;
pub mod cpu;
pub mod fleet;
pub mod guard;
pub mod idle;
pub mod limits;
pub mod locals;
pub mod mail;
pub mod memory;
pub mod panics;
pub mod percore;
pub mod poller;
pub mod pools;
pub mod reactor;
pub mod ring;
pub mod signal;
pub mod stats;
pub mod task;
pub mod timers;

pub use bell::Bell;
pub use clock::{Clock, Nanos};
pub use cpu::{CpuId, CpuList};
pub use fleet::{CallError, Fleet, FleetConfig, ShutdownReport, StartError};
pub use idle::Idle;
pub use locals::Locals;
pub use mail::{Job, Mail, PostError};
pub use memory::{Arena, Extent, Hugepages, MemoryError, Region, RegionCache, RegionChanges, Registrar};
pub use percore::{Core, CoreHandle, CoreId};
pub use poller::{Drained, Poller, PollerId, Progress, Turn};
pub use pools::{Carving, Class, Pools, WaitQueue};
pub use reactor::Reactor;
pub use ring::Ring;
pub use task::Spawner;
pub use timers::{TimerId, Timers};
