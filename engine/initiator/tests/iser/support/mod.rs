//! A session and a scripted target at the two ends of one RDMA connection, both driven by the test's own thread.

mod disk;
mod loopback;
mod rig;
mod server;
mod soft;
mod target;

pub use disk::{Disk, NAME};
pub use loopback::Loopback;
pub use rig::{Rig, command, options, read_of, write_of};
pub use server::Server;
pub use soft::SoftIwarp;
pub use target::{Message, Target};

use rdma::Provider;
use std::net::SocketAddr;

/// Two devices that reach each other.
pub trait Fabric: Sized {
    type P: Provider;

    /// Turns after which something that should happen is missed.
    const PATIENCE: usize = 20_000;

    /// The fabric, the initiator's device, the target's, and where the latter may listen.
    fn build() -> (Self, Self::P, Self::P, SocketAddr);

    /// Lets time pass, where it does not by itself.
    fn pass(&mut self);

    /// Everything has ended; nothing may be left.
    fn finish(self) {}
}
