//! Devices, and what they tell.

use super::{checked, errno, make_nonblocking, returned};
use crate::sys::address;
use rdma::Transport;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::ptr::NonNull;

/// An open device. The RDMA CM opens each once for the whole process and keeps it open while an identifier is bound
/// to it; whoever holds a `Context` holds such an identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    raw: NonNull<rdma_sys::ibv_context>,
}

// SAFETY: the libraries' calls may come from any thread, and nothing here belongs to one.
unsafe impl Send for Context {}

/// What a device says about itself.
#[derive(Clone, Debug)]
pub struct Facts {
    pub name: String,
    pub transport: Transport,
    pub max_qp_wr: i32,
    pub max_sge: i32,
    pub max_cqe: i32,
    pub max_mw: i32,
    pub max_srq: i32,
    pub max_srq_wr: i32,
    /// RDMA Reads served at once on a queue pair.
    pub max_qp_rd_atom: i32,
    /// RDMA Reads issued at once on a queue pair.
    pub max_qp_init_rd_atom: i32,
    pub capabilities: u32,
    pub vendor: u32,
}

impl Context {
    pub(super) fn new(raw: *mut rdma_sys::ibv_context) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw })
    }

    pub(super) fn as_ptr(self) -> *mut rdma_sys::ibv_context {
        self.raw.as_ptr()
    }

    fn get(&self) -> &rdma_sys::ibv_context {
        // SAFETY: see the type; the library does not change what is read here.
        unsafe { self.raw.as_ref() }
    }

    /// Tells devices apart.
    pub fn id(self) -> usize {
        self.raw.as_ptr().addr()
    }

    pub fn name(self) -> String {
        // SAFETY: an open device has a device with a name that ends in a zero.
        unsafe { CStr::from_ptr(rdma_sys::ibv_get_device_name(self.get().device)) }.to_string_lossy().into_owned()
    }

    /// Where its events are read from.
    pub fn fd(self) -> RawFd {
        self.get().async_fd
    }

    /// Reads of its events return at once from now on, in the whole process.
    pub fn make_nonblocking(self) -> Result<(), i32> {
        make_nonblocking(self.fd())
    }

    pub fn facts(self) -> Result<Facts, i32> {
        let mut raw = MaybeUninit::<rdma_sys::ibv_device_attr>::zeroed();
        // SAFETY: the device is open, the attributes are written to `raw`.
        returned(unsafe { rdma_sys::ibv_query_device(self.as_ptr(), raw.as_mut_ptr()) })?;
        // SAFETY: all zeros would be valid, too.
        let raw = unsafe { raw.assume_init() };
        // SAFETY: an open device has a device.
        let transport = unsafe { (*self.get().device).transport_type };
        let iwarp = transport == rdma_sys::ibv_transport_type::IBV_TRANSPORT_IWARP;
        Ok(Facts {
            name: self.name(),
            transport: if iwarp { Transport::Iwarp } else { Transport::InfiniBand },
            max_qp_wr: raw.max_qp_wr,
            max_sge: raw.max_sge,
            max_cqe: raw.max_cqe,
            max_mw: raw.max_mw,
            max_srq: raw.max_srq,
            max_srq_wr: raw.max_srq_wr,
            max_qp_rd_atom: raw.max_qp_rd_atom,
            max_qp_init_rd_atom: raw.max_qp_init_rd_atom,
            capabilities: raw.device_cap_flags,
            vendor: raw.vendor_id,
        })
    }
}

/// Every device of the machine that the RDMA CM knows, by name and family. Empty without RDMA.
pub fn contexts() -> Vec<(String, Transport)> {
    let mut count = 0;
    // SAFETY: the number is written to `count`; NULL is an error.
    let Some(list) = NonNull::new(unsafe { rdma_sys::rdma_get_devices(&raw mut count) }) else { return vec![] };
    let found = (0..usize::try_from(count).unwrap_or(0)).filter_map(|i| {
        // SAFETY: the list has `count` entries.
        let context = Context::new(unsafe { *list.as_ptr().add(i) })?;
        let facts = context.facts().ok()?;
        Some((facts.name, facts.transport))
    });
    let found = found.collect();
    // SAFETY: the list was made by rdma_get_devices and is not used again.
    unsafe { rdma_sys::rdma_free_devices(list.as_ptr()) };
    found
}

/// The addresses of this machine's network interfaces.
pub fn interface_addresses() -> Vec<IpAddr> {
    let mut first = std::ptr::null_mut();
    // SAFETY: the list is written to `first`.
    if checked(unsafe { libc::getifaddrs(&raw mut first) }).is_err() {
        return vec![];
    }
    let (mut found, mut at) = (vec![], first);
    // SAFETY: the list's entries are valid until it is freed.
    while let Some(entry) = unsafe { at.as_ref() } {
        if !entry.ifa_addr.is_null() {
            // SAFETY: a whole address of the family it names.
            found.extend(unsafe { address::read(entry.ifa_addr) }.map(|a| a.ip()));
        }
        at = entry.ifa_next;
    }
    // SAFETY: the list came from getifaddrs and is not used again.
    unsafe { libc::freeifaddrs(first) };
    found.sort_unstable();
    found.dedup();
    found
}

/// What a device tells by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceEvent {
    /// The queue pair of this number has failed.
    PairFailed(u32),
    /// The queue pair of this number takes no more from its shared receive queue.
    LastReceive(u32),
    /// A completion queue has overrun or failed.
    CompletionsFailed,
    /// A shared receive queue has failed.
    ReceivesFailed,
    /// The device has failed.
    Fatal,
    /// A port has come up.
    PortUp(i32),
    /// A port has gone down.
    PortDown(i32),
    /// Something else.
    Other(u32),
}

/// The next event of a device whose descriptor does not block. It is acknowledged, and its queue pair may be gone,
/// when this returns.
pub fn device_event(context: Context) -> Result<Option<DeviceEvent>, i32> {
    use rdma_sys::ibv_event_type as event;
    let mut raw = MaybeUninit::<rdma_sys::ibv_async_event>::zeroed();
    // SAFETY: the device is open; the event is written to `raw`.
    if unsafe { rdma_sys::ibv_get_async_event(context.as_ptr(), raw.as_mut_ptr()) } != 0 {
        return match errno() {
            libc::EAGAIN | libc::EINTR => Ok(None),
            errno => Err(errno),
        };
    }
    let at = raw.as_mut_ptr();
    // SAFETY: the event is whole. Its type is read as a number: a newer library knows more of them than are enumerated.
    let kind = unsafe { (&raw const (*at).event_type).cast::<u32>().read() };
    const FAILED: [u32; 4] = [
        event::IBV_EVENT_QP_FATAL as u32,
        event::IBV_EVENT_QP_REQ_ERR as u32,
        event::IBV_EVENT_QP_ACCESS_ERR as u32,
        event::IBV_EVENT_PATH_MIG_ERR as u32,
    ];
    const LAST: u32 = event::IBV_EVENT_QP_LAST_WQE_REACHED as u32;
    let number = || {
        // SAFETY: events of these kinds are about a queue pair, which cannot be destroyed before they are acknowledged.
        unsafe { (*at).element.qp.as_ref() }.map_or(0, |qp| qp.qp_num)
    };
    // SAFETY: events of ports have a port number.
    let port = || unsafe { (*at).element.port_num };
    let event = match kind {
        _ if FAILED.contains(&kind) => DeviceEvent::PairFailed(number()),
        LAST => DeviceEvent::LastReceive(number()),
        k if k == event::IBV_EVENT_CQ_ERR as u32 => DeviceEvent::CompletionsFailed,
        k if k == event::IBV_EVENT_SRQ_ERR as u32 => DeviceEvent::ReceivesFailed,
        k if k == event::IBV_EVENT_DEVICE_FATAL as u32 => DeviceEvent::Fatal,
        k if k == event::IBV_EVENT_PORT_ACTIVE as u32 => DeviceEvent::PortUp(port()),
        k if k == event::IBV_EVENT_PORT_ERR as u32 => DeviceEvent::PortDown(port()),
        other => DeviceEvent::Other(other),
    };
    // SAFETY: an event is acknowledged once, and not looked at afterwards.
    unsafe { rdma_sys::ibv_ack_async_event(at) };
    Ok(Some(event))
}
