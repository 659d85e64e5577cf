//! What one turn lends to the connections it steps.

use std::sync::Arc;

use primitives::{Buf, Key};
use reactors::{CoreHandle, CoreId, Nanos, Pools};

use crate::shared::Shared;
use crate::stats::CoreStats;
use crate::target::Published;
use crate::unit::LocalUnits;

/// The core's belongings, for the length of one step.
#[expect(missing_debug_implementations, reason = "borrowed parts have none")]
pub struct Context<'a> {
    /// The turn's time.
    pub now: Nanos,
    /// The core.
    pub core: CoreId,
    /// DMA buffers.
    pub pools: &'a mut Pools,
    /// Logical units.
    pub units: &'a mut LocalUnits,
    /// What all cores share.
    pub shared: &'a Arc<Shared>,
    /// The configuration in force.
    pub published: &'a Arc<Published>,
    /// For control-plane tasks of this core.
    pub handle: &'a CoreHandle,
    /// Counters.
    pub stats: &'a mut CoreStats,
    /// Room for parameter data while it is being made.
    pub scratch: &'a mut [u8],
}

impl Context<'_> {
    /// Gives a buffer back to where it came from: the pool, or the device of the unit `lender`.
    pub fn give(&mut self, buf: Buf, lender: Option<Key>) {
        match lender {
            _ if !buf.is_lent() => self.pools.give(buf),
            Some(key) => self.units.give_back(key, buf),
            // Only units lend. The device keeps the memory for good, which is the safe way to be wrong.
            None => debug_assert!(false, "lent memory without a lender"),
        }
    }
}
