//! What the handles of one device and core share.

use crate::attributes::WindowKind;
use crate::completions::Completions;
use crate::config::Config;
use crate::connect::{Listener, Waiting};
use crate::devices::bound;
use crate::error::Error;
use crate::limits::{COMPLETION_QUEUES, LISTENERS, QUEUES, REQUESTS};
use crate::memory::{Regions, Registered};
use crate::notices::Notices;
use crate::pace::Pace;
use crate::pinned::Pinned;
use crate::queue::Queue;
use crate::shared::Shared;
use crate::sys::{
    self, Channel, CmId, CompletionChannel, Context, DeviceEvent, Domain, PairSetup, ReceiveChain, SendChain, Works,
};
use primitives::{Key, Slab};
use rdma::{Attributes, Counters, Event};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// The device itself. What is made of others comes before them.
#[derive(Debug)]
pub struct Device {
    pub notices: Notices,
    pub completion_channel: CompletionChannel,
    /// Keeps the device open.
    _anchor: CmId,
    pub channel: Channel,
    pub context: Context,
    pub name: String,
    pub address: IpAddr,
    pub attributes: Attributes,
    pub windows: WindowKind,
    pub invalidated_flags: u32,
    /// It completes what overtakes a Read before the Read, and takes no Send with Invalidate whose bytes are in the
    /// request.
    pub is_siw: bool,
    pub max_completions: u32,
    pub config: Config,
    /// It is gone, or broken: nothing is taken any more.
    pub removed: bool,
}

/// Queue pairs by the device's numbers.
pub type Numbers = HashMap<u32, Key, BuildHasherDefault<Spread>>;

/// A hasher for small numbers that no peer chooses.
#[derive(Clone, Copy, Default, Debug)]
pub struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        // Fibonacci hashing: the table looks at the high bits, and at the low ones.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
    }
}

/// Room for requests in the device's form.
pub struct Chains {
    pub sends: SendChain,
    pub receives: ReceiveChain,
}

/// Everything behind the handles. What is made of others comes before them.
pub struct Inner {
    pub queues: Slab<Box<Queue>>,
    pub requests: Slab<Box<Waiting>>,
    pub listeners: Slab<Listener>,
    pub shared: Slab<Shared>,
    pub completions: Slab<Completions>,
    pub domain: Registered,
    pub device: Device,
    pub numbers: Numbers,
    pub regions: Regions,
    pub events: VecDeque<Event>,
    /// Queue pairs that are over, or may be.
    pub watched: Vec<Key>,
    pub chains: Chains,
    /// `None` while completions are being handled.
    pub works: Option<Box<Works>>,
    pub told: Vec<DeviceEvent>,
    pub counters: Counters,
    pub pace: Pace,
    pub now: u64,
}

impl Device {
    fn open(address: IpAddr, config: Config) -> Result<(Self, Arc<Pinned>), Error> {
        let channel = Channel::open().map_err(|errno| Error::NoDevice { errno })?;
        let (anchor, context) = bound(&channel, address).map_err(|_| Error::NotServed { address })?;
        let device = context.name();
        let unusable = |what| {
            let device = device.clone();
            move |errno| Error::Unusable { device, what, errno }
        };
        let facts = context.facts().map_err(unusable("querying it"))?;
        context.make_nonblocking().map_err(unusable("its event descriptor"))?;
        let pinned = Pinned::of(context, facts.rights()).map_err(unusable("a protection domain"))?;
        let completion_channel = CompletionChannel::new(context).map_err(unusable("a completion channel"))?;
        let attributes = facts.attributes(probe_inline(context, pinned.domain(), config.max_inline));
        let device = Self {
            notices: Notices::of(context),
            completion_channel,
            _anchor: anchor,
            channel,
            context,
            name: device,
            address,
            attributes,
            windows: facts.windows(),
            invalidated_flags: facts.invalidated_flags(),
            is_siw: facts.is_siw(),
            max_completions: u32::try_from(facts.max_cqe).unwrap_or(0),
            config,
            removed: false,
        };
        Ok((device, pinned))
    }
}

/// Bytes that a queue pair here may carry in its requests, up to `wanted`.
fn probe_inline(context: Context, domain: &Domain, wanted: u32) -> u32 {
    let Ok(completions) = sys::Completions::new(context, 1, None) else { return 0 };
    let granted = |max_inline: u32| {
        let setup = PairSetup {
            domain,
            completions: &completions,
            receives: None,
            send_depth: 1,
            receive_depth: 1,
            max_inline,
        };
        setup.probe_inline().map(|granted| granted.min(wanted))
    };
    [wanted, wanted / 2, wanted / 4].into_iter().filter(|n| *n > 0).find_map(granted).unwrap_or(0)
}

impl Inner {
    /// Opens the device behind a local address.
    pub fn open(address: IpAddr, config: Config) -> Result<Self, Error> {
        let (device, pinned) = Device::open(address, config)?;
        let domain = Registered::new(pinned);
        Ok(Self {
            queues: Slab::new(QUEUES),
            requests: Slab::new(REQUESTS),
            listeners: Slab::new(LISTENERS),
            shared: Slab::new(COMPLETION_QUEUES),
            completions: Slab::new(COMPLETION_QUEUES),
            domain,
            device,
            numbers: Numbers::default(),
            regions: Regions::default(),
            events: VecDeque::new(),
            watched: Vec::new(),
            chains: Chains { sends: SendChain::new(), receives: ReceiveChain::new() },
            works: Some(Box::default()),
            told: Vec::new(),
            counters: Counters::default(),
            pace: Pace::default(),
            now: 0,
        })
    }

    /// Counts for one queue pair and for all.
    pub fn tally(&mut self, key: Key, count: impl Fn(&mut Counters)) {
        count(&mut self.counters);
        if let Some(queue) = self.queues.get_mut(key) {
            count(&mut queue.counters);
        }
    }

    pub fn progress(&mut self, now: u64) {
        self.now = now;
        if self.pace.is_due(now, !self.watched.is_empty()) {
            self.notices();
            self.connection_events();
            self.sweep();
        }
    }

    /// What the device tells by itself.
    pub fn notices(&mut self) {
        let mut told = std::mem::take(&mut self.told);
        self.device.notices.collect(self.device.context, &mut told);
        for event in told.drain(..) {
            self.notice(event);
        }
        self.told = told;
    }

    fn notice(&mut self, event: DeviceEvent) {
        let device = &self.device.name;
        match event {
            DeviceEvent::PairFailed(number) => {
                if let Some(key) = self.numbers.get(&number).copied() {
                    self.fail(key, rdma::Ended::Terminated);
                }
            }
            DeviceEvent::LastReceive(number) => {
                if let Some(queue) = self.numbers.get(&number).and_then(|key| self.queues.get_mut(*key)) {
                    queue.ending.last_receive = true;
                }
            }
            DeviceEvent::Fatal | DeviceEvent::CompletionsFailed | DeviceEvent::ReceivesFailed => {
                tracing::error!(device, "it has failed: {event:?}");
                self.remove();
            }
            DeviceEvent::PortUp(port) => tracing::info!(device, port, "a port is up"),
            DeviceEvent::PortDown(port) => tracing::warn!(device, port, "a port is down"),
            DeviceEvent::Other(code) => tracing::debug!(device, code, "something happened"),
        }
    }
}
