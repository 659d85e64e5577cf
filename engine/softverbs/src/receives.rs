//! Shared receive queues.

use crate::domain::errno;
use crate::world::{World, lock};
use crate::{code, free, object, pointer, translate};
use rdma::{Provider, ReceiveQueue};
use rdma_sys::{ibv_pd, ibv_recv_wr, ibv_srq, ibv_srq_attr, ibv_srq_init_attr};
use siw::SiwReceives;
use std::ffi::c_int;

/// A shared receive queue.
#[derive(Debug)]
pub struct Receives {
    pub siw: SiwReceives,
    pub domain: usize,
    depth: u16,
}

/// Makes a shared receive queue.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_create_srq(pd: *mut ibv_pd, attributes: *mut ibv_srq_init_attr) -> *mut ibv_srq {
    // SAFETY: the program's, to be read and written.
    let attributes = unsafe { &mut *attributes };
    let depth = u16::try_from(attributes.attr.max_wr).ok().filter(|n| (1..=crate::device::QUEUE_DEPTH).contains(n));
    pointer(depth.filter(|_| attributes.attr.max_sge <= 1).ok_or(libc::EINVAL).and_then(|depth| {
        let mut world = lock()?;
        let domain = world.domains.get_mut(&pd.addr()).ok_or(libc::EINVAL)?;
        let siw = domain.siw.receive_queue(&domain.completions, depth).map_err(errno)?;
        let raw = object::<ibv_srq>(|raw| {
            // SAFETY: the domain is known, so it lives.
            raw.context = unsafe { (*pd).context };
            (raw.srq_context, raw.pd) = (attributes.srq_context, pd);
        });
        world.receives.insert(raw.addr(), Receives { siw, domain: pd.addr(), depth });
        Ok(raw)
    }))
}

/// Destroys a shared receive queue that no queue pair draws from.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_destroy_srq(srq: *mut ibv_srq) -> c_int {
    let result = lock().and_then(|mut world| {
        if world.pairs.values().any(|pair| pair.shared == Some(srq.addr())) {
            return Err(libc::EBUSY);
        }
        let mut receives = world.receives.remove(&srq.addr()).ok_or(libc::EINVAL)?;
        while receives.siw.take_back().is_some() {}
        Ok(())
    });
    if result.is_ok() {
        // SAFETY: it was known, so it was made above, and now it is forgotten.
        unsafe { free(srq) };
    }
    code(result)
}

/// Changes nothing, which is what is asked for when there is no limit to set.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_modify_srq(_srq: *mut ibv_srq, _attributes: *mut ibv_srq_attr, mask: c_int) -> c_int {
    if mask == 0 { 0 } else { libc::EOPNOTSUPP }
}

/// What it was made with.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_query_srq(srq: *mut ibv_srq, attributes: *mut ibv_srq_attr) -> c_int {
    code(lock().and_then(|world| {
        let receives = world.receives.get(&srq.addr()).ok_or(libc::EINVAL)?;
        // SAFETY: the program's, to be written.
        unsafe { attributes.write(ibv_srq_attr { max_wr: receives.depth.into(), max_sge: 1, srq_limit: 0 }) };
        Ok(())
    }))
}

/// Posts shared receives.
pub unsafe extern "C" fn post_srq_recv(srq: *mut ibv_srq, wr: *mut ibv_recv_wr, bad: *mut *mut ibv_recv_wr) -> c_int {
    code(lock().and_then(|mut world| {
        let mut at = wr;
        let mut result = Ok(());
        while !at.is_null() {
            // SAFETY: the program's chain, which may be in packed structures.
            let request = unsafe { at.read_unaligned() };
            result = world.post_shared(srq.addr(), &request);
            if result.is_err() {
                // SAFETY: the program's, to be written.
                unsafe { *bad = at };
                break;
            }
            at = request.next;
        }
        if let Some(receives) = world.receives.get_mut(&srq.addr()) {
            receives.siw.ring();
        }
        // Connections may have waited for these.
        world.turn();
        result
    }))
}

impl World {
    fn post_shared(&mut self, srq: usize, wr: &ibv_recv_wr) -> Result<(), c_int> {
        let domain = self.receives.get(&srq).ok_or(libc::EINVAL)?.domain;
        // SAFETY: the program's request, as in C.
        let request = unsafe { translate::receive(self.domain(domain)?, wr) }?;
        let receives = self.receives.get_mut(&srq).ok_or(libc::EINVAL)?;
        receives.siw.post_receive(request).map_err(|_| libc::ENOMEM)
    }
}
