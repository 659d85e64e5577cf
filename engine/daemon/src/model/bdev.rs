//! Block devices as they are created and saved: one structure per kind, which is both the parameters of its
//! `…_create` method and what `save_config` writes. Parameters of SPDK for metadata and protection information are
//! accepted where they say "none".

use super::ModelError;
use crate::limits::MAX_BDEV_NAME_BYTES;
use serde::{Deserialize, Serialize};

mod kinds;
mod qos;
mod uuid;

pub use kinds::{Aio, Delay, ErrorLayer, Malloc, Null, Uring};
pub use qos::RateLimits;
pub use uuid::Uuid;

/// Block layer options of SPDK. Kept so that its clients and files work; sizes of pools follow `--memory` here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BdevOptions {
    /// No effect.
    pub bdev_io_pool_size: u32,
    /// No effect.
    pub bdev_io_cache_size: u32,
    /// No effect: nothing is found by examining other devices.
    pub bdev_auto_examine: bool,
    /// No effect.
    pub iobuf_small_cache_size: u32,
    /// No effect.
    pub iobuf_large_cache_size: u32,
}

impl Default for BdevOptions {
    fn default() -> Self {
        Self {
            bdev_io_pool_size: 65_535,
            bdev_io_cache_size: 256,
            bdev_auto_examine: true,
            iobuf_small_cache_size: 128,
            iobuf_large_cache_size: 16,
        }
    }
}

/// A block device, complete: name and UUID are always set.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum BdevSpec {
    /// Memory.
    Malloc(Malloc),
    /// Discards writes, reads zeroes.
    Null(Null),
    /// A file or block device through io_uring.
    Uring(Uring),
    /// The same, under SPDK's name for its libaio device.
    Aio(Aio),
    /// Adds latency to another device.
    Delay(Delay),
    /// Injects errors into another device.
    Error(ErrorLayer),
}

impl BdevSpec {
    /// The name.
    pub fn name(&self) -> &str {
        match self {
            Self::Malloc(Malloc { name, .. }) => name.as_deref().unwrap_or_default(),
            Self::Null(Null { name, .. })
            | Self::Uring(Uring { name, .. })
            | Self::Aio(Aio { name, .. })
            | Self::Delay(Delay { name, .. }) => name,
            Self::Error(layer) => &layer.name,
        }
    }

    /// The UUID.
    pub fn uuid(&self) -> Uuid {
        let uuid = match self {
            Self::Malloc(Malloc { uuid, .. })
            | Self::Null(Null { uuid, .. })
            | Self::Uring(Uring { uuid, .. })
            | Self::Aio(Aio { uuid, .. })
            | Self::Delay(Delay { uuid, .. })
            | Self::Error(ErrorLayer { uuid, .. }) => uuid,
        };
        uuid.unwrap_or_default()
    }

    /// Whether this is its name or UUID.
    pub fn is_called(&self, name: &str) -> bool {
        self.name() == name || Uuid::parse(name) == Some(self.uuid())
    }

    /// The device underneath a layer.
    pub fn base(&self) -> Option<&str> {
        match self {
            Self::Delay(delay) => Some(&delay.base_bdev_name),
            Self::Error(layer) => Some(&layer.base_name),
            _ => None,
        }
    }

    /// The method that creates it.
    pub fn create_method(&self) -> &'static str {
        match self {
            Self::Malloc(_) => "bdev_malloc_create",
            Self::Null(_) => "bdev_null_create",
            Self::Uring(_) => "bdev_uring_create",
            Self::Aio(_) => "bdev_aio_create",
            Self::Delay(_) => "bdev_delay_create",
            Self::Error(_) => "bdev_error_create",
        }
    }

    /// Checks all parameters.
    ///
    /// # Errors
    /// EINVAL naming the field, or −32602 for a parameter that is not supported.
    pub fn check(&self) -> Result<(), ModelError> {
        check_name(self.name())?;
        match self {
            Self::Malloc(malloc) => malloc.check(),
            Self::Null(null) => null.check(),
            Self::Uring(uring) => uring.check(),
            Self::Aio(aio) => aio.check(),
            Self::Delay(delay) => delay.check(),
            Self::Error(_) => Ok(()),
        }
    }
}

fn check_name(name: &str) -> Result<(), ModelError> {
    let printable = name.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if (1..=MAX_BDEV_NAME_BYTES).contains(&name.len()) && printable {
        return Ok(());
    }
    let expected = format!("expected 1 to {MAX_BDEV_NAME_BYTES} bytes without spaces, got {name:?}");
    Err(ModelError::errno(libc::EINVAL, format!("name: {expected}")))
}
