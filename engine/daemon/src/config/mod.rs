//! The configuration as a file: SPDK's layout, a list of method calls for each subsystem.
//!
//! `{"subsystems": [{"subsystem": "bdev", "config": [{"method": "bdev_malloc_create", "params": {…}}, …]}, …]}`

mod apply;
mod file;
mod save;

pub use apply::{Apply, ConfigError, apply};
pub use file::{Call, read, write};
pub use save::{SUBSYSTEMS, describe_target, document, subsystem_config};

#[cfg(test)]
mod tests;
