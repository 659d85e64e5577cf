//! Portals, sessions and logical units of the running engine.

use super::directory::ModelDirectory;
use super::*;
use crate::model::TargetNode;
use crate::model::portal::{Portal, Provider, Transport};
use bdev::registry::{Claim, Event, User};
use bdev::{Bdev, Registry};
use reactors::Fleet;
use scsi::{Identity, LogicalUnit};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use target::portal::{Carrier, PortalSpec, Speaks};
use target::service::{Service, ServiceError};
use target::stats::{CoreStats, Latency};
use target::target::Target;
use target::unit::{Unit, medium};
use target::worker::ConnInfo;

/// The protocol side of the engine.
#[derive(Debug)]
pub struct Targets {
    registry: Registry,
    service: Arc<Service>,
    live: Arc<Mutex<LiveTargets>>,
}

/// What is published, and what it holds on to.
#[derive(Debug, Default)]
struct LiveTargets {
    targets: BTreeMap<String, Arc<Target>>,
    /// By the unit's identity.
    claims: BTreeMap<u64, Claim>,
    next_handle: u32,
    next_unit: u64,
}

impl From<ServiceError> for EngineError {
    fn from(error: ServiceError) -> Self {
        let errno = match &error {
            ServiceError::Listen { error, .. } => error.raw_os_error().unwrap_or(libc::EIO),
            ServiceError::Start { error, .. } => error.raw_os_error().unwrap_or(libc::ENOMEM),
            ServiceError::Device { .. } => libc::ENODEV,
            ServiceError::NotOpen(_) => libc::ENOENT,
            ServiceError::Drain { .. } => libc::EBUSY,
            ServiceError::Call(_) => libc::ETIMEDOUT,
        };
        Self::new(errno, error.to_string())
    }
}

impl Targets {
    /// No portals and no targets.
    ///
    /// # Errors
    /// A core refuses its share.
    pub fn start(
        fleet: &Arc<Fleet>,
        registry: &Registry,
        soft: siw::Config,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let nobody = ModelDirectory::new(Arc::default(), BTreeMap::new());
        let service = Arc::new(Service::start(Arc::clone(fleet), Arc::new(nobody), soft)?);
        let live = Arc::<Mutex<LiveTargets>>::default();
        let (watching, resized) = (Arc::clone(&live), Arc::clone(&service));
        registry.subscribe(move |event| {
            if let Event::Resized { name } = event {
                let targets: Vec<_> = lock(&watching).targets.values().cloned().collect();
                let units = targets.iter().flat_map(|t| &t.luns).map(|(_, unit)| unit);
                units.filter(|unit| unit.bdev.name() == name).for_each(|unit| resized.resized(unit));
            }
        })?;
        Ok(Self { registry: registry.clone(), service, live })
    }

    /// See [`Engine::open_portals`].
    pub fn open_portals(&self, group: &PortalGroup) -> Result<(), EngineError> {
        let invalid = |error: crate::model::ModelError| EngineError::new(libc::EINVAL, error.to_string());
        let portals: Vec<_> =
            group.portals.iter().map(|portal| spec(portal).map_err(invalid)).collect::<Result<_, _>>()?;
        Ok(self.service.open_portals(group.tag, &portals, group.wait)?)
    }

    /// See [`Engine::start_portals`].
    pub fn start_portals(&self, tag: i32) -> Result<(), EngineError> {
        Ok(self.service.start_portals(tag)?)
    }

    /// See [`Engine::close_portals`].
    pub fn close_portals(&self, tag: i32) {
        self.service.close_portals(tag);
    }

    /// See [`Engine::publish`].
    pub fn publish(&self, model: &Arc<Model>) -> Result<(), EngineError> {
        let mut live = lock(&self.live);
        let mut next = BTreeMap::new();
        for node in &model.targets {
            next.insert(node.name.clone(), live.target(node, &self.registry)?);
        }
        let handles = next.iter().map(|(name, target)| (name.clone(), target.handle)).collect();
        let directory = Arc::new(ModelDirectory::new(Arc::clone(model), handles));
        let published = self.service.publish(directory, next.values().cloned().collect());
        live.targets = next;
        live.drop_unused_claims();
        Ok(published?)
    }

    /// See [`Engine::request_logout`].
    pub fn request_logout(&self, target: &str, pg_tag: Option<i32>) {
        let handle = lock(&self.live).targets.get(target).map(|t| t.handle);
        if let Some(handle) = handle {
            self.service.request_logout(handle, pg_tag);
        }
    }

    /// See [`Engine::connections`].
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.service.connections().into_iter().map(connection).collect()
    }

    /// See [`Engine::protocol_stats`].
    pub fn stats(&self) -> Vec<ProtocolStats> {
        self.service.stats().iter().enumerate().map(|(core, stats)| protocol(core as u32, stats)).collect()
    }
}

fn lock(live: &Mutex<LiveTargets>) -> MutexGuard<'_, LiveTargets> {
    // Replaced target by target: sound after a panic elsewhere.
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LiveTargets {
    /// The engine's target for a node: the present one while its logical units are the same.
    fn target(&mut self, node: &TargetNode, registry: &Registry) -> Result<Arc<Target>, EngineError> {
        let old = self.targets.get(&node.name).cloned();
        let mut luns = Vec::new();
        for lun in &node.luns {
            let number = lun.lun_id as u16;
            let kept = old.iter().flat_map(|t| &t.luns).find(|(n, unit)| {
                *n == number && registry.get(&lun.bdev_name).is_some_and(|bdev| Arc::ptr_eq(&bdev, &unit.bdev))
            });
            let unit = match kept {
                Some((_, unit)) => Arc::clone(unit),
                None => self.unit(node, number, &lun.bdev_name, registry)?,
            };
            luns.push((number, unit));
        }
        let same = |old: &Arc<Target>| {
            old.luns.len() == luns.len()
                && old.luns.iter().zip(&luns).all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(&a.1, &b.1))
        };
        if let Some(old) = old.as_ref().filter(|old| same(old)) {
            return Ok(Arc::clone(old));
        }
        let handle = old.map_or_else(
            || {
                self.next_handle += 1;
                self.next_handle
            },
            |old| old.handle,
        );
        Ok(Arc::new(Target { handle, name: node.name.clone(), luns }))
    }

    fn unit(
        &mut self,
        node: &TargetNode,
        lun: u16,
        bdev_name: &str,
        registry: &Registry,
    ) -> Result<Arc<Unit>, EngineError> {
        let missing = || EngineError::new(libc::ENODEV, format!("block device {bdev_name}"));
        let bdev = registry.get(bdev_name).ok_or_else(missing)?;
        let claim = registry.claim(bdev_name, User::Lun(format!("{lun} of {}", node.name)))?;
        let lu = LogicalUnit::new(identity(node, &*bdev), medium(&*bdev))
            .map_err(|error| EngineError::new(libc::EINVAL, format!("block device {bdev_name}: {error}")))?;
        self.next_unit += 1;
        self.claims.insert(self.next_unit, claim);
        Ok(Arc::new(Unit::new(self.next_unit, bdev, registry.clone(), lu)))
    }

    fn drop_unused_claims(&mut self) {
        let targets = &self.targets;
        self.claims.retain(|id, _| targets.values().flat_map(|t| &t.luns).any(|(_, unit)| unit.id == *id));
    }
}

fn spec(portal: &Portal) -> Result<PortalSpec, crate::model::ModelError> {
    let speaks = match portal.transport {
        Transport::Auto => Speaks::Auto,
        Transport::Tcp => Speaks::Tcp,
        Transport::Iser => Speaks::Iser,
    };
    let carrier = match portal.provider {
        Provider::Auto => Carrier::Auto,
        Provider::Verbs => Carrier::Verbs,
        Provider::Siw => Carrier::Siw,
    };
    Ok(PortalSpec { address: portal.address()?, speaks, carrier })
}

/// Who a logical unit is. The device's UUID makes it the same unit under every target and after every restart.
fn identity(node: &TargetNode, bdev: &dyn Bdev) -> Identity {
    let uuid = bdev.uuid();
    let serial = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut naa = [0; 8];
    naa.copy_from_slice(&uuid[8..]);
    // NAA 3h: locally assigned.
    naa[0] = 0x30 | naa[0] & 0x0F;
    Identity {
        vendor: padded("ISERE"),
        product: padded(bdev.product()),
        revision: padded(&env!("CARGO_PKG_VERSION").replace('.', "")),
        serial,
        naa,
        uuid,
        target_name: node.name.clone(),
        relative_target_port: 1,
        portal_group_tag: node.maps.first().map_or(1, |map| map.pg_tag as u16),
    }
}

/// ASCII, cut or padded with spaces.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let printable = text.bytes().filter(|byte| (b' '..=b'~').contains(byte));
    field.iter_mut().zip(printable).for_each(|(place, byte)| *place = byte);
    field
}

fn connection(info: ConnInfo) -> ConnectionInfo {
    let id = info.id;
    ConnectionInfo {
        id: i32::from(id.core.0) << 16 | id.index as i32,
        cid: info.cid,
        tsih: info.tsih,
        state: if info.closing { ConnectionState::Exiting } else { ConnectionState::Running },
        login_phase: if info.tsih.is_some() { "full_feature_phase" } else { "not_started" },
        initiator: info.entrance.peer,
        local: info.entrance.local,
        pg_tag: info.entrance.portal_group,
        target: info.target,
        initiator_name: info.initiator,
        core: u32::from(id.core.0),
        iser: info.entrance.transport == iscsi::login::Transport::Iser,
    }
}

fn protocol(core: u32, stats: &CoreStats) -> ProtocolStats {
    let counters = vec![
        ("accepted", stats.accepted),
        ("logins", stats.logins),
        ("login_failures", stats.login_failures),
        ("commands", stats.commands),
        ("reads", stats.reads),
        ("writes", stats.writes),
        ("other_commands", stats.others),
        ("failed_commands", stats.failed),
        ("task_set_full", stats.task_set_full),
        ("task_management", stats.task_management),
        ("aborted_tasks", stats.aborted),
        ("rejects", stats.rejects),
        ("bytes_in", stats.bytes_in),
        ("bytes_out", stats.bytes_out),
        ("receive_calls", stats.receive_calls),
        ("send_calls", stats.send_calls),
        ("bytes_direct", stats.bytes_direct),
        ("bytes_copied", stats.bytes_copied),
        ("rdma_sends", stats.rdma.sends),
        ("rdma_send_invalidates", stats.rdma.send_invalidates),
        ("rdma_writes", stats.rdma.writes),
        ("rdma_reads", stats.rdma.reads),
        ("rdma_receives", stats.rdma.receives),
        ("rdma_doorbells", stats.rdma.doorbells),
        ("rdma_completions", stats.rdma.completions),
        ("rdma_flushed", stats.rdma.flushed),
        ("rdma_rnr_waits", stats.rdma.rnr_waits),
        ("rdma_bytes_in", stats.rdma.bytes_in),
        ("rdma_bytes_out", stats.rdma.bytes_out),
        ("lent", stats.lent),
        ("buffer_waits", stats.buffer_waits),
        ("device_waits", stats.device_waits),
        ("transmit_waits", stats.transmit_waits),
        ("panics", stats.panics),
    ];
    let latencies = vec![latency("read", &stats.read_latency), latency("write", &stats.write_latency)];
    ProtocolStats { core, counters, latencies }
}

fn latency(of: &'static str, histogram: &Latency) -> LatencyStats {
    let bound = |n: usize| if n < 64 { (1u64 << n).saturating_sub(1) } else { u64::MAX };
    let buckets = histogram.buckets.iter().enumerate().map(|(n, count)| (bound(n), *count)).collect();
    LatencyStats { of, buckets, sum: histogram.sum }
}
