//! Why a device cannot be had.

use std::net::IpAddr;

/// Why a device cannot be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The machine has none, or its drivers are not loaded.
    #[error("no RDMA device: {}", text(*.errno))]
    NoDevice {
        /// What the RDMA CM says.
        errno: i32,
    },
    /// There is none of this name.
    #[error("no RDMA device: there is none of the name {name:?} with an address")]
    NoSuchDevice {
        /// The name.
        name: String,
    },
    /// None is behind this address, or it is no single address.
    #[error("no RDMA device: the address {address} is bound to none")]
    NotServed {
        /// The address.
        address: IpAddr,
    },
    /// The device refuses something that is needed to use it.
    #[error("the RDMA device {device} cannot be used: {what}: {}", text(*.errno))]
    Unusable {
        /// Its name.
        device: String,
        /// What was tried.
        what: &'static str,
        /// What it says.
        errno: i32,
    },
}

fn text(errno: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno)
}
