//! Connections being made, and what the connection manager says about them.

use crate::ident::{Party, request_id, request_key};
use crate::inner::Inner;
use crate::limits::{CM_EVENTS, KERNEL_BACKLOG};
use crate::map;
use crate::queue::{Queue, Role, Stage};
use crate::sys::{CmEvent, CmId, ConnectionParameters, Kind};
use primitives::Key;
use rdma::{Ended, Event, Parameters, PrivateData, ReadDepth, Refused, RejectReason, Request, RequestId, Transport};
use std::net::SocketAddr;

/// A listener.
#[derive(Debug)]
pub struct Listener {
    /// Listens as long as it lives.
    _id: CmId,
    at: SocketAddr,
    backlog: u16,
    /// Requests that wait.
    waiting: u16,
}

/// A request that waits for an answer. Dropping it says no.
#[derive(Debug)]
pub struct Waiting {
    pub id: CmId,
    pub request: Request,
    /// Where it came in, unless on another core.
    pub listener: Option<Key>,
}

/// A connection request on its way to another core. Dropping it says no.
#[derive(Debug)]
pub struct Parcel {
    id: CmId,
    request: Request,
}

impl Inner {
    pub fn listen(&mut self, at: SocketAddr, backlog: u16) -> Result<SocketAddr, Refused> {
        let limit = Refused::Limit { what: "listeners", limit: self.listeners.capacity() };
        if self.device.removed {
            return Err(Refused::Removed);
        }
        if at.ip().is_unspecified() {
            return Err(Refused::Unsupported);
        }
        if self.listeners.iter().any(|(_, listener)| listener.at == at) {
            return Err(Refused::InUse);
        }
        let in_use = |errno| if errno == libc::EADDRINUSE { Refused::InUse } else { Refused::System(errno) };
        let mut id = CmId::new(&self.device.channel).map_err(Refused::System)?;
        id.bind(at).map_err(in_use)?;
        if id.device() != Some(self.device.context) {
            return Err(Refused::Unsupported);
        }
        let key = self.listeners.next_key().ok_or(limit)?;
        id.set_context(Party::Listener(key).to_bits());
        // The kernel drops what is beyond its own backlog, so that here is room to say no.
        id.listen(backlog.saturating_add(KERNEL_BACKLOG)).map_err(in_use)?;
        let port = id.local().map_or(at.port(), |local| local.port());
        let at = SocketAddr::new(at.ip(), port);
        let listener = Listener { _id: id, at, backlog, waiting: 0 };
        self.listeners.insert(listener).map_err(|_| limit)?;
        Ok(at)
    }

    pub fn unlisten(&mut self, at: SocketAddr) {
        let Some(key) = self.listeners.iter().find(|(_, listener)| listener.at == at).map(|(key, _)| key) else {
            return;
        };
        let of_it = self.requests.iter().filter(|(_, waiting)| waiting.listener == Some(key));
        let orphans: Vec<Key> = of_it.map(|(key, _)| key).collect();
        orphans.into_iter().for_each(|orphan| drop(self.requests.remove(orphan)));
        self.listeners.remove(key);
    }

    /// Takes a request out of those that wait.
    pub fn answer(&mut self, key: Key) -> Option<Box<Waiting>> {
        let waiting = self.requests.remove(key)?;
        if let Some(listener) = waiting.listener.and_then(|key| self.listeners.get_mut(key)) {
            listener.waiting = listener.waiting.saturating_sub(1);
        }
        Some(waiting)
    }

    pub fn reject(&mut self, request: RequestId, private: PrivateData) -> Result<(), Refused> {
        let room = usize::from(self.device.attributes.private_data.reject);
        let key = request_key(request);
        if self.requests.get(key).is_none() {
            return Err(Refused::Gone);
        }
        if private.len() > room {
            return Err(Refused::PrivateData { room });
        }
        let mut waiting = self.answer(key).ok_or(Refused::Gone)?;
        waiting.id.reject(private.as_slice()).map_err(|_| Refused::Gone)
    }

    pub fn detach(&mut self, request: RequestId) -> Option<Parcel> {
        let Waiting { mut id, request, .. } = *self.answer(request_key(request))?;
        // Away from this core's channel first: nobody else may read the events of what is being moved.
        id.migrate(None).ok()?;
        Some(Parcel { id, request })
    }

    pub fn attach(&mut self, parcel: Parcel) -> Result<(), Refused> {
        let Parcel { mut id, mut request } = parcel;
        if self.device.removed {
            return Err(Refused::Removed);
        }
        if id.device() != Some(self.device.context) {
            return Err(Refused::Unsupported);
        }
        let limit = Refused::Limit { what: "connection requests", limit: self.requests.capacity() };
        let key = self.requests.next_key().ok_or(limit)?;
        id.set_context(Party::Request(key).to_bits());
        id.migrate(Some(&self.device.channel)).map_err(Refused::System)?;
        request.id = request_id(key);
        self.requests.insert(Box::new(Waiting { id, request, listener: None })).map_err(|_| limit)?;
        self.events.push_back(Event::Request(request));
        Ok(())
    }

    pub fn start(&mut self, key: Key, parameters: &Parameters) -> Result<(), Refused> {
        let (attributes, config) = (&self.device.attributes, &self.device.config);
        let queue = self.queues.get_mut(key).ok_or(Refused::Gone)?;
        if queue.stage != Stage::Prepared {
            return Err(if queue.withdrawn { Refused::Gone } else { Refused::State });
        }
        let room = match queue.role {
            Role::Requester(_) => attributes.private_data.connect,
            Role::Acceptor => attributes.private_data.accept,
        };
        if parameters.private.len() > usize::from(room) {
            return Err(Refused::PrivateData { room: room.into() });
        }
        let max = attributes.max_depth;
        let own = ReadDepth { ird: parameters.depth.ird.min(max.ird), ord: parameters.depth.ord.min(max.ord) };
        queue.parameters = Parameters { depth: own, private: parameters.private };
        let id = queue.id.as_mut().ok_or(Refused::Gone)?;
        match queue.role {
            Role::Requester(to) => {
                id.resolve_address(to, config.resolve_millis).map_err(Refused::System)?;
                queue.stage = Stage::Resolving;
            }
            Role::Acceptor => {
                queue.depth = own.against(queue.depth);
                let private = parameters.private.as_slice();
                let (depth, retry, rnr_retry) = (queue.depth, config.retry, config.rnr_retry);
                // Whatever it says, the request cannot be answered any more.
                id.accept(&ConnectionParameters { depth, private, retry, rnr_retry }).map_err(|_| Refused::Gone)?;
                queue.stage = Stage::Accepting;
            }
        }
        queue.started = true;
        self.pace.urgent();
        Ok(())
    }

    /// Reads what the connection manager has to say.
    pub fn connection_events(&mut self) {
        for _ in 0..CM_EVENTS {
            match self.device.channel.next() {
                Ok(Some(event)) => self.connection_event(event),
                Ok(None) => return,
                Err(errno) => {
                    if !self.device.removed {
                        tracing::error!(device = self.device.name, "its connection manager has failed: errno {errno}");
                        self.remove();
                    }
                    return;
                }
            }
        }
        self.pace.urgent();
    }

    fn connection_event(&mut self, event: CmEvent) {
        match (Party::from_bits(event.context), event.kind) {
            (_, Kind::DeviceRemoved) => self.remove(),
            (Party::Listener(key), Kind::ConnectRequest) => self.requested(key, event),
            (Party::Request(key), Kind::Rejected | Kind::Failed | Kind::Unreachable | Kind::Disconnected) => {
                // The peer gave up.
                drop(self.answer(key));
            }
            (Party::Queue(key), _) => self.of_queue(key, &event),
            _ => {}
        }
    }

    fn requested(&mut self, listener_key: Key, event: CmEvent) {
        let Some(mut id) = event.request else { return };
        let listener = self.listeners.get_mut(listener_key).filter(|listener| listener.waiting < listener.backlog);
        let (Some(listener), Some(key), Some(from)) = (listener, self.requests.next_key(), id.peer()) else {
            // Dropping it would do, but this tells that nobody has looked at it.
            let _ = id.reject_unseen();
            return;
        };
        id.set_context(Party::Request(key).to_bits());
        let (to, depth, private) = (listener.at, event.depth, event.private);
        let request = Request { id: request_id(key), to, from, depth, private };
        let waiting = Waiting { id, request, listener: Some(listener_key) };
        if self.requests.insert(Box::new(waiting)).is_ok() {
            listener.waiting += 1;
            self.events.push_back(Event::Request(request));
        }
    }

    fn of_queue(&mut self, key: Key, event: &CmEvent) {
        let transport = self.device.attributes.transport;
        let Some(queue) = self.queues.get_mut(key) else { return };
        match (event.kind, queue.stage) {
            (Kind::Established, Stage::Connecting | Stage::Accepting) => self.established(key, event),
            (Kind::Established, Stage::Error) if queue.ending.farewell => {
                queue.ending.farewell = false;
                let _ = queue.id.as_mut().map(CmId::disconnect);
            }
            (Kind::Disconnected | Kind::AddressChanged, Stage::Established | Stage::Accepting) => {
                let how = if event.kind == Kind::Disconnected && event.status == 0 { Ended::Peer } else { Ended::Lost };
                // The device may have said more: that a request failed, or on iWARP, that the peer sent a Terminate.
                let completions = queue.completions;
                self.reap_all(completions);
                self.notices();
                self.fail(key, how);
            }
            (Kind::Rejected | Kind::Failed | Kind::Unreachable, Stage::Accepting | Stage::Established) => {
                self.fail(key, Ended::Lost);
            }
            (Kind::Rejected | Kind::Failed | Kind::Unreachable | Kind::Disconnected, Stage::Prepared) => {
                queue.withdrawn = true;
                self.fail(key, Ended::Peer);
            }
            (Kind::Rejected | Kind::Failed | Kind::Unreachable, Stage::Resolving | Stage::Connecting) => {
                let said = event.private.as_slice().iter().any(|b| *b != 0);
                let why = map::rejection(transport, event.kind, event.status, said);
                self.turned_away(key, why, event.private);
            }
            (_, Stage::Error) => queue.ending.farewell = false,
            (Kind::AddressResolved, Stage::Resolving) => {
                let millis = self.device.config.resolve_millis;
                let result = queue.id.as_mut().map_or(Err(libc::ENODEV), |id| id.resolve_route(millis));
                self.stepped(key, result);
            }
            (Kind::RouteResolved, Stage::Resolving) => self.connect(key),
            _ => {}
        }
    }

    fn connect(&mut self, key: Key) {
        let config = &self.device.config;
        let Some(queue) = self.queues.get_mut(key) else { return };
        let Parameters { depth, private } = queue.parameters;
        let (private, retry, rnr_retry) = (private.as_slice(), config.retry, config.rnr_retry);
        let parameters = ConnectionParameters { depth, private, retry, rnr_retry };
        let result = queue.id.as_mut().map_or(Err(libc::ENODEV), |id| id.connect(&parameters));
        queue.stage = Stage::Connecting;
        self.stepped(key, result);
    }

    /// A step towards a connection was refused on the spot.
    fn stepped(&mut self, key: Key, result: Result<(), i32>) {
        if let Err(errno) = result {
            self.turned_away(key, map::refusal(errno), PrivateData::EMPTY);
        }
    }

    fn turned_away(&mut self, key: Key, why: RejectReason, private: PrivateData) {
        let Some(queue) = self.queues.get(key) else { return };
        let event = Event::Rejected { queue: queue.name, why, private };
        self.end(key, event);
    }

    fn established(&mut self, key: Key, event: &CmEvent) {
        let (transport, timer) = (self.device.attributes.transport, self.device.config.rnr_timer);
        let Some(queue) = self.queues.get_mut(key) else { return };
        if queue.stage == Stage::Connecting {
            // siw has the two the other way round, and rounds them up.
            let device = if self.device.is_siw { None } else { queue.pair.read_depth() };
            queue.depth = negotiated(transport, queue.parameters.depth, event.depth, device);
        }
        if transport == Transport::InfiniBand && queue.pair.set_rnr_timer(timer).is_err() {
            tracing::debug!("verbs: the connection manager's RNR timer stays");
        }
        let requester = matches!(queue.role, Role::Requester(_));
        let private = if requester { event.private } else { PrivateData::EMPTY };
        queue.stage = Stage::Established;
        let Queue { name, depth, .. } = **queue;
        self.events.push_back(Event::Established { queue: name, depth, private });
    }
}

/// A requester's depth, from its own wishes, the event, and what the device was set to.
///
/// InfiniBand's event has the peer's IRD as what this side may have outstanding. Among iWARP's drivers some agree, and
/// some tell this side's own IRD and ORD there; so the device is asked, and if it does not know, the smaller holds.
fn negotiated(transport: Transport, own: ReadDepth, event: ReadDepth, device: Option<u16>) -> ReadDepth {
    let may = match (transport, device) {
        (Transport::InfiniBand, _) => event.ird,
        (Transport::Iwarp, Some(depth)) if depth > 0 => depth,
        (Transport::Iwarp, _) => event.ird.min(event.ord),
    };
    ReadDepth { ird: own.ird, ord: own.ord.min(may) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requesters_depth_is_never_more_than_the_peer_serves() {
        let (own, event) = (ReadDepth { ird: 3, ord: 7 }, ReadDepth { ird: 1, ord: 9 });
        let ord = |transport, device| negotiated(transport, own, event, device).ord;
        assert_eq!(ord(Transport::InfiniBand, Some(8)), 1, "devices round up");
        assert_eq!((ord(Transport::Iwarp, Some(4)), ord(Transport::Iwarp, Some(200))), (4, 7));
        assert_eq!((ord(Transport::Iwarp, Some(0)), ord(Transport::Iwarp, None)), (1, 1));
        assert_eq!(negotiated(Transport::Iwarp, own, event, None).ird, 3);
    }
}
