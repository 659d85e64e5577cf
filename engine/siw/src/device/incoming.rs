//! Connections somebody else began, until their request is answered.

use super::{Core, limit};
use crate::config::Crc;
use crate::limits::{ACCEPTS, LISTENERS};
use crate::pair::max_depth;
use crate::stream::epoll::{Kind, Ready};
use crate::stream::socket::{AGAIN, refused};
use crate::stream::{Interest, Socket};
use crate::timer::Timer;
use crate::wire::mpa::{MAX_FRAME, UNNEGOTIATED};
use crate::wire::{Depths, Frame, Role};
use primitives::Key;
use rdma::{Event, PrivateData, ReadDepth, Refused, Request, RequestId};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};

/// An address that is listened on.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    at: SocketAddr,
    backlog: u16,
    /// Requests made to it that wait for their answer.
    waiting: u16,
}

/// How far a connection has come.
#[derive(Debug)]
enum Stage {
    /// Its request is being received: one byte more than the longest has, to see that nothing follows.
    Reading { bytes: Box<[u8; MAX_FRAME + 1]>, got: usize, timer: Timer },
    /// It waits for the answer of the owner, or of the queue pair that claims it.
    Asking { frame: Box<Frame>, claimed: bool },
}

/// A connection that is not answered yet.
#[derive(Debug)]
pub(crate) struct Incoming {
    socket: Socket,
    to: SocketAddr,
    from: SocketAddr,
    listener: Option<Key>,
    age: u64,
    stage: Stage,
}

/// A request with its connection, for the queue pair that answers it.
#[derive(Debug)]
pub(crate) struct Requested {
    pub socket: Socket,
    pub frame: Box<Frame>,
}

/// A request on its way to the device of another core.
#[derive(Debug)]
pub struct Parcel {
    requested: Requested,
    to: SocketAddr,
    from: SocketAddr,
}

impl Parcel {
    /// The address it was made to.
    #[must_use]
    pub fn to(&self) -> SocketAddr {
        self.to
    }

    /// Who makes it.
    #[must_use]
    pub fn from(&self) -> SocketAddr {
        self.from
    }
}

fn id_of(key: Key) -> RequestId {
    RequestId(u64::from(key.generation) << 32 | u64::from(key.index))
}

fn key_of(id: RequestId) -> Key {
    Key { index: id.0 as u32, generation: (id.0 >> 32) as u32 }
}

/// What came of looking at a connection.
enum Look {
    /// Nothing yet.
    Wait,
    /// Its request is complete.
    Whole(Box<Frame>),
    /// It is of no use.
    Useless,
}

/// Whether a connection could come of a request. Markers are for receivers that lose their place in the stream, and
/// nobody sends them any more; revision 0 is older than RFC 5044, and what comes after 2 is not known.
fn welcome(frame: &Frame, crc: Crc) -> bool {
    let known = matches!(frame.revision, 1 | 2);
    known && !frame.reject && !frame.markers && (!frame.crc || crc != Crc::Never)
}

impl Core {
    pub fn listen(&mut self, at: SocketAddr, backlog: u16) -> Result<SocketAddr, Refused> {
        let socket = Socket::listen(at, self.config.listen_backlog).map_err(|e| refused(&e))?;
        let at = socket.local_addr().map_err(|e| refused(&e))?;
        let listener = Listener { socket, at, backlog, waiting: 0 };
        let key = self.listeners.insert(listener).map_err(|_| limit("listeners", LISTENERS))?;
        let added = self.listeners.get(key).map(|l| self.epoll.add(&l.socket, Kind::Listener, key, Interest::READ));
        if let Some(Err(error)) = added {
            self.listeners.remove(key);
            return Err(refused(&error));
        }
        Ok(at)
    }

    pub fn unlisten(&mut self, at: SocketAddr) {
        let found = self.listeners.iter().find(|(_, l)| l.at == at).map(|(key, _)| key);
        let Some(listener) = found.and_then(|key| self.listeners.remove(key)) else { return };
        self.epoll.remove(&listener.socket);
        for index in 0..self.incoming.capacity() as u32 {
            let Some((key, incoming)) = self.incoming.at(index).filter(|(_, i)| i.listener == found) else { continue };
            match incoming.stage {
                Stage::Asking { claimed: false, .. } => self.answer_no(key, PrivateData::EMPTY),
                Stage::Asking { .. } => {}
                Stage::Reading { .. } => self.drop_incoming(key),
            }
        }
    }

    /// Takes in connections that a listener has.
    pub fn accept(&mut self, ready: Ready) {
        for _ in 0..ACCEPTS {
            let Some((key, listener)) = self.listeners.at(ready.index()).filter(|(key, _)| ready.is(*key)) else {
                return;
            };
            let (at, accepted) = (listener.at, listener.socket.accept());
            match accepted {
                Ok((stream, _)) => {
                    // A connection that cannot be taken in is closed by that.
                    let _ = self.admit(stream, at, Some(key));
                }
                // Gone before it was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                // There is none, or no descriptor is left now: the next turn looks again.
                Err(_) => return,
            }
        }
    }

    /// Takes a connection whose peer is to make a request.
    pub fn admit(&mut self, stream: TcpStream, to: SocketAddr, listener: Option<Key>) -> Result<(), Refused> {
        let socket = Socket::new(stream).map_err(|e| refused(&e))?;
        let from = socket.peer().map_err(|e| refused(&e))?;
        if self.incoming.len() - self.requests >= usize::from(self.config.half_open.max(1)) {
            self.drop_slowest();
        }
        let timer = Timer::after(self.config.request_timeout);
        let stage = Stage::Reading { bytes: Box::new([0; MAX_FRAME + 1]), got: 0, timer };
        let age = self.age();
        self.insert_incoming(Incoming { socket, to, from, listener, age, stage })?;
        self.wake = 0;
        Ok(())
    }

    fn insert_incoming(&mut self, incoming: Incoming) -> Result<Key, Refused> {
        let full = limit("connections that are not answered", self.incoming.capacity());
        let key = self.incoming.insert(Box::new(incoming)).map_err(|_| full)?;
        let added = self.incoming.get(key).map(|i| self.epoll.add(&i.socket, Kind::Incoming, key, Interest::READ));
        if let Some(Err(error)) = added {
            self.incoming.remove(key);
            return Err(refused(&error));
        }
        Ok(key)
    }

    /// Makes room for a connection that may be quicker than the one that has taken longest to make its request.
    fn drop_slowest(&mut self) {
        let reading = self.incoming.iter().filter(|(_, i)| matches!(i.stage, Stage::Reading { .. }));
        if let Some((key, _)) = reading.min_by_key(|(_, i)| i.age) {
            self.stats.half_open_dropped += 1;
            self.drop_incoming(key);
        }
    }

    pub fn incoming_ready(&mut self, ready: Ready) {
        let Some((key, incoming)) = self.incoming.at(ready.index()).filter(|(key, _)| ready.is(*key)) else { return };
        match incoming.look() {
            Look::Wait => {}
            Look::Whole(frame) => self.asked(key, frame),
            Look::Useless => {
                self.stats.half_open_dropped += 1;
                self.drop_incoming(key);
            }
        }
    }

    /// A request is complete: it is refused for what it wants, or the owner is asked.
    fn asked(&mut self, key: Key, frame: Box<Frame>) {
        let Some(incoming) = self.incoming.get_mut(key) else { return };
        let listener = incoming.listener;
        let welcome = welcome(&frame, self.config.crc);
        incoming.stage = Stage::Asking { frame, claimed: false };
        self.requests += 1;
        if let Some(listener) = listener.and_then(|l| self.listeners.get_mut(l)) {
            listener.waiting += 1;
        }
        if !welcome {
            return self.answer_no(key, PrivateData::EMPTY);
        }
        let listener = listener.and_then(|l| self.listeners.get(l));
        let crowded = listener.is_some_and(|l| l.waiting > l.backlog);
        if crowded || self.requests > usize::from(self.config.requests) || self.is_deaf() {
            self.stats.requests_dropped += 1;
            return self.drop_incoming(key);
        }
        self.ask(key);
    }

    fn ask(&mut self, key: Key) {
        let max = max_depth(&self.config);
        let Some(incoming) = self.incoming.get(key) else { return };
        let Stage::Asking { frame, .. } = &incoming.stage else { return };
        let said = |depth: u16, max: u16| if depth == UNNEGOTIATED { max } else { depth };
        let depth = frame
            .enhanced
            .map_or(max, |d| ReadDepth { ird: said(d.depth.ird, max.ird), ord: said(d.depth.ord, max.ord) });
        let request = Request { id: id_of(key), to: incoming.to, from: incoming.from, depth, private: frame.private };
        self.events.push_back(Event::Request(request));
    }

    /// The request, if it waits and nobody answers it yet.
    pub fn unclaimed(&self, id: RequestId) -> Option<Key> {
        let key = key_of(id);
        let open = |i: &Incoming| matches!(i.stage, Stage::Asking { claimed: false, .. });
        self.incoming.get(key).is_some_and(|i| open(i)).then_some(key)
    }

    /// A queue pair is going to answer it.
    pub fn claim(&mut self, id: RequestId) {
        if let Some(Stage::Asking { claimed, .. }) = self.incoming.get_mut(key_of(id)).map(|i| &mut i.stage) {
            *claimed = true;
        }
    }

    /// Takes a request out, to answer it. Its socket stays in the set.
    pub fn take_request(&mut self, id: RequestId) -> Option<Requested> {
        let incoming = self.remove_incoming(key_of(id))?;
        let Stage::Asking { frame, .. } = incoming.stage else { return None };
        Some(Requested { socket: incoming.socket, frame })
    }

    /// Takes a request out, to be answered by another device.
    pub fn detach(&mut self, id: RequestId) -> Option<Parcel> {
        let incoming = *self.remove_incoming(self.unclaimed(id)?)?;
        self.epoll.remove(&incoming.socket);
        let Stage::Asking { frame, .. } = incoming.stage else { return None };
        let requested = Requested { socket: incoming.socket, frame };
        Some(Parcel { requested, to: incoming.to, from: incoming.from })
    }

    /// Takes in a request that another device took out.
    pub fn attach(&mut self, parcel: Parcel) -> Result<(), Refused> {
        let requests = usize::from(self.config.requests);
        if self.requests >= requests {
            return Err(limit("connection requests", requests));
        }
        let Parcel { requested: Requested { socket, frame }, to, from } = parcel;
        let stage = Stage::Asking { frame, claimed: false };
        let age = self.age();
        let key = self.insert_incoming(Incoming { socket, to, from, listener: None, age, stage })?;
        self.requests += 1;
        self.ask(key);
        Ok(())
    }

    /// [`rdma::Provider::reject`].
    pub fn reject(&mut self, id: RequestId, private: PrivateData) -> Result<(), Refused> {
        let key = self.unclaimed(id).ok_or(Refused::Gone)?;
        self.answer_no(key, private);
        Ok(())
    }

    /// Whoever claimed it never answers.
    pub fn turn_away(&mut self, id: RequestId) {
        self.answer_no(key_of(id), PrivateData::EMPTY);
    }

    fn answer_no(&mut self, key: Key, private: PrivateData) {
        let Some(incoming) = self.remove_incoming(key) else { return };
        let Stage::Asking { frame, .. } = incoming.stage else { return self.close(incoming.socket) };
        let reply = Frame {
            role: Role::Reply,
            markers: false,
            crc: frame.crc,
            reject: true,
            revision: frame.revision.min(crate::wire::mpa::REVISION),
            enhanced: frame.enhanced.map(|_| Depths::default()),
            private,
        };
        let mut bytes = [0; MAX_FRAME];
        let len = reply.encode(&mut bytes);
        self.linger(incoming.socket, bytes[..len].to_vec());
    }

    fn drop_incoming(&mut self, key: Key) {
        if let Some(incoming) = self.remove_incoming(key) {
            self.close(incoming.socket);
        }
    }

    fn remove_incoming(&mut self, key: Key) -> Option<Box<Incoming>> {
        let incoming = self.incoming.remove(key)?;
        if let Stage::Asking { .. } = incoming.stage {
            self.requests -= 1;
            if let Some(listener) = incoming.listener.and_then(|l| self.listeners.get_mut(l)) {
                listener.waiting -= 1;
            }
        }
        Some(incoming)
    }

    pub fn check_incoming(&mut self) {
        let mut next = u64::MAX;
        for index in 0..self.incoming.capacity() as u32 {
            let now = self.now;
            let Some((key, incoming)) = self.incoming.at(index) else { continue };
            let Stage::Reading { timer, .. } = &mut incoming.stage else { continue };
            if timer.is_due(now) {
                self.stats.half_open_dropped += 1;
                self.drop_incoming(key);
            } else {
                next = next.min(timer.due());
            }
        }
        self.note_due(next);
    }
}

impl Incoming {
    /// Reads what there is.
    fn look(&mut self) -> Look {
        let Stage::Reading { bytes, got, .. } = &mut self.stage else {
            // The peer has to wait for the answer: whatever it does instead, it is over.
            return match self.socket.read(&mut [0]) {
                Err(AGAIN) => Look::Wait,
                _ => Look::Useless,
            };
        };
        match self.socket.read(&mut bytes[*got..]) {
            Err(AGAIN) => return Look::Wait,
            Ok(0) | Err(_) => return Look::Useless,
            Ok(n) => *got += n,
        }
        match Frame::decode(Role::Request, &bytes[..*got]) {
            Ok(None) => Look::Wait,
            Ok(Some((frame, len))) if len == *got => Look::Whole(Box::new(frame)),
            Ok(Some(_)) | Err(_) => Look::Useless,
        }
    }
}
