//! Completion queues and their channel.

use super::device::Context;
use super::{errno, make_nonblocking, returned};
use crate::limits::POLL_BATCH;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};

/// Where armed completion queues tell that they are not empty any more.
#[derive(Debug)]
pub struct CompletionChannel {
    raw: NonNull<rdma_sys::ibv_comp_channel>,
}

// SAFETY: the libraries' calls may come from any thread, and nothing here belongs to one.
unsafe impl Send for CompletionChannel {}

impl CompletionChannel {
    pub fn new(context: Context) -> Result<Self, i32> {
        // SAFETY: the device is open; NULL is an error.
        let raw = unsafe { rdma_sys::ibv_create_comp_channel(context.as_ptr()) };
        let channel = NonNull::new(raw).map(|raw| Self { raw }).ok_or_else(errno)?;
        make_nonblocking(channel.fd())?;
        Ok(channel)
    }

    pub fn fd(&self) -> RawFd {
        // SAFETY: lives as long as `self`.
        unsafe { self.raw.as_ref().fd }
    }

    /// Forgets what was told so far.
    pub fn clear(&self) {
        let (mut cq, mut context) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the channel lives and does not block; the queue is written to `cq`.
        while unsafe { rdma_sys::ibv_get_cq_event(self.raw.as_ptr(), &raw mut cq, &raw mut context) } == 0 {
            // SAFETY: this one event of this queue is acknowledged, once.
            unsafe { rdma_sys::ibv_ack_cq_events(cq, 1) };
        }
    }
}

impl Drop for CompletionChannel {
    fn drop(&mut self) {
        // SAFETY: completion queues are dropped before their channel.
        if let Err(errno) = returned(unsafe { rdma_sys::ibv_destroy_comp_channel(self.raw.as_ptr()) }) {
            tracing::warn!("verbs: a completion channel could not be destroyed: errno {errno}");
        }
    }
}

/// A completion queue.
#[derive(Debug)]
pub struct Completions {
    raw: NonNull<rdma_sys::ibv_cq>,
}

// SAFETY: the libraries' calls may come from any thread, and nothing here belongs to one.
unsafe impl Send for Completions {}

/// A completion as the device writes it. Unless the status is 0, only `id`, `status` and `pair` mean anything.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Work {
    pub id: u64,
    pub status: u32,
    pub byte_len: u32,
    /// Number of the queue pair.
    pub pair: u32,
    /// The key that the peer invalidated.
    pub invalidated: Option<u32>,
}

/// Room for the completions of one call, used again and again: a core asks far more often than there are any.
#[derive(Debug)]
pub struct Works {
    raw: [MaybeUninit<rdma_sys::ibv_wc>; POLL_BATCH],
    /// So many are of the last call. All others are zeros.
    got: usize,
}

impl Default for Works {
    fn default() -> Self {
        Self { raw: [const { MaybeUninit::zeroed() }; POLL_BATCH], got: 0 }
    }
}

impl Works {
    /// Those of the last call. `invalidated` are the flags that say that a key was invalidated.
    pub fn iter(&self, invalidated: u32) -> impl Iterator<Item = Work> {
        self.raw.iter().take(self.got).map(move |raw| copy(raw, invalidated))
    }
}

impl Completions {
    pub fn new(context: Context, depth: u32, channel: Option<&CompletionChannel>) -> Result<Self, i32> {
        let depth = c_int::try_from(depth).map_err(|_| libc::EINVAL)?;
        let channel = channel.map_or(ptr::null_mut(), |channel| channel.raw.as_ptr());
        // SAFETY: the device is open, the channel lives longer than the queue; NULL is an error.
        let raw = unsafe { rdma_sys::ibv_create_cq(context.as_ptr(), depth, ptr::null_mut(), channel, 0) };
        NonNull::new(raw).map(|raw| Self { raw }).ok_or_else(errno)
    }

    pub(super) fn as_ptr(&self) -> *mut rdma_sys::ibv_cq {
        self.raw.as_ptr()
    }

    /// Takes up to `want` completions into `works`; how many there were.
    ///
    /// # Errors
    /// The queue is broken.
    pub fn poll(&self, want: usize, works: &mut Works) -> Result<usize, i32> {
        // A provider may not write the flags of a completion that has none, and old ones would be taken for its own.
        works.raw.iter_mut().take(works.got).for_each(|raw| *raw = MaybeUninit::zeroed());
        works.got = 0;
        let want = want.min(POLL_BATCH);
        // SAFETY: there is room for `want` completions.
        let got = unsafe { rdma_sys::ibv_poll_cq(self.as_ptr(), want as i32, works.raw.as_mut_ptr().cast()) };
        works.got = usize::try_from(got).map_err(|_| libc::EIO)?.min(want);
        Ok(works.got)
    }

    /// Tells the channel when the next completion comes.
    pub fn arm(&self) -> Result<(), i32> {
        // SAFETY: the queue lives.
        returned(unsafe { rdma_sys::ibv_req_notify_cq(self.as_ptr(), 0) })
    }
}

/// Copies the fields that mean something; providers leave the others as they are.
fn copy(raw: &MaybeUninit<rdma_sys::ibv_wc>, invalidated: u32) -> Work {
    let wc = raw.as_ptr();
    // SAFETY: of every polled completion these three are written.
    let (id, status, pair) = unsafe { ((*wc).wr_id, (*wc).status, (*wc).qp_num) };
    let mut work = Work { id, status, byte_len: 0, pair, invalidated: None };
    if status == rdma_sys::ibv_wc_status::IBV_WC_SUCCESS {
        // SAFETY: of a successful one, these too, and the key if the flag says so. The length means something for
        // receives and Reads only, but any bits are a number.
        unsafe {
            work.byte_len = (&raw const (*wc).byte_len).read();
            if (*wc).wc_flags & invalidated != 0 {
                work.invalidated = Some((*wc).imm_data_invalidated_rkey_union.invalidated_rkey);
            }
        }
    }
    work
}

impl Drop for Completions {
    fn drop(&mut self) {
        // SAFETY: queue pairs are dropped before their completion queues, and its events were acknowledged.
        if let Err(errno) = returned(unsafe { rdma_sys::ibv_destroy_cq(self.as_ptr()) }) {
            tracing::warn!("verbs: a completion queue could not be destroyed: errno {errno}");
        }
    }
}
