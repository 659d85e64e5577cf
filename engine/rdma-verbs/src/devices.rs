//! Which devices there are, and which addresses they have.

use crate::sys::{self, Channel, CmId, Context};
use rdma::Transport;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// An RDMA device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceInfo {
    /// Its name, as in `rdma link`.
    pub name: String,
    /// Its family.
    pub transport: Transport,
    /// Local addresses bound to it.
    pub addresses: Vec<IpAddr>,
}

/// The devices of this machine; none on one without RDMA.
#[must_use]
pub fn devices() -> Vec<DeviceInfo> {
    let Ok(channel) = Channel::open() else { return vec![] };
    let named = sys::contexts().into_iter();
    let mut found: Vec<_> = named.map(|(name, transport)| DeviceInfo { name, transport, addresses: vec![] }).collect();
    for address in sys::interface_addresses() {
        if let Ok((_id, context)) = bound(&channel, address) {
            let name = context.name();
            found.iter_mut().filter(|device| device.name == name).for_each(|device| device.addresses.push(address));
        }
    }
    found
}

/// The device that a local address is bound to; for the wildcard address, any device that has an address.
#[must_use]
pub fn serves(address: IpAddr) -> Option<DeviceInfo> {
    let mut devices = devices().into_iter();
    if address.is_unspecified() {
        devices.find(|device| device.addresses.iter().any(|a| a.is_ipv4() == address.is_ipv4()))
    } else {
        devices.find(|device| device.addresses.contains(&address))
    }
}

/// The local address from which packets to `peer` leave, which says whose device leads there.
///
/// # Errors
/// There is no route.
pub fn route(peer: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if peer.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    // Connecting a datagram socket asks for the route and sends nothing.
    let socket = UdpSocket::bind(any)?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

/// An identifier bound to an address, and the device behind it.
pub(crate) fn bound(channel: &Channel, address: IpAddr) -> Result<(CmId, Context), i32> {
    let mut id = CmId::new(channel)?;
    id.bind(SocketAddr::new(address, 0))?;
    let context = id.device().ok_or(libc::ENODEV)?;
    Ok((id, context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_to_an_address_of_this_machine_is_that_address() {
        assert_eq!(route("127.0.0.1:9".parse().unwrap()).unwrap(), IpAddr::from([127, 0, 0, 1]));
        if let Ok(ip) = route("[::1]:9".parse().unwrap()) {
            assert!(ip.is_loopback());
        }
    }

    #[test]
    fn every_device_that_is_listed_serves_its_addresses() {
        let devices = devices();
        for device in &devices {
            for address in &device.addresses {
                assert!(!address.is_unspecified());
                assert_eq!(serves(*address).as_ref(), Some(device));
            }
        }
        if devices.is_empty() {
            assert_eq!(serves(IpAddr::from([127, 0, 0, 1])), None);
            assert_eq!(serves(IpAddr::from([0, 0, 0, 0])), None);
        }
    }
}
