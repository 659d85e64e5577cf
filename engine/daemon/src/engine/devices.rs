//! Block devices of the running engine: the registry, and the right of each layer to its base.

use super::{BdevChange, BdevInfo, BdevStats, DeviceCounts, EngineError, InjectOn, InjectWhat, Injection, LatencyKind};
use super::{OpStats, ResetStats, Throttled};
use crate::limits::BDEV_DELETE_WAIT;
use crate::model::bdev::{BdevSpec, RateLimits, Uuid};
use bdev::layer::delay::{DelayParams, LatencyType};
use bdev::layer::error::{self, ErrorType};
use bdev::malloc::MallocParams;
use bdev::null::NullParams;
use bdev::qos::Throttling;
use bdev::registry::{Claim, RegistryError, User};
use bdev::stats::{IoStat, OpStat, ResetMode};
use bdev::uring::UringParams;
use bdev::{Bdev, CreateError, Delay, ErrorInjector, Malloc, Null, Op, Registry, Uring};
use reactors::Arena;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

impl From<CreateError> for EngineError {
    fn from(error: CreateError) -> Self {
        Self::new(error.errno(), error.to_string())
    }
}

impl From<RegistryError> for EngineError {
    fn from(error: RegistryError) -> Self {
        Self::new(error.errno(), error.to_string())
    }
}

/// All block devices.
#[derive(Debug)]
pub struct Devices {
    registry: Registry,
    arena: Arena,
    /// By the layer's name: its claim on the device below.
    bases: Mutex<BTreeMap<String, Claim>>,
}

impl Devices {
    /// No devices; media and buffers come from `arena`.
    pub fn new(arena: Arena) -> Self {
        Self { registry: Registry::new(), arena, bases: Mutex::default() }
    }

    /// Where logical units find their devices.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// See [`super::Engine::create_bdev`].
    pub fn create(&self, spec: &BdevSpec) -> Result<(), EngineError> {
        let claim = match spec.base() {
            Some(base) => Some(self.registry.claim(base, User::Layer(spec.name().to_owned()))?),
            None => None,
        };
        self.registry.register(self.make(spec)?)?;
        if let Some(claim) = claim {
            self.bases().insert(spec.name().to_owned(), claim);
        }
        Ok(())
    }

    fn make(&self, spec: &BdevSpec) -> Result<Arc<dyn Bdev>, EngineError> {
        let uuid = Some(spec.uuid().0);
        let name = spec.name().to_owned();
        Ok(match spec {
            BdevSpec::Malloc(malloc) => {
                let params = MallocParams {
                    name,
                    block_size: malloc.block_size,
                    num_blocks: malloc.num_blocks,
                    uuid,
                    physical_block_size: Some(malloc.physical_block_size).filter(|size| *size != 0),
                    optimal_io_boundary: malloc.optimal_io_boundary,
                };
                Malloc::create(&params, &self.arena)?
            }
            BdevSpec::Null(null) => {
                let params = NullParams {
                    name,
                    block_size: null.block_size,
                    num_blocks: null.num_blocks,
                    uuid,
                    physical_block_size: Some(null.physical_block_size).filter(|size| *size != 0),
                    read_only: false,
                };
                Null::create_lending(&params, &self.arena)?
            }
            BdevSpec::Uring(uring) => self.open_file(name, uuid, &uring.filename, uring.block_size, false)?,
            BdevSpec::Aio(aio) => self.open_file(name, uuid, &aio.filename, aio.block_size, aio.readonly)?,
            BdevSpec::Delay(delay) => {
                let latency_us =
                    [delay.avg_read_latency, delay.p99_read_latency, delay.avg_write_latency, delay.p99_write_latency];
                Delay::create(&DelayParams { name, uuid, latency_us }, self.underlay(&delay.base_bdev_name)?)?
            }
            BdevSpec::Error(layer) => ErrorInjector::create(&name, uuid, self.underlay(&layer.base_name)?)?,
        })
    }

    fn open_file(
        &self,
        name: String,
        uuid: Option<[u8; 16]>,
        filename: &str,
        block_size: u32,
        read_only: bool,
    ) -> Result<Arc<dyn Bdev>, EngineError> {
        let block_size = Some(block_size).filter(|size| *size != 0);
        let (filename, buffered, poll) = (filename.into(), false, false);
        Ok(Uring::create(&UringParams { name, filename, block_size, uuid, read_only, buffered, poll }, &self.arena)?)
    }

    /// See [`super::Engine::delete_bdev`].
    pub fn delete(&self, name: &str) -> Result<(), EngineError> {
        self.registry.unregister(name)?;
        let deadline = Instant::now() + BDEV_DELETE_WAIT;
        while self.registry.get(name).is_some() {
            if Instant::now() >= deadline {
                return Err(EngineError::new(libc::EBUSY, format!("block device {name} still has operations")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.bases().remove(name);
        Ok(())
    }

    /// See [`super::Engine::alter_bdev`].
    pub fn alter(&self, name: &str, change: &BdevChange) -> Result<(), EngineError> {
        match change {
            BdevChange::Resize(blocks) => {
                self.get_as::<Null>(name)?.resize(*blocks)?;
                self.registry.resized(name);
            }
            BdevChange::Rescan => {
                self.get_as::<Uring>(name)?.rescan()?;
                self.registry.resized(name);
            }
            BdevChange::Latency(kind, latency) => {
                let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                self.get_as::<Delay>(name)?.set_latency(latency_type(*kind), us)?;
            }
            BdevChange::Limit(limits) => self.registry.set_limits(name, rate_limits(limits))?,
            BdevChange::Inject(injection) => inject(&*self.get_as::<ErrorInjector>(name)?, injection)?,
            BdevChange::ResumePending => self.get_as::<ErrorInjector>(name)?.resume_pending(),
        }
        Ok(())
    }

    /// See [`super::Engine::bdev`].
    pub fn info(&self, name: &str) -> Option<BdevInfo> {
        let bdev = self.registry.get(name)?;
        let (geometry, features) = (bdev.geometry(), bdev.features());
        Some(BdevInfo {
            product: bdev.product(),
            block_size: geometry.block_size,
            blocks: geometry.blocks,
            uuid: Uuid(bdev.uuid()),
            read_only: geometry.read_only,
            write: features.write,
            flush: features.flush,
            unmap: features.unmap,
            write_zeroes: features.write_zeroes,
            unmap_granularity: geometry.unmap_granularity,
            optimal_io_blocks: geometry.optimal_io_blocks,
        })
    }

    /// See [`super::Engine::bdev_stats`]. A device that is gone has counted nothing.
    pub fn stats(&self, name: &str) -> DeviceCounts {
        let read = |stats: &bdev::stats::DeviceStats| DeviceCounts {
            total: bdev_stats(&stats.get()),
            channels: stats.per_channel().iter().map(bdev_stats).collect(),
            throttled: self.registry.throttling(name).map(throttled).unwrap_or_default(),
        };
        self.registry.with_stats(name, read).unwrap_or_default()
    }

    /// See [`super::Engine::reset_bdev_stats`].
    pub fn reset_stats(&self, name: &str, what: ResetStats) {
        let mode = match what {
            ResetStats::All => ResetMode::All,
            ResetStats::Maxmin => ResetMode::MaxMin,
            // Errors are part of all counts and have no reset of their own.
            ResetStats::Error | ResetStats::None => return,
        };
        // A device that is gone has nothing to reset.
        let _ = self.registry.with_stats(name, |stats| stats.reset(mode));
        if mode == ResetMode::All {
            let _ = self.registry.reset_throttling(name);
        }
    }

    fn get(&self, name: &str) -> Result<Arc<dyn Bdev>, EngineError> {
        self.registry.get(name).ok_or_else(|| EngineError::new(libc::ENODEV, name))
    }

    /// The device, for a layer to be built on.
    fn underlay(&self, name: &str) -> Result<Arc<dyn Bdev>, EngineError> {
        self.registry.underlay(name).ok_or_else(|| EngineError::new(libc::ENODEV, name))
    }

    fn get_as<T: Bdev>(&self, name: &str) -> Result<Arc<T>, EngineError> {
        self.get(name)?;
        let wrong_kind = || EngineError::new(libc::EINVAL, format!("block device {name} is of another kind"));
        self.registry.get_as(name).ok_or_else(wrong_kind)
    }

    fn bases(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Claim>> {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn latency_type(kind: LatencyKind) -> LatencyType {
    match kind {
        LatencyKind::AvgRead => LatencyType::AvgRead,
        LatencyKind::P99Read => LatencyType::P99Read,
        LatencyKind::AvgWrite => LatencyType::AvgWrite,
        LatencyKind::P99Write => LatencyType::P99Write,
    }
}

fn inject(injector: &ErrorInjector, injection: &Injection) -> Result<(), EngineError> {
    let unsupported = |what: &str| Err(EngineError::new(libc::ENOTSUP, what));
    let op = match injection.on {
        InjectOn::Clear => {
            injector.clear();
            return Ok(());
        }
        InjectOn::Read => Some(Op::Read),
        InjectOn::Write => Some(Op::Write),
        InjectOn::Unmap => Some(Op::Unmap),
        InjectOn::Flush => Some(Op::Flush),
        InjectOn::All => None,
    };
    if injection.queue_depth != 0 {
        return unsupported("queue_depth: expected 0");
    }
    let error = match injection.what {
        InjectWhat::Failure => ErrorType::Failure,
        InjectWhat::Pending => ErrorType::Pending,
        InjectWhat::CorruptData => {
            ErrorType::CorruptData { offset: injection.corrupt_offset, value: injection.corrupt_value }
        }
        InjectWhat::Nomem => ErrorType::NoMemory,
        InjectWhat::NvmeFailure => return unsupported("error_type: nvme_failure"),
    };
    let Injection { count, range, .. } = *injection;
    Ok(injector.inject(error::Injection { op, error, count, range })?)
}

fn rate_limits(limits: &RateLimits) -> bdev::RateLimits {
    let RateLimits { rw_ios_per_sec, rw_mbytes_per_sec, r_mbytes_per_sec, w_mbytes_per_sec } = *limits;
    bdev::RateLimits { rw_ios_per_sec, rw_mbytes_per_sec, r_mbytes_per_sec, w_mbytes_per_sec }
}

fn throttled(throttling: Throttling) -> Throttled {
    Throttled { ops: throttling.ops, wait: throttling.wait_ns, waiting: throttling.waiting }
}

fn bdev_stats(stat: &IoStat) -> BdevStats {
    let of = |op| op_stats(stat.of(op));
    BdevStats { read: of(Op::Read), write: of(Op::Write), unmap: of(Op::Unmap), flush: of(Op::Flush) }
}

fn op_stats(stat: &OpStat) -> OpStats {
    OpStats {
        ops: stat.ops,
        bytes: stat.bytes,
        errors: stat.errors,
        latency: stat.latency_ns,
        max_latency: stat.max_latency_ns,
        min_latency: stat.min_latency_ns,
    }
}

#[cfg(test)]
mod tests;
