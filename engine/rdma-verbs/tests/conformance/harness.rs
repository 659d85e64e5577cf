//! Two ends at one device.

use crate::preload::ADDRESS;
use crate::suite::{Harness, Leeway, Options, Side};
use rdma_verbs::{Config, Verbs};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// A port that nobody listens at.
const DISCARD: u16 = 9;

/// How long a turn takes at least: the device, or the thread that plays it, wants to run, too.
const PAUSE: Duration = Duration::from_micros(50);

/// How long the device may take for what it must do: there are emulated machines.
const PATIENCE: Duration = Duration::from_secs(10);

/// Attempts at a peer without receives, where nothing is said: it is given up in time for the clause that waits for
/// that. And where they are to be without number.
const TRIES: [u8; 2] = [3, 7];

pub struct Device {
    ends: [Verbs; 2],
    address: IpAddr,
    began: Instant,
    leeway: Leeway,
}

impl Harness for Device {
    type P = Verbs;

    fn new(options: Options) -> Self {
        assert!(!options.overruns_depth, "a device keeps to its depth, whatever the seed {}", options.seed);
        let address = std::env::var(ADDRESS).expect("the address of a device").parse().expect("an address");
        let config = Config { rnr_retry: TRIES[usize::from(options.patient)], ..Config::default() };
        let ends = [(); 2].map(|()| Verbs::open(address, config).expect("a device"));
        let leeway = leeway(&ends[0].name());
        Self { ends, address, began: Instant::now(), leeway }
    }

    fn provider(&mut self, side: Side) -> &mut Verbs {
        &mut self.ends[side as usize]
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.address, 0)
    }

    fn nowhere(&self) -> SocketAddr {
        SocketAddr::new(self.address, DISCARD)
    }

    fn pause(&mut self) -> u64 {
        std::thread::sleep(PAUSE);
        self.began.elapsed().as_nanos() as u64
    }

    fn leeway(&self) -> Leeway {
        self.leeway
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

/// What is not asked of a device; the kernel's siw is known by the name that everybody gives it.
fn leeway(name: &str) -> Leeway {
    let siw = name.starts_with("siw");
    Leeway {
        eager: true,
        generous_depth: siw,
        uncounted_waits: true,
        silent_terminate: siw,
        silent_refusal: siw,
        silent_invalidation: siw,
        acknowledged_invalidation: true,
    }
}
