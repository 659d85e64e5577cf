//! The target's side: reactors with a worker each, stepped by hand, and one disk.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use bdev::malloc::MallocParams;
use bdev::null::NullParams;
use bdev::{Bdev, Malloc, Null, Registry, Remote};
use iscsi_tcp::listen::Listener;
use rdma::loopback::{Config, Latency, World};
use reactors::guard;
use reactors::limits::{Limits, MAILBOX_DEPTH};
use reactors::{Arena, CoreId, Hugepages, Mail, Nanos, Pools, Reactor};
use target::control::WorkerCell;
use target::device::Over;
use target::portal::Serves;
use target::shared::Shared;
use target::stats::CoreStats;
use target::target::{Published, Target};
use target::worker::{PortalId, SOFT_IWARP, Worker};

use icount::Stage;
use icount::counted::counted_turns;
use icount::house::{GROUP, HANDLE, House, TARGET};
use icount::parts::{BLOCKS, add_rdma, on_worker, span_of_small, unit};

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
    world: World,
    portal: Option<SocketAddr>,
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
            add_rdma(&mut rig.reactors[0], &rig.world)?;
        }
        if portal {
            rig.open_portal()?;
        }
        Ok(rig)
    }

    /// A portal for iSCSI and for iSER on soft-iWARP.
    fn open_portal(&mut self) -> io::Result<()> {
        let listener = Listener::bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))?;
        self.portal = Some(listener.local_addr()?);
        on_worker(&mut self.reactors[0], |worker, pools| {
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

impl Stage for Rig {
    fn world(&self) -> &World {
        &self.world
    }

    fn portal(&self) -> Option<SocketAddr> {
        self.portal
    }

    fn turns(&mut self, turns: u32) {
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
}

fn disk(device: Device, arena: &Arena) -> Result<Arc<dyn Bdev>, bdev::CreateError> {
    let (name, block_size, num_blocks) = ("disk".to_owned(), 512, u64::from(BLOCKS));
    if device == Device::Malloc {
        return Ok(Malloc::create(&MallocParams { name, block_size, num_blocks, ..MallocParams::default() }, arena)?);
    }
    let null = Null::create_lending(&NullParams { name, block_size, num_blocks, ..NullParams::default() }, arena)?;
    Ok(if device == Device::Remote { Remote::new(null, CoreId(1)) } else { null })
}
