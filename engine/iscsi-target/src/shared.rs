//! What all cores share. Nothing here is touched on the data path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use reactors::CoreId;

use crate::session::Sessions;

/// Process-wide state of the target.
#[derive(Debug, Default)]
pub struct Shared {
    /// All sessions.
    pub sessions: Sessions,
    loads: Vec<Load>,
}

/// Connections of one core, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Load(AtomicU32);

impl Shared {
    /// Shared state of `cores` cores.
    #[must_use]
    pub fn new(cores: usize) -> Arc<Self> {
        Arc::new(Self { sessions: Sessions::default(), loads: (0..cores).map(|_| Load::default()).collect() })
    }

    /// The core that gets the next connection: the one with the fewest, so that the connections of one target spread
    /// over all of them. The connection counts there from now on.
    #[must_use]
    pub fn place(&self) -> CoreId {
        let least = self.loads.iter().enumerate().min_by_key(|(_, load)| load.0.load(Ordering::Relaxed));
        let index = least.map_or(0, |(index, _)| index);
        if let Some(load) = self.loads.get(index) {
            load.0.fetch_add(1, Ordering::Relaxed);
        }
        CoreId(index as u16)
    }

    /// A connection placed on `core` is gone.
    pub fn unplace(&self, core: CoreId) {
        if let Some(load) = self.loads.get(core.index()) {
            load.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_spread_over_all_cores() {
        let shared = Shared::new(3);
        let mut placed = [0; 3];
        for _ in 0..9 {
            placed[shared.place().index()] += 1;
        }
        assert_eq!(placed, [3, 3, 3]);
        shared.unplace(CoreId(1));
        assert_eq!(shared.place(), CoreId(1));
    }
}
