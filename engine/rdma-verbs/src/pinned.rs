//! Registrations that all cores of the process share: memory is pinned, and a device's tables are filled, once for each
//! device instead of once for each core.

use crate::sys::{Context, Domain, Region, Rights};
use rdma::Memory;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A protection domain and what is registered in it for local use. Whoever holds one of its regions holds the domain as
/// well, and lets go of it later.
#[derive(Debug)]
pub struct Pinned {
    domain: Domain,
    rights: Rights,
    /// Registrations, as long as somebody has them.
    known: Mutex<Vec<(Memory, Weak<Region>)>>,
}

/// Those that are shared, by device.
static SHARED: Mutex<Vec<(usize, Weak<Pinned>)>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pinned {
    /// The one that the process has for a device; made by the first who asks, gone with the last who holds it. Whose
    /// device it is, they keep open.
    ///
    /// # Errors
    /// The device's error number.
    pub fn of(context: Context, rights: Rights) -> Result<Arc<Self>, i32> {
        let mut shared = lock(&SHARED);
        shared.retain(|(_, pinned)| pinned.strong_count() > 0);
        let mine = shared.iter().find(|(device, _)| *device == context.id());
        if let Some(pinned) = mine.and_then(|(_, pinned)| pinned.upgrade()) {
            return Ok(pinned);
        }
        let pinned = Self::alone(context, rights)?;
        shared.push((context.id(), Arc::downgrade(&pinned)));
        Ok(pinned)
    }

    /// One that nobody else is given.
    ///
    /// # Errors
    /// The device's error number.
    pub fn alone(context: Context, rights: Rights) -> Result<Arc<Self>, i32> {
        let domain = Domain::new(context)?;
        Ok(Arc::new(Self { domain, rights, known: Mutex::default() }))
    }

    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    pub const fn rights(&self) -> Rights {
        self.rights
    }

    /// The registration of a region, made by the first who asks. Its owner keeps it mapped as long as anybody has it.
    ///
    /// # Errors
    /// The device's error number.
    pub fn region(&self, memory: Memory) -> Result<Arc<Region>, i32> {
        let mut known = lock(&self.known);
        known.retain(|(_, region)| region.strong_count() > 0);
        let same = known.iter().find(|(other, _)| *other == memory);
        if let Some(region) = same.and_then(|(_, region)| region.upgrade()) {
            return Ok(region);
        }
        let region = Arc::new(Region::new(&self.domain, memory, self.rights)?);
        known.push((memory, Arc::downgrade(&region)));
        Ok(region)
    }
}
