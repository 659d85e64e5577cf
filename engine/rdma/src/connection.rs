//! Connections: how they are asked for, answered and ended.

use crate::completion::Status;
use crate::limits::MAX_PRIVATE_DATA;
use core::fmt;
use core::net::SocketAddr;
use primitives::Tag;

/// RDMA Reads at once on one connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ReadDepth {
    /// IRD: Reads of the peer that are served; responder_resources of the RDMA CM.
    pub ird: u16,
    /// ORD: own Reads that may be outstanding; initiator_depth of the RDMA CM.
    pub ord: u16,
}

impl ReadDepth {
    /// What holds for this side, when the peer can do `peer`: own Reads are bounded by what the peer serves.
    #[must_use]
    pub fn against(self, peer: Self) -> Self {
        Self { ird: self.ird, ord: self.ord.min(peer.ird) }
    }
}

/// Bytes that ride in a connection request or its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PrivateData {
    bytes: [u8; MAX_PRIVATE_DATA],
    len: u16,
}

impl PrivateData {
    /// None.
    pub const EMPTY: Self = Self { bytes: [0; MAX_PRIVATE_DATA], len: 0 };

    /// `bytes`, unless they exceed [`MAX_PRIVATE_DATA`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut data = Self::EMPTY;
        data.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        data.len = u16::try_from(bytes.len()).ok()?;
        Some(data)
    }

    /// The bytes. Received ones may end in zeros that were not sent.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// There are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Default for PrivateData {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Debug for PrivateData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateData({:02x?})", self.as_slice())
    }
}

/// What one side says when it asks for a connection or accepts one.
#[derive(Clone, Copy, Default, Debug)]
pub struct Parameters {
    /// Own read depth; above the device's it is lowered to that.
    pub depth: ReadDepth,
    /// Private data.
    pub private: PrivateData,
}

/// Names a connection request until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RequestId(pub u64);

/// Somebody wants a connection. Answer with [`Provider::prepare`](crate::Provider::prepare), receives, and
/// [`QueuePair::start`](crate::QueuePair::start); or with [`Provider::reject`](crate::Provider::reject).
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// The address it was made to, as given to [`Provider::listen`](crate::Provider::listen).
    pub to: SocketAddr,
    /// Who asks.
    pub from: SocketAddr,
    /// What the peer can do, as the peer sees it (its IRD bounds the acceptor's ORD).
    pub depth: ReadDepth,
    /// What the peer says.
    pub private: PrivateData,
}

/// Why a connection did not come about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RejectReason {
    /// The peer's owner said no.
    Consumer,
    /// Nobody listens there, or too many requests wait.
    NoListener,
    /// No way to the address, or no answer.
    Unreachable,
    /// The two ends cannot agree on the set-up.
    Incompatible,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// By this side: [`QueuePair::to_error`](crate::QueuePair::to_error), or the queue pair was dropped.
    Local,
    /// By the peer, orderly as far as the transport can tell.
    Peer,
    /// By a request of this side that failed with this status.
    Failed(Status),
    /// By a Terminate message or a NAK: one side broke the rules of the other.
    Terminated,
    /// The stream was lost, or the peer fell silent.
    Lost,
    /// The device is gone.
    Removed,
}

/// What happened to connections.
///
/// A queue pair that was started sees at most one [`Event::Established`] and then exactly one of [`Event::Rejected`]
/// (only if it was not established) and [`Event::Disconnected`]. A receive may complete before the acceptor's
/// `Established`: the peer's first message proves the connection as well. Requests still outstanding when it ends are
/// completed as flushed; [`QueuePair::outstanding`](crate::QueuePair::outstanding) says when that is over.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// Somebody wants a connection.
    Request(Request),
    /// The connection stands.
    Established {
        /// The queue pair's name.
        queue: Tag,
        /// What was negotiated: the ORD to keep to, and the IRD kept.
        depth: ReadDepth,
        /// What the acceptor said; empty for the acceptor.
        private: PrivateData,
    },
    /// The connection did not come about.
    Rejected {
        /// The queue pair's name.
        queue: Tag,
        /// Why.
        why: RejectReason,
        /// What the peer said.
        private: PrivateData,
    },
    /// The connection is over; the queue pair is in the error state.
    Disconnected {
        /// The queue pair's name.
        queue: Tag,
        /// How.
        how: Ended,
    },
    /// The device is gone: every queue pair gets its own event too, and the provider takes nothing any more.
    Removed,
}
