//! Event channels.

use crate::bell::{self, Bell};
use crate::world::{World, lock};
use crate::{free, object, pointer};
use rdma::{PrivateData, ReadDepth};
use rdma_sys::{rdma_cm_event, rdma_cm_event_type, rdma_cm_id, rdma_conn_param, rdma_event_channel};
use std::collections::VecDeque;
use std::ffi::c_int;
use std::os::fd::RawFd;
use std::ptr;

/// An event channel.
#[derive(Debug)]
pub struct Channel {
    bell: Bell,
    events: VecDeque<Event>,
    /// Nobody reads it: it belongs to one identifier without a channel of the program's.
    pub private: bool,
}

/// What happened to an identifier.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub id: usize,
    pub listener: Option<usize>,
    pub kind: rdma_cm_event_type::Type,
    pub status: c_int,
    /// As the event has it: `ird` in initiator_depth, `ord` in responder_resources.
    pub depth: ReadDepth,
    pub private: PrivateData,
}

impl Event {
    /// One without parameters.
    pub const fn plain(id: usize, kind: rdma_cm_event_type::Type, status: c_int) -> Self {
        let depth = ReadDepth { ird: 0, ord: 0 };
        Self { id, listener: None, kind, status, depth, private: PrivateData::EMPTY }
    }
}

/// An event in the program's hands, with the private data behind it.
#[repr(C)]
struct Shown {
    raw: rdma_cm_event,
    private: PrivateData,
}

fn show(event: &Event) -> *mut rdma_cm_event {
    let at = |id: usize| ptr::with_exposed_provenance_mut::<rdma_cm_id>(id);
    let shown = object::<Shown>(|shown| {
        shown.private = event.private;
        let bytes = shown.private.as_slice();
        let eight = |n: u16| n.min(255) as u8;
        shown.raw.id = at(event.id);
        shown.raw.listen_id = event.listener.map_or(ptr::null_mut(), at);
        (shown.raw.event, shown.raw.status) = (event.kind, event.status);
        shown.raw.param.conn = rdma_conn_param {
            private_data: if bytes.is_empty() { ptr::null() } else { bytes.as_ptr().cast() },
            private_data_len: bytes.len().min(255) as u8,
            responder_resources: eight(event.depth.ord),
            initiator_depth: eight(event.depth.ird),
            flow_control: 0,
            retry_count: 7,
            rnr_retry_count: 7,
            srq: 0,
            qp_num: 0,
        };
    });
    shown.cast()
}

impl World {
    /// Makes a channel.
    pub fn create_channel(&mut self, private: bool) -> Result<*mut rdma_event_channel, c_int> {
        let channel = Channel { bell: Bell::new()?, events: VecDeque::new(), private };
        let fd = channel.bell.fd();
        let raw = object::<rdma_event_channel>(|raw| raw.fd = fd);
        self.channels.insert(raw.expose_provenance(), channel);
        Ok(raw)
    }

    /// Forgets a channel; what was still to be told there is nobody's.
    pub fn destroy_channel(&mut self, channel: usize) {
        if self.channels.remove(&channel).is_some() {
            let raw: *mut rdma_event_channel = ptr::with_exposed_provenance_mut(channel);
            // SAFETY: it was known, so it was made above, and now it is forgotten.
            unsafe { free(raw) };
        }
    }

    /// Tells a program of an event, at the channel of the identifier it is about (a request's, of its listener).
    pub fn tell_cm(&mut self, event: Event) {
        let channel = self.ids.get(&event.id).map(|id| id.channel);
        if let Some(channel) = channel.and_then(|channel| self.channels.get_mut(&channel)) {
            channel.events.push_back(event);
            channel.bell.ring();
        }
    }

    /// Takes the events of an identifier out of its channel.
    pub fn take_events(&mut self, channel: usize, id: usize) -> Vec<Event> {
        let Some(channel) = self.channels.get_mut(&channel) else { return vec![] };
        let of = |event: &Event| event.id == id || event.listener == Some(id);
        let taken: Vec<Event> = channel.events.iter().copied().filter(of).collect();
        channel.events.retain(|event| !of(event));
        taken.iter().for_each(|_| channel.bell.unring());
        taken
    }
}

/// Makes an event channel.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_create_event_channel() -> *mut rdma_event_channel {
    pointer(lock().and_then(|mut world| world.create_channel(false)))
}

/// Destroys an event channel.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_destroy_event_channel(channel: *mut rdma_event_channel) {
    if let Ok(mut world) = lock() {
        world.destroy_channel(channel.addr());
    }
}

/// Waits for an event. Programs destroy channels that a thread of theirs still waits at, and expect that thread to stay
/// where it is, as it would in the kernel.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn rdma_get_cm_event(
    channel: *mut rdma_event_channel,
    event: *mut *mut rdma_cm_event,
) -> c_int {
    loop {
        let Some(fd) = fd(channel.addr()) else { bell::never() };
        if !bell::wait(fd) {
            let errno = std::io::Error::last_os_error().raw_os_error();
            if errno == Some(libc::EBADF) {
                continue;
            }
            crate::set_errno(errno.unwrap_or(libc::EIO));
            return -1;
        }
        if let Some(next) = next(channel.addr()) {
            // SAFETY: the program's, to be written.
            unsafe { *event = show(&next) };
            return 0;
        }
    }
}

fn fd(channel: usize) -> Option<RawFd> {
    Some(lock().ok()?.channels.get(&channel)?.bell.fd())
}

fn next(channel: usize) -> Option<Event> {
    lock().ok()?.channels.get_mut(&channel)?.events.pop_front()
}

/// Frees an event.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_ack_cm_event(event: *mut rdma_cm_event) -> c_int {
    // SAFETY: the program has it from `rdma_get_cm_event`, and gives it back once.
    unsafe { free(event.cast::<Shown>()) };
    0
}
