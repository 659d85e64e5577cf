//! What all cores share. Nothing here is touched on the data path.

mod placement;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use reactors::CoreId;
use reactors::stats::CoreStats as ReactorStats;

use crate::session::Sessions;
use placement::{Placement, Worked};

/// Process-wide state of the target.
pub struct Shared {
    /// All sessions.
    pub sessions: Sessions,
    loads: Vec<Load>,
    /// Held while a connection is being placed, and at no other time.
    placement: Mutex<Placement>,
}

/// What placement knows of one core, on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Load {
    connections: AtomicU32,
    /// Where its reactor counts. Without it every core seems equally busy.
    reactor: OnceLock<Arc<ReactorStats>>,
}

impl Load {
    fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    fn worked(&self) -> Worked {
        self.reactor.get().map_or(Worked::default(), |stats| {
            let counts = stats.snapshot();
            Worked { busy: counts.busy_ticks, all: counts.busy_ticks + counts.idle_ticks }
        })
    }
}

impl Shared {
    /// Shared state of `cores` cores.
    #[must_use]
    pub fn new(cores: usize) -> Arc<Self> {
        Arc::new(Self {
            sessions: Sessions::default(),
            loads: (0..cores).map(|_| Load::default()).collect(),
            placement: Mutex::new(Placement::new(cores)),
        })
    }

    /// From now on the placement of connections heeds how busy `core` is.
    pub fn watch(&self, core: CoreId, reactor: Arc<ReactorStats>) {
        if let Some(load) = self.loads.get(core.index()) {
            // One that is watched stays the same for life.
            let _ = load.reactor.set(reactor);
        }
    }

    /// The core that gets the next connection: the least busy one, of those that are alike the one with the fewest
    /// connections, of those one after the other. The connection counts there from now on.
    #[must_use]
    pub fn place(&self) -> CoreId {
        // What a panic left behind is a guess at most.
        let mut placement = self.placement.lock().unwrap_or_else(PoisonError::into_inner);
        placement.sample(self.loads.iter().map(Load::worked));
        let connections: Vec<_> = self.loads.iter().map(Load::connections).collect();
        let index = placement.pick(&connections);
        if let Some(load) = self.loads.get(index) {
            load.connections.fetch_add(1, Ordering::Relaxed);
        }
        CoreId(index as u16)
    }

    /// A connection placed on `core` is gone.
    pub fn unplace(&self, core: CoreId) {
        if let Some(load) = self.loads.get(core.index()) {
            load.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Connections of each core, those on their way to it included.
    #[must_use]
    pub fn connections(&self) -> Vec<u32> {
        self.loads.iter().map(Load::connections).collect()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = self.connections();
        f.debug_struct("Shared")
            .field("sessions", &self.sessions)
            .field("connections", &connections)
            .finish_non_exhaustive()
    }
}
