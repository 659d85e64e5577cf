//! Socket addresses in the C library's form.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// An address in C's form, with room for any family.
#[derive(Clone, Copy)]
pub(super) struct Storage(libc::sockaddr_storage);

impl Storage {
    pub(super) fn new(address: SocketAddr) -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { core::mem::zeroed() };
        match address {
            SocketAddr::V4(v4) => {
                let sin = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: a sockaddr_storage has room and alignment for every address family.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(sin) };
            }
            SocketAddr::V6(v6) => {
                let sin6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(sin6) };
            }
        }
        Self(storage)
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut self.0).cast()
    }
}

/// Reads an address of C's; `None` for families that are not IP's.
///
/// # Safety
/// `raw` points to a whole address of the family it names.
pub(super) unsafe fn read(raw: *const libc::sockaddr) -> Option<SocketAddr> {
    // SAFETY: the family is the first field of every address.
    let family = i32::from(unsafe { (*raw).sa_family });
    match family {
        libc::AF_INET => {
            // SAFETY: the family says so; the place may be aligned for less.
            let sin = unsafe { raw.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(sin.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(sin.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let sin6 = unsafe { raw.cast::<libc::sockaddr_in6>().read_unaligned() };
            let ip = Ipv6Addr::from(sin6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(sin6.sin6_port), sin6.sin6_flowinfo, sin6.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_trip() {
        for text in ["127.0.0.1:3260", "0.0.0.0:0", "[::1]:65535", "[fe80::1%7]:3260"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut storage = Storage::new(address);
            // SAFETY: the storage was just made of a whole address.
            assert_eq!(unsafe { read(storage.as_mut_ptr()) }, Some(address));
        }
        // SAFETY: all zeros is a valid address of the family AF_UNSPEC.
        let mut none = Storage(unsafe { core::mem::zeroed() });
        // SAFETY: a whole sockaddr.
        assert_eq!(unsafe { read(none.as_mut_ptr()) }, None);
    }
}
