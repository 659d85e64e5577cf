//! An identifier of the connection manager: a listener, a request, or a connection and its queue pair.

use super::address::{self, Storage};
use super::channel::Channel;
use super::device::Context;
use super::pair::{Pair, PairSetup};
use super::{checked, errno};
use rdma::ReadDepth;
use std::net::SocketAddr;
use std::ptr::{self, NonNull};

/// An identifier. Dropping it destroys its queue pair and tells the peer what is left to tell.
#[derive(Debug)]
pub struct CmId {
    raw: NonNull<rdma_sys::rdma_cm_id>,
}

// SAFETY: the library's calls may come from any thread, and nothing of an identifier belongs to one; two threads never
// share it, for it is not `Sync`.
unsafe impl Send for CmId {}

/// What goes with a connection request or its acceptance.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionParameters<'a> {
    /// This side's. Eight bits of each are sent.
    pub depth: ReadDepth,
    pub private: &'a [u8],
    pub retry: u8,
    pub rnr_retry: u8,
}

impl CmId {
    /// A fresh one for reliable connections, whose events come through `channel`.
    pub fn new(channel: &Channel) -> Result<Self, i32> {
        let mut raw = ptr::null_mut();
        let ps = rdma_sys::rdma_port_space::RDMA_PS_TCP;
        // SAFETY: the channel lives; the identifier is written to `raw`.
        checked(unsafe { rdma_sys::rdma_create_id(channel.as_ptr(), &raw mut raw, ptr::null_mut(), ps) })?;
        NonNull::new(raw).map(|raw| Self { raw }).ok_or(libc::EIO)
    }

    /// The new identifier of a connection request.
    pub(super) fn from_event(raw: *mut rdma_sys::rdma_cm_id) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw })
    }

    fn get(&self) -> &rdma_sys::rdma_cm_id {
        // SAFETY: the library keeps it until it is destroyed, and changes it only in calls made with it.
        unsafe { self.raw.as_ref() }
    }

    /// What its events will bring along.
    pub fn set_context(&mut self, context: usize) {
        // SAFETY: as in `get`; the field is the owner's, and never followed as a pointer.
        unsafe { (*self.raw.as_ptr()).context = ptr::without_provenance_mut(context) };
    }

    /// The device it is bound to.
    pub fn device(&self) -> Option<Context> {
        Context::new(self.get().verbs)
    }

    /// Binds it to a local address, and so to a device.
    pub fn bind(&mut self, at: SocketAddr) -> Result<(), i32> {
        let mut at = Storage::new(at);
        // SAFETY: a whole address, copied by the call.
        checked(unsafe { rdma_sys::rdma_bind_addr(self.raw.as_ptr(), at.as_mut_ptr().cast()) })
    }

    pub fn listen(&mut self, backlog: u16) -> Result<(), i32> {
        // SAFETY: no memory is passed.
        checked(unsafe { rdma_sys::rdma_listen(self.raw.as_ptr(), backlog.into()) })
    }

    /// This side's address.
    pub fn local(&self) -> Option<SocketAddr> {
        // SAFETY: the library stores whole addresses there, or zeros.
        unsafe { address::read((&raw const self.get().route.addr.src_addr_union).cast()) }
    }

    /// The peer's address.
    pub fn peer(&self) -> Option<SocketAddr> {
        // SAFETY: as above.
        unsafe { address::read((&raw const self.get().route.addr.dst_addr_union).cast()) }
    }

    pub fn resolve_address(&mut self, to: SocketAddr, millis: u16) -> Result<(), i32> {
        let mut to = Storage::new(to);
        let (raw, to) = (self.raw.as_ptr(), to.as_mut_ptr().cast());
        // SAFETY: a whole address, copied by the call; no source address, as it is bound already.
        checked(unsafe { rdma_sys::rdma_resolve_addr(raw, ptr::null_mut(), to, millis.into()) })
    }

    pub fn resolve_route(&mut self, millis: u16) -> Result<(), i32> {
        // SAFETY: no memory is passed.
        checked(unsafe { rdma_sys::rdma_resolve_route(self.raw.as_ptr(), millis.into()) })
    }

    pub fn connect(&mut self, parameters: &ConnectionParameters<'_>) -> Result<(), i32> {
        let mut raw = parameters.raw();
        // SAFETY: the parameters and their private data are copied by the call.
        checked(unsafe { rdma_sys::rdma_connect(self.raw.as_ptr(), &raw mut raw) })
    }

    pub fn accept(&mut self, parameters: &ConnectionParameters<'_>) -> Result<(), i32> {
        let mut raw = parameters.raw();
        // SAFETY: as above.
        checked(unsafe { rdma_sys::rdma_accept(self.raw.as_ptr(), &raw mut raw) })
    }

    /// Says no to a request, for its owner.
    pub fn reject(&mut self, private: &[u8]) -> Result<(), i32> {
        let len = private.len().min(255) as u8;
        // SAFETY: the bytes are copied by the call.
        checked(unsafe { rdma_sys::rdma_reject(self.raw.as_ptr(), private.as_ptr().cast(), len) })
    }

    /// Says no to a request that nobody has looked at. InfiniBand tells the difference, by a reason of its own.
    pub fn reject_unseen(&mut self) -> Result<(), i32> {
        // SAFETY: no memory is passed.
        checked(unsafe { rdma_sys::rdma_reject_ece(self.raw.as_ptr(), ptr::null(), 0) })
    }

    /// Ends the connection in an orderly way; the library moves the queue pair out of the sending state.
    pub fn disconnect(&mut self) -> Result<(), i32> {
        // SAFETY: no memory is passed.
        checked(unsafe { rdma_sys::rdma_disconnect(self.raw.as_ptr()) })
    }

    /// Moves its events to another channel, or to none that anybody reads.
    pub fn migrate(&mut self, channel: Option<&Channel>) -> Result<(), i32> {
        let channel = channel.map_or(ptr::null_mut(), Channel::as_ptr);
        // SAFETY: the channel lives as long as the identifier's new owner; every event was acknowledged.
        checked(unsafe { rdma_sys::rdma_migrate_id(self.raw.as_ptr(), channel) })
    }

    /// Makes its queue pair.
    pub fn create_pair(&mut self, setup: &PairSetup<'_>) -> Result<Pair, i32> {
        let mut raw = setup.raw();
        // SAFETY: the objects named by the set-up live, and their holders drop them after this identifier.
        checked(unsafe { rdma_sys::rdma_create_qp(self.raw.as_ptr(), setup.domain.as_ptr(), &raw mut raw) })?;
        Pair::new(self.get().qp).ok_or_else(errno)
    }

    fn destroy_pair(&mut self) {
        if !self.get().qp.is_null() {
            // SAFETY: it has a queue pair; its events have been acknowledged.
            unsafe { rdma_sys::rdma_destroy_qp(self.raw.as_ptr()) };
        }
    }
}

impl Drop for CmId {
    fn drop(&mut self) {
        self.destroy_pair();
        // SAFETY: nothing refers to it any more, and its events were acknowledged.
        let result = checked(unsafe { rdma_sys::rdma_destroy_id(self.raw.as_ptr()) });
        if let Err(errno) = result {
            tracing::warn!("an identifier of the connection manager could not be destroyed: errno {errno}");
        }
    }
}

impl ConnectionParameters<'_> {
    fn raw(&self) -> rdma_sys::rdma_conn_param {
        let eight = |n: u16| n.min(255) as u8;
        rdma_sys::rdma_conn_param {
            private_data: self.private.as_ptr().cast(),
            private_data_len: self.private.len().min(255) as u8,
            responder_resources: eight(self.depth.ird),
            initiator_depth: eight(self.depth.ord),
            flow_control: 1,
            retry_count: self.retry,
            rnr_retry_count: self.rnr_retry,
            srq: 0,
            qp_num: 0,
        }
    }
}
