//! Queue pairs.

use crate::completions::Work;
use crate::device::{MAX_INLINE, MAX_SGE, QUEUE_DEPTH};
use crate::translate::{self, Inline};
use crate::world::{World, lock};
use crate::{code, free, object, pointer};
use primitives::Tag;
use rdma::{Completion, Opcode, QueuePair, ReadDepth, ReceiveRequest, Status, Why, WorkRequest};
use rdma_sys::{
    ibv_pd, ibv_qp, ibv_qp_attr, ibv_qp_attr_mask, ibv_qp_cap, ibv_qp_init_attr, ibv_qp_state, ibv_qp_type,
    ibv_recv_wr, ibv_send_wr,
};
use siw::SiwQueue;
use std::collections::VecDeque;
use std::ffi::c_int;

/// What is remembered of a send request until it completes.
#[derive(Debug)]
struct Posted {
    signalled: bool,
    /// Kept for the device to send from.
    _inline: Inline,
}

/// A queue pair. The device's comes before the memory that it sends from.
pub struct Pair {
    /// From the moment its connection is begun.
    pub live: Option<SiwQueue>,
    /// Requests that the device has, in order.
    posted: VecDeque<Posted>,
    /// Requests that have to wait for the device, in order.
    waiting: VecDeque<(WorkRequest, Posted)>,
    /// Receives posted before there was anything to post them to.
    pub early: Vec<ReceiveRequest>,
    pub number: u32,
    pub domain: usize,
    pub send_completions: usize,
    pub receive_completions: usize,
    pub shared: Option<usize>,
    pub cap: ibv_qp_cap,
    signal_all: bool,
    /// Its identifier of the connection manager.
    pub id: Option<usize>,
    pub depth: ReadDepth,
    pub failed: bool,
}

impl Pair {
    pub fn send_depth(&self) -> u16 {
        self.cap.max_send_wr as u16
    }

    pub fn receive_depth(&self) -> u16 {
        if self.shared.is_some() { 0 } else { self.cap.max_recv_wr as u16 }
    }
}

/// A queue pair's name in the seam.
pub fn name(number: u32) -> Tag {
    Tag::from_bits(number.into())
}

fn create(pd: *mut ibv_pd, attributes: &mut ibv_qp_init_attr) -> Result<*mut ibv_qp, c_int> {
    let cap = &mut attributes.cap;
    let deep = |n: u32| n <= QUEUE_DEPTH.into();
    let shared = (!attributes.srq.is_null()).then(|| attributes.srq.addr());
    if attributes.qp_type != ibv_qp_type::IBV_QPT_RC
        || !deep(cap.max_send_wr)
        || (shared.is_none() && !deep(cap.max_recv_wr))
        || cap.max_send_sge > MAX_SGE
        || cap.max_recv_sge > 1
        || cap.max_inline_data > MAX_INLINE
    {
        return Err(libc::EINVAL);
    }
    (cap.max_send_sge, cap.max_recv_sge, cap.max_inline_data) = (MAX_SGE, 1, MAX_INLINE);
    let mut world = lock()?;
    let known = |cq: usize| world.completions.contains_key(&cq);
    let (send_completions, receive_completions) = (attributes.send_cq.addr(), attributes.recv_cq.addr());
    let of_domain = |srq: &usize| world.receives.get(srq).is_some_and(|receives| receives.domain == pd.addr());
    if !world.domains.contains_key(&pd.addr()) || !known(send_completions) || !known(receive_completions) {
        return Err(libc::EINVAL);
    }
    if shared.as_ref().is_some_and(|srq| !of_domain(srq)) {
        return Err(libc::EINVAL);
    }
    let number = world.next_number;
    world.next_number = number.wrapping_add(1).max(1) & 0xFF_FFFF;
    let raw = object::<ibv_qp>(|raw| {
        // SAFETY: the domain is known, so it lives.
        raw.context = unsafe { (*pd).context };
        (raw.qp_context, raw.pd, raw.srq) = (attributes.qp_context, pd, attributes.srq);
        (raw.send_cq, raw.recv_cq, raw.qp_num) = (attributes.send_cq, attributes.recv_cq, number);
        (raw.state, raw.qp_type) = (ibv_qp_state::IBV_QPS_INIT, attributes.qp_type);
    });
    let pair = Pair {
        live: None,
        posted: VecDeque::new(),
        waiting: VecDeque::new(),
        early: Vec::new(),
        number,
        domain: pd.addr(),
        send_completions,
        receive_completions,
        shared,
        cap: *cap,
        signal_all: attributes.sq_sig_all != 0,
        id: None,
        depth: ReadDepth::default(),
        failed: false,
    };
    world.pairs.insert(raw.expose_provenance(), pair);
    world.numbers.insert(number, raw.addr());
    Ok(raw)
}

/// Makes a queue pair.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_create_qp(pd: *mut ibv_pd, attributes: *mut ibv_qp_init_attr) -> *mut ibv_qp {
    // SAFETY: the program's, to be read and written.
    pointer(create(pd, unsafe { &mut *attributes }))
}

/// Destroys a queue pair, and with it what it has not completed.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_destroy_qp(qp: *mut ibv_qp) -> c_int {
    let result = lock().and_then(|mut world| world.destroy_pair(qp.addr()));
    if result.is_ok() {
        // SAFETY: it was known, so it was made above, and now it is forgotten.
        unsafe { free(qp) };
    }
    code(result)
}

/// Changes its state. Only the error state does anything: the others come and go with the connection.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_modify_qp(qp: *mut ibv_qp, attributes: *mut ibv_qp_attr, mask: c_int) -> c_int {
    code(lock().and_then(|mut world| {
        if !world.pairs.contains_key(&qp.addr()) {
            return Err(libc::EINVAL);
        }
        if mask as u32 & ibv_qp_attr_mask::IBV_QP_STATE.0 != 0 {
            // SAFETY: the program's, and known.
            let state = unsafe { (*attributes).qp_state };
            world.set_state(qp.addr(), state);
            if state == ibv_qp_state::IBV_QPS_ERR {
                world.fail_pair(qp.addr());
                world.settle();
            }
        }
        Ok(())
    }))
}

/// What it was made with, and its read depth.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_query_qp(
    qp: *mut ibv_qp,
    attributes: *mut ibv_qp_attr,
    _mask: c_int,
    init: *mut ibv_qp_init_attr,
) -> c_int {
    code(lock().and_then(|world| {
        let pair = world.pairs.get(&qp.addr()).ok_or(libc::EINVAL)?;
        // SAFETY: the program's, to be written; the queue pair is known, so it lives.
        unsafe {
            attributes.write_bytes(0, 1);
            (*attributes).qp_state = (*qp).state;
            (*attributes).cur_qp_state = (*qp).state;
            (*attributes).cap = pair.cap;
            (*attributes).max_rd_atomic = pair.depth.ord.min(255) as u8;
            (*attributes).max_dest_rd_atomic = pair.depth.ird.min(255) as u8;
            (*attributes).port_num = 1;
            init.write_bytes(0, 1);
            ((*init).qp_context, (*init).send_cq) = ((*qp).qp_context, (*qp).send_cq);
            ((*init).recv_cq, (*init).srq) = ((*qp).recv_cq, (*qp).srq);
            ((*init).cap, (*init).qp_type) = (pair.cap, (*qp).qp_type);
            (*init).sq_sig_all = c_int::from(pair.signal_all);
        }
        Ok(())
    }))
}

/// Posts requests.
pub unsafe extern "C" fn post_send(qp: *mut ibv_qp, wr: *mut ibv_send_wr, bad: *mut *mut ibv_send_wr) -> c_int {
    code(lock().and_then(|mut world| {
        let mut at = wr;
        let mut result = Ok(());
        while !at.is_null() {
            // SAFETY: the program's chain, which may be in packed structures.
            let request = unsafe { at.read_unaligned() };
            result = world.post_send(qp.addr(), &request);
            if result.is_err() {
                // SAFETY: the program's, to be written.
                unsafe { *bad = at };
                break;
            }
            at = request.next;
        }
        world.ring(qp.addr());
        result
    }))
}

/// Posts receives.
pub unsafe extern "C" fn post_recv(qp: *mut ibv_qp, wr: *mut ibv_recv_wr, bad: *mut *mut ibv_recv_wr) -> c_int {
    code(lock().and_then(|mut world| {
        let mut at = wr;
        let mut result = Ok(());
        while !at.is_null() {
            // SAFETY: the program's chain, which may be in packed structures.
            let request = unsafe { at.read_unaligned() };
            result = world.post_receive(qp.addr(), &request);
            if result.is_err() {
                // SAFETY: the program's, to be written.
                unsafe { *bad = at };
                break;
            }
            at = request.next;
        }
        world.ring(qp.addr());
        result
    }))
}

impl World {
    pub fn set_state(&mut self, qp: usize, state: ibv_qp_state::Type) {
        if self.pairs.contains_key(&qp) {
            let raw: *mut ibv_qp = std::ptr::with_exposed_provenance_mut(qp);
            // SAFETY: it is known, so it lives.
            unsafe { (*raw).state = state };
        }
    }

    fn post_send(&mut self, qp: usize, wr: &ibv_send_wr) -> Result<(), c_int> {
        let pair = self.pairs.get(&qp).ok_or(libc::EINVAL)?;
        if pair.posted.len() + pair.waiting.len() >= pair.cap.max_send_wr as usize {
            return Err(libc::ENOMEM);
        }
        // SAFETY: the program's request, as in C.
        let (request, inline) = unsafe { translate::send(self.domain(pair.domain)?, wr, pair.signal_all) }?;
        let posted = Posted { signalled: request.signalled, _inline: inline };
        if pair.failed {
            self.flush(qp, &request);
            return Ok(());
        }
        if let Some(pair) = self.pairs.get_mut(&qp) {
            pair.waiting.push_back((request, posted));
        }
        self.push(qp)
    }

    /// Gives the device what waits, as far as it takes it.
    fn push(&mut self, qp: usize) -> Result<(), c_int> {
        let Some(pair) = self.pairs.get_mut(&qp) else { return Ok(()) };
        let Some(live) = &mut pair.live else { return Ok(()) };
        while let Some((request, posted)) = pair.waiting.pop_front() {
            match live.post_send(request) {
                Ok(()) => pair.posted.push_back(posted),
                Err(refusal) if refusal.why.is_transient() => {
                    pair.waiting.push_front((refusal.request, posted));
                    return Ok(());
                }
                Err(refusal) if refusal.why == Why::Closed => {
                    pair.waiting.push_front((refusal.request, posted));
                    self.flush_waiting(qp);
                    return Ok(());
                }
                Err(_) => return Err(libc::EINVAL),
            }
        }
        Ok(())
    }

    fn post_receive(&mut self, qp: usize, wr: &ibv_recv_wr) -> Result<(), c_int> {
        let pair = self.pairs.get(&qp).ok_or(libc::EINVAL)?;
        // SAFETY: the program's request, as in C.
        let request = unsafe { translate::receive(self.domain(pair.domain)?, wr) }?;
        let pair = self.pairs.get_mut(&qp).ok_or(libc::EINVAL)?;
        if pair.shared.is_some() {
            return Err(libc::EINVAL);
        }
        if pair.failed {
            self.flush_receive(qp, &request);
            return Ok(());
        }
        match &mut pair.live {
            None if pair.early.len() < pair.cap.max_recv_wr as usize => {
                pair.early.push(request);
                Ok(())
            }
            None => Err(libc::ENOMEM),
            Some(live) => match live.post_receive(request) {
                Ok(()) => Ok(()),
                Err(refusal) if refusal.why == Why::Closed => {
                    self.flush_receive(qp, &refusal.request);
                    Ok(())
                }
                Err(_) => Err(libc::ENOMEM),
            },
        }
    }

    /// The doorbell, and what comes of it at once.
    fn ring(&mut self, qp: usize) {
        let Some(pair) = self.pairs.get_mut(&qp) else { return };
        let domain = pair.domain;
        if let Some(live) = &mut pair.live {
            live.ring();
            self.reap(domain);
            self.alarm.ring();
        }
    }

    /// Hands out what a domain's queue pairs have completed, and gives them what waited for that.
    pub fn reap(&mut self, domain: usize) {
        let mut batch = rdma::CompletionBatch::new(64);
        loop {
            let Some(of) = self.domains.get_mut(&domain) else { return };
            if rdma::CompletionQueue::poll(&mut of.completions, &mut batch) == 0 {
                return;
            }
            for completion in batch.drain() {
                self.completed(&completion);
            }
        }
    }

    fn completed(&mut self, completion: &Completion) {
        let number = completion.queue.to_bits() as u32;
        let Some((qp, pair)) = self.numbers.get(&number).and_then(|qp| Some((*qp, self.pairs.get_mut(qp)?))) else {
            return;
        };
        let work = Work {
            id: completion.tag.to_bits(),
            status: translate::status(completion.status),
            opcode: translate::opcode(completion.opcode),
            byte_len: completion.byte_len,
            pair: number,
            invalidated: completion.invalidated.map(|stag| stag.0),
        };
        if completion.opcode == Opcode::Receive {
            let completions = pair.receive_completions;
            return self.complete(completions, work);
        }
        let completions = pair.send_completions;
        let signalled = pair.posted.pop_front().is_some_and(|posted| posted.signalled);
        if signalled || completion.status != Status::Success {
            self.complete(completions, work);
        }
        self.push_and_ring(qp);
    }

    /// Gives the device what waited for it.
    pub fn push_and_ring(&mut self, qp: usize) {
        if self.pairs.get(&qp).is_none_or(|pair| pair.waiting.is_empty()) {
            return;
        }
        // What is wrong with it was said when it was posted.
        let _ = self.push(qp);
        if let Some(live) = self.pairs.get_mut(&qp).and_then(|pair| pair.live.as_mut()) {
            live.ring();
        }
    }

    fn flush(&mut self, qp: usize, request: &WorkRequest) {
        let Some(pair) = self.pairs.get(&qp) else { return };
        let (id, opcode) = (request.tag.to_bits(), translate::opcode(request.op.opcode()));
        let work =
            Work { id, status: translate::status(Status::Flushed), opcode, pair: pair.number, ..Work::default() };
        self.complete(pair.send_completions, work);
    }

    fn flush_receive(&mut self, qp: usize, request: &ReceiveRequest) {
        let Some(pair) = self.pairs.get(&qp) else { return };
        let (id, opcode) = (request.tag.to_bits(), translate::opcode(Opcode::Receive));
        let work =
            Work { id, status: translate::status(Status::Flushed), opcode, pair: pair.number, ..Work::default() };
        self.complete(pair.receive_completions, work);
    }

    fn flush_waiting(&mut self, qp: usize) {
        let Some(pair) = self.pairs.get_mut(&qp) else { return };
        let (waiting, early) = (std::mem::take(&mut pair.waiting), std::mem::take(&mut pair.early));
        waiting.iter().for_each(|(request, _)| self.flush(qp, request));
        early.iter().for_each(|request| self.flush_receive(qp, request));
    }

    /// Its connection ends; what it has is flushed.
    pub fn fail_pair(&mut self, qp: usize) {
        let Some(pair) = self.pairs.get_mut(&qp) else { return };
        if std::mem::replace(&mut pair.failed, true) {
            return;
        }
        let (domain, shared) = (pair.domain, pair.shared.is_some());
        if let Some(live) = &mut pair.live {
            live.to_error();
        }
        self.set_state(qp, ibv_qp_state::IBV_QPS_ERR);
        self.reap(domain);
        self.flush_waiting(qp);
        if shared {
            self.tell_last_receive(qp);
        }
    }

    /// Forgets a queue pair.
    pub fn destroy_pair(&mut self, qp: usize) -> Result<(), c_int> {
        let pair = self.pairs.remove(&qp).ok_or(libc::EINVAL)?;
        self.numbers.remove(&pair.number);
        self.forget_completions(pair.send_completions, pair.number);
        self.forget_completions(pair.receive_completions, pair.number);
        self.asynchronous.forget(qp);
        let domain = pair.domain;
        drop(pair);
        // What the device completes for it now is nobody's.
        self.reap(domain);
        Ok(())
    }
}
