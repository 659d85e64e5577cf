//! [`Over`]: a provider as a [`Device`].

use std::net::{SocketAddr, TcpStream};
use std::os::fd::RawFd;

use primitives::Tag;
use rdma::{
    Attributes, CompletionBatch, CompletionQueue, Counters, Event, Memory, Peer, PrivateData, QueuePair, QueueSetup,
    ReceiveQueue, ReceiveRequest, Refused, RequestId,
};
use reactors::limits::LARGE_BUFFER;
use reactors::{Class, Extent, Pools, RegionChanges};

use super::stock::Stock;
use super::{Device, Fabric, Parcel};
use crate::limits::{
    COMPLETIONS_PER_DEVICE, COMPLETIONS_PER_SMALL_DEVICE, RECEIVES_SHARE, SEND_DEPTH, SHARED_RECEIVES,
    SHARED_RECEIVES_MIN,
};

/// A provider, its completion queue and its shared receives.
#[expect(missing_debug_implementations, reason = "providers need none")]
pub struct Over<P: Fabric> {
    name: String,
    provider: P,
    completions: P::Completions,
    receives: Option<Shared<P>>,
    /// Regions it knows.
    known: Vec<Extent>,
}

struct Shared<P: Fabric> {
    queue: P::Receives,
    stock: Stock,
    /// Those that wait for room in the queue.
    spare: Vec<ReceiveRequest>,
    /// Some were posted since the last doorbell.
    unrung: bool,
}

impl<P: Fabric> Shared<P> {
    /// Posts all of `receives`; those that find no room wait.
    fn post(&mut self, receives: &mut Vec<ReceiveRequest>) {
        self.unrung = true;
        if self.queue.post_receives(receives).is_err() {
            self.spare.append(receives);
        }
    }
}

impl<P: Fabric> Over<P> {
    /// Takes a provider into service, with receives from `pools` if they can be shared.
    ///
    /// # Errors
    /// [`Refused`] by the device, or [`Refused::Limit`] when the pools have no memory for receives.
    pub fn new(name: String, mut provider: P, regions: &RegionChanges, pools: &mut Pools) -> Result<Self, Refused> {
        let completions = match provider.completion_queue(COMPLETIONS_PER_DEVICE) {
            Ok(completions) => completions,
            Err(_) => provider.completion_queue(COMPLETIONS_PER_SMALL_DEVICE)?,
        };
        for region in &regions.added {
            provider.add_memory(memory(region))?;
        }
        let receives = if provider.attributes().shared_receive {
            let queue = provider.receive_queue(&completions, SHARED_RECEIVES)?;
            let (mut stock, mut spare) = (Stock::default(), Vec::with_capacity(usize::from(SHARED_RECEIVES)));
            // Receives wait for PDUs all their life; most of the memory is for data.
            let share = pools.stats(Class::Large).free / RECEIVES_SHARE * (LARGE_BUFFER / iser::limits::MESSAGE);
            let wanted = share.min(usize::from(SHARED_RECEIVES));
            let count = stock.add(pools, iser::limits::MESSAGE, wanted, |buf| {
                spare.push(ReceiveRequest { tag: Tag::default(), buf });
            });
            if count < SHARED_RECEIVES_MIN {
                spare.iter().for_each(|receive| stock.give(&receive.buf));
                stock.settle(pools);
                return Err(Refused::Limit { what: "receive buffers (see --memory)", limit: count });
            }
            Some(Shared { queue, stock, spare, unrung: false })
        } else {
            None
        };
        let mut this = Self { name, provider, completions, receives, known: regions.added.clone() };
        this.ring();
        Ok(this)
    }
}

fn memory(region: &Extent) -> Memory {
    Memory { addr: region.addr, len: region.len }
}

impl<P: Fabric> Device for Over<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn attributes(&self) -> Attributes {
        self.provider.attributes()
    }

    fn memory_changed(&mut self, changes: &RegionChanges) {
        for region in changes.removed.iter().filter(|region| self.known.contains(region)) {
            if let Err(error) = self.provider.remove_memory(memory(region)) {
                tracing::error!(device = self.name, "a region of memory is gone, but stays registered: {error}");
            }
        }
        self.known.retain(|region| !changes.removed.contains(region));
        for region in &changes.added {
            match self.provider.add_memory(memory(region)) {
                Ok(()) => self.known.push(*region),
                Err(error) => tracing::error!(
                    device = self.name,
                    "{} MiB of memory cannot be registered, and what lies there not be served over RDMA: {error}; \
                     the limit on locked memory (`ulimit -l`) may be too low",
                    region.len >> 20
                ),
            }
        }
    }

    fn progress(&mut self, now: u64) {
        self.provider.progress(now);
    }

    fn poll(&mut self, batch: &mut CompletionBatch) {
        self.completions.poll(batch);
    }

    fn event(&mut self) -> Option<Event> {
        self.provider.poll()
    }

    fn prepare(&mut self, request: RequestId, name: Tag, receive_depth: u16) -> Result<Box<dyn QueuePair>, Refused> {
        let setup = QueueSetup {
            name,
            completions: &self.completions,
            receives: self.receives.as_ref().map(|shared| &shared.queue),
            send_depth: SEND_DEPTH.min(self.provider.attributes().max_send),
            receive_depth: if self.receives.is_some() { 0 } else { receive_depth },
            windows: 0,
        };
        Ok(Box::new(self.provider.prepare(Peer::Of(request), setup)?))
    }

    fn reject(&mut self, request: RequestId, private: PrivateData) {
        if let Err(error) = self.provider.reject(request, private) {
            tracing::debug!(device = self.name, "a connection request could not be rejected: {error}");
        }
    }

    fn shares_receives(&self) -> bool {
        self.receives.is_some()
    }

    fn recycle(&mut self, receives: &mut Vec<ReceiveRequest>) {
        match &mut self.receives {
            Some(shared) => shared.post(receives),
            None => debug_assert!(false, "receives of no shared queue"),
        }
    }

    fn ring(&mut self) {
        let Some(shared) = &mut self.receives else { return };
        if !shared.spare.is_empty() {
            // Those that still find no room wait on.
            let _ = shared.queue.post_receives(&mut shared.spare);
            shared.unrung = true;
        }
        if core::mem::take(&mut shared.unrung) {
            shared.queue.ring();
        }
    }

    fn listen(&mut self, at: SocketAddr, backlog: u16) -> Result<SocketAddr, Refused> {
        self.provider.listen(at, backlog)
    }

    fn unlisten(&mut self, at: SocketAddr) {
        self.provider.unlisten(at);
    }

    fn adopt(&mut self, stream: TcpStream, at: SocketAddr) -> Result<(), Refused> {
        self.provider.adopt(stream, at)
    }

    fn detach(&mut self, request: RequestId) -> Option<Parcel> {
        self.provider.detach(request)
    }

    fn attach(&mut self, parcel: Parcel) -> Result<(), Refused> {
        self.provider.attach(parcel)
    }

    fn rests(&self) -> bool {
        self.provider.rests()
    }

    fn wake_fds(&self, out: &mut Vec<RawFd>) {
        self.provider.wake_fds(out);
    }

    fn arm(&mut self) -> bool {
        self.provider.arm()
    }

    fn deadline(&self) -> Option<u64> {
        self.provider.deadline()
    }

    fn counters(&self) -> Counters {
        self.provider.counters()
    }

    fn close(&mut self, pools: &mut Pools) {
        let Some(shared) = &mut self.receives else { return };
        while let Some(receive) = shared.queue.take_back() {
            shared.stock.give(&receive.buf);
        }
        shared.spare.drain(..).for_each(|receive| shared.stock.give(&receive.buf));
        shared.stock.settle(pools);
    }
}
