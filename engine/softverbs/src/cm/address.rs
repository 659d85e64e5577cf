//! Socket addresses in C's form.

use rdma_sys::rdma_cm_id;
use std::ffi::c_int;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

/// Bytes of an address in C's form.
pub const fn len(address: &SocketAddr) -> libc::socklen_t {
    match address {
        SocketAddr::V4(_) => size_of::<libc::sockaddr_in>() as libc::socklen_t,
        SocketAddr::V6(_) => size_of::<libc::sockaddr_in6>() as libc::socklen_t,
    }
}

/// Writes an address.
///
/// # Safety
/// There is room for one of its family.
pub unsafe fn write(to: *mut libc::sockaddr, address: SocketAddr) {
    match address {
        SocketAddr::V4(v4) => {
            let sin = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the caller's promise.
            unsafe { to.cast::<libc::sockaddr_in>().write_unaligned(sin) };
        }
        SocketAddr::V6(v6) => {
            let sin6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: the caller's promise.
            unsafe { to.cast::<libc::sockaddr_in6>().write_unaligned(sin6) };
        }
    }
}

/// Reads an address.
///
/// # Errors
/// EAFNOSUPPORT, or EINVAL if there is none.
///
/// # Safety
/// A whole address of the family it names, or NULL.
pub unsafe fn read(from: *const libc::sockaddr) -> Result<SocketAddr, c_int> {
    // SAFETY: the caller's promise.
    let Some(family) = (unsafe { from.as_ref() }).map(|any| i32::from(any.sa_family)) else { return Err(libc::EINVAL) };
    match family {
        libc::AF_INET => {
            // SAFETY: as above.
            let sin = unsafe { from.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(sin.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddr::new(ip.into(), u16::from_be(sin.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let sin6 = unsafe { from.cast::<libc::sockaddr_in6>().read_unaligned() };
            let (ip, port) = (Ipv6Addr::from(sin6.sin6_addr.s6_addr), u16::from_be(sin6.sin6_port));
            Ok(SocketAddrV6::new(ip, port, sin6.sin6_flowinfo, sin6.sin6_scope_id).into())
        }
        _ => Err(libc::EAFNOSUPPORT),
    }
}

/// The local address from which packets to `peer` leave.
pub fn route(peer: SocketAddr) -> Result<IpAddr, c_int> {
    let any: SocketAddr = if peer.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let found = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(peer)?;
        socket.local_addr()
    });
    found.map(|local| local.ip()).map_err(|error| error.raw_os_error().unwrap_or(libc::ENETUNREACH))
}

/// Whether an address is one of this machine's.
pub fn is_local(address: SocketAddr) -> Result<(), c_int> {
    let bound = UdpSocket::bind(SocketAddr::new(address.ip(), 0));
    bound.map(drop).map_err(|error| error.raw_os_error().unwrap_or(libc::EADDRNOTAVAIL))
}

/// Shows a connection's addresses to the program.
pub fn show(raw: *mut rdma_cm_id, source: Option<SocketAddr>, destination: Option<SocketAddr>) {
    // SAFETY: the identifier is known, so it lives; its addresses have room for any family.
    unsafe {
        let addr = &raw mut (*raw).route.addr;
        if let Some(source) = source {
            write((&raw mut (*addr).src_addr_union).cast(), source);
        }
        if let Some(destination) = destination {
            write((&raw mut (*addr).dst_addr_union).cast(), destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_trip() {
        for text in ["127.0.0.1:3260", "[::1]:65535", "[fe80::1%7]:3260"] {
            let address: SocketAddr = text.parse().unwrap();
            // SAFETY: all zeros is a valid sockaddr_storage, which has room for any family.
            unsafe {
                let mut storage: libc::sockaddr_storage = std::mem::zeroed();
                let at = (&raw mut storage).cast();
                assert_eq!(read(at), Err(libc::EAFNOSUPPORT));
                write(at, address);
                assert_eq!(read(at), Ok(address));
            }
        }
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { read(std::ptr::null()) }, Err(libc::EINVAL));
        assert_eq!(route("127.0.0.1:9".parse().unwrap()), Ok(IpAddr::from([127, 0, 0, 1])));
        assert!(is_local("192.0.2.1:0".parse().unwrap()).is_err());
    }
}
