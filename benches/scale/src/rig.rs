//! The target's side: reactors with a worker each on a simulated time, and one disk.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bdev::null::NullParams;
use bdev::{Bdev, Null, Registry, Remote};
use iscsi_tcp::listen::Listener;
use rdma::loopback::{Config, Latency, World};
use reactors::limits::{Limits, MAILBOX_DEPTH};
use reactors::{Arena, CoreId, Hugepages, Mail, Nanos, Pools, Reactor};
use target::control::WorkerCell;
use target::portal::Serves;
use target::shared::Shared;
use target::target::{Published, Target};
use target::worker::{PortalId, Worker};

use icount::Stage;
use icount::counted::counted_turns;
use icount::house::{GROUP, HANDLE, House, TARGET};
use icount::parts::{BLOCKS, add_rdma, on_worker, span_of_small, unit};

/// Nanoseconds between two looks at the cores.
pub const STEP: u64 = 50_000;
/// What a turn that found work takes, made up: so much, and so much for each I/O.
const TURN: u64 = 1_000;
const IO: u64 = 10_000;

/// What is behind the logical unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Device {
    /// A null device that every core has a channel of its own to.
    Local,
    /// A null device that lives on the last core.
    Remote,
}

/// What a target is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Cores.
    pub cores: usize,
    /// Its disk.
    pub device: Device,
    /// RDMA connections each core may have; none, and there is no RDMA device.
    pub rdma: usize,
    /// Memory of each core's pools.
    pub pool: usize,
    /// Placement knows how busy cores are.
    pub watched: bool,
}

/// One core.
struct Member {
    reactor: Reactor,
    /// Until when it is at work.
    until: u64,
    /// Where its RDMA device is.
    world: World,
    ios: u64,
    longest_turn: u64,
}

/// The target.
pub struct Rig {
    /// Where RDMA happens for the core that was chosen last, see [`Rig::select`].
    world: World,
    portal: Option<SocketAddr>,
    /// Its cores take no turns until this is over.
    pub held: bool,
    /// Turns count, or do not.
    pub counting: bool,
    /// Wall time of turns that counted.
    pub spent: Duration,
    shared: Arc<Shared>,
    members: Vec<Member>,
    payload: Vec<Range<usize>>,
    now: u64,
}

impl Rig {
    /// A target with a disk and a portal for iSCSI on its first core.
    ///
    /// # Errors
    /// What the system lacks.
    pub fn new(plan: &Plan) -> io::Result<Self> {
        let arena = Arena::new(Hugepages::Off);
        let (registry, mail) = (Registry::new(), Mail::new(plan.cores, MAILBOX_DEPTH)?);
        let unit = unit(&registry, disk(plan).map_err(io::Error::other)?).map_err(io::Error::other)?;
        let targets = vec![Arc::new(Target { handle: HANDLE, name: TARGET.into(), luns: vec![(0, unit)] })];
        let published = Arc::new(Published { generation: 1, directory: Arc::new(House), targets });
        let shared = Shared::new(plan.cores);
        let parts = arena.region(plan.cores * plan.pool).map_err(io::Error::other)?.split(plan.cores);
        let (mut members, mut payload) = (Vec::new(), Vec::new());
        for (id, part) in mail.core_ids().zip(parts) {
            let mut reactor = Reactor::new(id, &mail, Pools::new(id.0, part), Limits::default());
            if plan.watched {
                shared.watch(id, Arc::clone(reactor.stats()));
            }
            let handle = reactor.core().handle().clone();
            let worker = Worker::new(Arc::clone(&shared), Arc::clone(&published), handle, arena.cache())?;
            reactor.core().add_shared(worker).map_err(io::Error::other)?;
            payload.push(span_of_small(&mut reactor.core().pools));
            let world = World::new(Config { seed: 1, latency: Latency::NONE, queues: 2 * plan.rdma + 2 });
            let mut member = Member { reactor, until: 0, world, ios: 0, longest_turn: 0 };
            if plan.rdma > 0 {
                add_rdma(&mut member.reactor, &member.world)?;
            }
            members.push(member);
        }
        let listener = Listener::bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))?;
        let portal = Some(listener.local_addr()?);
        on_worker(&mut members[0].reactor, |worker, _| {
            worker.open_portal(PortalId(1), GROUP, listener, Serves { iscsi: true, mpa: false })
        })?;
        let (world, spent) = (members[0].world.clone(), Duration::ZERO);
        Ok(Self { world, portal, held: false, counting: false, spent, shared, members, payload, now: 0 })
    }

    /// Memory that payload goes through, and nothing else.
    pub fn payload(&self) -> &[Range<usize>] {
        &self.payload
    }

    /// Who talks RDMA next, does so with this core.
    pub fn select(&mut self, core: usize) {
        self.world = self.members[core].world.clone();
    }

    /// Simulated nanoseconds.
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// Connections of each core.
    pub fn connections(&self) -> Vec<u32> {
        self.shared.connections()
    }

    /// Nanoseconds each core was busy.
    pub fn busy(&self) -> Vec<u64> {
        self.members.iter().map(|member| member.reactor.stats().busy_ticks.get()).collect()
    }

    /// Most I/Os of one turn of any core since the last call.
    pub fn longest_turn(&mut self) -> u64 {
        self.members.iter_mut().map(|member| core::mem::take(&mut member.longest_turn)).max().unwrap_or(0)
    }

    /// A turn of every core, at work or not.
    pub fn turn_once(&mut self) {
        self.members.iter_mut().for_each(|member| member.until = 0);
        self.step();
    }

    /// A turn of every core that is not at work, unless the target is held.
    fn step(&mut self) {
        if self.held {
            return;
        }
        self.now += STEP;
        for member in self.members.iter_mut().filter(|member| member.until <= self.now) {
            if self.counting {
                let begun = Instant::now();
                let _ = counted_turns(&mut member.reactor, 1, Nanos::new(self.now));
                self.spent += begun.elapsed();
            } else {
                member.turn(self.now);
            }
        }
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
        (0..turns).for_each(|_| self.step());
    }
}

impl Member {
    /// One turn; the core is at work for as long as the I/Os take that ended in it.
    fn turn(&mut self, now: u64) {
        let busy = self.reactor.turn(Nanos::new(now)).is_busy();
        let ios = self.ios();
        let more = ios - core::mem::replace(&mut self.ios, ios);
        self.longest_turn = self.longest_turn.max(more);
        self.until = now + u64::from(busy) * TURN + more * IO;
    }

    fn ios(&mut self) -> u64 {
        let worker = self.reactor.core().local::<WorkerCell>().map(|worker| Rc::clone(worker));
        worker.map_or(0, |worker| {
            let stats = worker.borrow().stats();
            assert_eq!(stats.panics, 0, "a connection panicked");
            stats.reads + stats.writes
        })
    }
}

fn disk(plan: &Plan) -> Result<Arc<dyn Bdev>, bdev::CreateError> {
    let (name, block_size, num_blocks) = ("disk".to_owned(), 512, u64::from(BLOCKS));
    let null = Null::create(&NullParams { name, block_size, num_blocks, ..NullParams::default() })?;
    let last = CoreId(plan.cores as u16 - 1);
    Ok(if plan.device == Device::Remote { Remote::new(null, last) } else { null })
}
