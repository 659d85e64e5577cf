//! Connections that were accepted: what they speak, and how they become connections of this core.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use iscsi::login::{Login, Transport};
use iscsi_tcp::{Limits, Tcp};
use primitives::{Key, Slab};
use reactors::Nanos;

use super::fabric::Link;
use super::portals::Serves;
use super::{Entry, Worker, token};
use crate::conn::{Conn, LoginPhase, State};
use crate::limits::{CONNECTIONS_PER_CORE, STRANGERS_PER_CORE};
use crate::session::ConnId;
use crate::target::Entrance;
use crate::wire::Wire;

/// First byte of an MPA request, "MPA ID Req Frame" (RFC 5044 §7.1). As an iSCSI opcode it means nothing.
const MPA: u8 = b'M';

/// An accepted connection, on its way to the datamover that will carry it.
pub struct Arrival {
    /// The socket; nothing was read from it.
    pub stream: TcpStream,
    /// Tag of the portal group it came in through.
    pub portal_group: i32,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// What its portal serves.
    pub serves: Serves,
}

/// Connections that have not sent their first byte.
#[derive(Default)]
pub(super) struct Strangers {
    waiting: Option<Slab<Stranger>>,
    ready: Vec<u32>,
}

struct Stranger {
    arrival: Arrival,
    deadline: Nanos,
}

impl Strangers {
    pub(super) fn mark_ready(&mut self, index: u32) {
        if !self.ready.contains(&index) {
            self.ready.push(index);
        }
    }

    pub(super) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.as_ref().is_none_or(Slab::is_empty)
    }

    /// Who waits, and where they came in.
    pub(super) fn list(&self) -> impl Iterator<Item = (u32, Entrance)> + '_ {
        self.waiting.iter().flat_map(Slab::iter).filter_map(|(key, Stranger { arrival, .. })| {
            let Arrival { ref stream, portal_group, peer, .. } = *arrival;
            let local = stream.local_addr().ok()?;
            let (transport, old_libiscsi) = (Transport::Tcp, false);
            Some((key.index, Entrance { portal_group, local, peer, transport, old_libiscsi }))
        })
    }

    fn at(&mut self, index: u32) -> Option<(Key, &mut Stranger)> {
        self.waiting.as_mut()?.at(index)
    }

    fn insert(&mut self, stranger: Stranger) -> Option<Key> {
        self.waiting.get_or_insert_with(|| Slab::new(STRANGERS_PER_CORE)).insert(stranger).ok()
    }

    fn remove(&mut self, key: Key) -> Option<Stranger> {
        self.waiting.as_mut()?.remove(key)
    }
}

/// What a connection's first byte tells.
enum Speaks {
    Iscsi,
    Mpa,
    NothingYet,
    /// It was closed, or failed.
    Gone,
}

fn listen_to(stream: &TcpStream) -> Speaks {
    let mut first = [0];
    match stream.peek(&mut first) {
        Ok(0) => Speaks::Gone,
        Ok(_) if first[0] == MPA => Speaks::Mpa,
        Ok(_) => Speaks::Iscsi,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Speaks::NothingYet,
        Err(_) => Speaks::Gone,
    }
}

impl Worker {
    /// Takes over a connection that was accepted somewhere and placed here.
    pub(crate) fn adopt(&mut self, arrival: Arrival, now: Nanos) {
        let peer = arrival.peer;
        let adopted = match arrival.serves {
            _ if self.draining => Err(io::Error::other("the engine is shutting down")),
            Serves { iscsi: true, mpa: true } => self.sort(arrival, now),
            Serves { mpa: true, .. } => self.adopt_mpa(arrival, now),
            Serves { .. } => self.adopt_tcp(arrival, now),
        };
        if let Err(error) = adopted {
            self.turn_away(peer, &error);
        }
    }

    fn turn_away(&mut self, peer: SocketAddr, error: &io::Error) {
        tracing::warn!(%peer, "connection refused: {error}");
        self.shared.unplace(self.handle.id());
    }

    /// Finds out what a connection speaks; one that has not said anything yet waits.
    fn sort(&mut self, arrival: Arrival, now: Nanos) -> io::Result<()> {
        match listen_to(&arrival.stream) {
            Speaks::Iscsi => self.adopt_tcp(arrival, now),
            Speaks::Mpa => self.adopt_mpa(arrival, now),
            Speaks::Gone => Err(io::ErrorKind::ConnectionReset.into()),
            Speaks::NothingYet => {
                let fd = arrival.stream.as_raw_fd();
                let deadline = now + self.published.directory.login_timeout();
                let full = || io::Error::other(format!("limits::STRANGERS_PER_CORE ({STRANGERS_PER_CORE}) reached"));
                let key = self.strangers.insert(Stranger { arrival, deadline }).ok_or_else(full)?;
                self.epoll.add(fd, token::STRANGER | u64::from(key.index), false).inspect_err(|_| {
                    self.strangers.remove(key);
                })
            }
        }
    }

    /// Sorts the strangers who have said something.
    pub(super) fn meet_strangers(&mut self, now: Nanos) {
        for index in core::mem::take(&mut self.strangers.ready) {
            let Some((key, stranger)) = self.strangers.at(index) else { continue };
            let speaks = listen_to(&stranger.arrival.stream);
            if matches!(speaks, Speaks::NothingYet) {
                continue;
            }
            let Some(Stranger { arrival, .. }) = self.strangers.remove(key) else { continue };
            self.epoll.remove(arrival.stream.as_raw_fd());
            let peer = arrival.peer;
            let adopted = match speaks {
                _ if self.draining => Err(io::Error::other("the engine is shutting down")),
                Speaks::Iscsi => self.adopt_tcp(arrival, now),
                Speaks::Mpa => self.adopt_mpa(arrival, now),
                Speaks::Gone | Speaks::NothingYet => {
                    // It came and went without a word: a port scan or a health check.
                    self.shared.unplace(self.handle.id());
                    continue;
                }
            };
            if let Err(error) = adopted {
                self.turn_away(peer, &error);
            }
        }
    }

    /// Closes connections that have been silent for too long, and those still on their way when the end has come.
    pub(super) fn expire_strangers(&mut self, now: Nanos) {
        for index in 0..self.strangers.waiting.as_ref().map_or(0, Slab::capacity) as u32 {
            let over = self.strangers.at(index).filter(|(_, s)| now >= s.deadline || self.draining).map(|(key, _)| key);
            if let Some(Stranger { arrival, .. }) = over.and_then(|key| self.strangers.remove(key)) {
                self.epoll.remove(arrival.stream.as_raw_fd());
                self.turn_away(arrival.peer, &io::Error::new(io::ErrorKind::TimedOut, "it never said a word"));
            }
        }
        for peer in self.fabric.expire(now) {
            self.turn_away(peer, &io::Error::new(io::ErrorKind::TimedOut, "its RDMA connection was not completed"));
        }
    }

    fn adopt_mpa(&mut self, arrival: Arrival, now: Nanos) -> io::Result<()> {
        let deadline = now + self.published.directory.login_timeout();
        self.fabric.adopt(arrival, deadline)
    }

    fn adopt_tcp(&mut self, arrival: Arrival, now: Nanos) -> io::Result<()> {
        let Arrival { stream, portal_group, peer, .. } = arrival;
        let entrance = Entrance {
            portal_group,
            local: stream.local_addr()?,
            peer,
            transport: Transport::Tcp,
            old_libiscsi: false,
        };
        let tcp = Box::new(Tcp::new(stream, Limits::default())?);
        let fd = tcp.as_raw_fd();
        let place = self.place_for(Transport::Tcp, now)?;
        self.epoll.add(fd, u64::from(place.key.index), false)?;
        self.admit(place, Wire::Tcp(tcp), entrance, None);
        Ok(())
    }

    /// What a new connection needs of this core before it is made, so that making it cannot fail.
    ///
    /// # Errors
    /// There are as many connections as there may be.
    pub(super) fn place_for(&self, transport: Transport, now: Nanos) -> io::Result<Place> {
        let full = || io::Error::other(format!("limits::CONNECTIONS_PER_CORE ({CONNECTIONS_PER_CORE}) reached"));
        let key = self.conns.next_key().ok_or_else(full)?;
        let mut entropy = [0; iscsi::limits::LOGIN_ENTROPY];
        getrandom::fill(&mut entropy).map_err(io::Error::other)?;
        let deadline = now + self.published.directory.login_timeout();
        let machine = Login::new(transport, entropy);
        Ok(Place { key, login: LoginPhase { machine, deadline, registering: false }, since: now })
    }

    /// Makes a connection that begins with a login, in a place that was just found.
    pub(super) fn admit(&mut self, place: Place, dm: Wire, entrance: Entrance, link: Option<Link>) {
        let Place { key, login, since } = place;
        let conn = Conn {
            dm,
            id: ConnId { core: self.handle.id(), index: key.index, generation: key.generation },
            entrance,
            state: State::Login(Box::new(login)),
            since,
            port: None,
            registered: false,
            closing: None,
            lingering: false,
            terminated: false,
            active: false,
        };
        let made = self.conns.insert(Entry { conn, writing: false, poisoned: false, link });
        debug_assert!(made.is_ok_and(|made| made == key), "the place was found a moment ago");
        self.stats.accepted += 1;
    }
}

/// Where a new connection will be, and its login.
pub(super) struct Place {
    pub key: Key,
    login: LoginPhase,
    since: Nanos,
}
