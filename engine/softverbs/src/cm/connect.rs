//! Connections.

use super::address;
use super::channel::Event;
use super::id::Role;
use crate::domain::errno;
use crate::pair::name;
use crate::result;
use crate::world::{World, lock};
use rdma::{Parameters, Peer, PrivateData, Provider, QueuePair, QueueSetup, ReadDepth, RequestId};
use rdma_sys::{ibv_qp_attr, ibv_qp_attr_mask, ibv_qp_state, rdma_cm_event_type as event, rdma_cm_id, rdma_conn_param};
use std::ffi::{c_int, c_void};
use std::net::SocketAddr;

/// Private data as the program has it.
///
/// # Safety
/// There are `len` bytes, or NULL.
pub unsafe fn private(bytes: *const c_void, len: u8) -> PrivateData {
    if bytes.is_null() {
        return PrivateData::EMPTY;
    }
    // SAFETY: the caller's promise. 255 bytes always fit.
    PrivateData::new(unsafe { std::slice::from_raw_parts(bytes.cast(), usize::from(len)) }).unwrap_or_default()
}

/// Looks for the way to an address: there is one if the kernel has a route.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_resolve_addr(
    id: *mut rdma_cm_id,
    from: *mut libc::sockaddr,
    to: *mut libc::sockaddr,
    _millis: c_int,
) -> c_int {
    // SAFETY: the program's addresses.
    let (from, to) = unsafe { (if from.is_null() { None } else { address::read(from).ok() }, address::read(to)) };
    result(to.and_then(|to| {
        let mut world = lock()?;
        let known = world.id(id)?;
        let bound = known.source.or(from).filter(|source| !source.ip().is_unspecified());
        let source = bound.map_or_else(|| address::route(to).map(|ip| SocketAddr::new(ip, 0)), Ok);
        let told = match source {
            Ok(source) => {
                (known.source, known.destination) = (Some(source), Some(to));
                address::show(id, Some(source), Some(to));
                world.bind_device(id);
                Event::plain(id.addr(), event::RDMA_CM_EVENT_ADDR_RESOLVED, 0)
            }
            Err(errno) => Event::plain(id.addr(), event::RDMA_CM_EVENT_ADDR_ERROR, -errno),
        };
        world.tell_unless_private(id, told)
    }))
}

/// There is nothing more to find.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_resolve_route(id: *mut rdma_cm_id, _millis: c_int) -> c_int {
    result(lock().and_then(|mut world| {
        world.id(id)?.destination.ok_or(libc::EINVAL)?;
        world.tell_unless_private(id, Event::plain(id.addr(), event::RDMA_CM_EVENT_ROUTE_RESOLVED, 0))
    }))
}

impl World {
    /// Tells by an event, or to one that has no channel by the result of the call.
    fn tell_unless_private(&mut self, id: *mut rdma_cm_id, told: Event) -> Result<(), c_int> {
        let channel = self.id(id)?.channel;
        if self.channels.get(&channel).is_some_and(|channel| channel.private) {
            return if told.status == 0 { Ok(()) } else { Err(-told.status) };
        }
        self.tell_cm(told);
        Ok(())
    }

    /// The queue pair of a connection, which may have been made apart from it.
    fn pair_of(&mut self, id: *mut rdma_cm_id, param: Option<&rdma_conn_param>) -> Result<usize, c_int> {
        if let Some(pair) = self.id(id)?.pair {
            return Ok(pair);
        }
        let pair = param.and_then(|param| self.numbers.get(&param.qp_num)).copied().ok_or(libc::EINVAL)?;
        self.marry(id, std::ptr::with_exposed_provenance_mut(pair))?;
        Ok(pair)
    }

    /// Moves a request from where it was listened for to the device of its queue pair's domain.
    fn adopt(&mut self, request: RequestId, domain: usize) -> Result<RequestId, c_int> {
        let parcel = self.front.detach(request).ok_or(libc::ENOTCONN)?;
        let siw = &mut self.domains.get_mut(&domain).ok_or(libc::EINVAL)?.siw;
        siw.attach(parcel).map_err(errno)?;
        // It is asked there again, behind whatever else waits.
        let mut others = vec![];
        let found = loop {
            match self.domains.get_mut(&domain).and_then(|domain| domain.siw.poll()) {
                Some(rdma::Event::Request(request)) => break Ok(request.id),
                Some(other) => others.push(other),
                None => break Err(libc::ENOTCONN),
            }
        };
        others.into_iter().for_each(|event| self.event(event));
        found
    }

    /// Begins a connection: from here on the queue pair is the device's, with the receives it was given.
    fn begin(&mut self, qp: usize, peer: Peer, parameters: &Parameters) -> Result<(), c_int> {
        let pair = self.pairs.get_mut(&qp).ok_or(libc::EINVAL)?;
        if pair.failed || pair.live.is_some() {
            return Err(libc::EINVAL);
        }
        let domain = self.domains.get_mut(&pair.domain).ok_or(libc::EINVAL)?;
        let receives = pair.shared.map(|srq| self.receives.get(&srq).ok_or(libc::EINVAL)).transpose()?;
        let setup = QueueSetup {
            name: name(pair.number),
            completions: &domain.completions,
            receives: receives.map(|receives| &receives.siw),
            send_depth: pair.send_depth(),
            receive_depth: pair.receive_depth(),
            windows: 0,
        };
        let mut live = domain.siw.prepare(peer, setup).map_err(errno)?;
        for request in pair.early.drain(..) {
            // They were checked, and there is room for them.
            let _ = live.post_receive(request);
        }
        live.ring();
        let started = live.start(parameters).map_err(errno);
        pair.live = Some(live);
        self.alarm.ring();
        self.settle();
        started
    }
}

/// What the program says, or nothing.
///
/// # Safety
/// As in C.
unsafe fn parameters(param: *const rdma_conn_param) -> Option<(rdma_conn_param, Parameters)> {
    // SAFETY: the caller's promise.
    let param = unsafe { param.as_ref() }?;
    let depth = ReadDepth { ird: param.responder_resources.into(), ord: param.initiator_depth.into() };
    // SAFETY: the caller's promise.
    let private = unsafe { private(param.private_data, param.private_data_len) };
    Some((*param, Parameters { depth, private }))
}

/// Asks for a connection.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_connect(id: *mut rdma_cm_id, param: *mut rdma_conn_param) -> c_int {
    // SAFETY: the program's parameters.
    let given = unsafe { parameters(param) };
    result(lock().and_then(|mut world| {
        let to = world.id(id)?.destination.ok_or(libc::EINVAL)?;
        let qp = world.pair_of(id, given.as_ref().map(|(raw, _)| raw))?;
        world.begin(qp, Peer::At(to), &given.map(|(_, parameters)| parameters).unwrap_or_default())
    }))
}

/// Accepts a connection.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_accept(id: *mut rdma_cm_id, param: *mut rdma_conn_param) -> c_int {
    // SAFETY: the program's parameters.
    let given = unsafe { parameters(param) };
    result(lock().and_then(|mut world| {
        let Role::Request(request, depth) = world.id(id)?.role else { return Err(libc::EINVAL) };
        let qp = world.pair_of(id, given.as_ref().map(|(raw, _)| raw))?;
        let domain = world.pairs.get(&qp).ok_or(libc::EINVAL)?.domain;
        world.id(id)?.role = Role::Connection;
        let request = world.adopt(request, domain)?;
        // Without parameters, what the peer asks for.
        let asked = Parameters { depth: ReadDepth { ird: depth.ord, ord: depth.ird }, private: PrivateData::EMPTY };
        world.begin(qp, Peer::Of(request), &given.map_or(asked, |(_, parameters)| parameters))
    }))
}

/// Ends a connection.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_disconnect(id: *mut rdma_cm_id) -> c_int {
    result(lock().and_then(|mut world| {
        let pair = world.id(id)?.pair.ok_or(libc::EINVAL)?;
        world.fail_pair(pair);
        world.settle();
        world.alarm.ring();
        Ok(())
    }))
}

/// The connection is established by itself.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_establish(_id: *mut rdma_cm_id) -> c_int {
    0
}

/// What a program that drives its queue pair itself is to set: the state it wants, and nothing else.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdma_init_qp_attr(_id: *mut rdma_cm_id, attr: *mut ibv_qp_attr, mask: *mut c_int) -> c_int {
    // SAFETY: the program's, to be read and written.
    unsafe {
        let state = (*attr).qp_state;
        attr.write_bytes(0, 1);
        (*attr).qp_state = if state > ibv_qp_state::IBV_QPS_ERR { ibv_qp_state::IBV_QPS_INIT } else { state };
        *mask = ibv_qp_attr_mask::IBV_QP_STATE.0 as c_int;
    }
    0
}
