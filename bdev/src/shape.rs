//! What devices have in common: identity, a shape that can change while channels are open, and creation errors.

use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use crate::device::Geometry;
use crate::{limits, uuid};

/// Why a device could not be created or changed. The texts reach the operator through the RPC.
#[derive(Debug, Error)]
pub enum CreateError {
    /// A parameter is not acceptable.
    #[error("{field}: got {value}, expected {expected}")]
    Invalid {
        /// The parameter, as the RPC calls it.
        field: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        expected: String,
    },
    /// There is not enough memory for the medium.
    #[error("{field}: no room for {bytes} bytes: {reason}")]
    NoMemory {
        /// The parameter that asked for it.
        field: &'static str,
        /// Bytes asked for.
        bytes: u64,
        /// What the memory arena said.
        reason: String,
    },
    /// The system refused something.
    #[error("{what} {subject}: {error}{advice}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// On what, a path mostly.
        subject: String,
        /// The system's answer.
        error: std::io::Error,
        /// What to do about it, starting with "; ", or nothing.
        advice: String,
    },
}

impl CreateError {
    /// The errno that an SPDK-compatible RPC answers with.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::Invalid { .. } => libc::EINVAL,
            Self::NoMemory { .. } => libc::ENOMEM,
            Self::System { error, .. } => error.raw_os_error().unwrap_or(libc::EIO),
        }
    }

    pub(crate) fn invalid(field: &'static str, value: impl ToString, expected: impl Into<String>) -> Self {
        Self::Invalid { field, value: value.to_string(), expected: expected.into() }
    }

    pub(crate) fn system(what: &'static str, subject: impl Into<String>, error: std::io::Error) -> Self {
        Self::System { what, subject: subject.into(), error, advice: String::new() }
    }
}

/// Name and UUID of a device.
#[derive(Debug)]
pub(crate) struct Identity {
    pub name: String,
    pub uuid: [u8; 16],
}

impl Identity {
    /// Checks the name; draws a UUID when none is given.
    pub fn new(name: &str, uuid: Option<[u8; 16]>) -> Result<Self, CreateError> {
        check_name("name", name)?;
        let uuid = match uuid {
            Some(uuid) => uuid,
            None => uuid::random().map_err(|error| CreateError::system("drawing", "a random UUID", error))?,
        };
        Ok(Self { name: name.to_owned(), uuid })
    }
}

/// Names are what SPDK takes, any text, within reason: not empty, bounded, printable.
pub(crate) fn check_name(field: &'static str, name: &str) -> Result<(), CreateError> {
    if name.is_empty() || name.len() > limits::NAME_BYTES {
        let expected = format!("1 to {} bytes", limits::NAME_BYTES);
        return Err(CreateError::invalid(field, format!("{} bytes", name.len()), expected));
    }
    if name.chars().any(char::is_control) {
        return Err(CreateError::invalid(field, format!("{name:?}"), "no control characters"));
    }
    Ok(())
}

/// 512 and 4096 are what initiators take.
pub(crate) fn check_block_size(block_size: u32) -> Result<(), CreateError> {
    match block_size {
        512 | 4096 => Ok(()),
        other => Err(CreateError::invalid("block_size", other, "512 or 4096")),
    }
}

/// The bytes of a medium, which later arithmetic relies on not to overflow.
pub(crate) fn check_size(blocks: u64, block_size: u32) -> Result<u64, CreateError> {
    let most = limits::MEDIUM_BYTES / u64::from(block_size);
    if blocks == 0 || blocks > most {
        return Err(CreateError::invalid("num_blocks", blocks, format!("1 to {most}")));
    }
    Ok(blocks * u64::from(block_size))
}

/// A power-of-two multiple of the logical block, or the logical block where none is given.
pub(crate) fn check_physical(physical: Option<u32>, block_size: u32) -> Result<u32, CreateError> {
    let physical = physical.unwrap_or(block_size);
    if physical < block_size || !physical.is_power_of_two() {
        let expected = format!("a power of two, at least the block size of {block_size}");
        return Err(CreateError::invalid("physical_block_size", physical, expected));
    }
    Ok(physical)
}

/// A geometry whose capacity the control plane changes while channels on other cores read it.
#[derive(Debug)]
pub(crate) struct Shape {
    fixed: Geometry,
    blocks: AtomicU64,
}

impl Shape {
    pub fn new(geometry: Geometry) -> Self {
        Self { fixed: geometry, blocks: AtomicU64::new(geometry.blocks) }
    }

    /// The present shape. Relaxed: an operation that races with a resize may see either capacity.
    pub fn get(&self) -> Geometry {
        Geometry { blocks: self.blocks.load(Ordering::Relaxed), ..self.fixed }
    }

    pub fn resize(&self, blocks: u64) {
        self.blocks.store(blocks, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_the_error_says_what_would_do() {
        for bad in ["", &"x".repeat(limits::NAME_BYTES + 1), "a\0b", "a\nb"] {
            assert_eq!(Identity::new(bad, None).unwrap_err().errno(), libc::EINVAL, "{bad:?}");
        }
        assert!(Identity::new(&"x".repeat(limits::NAME_BYTES), None).is_ok());
        assert_eq!(Identity::new("lvs/lvol %n", Some([7; 16])).unwrap().uuid, [7; 16]);
        assert_eq!(check_block_size(520).unwrap_err().to_string(), "block_size: got 520, expected 512 or 4096");
    }

    #[test]
    fn sizes_stop_at_the_file_offset() {
        let most = limits::MEDIUM_BYTES / 4096;
        assert_eq!(check_size(most, 4096).unwrap(), most * 4096);
        assert!(
            check_size(most + 1, 4096).is_err() && check_size(0, 512).is_err() && check_size(u64::MAX, 512).is_err()
        );
        assert!(check_physical(Some(256), 512).is_err() && check_physical(Some(1536), 512).is_err());
        assert_eq!(check_physical(None, 512).unwrap(), 512);
    }
}
