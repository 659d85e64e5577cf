//! Opening portals: what listens where is decided on the control plane, and served by cores.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use iscsi_tcp::listen::Listener;
use reactors::{Core, CoreId, Pools, RegionChanges};
use siw::Siw;

use super::hardware::{self, Found};
use super::{Group, Service, ServiceError, lock};
use crate::device::{Device, Over};
use crate::portal::{Carrier, Hardware, Plan, PortalSpec, Serves, Speaks, Want};
use crate::worker::{PortalId, SOFT_IWARP};

/// Something that can listen and does not yet.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A bound socket.
    Tcp(Listener, Serves),
    /// A device in service on every core. Its address is taken only when it listens.
    Device { found: Found, want: Want },
}

impl Service {
    /// Binds the portals of a group. Unless `wait`, they accept at once. All or none.
    ///
    /// # Errors
    /// An address is in use or not ours, or what a portal is to serve cannot be served.
    pub fn open_portals(&self, group: i32, portals: &[PortalSpec], wait: bool) -> Result<(), ServiceError> {
        let mut entry = Group::default();
        let prepared = portals.iter().try_for_each(|portal| self.prepare(portal, &mut entry));
        if let Err(error) = prepared {
            self.retire_devices(entry.devices);
            return Err(error);
        }
        lock(&self.groups).insert(group, entry);
        if wait {
            return Ok(());
        }
        self.start_portals(group).inspect_err(|_| self.close_portals(group))
    }

    fn prepare(&self, portal: &PortalSpec, entry: &mut Group) -> Result<(), ServiceError> {
        let found = suitable(portal, hardware::find(portal.address));
        let mut plan = Plan::new(portal, found.first().map(|found| found.kind));
        if let Some(want) = plan.verbs
            && let Err(error) = self.prepare_devices(portal.address, found, want, entry)
        {
            if portal.speaks != Speaks::Auto || portal.carrier != Carrier::Auto {
                return Err(error);
            }
            tracing::warn!("{error}; it is served over TCP instead");
            plan = Plan::new(portal, None);
        }
        match plan.tcp {
            Some((want, serves)) => self.prepare_tcp(portal.address, want, serves, entry),
            None => Ok(()),
        }
    }

    fn prepare_devices(
        &self,
        address: SocketAddr,
        found: Vec<Found>,
        want: Want,
        entry: &mut Group,
    ) -> Result<(), ServiceError> {
        if found.is_empty() && want == Want::Must {
            return Err(ServiceError::Device { address, why: hardware::why_not(address) });
        }
        for found in found {
            let name = found.name.clone();
            match self.add_device(&found.name, move |regions, pools| hardware::open(&name, regions, pools)) {
                Ok(()) => {
                    entry.addresses.push(found.at);
                    entry.devices.push(found.name.clone());
                    entry.waiting.push(Waiting::Device { found, want });
                }
                Err(error) if want == Want::Must => {
                    return Err(ServiceError::Device { address, why: error.to_string() });
                }
                Err(error) => tracing::warn!(device = found.name, "{address} is not served by it: {error}"),
            }
        }
        Ok(())
    }

    fn prepare_tcp(
        &self,
        address: SocketAddr,
        want: Want,
        mut serves: Serves,
        entry: &mut Group,
    ) -> Result<(), ServiceError> {
        let bound = Listener::bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = match bound {
            Ok(bound) => bound,
            Err(error) if want == Want::May => {
                tracing::info!("{address} is not served over TCP: {error}");
                return Ok(());
            }
            Err(error) => return Err(ServiceError::Listen { address, error }),
        };
        if serves.mpa {
            match self.add_soft_iwarp() {
                Ok(()) => entry.devices.push(SOFT_IWARP.to_owned()),
                Err(error) if !serves.iscsi => {
                    return Err(ServiceError::Device { address, why: error.to_string() });
                }
                Err(error) => {
                    tracing::warn!("{address} serves iSCSI over TCP only: soft-iWARP is not to be had: {error}");
                    serves.mpa = false;
                }
            }
        }
        if !entry.addresses.contains(&address) {
            entry.addresses.push(address);
        }
        entry.waiting.push(Waiting::Tcp(listener, serves));
        Ok(())
    }

    fn add_soft_iwarp(&self) -> io::Result<()> {
        let config = self.soft;
        self.add_device(SOFT_IWARP, move |regions, pools| {
            let siw = Siw::new(config).map_err(io::Error::other)?;
            let device = Over::new(SOFT_IWARP.to_owned(), siw, regions, pools).map_err(io::Error::other)?;
            Ok(Box::new(device))
        })
    }

    /// Puts a device into service on every core where it is not yet.
    fn add_device(
        &self,
        name: &str,
        make: impl Fn(&RegionChanges, &mut Pools) -> io::Result<Box<dyn Device>> + Clone + Send + 'static,
    ) -> io::Result<()> {
        for id in self.fleet.core_ids() {
            let (name, make) = (name.to_owned(), make.clone());
            let added =
                self.on_worker(id, move |worker, core: &mut Core| worker.add_device(&name, &mut core.pools, make));
            added.map_err(io::Error::other)??;
        }
        Ok(())
    }

    /// Takes devices out of service that no group uses any more.
    pub(super) fn retire_devices(&self, devices: Vec<String>) {
        let groups = lock(&self.groups);
        let unused = devices.into_iter().filter(|name| !groups.values().any(|group| group.devices.contains(name)));
        for (name, id) in unused.flat_map(|name| self.fleet.core_ids().map(move |id| (name.clone(), id))) {
            // A core that cannot be reached drives no device any more.
            let _ = self.on_worker(id, move |worker, core| worker.retire_device(&name, &mut core.pools));
        }
    }

    /// Lets the portals of a group accept. Each is served by one core, the next by the next; the connections they
    /// accept spread over all cores.
    ///
    /// # Errors
    /// The group is not open, a device refuses to listen, or a core cannot be reached.
    pub fn start_portals(&self, group: i32) -> Result<(), ServiceError> {
        let mut groups = lock(&self.groups);
        let entry = groups.get_mut(&group).ok_or(ServiceError::NotOpen(group))?;
        for waiting in core::mem::take(&mut entry.waiting) {
            let portal = PortalId(self.next_portal.fetch_add(1, Ordering::Relaxed));
            let core = CoreId((portal.0 as usize % self.fleet.cores()) as u16);
            match waiting {
                Waiting::Tcp(listener, serves) => {
                    let opened =
                        self.on_worker(core, move |worker, _| worker.open_portal(portal, group, listener, serves))?;
                    opened.map_err(|error| ServiceError::Start { core, error })?;
                }
                Waiting::Device { found, want } => {
                    let Found { name, at, .. } = found;
                    let listening = self.on_worker(core, move |worker, _| worker.listen(portal, group, &name, at))?;
                    match listening {
                        Ok(()) => {}
                        Err(error) if want == Want::May => tracing::warn!("{at} is not served over RDMA: {error}"),
                        Err(error) => return Err(ServiceError::Device { address: at, why: error.to_string() }),
                    }
                }
            }
            entry.open.push((core, portal));
        }
        Ok(())
    }
}

/// The devices a portal uses if it may choose. A wildcard address leaves iWARP devices alone: one would take the port
/// from TCP, where soft-iWARP serves their initiators as well.
fn suitable(portal: &PortalSpec, mut found: Vec<Found>) -> Vec<Found> {
    if portal.address.ip().is_unspecified() && portal.carrier == Carrier::Auto {
        found.retain(|found| found.kind != Hardware::Iwarp);
    }
    found
}
