use super::Fabric;
use rdma::loopback::{Config, LoopbackNode, NodeConfig, World};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The provider in which nothing happens by chance. `IWARP` chooses the family.
pub struct Loopback<const IWARP: bool> {
    pub world: World,
}

impl<const IWARP: bool> Fabric for Loopback<IWARP> {
    type P = LoopbackNode;

    fn build() -> (Self, LoopbackNode, LoopbackNode, SocketAddr) {
        let world = World::new(Config::default());
        let at = |host| IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
        let config = |host| if IWARP { NodeConfig::iwarp(at(host)) } else { NodeConfig::infiniband(at(host)) };
        let (initiator, target) = (world.node(config(1)), world.node(config(2)));
        (Self { world }, initiator, target, SocketAddr::new(at(2), 0))
    }

    fn pass(&mut self) {
        self.world.advance(1);
    }

    fn finish(self) {
        self.world.finish();
    }
}
