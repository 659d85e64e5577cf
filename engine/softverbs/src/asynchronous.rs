//! What the device tells by itself.

use crate::bell::{self, Bell};
use crate::world::{World, lock};
use rdma_sys::{ibv_async_event, ibv_context, ibv_event_type};
use std::collections::VecDeque;
use std::ffi::c_int;
use std::os::fd::RawFd;

/// Events kept until the program looks. More are forgotten.
const LIMIT: usize = 4_096;

/// An event of a queue pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    pub kind: ibv_event_type,
    /// The queue pair, or completion queue.
    pub about: usize,
}

/// Events that wait.
#[derive(Debug)]
pub struct Asynchronous {
    bell: Bell,
    events: VecDeque<Event>,
}

impl Asynchronous {
    pub fn new() -> Result<Self, c_int> {
        Ok(Self { bell: Bell::new()?, events: VecDeque::new() })
    }

    pub fn fd(&self) -> RawFd {
        self.bell.fd()
    }

    pub fn tell(&mut self, kind: ibv_event_type, about: usize) {
        if self.events.len() < LIMIT {
            self.events.push_back(Event { kind, about });
            self.bell.ring();
        }
    }

    /// Forgets what was to be told of an object that is gone.
    pub fn forget(&mut self, about: usize) {
        let before = self.events.len();
        self.events.retain(|event| event.about != about);
        (self.events.len()..before).for_each(|_| self.bell.unring());
    }
}

/// Waits for an event.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ibv_get_async_event(context: *mut ibv_context, event: *mut ibv_async_event) -> c_int {
    loop {
        // SAFETY: the program's context, which lives for ever.
        if !bell::wait(unsafe { (*context).async_fd }) {
            return -1;
        }
        if let Some(next) = next() {
            // SAFETY: the program's, to be written.
            unsafe {
                (*event).element.qp = std::ptr::with_exposed_provenance_mut(next.about);
                (&raw mut (*event).event_type).write(next.kind);
            }
            return 0;
        }
    }
}

fn next() -> Option<Event> {
    lock().ok()?.asynchronous.events.pop_front()
}

/// Nothing waits for the acknowledgement.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_ack_async_event(_event: *mut ibv_async_event) {}

impl World {
    /// The queue pair has failed by a Terminate message.
    pub fn tell_terminated(&mut self, pair: usize) {
        self.asynchronous.tell(ibv_event_type::IBV_EVENT_QP_FATAL, pair);
    }

    /// The queue pair takes no more shared receives.
    pub fn tell_last_receive(&mut self, pair: usize) {
        self.asynchronous.tell(ibv_event_type::IBV_EVENT_QP_LAST_WQE_REACHED, pair);
    }

    /// The completion queue has overrun.
    pub fn tell_overrun(&mut self, completions: usize) {
        self.asynchronous.tell(ibv_event_type::IBV_EVENT_CQ_ERR, completions);
    }
}
