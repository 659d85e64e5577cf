use super::Fabric;
use siw::{Config, Siw};
use std::net::{Ipv4Addr, SocketAddr};

/// Soft-iWARP over the loopback interface.
pub struct SoftIwarp;

impl Fabric for SoftIwarp {
    type P = Siw;

    // Each takes a system call or two, and the kernel its time.
    const PATIENCE: usize = 5_000_000;

    fn build() -> (Self, Siw, Siw, SocketAddr) {
        let [ours, theirs] = [(); 2].map(|()| Siw::new(Config::default()).unwrap());
        (Self, ours, theirs, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    fn pass(&mut self) {}
}
