//! The Datamover over verbs: iSCSI Extensions for RDMA (RFC 7145), the target's side.
//!
//! [`Iser`] implements [`Datamover`](iscsi::datamover::Datamover) over any [`rdma::QueuePair`]. It makes nothing
//! itself: the queue pair, the buffers and the receives come from its owner, who also polls the completion queue and
//! hands each completion and each connection event to it. In return everything it was given comes back, once.
//!
//! A turn of a connection: [`Iser::complete`] and [`Iser::event`] for what concerns it,
//! [`poll`](iscsi::datamover::Datamover::poll) until there is nothing more, the work that follows from it, and one
//! [`flush`](iscsi::datamover::Datamover::flush), which is one doorbell. Puts and Sends are unsignalled but for the
//! last of a turn; RDMA Reads are signalled each.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod done;
mod frame;
mod gets;
mod hello;
mod inbound;
mod iser;
pub mod limits;
mod list;
mod outbound;
pub mod private;
mod stats;
mod supplies;
mod unexpected;
mod unsolicited;
pub mod wire;

pub use iser::{Iser, Setup};
pub use limits::Limits;
pub use stats::Stats;
pub use supplies::Supplies;
