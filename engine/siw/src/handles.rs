//! The device, its queue pairs and its queues, as their owner holds them.

use crate::config::Config;
use crate::device::{Device, Parcel};
use crate::limits::{QUEUE_DEPTH, WINDOWS};
use crate::pair::{End, MAX_SGE, Plan, Target, check_receive, max_depth};
use crate::shared::Shared;
use crate::stats::Stats;
use primitives::{Key, Tag};
use rdma::attributes::PrivateRoom;
use rdma::{
    Access, Attributes, CompletionBatch, CompletionQueue, Counters, Event, Memory, Parameters, Peer, PrivateData,
    Provider, QueuePair, QueueSetup, ReceiveQueue, ReceiveRequest, Refusal, Refused, Remote, RequestId, Room,
    SendBatch, Sge, Stag, Transport, Why, WorkRequest,
};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

type Handle = Arc<Shared<Device>>;

/// A soft-iWARP device as one core uses it.
///
/// It may be made on one thread and used on another, see [`Use`](crate::Use). Its descriptor ([`AsRawFd`]) becomes
/// readable when there is something to do in [`Provider::progress`]: who sleeps on it wakes up in time, if it sleeps no
/// longer than [`Siw::deadline`].
#[derive(Debug)]
pub struct Siw {
    device: Handle,
    fd: RawFd,
    config: Config,
}

impl Siw {
    /// A device.
    ///
    /// # Errors
    /// [`Refused::System`] when the process is out of descriptors.
    pub fn new(config: Config) -> Result<Self, Refused> {
        let device = Device::new(config)?;
        let fd = device.core.epoll.as_raw_fd();
        Ok(Self { device: Arc::new(Shared::new(device, config.used_by)), fd, config })
    }

    /// Takes in a connection that somebody else accepted at `at`, and whose first bytes, all of them still unread, will
    /// be an MPA request. It yields [`Event::Request`] when that is complete.
    ///
    /// # Errors
    /// [`Refused::System`], when the connection is gone or cannot be watched. The connection is closed then.
    pub fn adopt(&mut self, stream: TcpStream, at: SocketAddr) -> Result<(), Refused> {
        self.device.borrow().core.admit(stream, at, None)
    }

    /// Takes a request out that is not answered, for [`Siw::attach`] on another core. `None` if it is gone.
    pub fn detach(&mut self, request: RequestId) -> Option<Parcel> {
        self.device.borrow().core.detach(request)
    }

    /// Takes in a request that another device gave away; yields a new [`Event::Request`].
    ///
    /// # Errors
    /// [`Refused::Limit`] or [`Refused::System`]. The connection is closed then.
    pub fn attach(&mut self, parcel: Parcel) -> Result<(), Refused> {
        self.device.borrow().core.attach(parcel)
    }

    /// Lets every peer of this device read or write all of a region, or of a part of one, at its addresses, until it is
    /// [concealed](Siw::conceal), or a peer closes it to all by a Send with Invalidate. For owners that hand such keys
    /// to peers they trust with the whole region: windows made by [`QueuePair::bind`] are each for one connection and
    /// one buffer.
    ///
    /// # Errors
    /// [`Refused::Gone`] if the memory is not [known](Provider::add_memory), or none; [`Refused::Limit`].
    pub fn expose(&mut self, memory: Memory, read: bool, write: bool) -> Result<Stag, Refused> {
        self.device.borrow().expose(memory, read, write)
    }

    /// Ends an exposure. No peer reaches the memory by it any more; connections that are in the middle of doing so end.
    ///
    /// # Errors
    /// [`Refused::Gone`].
    pub fn conceal(&mut self, stag: Stag) -> Result<(), Refused> {
        self.device.borrow().conceal(stag)
    }

    /// When [`Provider::progress`] is to be called at the latest, in nanoseconds of its clock, if no descriptor wakes
    /// its caller before: a time that has passed if there are events, completions or work now. `None` if nothing is
    /// waited for but sockets.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.device.borrow().deadline()
    }

    /// What it counts beyond [`Provider::counters`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.device.borrow().core.stats
    }
}

impl AsRawFd for Siw {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl Provider for Siw {
    type Queue = SiwQueue;
    type Completions = SiwCompletions;
    type Receives = SiwReceives;

    fn attributes(&self) -> Attributes {
        Attributes {
            transport: Transport::Iwarp,
            max_depth: max_depth(&self.config),
            max_send: QUEUE_DEPTH,
            max_receive: QUEUE_DEPTH,
            max_sge: MAX_SGE,
            max_inline: 0,
            shared_receive: true,
            read_sink_exposed: false,
            send_invalidate: true,
            max_windows: WINDOWS,
            private_data: PrivateRoom::IWARP,
        }
    }

    fn add_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        self.device.borrow().add_memory(memory)
    }

    fn remove_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        self.device.borrow().remove_memory(memory)
    }

    fn completion_queue(&mut self, depth: u32) -> Result<SiwCompletions, Refused> {
        let key = self.device.borrow().completion_queue(depth)?;
        Ok(SiwCompletions { device: Arc::clone(&self.device), key })
    }

    fn receive_queue(&mut self, completions: &SiwCompletions, depth: u16) -> Result<SiwReceives, Refused> {
        let key = self.device.borrow().receive_queue(completions.key, depth)?;
        Ok(SiwReceives { device: Arc::clone(&self.device), key })
    }

    fn listen(&mut self, at: SocketAddr, backlog: u16) -> Result<SocketAddr, Refused> {
        self.device.borrow().core.listen(at, backlog)
    }

    fn unlisten(&mut self, at: SocketAddr) {
        self.device.borrow().core.unlisten(at);
    }

    fn prepare(&mut self, peer: Peer, setup: QueueSetup<'_, Self>) -> Result<SiwQueue, Refused> {
        let plan = Plan {
            name: setup.name,
            completions: setup.completions.key,
            shared: setup.receives.map(|r| r.key),
            target: match peer {
                Peer::At(to) => Target::At(to),
                Peer::Of(request) => Target::Of(request),
            },
            send_depth: setup.send_depth,
            receive_depth: setup.receive_depth,
            windows: setup.windows,
        };
        let key = self.device.borrow().prepare(plan)?;
        Ok(SiwQueue { device: Arc::clone(&self.device), key })
    }

    fn reject(&mut self, request: RequestId, private: PrivateData) -> Result<(), Refused> {
        let room = usize::from(PrivateRoom::IWARP.reject);
        if private.len() > room {
            return Err(Refused::PrivateData { room });
        }
        self.device.borrow().core.reject(request, private)
    }

    fn progress(&mut self, now: u64) {
        self.device.borrow().progress(now);
    }

    fn poll(&mut self) -> Option<Event> {
        self.device.borrow().core.events.pop_front()
    }

    fn counters(&self) -> Counters {
        self.device.borrow().counters()
    }
}

/// A queue pair of a [`Siw`].
#[derive(Debug)]
pub struct SiwQueue {
    device: Handle,
    key: Key,
}

/// The handle keeps its queue pair alive, so it is always there; if it were not, it would be as good as closed.
impl QueuePair for SiwQueue {
    fn start(&mut self, parameters: &Parameters) -> Result<(), Refused> {
        self.device.borrow().with(self.key, |pair, core| pair.start(core, parameters)).unwrap_or(Err(Refused::State))
    }

    fn post_receive(&mut self, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>> {
        let mut device = self.device.borrow();
        let device = &mut *device;
        match device.pairs.get_mut(self.key) {
            Some(pair) => pair.post_receive(&device.core, request),
            None => Err(Refusal { request, why: Why::Closed }),
        }
    }

    fn post_send(&mut self, request: WorkRequest) -> Result<(), Refusal<WorkRequest>> {
        let mut device = self.device.borrow();
        let device = &mut *device;
        match device.pairs.get_mut(self.key) {
            Some(pair) => pair.post_send(&device.core, request),
            None => Err(Refusal { request, why: Why::Closed }),
        }
    }

    fn post_sends(&mut self, requests: &mut SendBatch) -> Result<(), Why> {
        let mut device = self.device.borrow();
        let device = &mut *device;
        let pair = device.pairs.get_mut(self.key).ok_or(Why::Closed)?;
        pair.post_sends(&device.core, requests)
    }

    fn bind(&mut self, tag: Tag, sge: Sge, access: Access) -> Result<Remote, Refusal<Sge>> {
        let mut device = self.device.borrow();
        let device = &mut *device;
        match device.pairs.get_mut(self.key) {
            Some(pair) => pair.bind(&mut device.core, tag, sge, access),
            None => Err(Refusal { request: sge, why: Why::Closed }),
        }
    }

    fn reclaim(&mut self, stag: Stag) -> Option<Sge> {
        self.device.borrow().with(self.key, |pair, _| pair.reclaim(stag)).flatten()
    }

    fn ring(&mut self) {
        self.device.borrow().ring(self.key);
    }

    fn to_error(&mut self) {
        self.device.borrow().with(self.key, |pair, core| pair.end(core, End::Local));
    }

    fn room(&self) -> Room {
        let none = Room { send: 0, reads: 0, receive: 0 };
        self.device.borrow().with(self.key, |pair, _| pair.room()).unwrap_or(none)
    }

    fn outstanding(&self) -> u32 {
        self.device.borrow().with(self.key, |pair, _| pair.outstanding()).unwrap_or(0)
    }

    fn counters(&self) -> Counters {
        self.device.borrow().with(self.key, |pair, _| pair.counters()).unwrap_or_default()
    }
}

impl Drop for SiwQueue {
    fn drop(&mut self) {
        // On another thread than the device's it stays, as does its memory, until the device goes.
        if let Some(mut device) = self.device.try_borrow() {
            device.abandon(self.key);
        }
    }
}

/// A completion queue of a [`Siw`].
#[derive(Debug)]
pub struct SiwCompletions {
    device: Handle,
    key: Key,
}

impl CompletionQueue for SiwCompletions {
    fn poll(&mut self, batch: &mut CompletionBatch) -> usize {
        self.device.borrow().reap(self.key, batch)
    }
}

impl Drop for SiwCompletions {
    fn drop(&mut self) {
        if let Some(mut device) = self.device.try_borrow() {
            if let Some(queue) = device.core.completions.get_mut(self.key) {
                queue.abandoned = true;
            }
            device.core.free_completions(self.key);
        }
    }
}

/// A shared receive queue of a [`Siw`].
#[derive(Debug)]
pub struct SiwReceives {
    device: Handle,
    key: Key,
}

impl ReceiveQueue for SiwReceives {
    fn post_receive(&mut self, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>> {
        let mut device = self.device.borrow();
        let core = &mut device.core;
        let Some(queue) = core.receives.get_mut(self.key) else { return Err(Refusal { request, why: Why::Closed }) };
        match if queue.room() == 0 { Err(Why::Full) } else { check_receive(&core.regions, &request) } {
            Ok(()) => {
                queue.counters.receives += 1;
                queue.ring.push(request);
                Ok(())
            }
            Err(why) => {
                queue.counters.refused += 1;
                Err(Refusal { request, why })
            }
        }
    }

    fn post_receives(&mut self, requests: &mut Vec<ReceiveRequest>) -> Result<(), Why> {
        let mut device = self.device.borrow();
        let core = &mut device.core;
        let queue = core.receives.get_mut(self.key).ok_or(Why::Closed)?;
        queue.post(requests, |request| check_receive(&core.regions, request))
    }

    fn ring(&mut self) {
        let mut device = self.device.borrow();
        let core = &mut device.core;
        let Some(queue) = core.receives.get_mut(self.key) else { return };
        queue.counters.doorbells += u64::from(queue.rung < queue.ring.len());
        queue.rung = queue.ring.len();
        if queue.awaited && queue.rung > 0 {
            // Those that wait go on at the next turn; any that wait again say so again.
            (queue.awaited, core.resume) = (false, true);
        }
    }

    fn room(&self) -> u16 {
        self.device.borrow().core.receives.get(self.key).map_or(0, |q| q.room())
    }

    fn take_back(&mut self) -> Option<ReceiveRequest> {
        let mut device = self.device.borrow();
        let queue = device.core.receives.get_mut(self.key).filter(|q| q.users == 0)?;
        let request = queue.ring.pop()?;
        queue.rung = queue.rung.min(queue.ring.len());
        Some(request)
    }
}

impl Drop for SiwReceives {
    fn drop(&mut self) {
        if let Some(mut device) = self.device.try_borrow() {
            if let Some(queue) = device.core.receives.get_mut(self.key) {
                queue.abandoned = true;
            }
            device.core.free_receives(self.key);
        }
    }
}
