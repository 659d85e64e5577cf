//! Between the libraries' requests and completions and the seam's.

use crate::domain::Domain;
use crate::world::World;
use primitives::{Buf, Home, Tag};
use rdma::{Op, Opcode, ReceiveRequest, Remote, Sge, Sgl, Stag, Status, WorkRequest};
use rdma_sys::{
    ibv_recv_wr, ibv_send_flags as flag, ibv_send_wr, ibv_sge, ibv_wc_opcode, ibv_wc_status as wc, ibv_wr_opcode,
};
use std::ffi::c_int;
use std::ptr::{self, NonNull};

/// The status of a completion, as the libraries number it.
pub const fn status(status: Status) -> u32 {
    match status {
        Status::Success => wc::IBV_WC_SUCCESS,
        Status::LocalLength => wc::IBV_WC_LOC_LEN_ERR,
        Status::LocalOperation => wc::IBV_WC_LOC_QP_OP_ERR,
        Status::LocalProtection => wc::IBV_WC_LOC_PROT_ERR,
        Status::LocalAccess => wc::IBV_WC_LOC_ACCESS_ERR,
        Status::Window => wc::IBV_WC_MW_BIND_ERR,
        Status::BadResponse => wc::IBV_WC_BAD_RESP_ERR,
        Status::RemoteInvalidRequest => wc::IBV_WC_REM_INV_REQ_ERR,
        Status::RemoteAccess => wc::IBV_WC_REM_ACCESS_ERR,
        Status::RemoteOperation => wc::IBV_WC_REM_OP_ERR,
        Status::RetryExceeded => wc::IBV_WC_RETRY_EXC_ERR,
        Status::RnrRetryExceeded => wc::IBV_WC_RNR_RETRY_EXC_ERR,
        Status::Flushed => wc::IBV_WC_WR_FLUSH_ERR,
        Status::Fatal(_) => wc::IBV_WC_FATAL_ERR,
    }
}

/// What completed, as the libraries number it.
pub const fn opcode(opcode: Opcode) -> u32 {
    match opcode {
        Opcode::Send => ibv_wc_opcode::IBV_WC_SEND,
        Opcode::Write => ibv_wc_opcode::IBV_WC_RDMA_WRITE,
        Opcode::Read => ibv_wc_opcode::IBV_WC_RDMA_READ,
        Opcode::Bind => ibv_wc_opcode::IBV_WC_BIND_MW,
        Opcode::Invalidate => ibv_wc_opcode::IBV_WC_LOCAL_INV,
        Opcode::Receive => ibv_wc_opcode::IBV_WC_RECV,
    }
}

/// Bytes that a request carries inside itself.
pub type Inline = Option<Box<[u8]>>;

/// Memory of the program, which is its to keep valid until the request completes.
fn lend(addr: *mut u8, capacity: u32, len: u32) -> Buf {
    let at = NonNull::new(addr).unwrap_or(NonNull::dangling());
    // SAFETY: verbs' own contract puts the program under the same obligation; the handle says that others may use the
    // same bytes, so nobody forms references to them.
    let mut buf = unsafe { Buf::from_raw(at, capacity, Home::Lent) };
    buf.set_len(len as usize);
    buf
}

/// The elements of a request that have bytes. Programs keep them in packed structures, too.
///
/// # Safety
/// As in C: there are `count` at `list`.
unsafe fn elements(list: *const ibv_sge, count: c_int) -> impl Iterator<Item = ibv_sge> {
    // SAFETY: the caller's promise.
    let at = move |n| unsafe { list.add(n).read_unaligned() };
    (0..usize::try_from(count).unwrap_or(0)).map(at).filter(|sge| sge.length > 0)
}

fn check(domain: &Domain, sge: ibv_sge) -> Result<*mut u8, c_int> {
    let addr = usize::try_from(sge.addr).map_err(|_| libc::EFAULT)?;
    if !domain.holds(sge.lkey, addr, sge.length as usize) {
        return Err(libc::EFAULT);
    }
    Ok(ptr::with_exposed_provenance_mut(addr))
}

/// A send request.
///
/// # Errors
/// EINVAL for what is not served, EFAULT for memory that its key does not cover.
///
/// # Safety
/// As in C.
pub unsafe fn send(domain: &Domain, wr: &ibv_send_wr, all: bool) -> Result<(WorkRequest, Inline), c_int> {
    let has = |bit: flag| wr.send_flags & bit.0 != 0;
    let solicited = has(flag::IBV_SEND_SOLICITED);
    // SAFETY: these members are what the opcodes they are used with have.
    let (rdma, key) = unsafe { (wr.wr.rdma, wr.imm_data_invalidated_rkey_union.invalidated_rkey) };
    let remote = Remote { stag: Stag(rdma.rkey), va: rdma.remote_addr };
    let op = match wr.opcode {
        ibv_wr_opcode::IBV_WR_SEND => Op::Send { solicited, invalidate: None },
        ibv_wr_opcode::IBV_WR_SEND_WITH_INV => Op::Send { solicited, invalidate: Some(Stag(key)) },
        ibv_wr_opcode::IBV_WR_RDMA_WRITE => Op::Write { to: remote },
        ibv_wr_opcode::IBV_WR_RDMA_READ => Op::Read { from: remote },
        _ => return Err(libc::EINVAL),
    };
    let (mut sgl, mut inline) = (Sgl::NONE, None);
    if has(flag::IBV_SEND_INLINE) && op.opcode() != Opcode::Read {
        // SAFETY: the caller's promise.
        let mut bytes = unsafe { gather(wr) }?;
        if !bytes.is_empty() {
            sgl = Sgl::one(Sge::filled(lend(bytes.as_mut_ptr(), bytes.len() as u32, bytes.len() as u32)));
            inline = Some(bytes);
        }
    } else {
        // SAFETY: the caller's promise.
        let mut sges = unsafe { elements(wr.sg_list, wr.num_sge) }.map(|sge| {
            let filled = if op.opcode() == Opcode::Read { 0 } else { sge.length };
            check(domain, sge).map(|at| Sge::new(lend(at, sge.length, filled), 0, sge.length))
        });
        sgl = match (sges.next().transpose()?, sges.next().transpose()?) {
            (Some(one), Some(two)) => Sgl::two(one, two),
            (Some(one), None) => Sgl::one(one),
            _ => Sgl::NONE,
        };
        if sges.next().is_some() || (op.opcode() == Opcode::Read && sgl.count() > 1) {
            return Err(libc::EINVAL);
        }
    }
    let signalled = all || has(flag::IBV_SEND_SIGNALED);
    Ok((WorkRequest { tag: Tag::from_bits(wr.wr_id), op, sgl, signalled }, inline))
}

/// The bytes of a request, copied.
///
/// # Safety
/// As in C.
unsafe fn gather(wr: &ibv_send_wr) -> Result<Box<[u8]>, c_int> {
    let mut bytes = Vec::new();
    // SAFETY: the caller's promise.
    for sge in unsafe { elements(wr.sg_list, wr.num_sge) } {
        if bytes.len() + sge.length as usize > crate::device::MAX_INLINE as usize {
            return Err(libc::ENOMEM);
        }
        let at = ptr::with_exposed_provenance::<u8>(sge.addr as usize);
        // SAFETY: inline data needs no registration; that it is there is the program's promise.
        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(at, sge.length as usize) });
    }
    Ok(bytes.into())
}

/// A receive request.
///
/// # Errors
/// As [`send`].
///
/// # Safety
/// As in C.
pub unsafe fn receive(domain: &Domain, wr: &ibv_recv_wr) -> Result<ReceiveRequest, c_int> {
    // SAFETY: the caller's promise.
    let mut sges = unsafe { elements(wr.sg_list, wr.num_sge) };
    let buf = match (sges.next(), sges.next()) {
        (Some(sge), None) => lend(check(domain, sge)?, sge.length, 0),
        (None, _) => lend(ptr::null_mut(), 0, 0),
        _ => return Err(libc::EINVAL),
    };
    Ok(ReceiveRequest { tag: Tag::from_bits(wr.wr_id), buf })
}

impl World {
    /// The domain of a queue pair or shared receive queue.
    pub fn domain(&self, domain: usize) -> Result<&Domain, c_int> {
        self.domains.get(&domain).ok_or(libc::EINVAL)
    }
}
