//! Protection domains, registered memory, windows, shared receive queues.

use super::device::Context;
use super::{errno, returned};
use rdma::{Access, Memory};
use rdma_sys::ibv_access_flags as flag;
use std::ffi::{c_int, c_uint};
use std::ptr::{self, NonNull};

macro_rules! object {
    ($(#[$doc:meta])* $name:ident, $raw:ty, $free:path) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            raw: NonNull<$raw>,
        }

        // SAFETY: the library's calls may come from any thread, and nothing here belongs to one.
        unsafe impl Send for $name {}
        // SAFETY: the library's calls may come from several threads at once, too; what `&self` can do changes nothing.
        unsafe impl Sync for $name {}

        impl $name {
            fn from_raw(raw: *mut $raw) -> Result<Self, i32> {
                NonNull::new(raw).map(|raw| Self { raw }).ok_or_else(errno)
            }

            pub(super) fn as_ptr(&self) -> *mut $raw {
                self.raw.as_ptr()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: holders drop what was made of it first, and it is not used again.
                if let Err(errno) = returned(unsafe { $free(self.as_ptr()) }) {
                    tracing::warn!(concat!("verbs: a ", stringify!($name), " could not be freed: errno {}"), errno);
                }
            }
        }
    };
}

object!(
    /// A protection domain.
    Domain,
    rdma_sys::ibv_pd,
    rdma_sys::ibv_dealloc_pd
);

object!(
    /// Registered memory.
    Region,
    rdma_sys::ibv_mr,
    rdma_sys::ibv_dereg_mr
);

object!(
    /// A type 2 memory window.
    Window,
    rdma_sys::ibv_mw,
    rdma_sys::ibv_dealloc_mw
);

object!(
    /// A shared receive queue.
    Receives,
    rdma_sys::ibv_srq,
    rdma_sys::ibv_destroy_srq
);

/// What memory is registered for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    /// Local use; `sinks` adds what iWARP wants of an RDMA Read's sink, `windows` lets windows be bound to it.
    Local { sinks: bool, windows: bool },
    /// A peer's use.
    Peer(Access),
}

impl Rights {
    fn flags(self) -> c_int {
        let flags = match self {
            Self::Local { sinks, windows } => {
                let sinks = if sinks { flag::IBV_ACCESS_REMOTE_WRITE.0 } else { 0 };
                let windows = if windows { flag::IBV_ACCESS_MW_BIND.0 } else { 0 };
                flag::IBV_ACCESS_LOCAL_WRITE.0 | sinks | windows
            }
            Self::Peer(access) => peer_flags(access) | flag::IBV_ACCESS_LOCAL_WRITE.0,
        };
        flags as c_int
    }
}

/// Access flags of a window.
pub(super) const fn peer_flags(access: Access) -> c_uint {
    match access {
        Access::RemoteRead => flag::IBV_ACCESS_REMOTE_READ.0,
        Access::RemoteWrite => flag::IBV_ACCESS_REMOTE_WRITE.0,
    }
}

impl Domain {
    pub fn new(context: Context) -> Result<Self, i32> {
        // SAFETY: the device is open; NULL is an error.
        Self::from_raw(unsafe { rdma_sys::ibv_alloc_pd(context.as_ptr()) })
    }
}

impl Region {
    /// Registers memory that its owner keeps mapped as long as this lives.
    pub fn new(domain: &Domain, memory: Memory, rights: Rights) -> Result<Self, i32> {
        let at = ptr::with_exposed_provenance_mut(memory.addr);
        // SAFETY: the call looks at no byte of the memory; pages that are not there make it fail.
        Self::from_raw(unsafe { rdma_sys::ibv_reg_mr(domain.as_ptr(), at, memory.len, rights.flags()) })
    }

    pub fn local_key(&self) -> u32 {
        // SAFETY: lives as long as `self`, and does not change.
        unsafe { self.raw.as_ref().lkey }
    }

    pub fn remote_key(&self) -> u32 {
        // SAFETY: as above.
        unsafe { self.raw.as_ref().rkey }
    }
}

impl Window {
    pub fn new(domain: &Domain) -> Result<Self, i32> {
        let kind = rdma_sys::ibv_mw_type::IBV_MW_TYPE_2;
        // SAFETY: the domain lives; NULL, or no such verb, is an error.
        Self::from_raw(unsafe { rdma_sys::ibv_alloc_mw(domain.as_ptr(), kind) }.unwrap_or(ptr::null_mut()))
    }

    /// The key of its last binding, by which the device knows it.
    fn key(&self) -> u32 {
        // SAFETY: lives as long as `self`; only `set_key` changes it.
        unsafe { self.raw.as_ref().rkey }
    }

    /// The key of its next binding: the low eight bits are the owner's to choose.
    pub fn next_key(&self) -> u32 {
        let key = self.key();
        key & !0xFF | key.wrapping_add(1) & 0xFF
    }

    /// A binding with this key has been posted.
    pub fn set_key(&mut self, key: u32) {
        // SAFETY: as above; the library reads the field when a binding is posted.
        unsafe { self.raw.as_mut().rkey = key };
    }
}

impl Receives {
    pub fn new(domain: &Domain, depth: u16) -> Result<Self, i32> {
        let attr = rdma_sys::ibv_srq_attr { max_wr: depth.into(), max_sge: 1, srq_limit: 0 };
        let mut raw = rdma_sys::ibv_srq_init_attr { srq_context: ptr::null_mut(), attr };
        // SAFETY: the domain lives; the attributes are read and written by the call.
        Self::from_raw(unsafe { rdma_sys::ibv_create_srq(domain.as_ptr(), &raw mut raw) })
    }
}
