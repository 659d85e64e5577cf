//! The target's side: reactors with a worker each, stepped by hand, and one disk.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use bdev::malloc::MallocParams;
use bdev::null::NullParams;
use bdev::{Bdev, Malloc, Null, Registry, Remote};
use iscsi_tcp::listen::Listener;
use rdma::loopback::{Config, Latency, NodeConfig, World};
use reactors::guard;
use reactors::limits::{Limits, MAILBOX_DEPTH};
use reactors::{Arena, Class, CoreId, Hugepages, Mail, Nanos, Pools, Reactor};
use scsi::{Identity, LogicalUnit, Medium};
use target::control::{WorkerCell, with_worker};
use target::device::Over;
use target::portal::Serves;
use target::shared::Shared;
use target::stats::CoreStats;
use target::target::{Published, Target};
use target::unit::Unit;
use target::worker::{PortalId, SOFT_IWARP, Worker};

use crate::counted::counted_turns;
use crate::house::{GROUP, HANDLE, House, TARGET};

/// Blocks of 512 bytes of the disk.
pub const BLOCKS: u32 = (16 << 20) / 512;
/// Where the target's RDMA device listens.
pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 3260);
/// Memory of each core's pools: enough for all connections that are ever asked for.
const POOL_BYTES: usize = 128 << 20;
/// Nanoseconds between two turns. The workers' tick, ten times a second, is never due while turns count.
const STEP: u64 = 1000;

/// What is behind the logical unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Device {
    /// Discards writes and reads zeroes.
    Null,
    /// Memory, which it lends.
    Malloc,
    /// A null device that lives on another core.
    Remote,
}

/// Counts of the target since it began, as it keeps them itself, and of the allocator.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    /// Turns counted, of each core.
    pub turns: u64,
    /// Heap allocations in counted turns.
    pub allocations: u64,
    /// Jobs the cores sent each other.
    pub messages: u64,
    /// The workers' own counts.
    pub stats: CoreStats,
}

impl Tally {
    /// Data bytes, both ways.
    pub const fn bytes(&self) -> u64 {
        self.stats.bytes_in + self.stats.bytes_out
    }
}

/// The target.
pub struct Rig {
    /// Where RDMA happens.
    pub world: World,
    /// The TCP portal, if there is one.
    pub portal: Option<SocketAddr>,
    reactors: Vec<Reactor>,
    /// Memory that payload goes through, and nothing else.
    payload: Vec<Range<usize>>,
    counting: bool,
    turns: u64,
    allocations: u64,
    now: u64,
}

impl Rig {
    /// A target with a disk; with a TCP portal as the daemon opens it if `portal`. There may be so many RDMA
    /// connections.
    ///
    /// # Errors
    /// What the system lacks.
    pub fn new(device: Device, portal: bool, rdma_connections: usize) -> io::Result<Self> {
        let cores = if device == Device::Remote { 2 } else { 1 };
        let config = Config { seed: 1, latency: Latency::NONE, queues: 2 * rdma_connections + 2 };
        let world = World::new(config);
        let arena = Arena::new(Hugepages::Off);
        let (registry, mail) = (Registry::new(), Mail::new(cores, MAILBOX_DEPTH)?);
        let disk = disk(device, &arena).map_err(io::Error::other)?;
        let unit = unit(&registry, disk).map_err(io::Error::other)?;
        let targets = vec![Arc::new(Target { handle: HANDLE, name: TARGET.into(), luns: vec![(0, unit)] })];
        let published = Arc::new(Published { generation: 1, directory: Arc::new(House), targets });
        let shared = Shared::new(cores);
        let mut payload: Vec<_> = arena.regions().iter().map(|disk| disk.addr..disk.addr + disk.len).collect();
        let parts = arena.region(cores * POOL_BYTES).map_err(io::Error::other)?.split(cores);
        let mut reactors = Vec::new();
        for (id, part) in mail.core_ids().zip(parts) {
            let mut reactor = Reactor::new(id, &mail, Pools::new(id.0, part), Limits::default());
            let handle = reactor.core().handle().clone();
            let worker = Worker::new(Arc::clone(&shared), Arc::clone(&published), handle, arena.cache())?;
            reactor.core().add_shared(worker).map_err(io::Error::other)?;
            payload.push(span_of_small(&mut reactor.core().pools));
            reactors.push(reactor);
        }
        let mut rig =
            Self { world, portal: None, reactors, payload, counting: false, turns: 0, allocations: 0, now: 0 };
        if rdma_connections > 0 {
            rig.add_rdma()?;
        }
        if portal {
            rig.open_portal()?;
        }
        Ok(rig)
    }

    fn on_worker<R>(&mut self, f: impl FnOnce(&mut Worker, &mut Pools) -> io::Result<R>) -> io::Result<R> {
        let core = &mut *self.reactors[0].core();
        with_worker(core, |worker, core| f(worker, &mut core.pools)).ok_or(io::ErrorKind::NotFound)?
    }

    fn add_rdma(&mut self) -> io::Result<()> {
        let node = self.world.node(NodeConfig::infiniband(ADDRESS.ip()));
        self.on_worker(|worker, pools| {
            worker.add_device("loopback", pools, |regions, pools| {
                let device = Over::new("loopback".into(), node, regions, pools).map_err(io::Error::other)?;
                Ok(Box::new(device))
            })?;
            worker.listen(PortalId(0), GROUP, "loopback", ADDRESS).map_err(io::Error::other)
        })
    }

    /// A portal for iSCSI and for iSER on soft-iWARP.
    fn open_portal(&mut self) -> io::Result<()> {
        let listener = Listener::bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))?;
        self.portal = Some(listener.local_addr()?);
        self.on_worker(|worker, pools| {
            worker.add_device(SOFT_IWARP, pools, |regions, pools| {
                let siw = siw::Siw::new(siw::Config::default()).map_err(io::Error::other)?;
                let device = Over::new(SOFT_IWARP.into(), siw, regions, pools).map_err(io::Error::other)?;
                Ok(Box::new(device))
            })?;
            worker.open_portal(PortalId(1), GROUP, listener, Serves { iscsi: true, mpa: true })
        })
    }

    /// Memory that payload goes through, and nothing else.
    pub fn payload(&self) -> &[Range<usize>] {
        &self.payload
    }

    /// From now on turns count, or do not.
    pub fn count(&mut self, on: bool) {
        self.counting = on;
    }

    /// One turn of every core.
    pub fn turn(&mut self) {
        self.turns(1);
    }

    /// So many turns of every core, with nobody else's between them.
    pub fn turns(&mut self, turns: u32) {
        self.now += STEP;
        let now = Nanos::new(self.now);
        for reactor in &mut self.reactors {
            if self.counting {
                let (_, counts) = guard::count(|| counted_turns(reactor, turns, now));
                self.allocations += counts.allocations;
            } else {
                let _ = reactor.turns(turns, || now);
            }
        }
        self.turns += u64::from(self.counting) * u64::from(turns);
    }

    /// Counts up to now.
    pub fn tally(&mut self) -> Tally {
        let mut tally = Tally { turns: self.turns, allocations: self.allocations, ..Tally::default() };
        for reactor in &mut self.reactors {
            tally.messages += reactor.stats().messages_in.get();
            let worker = reactor.core().local::<WorkerCell>().map(|worker| Rc::clone(worker));
            let Some(stats) = worker.map(|worker| worker.borrow().stats()) else { continue };
            assert_eq!(stats.panics, 0, "a connection panicked");
            // Connections are on the first core.
            if reactor.core().id() == CoreId(0) {
                tally.stats = stats;
            }
        }
        tally
    }
}

/// From the first to the last small buffer, which carry 4 KiB of data each and lie side by side.
fn span_of_small(pools: &mut Pools) -> Range<usize> {
    let all: Vec<_> = core::iter::from_fn(|| pools.take_class(Class::Small)).collect();
    let starts = all.iter().map(|buf| buf.as_ptr().addr());
    let first = starts.clone().min().unwrap_or_default();
    let span = first..starts.max().unwrap_or_default() + Class::Small.size();
    all.into_iter().rev().for_each(|buf| pools.give(buf));
    span
}

fn disk(device: Device, arena: &Arena) -> Result<Arc<dyn Bdev>, bdev::CreateError> {
    let (name, block_size, num_blocks) = ("disk".to_owned(), 512, u64::from(BLOCKS));
    if device == Device::Malloc {
        return Ok(Malloc::create(&MallocParams { name, block_size, num_blocks, ..MallocParams::default() }, arena)?);
    }
    let null = Null::create_lending(&NullParams { name, block_size, num_blocks, ..NullParams::default() }, arena)?;
    Ok(if device == Device::Remote { Remote::new(null, CoreId(1)) } else { null })
}

fn unit(registry: &Registry, bdev: Arc<dyn Bdev>) -> Result<Arc<Unit>, bdev::registry::RegistryError> {
    registry.register(Arc::clone(&bdev))?;
    let identity = Identity {
        vendor: *b"ISERE   ",
        product: *b"Counted disk    ",
        revision: *b"0001",
        serial: "1".into(),
        naa: [0x30, 0, 0, 0, 0, 0, 0, 1],
        uuid: bdev.uuid(),
        target_name: TARGET.into(),
        relative_target_port: 1,
        portal_group_tag: 1,
    };
    let geometry = bdev.geometry();
    let medium = Medium {
        block_size: geometry.block_size,
        blocks: geometry.blocks,
        physical_block_exponent: 0,
        write_cache: geometry.write_cache,
        read_only: geometry.read_only,
        thin: true,
        unmap_zeroes: true,
        unmap_granularity: 1,
        unmap_alignment: 0,
        optimal_transfer: 0,
        max_transfer: 0,
        max_unmap_blocks: u32::MAX,
        max_unmap_descriptors: scsi::limits::UNMAP_DESCRIPTORS,
        max_write_same: 0,
        rotation_rate: 1,
    };
    let lu = LogicalUnit::new(identity, medium).expect("the identity is sound");
    Ok(Arc::new(Unit::new(1, bdev, registry.clone(), lu)))
}
