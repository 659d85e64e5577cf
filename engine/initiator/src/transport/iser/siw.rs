//! Over soft-iWARP, which needs no device.

use std::net::SocketAddr;

use siw::{Config, Siw, Use};

use super::{Iser, Setup};
use crate::error::Error;
use crate::transport::Transport;

const NAME: &str = "iser/siw";

/// Begins to connect to `peer` over soft-iWARP. A session may go from thread to thread.
///
/// # Errors
/// As [`Iser::connect`].
pub fn over_siw(peer: SocketAddr, setup: Setup) -> Result<Box<dyn Transport + Send>, Error> {
    let config = Config { used_by: Use::Locked, ..Config::default() };
    let device = Siw::new(config);
    let device = device.map_err(|source| Error::Rdma { provider: NAME, what: "be set up", peer, source })?;
    Ok(Box::new(Iser::connect(device, NAME, peer, setup)?))
}
