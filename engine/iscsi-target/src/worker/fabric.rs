//! RDMA devices on this core: when they work, and where their completions and events go.

mod requests;

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use primitives::{Key, Slab, Tag};
use rdma::{Completion, CompletionBatch, Counters, Event, Opcode, ReceiveRequest, Refused};
use reactors::{Nanos, Pools, RegionCache, RegionChanges};

use super::Worker;
use super::portals::PortalId;
use crate::device::{Device, Stock};
use crate::limits::{BACKLOG, DEVICES_PER_CORE};
use crate::wire::{Iser, Wire};
use requests::Expected;

/// The name of the device in software.
pub const SOFT_IWARP: &str = "siw";

/// Completions taken at once: few enough for them to stay in a cache.
const BATCH: usize = 32;

/// Times a device is asked for more in one turn when it filled the batch.
const ROUNDS: usize = 32;

/// An iSER connection's device, and its message buffers.
pub(super) struct Link {
    device: Key,
    stock: Stock,
}

/// A device and what this core knows about it.
struct Station {
    device: Box<dyn Device>,
    /// It may have something to say.
    ready: bool,
    /// Connections over it.
    conns: usize,
    listening: Vec<(PortalId, i32, SocketAddr)>,
    /// No portal needs it any more: it goes with its last connection.
    retired: bool,
}

/// The RDMA devices a core drives.
pub(super) struct Fabric {
    stations: Slab<Station>,
    /// Of these so many were ever in use, the first.
    places: u32,
    expected: Vec<Expected>,
    regions: RegionCache,
    /// Out of its place only while completions are being handled.
    batch: Option<Box<CompletionBatch>>,
    /// Counts of devices that are gone.
    past: Counters,
}

impl Fabric {
    pub(super) fn new(regions: RegionCache) -> Self {
        Self {
            stations: Slab::new(DEVICES_PER_CORE),
            places: 0,
            expected: Vec::new(),
            regions,
            batch: Some(Box::new(CompletionBatch::new(BATCH))),
            past: Counters::default(),
        }
    }

    /// Devices look at their timers.
    pub(super) fn tick(&mut self) {
        self.stations.iter_mut().for_each(|(_, station)| station.ready = true);
    }

    /// No device is in service.
    pub(super) fn is_empty(&self) -> bool {
        self.stations.is_empty()
    }

    /// No device has anything to do in this turn.
    #[inline]
    pub(super) fn is_still(&self) -> bool {
        let still = |station: &Station| !station.ready && station.conns == 0 && station.device.rests();
        self.stations.is_empty() || self.expected.is_empty() && self.stations.iter().all(|(_, station)| still(station))
    }

    /// Lets devices work, from the place `next` on, until one has something to say: completions, which are in the batch
    /// then, or else an event. What most turns find, nothing, is found here, in a few instructions.
    #[inline]
    fn hear(&mut self, next: &mut u32, now: Nanos) -> Option<(Key, Option<Event>)> {
        let (batch, expecting) = (self.batch.as_mut()?, !self.expected.is_empty());
        while *next < self.places {
            let found = self.stations.at(*next);
            *next += 1;
            let Some((at, Station { device, ready, conns, .. })) = found else { continue };
            if !(core::mem::take(ready) || *conns > 0 || expecting || !device.rests()) {
                continue;
            }
            device.progress(now.get());
            device.poll(batch);
            if !batch.is_empty() {
                return Some((at, None));
            }
            if let Some(event) = device.event() {
                return Some((at, Some(event)));
            }
        }
        None
    }

    /// Nothing here wants to be woken by a timer.
    pub(super) fn is_quiet(&self) -> bool {
        self.expected.is_empty() && self.stations.iter().all(|(_, station)| station.device.deadline().is_none())
    }

    pub(super) fn wake_fds(&self, out: &mut Vec<RawFd>) {
        self.stations.iter().for_each(|(_, station)| station.device.wake_fds(out));
    }

    /// Every device will wake a sleeping core.
    pub(super) fn arm(&mut self) -> bool {
        self.stations.iter_mut().all(|(_, station)| !station.ready && station.device.arm())
    }

    /// A connection over `link` has told its device to work: receives go back, and what was sent may be done at once.
    pub(super) fn after_flush(&mut self, iser: &mut Iser, link: Option<&Link>) {
        let Some(station) = link.and_then(|link| self.stations.get_mut(link.device)) else { return };
        station.ready = true;
        if station.device.shares_receives() && !iser.free_receives().is_empty() {
            station.device.recycle(iser.free_receives());
        }
    }

    /// One doorbell for the receives of each device.
    pub(super) fn ring(&mut self) {
        self.stations.iter_mut().for_each(|(_, station)| station.device.ring());
    }

    /// The connection is over: its memory goes back to where it came from.
    pub(super) fn unlink(&mut self, iser: &mut Iser, mut link: Link, pools: &mut Pools) {
        if let Some(station) = self.stations.get_mut(link.device) {
            let receives = iser.free_receives();
            if station.device.shares_receives() {
                station.device.recycle(receives);
            }
            receives.drain(..).for_each(|receive| link.stock.give(&receive.buf));
            station.conns -= 1;
        }
        let supplies = iser.take_supplies().unwrap_or_default();
        supplies.control.iter().chain(&supplies.messages).for_each(|buf| link.stock.give(buf));
        let missing = link.stock.settle(pools);
        if missing > 0 {
            tracing::error!("a bug: {missing} buffers of a connection over RDMA never came back");
        }
    }

    /// Completions of a connection that is gone, or may not be touched any more: only the receives are of use.
    #[cold]
    fn lost(&mut self, at: Key, run: &mut [Completion]) {
        let Some(station) = self.stations.get_mut(at).filter(|station| station.device.shares_receives()) else {
            return;
        };
        let receives = run.iter_mut().filter(|completion| completion.opcode == Opcode::Receive);
        let request = |lost: &mut Completion| Some(ReceiveRequest { tag: lost.tag, buf: lost.sgl.take_buf()? });
        station.device.recycle(&mut receives.filter_map(request).collect());
    }

    fn named(&mut self, name: &str) -> Option<&mut Station> {
        self.stations.iter_mut().map(|(_, station)| station).find(|station| station.device.name() == name)
    }

    /// Counts of all devices, past and present.
    pub(super) fn counters(&self) -> Counters {
        let mut sum = self.past;
        self.stations.iter().for_each(|(_, station)| sum += station.device.counters());
        sum
    }
}

impl Worker {
    /// Puts a device into service on this core, unless one of that name is.
    ///
    /// # Errors
    /// There are as many as there may be, or what `make` or the kernel says.
    pub fn add_device(
        &mut self,
        name: &str,
        pools: &mut Pools,
        make: impl FnOnce(&RegionChanges, &mut Pools) -> io::Result<Box<dyn Device>>,
    ) -> io::Result<()> {
        if let Some(station) = self.fabric.named(name) {
            station.retired = false;
            return Ok(());
        }
        let full = || io::Error::other(format!("limits::DEVICES_PER_CORE ({DEVICES_PER_CORE}) reached"));
        self.fabric.stations.next_key().ok_or_else(full)?;
        self.tell_devices();
        let device = make(&self.fabric.regions.all(), pools)?;
        let station = Station { device, ready: true, conns: 0, listening: Vec::new(), retired: false };
        let at = self.fabric.stations.insert(station).map_err(|_| full())?;
        self.fabric.places = self.fabric.places.max(at.index + 1);
        Ok(())
    }

    /// No portal needs the device any more: it goes, now or with its last connection.
    pub(crate) fn retire_device(&mut self, name: &str, pools: &mut Pools) {
        if let Some(station) = self.fabric.named(name) {
            station.retired = true;
        }
        self.remove_devices(pools, false);
    }

    /// Takes devices out of service that nobody uses any more, or all of them.
    pub(super) fn remove_devices(&mut self, pools: &mut Pools, all: bool) {
        for index in 0..DEVICES_PER_CORE as u32 {
            let unused = |station: &Station| all || (station.retired && station.conns == 0);
            let Some(key) = self.fabric.stations.at(index).filter(|(_, s)| unused(s)).map(|(key, _)| key) else {
                continue;
            };
            let Some(Station { mut device, .. }) = self.fabric.stations.remove(key) else { continue };
            device.close(pools);
            self.fabric.past += device.counters();
        }
    }

    /// Tells devices of memory that came and went. Before anything is posted: a request may use new memory.
    fn tell_devices(&mut self) {
        if let Some(changes) = self.fabric.regions.changes() {
            self.fabric.stations.iter_mut().for_each(|(_, station)| station.device.memory_changed(&changes));
        }
    }

    /// Lets every device that may have something to say work.
    pub(super) fn turn_fabric(&mut self, now: Nanos, pools: &mut Pools) -> bool {
        if self.fabric.stations.is_empty() {
            return false;
        }
        self.tell_devices();
        let (mut next, mut busy) = (0, false);
        while let Some((at, event)) = self.fabric.hear(&mut next, now) {
            busy = true;
            match event {
                None => self.completions(at, now, pools),
                Some(event) => self.device_event(at, &event, now, pools),
            }
            self.events(at, now, pools);
        }
        busy
    }

    /// Handles the completions in the batch, and more as long as it is full. Apart, for the sake of turns without any.
    #[inline(never)]
    fn completions(&mut self, at: Key, now: Nanos, pools: &mut Pools) {
        let Some(mut batch) = self.fabric.batch.take() else { return };
        for round in 1..=ROUNDS {
            let full = batch.room() == 0;
            // Those of one connection behind each other are handled in one step.
            for run in batch.as_mut_slice().chunk_by_mut(|one, next| one.queue == next.queue) {
                self.completed(at, run, now, pools);
            }
            batch.clear();
            let Some(station) = self.fabric.stations.get_mut(at).filter(|_| full) else { break };
            station.ready = true;
            if round < ROUNDS {
                station.device.poll(&mut batch);
            }
        }
        self.fabric.batch = Some(batch);
    }

    fn events(&mut self, at: Key, now: Nanos, pools: &mut Pools) {
        while let Some(event) = self.fabric.stations.get_mut(at).and_then(|station| station.device.event()) {
            self.device_event(at, &event, now, pools);
        }
    }

    /// Gives completions to the connection that all of them are of.
    fn completed(&mut self, at: Key, run: &mut [Completion], now: Nanos, pools: &mut Pools) {
        let Some(name) = run.first().map(|first| first.queue) else { return };
        let mut taken = false;
        if self.is_named(name) {
            self.step(u32::from(name.index()), now, pools, |conn, _| {
                let Wire::Iser(iser) = &mut conn.dm else { return };
                iser.complete(run);
                taken = true;
            });
            self.touch(u32::from(name.index()));
        }
        if !taken {
            self.fabric.lost(at, run);
        }
    }

    /// A living connection's queue pair has this name.
    fn is_named(&mut self, name: Tag) -> bool {
        let found = self.conns.at(u32::from(name.index()));
        found.is_some_and(|(key, entry)| key.generation % Tag::GENERATIONS == name.generation() && entry.link.is_some())
    }

    #[inline(never)]
    fn device_event(&mut self, at: Key, event: &Event, now: Nanos, pools: &mut Pools) {
        match event {
            Event::Request(request) => self.requested(at, request, now, pools),
            Event::Established { queue, .. } | Event::Rejected { queue, .. } | Event::Disconnected { queue, .. } => {
                if self.is_named(*queue) {
                    let index = u32::from(queue.index());
                    self.step(index, now, pools, |conn, _| {
                        if let Wire::Iser(iser) = &mut conn.dm {
                            iser.event(event);
                        }
                    });
                    self.touch(index);
                }
            }
            Event::Removed => {
                let Some(station) = self.fabric.stations.get_mut(at) else { return };
                let device = station.device.name();
                tracing::error!(device, "an RDMA device was removed; portals have to be opened again to be served");
                station.retired = true;
            }
        }
    }

    /// Listens with a device for RDMA connections.
    ///
    /// # Errors
    /// The device is not in service here, or refuses.
    pub fn listen(&mut self, id: PortalId, group: i32, device: &str, at: SocketAddr) -> Result<(), Refused> {
        let station = self.fabric.named(device).ok_or(Refused::Gone)?;
        let address = station.device.listen(at, BACKLOG)?;
        station.listening.push((id, group, address));
        Ok(())
    }

    /// Stops listening.
    pub(super) fn unlisten(&mut self, id: PortalId) {
        for (_, station) in self.fabric.stations.iter_mut() {
            for (_, _, address) in station.listening.extract_if(.., |(portal, ..)| *portal == id) {
                station.device.unlisten(address);
            }
        }
    }
}
