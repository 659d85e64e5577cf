//! An engine that does nothing: a configuration is tried on it before it is applied, so that a file with a mistake in
//! its last line changes nothing. It keeps the block devices and portals it is told of, and none of them is real.

use super::*;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// See the module's description.
#[derive(Debug, Default)]
pub struct Rehearsal {
    bdevs: Mutex<BTreeMap<String, BdevSpec>>,
    /// How often publishing still succeeds; for ever if absent.
    #[cfg(test)]
    publishes_left: Option<std::sync::atomic::AtomicUsize>,
}

impl Rehearsal {
    /// An engine that refuses to publish after so many times.
    #[cfg(test)]
    pub fn publishing(times: usize) -> Self {
        Self { publishes_left: Some(times.into()), ..Self::default() }
    }

    /// An engine that already has these devices.
    pub fn with(bdevs: &[BdevSpec]) -> Self {
        let bdevs = bdevs.iter().map(|spec| (spec.name().to_owned(), spec.clone())).collect();
        Self {
            bdevs: Mutex::new(bdevs),
            #[cfg(test)]
            publishes_left: None,
        }
    }

    fn bdevs(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, BdevSpec>> {
        self.bdevs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Rehearsal {
    fn create_bdev(&self, spec: &BdevSpec) -> Result<(), EngineError> {
        self.bdevs().insert(spec.name().to_owned(), spec.clone());
        Ok(())
    }

    fn delete_bdev(&self, name: &str) -> Result<(), EngineError> {
        self.bdevs().remove(name).map(drop).ok_or_else(|| EngineError::new(libc::ENODEV, name))
    }

    fn alter_bdev(&self, name: &str, change: &BdevChange) -> Result<(), EngineError> {
        let mut bdevs = self.bdevs();
        let spec = bdevs.get_mut(name).ok_or_else(|| EngineError::new(libc::ENODEV, name))?;
        if let (BdevSpec::Null(null), BdevChange::Resize(blocks)) = (spec, change) {
            null.num_blocks = *blocks;
        }
        Ok(())
    }

    fn bdev(&self, name: &str) -> Option<BdevInfo> {
        let bdevs = self.bdevs();
        let spec = bdevs.get(name)?;
        let (product, block_size, blocks) = match spec {
            BdevSpec::Malloc(malloc) => ("Malloc disk", malloc.block_size, malloc.num_blocks),
            BdevSpec::Null(null) => ("Null disk", null.block_size, null.num_blocks),
            BdevSpec::Uring(_) => ("URING bdev", 512, 0),
            BdevSpec::Aio(_) => ("AIO disk", 512, 0),
            BdevSpec::Delay(_) => ("delay", 512, 0),
            BdevSpec::Error(_) => ("Error Injection Disk", 512, 0),
        };
        Some(BdevInfo {
            product,
            block_size,
            blocks,
            uuid: spec.uuid(),
            read_only: false,
            write: true,
            flush: true,
            unmap: true,
            write_zeroes: true,
            unmap_granularity: 1,
            optimal_io_blocks: 0,
        })
    }

    fn bdev_stats(&self, _: &str) -> DeviceCounts {
        DeviceCounts::default()
    }

    fn reset_bdev_stats(&self, _: &str, _: ResetStats) {}

    fn open_portals(&self, _: &PortalGroup) -> Result<(), EngineError> {
        Ok(())
    }

    fn start_portals(&self, _: i32) -> Result<(), EngineError> {
        Ok(())
    }

    fn close_portals(&self, _: i32) {}

    fn publish(&self, _: &Arc<Model>) -> Result<(), EngineError> {
        #[cfg(test)]
        if let Some(left) = &self.publishes_left {
            use std::sync::atomic::Ordering::Relaxed;
            let left = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
            return left.map(drop).map_err(|_| EngineError::new(libc::EIO, "publishing"));
        }
        Ok(())
    }

    fn request_logout(&self, _: &str, _: Option<i32>) {}

    fn connections(&self) -> Vec<ConnectionInfo> {
        Vec::new()
    }

    fn cores(&self) -> Vec<CoreInfo> {
        Vec::new()
    }

    fn protocol_stats(&self) -> Vec<ProtocolStats> {
        Vec::new()
    }

    fn shutdown(&self) {}
}
