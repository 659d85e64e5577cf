//! The connection manager's event channel.

use super::cm_id::CmId;
use super::{checked, errno, make_nonblocking};
use rdma::{PrivateData, ReadDepth};
use rdma_sys::rdma_cm_event_type as event;
use std::os::fd::RawFd;
use std::ptr::NonNull;

/// Where the connection manager's events are read from, without waiting.
#[derive(Debug)]
pub struct Channel {
    raw: NonNull<rdma_sys::rdma_event_channel>,
}

// SAFETY: the libraries' calls may come from any thread, and nothing here belongs to one.
unsafe impl Send for Channel {}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    AddressResolved,
    RouteResolved,
    ConnectRequest,
    Established,
    Rejected,
    /// The peer could not be resolved, reached, or agreed with.
    Failed,
    Unreachable,
    Disconnected,
    DeviceRemoved,
    AddressChanged,
    /// Nothing to act on, or unknown.
    Other(u32),
}

/// An event, copied and acknowledged.
#[derive(Debug)]
pub struct CmEvent {
    pub kind: Kind,
    /// An error number, or a reason for a rejection.
    pub status: i32,
    /// [`CmId::set_context`] of the identifier it is about; of the listener, for a request.
    pub context: usize,
    /// A request's own identifier.
    pub request: Option<CmId>,
    /// As the event has it: `ird` from initiator_depth (what this side may have outstanding: the peer's IRD), `ord`
    /// from responder_resources.
    pub depth: ReadDepth,
    pub private: PrivateData,
}

impl Channel {
    /// Opens one.
    ///
    /// # Errors
    /// ENODEV on a machine without RDMA, or another error number.
    pub fn open() -> Result<Self, i32> {
        // SAFETY: no arguments; NULL is an error.
        let raw = NonNull::new(unsafe { rdma_sys::rdma_create_event_channel() }).ok_or_else(errno)?;
        let channel = Self { raw };
        make_nonblocking(channel.fd())?;
        Ok(channel)
    }

    pub fn fd(&self) -> RawFd {
        // SAFETY: the channel lives as long as `self`.
        unsafe { self.raw.as_ref().fd }
    }

    pub(super) fn as_ptr(&self) -> *mut rdma_sys::rdma_event_channel {
        self.raw.as_ptr()
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    /// The channel is broken.
    pub fn next(&self) -> Result<Option<CmEvent>, i32> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the channel lives; the event is written to `raw`.
        match checked(unsafe { rdma_sys::rdma_get_cm_event(self.as_ptr(), &raw mut raw) }) {
            Ok(()) => {}
            Err(libc::EAGAIN | libc::EINTR) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        // SAFETY: a successful call leaves a whole event there.
        let copied = unsafe { copy(&*raw) };
        // SAFETY: an event is acknowledged once, and not looked at afterwards.
        unsafe { rdma_sys::rdma_ack_cm_event(raw) };
        Ok(Some(copied))
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: identifiers are dropped before their channel, and every event was acknowledged.
        unsafe { rdma_sys::rdma_destroy_event_channel(self.as_ptr()) };
    }
}

const fn kind(event: event::Type) -> Kind {
    match event {
        event::RDMA_CM_EVENT_ADDR_RESOLVED => Kind::AddressResolved,
        event::RDMA_CM_EVENT_ROUTE_RESOLVED => Kind::RouteResolved,
        event::RDMA_CM_EVENT_CONNECT_REQUEST => Kind::ConnectRequest,
        event::RDMA_CM_EVENT_ESTABLISHED => Kind::Established,
        event::RDMA_CM_EVENT_REJECTED => Kind::Rejected,
        event::RDMA_CM_EVENT_ADDR_ERROR | event::RDMA_CM_EVENT_ROUTE_ERROR | event::RDMA_CM_EVENT_CONNECT_ERROR => {
            Kind::Failed
        }
        event::RDMA_CM_EVENT_UNREACHABLE => Kind::Unreachable,
        event::RDMA_CM_EVENT_DISCONNECTED => Kind::Disconnected,
        event::RDMA_CM_EVENT_DEVICE_REMOVAL => Kind::DeviceRemoved,
        event::RDMA_CM_EVENT_ADDR_CHANGE => Kind::AddressChanged,
        other => Kind::Other(other),
    }
}

/// Copies what matters of an event.
///
/// # Safety
/// The event is whole, and was not acknowledged yet.
unsafe fn copy(event: &rdma_sys::rdma_cm_event) -> CmEvent {
    let kind = kind(event.event);
    // SAFETY: an event is about a living identifier, and a request also about a living listener.
    let context = unsafe {
        let about = if kind == Kind::ConnectRequest { event.listen_id } else { event.id };
        NonNull::new(about).map_or(0, |id| id.as_ref().context.addr())
    };
    let (mut depth, mut private) = (ReadDepth::default(), PrivateData::EMPTY);
    if matches!(kind, Kind::ConnectRequest | Kind::Established | Kind::Rejected) {
        // SAFETY: these kinds of events, on a connected port space, have connection parameters.
        let conn = unsafe { &event.param.conn };
        depth = ReadDepth { ird: conn.initiator_depth.into(), ord: conn.responder_resources.into() };
        if !conn.private_data.is_null() {
            let len = usize::from(conn.private_data_len);
            // SAFETY: the library keeps this many bytes with the event.
            let bytes = unsafe { std::slice::from_raw_parts(conn.private_data.cast::<u8>(), len) };
            // 255 bytes always fit.
            private = PrivateData::new(bytes).unwrap_or_default();
        }
    }
    let request = if kind == Kind::ConnectRequest { CmId::from_event(event.id) } else { None };
    CmEvent { kind, status: event.status, context, request, depth, private }
}
