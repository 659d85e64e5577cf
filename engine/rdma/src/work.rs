//! Work requests, and why one is not taken.

use crate::completion::Opcode;
use crate::memory::{Remote, Sgl, Stag};
use core::{fmt, mem};
use primitives::{Buf, Tag};

/// What a send queue does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// A message into the peer's next receive.
    Send {
        /// Asks the peer's side to raise an event (RFC 5040 §3.1, Send with Solicited Event).
        solicited: bool,
        /// The peer's window to close on arrival. Requires [`Attributes::send_invalidate`](crate::Attributes).
        invalidate: Option<Stag>,
    },
    /// RDMA Write of the local bytes to the peer's memory.
    Write {
        /// Where.
        to: Remote,
    },
    /// RDMA Read from the peer's memory into the local bytes. The buffer keeps its length: what of it is meaningful
    /// afterwards is for its owner to declare.
    Read {
        /// Whence.
        from: Remote,
    },
    /// Closes one of this queue pair's own windows; moves no memory.
    Invalidate(Stag),
}

impl Op {
    /// A plain Send.
    pub const SEND: Self = Self::Send { solicited: false, invalidate: None };

    /// The opcode its completion has.
    #[must_use]
    #[inline]
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Send { .. } => Opcode::Send,
            Self::Write { .. } => Opcode::Write,
            Self::Read { .. } => Opcode::Read,
            Self::Invalidate(_) => Opcode::Invalidate,
        }
    }
}

/// One entry of a send queue.
#[derive(Debug)]
#[must_use = "a request carries its buffers"]
pub struct WorkRequest {
    /// Comes back in the completion.
    pub tag: Tag,
    /// What to do.
    pub op: Op,
    /// The local bytes. Of a Read one element, the sink; of an invalidation none.
    pub sgl: Sgl,
    /// Complete it on its own. Unsignalled requests complete too, but only together with the next signalled one behind
    /// them or with a failure; a queue that is never signalled fills up.
    pub signalled: bool,
}

impl WorkRequest {
    /// The same request, with the memory, which this one loses.
    #[inline]
    pub const fn take(&mut self) -> Self {
        let sgl = mem::replace(&mut self.sgl, Sgl::NONE);
        Self { tag: self.tag, op: self.op, sgl, signalled: self.signalled }
    }
}

/// One entry of a receive queue: all of `buf` is room for one message.
#[derive(Debug)]
#[must_use = "a request carries its buffer"]
pub struct ReceiveRequest {
    /// Comes back in the completion.
    pub tag: Tag,
    /// Where the message goes. Its former content and length do not matter.
    pub buf: Buf,
}

/// A request that was not taken, whole: nothing of it was queued.
#[derive(Debug)]
#[must_use = "a refusal carries the request"]
pub struct Refusal<T> {
    /// The request.
    pub request: T,
    /// Why.
    pub why: Why,
}

/// Why a request is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The queue is full; completions make room.
    Full,
    /// As many Reads as the negotiated ORD are under way; their completions make room.
    ReadDepth,
    /// Every window is in use; [`QueuePair::reclaim`](crate::QueuePair::reclaim) makes room.
    Windows,
    /// The connection is not established yet.
    NotConnected,
    /// The queue pair is in the error state; nothing is taken any more.
    Closed,
    /// The bytes exceed the buffer, what is meaningful of it, or [`MAX_MESSAGE`](crate::limits::MAX_MESSAGE).
    Range,
    /// The bytes are in no registered region.
    Unregistered,
    /// The device cannot do this, or the request has not the elements it needs.
    Unsupported,
}

impl Why {
    /// Trying again later can help.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Full | Self::ReadDepth | Self::Windows | Self::NotConnected)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the queue is full",
            Self::ReadDepth => "no RDMA Read is left of the negotiated depth",
            Self::Windows => "every memory window is in use",
            Self::NotConnected => "the connection is not established",
            Self::Closed => "the queue pair is closed",
            Self::Range => "the bytes exceed the buffer",
            Self::Unregistered => "the memory is not registered",
            Self::Unsupported => "the device cannot do this",
        })
    }
}

/// Why something on the control path is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// There are as many already as there may be.
    Limit {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// It does not exist any more: the peer gave up, or it was used already.
    Gone,
    /// Something still uses it.
    InUse,
    /// Private data exceeds what the transport carries.
    PrivateData {
        /// Bytes it carries.
        room: usize,
    },
    /// The queue pair was started already, or cannot be in this state.
    State,
    /// The device cannot do this.
    Unsupported,
    /// The device was removed.
    Removed,
    /// The operating system refuses, with this errno.
    System(i32),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { what, limit } => write!(f, "there are {limit} {what} already, or more are asked for"),
            Self::Gone => f.write_str("it is gone"),
            Self::InUse => f.write_str("it is in use"),
            Self::PrivateData { room } => write!(f, "the transport carries {room} bytes of private data, not more"),
            Self::State => f.write_str("the queue pair is not in a state for that"),
            Self::Unsupported => f.write_str("the device cannot do this"),
            Self::Removed => f.write_str("the device was removed"),
            Self::System(errno) => write!(f, "the operating system refuses with errno {errno}"),
        }
    }
}

impl core::error::Error for Refused {}
