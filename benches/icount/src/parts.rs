//! What the reactors of a bench are put together from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use bdev::{Bdev, Registry};
use rdma::loopback::{NodeConfig, World};
use reactors::{Class, Pools, Reactor};
use scsi::{Identity, LogicalUnit};
use target::control::with_worker;
use target::device::Over;
use target::unit::{Unit, medium};
use target::worker::{PortalId, Worker};

use crate::house::{GROUP, TARGET};

/// Blocks of 512 bytes of the disk.
pub const BLOCKS: u32 = (16 << 20) / 512;
/// Where the target's RDMA device listens.
pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 3260);

/// Does something with the worker of a core.
///
/// # Errors
/// What `f` says, or that there is none.
pub fn on_worker<R>(reactor: &mut Reactor, f: impl FnOnce(&mut Worker, &mut Pools) -> io::Result<R>) -> io::Result<R> {
    let core = &mut *reactor.core();
    with_worker(core, |worker, core| f(worker, &mut core.pools)).ok_or(io::ErrorKind::NotFound)?
}

/// Gives a core an RDMA device in `world` that listens at [`ADDRESS`].
///
/// # Errors
/// The device's.
pub fn add_rdma(reactor: &mut Reactor, world: &World) -> io::Result<()> {
    let node = world.node(NodeConfig::infiniband(ADDRESS.ip()));
    on_worker(reactor, |worker, pools| {
        worker.add_device("loopback", pools, |regions, pools| {
            let device = Over::new("loopback".into(), node, regions, pools).map_err(io::Error::other)?;
            Ok(Box::new(device))
        })?;
        worker.listen(PortalId(0), GROUP, "loopback", ADDRESS).map_err(io::Error::other)
    })
}

/// From the first to the last small buffer, which carry 4 KiB of data each and lie side by side.
pub fn span_of_small(pools: &mut Pools) -> Range<usize> {
    let all: Vec<_> = core::iter::from_fn(|| pools.take_class(Class::Small)).collect();
    let starts = all.iter().map(|buf| buf.as_ptr().addr());
    let first = starts.clone().min().unwrap_or_default();
    let span = first..starts.max().unwrap_or_default() + Class::Small.size();
    all.into_iter().rev().for_each(|buf| pools.give(buf));
    span
}

/// The one logical unit, of a device that `registry` gets to know.
///
/// # Errors
/// The registry's.
///
/// # Panics
/// If the identity below is not one.
pub fn unit(registry: &Registry, bdev: Arc<dyn Bdev>) -> Result<Arc<Unit>, bdev::registry::RegistryError> {
    registry.register(Arc::clone(&bdev))?;
    let identity = Identity {
        vendor: *b"ISERE   ",
        product: *b"Counted disk    ",
        revision: *b"0001",
        serial: "1".into(),
        naa: [0x30, 0, 0, 0, 0, 0, 0, 1],
        uuid: bdev.uuid(),
        target_name: TARGET.into(),
        relative_target_port: 1,
        portal_group_tag: 1,
    };
    let lu = LogicalUnit::new(identity, medium(&*bdev)).expect("the identity is sound");
    Ok(Arc::new(Unit::new(1, bdev, registry.clone(), lu)))
}
