//! `Service`: the target as the control plane drives it, from threads that may wait.

mod hardware;
mod listen;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reactors::{CallError, Core, CoreId, Fleet};
use scsi::UnitAttention;
use thiserror::Error;

use crate::control::with_worker;
use crate::limits::DRAIN_SECONDS;
use crate::shared::Shared;
use crate::stats::CoreStats;
use crate::target::{Directory, Published, Target};
use crate::unit::Unit;
use crate::worker::{ConnInfo, PortalId, Worker};
use listen::Waiting;

/// How long to wait between two looks at whether something has drained.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Why the service could not do something.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// A core could not be reached.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A core could not be set up.
    #[error("cannot set up the target on core {core}: {error}")]
    Start {
        /// The core.
        core: CoreId,
        /// What the system said.
        error: io::Error,
    },
    /// A portal could not be opened.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// An RDMA device cannot serve a portal.
    #[error("cannot serve {address} over RDMA: {why}")]
    Device {
        /// The portal's address.
        address: SocketAddr,
        /// Why not.
        why: String,
    },
    /// A portal group has no open portals.
    #[error("portal group {0} is not open")]
    NotOpen(i32),
    /// Something still holds operations of what was removed.
    #[error("{what} did not come to rest within {DRAIN_SECONDS} s: a device does not complete its operations")]
    Drain {
        /// What.
        what: String,
    },
}

#[derive(Debug, Default)]
struct Group {
    /// Bound addresses, with the ports that were picked.
    addresses: Vec<SocketAddr>,
    /// RDMA devices it uses.
    devices: Vec<String>,
    /// Not accepting yet.
    waiting: Vec<Waiting>,
    open: Vec<(CoreId, PortalId)>,
}

/// The target on a fleet of reactors.
#[derive(Debug)]
pub struct Service {
    fleet: Arc<Fleet>,
    shared: Arc<Shared>,
    published: Mutex<Arc<Published>>,
    groups: Mutex<HashMap<i32, Group>>,
    next_portal: AtomicU32,
    soft: siw::Config,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is replaced whole or entry by entry: sound after a panic elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// Sets a worker up on every core. Soft-iWARP, where portals need it, behaves as `soft` says.
    ///
    /// # Errors
    /// When a core cannot be reached or is out of descriptors.
    pub fn start(fleet: Arc<Fleet>, directory: Arc<dyn Directory>, soft: siw::Config) -> Result<Self, ServiceError> {
        let shared = Shared::new(fleet.cores());
        let published = Arc::new(Published { generation: 0, directory, targets: Vec::new() });
        for id in fleet.core_ids() {
            let (shared, published) = (Arc::clone(&shared), Arc::clone(&published));
            let regions = fleet.arena().cache();
            let started = fleet.call(id, move |core: &mut Core| -> io::Result<()> {
                shared.watch(id, Arc::clone(core.stats()));
                let worker = Worker::new(shared, published, core.handle().clone(), regions)?;
                core.add_shared(worker).map_err(io::Error::other)?;
                Ok(())
            })?;
            started.map_err(|error| ServiceError::Start { core: id, error })?;
        }
        Ok(Self {
            fleet,
            shared,
            published: Mutex::new(published),
            groups: Mutex::default(),
            next_portal: AtomicU32::new(0),
            soft,
        })
    }

    /// Puts a configuration in force on every core. Returns once logical units and targets that are gone from it have
    /// drained.
    ///
    /// # Errors
    /// When a core cannot be reached, or something does not drain.
    pub fn publish(&self, directory: Arc<dyn Directory>, targets: Vec<Arc<Target>>) -> Result<(), ServiceError> {
        let mut current = lock(&self.published);
        let next = Arc::new(Published { generation: current.generation + 1, directory, targets });
        let old = core::mem::replace(&mut *current, Arc::clone(&next));
        drop(current);
        for id in self.fleet.core_ids() {
            let next = Arc::clone(&next);
            self.on_worker(id, move |worker, core| worker.publish(core, next))?;
        }
        let kept = |id| next.targets.iter().flat_map(|t| &t.luns).any(|(_, unit)| unit.id == id);
        for (_, unit) in old.targets.iter().flat_map(|t| &t.luns).filter(|(_, unit)| !kept(unit.id)) {
            let (id, name) = (unit.id, unit.bdev.name());
            self.await_rest(&format!("a logical unit on {name}"), move |worker| worker.uses_unit(id))?;
        }
        for target in old.targets.iter().filter(|t| next.target(t.handle).is_none()) {
            let handle = target.handle;
            self.await_rest(&target.name, move |worker| worker.serves_target(handle))?;
        }
        Ok(())
    }

    /// Where a group listens, with the ports that the system picked for port 0. Empty when the group is not open.
    #[must_use]
    pub fn addresses(&self, group: i32) -> Vec<SocketAddr> {
        lock(&self.groups).get(&group).map(|entry| entry.addresses.clone()).unwrap_or_default()
    }

    /// Stops listening and closes the connections that came in through the group.
    pub fn close_portals(&self, group: i32) {
        let Some(entry) = lock(&self.groups).remove(&group) else { return };
        for (core, portal) in entry.open {
            // A core that cannot be reached listens no more.
            let _ = self.on_worker(core, move |worker, _| worker.close_portal(portal));
        }
        for id in self.fleet.core_ids() {
            let _ = self.on_worker(id, move |worker, core| worker.close_group(core, group));
        }
        self.retire_devices(entry.devices);
    }

    /// Asks the initiators of a target to log out.
    pub fn request_logout(&self, handle: u32, portal_group: Option<i32>) {
        for id in self.fleet.core_ids() {
            let _ = self.on_worker(id, move |worker, core| worker.request_logout(core, handle, portal_group));
        }
    }

    /// The device behind `unit` has another size: every nexus hears of it.
    pub fn resized(&self, unit: &Arc<Unit>) {
        let blocks = unit.bdev.geometry().blocks;
        let (view, attention) = unit.change(|lu| match lu.resize(blocks) {
            Ok(attention) => (attention.is_some(), attention),
            Err(error) => {
                tracing::error!("a logical unit on {} keeps its capacity: {error}", unit.bdev.name());
                (false, None)
            }
        });
        let (Some(view), Some(attention)) = (view, attention) else { return };
        self.tell(unit.id, &view, attention);
    }

    fn tell(&self, id: u64, view: &Arc<scsi::LogicalUnit>, attention: UnitAttention) {
        // No session has this nexus: all of them hear it.
        let nobody = scsi::NexusId(0);
        for core in self.fleet.core_ids() {
            let view = Arc::clone(view);
            let _ = self.on_worker(core, move |worker, _| worker.unit_changed(id, &view, Some((attention, nobody))));
        }
    }

    /// All connections.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnInfo> {
        let cores = self.fleet.core_ids();
        cores.filter_map(|id| self.on_worker(id, |worker, _| worker.connections()).ok()).flatten().collect()
    }

    /// Sessions in the register, of targets and of discovery.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.shared.sessions.total()
    }

    /// The counters of every core.
    #[must_use]
    pub fn stats(&self) -> Vec<CoreStats> {
        self.fleet.core_ids().map(|id| self.on_worker(id, |worker, _| worker.stats()).unwrap_or_default()).collect()
    }

    /// Names of the block devices with a channel open on a core.
    #[must_use]
    pub fn channels(&self, core: CoreId) -> Vec<String> {
        self.on_worker(core, |worker, _| worker.channels()).unwrap_or_default()
    }

    fn await_rest(
        &self,
        what: &str,
        busy: impl Fn(&mut Worker) -> bool + Clone + Send + 'static,
    ) -> Result<(), ServiceError> {
        let deadline = Instant::now() + Duration::from_secs(DRAIN_SECONDS + 1);
        for id in self.fleet.core_ids() {
            loop {
                let busy = busy.clone();
                if !self.on_worker(id, move |worker, _| busy(worker))? {
                    break;
                }
                if Instant::now() >= deadline {
                    return Err(ServiceError::Drain { what: what.to_owned() });
                }
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        Ok(())
    }

    fn on_worker<R: Send + 'static>(
        &self,
        id: CoreId,
        f: impl FnOnce(&mut Worker, &mut Core) -> R + Send + 'static,
    ) -> Result<R, CallError> {
        let answer = self.fleet.call(id, move |core: &mut Core| with_worker(core, f))?;
        answer.ok_or(CallError::Stopped { core: id })
    }
}
