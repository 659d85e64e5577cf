//! The verbs seam over libibverbs and librdmacm: adapters, and the kernel's rxe and siw. All of the project's foreign
//! function interface to RDMA is in `sys`.
//!
//! # One `Verbs` for a device and a core
//!
//! A [`Verbs`] is one device as one core uses it, and is found by a local address: [`Verbs::open`] with an address that
//! is bound to an RDMA device, or [`Verbs::open_device`] with a device's name. A core that serves several devices has
//! several. It listens on addresses of its device; the wildcard address is refused, so whoever wants "any address"
//! opens each of [`devices`] and listens on each of its addresses. A connecting side picks the device by its route:
//! [`route`] says which local address leads to a peer, [`serves`] whether a device is there.
//!
//! A machine without RDMA is no error to anybody who does not ask: [`devices`] is empty, [`serves`] finds nothing, and
//! `open` says so.
//!
//! All of them in a process share one protection domain for each device, and one registration for each region they
//! are given alike: memory is pinned once, not once for each core.
//!
//! # Moving a request
//!
//! All `Verbs` of one device share its kernel context. A connection request that one core received can be answered by
//! another: [`Verbs::detach`] there, the [`Parcel`] through a mailbox, [`Verbs::attach`] here, and the
//! [`Event::Request`](rdma::Event::Request) comes again.
//!
//! # Sleeping
//!
//! Completion queues are polled and raise no interrupts until [`Verbs::arm`] asks for the next one.
//! [`Verbs::wake_fds`] are the descriptors to sleep on.
//!
//! # Windows
//!
//! A device with type 2 memory windows (RFC 7306, IBTA 10.6.7.2) binds them by a request in the send queue. On one
//! without, a queue pair that asks for windows gets a protection domain of its own, and each window is a registration
//! made by [`bind`](rdma::QueuePair::bind) and undone when it closes: two system calls for every task. Only initiators
//! have windows.
//!
//! # What software devices do not do
//!
//! The kernel's rxe binds windows, but lets a peer reach all of the region behind one. Its siw lets a peer read what it
//! may only write, and tells programs neither of a Terminate message nor of keys that were invalidated. Over iWARP a
//! rejection for want of backlog looks like one by the owner. [`Counters::rnr_waits`](rdma::Counters::rnr_waits) stays
//! zero: devices count that for all their users together.
//!
//! # Draining
//!
//! A queue pair that fails is moved to the error state, and its requests come back as the device flushes them. A device
//! that does not within [`limits::FLUSH_NANOS`] loses the queue pair, after which it can touch no memory either, and
//! the requests are flushed on its behalf.
#![deny(unsafe_code)]

pub mod config;
pub mod error;
pub mod limits;

mod attributes;
mod completions;
mod connect;
mod devices;
mod handles;
mod ident;
mod inner;
mod map;
mod memory;
mod notices;
mod pace;
mod pinned;
mod post;
mod provider;
mod queue;
mod reap;
mod ring;
mod share;
mod shared;
#[allow(unsafe_code)]
mod sys;
mod teardown;
mod window;

pub use config::{Config, Use};
pub use connect::Parcel;
pub use devices::{DeviceInfo, devices, route, serves};
pub use error::Error;
pub use handles::{VerbsCompletions, VerbsQueue, VerbsReceives};
pub use provider::Verbs;
