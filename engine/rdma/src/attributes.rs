//! What a device can do.

use crate::connection::ReadDepth;

/// The family of a transport, where it shows through verbs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// InfiniBand and RoCE. Requests are acknowledged: a request the peer refuses completes with the reason. A Send
    /// without a posted receive waits and is tried again (RNR).
    InfiniBand,
    /// iWARP (RFC 5040). A Send or Write completes when it has left; what the peer refuses ends the connection with
    /// [`Ended::Terminated`](crate::Ended::Terminated) and may already have completed as a success. A Send without a
    /// posted receive ends the connection.
    Iwarp,
}

/// Bounds and abilities of one device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// The family.
    pub transport: Transport,
    /// Most RDMA Reads served (IRD) and issued (ORD) at once on one queue pair.
    pub max_depth: ReadDepth,
    /// Deepest send queue, in requests.
    pub max_send: u16,
    /// Deepest receive queue, in requests.
    pub max_receive: u16,
    /// Scatter-gather elements of a Send or a Write; at least [`MAX_SGE`](crate::limits::MAX_SGE).
    pub max_sge: u8,
    /// Bytes a Send can carry inside the request itself, for nothing to be fetched. For information: the provider
    /// decides by itself, and the memory comes back by completion either way.
    pub max_inline: u32,
    /// [`Provider::receive_queue`](crate::Provider::receive_queue) works.
    pub shared_receive: bool,
    /// The peer is given a key to the memory an RDMA Read fills, as iWARP's wire requires (RFC 5040 §4.4), and that
    /// key reaches all of the region, not just the sink. The datamover need do nothing; whoever decides how memory is
    /// cut into regions may want to know.
    pub read_sink_exposed: bool,
    /// Send with Invalidate can be sent and received.
    pub send_invalidate: bool,
    /// Remote access windows of one queue pair.
    pub max_windows: u16,
    /// Bytes of private data in a connection request, an acceptance and a rejection.
    pub private_data: PrivateRoom,
}

/// Private data bounds, in bytes. A transport may deliver it padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrivateRoom {
    /// Of a connection request.
    pub connect: u16,
    /// Of an acceptance.
    pub accept: u16,
    /// Of a rejection.
    pub reject: u16,
}

impl PrivateRoom {
    /// The InfiniBand CM's, less the header of the RDMA CM in a request.
    pub const INFINIBAND: Self = Self { connect: 56, accept: 196, reject: 148 };
    /// MPA's with enhanced set-up (RFC 6581 §9).
    pub const IWARP: Self = Self { connect: 508, accept: 508, reject: 508 };
}
