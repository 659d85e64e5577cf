//! Two ends at one device.

use crate::preload::ADDRESS;
use crate::suite::{Harness, Options, Side};
use rdma_verbs::{Config, Verbs};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// A port that nobody listens at.
const DISCARD: u16 = 9;

/// How long a turn takes at least: the device, or the thread that plays it, wants to run, too.
const PAUSE: Duration = Duration::from_micros(50);

pub struct Device {
    ends: [Verbs; 2],
    address: IpAddr,
    began: Instant,
}

impl Harness for Device {
    type P = Verbs;

    fn new(options: Options) -> Self {
        assert!(!options.overruns_depth, "a device keeps to its depth, whatever the seed {}", options.seed);
        let address = std::env::var(ADDRESS).expect("the address of a device").parse().expect("an address");
        // A peer without receives is given up in time for the test that waits for it.
        let config = Config { rnr_retry: 3, ..Config::default() };
        let ends = [(); 2].map(|()| Verbs::open(address, config).expect("a device"));
        Self { ends, address, began: Instant::now() }
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
}
