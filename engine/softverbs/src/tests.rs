//! The libraries' calls as C programs make them, where no connection is needed. Programs that connect are in `tests`,
//! and the conformance suite of `rdma-verbs` runs over all this.

use crate::bell;
use crate::completions::*;
use crate::device::*;
use crate::domain::*;
use crate::pair::*;
use crate::receives::*;
use rdma_sys::{
    ibv_access_flags, ibv_comp_channel, ibv_cq, ibv_mr, ibv_pd, ibv_qp, ibv_qp_attr, ibv_qp_attr_mask,
    ibv_qp_init_attr, ibv_qp_state, ibv_qp_type, ibv_recv_wr, ibv_send_wr, ibv_sge, ibv_wc, ibv_wc_status,
    ibv_wr_opcode,
};
use std::mem::zeroed;
use std::ptr::null_mut;

/// A queue pair and what it is made of.
struct Rig {
    pd: *mut ibv_pd,
    channel: *mut ibv_comp_channel,
    cq: *mut ibv_cq,
    qp: *mut ibv_qp,
    mr: *mut ibv_mr,
    memory: Box<[u8; 4096]>,
}

const ACCESS: i32 = ibv_access_flags::IBV_ACCESS_LOCAL_WRITE.0 as i32;

impl Rig {
    fn new() -> Self {
        // SAFETY: as C programs do: every object is made of living ones, and freed by `end`.
        unsafe {
            let devices = ibv_get_device_list(null_mut());
            let context = ibv_open_device(*devices);
            ibv_free_device_list(devices);
            let (pd, channel) = (ibv_alloc_pd(context), ibv_create_comp_channel(context));
            libc::fcntl((*channel).fd, libc::F_SETFL, libc::O_NONBLOCK);
            let cq = ibv_create_cq(context, 8, null_mut(), channel, 0);
            let mut init: ibv_qp_init_attr = zeroed();
            (init.send_cq, init.recv_cq, init.qp_type) = (cq, cq, ibv_qp_type::IBV_QPT_RC);
            (init.cap.max_send_wr, init.cap.max_recv_wr) = (2, 2);
            (init.cap.max_send_sge, init.cap.max_recv_sge) = (1, 1);
            let qp = ibv_create_qp(pd, &raw mut init);
            assert!(!qp.is_null() && init.cap.max_send_sge == MAX_SGE && init.cap.max_inline_data == MAX_INLINE);
            let mut memory = Box::new([0; 4096]);
            let mr = ibv_reg_mr(pd, memory.as_mut_ptr().cast(), memory.len(), ACCESS);
            assert!(!mr.is_null());
            Self { pd, channel, cq, qp, mr, memory }
        }
    }

    fn sge(&self, len: u32) -> ibv_sge {
        // SAFETY: the region lives.
        ibv_sge { addr: self.memory.as_ptr().addr() as u64, length: len, lkey: unsafe { (*self.mr).lkey } }
    }

    /// Posts one receive; what the call returns.
    fn receive(&self, id: u64, sge: &mut ibv_sge) -> i32 {
        let mut wr = ibv_recv_wr { wr_id: id, next: null_mut(), sg_list: sge, num_sge: 1 };
        let mut bad = null_mut();
        // SAFETY: a request of one element, read by the call.
        let result = unsafe { post_recv(self.qp, &raw mut wr, &raw mut bad) };
        assert_eq!(bad.is_null(), result == 0);
        result
    }

    fn to_error(&self) {
        // SAFETY: numbers only; read by the call.
        unsafe {
            let mut attributes: ibv_qp_attr = zeroed();
            attributes.qp_state = ibv_qp_state::IBV_QPS_ERR;
            assert_eq!(ibv_modify_qp(self.qp, &raw mut attributes, ibv_qp_attr_mask::IBV_QP_STATE.0 as i32), 0);
            assert_eq!((*self.qp).state, ibv_qp_state::IBV_QPS_ERR);
        }
    }

    /// Ids and statuses of what has completed.
    fn poll(&self) -> Vec<(u64, u32)> {
        // SAFETY: numbers only; room for as many as are asked for.
        unsafe {
            let mut wcs: [ibv_wc; 4] = zeroed();
            let got = poll_cq(self.cq, 4, wcs.as_mut_ptr());
            wcs[..got as usize].iter().map(|wc| (wc.wr_id, wc.status)).collect()
        }
    }

    fn end(self) {
        // SAFETY: what is made of others first.
        unsafe {
            assert_eq!((ibv_destroy_qp(self.qp), ibv_dereg_mr(self.mr), ibv_destroy_cq(self.cq)), (0, 0, 0));
            assert_eq!((ibv_destroy_comp_channel(self.channel), ibv_dealloc_pd(self.pd)), (0, 0));
        }
    }
}

#[test]
fn what_is_in_use_is_not_destroyed_and_strangers_are_refused() {
    let rig = Rig::new();
    // SAFETY: objects that are in use are refused, and so are addresses that nothing is at: neither is looked into.
    unsafe {
        assert_eq!(ibv_dealloc_pd(rig.pd), libc::EBUSY);
        assert_eq!((ibv_destroy_cq(rig.cq), ibv_destroy_comp_channel(rig.channel)), (libc::EBUSY, libc::EBUSY));
        assert_eq!((ibv_dereg_mr(null_mut()), ibv_destroy_qp(null_mut())), (libc::EINVAL, libc::EINVAL));
        assert_eq!((ibv_destroy_srq(null_mut()), ibv_dealloc_pd(null_mut())), (libc::EINVAL, libc::EINVAL));
        assert!(ibv_reg_mr(null_mut(), rig.pd.cast(), 1, 0).is_null());
        let remote = ibv_access_flags::IBV_ACCESS_REMOTE_WRITE.0 as i32;
        assert!(ibv_reg_mr(rig.pd, rig.pd.cast(), 1, remote).is_null(), "who may write from afar may write here");
        assert!(ibv_create_cq((*rig.pd).context, 0, null_mut(), null_mut(), 0).is_null());
    }
    rig.end();
}

#[test]
fn receives_are_flushed_and_an_armed_queue_rings_once() {
    let mut rig = Rig::new();
    let (mut sge, fd) = (rig.sge(100), rig.channel);
    // SAFETY: the channel lives, and does not block.
    let rings = || unsafe { bell::wait((*fd).fd) };
    assert_eq!((rig.receive(1, &mut sge), rig.receive(2, &mut sge)), (0, 0));
    assert_eq!(rig.receive(3, &mut sge), libc::ENOMEM, "the queue is full");
    // SAFETY: the queue lives.
    assert_eq!(unsafe { req_notify_cq(rig.cq, 0) }, 0);
    assert!(!rings(), "nothing has completed");
    rig.to_error();
    let flushed = ibv_wc_status::IBV_WC_WR_FLUSH_ERR;
    assert!(rings() && !rings());
    // SAFETY: the queue lives.
    assert_eq!(unsafe { req_notify_cq(rig.cq, 0) }, 0);
    assert!(rings(), "what is there already counts");
    assert_eq!(rig.poll(), [(1, flushed), (2, flushed)]);
    assert_eq!(rig.receive(4, &mut sge), 0);
    assert_eq!(rig.poll(), [(4, flushed)], "as is what comes later");
    rig.memory[0] = 1;
    rig.end();
}

#[test]
fn requests_with_foreign_memory_or_unknown_operations_are_refused() {
    let rig = Rig::new();
    let good = rig.sge(100);
    for mut wrong in [
        ibv_sge { length: 4097, ..good },
        ibv_sge { addr: good.addr - 1, ..good },
        ibv_sge { addr: u64::MAX, ..good },
        ibv_sge { lkey: good.lkey ^ 1, ..good },
    ] {
        assert_eq!(rig.receive(1, &mut wrong), libc::EFAULT);
    }
    let mut sges = [good; 3];
    for (opcode, count) in [(ibv_wr_opcode::IBV_WR_ATOMIC_FETCH_AND_ADD, 1), (ibv_wr_opcode::IBV_WR_SEND, 3)] {
        // SAFETY: numbers and pointers; a request of as many elements as it says, read by the call.
        unsafe {
            let mut wr: ibv_send_wr = zeroed();
            (wr.opcode, wr.sg_list, wr.num_sge) = (opcode, sges.as_mut_ptr(), count);
            let mut bad = null_mut();
            assert_eq!(post_send(rig.qp, &raw mut wr, &raw mut bad), libc::EINVAL);
            assert_eq!(bad, &raw mut wr);
        }
    }
    rig.end();
}

/// Programs keep requests in packed structures.
#[test]
fn requests_need_no_alignment() {
    let rig = Rig::new();
    let mut bytes = [0u8; 64];
    // SAFETY: room for an element at an odd address, written and read without regard to alignment.
    unsafe {
        let at = bytes.as_mut_ptr().add(1).cast::<ibv_sge>();
        at.write_unaligned(rig.sge(10));
        let mut wr = ibv_recv_wr { wr_id: 1, next: null_mut(), sg_list: at, num_sge: 1 };
        let mut bad = null_mut();
        assert_eq!(post_recv(rig.qp, &raw mut wr, &raw mut bad), 0);
    }
    rig.end();
}
