//! The passive side.

use super::address;
use super::channel::Event;
use super::id::{Role, raw};
use crate::domain::errno;
use crate::result;
use crate::world::{World, lock};
use rdma::{PrivateData, Provider, Request};
use rdma_sys::{rdma_cm_event_type as event, rdma_cm_id};
use std::ffi::{c_int, c_void};
use std::net::SocketAddr;

/// Listens.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_listen(id: *mut rdma_cm_id, backlog: c_int) -> c_int {
    result(lock().and_then(|mut world| {
        let at = world.id(id)?.source.ok_or(libc::EINVAL)?;
        let backlog = if backlog <= 0 { 128 } else { backlog.min(1024) as u16 };
        let at = world.front.listen(at, backlog).map_err(errno)?;
        let known = world.id(id)?;
        (known.source, known.role) = (Some(at), Role::Listener(at));
        address::show(id, Some(at), None);
        world.alarm.ring();
        Ok(())
    }))
}

impl World {
    /// Somebody wants a connection: the program gets an identifier for it.
    pub fn requested(&mut self, request: &Request) {
        let of = |id: &super::Id| id.role == Role::Listener(request.to);
        let Some((listener, channel)) = self.ids.iter().find(|(_, id)| of(id)).map(|(at, id)| (*at, id.channel)) else {
            let _ = self.front.reject(request.id, PrivateData::EMPTY);
            return;
        };
        // SAFETY: the listener is known, so it lives.
        let context = unsafe { (*raw(listener)).context };
        let made = self.create_id(std::ptr::with_exposed_provenance_mut(channel), context);
        self.bind_device(made);
        // Who listens at every address was reached at the one that leads back.
        let reached = if request.to.ip().is_unspecified() { address::route(request.from).ok() } else { None };
        let local = SocketAddr::new(reached.unwrap_or(request.to.ip()), request.to.port());
        let (source, destination) = (Some(local), Some(request.from));
        address::show(made, source, destination);
        if let Ok(id) = self.id(made) {
            (id.source, id.destination) = (source, destination);
            id.role = Role::Request(request.id, request.depth);
        }
        self.tell_cm(Event {
            listener: Some(listener),
            depth: request.depth,
            private: request.private,
            ..Event::plain(made.addr(), event::RDMA_CM_EVENT_CONNECT_REQUEST, 0)
        });
    }
}

/// Says no.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_reject(id: *mut rdma_cm_id, private: *const c_void, len: u8) -> c_int {
    // SAFETY: the program's bytes.
    let private = unsafe { super::connect::private(private, len) };
    result(lock().and_then(|mut world| {
        let Role::Request(request, _) = world.id(id)?.role else { return Err(libc::EINVAL) };
        world.id(id)?.role = Role::Connection;
        let rejected = world.front.reject(request, private).map_err(errno);
        world.alarm.ring();
        rejected
    }))
}

/// Says no to a request that was not looked at: the peer finds nobody.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_reject_ece(id: *mut rdma_cm_id, _private: *const c_void, _len: u8) -> c_int {
    result(lock().and_then(|mut world| {
        let Role::Request(request, _) = world.id(id)?.role else { return Err(libc::EINVAL) };
        world.id(id)?.role = Role::Connection;
        drop(world.front.detach(request).ok_or(libc::ENOTCONN)?);
        Ok(())
    }))
}
