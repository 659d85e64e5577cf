//! `rdma_getaddrinfo`.

use super::address;
use crate::{free, object, result};
use rdma_sys::{ibv_qp_type, rdma_addrinfo, rdma_port_space};
use std::ffi::{c_char, c_int};
use std::net::SocketAddr;
use std::ptr;

/// Flags of `rdma_addrinfo` (rdma_cma.h).
const RAI_PASSIVE: c_int = 1;
const RAI_NUMERICHOST: c_int = 2;

/// What is given out: the addresses behind the structure that points to them.
#[repr(C)]
struct Found {
    raw: rdma_addrinfo,
    source: libc::sockaddr_storage,
    destination: libc::sockaddr_storage,
}

/// Looks an address up.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const rdma_addrinfo,
    found: *mut *mut rdma_addrinfo,
) -> c_int {
    // SAFETY: the program's hints, if it has any.
    let hints = unsafe { hints.as_ref() };
    let flags = hints.map_or(0, |hints| hints.ai_flags);
    // SAFETY: the program's strings.
    let looked_up = unsafe { look_up(node, service, flags) };
    result(looked_up.map(|at| {
        // SAFETY: the program's source address, if it has one.
        let from = hints.and_then(|hints| unsafe { address::read(hints.ai_src_addr) }.ok());
        let passive = flags & RAI_PASSIVE != 0;
        let (source, destination) = if passive { (Some(at), None) } else { (from, Some(at)) };
        // SAFETY: the program's, to be written.
        unsafe { *found = shown(flags, source, destination) };
    }))
}

fn shown(flags: c_int, source: Option<SocketAddr>, destination: Option<SocketAddr>) -> *mut rdma_addrinfo {
    let made = object::<Found>(|found| {
        let raw = &mut found.raw;
        raw.ai_flags = flags;
        raw.ai_family =
            if source.or(destination).is_some_and(|a| a.is_ipv6()) { libc::AF_INET6 } else { libc::AF_INET };
        raw.ai_qp_type = ibv_qp_type::IBV_QPT_RC as c_int;
        raw.ai_port_space = rdma_port_space::RDMA_PS_TCP as c_int;
        if let Some(source) = source {
            let at = (&raw mut found.source).cast();
            // SAFETY: a sockaddr_storage has room for any family.
            unsafe { address::write(at, source) };
            (raw.ai_src_addr, raw.ai_src_len) = (at, address::len(&source));
        }
        if let Some(destination) = destination {
            let at = (&raw mut found.destination).cast();
            // SAFETY: as above.
            unsafe { address::write(at, destination) };
            (raw.ai_dst_addr, raw.ai_dst_len) = (at, address::len(&destination));
        }
    });
    made.cast()
}

/// The first address of a name.
///
/// # Safety
/// As in C.
unsafe fn look_up(node: *const c_char, service: *const c_char, flags: c_int) -> Result<SocketAddr, c_int> {
    // SAFETY: numbers and pointers only.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_socktype = libc::SOCK_STREAM;
    if flags & RAI_PASSIVE != 0 {
        hints.ai_flags |= libc::AI_PASSIVE;
    }
    if flags & RAI_NUMERICHOST != 0 {
        hints.ai_flags |= libc::AI_NUMERICHOST;
    }
    let mut list = ptr::null_mut();
    // SAFETY: the caller's promise; the list is written to `list`.
    if unsafe { libc::getaddrinfo(node, service, &raw const hints, &raw mut list) } != 0 {
        return Err(libc::ENODEV);
    }
    // SAFETY: a list with at least one entry, freed once.
    unsafe {
        let first = address::read((*list).ai_addr);
        libc::freeaddrinfo(list);
        first
    }
}

/// Frees what was looked up.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_freeaddrinfo(found: *mut rdma_addrinfo) {
    if !found.is_null() {
        // SAFETY: it was made above.
        unsafe { free(found.cast::<Found>()) };
    }
}
