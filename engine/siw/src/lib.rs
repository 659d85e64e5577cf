//! Soft-iWARP: RDMA over TCP in user space, behind the verbs seam.
//!
//! A [`Siw`] is one device as one core uses it: an [`rdma::Provider`] that speaks MPA (RFC 5044, with the enhanced
//! set-up of RFC 6581), DDP (RFC 5041) and RDMAP (RFC 5040) over non-blocking sockets, and understands itself with the
//! Linux kernel's `siw`. It has no threads and never blocks: everything happens in calls of its owner.
//!
//! * [`wire`] is the codec, pure and without input or output.
//! * `stream` moves FPDUs between a socket and memory: one `readv` and one `sendmsg` for as many as there are.
//! * `pair` is one queue pair: posting, transmission, arrival, set-up and end.
//! * `device` holds what queue pairs share, and turns once a [`progress`](rdma::Provider::progress).
//!
//! A request completes when its bytes are in the kernel's socket buffer: its memory is not needed any more then, and
//! iWARP acknowledges nothing anyway.

pub mod config;
pub mod limits;
pub mod stats;
pub mod wire;

mod device;
mod handles;
mod memory;
mod pair;
mod random;
mod shared;
mod stream;
mod timer;
mod window;

pub use config::{Config, Crc, Fpdu, Use};
pub use device::Parcel;
pub use handles::{Siw, SiwCompletions, SiwQueue, SiwReceives};
pub use stats::Stats;
