//! The RDMA devices of the machine, as far as portals are concerned. Without the feature `verbs` there are none.

use std::io;
use std::net::SocketAddr;

use reactors::{Pools, RegionChanges};

use crate::device::Device;
use crate::portal::Hardware;

/// A device that can listen for a portal.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Its name.
    pub name: String,
    /// Its family.
    pub kind: Hardware,
    /// Where it listens: the portal's address, or for a wildcard the device's own.
    pub at: SocketAddr,
}

/// The devices that have the portal's address; for a wildcard, all of its family.
#[cfg(feature = "verbs")]
pub(super) fn find(portal: SocketAddr) -> Vec<Found> {
    let (ip, port) = (portal.ip(), portal.port());
    let has = |address: &std::net::IpAddr| match ip.is_unspecified() {
        true => address.is_ipv4() == ip.is_ipv4(),
        false => *address == ip,
    };
    let mut found = Vec::new();
    for device in rdma_verbs::devices() {
        let kind = match device.transport {
            rdma::Transport::InfiniBand => Hardware::InfiniBand,
            rdma::Transport::Iwarp => Hardware::Iwarp,
        };
        let own = device.addresses.iter().filter(|address| has(address));
        found.extend(own.map(|ip| Found { name: device.name.clone(), kind, at: SocketAddr::new(*ip, port) }));
    }
    found
}

/// There are none that this program could use.
#[cfg(not(feature = "verbs"))]
pub(super) fn find(_: SocketAddr) -> Vec<Found> {
    Vec::new()
}

/// Puts a device into service on the core this runs on.
///
/// # Errors
/// The device cannot be opened, or has no room.
#[cfg(feature = "verbs")]
pub(super) fn open(name: &str, regions: &RegionChanges, pools: &mut Pools) -> io::Result<Box<dyn Device>> {
    let config = rdma_verbs::Config::default();
    let verbs = rdma_verbs::Verbs::open_device(name, config).map_err(io::Error::other)?;
    let device = crate::device::Over::new(name.to_owned(), verbs, regions, pools).map_err(io::Error::other)?;
    Ok(Box::new(device))
}

/// Never called: nothing is found that could be opened.
///
/// # Errors
/// Always.
#[cfg(not(feature = "verbs"))]
pub(super) fn open(name: &str, _: &RegionChanges, _: &mut Pools) -> io::Result<Box<dyn Device>> {
    Err(io::Error::other(format!("{name}: built without the feature verbs")))
}

/// Why a portal that must be served by a device cannot be.
pub(super) fn why_not(portal: SocketAddr) -> String {
    if cfg!(feature = "verbs") {
        format!(
            "no RDMA device has the address {} (`rdma link` lists devices, and one is found by the address of its \
             network interface); leave provider out, or say siw, for soft-iWARP",
            portal.ip()
        )
    } else {
        "this program was built without the feature verbs; leave provider out, or say siw, for soft-iWARP".to_owned()
    }
}
