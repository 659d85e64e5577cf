//! `Arena`: where regions come from, and who is told of them.

use super::available::{MemInfo, room};
use super::lookup::RegionCache;
use super::map::Mapping;
use super::region::{Extent, Region, RegionId};
use super::{MemoryError, format_size};
use crate::cpu::CpuId;
use crate::limits::MAX_REGIONS;
use crate::panics::guarded;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which pages to use (`--hugepages`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Hugepages {
    /// Huge pages if enough are reserved, else plain ones with one warning.
    #[default]
    Auto,
    /// Huge pages or nothing.
    Require,
    /// Plain pages.
    Off,
}

impl FromStr for Hugepages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "require" => Ok(Self::Require),
            "off" => Ok(Self::Off),
            other => Err(format!("'{other}' is not a huge page policy; write auto, require or off")),
        }
    }
}

/// Somebody who must know memory before a device may use it: an RDMA provider, an io_uring. Told of every region,
/// also of those that exist when it joins, in the order they appear and disappear. Called from control-plane threads,
/// with the arena's lock held: do not call the arena back from within.
pub trait Registrar: Send + Sync {
    /// The region exists from now on.
    fn added(&self, region: &Extent);
    /// The region is unmapped when this returns. Nothing in it is in use any more.
    fn removed(&self, region: &Extent);
}

/// Hands out regions. Cheap to clone, usable from any thread; not on the data path.
#[derive(Clone, Debug)]
pub struct Arena {
    policy: Hugepages,
    ledger: Arc<Ledger>,
}

/// Which regions there are. Outlives the arena as long as a region does.
pub(super) struct Ledger {
    book: Mutex<Book>,
    /// Changes whenever the regions do.
    generation: AtomicU64,
    warned_fallback: AtomicBool,
    warned_lock: AtomicBool,
}

struct Book {
    next: u64,
    /// By rising address.
    regions: Arc<[Extent]>,
    registrars: Vec<Arc<dyn Registrar>>,
}

impl Arena {
    /// An arena without regions.
    #[must_use]
    pub fn new(policy: Hugepages) -> Self {
        let book = Book { next: 0, regions: Arc::default(), registrars: Vec::new() };
        let ledger = Ledger {
            book: Mutex::new(book),
            generation: AtomicU64::new(0),
            warned_fallback: AtomicBool::new(false),
            warned_lock: AtomicBool::new(false),
        };
        Self { policy, ledger: Arc::new(ledger) }
    }

    /// A new zeroed region of at least `bytes` bytes, backed by memory in full, locked if the process may do so.
    ///
    /// # Errors
    /// [`MemoryError`]; in particular a shortage is refused before any memory is touched.
    pub fn region(&self, bytes: usize) -> Result<Region, MemoryError> {
        self.region_near(bytes, &[])
    }

    /// As [`Arena::region`], with an equal part backed from each of `cpus`, so that [`Region::split`] into as many
    /// parts gives each CPU memory of its own node.
    ///
    /// # Errors
    /// As [`Arena::region`].
    pub fn region_near(&self, bytes: usize, cpus: &[CpuId]) -> Result<Region, MemoryError> {
        if bytes == 0 || isize::try_from(bytes).is_err() {
            return Err(MemoryError::Size { asked: bytes });
        }
        let mapping = self.map(bytes, cpus)?;
        if let Err(why) = mapping.lock() {
            self.warn_unlocked(&why);
        }
        self.ledger.add(mapping)
    }

    /// Tells `registrar` of all regions, present and future.
    pub fn register(&self, registrar: Arc<dyn Registrar>) {
        let mut book = self.ledger.lock();
        for region in book.regions.iter() {
            registrar.added(region);
        }
        book.registrars.push(registrar);
    }

    /// All regions, by rising address.
    #[must_use]
    pub fn regions(&self) -> Arc<[Extent]> {
        self.ledger.lock().regions.clone()
    }

    /// A look-up of regions by address for the data path of one core.
    #[must_use]
    pub fn cache(&self) -> RegionCache {
        RegionCache::new(self.ledger.clone())
    }

    fn map(&self, bytes: usize, cpus: &[CpuId]) -> Result<Mapping, MemoryError> {
        let info = MemInfo::read();
        if self.policy != Hugepages::Off {
            match self.map_huge(bytes, &info, cpus) {
                Ok(mapping) => return Ok(mapping),
                Err(e) if self.policy == Hugepages::Require => return Err(e),
                Err(e) => self.warn_fallback(&e),
            }
        }
        if let Some(room) = room(&info).filter(|room| room.bytes < bytes) {
            return Err(MemoryError::Short { asked: bytes, available: room.bytes, whose: room.whose });
        }
        let failed = |why| MemoryError::Kernel { asked: bytes, why };
        let mapping = Mapping::plain(bytes).map_err(failed)?;
        mapping.populate(cpus).map_err(failed)?;
        Ok(mapping)
    }

    fn map_huge(&self, bytes: usize, info: &MemInfo, cpus: &[CpuId]) -> Result<Mapping, MemoryError> {
        let size = info.huge_page_size.ok_or(MemoryError::Unsupported)?;
        let Some(mapping) = Mapping::huge(bytes, info) else {
            let free = info.huge_free();
            let missing = bytes.saturating_sub(free).div_ceil(size).max(1);
            let pages = info.huge_pages_total.saturating_add(missing);
            return Err(MemoryError::NoHugePages { asked: bytes, free, pages });
        };
        // Reserved pages can still be denied to this process by a control group.
        mapping.populate(cpus).map_err(|why| MemoryError::Kernel { asked: bytes, why })?;
        Ok(mapping)
    }

    fn warn_fallback(&self, why: &MemoryError) {
        if self.ledger.warned_fallback.swap(true, Ordering::Relaxed) {
            return;
        }
        match why {
            MemoryError::NoHugePages { asked, free, pages } => tracing::warn!(
                "using plain pages: {} are wanted and {} of huge pages are free; for steadier latency run \
                 `sysctl vm.nr_hugepages={pages}` before starting, or silence this with --hugepages off",
                format_size(*asked),
                format_size(*free)
            ),
            other => tracing::warn!("using plain pages: {other}; silence this with --hugepages off"),
        }
    }

    fn warn_unlocked(&self, why: &std::io::Error) {
        if !self.ledger.warned_lock.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "cannot lock memory ({why}), so it may be swapped out and RDMA devices may refuse it; raise the limit \
                 with `ulimit -l unlimited` or LimitMEMLOCK=infinity, or grant CAP_IPC_LOCK"
            );
        }
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn snapshot(&self) -> (u64, Arc<[Extent]>) {
        let book = self.lock();
        (self.generation(), book.regions.clone())
    }

    fn add(self: &Arc<Self>, mapping: Mapping) -> Result<Region, MemoryError> {
        let mut book = self.lock();
        if book.regions.len() >= MAX_REGIONS {
            return Err(MemoryError::TooMany { limit: MAX_REGIONS });
        }
        let id = RegionId(book.next);
        book.next += 1;
        let extent = Extent { id, addr: mapping.as_ptr().as_ptr().addr(), len: mapping.len() };
        let mut regions = book.regions.to_vec();
        regions.insert(regions.partition_point(|r| r.addr < extent.addr), extent);
        self.publish(&mut book, regions.into(), |registrar| registrar.added(&extent));
        // Made last: its destructor takes the lock.
        drop(book);
        Ok(Region::new(extent, mapping, self.clone()))
    }

    pub(super) fn remove(&self, extent: Extent) {
        let mut book = self.lock();
        let regions = book.regions.iter().copied().filter(|r| r.id != extent.id).collect();
        self.publish(&mut book, regions, |registrar| registrar.removed(&extent));
    }

    fn publish(&self, book: &mut Book, regions: Arc<[Extent]>, tell: impl Fn(&dyn Registrar)) {
        book.regions = regions;
        self.generation.fetch_add(1, Ordering::Release);
        for registrar in &book.registrars {
            if let Err(message) = guarded(|| tell(&**registrar)) {
                tracing::error!(message, "a memory registrar panicked");
            }
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let book = self.lock();
        let registrars = book.registrars.len();
        f.debug_struct("Arena").field("regions", &book.regions).field("registrars", &registrars).finish()
    }
}
