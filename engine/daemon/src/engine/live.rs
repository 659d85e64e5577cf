//! The engine that is real: a fleet of reactors, block devices, targets.

use super::devices::Devices;
use super::targets::Targets;
use super::*;
use crate::cli::serve::{self, ServeArgs};
use crate::limits::SHUTDOWN_WAIT;
use reactors::pools::ClassStats;
use reactors::{Class, Core, CoreId, CpuList, Fleet, FleetConfig, Hugepages, Idle};
use std::error::Error;

/// Starts the cores that the arguments ask for.
///
/// # Errors
/// CPUs or memory that are not there.
pub fn start(args: &ServeArgs) -> Result<Box<dyn Engine>, Box<dyn Error>> {
    let fleet = Arc::new(Fleet::start(configuration(args)?)?);
    let tids = fleet.core_ids().map(|core| thread_id(&fleet, core)).collect::<Result<_, _>>()?;
    let devices = Devices::new(fleet.arena().clone());
    let targets = Targets::start(&fleet, devices.registry(), soft_iwarp(args))?;
    Ok(Box::new(Live { fleet, tids, devices, targets }))
}

fn configuration(args: &ServeArgs) -> Result<FleetConfig, Box<dyn Error>> {
    let mut config = match &args.cores {
        Some(text) => FleetConfig::on(CpuList::parse(text).map_err(|error| format!("--cores: {error}"))?),
        None => FleetConfig::first(1)?,
    };
    config.idle = match args.idle {
        serve::Idle::Auto => Idle::Auto,
        serve::Idle::Spin => Idle::Spin,
        serve::Idle::Adaptive => Idle::Adaptive,
    };
    config.memory.pools = usize::try_from(args.memory)?;
    config.memory.hugepages = match args.hugepages {
        serve::HugePages::Auto => Hugepages::Auto,
        serve::HugePages::Require => Hugepages::Require,
        serve::HugePages::Off => Hugepages::Off,
    };
    Ok(config)
}

fn soft_iwarp(args: &ServeArgs) -> siw::Config {
    let crc = match args.siw_crc {
        serve::Crc::IfAsked => siw::Crc::IfAsked,
        serve::Crc::Always => siw::Crc::Always,
    };
    siw::Config { crc, ..siw::Config::default() }
}

fn thread_id(fleet: &Fleet, core: CoreId) -> Result<u64, reactors::CallError> {
    // SAFETY: gettid(2) has no arguments and no effects.
    fleet.call(core, |_| unsafe { libc::gettid() } as u64)
}

#[derive(Debug)]
struct Live {
    fleet: Arc<Fleet>,
    /// Kernel thread ids, by core.
    tids: Vec<u64>,
    devices: Devices,
    targets: Targets,
}

impl Live {
    fn core_info(&self, core: CoreId) -> Option<CoreInfo> {
        let stats = self.fleet.stats(core)?;
        let pollers = self.fleet.pollers(core)?;
        let poller = |poller: reactors::stats::PollerSnapshot| PollerInfo {
            id: poller.id.0,
            name: poller.name.to_owned(),
            polls: poller.polls,
            busy_polls: poller.busy_polls,
        };
        Some(CoreInfo {
            core: u32::from(core.0),
            cpu: u32::from(self.fleet.cpu(core)?.0),
            tid: self.tids.get(core.index()).copied().unwrap_or_default(),
            busy: stats.busy_ticks,
            idle: stats.idle_ticks,
            turns: stats.turns,
            pollers: pollers.into_iter().map(poller).collect(),
            // A core that does not answer is shown without its pools.
            pools: self.fleet.call(core, |core| pools(core)).unwrap_or_default(),
        })
    }
}

fn pools(core: &Core) -> Vec<PoolInfo> {
    let of = |class: Class| {
        let ClassStats { capacity, free, taken, exhausted, .. } = core.pools.stats(class);
        PoolInfo { buffer_bytes: class.size() as u64, total: capacity as u64, free: free as u64, taken, exhausted }
    };
    vec![of(Class::Small), of(Class::Large)]
}

impl Engine for Live {
    fn create_bdev(&self, spec: &BdevSpec) -> Result<(), EngineError> {
        self.devices.create(spec)
    }

    fn delete_bdev(&self, name: &str) -> Result<(), EngineError> {
        self.devices.delete(name)
    }

    fn alter_bdev(&self, name: &str, change: &BdevChange) -> Result<(), EngineError> {
        self.devices.alter(name, change)
    }

    fn bdev(&self, name: &str) -> Option<BdevInfo> {
        self.devices.info(name)
    }

    fn bdev_stats(&self, name: &str) -> DeviceCounts {
        self.devices.stats(name)
    }

    fn reset_bdev_stats(&self, name: &str, what: ResetStats) {
        self.devices.reset_stats(name, what);
    }

    fn open_portals(&self, group: &PortalGroup) -> Result<(), EngineError> {
        self.targets.open_portals(group)
    }

    fn start_portals(&self, tag: i32) -> Result<(), EngineError> {
        self.targets.start_portals(tag)
    }

    fn close_portals(&self, tag: i32) {
        self.targets.close_portals(tag);
    }

    fn publish(&self, model: &Arc<Model>) -> Result<(), EngineError> {
        self.targets.publish(model)
    }

    fn request_logout(&self, target: &str, pg_tag: Option<i32>) {
        self.targets.request_logout(target, pg_tag);
    }

    fn connections(&self) -> Vec<ConnectionInfo> {
        self.targets.connections()
    }

    fn cores(&self) -> Vec<CoreInfo> {
        self.fleet.core_ids().filter_map(|core| self.core_info(core)).collect()
    }

    fn protocol_stats(&self) -> Vec<ProtocolStats> {
        self.targets.stats()
    }

    fn failure_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fleet.failure_fd())
    }

    fn shutdown(&self) {
        if let Some(failure) = self.fleet.failure() {
            tracing::error!("{failure}");
        }
        let report = self.fleet.shutdown(SHUTDOWN_WAIT);
        if !report.is_clean() {
            tracing::warn!("{report}");
        }
    }
}

#[cfg(test)]
mod tests;
