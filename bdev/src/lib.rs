//! Block devices behind one seam.
//!
//! A [`Bdev`] is the shared thing (name, geometry, configuration); a [`Channel`] is one core's private way into it.
//! An [`Io`] goes into a channel with a [`primitives::Tag`] and comes back as a [`Done`] with the same tag: no
//! callbacks, no futures, no locks on the data path.
//!
//! Devices: [`null`], [`malloc`] (memory), [`uring`] (file or block device), [`sim`] (crashable, for tests). Ways to
//! reach a device that lives elsewhere: [`remote`] (on another core), [`worker`] (on a thread of its own, behind a
//! blocking library). Devices on top of devices: [`layer`]. The [`Registry`] knows them all by name, and the channels
//! it opens count ([`stats`]) and keep to the device's rate limits ([`qos`]).

pub mod channel;
pub mod check;
pub mod device;
mod fifo;
pub mod io;
pub mod layer;
pub mod limits;
mod link;
pub mod malloc;
pub mod null;
pub mod qos;
pub mod registry;
pub mod remote;
mod shape;
pub mod sim;
pub mod stats;
#[cfg(test)]
mod testing;
mod track;
pub mod uring;
pub mod uuid;
pub mod worker;

pub use channel::{AbortOutcome, Channel, DoneBatch};
pub use device::{Bdev, Features, Geometry, OpenError};
pub use io::{Done, Io, Op, Status};
pub use layer::delay::Delay;
pub use layer::error::ErrorInjector;
pub use malloc::Malloc;
pub use null::Null;
pub use qos::RateLimits;
pub use registry::Registry;
pub use remote::Remote;
pub use shape::CreateError;
pub use sim::Sim;
pub use uring::Uring;
pub use worker::Blocking;
