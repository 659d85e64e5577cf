//! RDMA connection requests: on which core they are answered, and what they become.

use std::io;
use std::net::SocketAddr;

use iscsi::datamover::Datamover;
use iscsi::login::Transport;
use primitives::{Buf, Key, Tag};
use rdma::{Parameters, PrivateData, QueuePair, ReadDepth, ReceiveRequest, Request, RequestId};
use reactors::{Class, Nanos, Pools};

use super::super::Worker;
use super::super::arrivals::Arrival;
use super::{Fabric, Link, SOFT_IWARP};
use crate::conn::quirks;
use crate::control::with_worker;
use crate::device::{Parcel, Stock};
use crate::limits::{CONTROLS_PER_CONNECTION, MESSAGES_PER_CONNECTION, RECEIVES_PER_CONNECTION, STRANGERS_PER_CORE};
use crate::target::Entrance;
use crate::wire::{Iser, Wire};

/// IRD of a target: nobody reads from it, but some initiators think a connection without any depth unusable.
const IRD: u16 = 1;

/// Somebody whose RDMA connection is being made; a device knows nothing of portal groups.
pub(super) struct Expected {
    peer: SocketAddr,
    portal_group: i32,
    deadline: Nanos,
}

impl Fabric {
    /// Hands an accepted TCP connection that speaks MPA to soft-iWARP.
    pub(in super::super) fn adopt(&mut self, arrival: Arrival, deadline: Nanos) -> io::Result<()> {
        let Arrival { stream, portal_group, peer, .. } = arrival;
        let at = stream.local_addr()?;
        if self.expected.len() >= STRANGERS_PER_CORE {
            return Err(io::Error::other(format!("limits::STRANGERS_PER_CORE ({STRANGERS_PER_CORE}) reached")));
        }
        let none = || io::Error::other("soft-iWARP is not in service");
        let station = self.named(SOFT_IWARP).ok_or_else(none)?;
        station.device.adopt(stream, at).map_err(io::Error::other)?;
        station.ready = true;
        self.expected.push(Expected { peer, portal_group, deadline });
        Ok(())
    }

    /// Forgets those who never finished; returns who.
    pub(in super::super) fn expire(&mut self, now: Nanos) -> Vec<SocketAddr> {
        self.expected.extract_if(.., |expected| now >= expected.deadline).map(|expected| expected.peer).collect()
    }

    /// The portal group of somebody who was expected.
    fn meet(&mut self, peer: SocketAddr) -> Option<i32> {
        let at = self.expected.iter().position(|expected| expected.peer == peer)?;
        Some(self.expected.swap_remove(at).portal_group)
    }

    fn refuse(&mut self, at: Key, request: RequestId) {
        if let Some(station) = self.stations.get_mut(at) {
            station.device.reject(request, PrivateData::EMPTY);
        }
    }
}

impl Worker {
    /// Somebody wants an RDMA connection: it is accepted here, or goes to the core that has the least to do.
    pub(super) fn requested(&mut self, at: Key, request: &Request, now: Nanos, pools: &mut Pools) {
        if let Some(portal_group) = self.fabric.meet(request.from) {
            if let Err(error) = self.accept_request(at, request, portal_group, now, pools) {
                self.fabric.refuse(at, request.id);
                tracing::warn!(peer = %request.from, "connection refused: {error}");
                self.shared.unplace(self.handle.id());
            }
            return;
        }
        let Some(station) = self.fabric.stations.get_mut(at) else { return };
        let portal = station.listening.iter().find(|(_, _, address)| *address == request.to);
        let Some(portal_group) = portal.map(|(_, group, _)| *group) else {
            return self.fabric.refuse(at, request.id);
        };
        let core = self.shared.place();
        let deadline = now + self.published.directory.login_timeout();
        let expected = Expected { peer: request.from, portal_group, deadline };
        if core == self.handle.id() {
            self.fabric.expected.push(expected);
            return self.requested(at, request, now, pools);
        }
        let Some(parcel) = station.device.detach(request.id) else { return self.shared.unplace(core) };
        let device = station.device.name().to_owned();
        let deliver = move |core: &mut reactors::Core| {
            with_worker(core, |worker, _| worker.unpack(&device, parcel, expected));
        };
        if let Err(error) = self.handle.mail().post(core, Box::new(deliver)) {
            tracing::warn!(peer = %request.from, "connection refused: {error}");
            self.shared.unplace(core);
        }
    }

    /// A connection request that came in on another core.
    fn unpack(&mut self, device: &str, parcel: Parcel, expected: Expected) {
        let peer = expected.peer;
        let attached = match self.fabric.named(device) {
            Some(station) => {
                station.ready = true;
                station.device.attach(parcel).map_err(|error| error.to_string())
            }
            None => Err("the device is not in service on this core".to_owned()),
        };
        match attached {
            Ok(()) => self.fabric.expected.push(expected),
            Err(error) => {
                tracing::warn!(%peer, "connection refused: {error}");
                self.shared.unplace(self.handle.id());
            }
        }
    }

    fn accept_request(
        &mut self,
        at: Key,
        request: &Request,
        portal_group: i32,
        now: Nanos,
        pools: &mut Pools,
    ) -> io::Result<()> {
        if self.draining {
            return Err(io::Error::other("the engine is shutting down"));
        }
        let place = self.place_for(Transport::Iser, now)?;
        let Some(station) = self.fabric.stations.get_mut(at) else { return Err(io::ErrorKind::NotFound.into()) };
        let no_memory = || io::Error::other("no memory for its messages; start with more --memory");
        let memory = pools.take_class(Class::Large).ok_or_else(no_memory)?;
        let name = Tag::new(0, place.key.index as u16, place.key.index as u16, place.key.generation);
        let queue = match station.device.prepare(request.id, name, RECEIVES_PER_CONNECTION) {
            Ok(queue) => queue,
            Err(error) => {
                pools.give(memory);
                return Err(io::Error::other(error));
            }
        };
        let attributes = station.device.attributes();
        let agreement = iser::private::answer(request.private.as_slice(), &attributes);
        let depth = ReadDepth { ird: IRD, ord: attributes.max_depth.ord };
        let mut link = Link { device: at, stock: Stock::default() };
        let supplies = supplies(memory, &mut link.stock);
        let setup = iser::Setup {
            name,
            limits: iser::Limits::default(),
            peer_invalidates: agreement.invalidates,
            depth: depth.against(request.depth),
            shared_receive: station.device.shares_receives(),
        };
        let mut iser = Box::new(Iser::new(queue, setup, supplies));
        if !setup.shared_receive {
            let count = usize::from(RECEIVES_PER_CONNECTION);
            link.stock.add(pools, iser::limits::MESSAGE, count, |buf| {
                let posted = iser.queue().post_receive(ReceiveRequest { tag: Tag::default(), buf });
                debug_assert!(posted.is_ok(), "the queue was made for as many");
            });
            iser.queue().ring();
        }
        if let Err(error) = iser.queue().start(&Parameters { depth, private: agreement.reply }) {
            tracing::debug!(peer = %request.from, "its connection request is gone: {error}");
            iser.terminate(false);
        }
        station.conns += 1;
        let entrance = Entrance {
            portal_group,
            local: request.to,
            peer: request.from,
            transport: Transport::Iser,
            old_libiscsi: quirks::may_be_old_libiscsi(request.private.as_slice()),
        };
        self.admit(place, Wire::Iser(iser), entrance, Some(link));
        Ok(())
    }
}

fn supplies(memory: Buf, stock: &mut Stock) -> iser::Supplies {
    let mut supplies = iser::Supplies::default();
    let (message, control) = (iser::limits::MESSAGE, iser::limits::CONTROL);
    stock.cut(memory, &[(message, MESSAGES_PER_CONNECTION), (control, CONTROLS_PER_CONNECTION)], |buf| {
        let stack = if buf.capacity() == message { &mut supplies.messages } else { &mut supplies.control };
        stack.push(buf);
    });
    supplies
}
