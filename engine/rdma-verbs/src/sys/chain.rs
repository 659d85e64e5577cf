//! Work requests in the device's form, chained for one call.

use super::pair::Pair;
use super::resources::{Receives, Region, Window, peer_flags};
use crate::limits::POST_BATCH;
use rdma::Access;
use rdma::limits::MAX_SGE;
use rdma_sys::{ibv_recv_wr, ibv_send_flags as Flags, ibv_send_wr, ibv_sge, ibv_wr_opcode as opcode};
use std::ffi::c_int;
use std::ptr;

/// A scatter-gather element.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WireSge {
    pub addr: u64,
    pub len: u32,
    pub key: u32,
}

impl WireSge {
    const fn raw(self) -> ibv_sge {
        ibv_sge { addr: self.addr, length: self.len, lkey: self.key }
    }
}

/// What a request does.
#[derive(Clone, Copy, Debug)]
pub enum WireOp<'a> {
    Send,
    SendInvalidate(u32),
    Write { va: u64, key: u32 },
    Read { va: u64, key: u32 },
    Invalidate(u32),
    Bind { window: &'a Window, key: u32, region: &'a Region, addr: u64, len: u32, access: Access },
}

/// A send request.
#[derive(Clone, Copy, Debug)]
pub struct Wire<'a> {
    pub id: u64,
    pub op: WireOp<'a>,
    pub sges: [WireSge; MAX_SGE],
    pub count: usize,
    pub signalled: bool,
    pub solicited: bool,
    /// The bytes are copied into the request when it is posted.
    pub inline: bool,
}

/// Room for the requests of one call to the device, used again and again.
pub struct SendChain {
    requests: Box<[ibv_send_wr]>,
    elements: Box<[[ibv_sge; MAX_SGE]]>,
    len: usize,
}

// SAFETY: its pointers are to its own boxes, or to memory that `post` was promised.
unsafe impl Send for SendChain {}

impl SendChain {
    pub fn new() -> Self {
        // SAFETY: numbers and pointers only; all zeros are valid.
        let requests = (0..POST_BATCH).map(|_| unsafe { core::mem::zeroed() }).collect();
        Self { requests, elements: vec![[WireSge::default().raw(); MAX_SGE]; POST_BATCH].into(), len: 0 }
    }

    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn is_full(&self) -> bool {
        self.len == POST_BATCH
    }

    /// Appends; there must be room.
    pub fn push(&mut self, wire: &Wire<'_>) {
        let elements = &mut self.elements[self.len];
        for (to, from) in elements.iter_mut().zip(wire.sges) {
            *to = from.raw();
        }
        let list = elements.as_mut_ptr();
        let raw = &mut self.requests[self.len];
        raw.wr_id = wire.id;
        raw.next = ptr::null_mut();
        raw.sg_list = list;
        raw.num_sge = wire.count.min(MAX_SGE) as c_int;
        let on = |on: bool, flag: Flags| if on { flag.0 } else { 0 };
        raw.send_flags = on(wire.signalled, Flags::IBV_SEND_SIGNALED)
            | on(wire.solicited, Flags::IBV_SEND_SOLICITED)
            | on(wire.inline, Flags::IBV_SEND_INLINE);
        raw.opcode = code(&wire.op);
        set(raw, &wire.op);
        let this: *mut ibv_send_wr = raw;
        if let Some(before) = self.len.checked_sub(1) {
            self.requests[before].next = this;
        }
        self.len += 1;
    }

    /// Asks for a completion of the last request.
    pub fn signal_last(&mut self) {
        if let Some(last) = self.len.checked_sub(1) {
            self.requests[last].send_flags |= Flags::IBV_SEND_SIGNALED.0;
        }
    }

    /// Hands everything to the device and empties the chain.
    ///
    /// # Errors
    /// How many were taken before one was not, and the error number.
    ///
    /// # Safety
    /// The memory that the elements name stays valid, and is left alone, until the requests complete. Windows and
    /// regions live until then.
    pub unsafe fn post(&mut self, pair: Pair) -> Result<(), (usize, i32)> {
        let len = core::mem::take(&mut self.len);
        if len == 0 {
            return Ok(());
        }
        let first = self.requests.as_mut_ptr();
        let mut bad = ptr::null_mut();
        // SAFETY: the chain is well formed, and the caller answers for the memory.
        let result = unsafe { rdma_sys::ibv_post_send(pair.as_ptr(), first, &raw mut bad) };
        super::returned(result).map_err(|errno| (position(first, bad, len), errno))
    }
}

/// How many requests of a chain come before `bad`.
fn position<T>(first: *const T, bad: *const T, len: usize) -> usize {
    let distance = bad.addr().wrapping_sub(first.addr()) / size_of::<T>();
    if bad.is_null() || distance >= len { 0 } else { distance }
}

const fn code(op: &WireOp<'_>) -> opcode::Type {
    match op {
        WireOp::Send => opcode::IBV_WR_SEND,
        WireOp::SendInvalidate(_) => opcode::IBV_WR_SEND_WITH_INV,
        WireOp::Write { .. } => opcode::IBV_WR_RDMA_WRITE,
        WireOp::Read { .. } => opcode::IBV_WR_RDMA_READ,
        WireOp::Invalidate(_) => opcode::IBV_WR_LOCAL_INV,
        WireOp::Bind { .. } => opcode::IBV_WR_BIND_MW,
    }
}

fn set(raw: &mut ibv_send_wr, op: &WireOp<'_>) {
    // Some providers look at it whatever the opcode is.
    raw.imm_data_invalidated_rkey_union.invalidated_rkey = 0;
    match *op {
        WireOp::Send => {}
        WireOp::SendInvalidate(key) | WireOp::Invalidate(key) => {
            raw.imm_data_invalidated_rkey_union.invalidated_rkey = key;
            // Where rdma-core's siw looks for it; nobody else looks there.
            raw.wr.rdma = rdma_sys::rdma_t { remote_addr: 0, rkey: key };
        }
        WireOp::Write { va, key } | WireOp::Read { va, key } => {
            raw.wr.rdma = rdma_sys::rdma_t { remote_addr: va, rkey: key };
        }
        WireOp::Bind { window, key, region, addr, len, access } => {
            raw.bind_mw_tso_union.bind_mw = rdma_sys::bind_mw_t {
                mw: window.as_ptr(),
                rkey: key,
                bind_info: rdma_sys::ibv_mw_bind_info {
                    mr: region.as_ptr(),
                    addr,
                    length: len.into(),
                    mw_access_flags: peer_flags(access),
                },
            };
        }
    }
}

/// Room for the receives of one call to the device.
pub struct ReceiveChain {
    requests: Box<[ibv_recv_wr]>,
    elements: Box<[ibv_sge]>,
    len: usize,
}

// SAFETY: its pointers are to its own boxes, or to memory that `post` was promised.
unsafe impl Send for ReceiveChain {}

impl ReceiveChain {
    pub fn new() -> Self {
        // SAFETY: numbers and pointers only; all zeros are valid.
        let requests = (0..POST_BATCH).map(|_| unsafe { core::mem::zeroed() }).collect();
        Self { requests, elements: vec![WireSge::default().raw(); POST_BATCH].into(), len: 0 }
    }

    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn is_full(&self) -> bool {
        self.len == POST_BATCH
    }

    /// Appends; there must be room.
    pub fn push(&mut self, id: u64, sge: WireSge) {
        self.elements[self.len] = sge.raw();
        let list = &raw mut self.elements[self.len];
        self.requests[self.len] = ibv_recv_wr { wr_id: id, next: ptr::null_mut(), sg_list: list, num_sge: 1 };
        let this = &raw mut self.requests[self.len];
        if let Some(before) = self.len.checked_sub(1) {
            self.requests[before].next = this;
        }
        self.len += 1;
    }

    /// Hands everything to a queue pair and empties the chain.
    ///
    /// # Errors
    /// How many were taken before one was not, and the error number.
    ///
    /// # Safety
    /// As [`SendChain::post`].
    pub unsafe fn post(&mut self, pair: Pair) -> Result<(), (usize, i32)> {
        // SAFETY: the caller's promise.
        unsafe { self.with(|first, bad| rdma_sys::ibv_post_recv(pair.as_ptr(), first, bad)) }
    }

    /// Hands everything to a shared receive queue and empties the chain.
    ///
    /// # Errors
    /// As [`ReceiveChain::post`].
    ///
    /// # Safety
    /// As [`SendChain::post`].
    pub unsafe fn post_shared(&mut self, receives: &Receives) -> Result<(), (usize, i32)> {
        // SAFETY: the caller's promise.
        unsafe { self.with(|first, bad| rdma_sys::ibv_post_srq_recv(receives.as_ptr(), first, bad)) }
    }

    /// # Safety
    /// `post` hands a well-formed chain to the device.
    unsafe fn with(
        &mut self,
        post: impl FnOnce(*mut ibv_recv_wr, *mut *mut ibv_recv_wr) -> c_int,
    ) -> Result<(), (usize, i32)> {
        let len = core::mem::take(&mut self.len);
        if len == 0 {
            return Ok(());
        }
        let first = self.requests.as_mut_ptr();
        let mut bad = ptr::null_mut();
        super::returned(post(first, &raw mut bad)).map_err(|errno| (position(first, bad, len), errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(id: u64, op: WireOp<'_>) -> Wire<'_> {
        let sges = [WireSge { addr: id, len: 4, key: 9 }, WireSge { addr: id + 100, len: 5, key: 9 }];
        Wire { id, op, sges, count: 2, signalled: id == 2, solicited: id == 1, inline: id == 0 }
    }

    #[test]
    fn a_chain_is_linked_in_order_and_says_what_was_asked() {
        let mut chain = SendChain::new();
        for id in 0..POST_BATCH as u64 {
            let op = match id {
                0 => WireOp::SendInvalidate(77),
                1 => WireOp::Read { va: 8, key: 3 },
                _ => WireOp::Send,
            };
            assert!(!chain.is_full());
            chain.push(&wire(id, op));
        }
        assert!(chain.is_full());
        chain.signal_last();
        let (mut at, mut seen) = (chain.requests.as_ptr(), 0);
        // SAFETY: the chain's own requests, linked by it.
        while let Some(raw) = unsafe { at.as_ref() } {
            let (sges, flags) = (raw.sg_list, raw.send_flags);
            // SAFETY: two elements were given to each.
            let addrs = unsafe { [(*sges).addr, (*sges.add(1)).addr] };
            assert_eq!((raw.wr_id, addrs, raw.num_sge), (seen, [seen, seen + 100], 2));
            // SAFETY: of a Send with Invalidate the key was written; zeros are a key as well.
            let key = unsafe { raw.imm_data_invalidated_rkey_union.invalidated_rkey };
            // SAFETY: of a Read these were written; zeros are valid, too.
            let rdma = unsafe { raw.wr.rdma };
            match seen {
                0 => {
                    let inline = Flags::IBV_SEND_INLINE.0;
                    assert_eq!((raw.opcode, flags, key), (opcode::IBV_WR_SEND_WITH_INV, inline, 77));
                }
                1 => {
                    let solicited = Flags::IBV_SEND_SOLICITED.0;
                    assert_eq!((raw.opcode, flags), (opcode::IBV_WR_RDMA_READ, solicited));
                    assert_eq!((rdma.remote_addr, rdma.rkey), (8, 3));
                }
                2 => assert_eq!(flags, Flags::IBV_SEND_SIGNALED.0),
                _ => assert_eq!(flags != 0, seen == POST_BATCH as u64 - 1),
            }
            (at, seen) = (raw.next, seen + 1);
        }
        assert_eq!(seen, POST_BATCH as u64);
    }

    #[test]
    fn what_was_not_taken_is_found_by_its_place() {
        let requests = [0u64; 4];
        let first = requests.as_ptr();
        assert_eq!(position(first, &raw const requests[3], 4), 3);
        assert_eq!(position(first, &raw const requests[0], 4), 0);
        // A device that does not say which one counts as having taken none.
        assert_eq!(position(first, ptr::null(), 4), 0);
        assert_eq!(position(first, &raw const requests[3], 2), 0);
    }
}
