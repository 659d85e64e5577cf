//! Queue pairs.

use super::completions::Completions;
use super::resources::{Domain, Receives};
use super::returned;
use rdma_sys::{ibv_qp_attr, ibv_qp_attr_mask as Mask, ibv_qp_init_attr, ibv_qp_state};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

/// A queue pair; its [`CmId`](super::CmId) owns it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair {
    raw: NonNull<rdma_sys::ibv_qp>,
    number: u32,
}

// SAFETY: the libraries' calls may come from any thread, and nothing here belongs to one.
unsafe impl Send for Pair {}

/// What a queue pair is made of.
#[derive(Debug)]
pub struct PairSetup<'a> {
    pub domain: &'a Domain,
    pub completions: &'a Completions,
    pub receives: Option<&'a Receives>,
    pub send_depth: u16,
    pub receive_depth: u16,
    pub max_inline: u32,
}

impl PairSetup<'_> {
    pub(super) fn raw(&self) -> ibv_qp_init_attr {
        let completions = self.completions.as_ptr();
        ibv_qp_init_attr {
            qp_context: ptr::null_mut(),
            send_cq: completions,
            recv_cq: completions,
            srq: self.receives.map_or(ptr::null_mut(), Receives::as_ptr),
            cap: rdma_sys::ibv_qp_cap {
                max_send_wr: self.send_depth.max(1).into(),
                // Some devices do not make queues of nothing.
                max_recv_wr: if self.receives.is_some() { 0 } else { self.receive_depth.max(1).into() },
                max_send_sge: rdma::limits::MAX_SGE as u32,
                max_recv_sge: 1,
                max_inline_data: self.max_inline,
            },
            qp_type: rdma_sys::ibv_qp_type::IBV_QPT_RC,
            sq_sig_all: 0,
        }
    }

    /// The inline bytes a device grants to such a queue pair: one is made for nothing else.
    pub fn probe_inline(&self) -> Option<u32> {
        let mut raw = self.raw();
        // SAFETY: the objects named by the set-up live longer than this call.
        let qp = NonNull::new(unsafe { rdma_sys::ibv_create_qp(self.domain.as_ptr(), &raw mut raw) })?;
        // SAFETY: just made, and used by nobody.
        unsafe { rdma_sys::ibv_destroy_qp(qp.as_ptr()) };
        Some(raw.cap.max_inline_data)
    }
}

impl Pair {
    pub(super) fn new(raw: *mut rdma_sys::ibv_qp) -> Option<Self> {
        let raw = NonNull::new(raw)?;
        // SAFETY: it lives, and its number does not change.
        let number = unsafe { raw.as_ref().qp_num };
        Some(Self { raw, number })
    }

    pub(super) fn as_ptr(self) -> *mut rdma_sys::ibv_qp {
        self.raw.as_ptr()
    }

    pub const fn number(self) -> u32 {
        self.number
    }

    fn modify(self, attributes: &mut ibv_qp_attr, mask: u32) -> Result<(), i32> {
        // SAFETY: whoever has a `Pair` has its identifier; the attributes are read by the call.
        returned(unsafe { rdma_sys::ibv_modify_qp(self.as_ptr(), attributes, mask as i32) })
    }

    /// Moves it to the error state: its requests are flushed.
    pub fn to_error(self) -> Result<(), i32> {
        let mut attributes = zeroed();
        attributes.qp_state = ibv_qp_state::IBV_QPS_ERR;
        self.modify(&mut attributes, Mask::IBV_QP_STATE.0)
    }

    /// Sets how long the peer is told to wait when no receive is posted.
    pub fn set_rnr_timer(self, timer: u8) -> Result<(), i32> {
        let mut attributes = zeroed();
        attributes.qp_state = ibv_qp_state::IBV_QPS_RTS;
        attributes.min_rnr_timer = timer;
        self.modify(&mut attributes, Mask::IBV_QP_STATE.0 | Mask::IBV_QP_MIN_RNR_TIMER.0)
    }

    /// RDMA Reads that the device will issue at once, as far as it knows.
    pub fn read_depth(self) -> Option<u16> {
        let mut attributes = zeroed();
        let mut init = MaybeUninit::<ibv_qp_init_attr>::zeroed();
        let wanted = Mask::IBV_QP_MAX_QP_RD_ATOMIC.0 as i32;
        // SAFETY: both are written by the call, and zeros before.
        let result = unsafe { rdma_sys::ibv_query_qp(self.as_ptr(), &raw mut attributes, wanted, init.as_mut_ptr()) };
        returned(result).ok().map(|()| attributes.max_rd_atomic.into())
    }
}

fn zeroed() -> ibv_qp_attr {
    // SAFETY: numbers only; all zeros are valid.
    unsafe { core::mem::zeroed() }
}
