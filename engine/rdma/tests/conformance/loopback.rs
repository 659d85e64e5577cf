//! The loopback provider under the suite, as both families.

use crate::suite::{Harness, Options, Side};
use rdma::loopback::{Config, Fault, Latency, LoopbackNode, NodeConfig, What, When, World};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))];

pub struct Loopback<const IWARP: bool> {
    world: World,
    nodes: [LoopbackNode; 2],
}

pub type InfiniBand = Loopback<false>;
pub type Iwarp = Loopback<true>;

impl<const IWARP: bool> Loopback<IWARP> {
    #[allow(dead_code, reason = "the loopback's own tests use it, the suite does not")]
    pub fn world(&self) -> &World {
        &self.world
    }
}

impl<const IWARP: bool> Harness for Loopback<IWARP> {
    type P = LoopbackNode;

    fn new(options: Options) -> Self {
        let world = World::new(Config { seed: options.seed, latency: Latency { min: 0, max: 5 }, queues: 16 });
        let nodes = ADDRESSES.map(|addr| {
            let config = if IWARP { NodeConfig::iwarp(addr) } else { NodeConfig::infiniband(addr) };
            let rnr_tries = if options.patient { 0 } else { config.rnr_tries };
            world.node(NodeConfig { keeps_depth: !options.overruns_depth, rnr_tries, ..config })
        });
        Self { world, nodes }
    }

    fn provider(&mut self, side: Side) -> &mut LoopbackNode {
        &mut self.nodes[side as usize]
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(ADDRESSES[Side::Server as usize], 0)
    }

    fn nowhere(&self) -> SocketAddr {
        SocketAddr::new(ADDRESSES[Side::Server as usize], 9)
    }

    fn pause(&mut self) -> u64 {
        self.world.advance(1);
        self.world.now()
    }

    fn overruns_depth(&self) -> bool {
        true
    }

    fn remove_device(&mut self, side: Side) -> bool {
        let fault = Fault { when: When::At(0), what: What::Remove(ADDRESSES[side as usize]) };
        self.world.inject(fault).is_ok()
    }

    fn lose(&mut self, queue: primitives::Tag) -> bool {
        self.world.inject(Fault { when: When::At(0), what: What::Lose(queue) }).is_ok()
    }

    fn forgive(&mut self) {
        assert!(!self.world.take_violations().is_empty(), "the audit saw what the test provoked");
    }

    fn finish(&mut self) {
        self.world.finish();
    }
}
