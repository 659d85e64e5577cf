//! The engine under test: how it is started, and the proof at the end that nothing was left behind.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bdev::layer::delay::{DelayParams, LatencyType};
use bdev::layer::error::{ErrorType, Injection};
use bdev::malloc::MallocParams;
use bdev::null::NullParams;
use bdev::{Bdev, Delay, ErrorInjector, Malloc, Null, Op, Registry};
use initiator::{Client, Options, Url};
use primitives::Buf;
use reactors::{Core, CoreId, Fleet, FleetConfig};
use scsi::{Identity, LogicalUnit};
use target::portal::PortalSpec;
use target::service::Service;
use target::target::Target;
use target::unit::{Unit, medium};

use super::{House, PATIENCE, Peer, ROOMS, eventually, soon};

/// A RAM disk of 512-byte blocks.
pub const DISK: u16 = 0;
/// A RAM disk behind a gate that can hold operations or let them fail.
pub const GATED: u16 = 1;
/// A RAM disk of 4096-byte blocks.
pub const DISK_4K: u16 = 2;
/// 64 TiB of nothing.
pub const BIG: u16 = 3;
/// A RAM disk that takes its time and cannot be hurried.
pub const DELAYED: u16 = 4;

/// An engine on loopback. It checks when it is dropped that nothing leaked and that it still serves.
pub struct World {
    pub fleet: Arc<Fleet>,
    pub service: Arc<Service>,
    pub house: House,
    pub targets: Vec<Arc<Target>>,
    pub gate: Arc<ErrorInjector>,
    pub delay: Arc<Delay>,
    pub big: Arc<Null>,
    pub address: SocketAddr,
    registry: Registry,
    next_isid: AtomicU16,
    next_unit: AtomicU64,
    hoard: Mutex<Vec<(CoreId, Vec<Buf>)>>,
    /// Buffers of RDMA devices in service.
    in_service: usize,
    /// A shutdown was part of the test.
    pub over: bool,
    _memory: Memory,
}

/// What an engine is to be.
pub struct Builder {
    cores: u16,
    house: House,
}

impl Builder {
    pub fn house(mut self, change: impl FnOnce(&mut House)) -> Self {
        change(&mut self.house);
        self
    }

    pub fn cores(mut self, cores: u16) -> Self {
        self.cores = cores;
        self
    }

    pub fn start(self) -> World {
        let fleet = Arc::new(Fleet::start(FleetConfig::for_tests(self.cores)).unwrap());
        let memory = Memory(Arc::clone(&fleet));
        let registry = Registry::new();
        let gate = ErrorInjector::create("gate", None, ram("behind-the-gate", 512, &fleet)).unwrap();
        let params = DelayParams { name: "delay".into(), uuid: None, latency_us: [0; 4] };
        let delay = Delay::create(&params, ram("behind-the-delay", 512, &fleet)).unwrap();
        let big = Null::create(&NullParams {
            name: "big".into(),
            block_size: 512,
            num_blocks: 1 << 37,
            ..NullParams::default()
        });
        let big = big.unwrap();
        let disks: [Arc<dyn Bdev>; 5] =
            [ram("disk", 512, &fleet), gate.clone(), ram("disk-4k", 4096, &fleet), big.clone(), delay.clone()];
        let next_unit = AtomicU64::new(1);
        let luns = disks.into_iter().map(|bdev| unit(&registry, bdev, &next_unit)).zip(0..).map(|(u, lun)| (lun, u));
        let room = Arc::new(Target { handle: 1, name: ROOMS[0].into(), luns: luns.collect() });
        let vault = unit(&registry, ram("treasure", 512, &fleet), &next_unit);
        let vault = Arc::new(Target { handle: 2, name: ROOMS[1].into(), luns: vec![(0, vault)] });
        let targets = vec![room, vault];
        let service = Service::start(Arc::clone(&fleet), Arc::new(self.house.clone()), siw::Config::default()).unwrap();
        service.publish(Arc::new(self.house.clone()), targets.clone()).unwrap();
        service.open_portals(1, &[PortalSpec::auto("127.0.0.1:0".parse().unwrap())], false).unwrap();
        let address = service.addresses(1)[0];
        *self.house.portal.lock().unwrap() = Some(address);
        let in_service = lent_buffers(&fleet);
        World {
            fleet,
            service: Arc::new(service),
            house: self.house,
            targets,
            gate,
            delay,
            big,
            address,
            registry,
            next_isid: AtomicU16::new(1),
            next_unit,
            hoard: Mutex::default(),
            in_service,
            over: false,
            _memory: memory,
        }
    }
}

impl World {
    pub fn build() -> Builder {
        Builder { cores: 1, house: House::default() }
    }

    pub fn on_one_core() -> Self {
        Self::build().start()
    }

    pub fn on_two_cores() -> Self {
        Self::build().cores(2).start()
    }

    /// Options with an ISID nobody else has, and pings as the only noise.
    pub fn options(&self) -> Options {
        let isid_qualifier = self.next_isid.fetch_add(1, Ordering::Relaxed);
        Options { isid_qualifier, login_timeout: PATIENCE, command_timeout: PATIENCE, ..Options::default() }
    }

    pub fn url(&self, lun: u16) -> Url {
        format!("iscsi://{}/{}/{lun}", self.address, ROOMS[0]).parse().unwrap()
    }

    /// A TCP connection that has said nothing.
    pub fn connect(&self) -> Peer {
        Peer::connect(self.address)
    }

    /// A peer in full-feature phase.
    pub fn log_in(&self, lun: u16) -> Peer {
        self.log_in_with(lun, |_| {})
    }

    pub fn log_in_with(&self, lun: u16, change: impl FnOnce(&mut Options)) -> Peer {
        let mut options = self.options();
        change(&mut options);
        self.log_in_as(lun, &options)
    }

    pub fn log_in_as(&self, lun: u16, options: &Options) -> Peer {
        Peer::log_in(&self.url(lun), options)
    }

    /// A peer in a discovery session.
    pub fn discover(&self) -> Peer {
        let mut peer = self.connect();
        peer.complete_login(None, &self.options()).unwrap();
        peer
    }

    /// A well-behaved client.
    pub fn client(&self, lun: u16) -> Client {
        Client::connect(&self.url(lun), &self.options()).unwrap()
    }

    /// The same over iSER on soft-iWARP.
    pub fn rdma_client(&self, lun: u16) -> Client {
        Client::connect(&self.rdma_url(lun), &self.options()).unwrap()
    }

    pub fn rdma_url(&self, lun: u16) -> Url {
        format!("iser://{}/{}/{lun}?provider=siw", self.address, ROOMS[0]).parse().unwrap()
    }

    /// The device behind GATED holds the next operations of a kind until they are let go or aborted.
    pub fn hold(&self, op: Op, count: u32) {
        self.gate.inject(Injection { op: Some(op), error: ErrorType::Pending, count, range: None }).unwrap();
    }

    /// The device behind DELAYED takes this long.
    pub fn slow_down(&self, time: Duration) {
        for latency in LatencyType::ALL {
            self.delay.set_latency(latency, time.as_micros() as u64).unwrap();
        }
    }

    /// Commands in progress.
    pub fn tasks(&self) -> usize {
        self.service.connections().iter().map(|conn| conn.tasks).sum()
    }

    pub fn await_idle(&self) {
        eventually("no command is in progress", || self.tasks() == 0);
    }

    pub fn await_connections(&self, count: usize) {
        let mut left = Vec::new();
        let there = || {
            left = self.service.connections();
            left.len() == count
        };
        if !soon(there) {
            panic!("{count} connections expected, there are: {left:#?}");
        }
    }

    /// Takes buffers away until `small` and `large` are left on every core.
    pub fn starve(&self, small: usize, large: usize) {
        for id in self.fleet.core_ids() {
            let taken = self.fleet.call(id, move |core: &mut Core| {
                let classes = [(reactors::Class::Small, small), (reactors::Class::Large, large)];
                let mut taken = Vec::new();
                for (class, keep) in classes {
                    while core.pools.stats(class).free > keep {
                        taken.extend(core.pools.take_class(class));
                    }
                }
                taken
            });
            self.hoard.lock().unwrap().push((id, taken.unwrap()));
        }
    }

    /// Gives all buffers back.
    pub fn feed(&self) {
        for (id, bufs) in self.hoard.lock().unwrap().drain(..) {
            let give = move |core: &mut Core| bufs.into_iter().for_each(|buf| core.pools.give(buf));
            self.fleet.call(id, give).unwrap();
        }
    }

    /// Buffers lent and not returned, over all cores, beside those that RDMA devices hold for good.
    pub fn outstanding_buffers(&self) -> usize {
        lent_buffers(&self.fleet) - self.in_service
    }

    /// A target like the first with its logical units passed through `change`, put in force.
    pub fn republish(&mut self, change: impl FnOnce(&mut Vec<(u16, Arc<Unit>)>)) {
        let mut luns = self.targets[0].luns.clone();
        change(&mut luns);
        self.targets[0] = Arc::new(Target { handle: 1, name: ROOMS[0].into(), luns });
        self.service.publish(Arc::new(self.house.clone()), self.targets.clone()).unwrap();
    }

    /// One more RAM disk as a logical unit.
    pub fn another_unit(&self, name: &str) -> Arc<Unit> {
        unit(&self.registry, ram(name, 512, &self.fleet), &self.next_unit)
    }

    /// Nothing leaked, and a fresh client is served.
    fn check(&mut self) {
        self.feed();
        self.gate.clear();
        self.gate.resume_pending();
        self.await_connections(0);
        eventually("the register forgets the sessions", || self.service.session_count() == 0);
        assert_eq!(self.outstanding_buffers(), 0, "buffers leaked");
        if !self.targets.is_empty() {
            self.serve_a_stranger();
        }
        for stats in self.service.stats() {
            assert_eq!(stats.panics, 0, "a connection panicked");
        }
        for core in self.fleet.core_ids() {
            eventually("channels close with their last session", || self.service.channels(core).is_empty());
        }
    }

    fn serve_a_stranger(&self) {
        for _ in self.fleet.core_ids() {
            let mut client = self.client(DISK);
            client.await_ready().unwrap();
            let data = super::pattern(4711, 64 << 10);
            client.write(1000, &data).unwrap();
            assert!(client.read(1000, 128).unwrap() == data, "data came back changed");
            assert_eq!(client.log_out().unwrap(), 0);
        }
        self.await_connections(0);
        assert_eq!(self.outstanding_buffers(), 0, "buffers leaked by a well-behaved client");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if !self.over {
            self.check();
        }
        let report = self.fleet.shutdown(PATIENCE);
        assert!(report.is_clean(), "{report}");
        assert_eq!(self.fleet.failure(), None);
    }
}

/// The last thing of an engine that is dropped: by then the memory of its RAM disks must be back.
struct Memory(Arc<Fleet>);

impl Drop for Memory {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.arena().regions().is_empty(), "memory of a RAM disk or a pool was not given back");
        }
    }
}

fn lent_buffers(fleet: &Fleet) -> usize {
    let count = |id| fleet.call(id, |core: &mut Core| core.pools.outstanding()).unwrap();
    fleet.core_ids().map(count).sum()
}

fn ram(name: &str, block_size: u32, fleet: &Fleet) -> Arc<dyn Bdev> {
    let num_blocks = (8 << 20) / u64::from(block_size);
    let params = MallocParams { name: name.into(), block_size, num_blocks, ..MallocParams::default() };
    Malloc::create(&params, fleet.arena()).unwrap()
}

fn unit(registry: &Registry, bdev: Arc<dyn Bdev>, next: &AtomicU64) -> Arc<Unit> {
    registry.register(Arc::clone(&bdev)).unwrap();
    let id = next.fetch_add(1, Ordering::Relaxed);
    let identity = Identity {
        vendor: *b"ISERE   ",
        product: *b"Test disk       ",
        revision: *b"0001",
        serial: format!("{id:08}"),
        naa: [0x30, 0, 0, 0, 0, 0, 0, id as u8],
        uuid: bdev.uuid(),
        target_name: ROOMS[0].into(),
        relative_target_port: 1,
        portal_group_tag: 1,
    };
    let lu = LogicalUnit::new(identity, medium(&*bdev)).unwrap();
    Arc::new(Unit::new(id, bdev, registry.clone(), lu))
}
