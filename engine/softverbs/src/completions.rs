//! Completion queues and their channels.

use crate::bell::{self, Bell};
use crate::world::{World, lock};
use crate::{code, free, object, pointer};
use rdma_sys::{ibv_comp_channel, ibv_context, ibv_cq, ibv_wc};
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};

/// A completion.
#[derive(Clone, Copy, Default, Debug)]
pub struct Work {
    pub id: u64,
    pub status: u32,
    pub opcode: u32,
    pub byte_len: u32,
    pub pair: u32,
    pub invalidated: Option<u32>,
}

/// A completion queue.
#[derive(Debug)]
pub struct Completions {
    queue: VecDeque<Work>,
    depth: usize,
    channel: Option<usize>,
    armed: bool,
}

/// Completion queues that have something to tell, and the bell for that.
#[derive(Debug)]
pub struct CompletionChannel {
    bell: Bell,
    told: VecDeque<usize>,
}

impl World {
    /// Puts a completion into a queue, and tells if that is asked for.
    pub fn complete(&mut self, completions: usize, work: Work) {
        let Some(queue) = self.completions.get_mut(&completions) else { return };
        if queue.queue.len() >= queue.depth {
            return self.tell_overrun(completions);
        }
        queue.queue.push_back(work);
        if std::mem::take(&mut queue.armed) {
            self.tell(completions);
        }
    }

    fn tell(&mut self, completions: usize) {
        let channel = self.completions.get(&completions).and_then(|queue| queue.channel);
        if let Some(channel) = channel.and_then(|channel| self.completion_channels.get_mut(&channel)) {
            channel.told.push_back(completions);
            channel.bell.ring();
        }
    }

    /// Forgets the completions of a queue pair that is gone.
    pub fn forget_completions(&mut self, completions: usize, pair: u32) {
        if let Some(queue) = self.completions.get_mut(&completions) {
            queue.queue.retain(|work| work.pair != pair);
        }
    }
}

/// Makes a completion channel.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_create_comp_channel(context: *mut ibv_context) -> *mut ibv_comp_channel {
    pointer(lock().and_then(|mut world| {
        let channel = CompletionChannel { bell: Bell::new()?, told: VecDeque::new() };
        let fd = channel.bell.fd();
        let raw = object::<ibv_comp_channel>(|raw| (raw.context, raw.fd) = (context, fd));
        world.completion_channels.insert(raw.addr(), channel);
        Ok(raw)
    }))
}

/// Destroys a completion channel that no queue uses.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_destroy_comp_channel(channel: *mut ibv_comp_channel) -> c_int {
    let result = lock().and_then(|mut world| {
        if world.completions.values().any(|queue| queue.channel == Some(channel.addr())) {
            return Err(libc::EBUSY);
        }
        world.completion_channels.remove(&channel.addr()).map(drop).ok_or(libc::EINVAL)
    });
    if result.is_ok() {
        // SAFETY: it was known, so it was made above, and now it is forgotten.
        unsafe { free(channel) };
    }
    code(result)
}

/// Makes a completion queue.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_create_cq(
    context: *mut ibv_context,
    depth: c_int,
    cq_context: *mut c_void,
    channel: *mut ibv_comp_channel,
    _vector: c_int,
) -> *mut ibv_cq {
    if !(1..=crate::device::MAX_COMPLETIONS).contains(&depth) {
        return pointer(Err(libc::EINVAL));
    }
    pointer(lock().map(|mut world| {
        let raw = object::<ibv_cq>(|raw| {
            (raw.context, raw.channel, raw.cq_context, raw.cqe) = (context, channel, cq_context, depth);
        });
        let channel = (!channel.is_null()).then(|| channel.addr());
        let queue = Completions { queue: VecDeque::new(), depth: depth as usize, channel, armed: false };
        world.completions.insert(raw.expose_provenance(), queue);
        raw
    }))
}

/// Destroys a completion queue that no queue pair uses.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_destroy_cq(cq: *mut ibv_cq) -> c_int {
    let result = lock().and_then(|mut world| {
        let at = cq.addr();
        if world.pairs.values().any(|pair| pair.send_completions == at || pair.receive_completions == at) {
            return Err(libc::EBUSY);
        }
        let queue = world.completions.remove(&at).ok_or(libc::EINVAL)?;
        if let Some(channel) = queue.channel.and_then(|channel| world.completion_channels.get_mut(&channel)) {
            let before = channel.told.len();
            channel.told.retain(|told| *told != at);
            (channel.told.len()..before).for_each(|_| channel.bell.unring());
        }
        world.asynchronous.forget(at);
        Ok(())
    });
    if result.is_ok() {
        // SAFETY: it was known, so it was made above, and now it is forgotten.
        unsafe { free(cq) };
    }
    code(result)
}

/// Waits for a completion queue with something to tell.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ibv_get_cq_event(
    channel: *mut ibv_comp_channel,
    cq: *mut *mut ibv_cq,
    cq_context: *mut *mut c_void,
) -> c_int {
    loop {
        // SAFETY: the program's channel, which it has not destroyed.
        if !bell::wait(unsafe { (*channel).fd }) {
            return -1;
        }
        if let Some(told) = next(channel.addr()) {
            let told: *mut ibv_cq = std::ptr::with_exposed_provenance_mut(told);
            // SAFETY: queues are taken out of the channel before they are destroyed; the program's, to be written.
            unsafe { (*cq, *cq_context) = (told, (*told).cq_context) };
            return 0;
        }
    }
}

fn next(channel: usize) -> Option<usize> {
    lock().ok()?.completion_channels.get_mut(&channel)?.told.pop_front()
}

/// Nothing waits for the acknowledgement.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_ack_cq_events(_cq: *mut ibv_cq, _count: std::ffi::c_uint) {}

/// Asks to be told of the next completion. One that is there already counts.
pub unsafe extern "C" fn req_notify_cq(cq: *mut ibv_cq, _solicited_only: c_int) -> c_int {
    code(lock().and_then(|mut world| {
        let queue = world.completions.get_mut(&cq.addr()).ok_or(libc::EINVAL)?;
        if queue.queue.is_empty() {
            queue.armed = true;
        } else {
            world.tell(cq.addr());
        }
        Ok(())
    }))
}

/// Takes completions.
pub unsafe extern "C" fn poll_cq(cq: *mut ibv_cq, count: c_int, out: *mut ibv_wc) -> c_int {
    let taken = lock().ok().and_then(|mut world| world.take(cq.addr(), count.max(0) as usize, out));
    taken.map_or(-1, |taken| taken as c_int)
}

impl World {
    fn take(&mut self, completions: usize, count: usize, out: *mut ibv_wc) -> Option<usize> {
        if self.completions.get(&completions)?.queue.is_empty() {
            self.turn();
        }
        let queue = &mut self.completions.get_mut(&completions)?.queue;
        let taken = count.min(queue.len());
        for (n, work) in queue.drain(..taken).enumerate() {
            // SAFETY: the program has room for `count` completions.
            unsafe { out.add(n).write(work.into()) };
        }
        Some(taken)
    }
}

impl From<Work> for ibv_wc {
    fn from(work: Work) -> Self {
        // SAFETY: numbers only.
        let mut wc: Self = unsafe { std::mem::zeroed() };
        (wc.wr_id, wc.status, wc.opcode) = (work.id, work.status, work.opcode);
        (wc.byte_len, wc.qp_num) = (work.byte_len, work.pair);
        if let Some(key) = work.invalidated {
            wc.wc_flags = rdma_sys::ibv_wc_flags::IBV_WC_WITH_INV.0;
            wc.imm_data_invalidated_rkey_union.invalidated_rkey = key;
        }
        wc
    }
}
