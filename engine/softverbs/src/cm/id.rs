//! Identifiers.

use super::address;
use crate::world::{World, lock};
use crate::{free, object, result};
use rdma::{Provider, QueuePair, ReadDepth, RequestId};
use rdma_sys::{ibv_pd, ibv_qp, ibv_qp_init_attr, rdma_cm_id, rdma_event_channel, rdma_port_space};
use std::ffi::{c_int, c_void};
use std::net::SocketAddr;
use std::ptr;

/// What an identifier is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Nothing yet, or a connection that is being made or stands.
    Connection,
    /// It listens there.
    Listener(SocketAddr),
    /// A request that waits for its answer, with the peer's depth.
    Request(RequestId, ReadDepth),
}

/// An identifier.
#[derive(Clone, Copy, Debug)]
pub struct Id {
    pub channel: usize,
    pub role: Role,
    pub source: Option<SocketAddr>,
    pub destination: Option<SocketAddr>,
    /// Its queue pair, whoever made that.
    pub pair: Option<usize>,
}

/// An identifier as the program sees it.
pub fn raw(id: usize) -> *mut rdma_cm_id {
    ptr::with_exposed_provenance_mut(id)
}

impl World {
    /// Makes an identifier.
    pub fn create_id(&mut self, channel: *mut rdma_event_channel, context: *mut c_void) -> *mut rdma_cm_id {
        let raw = object::<rdma_cm_id>(|raw| {
            (raw.channel, raw.context) = (channel, context);
            raw.ps = rdma_port_space::RDMA_PS_TCP;
            raw.qp_type = rdma_sys::ibv_qp_type::IBV_QPT_RC;
        });
        let id = Id { channel: channel.addr(), role: Role::Connection, source: None, destination: None, pair: None };
        self.ids.insert(raw.expose_provenance(), id);
        raw
    }

    pub fn id(&mut self, id: *mut rdma_cm_id) -> Result<&mut Id, c_int> {
        self.ids.get_mut(&id.addr()).ok_or(libc::EINVAL)
    }

    /// Binds an identifier to the device.
    pub fn bind_device(&self, id: *mut rdma_cm_id) {
        // SAFETY: the identifier is known, so it lives.
        unsafe {
            (*id).verbs = ptr::with_exposed_provenance_mut(self.context);
            (*id).port_num = 1;
        }
    }

    /// Forgets an identifier, and what waits for it.
    fn destroy_id(&mut self, id: usize) -> Result<(), c_int> {
        let known = self.ids.get(&id).copied().ok_or(libc::EINVAL)?;
        let events = self.take_events(known.channel, id);
        match known.role {
            Role::Listener(at) => {
                // Requests that the program was not told of are nobody's.
                for request in events.iter().map(|event| event.id).filter(|request| *request != id) {
                    let _ = self.destroy_id(request);
                    // SAFETY: it was known, and the program never heard of it.
                    unsafe { free(raw(request)) };
                }
                self.front.unlisten(at);
            }
            Role::Request(request, _) => {
                let _ = self.front.reject(request, rdma::PrivateData::EMPTY);
            }
            Role::Connection => {}
        }
        if let Some(pair) = known.pair.and_then(|pair| self.pairs.get_mut(&pair)) {
            pair.id = None;
            if let Some(live) = &mut pair.live {
                live.to_error();
            }
        }
        self.ids.remove(&id);
        if self.channels.get(&known.channel).is_some_and(|channel| channel.private) {
            self.destroy_channel(known.channel);
        }
        Ok(())
    }
}

/// Makes an identifier.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_create_id(
    channel: *mut rdma_event_channel,
    id: *mut *mut rdma_cm_id,
    context: *mut c_void,
    port_space: rdma_port_space::Type,
) -> c_int {
    if port_space != rdma_port_space::RDMA_PS_TCP {
        return result(Err(libc::EOPNOTSUPP));
    }
    result(lock().and_then(|mut world| {
        let channel = if channel.is_null() { world.create_channel(true)? } else { channel };
        let made = world.create_id(channel, context);
        // SAFETY: the program's, to be written.
        unsafe { *id = made };
        Ok(())
    }))
}

/// Destroys an identifier. A request that was not answered is rejected, a connection ends.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_destroy_id(id: *mut rdma_cm_id) -> c_int {
    let destroyed = lock().and_then(|mut world| {
        world.destroy_id(id.addr())?;
        world.alarm.ring();
        Ok(())
    });
    if destroyed.is_ok() {
        // SAFETY: it was known, so it was made above, and now it is forgotten.
        unsafe { free(id) };
    }
    result(destroyed)
}

/// Moves an identifier and its events to another channel, or to one that nobody reads.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_migrate_id(id: *mut rdma_cm_id, channel: *mut rdma_event_channel) -> c_int {
    result(lock().and_then(|mut world| {
        let before = world.id(id)?.channel;
        let channel = if channel.is_null() { world.create_channel(true)? } else { channel };
        let events = world.take_events(before, id.addr());
        world.id(id)?.channel = channel.addr();
        // SAFETY: it is known, so it lives.
        unsafe { (*id).channel = channel };
        events.into_iter().for_each(|event| world.tell_cm(event));
        if world.channels.get(&before).is_some_and(|channel| channel.private) {
            world.destroy_channel(before);
        }
        Ok(())
    }))
}

/// Binds an identifier to a local address, and so to the device.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_bind_addr(id: *mut rdma_cm_id, at: *mut libc::sockaddr) -> c_int {
    // SAFETY: the program's address.
    result(unsafe { address::read(at) }.and_then(|at| {
        if !at.ip().is_unspecified() {
            address::is_local(at)?;
        }
        let mut world = lock()?;
        world.id(id)?.source = Some(at);
        address::show(id, Some(at), None);
        if !at.ip().is_unspecified() {
            world.bind_device(id);
        }
        Ok(())
    }))
}

/// Makes a queue pair for an identifier.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_create_qp(
    id: *mut rdma_cm_id,
    pd: *mut ibv_pd,
    attributes: *mut ibv_qp_init_attr,
) -> c_int {
    // SAFETY: the program's identifier.
    if pd.is_null() || unsafe { !(*id).qp.is_null() || (*id).verbs.is_null() } {
        return result(Err(libc::EINVAL));
    }
    // SAFETY: as in C.
    let qp = unsafe { crate::pair::ibv_create_qp(pd, attributes) };
    if qp.is_null() {
        return -1;
    }
    // SAFETY: as above.
    unsafe { ((*id).qp, (*id).pd) = (qp, pd) };
    result(lock().and_then(|mut world| world.marry(id, qp)))
}

impl World {
    /// An identifier and a queue pair belong together.
    pub fn marry(&mut self, id: *mut rdma_cm_id, qp: *mut ibv_qp) -> Result<(), c_int> {
        self.id(id)?.pair = Some(qp.addr());
        self.pairs.get_mut(&qp.addr()).ok_or(libc::EINVAL)?.id = Some(id.addr());
        Ok(())
    }
}

/// Destroys an identifier's queue pair.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_destroy_qp(id: *mut rdma_cm_id) {
    // SAFETY: the program's identifier.
    let qp = unsafe { (*id).qp };
    if qp.is_null() {
        return;
    }
    if let Ok(mut world) = lock()
        && let Ok(id) = world.id(id)
    {
        id.pair = None;
    }
    // SAFETY: as in C.
    unsafe {
        crate::pair::ibv_destroy_qp(qp);
        (*id).qp = ptr::null_mut();
    }
}

/// Takes note of nothing.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_set_option(
    _id: *mut rdma_cm_id,
    _level: c_int,
    _name: c_int,
    _value: *mut c_void,
    _len: usize,
) -> c_int {
    0
}

/// There is nothing to be told.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_notify(_id: *mut rdma_cm_id, _event: rdma_sys::ibv_event_type) -> c_int {
    0
}
