//! The one device.

use crate::completions::{poll_cq, req_notify_cq};
use crate::pair::{post_recv, post_send};
use crate::receives::post_srq_recv;
use crate::world::lock;
use crate::{code, free, object, pointer, set_errno};
use rdma_sys::{
    _compat_ibv_port_attr, ibv_context, ibv_device, ibv_device_attr, ibv_device_cap_flags, ibv_gid, ibv_mtu,
    ibv_node_type, ibv_port_state, ibv_transport_type,
};
use std::ffi::{CStr, c_char, c_int};

/// Its name.
const NAME: &CStr = c"softverbs0";

/// RDMA Reads at once, each way.
pub const READ_DEPTH: u16 = 128;

/// Deepest queue.
pub const QUEUE_DEPTH: u16 = siw::limits::QUEUE_DEPTH;

/// Largest completion queue.
pub const MAX_COMPLETIONS: c_int = 1 << 17;

/// Elements of a send request.
pub const MAX_SGE: u32 = rdma::limits::MAX_SGE as u32;

/// Bytes a request can carry inside itself.
pub const MAX_INLINE: u32 = 512;

fn name_into(to: &mut [c_char]) {
    for (to, from) in to.iter_mut().zip(NAME.to_bytes()) {
        *to = *from as c_char;
    }
}

/// The open device, whose events come through `fd`. It is never closed.
pub fn context(fd: c_int) -> usize {
    let device = object::<ibv_device>(|device| {
        device.node_type = ibv_node_type::IBV_NODE_RNIC;
        device.transport_type = ibv_transport_type::IBV_TRANSPORT_IWARP;
        name_into(&mut device.name);
        name_into(&mut device.dev_name);
    });
    let context = object::<ibv_context>(|context| {
        context.device = device;
        context.ops.poll_cq = Some(poll_cq);
        context.ops.req_notify_cq = Some(req_notify_cq);
        context.ops.post_send = Some(post_send);
        context.ops.post_recv = Some(post_recv);
        context.ops.post_srq_recv = Some(post_srq_recv);
        context.cmd_fd = -1;
        context.async_fd = fd;
        context.num_comp_vectors = 1;
        // No extended verbs: a null `abi_compat` says so.
    });
    context.addr()
}

fn opened() -> Result<*mut ibv_context, c_int> {
    lock().map(|world| std::ptr::with_exposed_provenance_mut(world.context))
}

/// Lists the device.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_get_device_list(count: *mut c_int) -> *mut *mut ibv_device {
    // SAFETY: the context has a device as long as it lives, which is for ever.
    let list = opened().map(|context| Box::into_raw(Box::new([unsafe { (*context).device }, std::ptr::null_mut()])));
    // SAFETY: the caller's pointer, if there is one.
    if let Some(count) = unsafe { count.as_mut() } {
        *count = c_int::from(list.is_ok());
    }
    pointer(list).cast()
}

/// Frees the list.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_free_device_list(list: *mut *mut ibv_device) {
    // SAFETY: the list was made above.
    unsafe { free(list.cast::<[*mut ibv_device; 2]>()) };
}

/// Opens the device.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_open_device(_device: *mut ibv_device) -> *mut ibv_context {
    pointer(opened())
}

/// Closes nothing: there is one open device, and the RDMA CM has it.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_close_device(_context: *mut ibv_context) -> c_int {
    0
}

/// Lists the open device.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_get_devices(count: *mut c_int) -> *mut *mut ibv_context {
    let list = opened().map(|context| Box::into_raw(Box::new([context, std::ptr::null_mut()])));
    // SAFETY: the caller's pointer, if there is one.
    if let Some(count) = unsafe { count.as_mut() } {
        *count = c_int::from(list.is_ok());
    }
    pointer(list).cast()
}

/// Frees the list.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_free_devices(list: *mut *mut ibv_context) {
    // SAFETY: the list was made above.
    unsafe { free(list.cast::<[*mut ibv_context; 2]>()) };
}

/// What it can do.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_query_device(_context: *mut ibv_context, attributes: *mut ibv_device_attr) -> c_int {
    // SAFETY: the caller's, to be written; numbers only.
    let attributes = unsafe {
        attributes.write_bytes(0, 1);
        &mut *attributes
    };
    attributes.max_mr_size = u64::MAX;
    attributes.page_size_cap = 0xFFFF_F000;
    attributes.max_qp = siw::limits::QUEUES as c_int;
    attributes.max_qp_wr = QUEUE_DEPTH.into();
    attributes.device_cap_flags = ibv_device_cap_flags::IBV_DEVICE_MEM_MGT_EXTENSIONS.0;
    attributes.max_sge = MAX_SGE as c_int;
    attributes.max_sge_rd = 1;
    attributes.max_cq = 1 << 16;
    attributes.max_cqe = MAX_COMPLETIONS;
    attributes.max_mr = siw::limits::EXPOSED as c_int;
    attributes.max_pd = 1 << 12;
    attributes.max_qp_rd_atom = READ_DEPTH.into();
    attributes.max_qp_init_rd_atom = READ_DEPTH.into();
    attributes.max_res_rd_atom = READ_DEPTH.into();
    attributes.max_srq = siw::limits::COMPLETION_QUEUES as c_int;
    attributes.max_srq_wr = QUEUE_DEPTH.into();
    attributes.max_srq_sge = 1;
    attributes.phys_port_cnt = 1;
    0
}

/// Its one port is up.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_query_port(
    _context: *mut ibv_context,
    port: u8,
    attributes: *mut _compat_ibv_port_attr,
) -> c_int {
    if port != 1 {
        return libc::EINVAL;
    }
    let mut filled = rdma_sys::ibv_port_attr::zeroed();
    filled.state = ibv_port_state::IBV_PORT_ACTIVE;
    filled.max_mtu = ibv_mtu::IBV_MTU_4096;
    filled.active_mtu = ibv_mtu::IBV_MTU_4096;
    filled.gid_tbl_len = 1;
    filled.pkey_tbl_len = 1;
    filled.max_msg_sz = rdma::limits::MAX_MESSAGE;
    // SAFETY: the old structure, which callers pass here, is the beginning of the new one.
    unsafe { attributes.cast::<u8>().copy_from((&raw const filled).cast(), OLD_PORT_ATTRIBUTES) };
    0
}

/// Bytes of `struct _compat_ibv_port_attr` (verbs.h): up to and without `port_cap_flags2`, rounded up as C does.
const OLD_PORT_ATTRIBUTES: usize = 48;

trait Zeroed {
    fn zeroed() -> Self;
}

impl Zeroed for rdma_sys::ibv_port_attr {
    fn zeroed() -> Self {
        // SAFETY: numbers only.
        unsafe { std::mem::zeroed() }
    }
}

/// There is one identifier, of zeros.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_query_gid(
    _context: *mut ibv_context,
    _port: u8,
    index: c_int,
    gid: *mut ibv_gid,
) -> c_int {
    if index != 0 {
        set_errno(libc::EINVAL);
        return -1;
    }
    // SAFETY: the caller's, to be written.
    unsafe { (*gid).raw = [0; 16] };
    0
}

/// There is nothing to prepare for a fork: no memory is pinned.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_fork_init() -> c_int {
    code(Ok(()))
}
