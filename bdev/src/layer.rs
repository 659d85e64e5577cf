//! Devices on top of devices: each is a decorator over the channels of the one below.

pub mod delay;
pub mod error;
