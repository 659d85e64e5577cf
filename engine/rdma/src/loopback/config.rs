//! What a loopback world and its nodes are like.

use crate::attributes::{Attributes, PrivateRoom, Transport};
use crate::connection::ReadDepth;
use crate::limits::MAX_SGE;
use core::net::IpAddr;

/// How long a message is under way, in ticks of [`super::World::advance`], drawn for each message from `min..=max`.
/// Messages of one direction of a connection never overtake each other; those of different connections do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    /// Shortest.
    pub min: u64,
    /// Longest.
    pub max: u64,
}

impl Latency {
    /// Everything arrives with the next tick.
    pub const NONE: Self = Self { min: 0, max: 0 };
}

/// A world.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Decides every latency, order and key.
    pub seed: u64,
    /// How long messages take.
    pub latency: Latency,
    /// Queue pairs at once; at most [`LOOPBACK_QUEUES`](crate::limits::LOOPBACK_QUEUES).
    pub queues: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { seed: 0, latency: Latency { min: 0, max: 3 }, queues: 64 }
    }
}

/// A host with one device.
#[derive(Clone, Copy, Debug)]
pub struct NodeConfig {
    /// Its address.
    pub addr: IpAddr,
    /// Its device.
    pub attributes: Attributes,
    /// Tries of a Send that finds no receive, the first included; 0 tries for ever (rnr_retry 7). InfiniBand only.
    pub rnr_tries: u32,
    /// Ticks between them.
    pub rnr_wait: u64,
    /// Keeps to the negotiated ORD. `false` makes a hostile requester.
    pub keeps_depth: bool,
}

impl NodeConfig {
    /// An RoCE-like device at `addr`.
    #[must_use]
    pub const fn infiniband(addr: IpAddr) -> Self {
        Self::new(addr, Transport::InfiniBand, PrivateRoom::INFINIBAND)
    }

    /// An iWARP-like device at `addr`.
    #[must_use]
    pub const fn iwarp(addr: IpAddr) -> Self {
        Self::new(addr, Transport::Iwarp, PrivateRoom::IWARP)
    }

    const fn new(addr: IpAddr, transport: Transport, private_data: PrivateRoom) -> Self {
        let attributes = Attributes {
            transport,
            max_depth: ReadDepth { ird: 16, ord: 16 },
            max_send: 1_024,
            max_receive: 1_024,
            max_sge: MAX_SGE as u8,
            max_inline: 0,
            shared_receive: true,
            read_sink_exposed: false,
            send_invalidate: true,
            max_windows: 1_024,
            private_data,
        };
        Self { addr, attributes, rnr_tries: 4, rnr_wait: 4, keeps_depth: true }
    }
}
