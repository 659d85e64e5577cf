//! The daemon's view of the running engine: one trait between the control plane and the cores.
//!
//! The control plane owns the configuration and calls the engine to make it so; the engine never calls back. All calls
//! come from control threads and may block; those that change something come one at a time, under the lock of
//! [`crate::context::Control`].

mod devices;
mod directory;
mod info;
mod live;
mod rehearsal;
mod targets;

pub use info::*;
pub use live::start;
pub use rehearsal::Rehearsal;

use crate::model::bdev::BdevSpec;
use crate::model::{Model, PortalGroup};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Why the engine could not do something: an errno for RPC clients and a text for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", rpc::error::errno_text(*errno))]
pub struct EngineError {
    /// Positive errno value.
    pub errno: i32,
    /// What it is about.
    pub what: String,
}

impl EngineError {
    /// An errno and what it is about.
    pub fn new(errno: i32, what: impl Into<String>) -> Self {
        Self { errno, what: what.into() }
    }
}

impl From<EngineError> for rpc::RpcError {
    fn from(error: EngineError) -> Self {
        rpc::RpcError::errno(error.errno, error.what)
    }
}

/// What runs the data path.
pub trait Engine: Send + Sync {
    /// Creates a block device. Its base, if it is a layer, exists.
    ///
    /// # Errors
    /// The device cannot be had (no such file, out of memory, …).
    fn create_bdev(&self, spec: &BdevSpec) -> Result<(), EngineError>;

    /// Deletes a device that no published logical unit and no layer uses; returns once its memory is free.
    ///
    /// # Errors
    /// ENODEV, or it does not come to rest.
    fn delete_bdev(&self, name: &str) -> Result<(), EngineError>;

    /// Changes a running device.
    ///
    /// # Errors
    /// ENODEV; EINVAL if it is of another kind or the change makes no sense.
    fn alter_bdev(&self, name: &str, change: &BdevChange) -> Result<(), EngineError>;

    /// The device as it is now.
    fn bdev(&self, name: &str) -> Option<BdevInfo>;

    /// Counters of a device.
    fn bdev_stats(&self, name: &str) -> DeviceCounts;

    /// Sets a device's counters to zero.
    fn reset_bdev_stats(&self, name: &str, what: ResetStats);

    /// Makes the portals of a group listen; unless `wait` is set they accept at once. All or none.
    ///
    /// # Errors
    /// An address is in use or not ours.
    fn open_portals(&self, group: &PortalGroup) -> Result<(), EngineError>;

    /// Lets the portals of a waiting group accept.
    ///
    /// # Errors
    /// The group is not open.
    fn start_portals(&self, tag: i32) -> Result<(), EngineError>;

    /// Stops listening and closes the connections that came in through the group.
    fn close_portals(&self, tag: i32);

    /// Makes a configuration the current one on every core: new logins see it; logical units and targets that are gone
    /// from it are drained before this returns, and sessions of targets that are gone are logged out.
    ///
    /// # Errors
    /// A logical unit's device cannot be opened; the previous configuration stays.
    fn publish(&self, model: &Arc<Model>) -> Result<(), EngineError>;

    /// Asks the initiators of a target to log out, those of one portal group or all.
    fn request_logout(&self, target: &str, pg_tag: Option<i32>);

    /// All connections.
    fn connections(&self) -> Vec<ConnectionInfo>;

    /// All cores.
    fn cores(&self) -> Vec<CoreInfo>;

    /// Counters of the protocol layers, per core.
    fn protocol_stats(&self) -> Vec<ProtocolStats>;

    /// Readable once a core has failed; the process should then shut down.
    fn failure_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Stops the cores, after portals are closed, an empty configuration is published and devices are deleted.
    fn shutdown(&self);
}
