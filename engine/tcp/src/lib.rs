//! iSCSI over a byte stream (RFC 7143): the [`Datamover`](iscsi::datamover::Datamover) [`Tcp`], and its parts.
//!
//! [`stream`] and [`digest`] know framing only and serve an initiator as well.
#![deny(unsafe_op_in_unsafe_fn)]

mod data_in;
pub mod digest;
mod itt_map;
pub mod limits;
pub mod listen;
mod outbound;
pub mod stream;
mod tcp;
mod transfers;

pub use limits::Limits;
pub use tcp::{Stats, Tcp};
