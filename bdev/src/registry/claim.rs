//! Who uses a device.

use std::fmt;
use std::sync::Weak;

use super::Shared;

/// A user of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum User {
    /// A logical unit, by a text that names it. Several may share a device; it can be removed under them.
    Lun(String),
    /// A device on top, by name. It has the device for itself, which cannot be removed under it.
    Layer(String),
}

impl User {
    pub(super) fn is_exclusive(&self) -> bool {
        matches!(self, Self::Layer(_))
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lun(name) => write!(f, "LUN {name}"),
            Self::Layer(name) => write!(f, "block device {name}"),
        }
    }
}

/// The right to use a device, until it is dropped.
#[derive(Debug)]
#[must_use = "a claim ends when it is dropped"]
pub struct Claim {
    registry: Weak<Shared>,
    name: String,
    id: u64,
}

impl Claim {
    pub(super) fn new(registry: Weak<Shared>, name: String, id: u64) -> Self {
        Self { registry, name, id }
    }

    /// The claimed device.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(shared) = self.registry.upgrade() {
            shared.release(&self.name, self.id);
        }
    }
}
