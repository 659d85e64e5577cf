//! `Fleet`: one reactor thread per core, started, reached and stopped together.

mod call;
mod config;
mod failure;
mod shutdown;
mod start;
#[cfg(test)]
mod tests;
mod thread;

pub use call::CallError;
pub use config::{FleetConfig, MemoryConfig};
pub use failure::FleetFailure;
pub use shutdown::{CoreLeftover, ShutdownReport};
pub use start::StartError;

use crate::cpu::CpuId;
use crate::mail::Mail;
use crate::memory::Arena;
use crate::percore::CoreId;
use crate::stats::{CoreSnapshot, CoreStats, PollerSnapshot};
use failure::FailureCell;
use shutdown::Crew;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};

/// All reactors of the process, as control-plane threads see them. Shut it down with [`Fleet::shutdown`]; a fleet
/// that is dropped does so itself, with [`crate::limits::STOP_GRACE`] to drain.
#[derive(Debug)]
pub struct Fleet {
    cores: Vec<Member>,
    mail: Mail,
    arena: Arena,
    failure: Arc<FailureCell>,
    crew: Mutex<Crew>,
}

#[derive(Debug)]
struct Member {
    cpu: CpuId,
    spins: bool,
    stats: Arc<CoreStats>,
}

impl Fleet {
    /// How many cores there are.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// Every core.
    pub fn core_ids(&self) -> impl Iterator<Item = CoreId> + use<> {
        self.mail.core_ids()
    }

    /// The CPU of `core`.
    #[must_use]
    pub fn cpu(&self, core: CoreId) -> Option<CpuId> {
        self.cores.get(core.index()).map(|m| m.cpu)
    }

    /// Whether `core` never sleeps.
    #[must_use]
    pub fn spins(&self, core: CoreId) -> Option<bool> {
        self.cores.get(core.index()).map(|m| m.spins)
    }

    /// Where further memory comes from.
    #[must_use]
    pub const fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Sends jobs to cores without waiting.
    #[must_use]
    pub const fn mail(&self) -> &Mail {
        &self.mail
    }

    /// The counters of `core`, read without disturbing it.
    #[must_use]
    pub fn stats(&self, core: CoreId) -> Option<CoreSnapshot> {
        self.cores.get(core.index()).map(|m| m.stats.snapshot())
    }

    /// The pollers of `core` and their counters, read without disturbing it.
    #[must_use]
    pub fn pollers(&self, core: CoreId) -> Option<Vec<PollerSnapshot>> {
        self.cores.get(core.index()).map(|m| m.stats.pollers())
    }

    /// The first failure of a core, if any: shut down and exit with an error.
    #[must_use]
    pub fn failure(&self) -> Option<FleetFailure> {
        self.failure.get()
    }

    /// Readable once there is a [`Fleet::failure`]; for [`crate::signal::Signals::wait`].
    #[must_use]
    pub fn failure_fd(&self) -> BorrowedFd<'_> {
        self.failure.fd()
    }
}
