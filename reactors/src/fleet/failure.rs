//! The first failure of a fleet, and a descriptor that tells.

use crate::bell::Bell;
use crate::percore::CoreId;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

/// A core failed beyond repair: a poller panicked. The process has to shut down and report failure.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("core {core} failed: {why}")]
pub struct FleetFailure {
    /// The core.
    pub core: CoreId,
    /// What happened.
    pub why: String,
}

#[derive(Debug)]
pub(super) struct FailureCell {
    first: Mutex<Option<FleetFailure>>,
    bell: Bell,
}

impl FailureCell {
    pub(super) fn new() -> io::Result<Self> {
        let bell = Bell::new()?;
        // Armed for good: the one ring makes the descriptor readable for ever.
        bell.arm();
        Ok(Self { first: Mutex::new(None), bell })
    }

    pub(super) fn set(&self, failure: FleetFailure) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.bell.ring();
    }

    pub(super) fn get(&self) -> Option<FleetFailure> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
