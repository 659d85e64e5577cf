//! The verbs seam: what an iSER datamover (RFC 7145) needs of RDMA and no more, and the software providers behind it.
//!
//! A [`Provider`] is one device seen by one core. Its [`QueuePair`]s carry [`WorkRequest`]s, its [`CompletionQueue`]s
//! bring them back. Everything is polled, values in and values out; nothing calls back. A turn of a core: one
//! [`Provider::progress`], [`Provider::poll`] until it is empty, one [`CompletionQueue::poll`] per queue, the work that
//! follows from it, and one [`QueuePair::ring`] for each queue pair that was posted to.
//!
//! Memory moves: a [`Buf`](primitives::Buf) goes into a request and comes back in that request's [`Completion`], and
//! what a peer may reach through an STag is out of everybody's hands until the window is invalid again. So no safe code
//! can reuse memory that a device or a peer may still touch. `docs/VERBS.md` tells the whole contract.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod attributes;
mod batch;
pub mod completion;
pub mod connection;
pub mod counters;
pub mod limits;
pub mod loopback;
pub mod memory;
pub mod provider;
pub mod work;

pub use attributes::{Attributes, Transport};
pub use batch::SendBatch;
pub use completion::{Completion, CompletionBatch, Opcode, Status};
pub use connection::{Ended, Event, Parameters, PrivateData, ReadDepth, RejectReason, Request, RequestId};
pub use counters::Counters;
pub use memory::{Access, Memory, Remote, Sge, Sgl, Stag};
pub use provider::{CompletionQueue, Peer, Provider, QueuePair, QueueSetup, ReceiveQueue, Room};
pub use work::{Op, ReceiveRequest, Refusal, Refused, Why, WorkRequest};
