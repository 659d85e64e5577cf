//! The loopback provider as a [`Fabric`], for whoever drives a worker by himself: tests, and counting instructions.

use std::os::fd::RawFd;

use rdma::loopback::LoopbackNode;

use super::Fabric;

impl Fabric for LoopbackNode {
    fn rests(&self) -> bool {
        // Like an RDMA device: somebody may connect at any time.
        false
    }

    fn wake_fds(&self, _: &mut Vec<RawFd>) {}

    fn arm(&mut self) -> bool {
        // Nothing could wake a core that sleeps.
        false
    }
}
