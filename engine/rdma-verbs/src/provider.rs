//! [`Verbs`], the provider.

use crate::attributes::WindowKind;
use crate::completions::Completions;
use crate::config::Config;
use crate::connect::Parcel;
use crate::devices::{bound, devices};
use crate::error::Error;
use crate::handles::{VerbsCompletions, VerbsQueue, VerbsReceives};
use crate::ident::{Party, request_key};
use crate::inner::Inner;
use crate::memory::{self, Registered};
use crate::pinned::Pinned;
use crate::queue::{Ending, Queue, Role, Stage};
use crate::ring::Ring;
use crate::share::Share;
use crate::shared::Shared;
use crate::sys::{self, CmId, Pair, PairSetup, Receives};
use crate::window::Windows;
use primitives::{IndexQueue, Key, Slab};
use rdma::limits::MAX_COMPLETIONS;
use rdma::{
    Attributes, Counters, Event, Memory, Parameters, Peer, PrivateData, Provider, QueueSetup, ReadDepth, Refused,
    RequestId,
};
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;

/// One RDMA device as one core uses it.
pub struct Verbs {
    inner: Arc<Share<Inner>>,
}

impl fmt::Debug for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verbs").field(&self.inner.borrow().device.name).finish()
    }
}

impl Verbs {
    /// Opens the device that a local address is bound to.
    ///
    /// # Errors
    /// [`Error::NoDevice`] on a machine without RDMA, [`Error::NotServed`] if the address is bound to none (the
    /// wildcard address and, as a rule, the loopback address are not), [`Error::Unusable`].
    pub fn open(address: IpAddr, config: Config) -> Result<Self, Error> {
        Ok(Self { inner: Arc::new(Share::new(Inner::open(address, config)?, config.used_by)) })
    }

    /// Opens the device of this name. Connections leave from the first of its addresses.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`] if there is none with an address; as [`Verbs::open`].
    pub fn open_device(name: &str, config: Config) -> Result<Self, Error> {
        let found = devices().into_iter().find(|device| device.name == name);
        let address = found.and_then(|device| device.addresses.first().copied());
        Self::open(address.ok_or_else(|| Error::NoSuchDevice { name: name.into() })?, config)
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.inner.borrow().device.name.clone()
    }

    /// The address it was opened by.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.inner.borrow().device.address
    }

    /// Whether a local address is one of this device's.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        let inner = self.inner.borrow();
        bound(&inner.device.channel, address).is_ok_and(|(_id, context)| context == inner.device.context)
    }

    /// Takes an unanswered request out, for another core's `Verbs` of the same device.
    #[must_use]
    pub fn detach(&mut self, request: RequestId) -> Option<Parcel> {
        self.inner.borrow().detach(request)
    }

    /// Takes a request in that another core gave up; its [`Event::Request`] comes here again, under a new name.
    ///
    /// # Errors
    /// The request is rejected: [`Refused::Unsupported`] if it is another device's, [`Refused::Limit`],
    /// [`Refused::Removed`], or what the system says.
    pub fn attach(&mut self, parcel: Parcel) -> Result<(), Refused> {
        self.inner.borrow().attach(parcel)
    }

    /// Descriptors that become readable when there is something to do: of the connection manager, of armed completion
    /// queues, of the device.
    #[must_use]
    pub fn wake_fds(&self) -> [RawFd; 3] {
        let inner = self.inner.borrow();
        [inner.device.channel.fd(), inner.device.completion_channel.fd(), inner.device.context.fd()]
    }

    /// Asks for an interrupt at the next completion. `false` when something has happened already, and there is no
    /// sleeping now.
    #[must_use = "what has happened already raises no interrupt"]
    pub fn arm(&mut self) -> bool {
        self.inner.borrow().arm()
    }

    /// The next instant, in nanoseconds of the clock given to [`Provider::progress`], at which it wants to be polled
    /// even if nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let inner = self.inner.borrow();
        (!inner.watched.is_empty()).then_some(inner.now.saturating_add(crate::limits::BUSY_NANOS))
    }
}

impl Provider for Verbs {
    type Queue = VerbsQueue;
    type Completions = VerbsCompletions;
    type Receives = VerbsReceives;

    fn attributes(&self) -> Attributes {
        self.inner.borrow().device.attributes
    }

    fn add_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        let inner = &mut *self.inner.borrow();
        if inner.device.removed {
            return Err(Refused::Removed);
        }
        memory::add(&mut inner.regions, &mut domains(&mut inner.domain, &mut inner.queues), memory)
    }

    fn remove_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        let inner = &mut *self.inner.borrow();
        memory::remove(&mut inner.regions, &mut domains(&mut inner.domain, &mut inner.queues), memory)
    }

    fn completion_queue(&mut self, depth: u32) -> Result<VerbsCompletions, Refused> {
        let key = self.inner.borrow().completion_queue(depth)?;
        Ok(VerbsCompletions { inner: Arc::clone(&self.inner), key })
    }

    fn receive_queue(&mut self, completions: &VerbsCompletions, depth: u16) -> Result<VerbsReceives, Refused> {
        let key = self.inner.borrow().receive_queue(completions.key, depth)?;
        Ok(VerbsReceives { inner: Arc::clone(&self.inner), key })
    }

    fn listen(&mut self, at: SocketAddr, backlog: u16) -> Result<SocketAddr, Refused> {
        self.inner.borrow().listen(at, backlog)
    }

    fn unlisten(&mut self, at: SocketAddr) {
        self.inner.borrow().unlisten(at);
    }

    fn prepare(&mut self, peer: Peer, setup: QueueSetup<'_, Self>) -> Result<VerbsQueue, Refused> {
        let key = self.inner.borrow().prepare(peer, &setup)?;
        Ok(VerbsQueue { inner: Arc::clone(&self.inner), key })
    }

    fn reject(&mut self, request: RequestId, private: PrivateData) -> Result<(), Refused> {
        self.inner.borrow().reject(request, private)
    }

    fn progress(&mut self, now: u64) {
        self.inner.borrow().progress(now);
    }

    fn poll(&mut self) -> Option<Event> {
        self.inner.borrow().events.pop_front()
    }

    fn counters(&self) -> Counters {
        self.inner.borrow().counters
    }
}

/// Every protection domain: the one for all, and those of queue pairs whose windows are registrations.
fn domains<'a>(all: &'a mut Registered, queues: &'a mut Slab<Box<Queue>>) -> Vec<&'a mut Registered> {
    std::iter::once(all).chain(queues.iter_mut().filter_map(|(_, queue)| queue.domain.as_mut())).collect()
}

fn limit<T>(within: bool, what: &'static str, limit: usize, value: T) -> Result<T, Refused> {
    if within { Ok(value) } else { Err(Refused::Limit { what, limit }) }
}

impl Inner {
    fn completion_queue(&mut self, depth: u32) -> Result<Key, Refused> {
        if self.device.removed {
            return Err(Refused::Removed);
        }
        let most = self.device.max_completions.min(MAX_COMPLETIONS);
        limit((1..=most).contains(&depth), "completions", most as usize, ())?;
        let most = self.completions.capacity();
        limit(self.completions.len() < most, "completion queues", most, ())?;
        let device = sys::Completions::new(self.device.context, depth, Some(&self.device.completion_channel));
        let device = device.map_err(Refused::System)?;
        let staged = VecDeque::with_capacity(crate::limits::POLL_BATCH);
        let queue = Completions { device, depth, reserved: 0, staged, abandoned: false };
        self.completions.insert(queue).map_err(|_| Refused::Limit { what: "completion queues", limit: most })
    }

    /// Promises `count` places in a completion queue.
    fn has_room(&self, completions: Key, count: u32) -> Result<&Completions, Refused> {
        let queue = self.completions.get(completions).ok_or(Refused::Gone)?;
        let within = queue.reserved.checked_add(count).is_some_and(|sum| sum <= queue.depth);
        limit(within, "completions", queue.depth as usize, queue)
    }

    fn receive_queue(&mut self, completions: Key, depth: u16) -> Result<Key, Refused> {
        if self.device.removed {
            return Err(Refused::Removed);
        }
        if !self.device.attributes.shared_receive {
            return Err(Refused::Unsupported);
        }
        let most = self.device.attributes.max_receive;
        limit((1..=most).contains(&depth), "receives", most.into(), ())?;
        self.has_room(completions, depth.into())?;
        let most = self.shared.capacity();
        limit(self.shared.len() < most, "shared receive queues", most, ())?;
        let device = Receives::new(self.domain.domain(), depth).map_err(Refused::System)?;
        let shared = Shared {
            device: Some(device),
            completions,
            depth,
            slots: Slab::new(depth.into()),
            unrung: IndexQueue::new(depth.into()),
            unpolled: 0,
            users: 0,
            abandoned: false,
        };
        let refused = Refused::Limit { what: "shared receive queues", limit: most };
        let key = self.shared.insert(shared).map_err(|_| refused)?;
        if let Some(queue) = self.completions.get_mut(completions) {
            queue.reserved += u32::from(depth);
        }
        Ok(key)
    }

    fn prepare(&mut self, peer: Peer, setup: &QueueSetup<'_, Verbs>) -> Result<Key, Refused> {
        if self.device.removed {
            return Err(Refused::Removed);
        }
        let (completions, shared) = (setup.completions.key, setup.receives.map(|receives| receives.key));
        self.check(setup, completions)?;
        if let Some(shared) = shared {
            self.revive(shared);
        }
        let own = setup.windows > 0 && self.device.windows == WindowKind::Registered;
        let domain = own.then(|| self.own_domain()).transpose()?;
        let windows = {
            let domain = domain.as_ref().unwrap_or(&self.domain).domain();
            Windows::new(setup.windows, self.device.windows, domain).map_err(Refused::System)?
        };
        let (mut id, pair, role, depth) = self.pair(peer, setup, domain.as_ref())?;
        let refused = Refused::Limit { what: "queue pairs", limit: self.queues.capacity() };
        let key = self.queues.next_key().ok_or(refused)?;
        id.set_context(Party::Queue(key).to_bits());
        let queue = Queue {
            id: Some(id),
            pair,
            windows,
            domain,
            name: setup.name,
            completions,
            shared,
            role,
            stage: Stage::Prepared,
            started: false,
            withdrawn: false,
            nonsense: false,
            parameters: Parameters::default(),
            depth,
            sends: Ring::new(setup.send_depth),
            told: 0,
            receives: Ring::new(setup.receive_depth),
            sends_in_device: 0,
            receives_in_device: 0,
            sends_out: 0,
            receives_out: 0,
            reads: 0,
            send_depth: setup.send_depth,
            receive_depth: setup.receive_depth,
            counters: Counters::default(),
            ending: Ending::default(),
        };
        let reserves = queue.reserves();
        self.queues.insert(Box::new(queue)).map_err(|_| refused)?;
        self.numbers.insert(pair.number(), key);
        if let Some(queue) = self.completions.get_mut(completions) {
            queue.reserved += reserves;
        }
        if let Some(shared) = shared.and_then(|key| self.shared.get_mut(key)) {
            shared.users += 1;
        }
        Ok(key)
    }

    fn check(&self, setup: &QueueSetup<'_, Verbs>, completions: Key) -> Result<(), Refused> {
        let attributes = &self.device.attributes;
        for (value, most, what) in [
            (setup.send_depth, attributes.max_send, "send requests"),
            (setup.receive_depth, attributes.max_receive, "receives"),
            (setup.windows, attributes.max_windows, "windows"),
        ] {
            limit(value <= most, what, most.into(), ())?;
        }
        let most = self.queues.capacity();
        limit(self.queues.len() < most, "queue pairs", most, ())?;
        if let Some(receives) = setup.receives {
            let shared = self.shared.get(receives.key).ok_or(Refused::Gone)?;
            if shared.completions != completions || setup.receive_depth > 0 {
                return Err(Refused::Unsupported);
            }
        }
        self.has_room(completions, u32::from(setup.send_depth) + u32::from(setup.receive_depth))?;
        Ok(())
    }

    fn own_domain(&self) -> Result<Registered, Refused> {
        let rights = self.domain.pinned().rights();
        let pinned = Pinned::alone(self.device.context, rights).map_err(Refused::System)?;
        Registered::with(pinned, &self.regions).map_err(Refused::System)
    }

    /// The identifier of a connection with its queue pair, and what is known of the peer's depth.
    fn pair(
        &mut self,
        peer: Peer,
        setup: &QueueSetup<'_, Verbs>,
        own: Option<&Registered>,
    ) -> Result<(CmId, Pair, Role, ReadDepth), Refused> {
        let completions = &self.completions.get(setup.completions.key).ok_or(Refused::Gone)?.device;
        let shared = setup.receives.map(|receives| self.shared.get(receives.key).ok_or(Refused::Gone)).transpose()?;
        let receives = shared.map(|shared| shared.device.as_ref().ok_or(Refused::Gone)).transpose()?;
        let setup = PairSetup {
            domain: own.unwrap_or(&self.domain).domain(),
            completions,
            receives,
            send_depth: setup.send_depth,
            receive_depth: setup.receive_depth,
            max_inline: self.device.attributes.max_inline,
        };
        match peer {
            Peer::At(to) => {
                let from = self.device.address;
                if from.is_ipv4() != to.is_ipv4() {
                    return Err(Refused::System(libc::EAFNOSUPPORT));
                }
                let mut id = CmId::new(&self.device.channel).map_err(Refused::System)?;
                id.bind(SocketAddr::new(from, 0)).map_err(Refused::System)?;
                let pair = id.create_pair(&setup).map_err(Refused::System)?;
                Ok((id, pair, Role::Requester(to), ReadDepth::default()))
            }
            Peer::Of(request) => {
                let key = request_key(request);
                let waiting = self.requests.get_mut(key).ok_or(Refused::Gone)?;
                let pair = waiting.id.create_pair(&setup);
                if pair == Err(libc::ENOMEM) {
                    return Err(Refused::System(libc::ENOMEM));
                }
                let waiting = self.answer(key).ok_or(Refused::Gone)?;
                // Of a peer that gave up, this is all that is told: the kernel keeps its events back until then.
                let pair = pair.map_err(|errno| {
                    tracing::debug!("verbs: a request cannot be answered any more: errno {errno}");
                    Refused::Gone
                })?;
                Ok((waiting.id, pair, Role::Acceptor, waiting.request.depth))
            }
        }
    }

    fn arm(&mut self) -> bool {
        self.device.completion_channel.clear();
        let keys: Vec<Key> = self.completions.iter().map(|(key, _)| key).collect();
        let mut quiet = self.events.is_empty();
        for key in keys {
            let armed = self.completions.get(key).is_none_or(|queue| queue.device.arm().is_ok());
            // What came before it was armed tells nobody.
            self.reap_all(key);
            quiet &= armed && self.completions.get(key).is_none_or(|queue| queue.staged.is_empty());
        }
        quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_said_clearly_and_everything_may_change_threads() {
        fn is_send<T: Send>() {}
        is_send::<Verbs>();
        is_send::<VerbsQueue>();
        is_send::<Parcel>();
        let error = Verbs::open(IpAddr::from([0, 0, 0, 0]), Config::default()).expect_err("the wildcard is no address");
        assert!(error.to_string().starts_with("no RDMA device: "), "{error}");
        let error = Verbs::open_device("no such device", Config::default()).expect_err("there is none");
        assert!(error.to_string().starts_with("no RDMA device: "), "{error}");
    }
}
